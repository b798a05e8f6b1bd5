"""A blind listening test for a class, taught by notebook 12.

`build` makes clips from what runs have left, `sessions` decides who hears what and keeps what they say, `page` is what
a listener sees, `analysis` reads the answers and judges the claims that `published` holds.
"""
