"""Pass-through of a request: the caller's bytes with the few edits that are ours.

Rules
- Edits are splices: unknown fields, the order of keys and the spelling of numbers survive (behaviours 19, 20).
- The caller's API version and beta headers go on. A target that pins a version has its own; one whose configured
  parameters sample has the older, which takes them.
- A proof of thoughts that is not Anthropic's (``carried``) is taken out with its block, and said: it is void there. A
  thinking budget is refused for a tool loop whose thoughts are gone, so it goes with them.
- A target's own parameters are written by OpenAI's names (a call's budget sets its cap so); what has no counterpart is
  dropped and said.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from penstock.base.chat import Effort, Reasoning
from penstock.base.errors import BadRequest
from penstock.base.models import Target
from penstock.dialects.anthropic.carried import MARK
from penstock.dialects.anthropic.envelope import OLD_VERSION, SAMPLING, MessagesAsk
from penstock.dialects.anthropic.models import rules_for
from penstock.dialects.anthropic.thinking import plan_thinking
from penstock.wire.http import Headers, WireRequest
from penstock.wire.notes import Notes
from penstock.wire.preferences import provider_losses
from penstock.wire.splice import Span, edit, spans

PATH = b"/v1/messages"
COUNT_PATH = b"/v1/messages/count_tokens"
_MARK = MARK.encode()
_CAPS = ("max_completion_tokens", "max_tokens")
_NOT_OVERRIDDEN = frozenset({"model", "messages", "stream", "stream_options", "n"})
_REASONING = ("reasoning_effort", "reasoning")
_NO_WORD = frozenset(
    {"seed", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "store"}
)
NOT_COUNTED = ("max_tokens", "stream", "stop_sequences", "metadata", "service_tier", *SAMPLING)
"""What count_tokens does not take (anthropic-python 2.11.0, message_count_tokens_params)."""
_ONE_SPELLING = frozenset({"model", "messages", "stream", "max_tokens"})
_THOUGHTS = {"thinking": "signature", "redacted_thinking": "data"}
_encode = msgspec.json.Encoder().encode
_turns = msgspec.json.Decoder(list[dict[str, Raw]])
_blocks = msgspec.json.Decoder(list[Raw])


class _Block(Struct, gc=False):
    type: str = ""
    signature: str = ""
    data: str = ""


class _Thinking(Struct, gc=False):
    type: str = ""


class _Wish(Struct, gc=False):
    effort: Effort | None = None
    max_tokens: int | None = None
    enabled: bool | None = None
    exclude: bool = False


_block = msgspec.json.Decoder(_Block)


class _Edits(Struct):
    found: dict[str, Span]
    replace: dict[str, bytes] = field(default_factory=dict[str, bytes])
    remove: set[str] = field(default_factory=set[str])
    add: dict[str, bytes] = field(default_factory=dict[str, bytes])
    notes: Notes = field(default_factory=Notes)

    def put(self, name: str, value: Any) -> None:
        """Set a field, wherever it stands; None takes it out."""
        if value is None:
            self.drop(name)
            return
        self.remove.discard(name)
        (self.replace if name in self.found else self.add)[name] = _encode(value)

    def drop(self, name: str) -> None:
        """Take a field out, if it is there."""
        self.replace.pop(name, None)
        self.add.pop(name, None)
        if name in self.found:
            self.remove.add(name)


def splice_request(ask: MessagesAsk, target: Target, credential: str) -> WireRequest:
    """The call to ``target``. Raises BadRequest for a body with a repeated key."""
    body, found = ask.body, ask.spans
    if found is None:
        found = ask.spans = spans(body)
        _refuse_lookalikes(found)
    version = target.options.get("api_version") or ask.version or OLD_VERSION
    adjusted: tuple[str, ...] = ()
    marked = body.find(_MARK) >= 0
    if marked or target.overrides or ask.gateway_fields or ask.counting or "model" not in found:
        edits = _Edits(found)
        edits.put("model", target.model)
        for name in (*ask.gateway_fields, *(NOT_COUNTED if ask.counting else ())):
            edits.drop(name)
            if name == "provider" and name in found:
                _, start, end = found[name]
                for word in provider_losses(body[start:end]):
                    edits.notes.add(word)
        if marked:
            _strip(ask, edits)
        if _override(ask, target, edits) and "api_version" not in target.options:
            version = OLD_VERSION
        body = edit(body, found, replace=edits.replace, remove=edits.remove, add=edits.add)
        adjusted = edits.notes.words()
    elif ask.model != target.model:
        _, start, end = found["model"]
        whole = memoryview(body)  # one copy of what may be a whole book
        body = b"".join((whole[:start], _encode(target.model), whole[end:]))
    path = COUNT_PATH if ask.counting else PATH
    return WireRequest(
        b"POST", path, headers(credential, version, ask.betas, stream=ask.stream), body, adjusted
    )


def _refuse_lookalikes(found: dict[str, Span]) -> None:
    """Some readers take a key in any case for the one that they know: one model would be served, another one billed."""
    for name in found:
        if name not in _ONE_SPELLING and name.casefold() in _ONE_SPELLING:
            raise BadRequest(
                f"The field {name!r} is not {name.casefold()!r}, but some readers take it for that.",
                code="ambiguous_field",
                param=name,
                hint="Write field names in lower case.",
            )


def headers(credential: str, version: str, betas: str, *, stream: bool) -> Headers:
    """The headers of one call."""
    made: Headers = [
        (b"content-type", b"application/json"),
        (b"accept", b"text/event-stream" if stream else b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"x-api-key", credential.encode()),
        (b"anthropic-version", version.encode("latin-1", "replace")),
    ]
    if betas:
        made.append((b"anthropic-beta", betas.encode("latin-1", "replace")))
    return made


def _strip(ask: MessagesAsk, edits: _Edits) -> None:
    """Thoughts that bear our mark, out of the messages."""
    try:
        turns = _turns.decode(ask.messages)
        kept: list[dict[str, Raw]] = []
        stripped = False
        for turn in turns:
            content = turn.get("content", Raw(b""))
            if bytes(turn.get("role", Raw(b""))) == b'"assistant"' and bytes(content).find(_MARK) >= 0:
                blocks = _blocks.decode(content)
                rest = [block for block in blocks if not _is_marked(block)]
                if len(rest) < len(blocks):
                    stripped = True
                    if not rest:
                        continue
                    turn["content"] = Raw(_encode(rest))
            kept.append(turn)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return  # a shape that we do not know, so nothing that we wrote
    if not stripped:
        return  # somebody's words
    edits.notes.add("thinking-dropped")
    edits.replace["messages"] = _encode(kept)
    span = edits.found.get("thinking")
    if span is not None and kept and bytes(kept[-1].get("content", Raw(b""))).find(b'"tool_result"') >= 0:
        wish = msgspec.json.decode(ask.body[span[1] : span[2]], type=_Thinking | None)
        if wish is not None and wish.type == "enabled":
            edits.drop("thinking")
            edits.notes.add("reasoning-dropped")


def _is_marked(raw: Raw) -> bool:
    if bytes(raw).find(_MARK) < 0:
        return False
    block = _block.decode(raw)
    proof = _THOUGHTS.get(block.type)
    return proof is not None and getattr(block, proof).startswith(MARK)


def _override(ask: MessagesAsk, target: Target, edits: _Edits) -> bool:
    """The target's own parameters, by OpenAI's names. True if one of them samples."""
    samples = False
    overrides = target.overrides
    cap = next((overrides[name] for name in _CAPS if name in overrides), None)
    if cap is not None and not ask.counting:
        edits.put("max_tokens", cap)
    for name, value in overrides.items():
        if name in _CAPS or name in _NOT_OVERRIDDEN or name in _REASONING:
            continue
        if name in SAMPLING:
            samples = samples or (value is not None and not ask.counting)
            edits.put(name, None if ask.counting else value)
        elif name == "stop":
            edits.put("stop_sequences", [value] if isinstance(value, str) else value)
        elif name == "user":
            edits.put("metadata", None if value is None else {"user_id": value})
        elif name in _NO_WORD:
            edits.notes.add(f"{name}-dropped")
        else:
            edits.put(name, value)
    if any(name in overrides for name in _REASONING):
        _override_reasoning(ask, target, edits)
    return samples


def _override_reasoning(ask: MessagesAsk, target: Target, edits: _Edits) -> None:
    overrides = target.overrides
    try:
        wish = msgspec.convert(overrides.get("reasoning") or {}, _Wish)
        effort = msgspec.convert(overrides.get("reasoning_effort") or wish.effort, Effort | None)
    except msgspec.ValidationError as error:
        raise BadRequest(
            f"The parameters configured for this target cannot be used: {error}", param="reasoning"
        ) from error
    asked = None
    if effort is not None or wish.max_tokens is not None or wish.enabled is not None:
        asked = Reasoning(effort, wish.max_tokens, wish.enabled, wish.exclude)
    given = msgspec.json.decode(edits.replace.get("max_tokens") or edits.add.get("max_tokens") or b"null")
    cap = given if isinstance(given, int) else ask.max_tokens or rules_for(target).max_output
    plan = plan_thinking(asked, rules_for(target), cap, edits.notes, manual_ok=True, forced=False)
    edits.put("thinking", plan.thinking)
    if plan.max_tokens != cap:
        edits.put("max_tokens", plan.max_tokens)
    output: dict[str, Any] = {}
    if (span := edits.found.get("output_config")) is not None:
        output = msgspec.json.decode(ask.body[span[1] : span[2]], type=dict[str, Any] | None) or {}
    output.pop("effort", None)
    if plan.effort is not None:
        output["effort"] = plan.effort
    edits.put("output_config", output or None)
