"""Pass-through of a request: the caller's bytes with the few edits that are ours.

Rules: edits are splices, so unknown fields, the order of keys, spaces and the spelling of numbers survive
(behaviours 19, 20); a cap is renamed or kept, never lost (behaviour 21); what only a gateway reads is taken out.

Theory: most calls need one edit, the model's name, or none. Such a body is not taken apart at all (``_at_once``). What
may not stand there twice is what the gateway itself acts on: of that, readers must agree which one counts.
"""

import re
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from penstock.base.chat import Ask, Reasoning
from penstock.base.errors import BadRequest
from penstock.base.models import CapName, Target
from penstock.dialects.openai_chat.envelope import ReasoningWish, make_reasoning
from penstock.dialects.openai_chat.rules import (
    CAPS,
    PATH,
    cap_name,
    effort_of,
    headers,
    is_openai_own,
    known_fields,
)
from penstock.wire.http import WireRequest
from penstock.wire.preferences import provider_losses
from penstock.wire.splice import Span, edit, spans

_LARGE_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024
"""Below what the allocator asks the system for: fresh pages cost more than the copy (some 3 ms a megabyte, measured)."""
_USAGE_WANTED = b'{"include_usage":true}'
_ALSO_USAGE_WANTED = b',"stream_options":' + _USAGE_WANTED

# Asked of a gateway, done by none of ours: taken out, and said.
_REPORTED = frozenset({"transforms", "plugins", "cache_control"})
# Overrides that would break what the gateway itself decides.
_NOT_OVERRIDDEN = frozenset({"model", "messages", "stream", "stream_options"})
# Some readers (Go's, and so Ollama's) take a key in any case for the one that they know, and the last of them counts.
_ONE_SPELLING = frozenset(
    {"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens"}
)
_REASONING = ("reasoning", "include_reasoning", "reasoning_effort")


class _Edits(Struct):
    """What changes, by field. ``adjusted`` is what the caller is told."""

    found: dict[str, Span]
    replace: dict[str, bytes] = field(default_factory=dict[str, bytes])
    remove: set[str] = field(default_factory=set[str])
    add: dict[str, bytes] = field(default_factory=dict[str, bytes])
    rename: dict[str, str] = field(default_factory=dict[str, str])
    adjusted: list[str] = field(default_factory=list[str])

    def put(self, name: str, value: bytes) -> None:
        """Set a field, wherever it stands."""
        self.remove.discard(name)
        if name in self.found:
            self.replace[name] = value
        else:
            self.add[name] = value

    def drop(self, name: str) -> None:
        """Take a field out, if it is there."""
        if name in self.found:
            self.remove.add(name)


_BY_ADDRESS = re.compile(rb'(?<!\\)"(?:file_url"\s*:\s*"|file_data"\s*:\s*"(?:https?|gs)://)')


def against_pass_through(ask: Ask, target: Target) -> str | None:
    """What stands against the caller's own bytes: OpenAI's chat fetches no file, so we do (gateway.media)."""
    if "document" not in ask.needs or not is_openai_own(target):
        return None
    body, at = ask.body, -1
    # A search for plain bytes, and a look at each: in a large body ten times as quick as one for the pattern.
    while (at := body.find(b'"file_', at + 1)) >= 0:
        if _BY_ADDRESS.match(body, at) is not None:
            return "a file's address, which this provider does not read"
    return None


def splice_request(ask: Ask, target: Target, credential: str) -> WireRequest:
    """The call to ``target``. Raises BadRequest for a body with a repeated key, or one that some readers mistake."""
    if not target.overrides and not ask.gateway_fields:
        out = _at_once(ask, target)
        if out is not None:
            return WireRequest(b"POST", PATH, headers(credential, stream=ask.stream), out)
    body = ask.body
    found = ask.spans
    if found is None:
        found = ask.spans = spans(body)
        _refuse_lookalikes(found)
    adjusted: tuple[str, ...] = ()
    want_usage = ask.stream and not ask.include_usage
    if (
        target.overrides
        or ask.gateway_fields
        or "model" not in found
        or (want_usage and "stream_options" in found)
        or (("max_tokens" in found or "max_completion_tokens" in found) and _cap_is_misnamed(found, target))
    ):
        edits = _edits(ask, target, found)
        body = edit(
            body, found, replace=edits.replace, remove=edits.remove, add=edits.add, rename=edits.rename
        )
        adjusted = tuple(edits.adjusted)
    elif want_usage or ask.model != target.model:
        _, start, end = found["model"]
        model = msgspec.json.encode(target.model)
        body = body[:start] + model + (_ALSO_USAGE_WANTED if want_usage else b"") + body[end:]
    return WireRequest(b"POST", PATH, headers(credential, stream=ask.stream), body, adjusted)


def _at_once(ask: Ask, target: Target) -> bytes | None:
    """The body with its one edit, or as it is; None if only a closer look can tell (``spans``).

    Only what stands around the conversation is searched: that is nearly all of the body, and none of our business.
    In JSON the bytes ``"model"`` can only be that whole string, and a key without ``\\u`` has no other spelling. So a
    key that stands there once is the one that was read, and cannot be repeated.
    """
    body, start = ask.body, _conversation(ask)
    if start < 0:
        return None
    end = start + len(ask.messages)
    around = body[:start] + body[end:]
    want_usage = ask.stream and not ask.include_usage
    find = (
        around.find
    )  # not "in", for which CPython first takes the needle for an int and words an error about it
    at = find(b'"model"')
    if (
        at < 0
        or find(b'"model"', at + 1) >= 0
        or find(b"\\u") >= 0
        or around.count(b'"messages"') != 1
        or around.count(b'"stream') > (2 if ask.include_usage and ask.stream else 1)
        or (find(b'"max_') >= 0 and _caps_need_a_look(around, target))
        or _other_case(around)
    ):
        return None
    if ask.model == target.model and not want_usage:
        return body
    if at > start:
        at += end - start
    for old, new in _model_edits(ask.model, target.model, want_usage):
        if body.startswith(old, at):
            # Of a large body every copy is memory and time: a view of it is none.
            whole = memoryview(body) if len(body) > _LARGE_BYTES else body
            return b"".join((whole[:at], new, whole[at + len(old) :]))
    return None


def _refuse_lookalikes(found: dict[str, Span]) -> None:
    """``Model`` beside ``model`` would have one model served and another one billed."""
    for name in found:
        if name not in _ONE_SPELLING and name.casefold() in _ONE_SPELLING:
            raise BadRequest(
                f"The field {name!r} is not {name.casefold()!r}, but some readers take it for that.",
                code="ambiguous_field",
                param=name,
                hint="Write field names in lower case.",
            )


def _other_case(around: bytes) -> bool:
    """Some of what the gateway acts on may be there in another case."""
    lower = around.lower()
    return lower != around and any(
        lower.count(key) != around.count(key) for key in (b'"model"', b'"messages"', b'"stream', b'"max_')
    )


def _conversation(ask: Ask) -> int:
    """Where ``messages`` begins in the body; -1 if that is not plain to see.

    The first ``"messages"`` may be another field's word: then what follows it is not what was read, or the true one
    stands outside of it, and the caller looks closer.
    """
    body = ask.body
    at = body.find(b'"messages":')
    if at < 0:
        return -1
    start = at + len(b'"messages":')
    if body[start : start + 1] == b" ":
        start += 1
    size = len(ask.messages)
    if size > _LARGE_BYTES:
        return start if _alike(memoryview(body)[start : start + size], memoryview(ask.messages)) else -1
    return start if Raw(body[start : start + size]) == ask.messages else -1


def _alike(one: memoryview, other: memoryview) -> bool:
    """The same bytes, compared in pieces: whole, they would be copied, and views are compared byte by byte."""
    return len(one) == len(other) and all(
        bytes(one[at : at + _PIECE_BYTES]) == bytes(other[at : at + _PIECE_BYTES])
        for at in range(0, len(one), _PIECE_BYTES)
    )


@lru_cache(maxsize=1024)
def _model_edits(asked: str, model: str, want_usage: bool) -> tuple[tuple[bytes, bytes], ...]:
    """The field model as the SDKs and json.dumps write it, each with what it becomes."""
    old, new = msgspec.json.encode(asked), msgspec.json.encode(model)
    more = _ALSO_USAGE_WANTED if want_usage else b""
    return tuple((key + old, key + new + more) for key in (b'"model":', b'"model": '))


def _caps_need_a_look(body: bytes, target: Target) -> bool:
    """There is more than one cap, or the only one has a name that this target does not take."""
    wanted = cap_name(target)
    return body.count(b'"max_') > 1 or (wanted is not None and b'"%b"' % _other(wanted).encode() in body)


def _cap_is_misnamed(found: dict[str, Span], target: Target) -> bool:
    wanted = cap_name(target)
    return wanted is not None and _other(wanted) in found


def _other(name: CapName) -> CapName:
    return "max_tokens" if name == "max_completion_tokens" else "max_completion_tokens"


def _edits(ask: Ask, target: Target, found: dict[str, Span]) -> _Edits:
    edits = _Edits(found)
    known = known_fields(target)
    overrides = {name: value for name, value in target.overrides.items() if name not in _NOT_OVERRIDDEN}
    edits.put("model", msgspec.json.encode(target.model))
    for name in ask.gateway_fields:
        if name in known:
            if name == "provider":
                _edit_provider(edits, _value(ask, found, name))
        else:
            edits.drop(name)
            if name in _REPORTED:
                edits.adjusted.append(f"{name}-dropped")
            elif name == "provider":
                edits.adjusted.extend(provider_losses(_value(ask, found, name)))
    for name, value in overrides.items():
        if name in CAPS or name in _REASONING:
            continue
        if value is None:
            edits.drop(name)
        else:
            edits.put(name, msgspec.json.encode(value))
    _edit_cap(edits, ask, target, overrides)
    if "reasoning" not in known:
        _edit_reasoning(edits, ask, target, overrides)
    else:
        for name in _REASONING:
            if name in overrides:
                edits.put(name, msgspec.json.encode(overrides[name]))
    if ask.stream and not ask.include_usage:
        edits.put("stream_options", _with_usage(ask.body, found.get("stream_options")))
    return edits


def _edit_provider(edits: _Edits, value: bytes) -> None:
    """``only`` names our provider, or the plan had left this target out: a router behind us knows no such name."""
    if value == b"null":
        return
    wishes = msgspec.json.decode(value, type=dict[str, Raw])
    if wishes.pop("only", None) is None:
        return
    if wishes:
        edits.put("provider", msgspec.json.encode(wishes))
    else:
        edits.drop("provider")


def _value(ask: Ask, found: dict[str, Span], name: str) -> bytes:
    _, start, end = found[name]
    return ask.body[start:end]


def _with_usage(body: bytes, span: Span | None) -> bytes:
    if span is None:
        return _USAGE_WANTED
    value = body[span[1] : span[2]]
    if value == b"null":
        return _USAGE_WANTED
    inside = spans(value)
    if "include_usage" in inside:
        return edit(value, inside, replace={"include_usage": b"true"})
    return edit(value, inside, add={"include_usage": b"true"})


def _edit_cap(edits: _Edits, ask: Ask, target: Target, overrides: dict[str, Any]) -> None:
    found = edits.found
    wanted = cap_name(target)
    given = [name for name in CAPS if name in overrides]
    if given:
        for name in CAPS:
            edits.drop(name)
        value = overrides[given[0]]
        if value is not None:
            edits.put(wanted or given[0], msgspec.json.encode(value))
        return
    if wanted is None or _other(wanted) not in found:
        return
    other = _other(wanted)
    if wanted not in found:
        edits.rename[other] = wanted
        return
    first = _value(ask, found, CAPS[0])
    edits.drop(other)
    edits.put(wanted, first if first != b"null" else _value(ask, found, CAPS[1]))


def _edit_reasoning(edits: _Edits, ask: Ask, target: Target, overrides: dict[str, Any]) -> None:
    """``reasoning{}`` as ``reasoning_effort``; what the caller wrote as reasoning_effort stays."""
    if any(name in overrides for name in _REASONING):
        for name in _REASONING:
            edits.drop(name)
        wish = msgspec.convert(overrides.get("reasoning") or {}, ReasoningWish)
        reasoning = make_reasoning(wish, overrides.get("reasoning_effort"))
        if reasoning is not None and wish.exclude:
            reasoning = msgspec.structs.replace(reasoning, exclude=True)
    elif "reasoning" in edits.found or "include_reasoning" in edits.found:
        reasoning: Reasoning | None = ask.reasoning
    else:
        return
    if reasoning is None:
        return
    effort, adjusted = effort_of(reasoning, target)
    edits.adjusted.extend(adjusted)
    if effort is not None:
        edits.put("reasoning_effort", msgspec.json.encode(effort))
