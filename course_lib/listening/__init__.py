"""A blind listening test for a class, taught by notebook 12.

`build` makes clips from what runs have left, `sessions` decides who hears what and keeps what they say, `page` is what
a listener sees, `analysis` turns the answers into tables and models, `by_ear` sets them beside what `published` holds.
"""
