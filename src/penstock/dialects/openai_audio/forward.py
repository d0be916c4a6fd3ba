"""Pass-through of a request: the caller's own bytes, with the few edits that are ours.

Rules: the model's name is the target's; what only a gateway reads is taken out; a target's own parameters stand in their
place. A form keeps its boundary, its order and all its other bytes.
"""

from typing import Any

import msgspec

from penstock.base.models import Target
from penstock.dialects.openai_audio.hearing import GATEWAY_FIELDS, HearingAsk
from penstock.dialects.openai_audio.speaking import SpeakingAsk
from penstock.wire.form_edit import edit_form
from penstock.wire.http import Headers, WireRequest
from penstock.wire.multipart import FormPart
from penstock.wire.splice import edit, spans

SPEECH = b"/audio/speech"
PATHS = {"transcribe": b"/audio/transcriptions", "translate": b"/audio/translations"}


def headers(credential: str, content_type: bytes, accept: bytes) -> Headers:
    """As OpenAI's own client sends them."""
    found: Headers = [(b"content-type", content_type), (b"accept", accept)]
    return [(b"authorization", b"Bearer " + credential.encode()), *found] if credential else found


def text_of(value: Any) -> bytes:
    """A value as a form writes it."""
    return (value if isinstance(value, str) else msgspec.json.encode(value).decode()).encode()


def splice_form(ask: HearingAsk, target: Target, credential: str) -> WireRequest:
    """A recording to ``target``."""
    ask.row = target.facts.price
    values: dict[str, Any] = {**target.overrides, "model": target.model}
    gone = {*values, *GATEWAY_FIELDS}

    def drop(name: str) -> bool:
        # A client that flattens objects and lists writes provider[order][] and include[] for them.
        return name.partition("[")[0] in gone

    add = [FormPart(name, text_of(value)) for name, value in values.items() if value is not None]
    content_type, body = edit_form(ask.content_type, ask.body, ask.names, drop, add)
    accept = b"text/event-stream" if ask.stream else b"application/json"
    return WireRequest(b"POST", PATHS[ask.task], headers(credential, content_type, accept), body)


def splice_json(ask: SpeakingAsk, target: Target, credential: str) -> WireRequest:
    """Words to ``target``. Raises BadRequest for a body with a repeated key."""
    ask.row = target.facts.price
    found = spans(ask.body)
    values: dict[str, Any] = {**target.overrides, "model": target.model}
    drop = {*ask.gateway_fields} | {name for name, value in values.items() if value is None}
    kept = {name: msgspec.json.encode(value) for name, value in values.items() if value is not None}
    body = edit(
        ask.body,
        found,
        replace={name: value for name, value in kept.items() if name in found},
        remove={name for name in drop if name in found},
        add={name: value for name, value in kept.items() if name not in found},
    )
    accept = b"text/event-stream" if ask.events else b"application/octet-stream"
    return WireRequest(b"POST", SPEECH, headers(credential, b"application/json", accept), body)
