"""A blind listening test for a class, taught by notebook 12.

``build`` makes clips from what runs have left, ``sessions`` decides who hears what and keeps what they say, ``page`` is
what a listener sees, ``analysis`` and ``by_ear`` turn the answers into tables, models and verdicts.
"""
