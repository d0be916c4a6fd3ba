"""A target's own parameters in requests of other operations than chat."""

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from penstock.base.errors import BadRequest
from penstock.base.ready import ready

_Other = TypeVar("_Other", bound=Struct)


def replaced(request: _Other, overrides: dict[str, Any]) -> _Other:
    """A request of another operation than chat with a target's own parameters, by the names of its neutral fields."""
    known = set(request.__struct_fields__) - {"model", "extras", "stream"}
    wrong = sorted(set(overrides) - known)
    if wrong:
        raise BadRequest(
            f"The parameters configured for this target cannot be used: {wrong[0]} is none of {', '.join(sorted(known))}.",
            param=wrong[0],
        )
    ready(type(request))
    try:
        return msgspec.convert({**msgspec.structs.asdict(request), **overrides}, type(request))
    except msgspec.ValidationError as error:
        raise BadRequest(f"The parameters configured for this target cannot be used: {error}") from error
