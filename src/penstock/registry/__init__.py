"""Organisations, teams and virtual keys made at run time: decided, kept and recorded, beside what the configuration declares.

Owns the store, the record of changes, and how the two sources become one. Does not own what they mean at run time: that
is the gateway's, which cannot tell where an object came from.
"""
