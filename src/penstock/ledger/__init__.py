"""Entries, prices x usage -> money, the append-only journal (SQLite), its queries, OpenRouter's generation view.

Owns: what a call cost, and the record of how it went. Does not own: the request's life (``gateway``).
Invariants: money is integer nano-dollars; a line is rounded half-even once; an unknown price is None, never 0;
nothing that was added is dropped, and what cannot be written is said.
"""
