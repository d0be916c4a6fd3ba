"""Keys: the one form that a request has, however it was written, and keyed hashes of it.

Theory
------
``canonical`` is a sorted-key JSON of everything in a neutral request that can change its answer, and of nothing that cannot.
Out of it stay: the stream flag, who asks, what is noted or kept beside the call, prompt-cache breakpoints, and the model's name,
in whose place stands ``group``, the targets that it resolved to. What the callers' dialects agree on in the neutral form, they
agree on here. Nothing is lower-cased. A text is put in NFC; blanks at the very end of a system's or user's message fall away,
within it they do not (parts are joined by whoever reads them), nor at the end of an assistant's words (a prefill is continued
from them), nor in an old-style completion's prompt. Media stand as hashes of their bytes. Tool calls' ids, which clients and
replays invent anew, stand as ordinals. The order of tools and messages counts, and of keys in the
schema of an answer; elsewhere the order of keys, and that of stop sequences, does not.

``Keys`` hashes it with BLAKE2b-128 under a secret of the tenant's own: no two tenants have an equal key, and nobody without the
secret can guess a request from its key. Tenant and namespace are hashed as well, each with its length before it, so that no
choice of names makes one scope look like another (a prefix to the text is no partition: vLLM-SR #2134).
"""

import binascii
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final
from unicodedata import is_normalized, normalize

import msgspec

from penstock.base.chat import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Video,
)
from penstock.base.embeddings import EmbeddingsRequest
from penstock.wire.ports import NeutralRequest

VERSION = 1
"""Of the canonical form: another one makes other keys."""
KEY_BYTES = 16
LEAST_SECRET_BYTES = 16
_MOST_KEY_BYTES = 64
_TENANTS = 4_096
_BLANKS = " \t\r\n"
_PROMPT = "prompt-as-chat"
"""How the completions dialect notes that a bare prompt, not a conversation, was sent."""

IDLE_EXTRAS: Final[frozenset[str]] = frozenset(
    {
        "cache_control",
        "inference_geo",
        "labels",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "session_id",
        "store",
        "stream_options",
        "trace",
        "usage",
        "user",
    }
)
"""Fields beside the neutral form that no answer depends on: who asks, notes, prompt caching, tiers of speed, where it is
computed (wire.md 1.2, 2.1, 3.1). Whatever is not in here, and not known, counts."""

_encode = msgspec.json.Encoder(order="sorted").encode
_as_written = msgspec.json.Encoder().encode
Form = dict[str, Any]


def canonical(request: NeutralRequest, *, group: str, policy: str = "", beside: bytes = b"") -> bytes:
    """The form of ``request``. ``group`` names the targets that may answer, ``policy`` the version of what guards the answers,
    ``beside`` is what the neutral form does not hold of the caller's body (``unread``).

    Raises TypeError for an operation that is not cached.
    """
    if isinstance(request, ChatRequest):
        return _encode(_beside(_chat(request, group, policy, bare=False), beside))
    if isinstance(request, EmbeddingsRequest):
        return _encode(_beside(_embeddings(request, group, policy), beside))
    raise TypeError(f"{type(request).__name__} has no canonical form: only chat and embeddings are cached.")


def surroundings(request: ChatRequest, *, group: str, policy: str = "", beside: bytes = b"") -> bytes:
    """``canonical`` without the words of the last user message: what has to be equal before words are compared by meaning."""
    return _encode(_beside(_chat(request, group, policy, bare=True), beside))


def setting(request: ChatRequest, *, group: str) -> bytes:
    """What an application says in every call of one kind: targets, system messages, tools. No words of a user's.

    The class in which templates are learned (``templates``): a conversation's turns share it, which they do not a partition.
    """
    leading = tuple(message for message in request.messages if message.role == "system")
    return _encode(_chat(ChatRequest("", leading, tools=request.tools), group, "", bare=False))


class Keys:
    """Keys under one root secret. ``repr`` tells nothing of it."""

    __slots__ = ("_secret_of",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) < LEAST_SECRET_BYTES:
            raise ValueError(
                f"The cache's root secret has {len(secret)} bytes, and needs {LEAST_SECRET_BYTES}."
            )
        root = secret if len(secret) <= _MOST_KEY_BYTES else blake2b(secret).digest()

        @lru_cache(maxsize=_TENANTS)
        def secret_of(tenant: str) -> bytes:
            return blake2b(tenant.encode(), key=root, digest_size=32, person=b"penstock-tenant").digest()

        self._secret_of = secret_of

    def tenant_secret(self, tenant: str) -> bytes:
        """The tenant's own secret: dropping the root secret, or a tenant's name, makes its keys unfindable."""
        return self._secret_of(tenant)

    def exact_key(self, tenant: str, namespace: str, canonical: bytes) -> bytes:
        """16 bytes: where the answer to exactly this request lies."""
        return self._hash(b"penstock-exact", tenant, (namespace,), canonical)

    def partition_key(
        self,
        tenant: str,
        namespace: str,
        request: ChatRequest,
        group: str,
        embedder_build: str,
        template: str,
        *,
        policy: str = "",
        beside: bytes = b"",
    ) -> bytes:
        """16 bytes: within what two requests may be compared by meaning."""
        around = surroundings(request, group=group, policy=policy, beside=beside)
        return self.partition(tenant, namespace, around, embedder_build, template)

    def partition(
        self, tenant: str, namespace: str, around: bytes, embedder_build: str, template: str
    ) -> bytes:
        """The same, with the ``surroundings`` at hand."""
        return self._hash(b"penstock-parted", tenant, (namespace, embedder_build, template), around)

    def pair_key(self, partition: bytes, one: str, other: str) -> bytes:
        """16 bytes: two texts of a partition, in either order, for all nodes that share the root secret."""
        return self._hash(b"penstock-pairs", "", tuple(sorted((one, other))), partition)

    def template_class(self, tenant: str, namespace: str, request: ChatRequest, group: str) -> str:
        """The class in which ``templates.Templates`` learns: it depends on no user's words."""
        return self._hash(b"penstock-classes", tenant, (namespace,), setting(request, group=group)).hex()

    def _hash(self, purpose: bytes, tenant: str, names: tuple[str, ...], rest: bytes) -> bytes:
        digest = blake2b(key=self._secret_of(tenant), digest_size=KEY_BYTES, person=purpose)
        head = bytearray()
        for name in (tenant, *names):
            raw = name.encode()
            head += len(raw).to_bytes(4, "big")
            head += raw
        digest.update(head)
        digest.update(rest)
        return digest.digest()


def _beside(form: Form, beside: bytes) -> Form:
    if beside:
        form["beside"] = beside.decode()
    return form


def _chat(request: ChatRequest, group: str, policy: str, *, bare: bool) -> Form:
    prompt = _PROMPT in request.adjusted
    form: Form = {
        "v": VERSION,
        "op": "prompt" if prompt else "chat",
        "group": group,
        "messages": _messages(request.messages, prompt=prompt, bare=bare),
    }
    if policy:
        form["policy"] = policy
    for name, value in (
        ("max_tokens", request.max_tokens),
        ("temperature", _number(request.temperature)),
        ("top_p", _number(request.top_p)),
        ("top_k", request.top_k),
        ("seed", request.seed),
        ("presence_penalty", _number(request.presence_penalty)),
        ("frequency_penalty", _number(request.frequency_penalty)),
        ("top_logprobs", request.top_logprobs),
    ):
        if value is not None:
            form[name] = value
    if request.n is not None and request.n != 1:
        form["n"] = request.n
    if request.logprobs:
        form["logprobs"] = True
    if request.stop:
        form["stop"] = sorted({nfc(word) for word in request.stop})
    _tools(request, form)
    wanted = request.response_format
    if wanted is not None and wanted.kind != "text":
        # Fields are generated in the schema's own order (OpenAI, structured outputs, 2026-11): here the order of keys counts.
        schema = "" if wanted.schema is None else _as_written(wanted.schema).decode()
        form["response_format"] = [wanted.kind, schema, wanted.name, wanted.strict]
    thinking = request.reasoning
    if thinking is not None:
        form["reasoning"] = [thinking.effort, thinking.max_tokens, thinking.enabled, thinking.exclude]
    if request.extras:
        extras = _extras(request.extras)
        if extras:
            form["extras"] = extras
    return form


def _tools(request: ChatRequest, form: Form) -> None:
    """Tools, and what is said of their use. "auto" with tools and "none" without are what is done unsaid."""
    if request.tools:
        form["tools"] = [_tool(tool) for tool in request.tools]
        if request.parallel_tool_calls is False:
            form["parallel_tool_calls"] = False
    choice = request.tool_choice
    if choice is not None and choice != ToolChoice("auto" if request.tools else "none"):
        form["tool_choice"] = [choice.mode, *sorted(choice.names)]


def _tool(tool: Tool) -> list[Any]:
    return [tool.name, tool.description, tool.parameters, tool.strict]


def _extras(extras: Mapping[str, Mapping[str, Any]]) -> Form:
    kept: Form = {}
    for dialect, fields in extras.items():
        told = {name: value for name, value in fields.items() if name not in IDLE_EXTRAS}
        if told:
            kept[dialect] = told
    return kept


def _messages(messages: tuple[Message, ...], *, prompt: bool, bare: bool) -> list[list[Any]]:
    ids: dict[str, int] = {}
    emptied = last_user(messages) if bare else -1
    forms: list[list[Any]] = []
    for index, message in enumerate(messages):
        trims = not prompt and message.role in ("user", "system")
        last = len(message.parts) - 1
        form: list[Any] = [message.role]
        for place, part in enumerate(message.parts):
            if type(part) is Text:
                if index != emptied:
                    form.append(nfc(part.text.rstrip(_BLANKS) if trims and place == last else part.text))
            else:
                form.append(_part(part, ids))
        if message.name:
            form.append({"name": message.name})
        forms.append(form)
    return forms


def last_user(messages: tuple[Message, ...]) -> int:
    """The index of the last message of a user's; -1: there is none."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "user":
            return index
    return -1


def _part(part: Part, ids: dict[str, int]) -> list[Any]:
    """A part that is not words. A word tells the kinds apart."""
    match part:
        case Image():
            detail = None if part.detail == "auto" else part.detail
            return ["image", part.url, _data(part.data), part.mime, detail]
        case ToolCall():
            return ["call", ids.setdefault(part.id, len(ids)), part.name, part.arguments]
        case ToolResult():
            shown = [_part(image, ids) for image in part.images]
            at = ids.setdefault(part.id, len(ids))
            return ["result", at, part.name, nfc(part.text), part.is_error, shown]
        case Thinking():
            at = ids.setdefault(part.tool_id, len(ids)) if part.tool_id else -1
            return ["thinking", part.text, part.signature, part.format, part.redacted, at]
        case Document():
            return ["document", _data(part.data), part.mime, part.url, part.file_id, part.filename]
        case Audio():
            return ["audio", _data(part.data), part.format, part.url, part.file_id]
        case Video():
            bounds = [_number(part.start_s), _number(part.end_s), _number(part.fps)]
            return ["video", _data(part.data), part.mime, part.url, part.file_id, bounds]
        case Text():
            return ["text", nfc(part.text)]


def _data(data: str) -> str:
    """Base64 as the hash of its bytes; what is not base64 (a provider will say so) as the hash of its letters."""
    if not data:
        return ""
    try:
        raw, kind = binascii.a2b_base64(data, strict_mode=True), "b:"
    except (ValueError, binascii.Error):
        raw, kind = data.encode(), "t:"
    return kind + blake2b(raw, digest_size=32).hexdigest()


def _embeddings(request: EmbeddingsRequest, group: str, policy: str) -> Form:
    """A vector hangs on every token: texts stand exactly as they came. How the caller wants it encoded does not matter."""
    form: Form = {
        "v": VERSION,
        "op": "embeddings",
        "group": group,
        "inputs": [_part(one, {}) if isinstance(one, Image) else one for one in request.inputs],
    }
    for name, value in (
        ("policy", policy),
        ("dimensions", request.dimensions),
        ("task", request.task),
        ("title", request.title),
        ("truncate", request.truncate),
        ("extras", _extras(request.extras)),
    ):
        if value:
            form[name] = value
    return form


def nfc(text: str) -> str:
    """In Unicode's composed form."""
    return text if text.isascii() or is_normalized("NFC", text) else normalize("NFC", text)


def _number(value: float | None) -> float | None:
    """1 and 1.0 are one number; -0.0 is 0.0."""
    return None if value is None else float(value) + 0.0
