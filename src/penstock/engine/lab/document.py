"""A profile as programs read it: what ``penstock profile --json`` prints."""

from typing import Any, cast

import msgspec

from penstock.base.money import usd_text
from penstock.engine.measure.records import Profile

_DIGITS = 6
LEFT_OUT = ("timeline",)
"""Its slices are in the report and in ``--speedscope``: a hundred times the rest together."""


def document(profile: Profile) -> dict[str, Any]:
    """Plain values: ``device``, ``stages``, ``kernels``, ``findings``, and what stands beside them. None is not known."""
    plain = cast("dict[str, Any]", _rounded(msgspec.to_builtins(profile)))
    for name in LEFT_OUT:
        plain.pop(name, None)
    for row in plain["stages"]:
        row.pop("pieces", None)  # a drawing's, too
    first = ("device", "stages", "kernels", "findings")
    if profile.cost_nusd is not None:
        plain["cost_usd"] = usd_text(profile.cost_nusd)
    return {**{name: plain[name] for name in first}, **plain}


def encoded(profile: Profile) -> str:
    """Indented JSON, one document."""
    return msgspec.json.format(msgspec.json.encode(document(profile)), indent=2).decode()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in cast("list[Any]", value)]
    return value
