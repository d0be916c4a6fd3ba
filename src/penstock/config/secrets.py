"""Secrets: written ``env.NAME`` or ``file:PATH`` in the configuration, resolved once, never printed."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.base.decisions import Rejected

if TYPE_CHECKING:  # whoever looks a reference up needs no description of the whole configuration
    from penstock.config.schema import VirtualKeyConfig

ENV_PREFIX = "env."
FILE_PREFIX = "file:"
HASH_PREFIX = "sha256:"
"""A virtual key may stand as its hash, which is no secret; a provider's key may not: it must be sent."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Secret:
    """A resolved secret. ``repr`` and ``str`` show where it came from, never what it is."""

    __slots__ = ("_value", "reference")

    def __init__(self, reference: str, value: str) -> None:
        self.reference = reference
        self._value = value

    def reveal(self) -> str:
        """The secret itself: only for the header that carries it."""
        return self._value

    def __repr__(self) -> str:
        """Its origin."""
        return f"Secret({self.reference})"

    __str__ = __repr__


def is_reference(text: str) -> bool:
    """True for ``env.NAME`` and ``file:PATH``."""
    return text.startswith((ENV_PREFIX, FILE_PREFIX))


def reference_name(reference: str) -> str:
    """The variable's or the file's own name: the default name of a key."""
    if reference.startswith(ENV_PREFIX):
        return reference[len(ENV_PREFIX) :]
    return Path(reference[len(FILE_PREFIX) :]).name


def is_hash(reference: str) -> bool:
    """True for ``sha256:HEX``."""
    return reference.startswith(HASH_PREFIX)


def key_hash(reference: str, secrets: Mapping[str, Secret]) -> bytes | None:
    """The SHA-256 of a virtual key, however it is written; None where its secret was not found."""
    if is_hash(reference):
        try:
            return bytes.fromhex(reference[len(HASH_PREFIX) :])
        except ValueError:
            return None
    secret = secrets.get(reference)
    return None if secret is None else hashlib.sha256(secret.reveal().encode()).digest()


def virtual_secrets(path: str, key: "VirtualKeyConfig") -> list[tuple[str, str]]:
    """Every secret that opens for this virtual key, with its place: its own, and those before a rotation."""
    found = [(f"{path}.key", key.key)]
    return found + [(f"{path}.previous[{n}].key", one.key) for n, one in enumerate(key.previous)]


def local_path(text: str, base: Path) -> Path:
    """A path of the configuration: from its own folder; ``~`` is home. ValueError where it cannot be a path."""
    try:
        return base / Path(text).expanduser()
    except RuntimeError as error:  # "~somebody" who is not known
        raise ValueError("no home folder is known for it") from error


def resolve(reference: str, environ: Mapping[str, str], base: Path) -> Secret | Rejected:
    """The secret behind a reference; files are relative to the configuration's folder. Never echoes a value."""
    if reference.startswith(ENV_PREFIX):
        name = reference[len(ENV_PREFIX) :]
        if not _VARIABLE.fullmatch(name):
            # Not repeated: who misunderstood may have written the secret itself after ``env.``.
            return Rejected("secret-misnamed", "What follows env. is no name of an environment variable.")
        value = environ.get(name, "")
        if not value.strip():
            state = "empty" if name in environ else "not set"
            return Rejected("secret-unset", f"The environment variable {name} is {state}.")
        return Secret(reference, value.strip())
    if reference.startswith(FILE_PREFIX):
        text = reference[len(FILE_PREFIX) :]
        try:
            path = local_path(text, base)
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:  # no UTF-8 is a ValueError; so is a NUL in the path
            return Rejected("secret-unreadable", f"{text} cannot be read: {_why(error)}.")
        if not value:
            return Rejected("secret-empty", f"{path} is empty.")
        return Secret(reference, value)
    return Rejected(
        "secret-in-plain",
        "A secret must not stand in the configuration (its value is not repeated here).",
    )


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
