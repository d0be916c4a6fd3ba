"""Configuration -> built house: provision, start, swap, stop.

Owns: what is made of what, and in which order. Does not own: decisions.
"""
