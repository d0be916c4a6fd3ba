"""Keeps what was built from a model's weights, so that it is built once: in a folder of this user's, checked when it is read.

Rules
- A file's name ends in its own digest: what does not have it, or not the one that is known, is built again.
- It appears under its name whole or not at all. A folder that cannot be read or written costs time, and nothing else.
"""

import hashlib
import os
from pathlib import Path
from tempfile import NamedTemporaryFile


def digest(data: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def find(folder: Path | None, name: str, suffix: str, known: str | None = None) -> Path | None:
    """What was kept under the name, if it is unharmed. ``known``: the only digest that it may have."""
    if folder is None:
        return None
    try:
        for path in sorted(folder.glob(f"{name}.{known or '*'}{suffix}")):
            with path.open("rb") as file:
                if path.name == f"{name}.{hashlib.file_digest(file, 'sha256').hexdigest()}{suffix}":
                    return path
    except OSError:
        return None
    return None


def keep(folder: Path | None, name: str, suffix: str, data: bytes) -> Path | None:
    """Where it lies now; None where nothing can be kept."""
    if folder is None:
        return None
    path = folder / f"{name}.{digest(data)}{suffix}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, prefix=f".{name}.", suffix=".part", delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError:
        return None
    return path
