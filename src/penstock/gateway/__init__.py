"""One request's life: admit, plan, try, stream, settle.

Owns: the sequence. Does not own: HTTP, SQL, decisions (``routing``), formats (``dialects``).
"""
