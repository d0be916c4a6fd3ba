"""Fresh virtual keys, and the hash of one, which is all that is kept.

A key holds 256 random bits: nobody finds it from its hash by trying, so that a plain SHA-256 is enough, and looking one
up costs a microsecond.
"""

import hashlib
import secrets

from penstock.config.secrets import Secret

PREFIX = "psk-"
HASH_PREFIX = "sha256:"
_SHOWN_HEX = 8


def fresh_key(name: str) -> Secret:
    """A new key; its ``repr`` does not show it."""
    return Secret(f"the new key of {name}", PREFIX + secrets.token_urlsafe(32))


def hash_of(key: str) -> str:
    """``sha256:HEX``, as a configuration may hold it."""
    return HASH_PREFIX + hashlib.sha256(key.encode()).hexdigest()


def blotted(reference: str) -> str:
    """A hash for the record of changes: enough to tell two apart."""
    if not reference.startswith(HASH_PREFIX):
        return reference
    return reference[: len(HASH_PREFIX) + _SHOWN_HEX] + "…"
