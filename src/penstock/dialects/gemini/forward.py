"""Pass-through of a Gemini request: the caller's bytes with the few edits that are ours.

Rules
- Edits are splices at the top level: unknown fields, the order of keys and the spelling of numbers survive.
- AI Studio stores requests unless told otherwise (2026-10-26): ``store: false`` unless the caller said ``store: true``.
  Vertex knows neither ``store`` nor ``serviceTier``: taken out, and said (google-genai raises on them there, too).
- The model stands in the path: one in the body would be another name than the target's, and goes.
- Another provider's proof of reasoning never goes to Google (``marks``).
"""

from typing import Any

import msgspec
from msgspec import Raw, json

from penstock.base.chat import Effort, Reasoning
from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest
from penstock.base.models import Target
from penstock.dialects.gemini import thinking
from penstock.dialects.gemini.counting import count_body
from penstock.dialects.gemini.envelope import GATEWAY_FIELDS, GeminiAsk
from penstock.dialects.gemini.fields import camel, elements, first, is_null, members
from penstock.dialects.gemini.history import DUMMY_SIGNATURE
from penstock.dialects.gemini.marks import PREFIX
from penstock.dialects.gemini.media import document_fault
from penstock.dialects.gemini.models import rules
from penstock.dialects.gemini.request import path_of, request_headers
from penstock.wire.http import WireRequest
from penstock.wire.preferences import provider_losses
from penstock.wire.splice import Span, edit, spans

_QUOTE = b'"'[0]
_encode = msgspec.json.Encoder().encode
_OBJECT = msgspec.json.Decoder(dict[str, Raw]).decode
_CONFIG = {
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "seed": "seed",
    "stop": "stopSequences",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_REASONING = ("reasoning", "reasoning_effort", "include_reasoning")
_IGNORED = frozenset({"model", "messages", "stream", "stream_options"})


def splice_request(ask: GeminiAsk, target: Target, credential: str, vertex: bool) -> WireRequest:
    """The call to ``target``. Raises BadRequest for a body with a repeated key, or with a document that Google takes nowhere."""
    for place, mime, chars in ask.documents:
        if (fault := document_fault(mime, chars, vertex)) is not None:
            raise BadRequest(fault.reason, param=place, code=fault.code)
    body, adjusted = ask.body, list[str]()
    found = ask.spans
    if found is None:
        found = ask.spans = spans(body)
    names = {camel(name): name for name in found}
    replace: dict[str, bytes] = {}
    add: dict[str, bytes] = {}
    remove = {names[name] for name in ("model", *GATEWAY_FIELDS) if name in names}
    if "provider" in names:
        adjusted += provider_losses(_value(body, found, names["provider"]))
    if vertex:
        for name in ("store", "serviceTier"):
            if name in names:
                remove.add(names[name])
                if name != "store" or _value(body, found, names[name]) == b"true":
                    adjusted.append("store-dropped" if name == "store" else "service_tier-dropped")
    elif "store" not in names:
        add["store"] = b"false"
    elif _value(body, found, names["store"]) != b"true":
        replace[names["store"]] = b"false"
    if first(ask.messages) == _QUOTE:
        words = {"role": "user", "parts": [{"text": json.decode(ask.messages)}]}
        replace[names["contents"]] = _encode([words])
    elif PREFIX in body:
        replace[names["contents"]] = _without_marks(ask.messages, adjusted)
    if target.overrides:
        _override(ask, target, vertex, found, names, replace, add, adjusted)
    out = edit(body, found, replace=replace, remove=remove, add=add)
    verb = "streamGenerateContent?alt=sse" if ask.stream else "generateContent"
    if ask.counting:
        verb, out = "countTokens", count_body(members(json.decode(out, type=Raw), ""), target, vertex)
    path = path_of(target, vertex, verb)
    if vertex and ask.version == "v1beta1":  # it has fields that v1 refuses
        path = path.replace(b"/v1/", b"/v1beta1/", 1)
    return WireRequest(
        b"POST",
        path,
        request_headers(credential, vertex, stream=ask.stream),
        out,
        tuple(dict.fromkeys(adjusted)),
    )


def _value(body: bytes, found: dict[str, Span], name: str) -> bytes:
    _, start, end = found[name]
    return body[start:end]


def _without_marks(contents: Raw, adjusted: list[str]) -> bytes:
    """The contents without what another provider signed: its thoughts go, its calls get Google's dummy."""
    kept: list[dict[str, Any] | Raw] = []
    for content in elements(contents):
        if PREFIX not in bytes(content) or first(content) == _QUOTE:
            kept.append(content)
            continue
        fields: dict[str, Any] = dict(_OBJECT(content))
        parts = elements(fields["parts"]) if "parts" in fields else []
        fields["parts"] = [made for one in parts if (made := _part(one, adjusted)) is not None]
        if fields["parts"]:
            kept.append(fields)
    return _encode(kept)


def _part(raw: Raw, adjusted: list[str]) -> Raw | dict[str, Raw] | None:
    if PREFIX not in bytes(raw) or first(raw) == _QUOTE:
        return raw
    fields = _OBJECT(raw)
    name = next((key for key in fields if camel(key) == "thoughtSignature"), None)
    if name is None or not bytes(fields[name]).startswith(b'"' + PREFIX):
        return raw
    adjusted.append("thinking-stripped")
    plain = members(raw, "contents.parts")
    if "thought" in plain or bytes(plain.get("text", Raw(b""))) == b'""':
        return None
    if "functionCall" in plain:
        fields[name] = Raw(_encode(DUMMY_SIGNATURE))
    else:
        del fields[name]
    return fields


def _override(
    ask: GeminiAsk,
    target: Target,
    vertex: bool,
    found: dict[str, Span],
    names: dict[str, str],
    replace: dict[str, bytes],
    add: dict[str, bytes],
    adjusted: list[str],
) -> None:
    """A target's own parameters, which are written by OpenAI's names, in ``generationConfig``; null takes one away."""
    key = names.get("generationConfig", "generationConfig")
    raw = Raw(_value(ask.body, found, key)) if key in found else Raw(b"{}")
    config: dict[str, Any] = {} if is_null(raw) else dict(members(raw, "generationConfig"))
    for name, value in target.overrides.items():
        if name in _CONFIG:
            _set(config, _CONFIG[name], [value] if name == "stop" and isinstance(value, str) else value)
        elif name not in _REASONING and name not in _IGNORED:
            adjusted.append(f"{name}-dropped")
    if any(name in target.overrides for name in _REASONING):
        planned = thinking.plan(_reasoning(target.overrides), rules(target.model, vertex), target.facts)
        if isinstance(planned, Rejected):
            raise BadRequest(planned.reason, param=planned.param, code=planned.code)
        adjusted.extend(planned.value.adjusted)
        _set(config, "thinkingConfig", planned.value.config)
    (replace if key in found else add)[key] = _encode(config)


def _set(config: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        config.pop(name, None)
    else:
        config[name] = value


def _reasoning(overrides: dict[str, Any]) -> Reasoning | None:
    wish: dict[str, Any] = overrides.get("reasoning") or {}
    effort: Effort | None = overrides.get("reasoning_effort") or wish.get("effort")
    budget, enabled = wish.get("max_tokens"), wish.get("enabled")
    if effort is None and budget is None and enabled is None:
        return None
    return Reasoning(effort, budget, enabled, wish.get("exclude") is True, "reasoning")
