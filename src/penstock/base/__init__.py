"""The shared nouns: errors, decisions, clock, money, usage, chat, events, models.

Owns: the words every other room speaks. Does not own: any I/O.
Rules: imports the standard library and msgspec only; a name enters when both wings, or three rooms, need it.
"""
