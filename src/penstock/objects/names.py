"""Ids of what is kept: a word for what it is, and 96 random bits."""

import secrets


def new_id(prefix: str) -> str:
    """``file-…``, ``batch_…``, ``job_…``, ``resp_…``: the prefix with its mark, then 24 hex digits."""
    return prefix + secrets.token_hex(12)
