"""Pass-through of a request: the caller's bytes with the few edits that are ours.

Rules
- ``previous_response_id`` never leaves as the caller wrote it, for it may name another's response: it stands for what we
  keep. It goes on only to the provider, and with the key, that made that response; anyone else gets its conversation.
- Of a kept conversation OpenAI gets no ids: it would look for items that it has never had. Reasoning goes back only
  with OpenAI's own encrypted state.
"""

import hashlib
from typing import Any

import msgspec

from penstock.base.models import Target
from penstock.dialects.openai_chat.rules import headers, known_fields
from penstock.dialects.openai_responses.envelope import REPORTED, ResponsesAsk, check_history, first_byte
from penstock.dialects.openai_responses.proof import MARK, is_sealed, opened
from penstock.dialects.openai_responses.request import PATH
from penstock.wire.http import WireRequest
from penstock.wire.preferences import provider_losses
from penstock.wire.splice import edit, spans

_NAME_HERE = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
# Overrides that would break what the gateway itself decides, and fields of chat that have no place here.
_NOT_OVERRIDDEN = frozenset({"model", "messages", "stream", "stream_options"})
_decode_items = msgspec.json.Decoder(list[dict[str, Any]]).decode
_MARK = MARK.encode()


def place_of(target: Target, credential: str) -> str:
    """Which provider, and which of its accounts; no secret."""
    return f"{target.provider}:{hashlib.sha256(credential.encode()).hexdigest()[:16]}"


def splice_request(ask: ResponsesAsk, target: Target, credential: str) -> WireRequest:
    """The call to ``target``. Raises BadRequest for a repeated key."""
    check_history(ask)
    found = ask.spans
    if found is None:
        found = ask.spans = spans(ask.body)
    here = place_of(target, credential)
    ask.made_at = here if ask.store else ""
    adjusted: list[str] = []
    put: dict[str, bytes | None] = {"model": msgspec.json.encode(target.model)}
    """Field -> its value; None takes it out."""
    _gateway_fields(ask, target, put, adjusted)
    kept_there = ask.previous and ask.native == here
    if ask.previous and not kept_there:
        put["previous_response_id"] = None
    conversation = _conversation(ask, [] if kept_there else ask.history, adjusted)
    if conversation is not None:
        put["input"] = conversation
    put.update(_overrides(ask, target))
    body = edit(
        ask.body,
        found,
        replace={name: value for name, value in put.items() if value is not None and name in found},
        add={name: value for name, value in put.items() if value is not None and name not in found},
        remove={name for name, value in put.items() if value is None and name in found},
    )
    return WireRequest(
        b"POST", PATH, headers(credential, stream=ask.stream), body, tuple(dict.fromkeys(adjusted))
    )


def _gateway_fields(
    ask: ResponsesAsk, target: Target, put: dict[str, bytes | None], adjusted: list[str]
) -> None:
    known = known_fields(target)
    for name in ask.gateway_fields:
        if name in known:
            continue
        put[name] = None
        if name in REPORTED:
            adjusted.append(f"{name}-dropped")
        elif name == "provider" and ask.spans is not None:
            _, start, end = ask.spans[name]
            adjusted.extend(provider_losses(ask.body[start:end]))


def _conversation(ask: ResponsesAsk, history: list[bytes], adjusted: list[str]) -> bytes | None:
    """``input`` as it goes on; None: as it came."""
    came = bytes(ask.input)
    if not history and came.find(_MARK) < 0:
        return None
    items: list[dict[str, Any]] = []
    for item in _decode_items(b"[" + b",".join(history) + b"]"):
        item.pop("status", None)
        if item.get("type") != "reasoning":
            item.pop("id", None)
            items.append(item)
        elif (own := opened(item)) is not None:
            items.append(own)
    if first_byte(ask.input) == b'"':
        return _joined(items, b'{"role":"user","content":' + came + b"}")
    if came.find(_MARK) < 0:
        return _joined(items, came.strip()[1:-1].strip())
    for item in _decode_items(came):
        sealed = is_sealed(str(item.get("encrypted_content") or ""))
        own = opened(item) if sealed else item
        if own is None:
            adjusted.append("thinking-dropped")
        else:
            items.append(own)
    return msgspec.json.encode(items)


def _joined(items: list[dict[str, Any]], rest: bytes) -> bytes:
    """One list of what we keep and of what came, the latter byte for byte."""
    kept = [msgspec.json.encode(item) for item in items]
    return b"[" + b",".join([*kept, rest] if rest else kept) + b"]"


def _overrides(ask: ResponsesAsk, target: Target) -> dict[str, bytes | None]:
    """A target's own parameters, which are written by the names of OpenAI's chat, under this API's."""
    put: dict[str, bytes | None] = {}
    for name, value in target.overrides.items():
        if name in _NOT_OVERRIDDEN:
            continue
        here = _NAME_HERE.get(name, name)
        if name == "reasoning_effort":
            here, value = "reasoning", None if value is None else {"effort": value}
        put[here] = None if value is None else msgspec.json.encode(value)
    return put
