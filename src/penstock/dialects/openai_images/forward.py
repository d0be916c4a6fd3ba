"""Pass-through of a request: the caller's own fields in their own order, with the few edits that are ours.

Rules
- The model's name is the target's; what only a gateway reads is taken out; a target's own parameters stand in their place.
- ``response_format: b64_json`` is what OpenAI's own models do, and refuse to be told: it is left out there.
- A form is written anew, part by part: its boundary is ours, its parts are the caller's.
"""

from typing import Any

import msgspec

from penstock.base.models import Target
from penstock.dialects.openai_images.envelope import GATEWAY_FIELDS, ImagesAsk
from penstock.dialects.openai_images.models import is_own
from penstock.wire.http import Headers, WireRequest
from penstock.wire.multipart import FormPart, write_form
from penstock.wire.splice import edit, spans

PATHS = {"generation": b"/images/generations", "edit": b"/images/edits"}


def headers(credential: str, content_type: bytes, *, stream: bool) -> Headers:
    """As OpenAI's own client sends them."""
    found: Headers = [
        (b"content-type", content_type),
        (b"accept", b"text/event-stream" if stream else b"application/json"),
    ]
    return [(b"authorization", b"Bearer " + credential.encode()), *found] if credential else found


def splice_request(ask: ImagesAsk, target: Target, credential: str) -> WireRequest:
    """The call to ``target``. Raises BadRequest for a body with a repeated key."""
    ask.row = target.facts.price
    drop = set(ask.gateway_fields)
    if is_own(target.model):
        drop.add("response_format")
    content_type = b"application/json"
    if ask.form is not None:
        content_type, body = _form(ask.form, target, drop)
    else:
        body = _json(ask.body, target, drop)
    return WireRequest(b"POST", PATHS[ask.kind], headers(credential, content_type, stream=ask.stream), body)


def _json(body: bytes, target: Target, drop: set[str]) -> bytes:
    found = spans(body)
    values: dict[str, Any] = {**target.overrides, "model": target.model}
    drop = drop | {name for name, value in values.items() if value is None}
    kept = {name: msgspec.json.encode(value) for name, value in values.items() if value is not None}
    return edit(
        body,
        found,
        replace={name: value for name, value in kept.items() if name in found},
        remove={name for name in drop if name in found},
        add={name: value for name, value in kept.items() if name not in found},
    )


def _form(form: list[FormPart], target: Target, drop: set[str]) -> tuple[bytes, bytes]:
    values: dict[str, Any] = {**target.overrides, "model": target.model}
    gone = drop | set(values) | set(GATEWAY_FIELDS)
    # A client that flattens objects writes provider[order][] for them.
    kept = [
        part for part in form if part.name not in gone and part.name.partition("[")[0] not in GATEWAY_FIELDS
    ]
    own = [
        FormPart(name, (value if isinstance(value, str) else msgspec.json.encode(value).decode()).encode())
        for name, value in values.items()
        if value is not None
    ]
    return write_form([*own, *kept])
