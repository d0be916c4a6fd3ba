"""What OpenRouter's callers read beside OpenAI's fields: who served, what it cost, the provider's own finish reason.

Sources: OpenRouter's openapi.yaml (ChatResult, ChatStreamChunk, ChatUsage) and its SDK 1.3.84, 2026-11 (wire.md 1.6).

Theory: a provider's reply in OpenAI's dialect goes through, and each of its events is taken apart by one level and put
together again with the missing fields: unknown fields, their order and the spelling of numbers survive. Fields that are
there (the provider is OpenRouter itself) stay, but for the cost: what counts here is what the gateway charges, and the
provider's own figure becomes the upstream's.
"""

from typing import Any

import msgspec
from msgspec import Raw

from penstock.base.chat import Ask
from penstock.base.money import usd_text
from penstock.base.usage import Usage
from penstock.dialects.openai_chat.shapes import present
from penstock.wire.ports import Charge, Identity, Relay
from penstock.wire.sse import Mould, SseReader, sse

_encode = msgspec.json.encode
_object: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
_objects: msgspec.json.Decoder[list[dict[str, Raw]]] = msgspec.json.Decoder(list[dict[str, Raw]])
_NONE = Raw(b"")
_NULL = Raw(b"null")


def charge_of(identity: Identity, usage: Usage | None, served: str) -> Charge | None:
    """What the reply cost; None: not known."""
    return None if usage is None or identity.charge is None else identity.charge(usage, served)


def cost_fields(charge: Charge | None, upstream: Raw = _NONE) -> dict[str, Any]:
    """``cost``, ``is_byok`` and ``cost_details`` of ``usage``. Exact decimals, never through a float."""
    if charge is None:
        return {"is_byok": False}
    total = _usd(charge.total_nusd)
    return {
        "cost": total,
        "is_byok": False,
        "cost_details": {
            "upstream_inference_cost": upstream if present(upstream) else total,
            "upstream_inference_prompt_cost": _usd(charge.prompt_nusd),
            "upstream_inference_completions_cost": _usd(charge.completion_nusd),
        },
    }


def _usd(nusd: int) -> Raw:
    return Raw(usd_text(nusd).encode())


class Dressed:
    """A pass-through relay whose bytes leave with OpenRouter's fields (wire.ports.Relay)."""

    __slots__ = (
        "_ask",
        "_inner",
        "_sse",
        "content_seen",
        "finished",
        "identity",
        "model",
        "mould",
        "native_stop",
        "stopped",
        "upstream_id",
        "usage",
    )

    def __init__(self, inner: Relay, ask: Ask, identity: Identity) -> None:
        self._inner = inner
        self._ask = ask
        self.identity = identity
        self._sse = SseReader()
        self.mould: Mould | None = None  # no event goes through as it came
        self.content_seen = False
        self.usage: Usage | None = None
        self.stopped: str | None = None
        self.native_stop = ""
        self.model = ""
        self.upstream_id = ""
        self.finished = False

    @property
    def content_type(self) -> bytes:
        """As the provider's."""
        return self._inner.content_type

    @property
    def content_bytes(self) -> int:
        """Of all that was read."""
        return self._inner.content_bytes

    def feed(self, data: bytes) -> bytes:
        """Whole events, dressed."""
        try:
            out = self._inner.feed(data)
        finally:
            self._learn()
        return self._events(out) if out and self._ask.stream else out

    def close(self) -> bytes:
        """The last events, or the whole body."""
        try:
            out = self._inner.close()
        finally:
            self._learn()
        if self._ask.stream:
            return self._events(out) if out else out
        return self._one(out, whole=True) or out

    def _learn(self) -> None:
        """What the provider's relay knows by now."""
        inner = self._inner
        self.content_seen, self.usage, self.finished = inner.content_seen, inner.usage, inner.finished
        self.stopped, self.native_stop = inner.stopped, inner.native_stop
        self.model, self.upstream_id = inner.model, inner.upstream_id

    def _events(self, out: bytes) -> bytes:
        return b"".join([self._event(event.data, event.raw) for event in self._sse.feed(out)])

    def _event(self, data: bytes | None, raw: bytes) -> bytes:
        dressed = None if data is None else self._one(data, whole=False)
        if dressed is None:
            return raw
        return sse(dressed if b"\n" not in dressed else msgspec.json.format(dressed, indent=-1))

    def _one(self, data: bytes, *, whole: bool) -> bytes | None:
        try:
            fields: dict[str, Any] = dict(_object.decode(data))
        except msgspec.DecodeError:
            return None  # [DONE], a comment, or what no client of ours reads either
        fields.setdefault("system_fingerprint", _NULL)
        if self.identity.provider:
            fields.setdefault("provider", self.identity.provider)
        choices = fields.get("choices", _NULL)
        if present(choices):
            fields["choices"] = [
                dressed_choice(choice, "message" if whole else "delta") for choice in _objects.decode(choices)
            ]
        usage = fields.get("usage", _NULL)
        if present(usage):
            fields["usage"] = self._usage(_object.decode(usage))
            if self.identity.story is not None:
                fields["openrouter_metadata"] = self.identity.story()
        return _encode(fields)

    def _usage(self, usage: dict[str, Raw]) -> dict[str, Any]:
        charge = charge_of(self.identity, self.usage, self.model)
        return {**usage, **cost_fields(charge, usage.get("cost", _NONE))}


def dressed_choice(choice: dict[str, Raw], name: str) -> dict[str, Any]:
    """A choice with its native finish reason, and its reasoning under OpenRouter's names."""
    dressed: dict[str, Any] = dict(choice)
    if present(choice.get("finish_reason", _NULL)):
        dressed.setdefault("native_finish_reason", choice["finish_reason"])
    piece = choice.get(name, _NULL)
    if not present(piece):
        return dressed
    words: dict[str, Any] = dict(_object.decode(piece))
    thought = words.get("reasoning_content", _NULL)
    if present(thought) and not present(words.get("reasoning", _NULL)):
        words["reasoning"] = thought
    text = words.get("reasoning", _NULL)
    if present(text) and "reasoning_details" not in words:
        words["reasoning_details"] = [
            {"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}
        ]
    dressed[name] = words
    return dressed
