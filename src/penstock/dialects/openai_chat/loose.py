"""JSON of a shape that nobody promised: each look says what it hopes for and takes nothing else."""

from typing import Any, cast


def as_object(value: Any) -> dict[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """``value`` if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def as_text(value: Any) -> str | None:
    """``value`` if it is a string."""
    return value if isinstance(value, str) else None
