"""One profile run, from the thing's name to its record; and how the record is told.

Owns: the sequence load, time, capture, attribute, find, and the report's forms. Does not own: how each of them is done.
"""
