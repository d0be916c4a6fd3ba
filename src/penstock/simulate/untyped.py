"""Reading JSON of unknown shape: each function gives an empty value where the shape is another."""

from typing import Any, cast


def as_object(value: Any) -> dict[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """``value`` if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """``value`` if it is a string, else ""."""
    return value if isinstance(value, str) else ""


def as_int(value: Any) -> int | None:
    """``value`` if it is an integer (True is not), else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_number(value: Any) -> float | None:
    """``value`` if it is a number (True is not), else None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def is_object(value: Any) -> bool:
    """True for a JSON object."""
    return isinstance(value, dict)


def is_list(value: Any) -> bool:
    """True for a JSON array."""
    return isinstance(value, list)
