"""OpenAI's embeddings: spoken by callers, to providers, and passed through between the two.

Facts: the official Python client asks for base64 (float32, little-endian) unless told otherwise, and decodes it (openai
3.52.0, measured); at most 2,048 inputs, each words or tokens. Many servers of this dialect know no base64: they are asked
for what the caller asked where the bytes pass through, and for floats otherwise.
"""

import base64
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from penstock.base.chat import Ask, Image
from penstock.base.decisions import Rejected
from penstock.base.embeddings import EmbeddingsInput, EmbeddingsRequest
from penstock.base.errors import BadRequest, PenstockError, UpstreamError
from penstock.base.events import Event, Finished, Started, Stopped, UsageSeen, VectorMade
from penstock.base.models import Target
from penstock.base.operations import Operation
from penstock.base.usage import Usage
from penstock.dialects.openai_chat.errors import read_error, read_page_in_200, write_error
from penstock.dialects.openai_chat.plain import PlainRelay, splice_model
from penstock.dialects.openai_chat.rules import headers
from penstock.wire.floats import floats, packed
from penstock.wire.gathered import Gathered
from penstock.wire.http import Headers, WireRequest
from penstock.wire.ports import Identity, Relay
from penstock.wire.preferences import ChainFields
from penstock.wire.unreadable import unreadable

PATH = b"/embeddings"
MAX_INPUTS = 2_048
"""OpenAI's own bound (API reference, embeddings, 2026-11)."""
_encode = msgspec.json.Encoder().encode
_REMEDIES = {
    "model": 'Send a string such as "openai/text-embedding-3-small".',
    "input": "Send a string, a list of strings, a list of tokens, or a list of lists of tokens.",
    "dimensions": "Send a whole number of at least 1.",
    "encoding_format": 'Send "float" or "base64".',
}


class _Body(ChainFields, gc=False):
    model: str = ""
    input: Raw = Raw(b"")
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None
    task: str | None = None
    input_type: str | None = None


class _Url(Struct, gc=False):
    url: str


class _Part(Struct, gc=False):
    """A thing to embed as chat writes it, or as Jina does: ``{"text": ...}``, ``{"image": url}``."""

    type: str = ""
    text: str | None = None
    image_url: _Url | None = None
    image: str | None = None


class _Usage(Struct, gc=False):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Row(Struct, gc=False):
    index: int
    embedding: list[float] | str


class _Answer(Struct, gc=False):
    data: list[_Row]
    model: str | None = None
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Body).decode
_decode_inputs = msgspec.json.Decoder(str | list[str | int | list[int] | _Part]).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


def read_inputs(raw: Raw) -> tuple[EmbeddingsInput, ...]:
    """``input`` in its four spellings. Raises BadRequest."""
    if not len(raw) or bytes(raw) == b"null":
        raise BadRequest("The field input is missing.", param="input", hint=_REMEDIES["input"])
    try:
        given = _decode_inputs(raw)
    except msgspec.ValidationError as error:
        raise BadRequest(
            f"The field input is wrong: {error}.", param="input", hint=_REMEDIES["input"]
        ) from None
    if isinstance(given, str):
        return (given,)
    if given and all(isinstance(one, int) for one in given):
        return (tuple(one for one in given if isinstance(one, int)),)
    tokens = any(isinstance(one, list) for one in given) and not all(isinstance(one, list) for one in given)
    if tokens or any(isinstance(one, int) for one in given):
        raise BadRequest(
            "The field input mixes tokens with other things.", param="input", hint=_REMEDIES["input"]
        )
    inputs = tuple(_input(one, index) for index, one in enumerate(given) if not isinstance(one, int))
    for index, one in enumerate(inputs):
        if not one:
            raise BadRequest(f"The field input[{index}] is empty.", param=f"input[{index}]")
    if not inputs:
        raise BadRequest("The field input is empty.", param="input", hint=_REMEDIES["input"])
    if len(inputs) > MAX_INPUTS:
        raise BadRequest(
            f"The field input has {len(inputs)} entries, and at most {MAX_INPUTS} can be embedded in one call.",
            param="input",
        )
    return inputs


def _input(one: "str | list[int] | _Part", index: int) -> EmbeddingsInput:
    if isinstance(one, str):
        return one
    if isinstance(one, list):
        return tuple(one)
    url = one.image_url.url if one.image_url is not None else one.image
    if url:
        if url.startswith("data:"):
            head, _, data = url.partition(",")
            return Image(data=data, mime=head[5:].partition(";")[0])
        return Image(url=url)
    if one.text is None:
        raise BadRequest(f"The field input[{index}] is neither text nor a picture.", param=f"input[{index}]")
    return one.text


class EmbeddingsWriter:
    """The list object: whole only, an embeddings reply has no stream."""

    content_type = b""

    def __init__(self, model: str, encoding: str) -> None:
        self._model = model
        self._encoding = encoding

    def write(self, events: list[Event]) -> bytes:
        """Nothing: there is no stream."""
        return b""

    def fail(self, error: PenstockError) -> bytes:
        """Nothing: there is no stream."""
        return b""

    def whole(self, events: list[Event]) -> bytes:
        """The body, its vectors in the order of the inputs."""
        rows: list[dict[str, Any]] = []
        usage, model = Usage(), ""
        for event in events:
            match event:
                case VectorMade(index=index, vector=vector):
                    shown: Any = (
                        base64.b64encode(vector).decode() if self._encoding == "base64" else floats(vector)
                    )
                    rows.append({"object": "embedding", "index": index, "embedding": shown})
                case UsageSeen():
                    usage = event.usage
                case Started():
                    model = event.model
                case _:
                    pass
        rows.sort(key=lambda row: row["index"])
        tokens = usage.prompt_tokens
        return _encode(
            {
                "object": "list",
                "data": rows,
                "model": model or self._model,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )


class EmbeddingsReader(Gathered):
    """A whole reply -> events."""

    def read(self, body: bytes) -> list[Event]:
        """All of it. Raises UpstreamFault for an error inside a 200, UpstreamMalformed."""
        try:
            answer = _decode_answer(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise read_page_in_200(body) from None
        events: list[Event] = [Started(answer.model or "")]
        events += [VectorMade(row.index, packed(row.embedding)) for row in answer.data]
        if answer.usage is not None:
            tokens = answer.usage.prompt_tokens
            if tokens is None:
                tokens = answer.usage.total_tokens or 0
            events.append(UsageSeen(Usage(input=tokens)))
        return [*events, Stopped("stop"), Finished()]


class OpenAIEmbeddings:
    """CallerDialect, UpstreamDialect and PassThroughDialect of wire.ports, for embeddings."""

    name = "openai"
    family = "openai"
    operation: Operation = "embeddings"
    heartbeat = b""
    default_base_url = "https://api.openai.com/v1"

    def read_request(self, body: bytes) -> Ask:
        """The envelope. Raises BadRequest naming the field."""
        read = self._read(body)
        if not read.model:
            raise BadRequest("The field model is missing.", param="model", hint=_REMEDIES["model"])
        if not len(read.input) or bytes(read.input) == b"null":
            raise BadRequest("The field input is missing.", param="input", hint=_REMEDIES["input"])
        ask = Ask(
            "openai",
            body,
            read.model,
            input_bytes=len(read.input),
            user=read.user or "",
            operation="embeddings",
        )
        read.read_into(ask)
        return ask

    def expand(self, ask: Ask) -> EmbeddingsRequest:
        """The neutral request. Raises BadRequest naming the field."""
        read = self._read(ask.body)
        if read.dimensions is not None and read.dimensions < 1:
            raise BadRequest(
                f"The field dimensions is {read.dimensions}.",
                param="dimensions",
                hint=_REMEDIES["dimensions"],
            )
        return EmbeddingsRequest(
            read.model,
            read_inputs(read.input),
            read.dimensions,
            read.encoding_format or "float",
            task=read.task or read.input_type or "",
            user=read.user,
        )

    def _read(self, body: bytes) -> _Body:
        try:
            return _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unreadable(error, body, _REMEDIES) from None

    def writer(self, ask: Ask, identity: Identity) -> EmbeddingsWriter:
        """A writer for one reply."""
        return EmbeddingsWriter(identity.model, self._read(ask.body).encoding_format or "float")

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error body."""
        return _encode(write_error(error, request_id))

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """Never asked: there is no stream."""
        return self.write_error(error, request_id)

    # Spoken to a provider.

    def refuse(self, request: EmbeddingsRequest, target: Target) -> Rejected | None:
        """Pictures: OpenAI's embeddings read words alone."""
        for index, one in enumerate(request.inputs):
            if not isinstance(one, str | tuple):
                return Rejected(
                    "image-unsupported",
                    f"{target.name} is asked to embed words, not pictures: OpenAI's format has no word for them.",
                    param=f"input[{index}]",
                    caller_fault=True,
                )
        return None

    def write_request(self, request: EmbeddingsRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request, always for floats: not all servers of this dialect know base64."""
        body: dict[str, Any] = {"model": target.model, "input": request.inputs, "encoding_format": "float"}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.user is not None:
            body["user"] = request.user
        dropped = [("task", request.task), ("title", request.title), ("truncate", request.truncate)]
        adjusted = tuple(f"{name}-dropped" for name, value in dropped if value)
        return WireRequest(b"POST", PATH, headers(credential, stream=False), _encode(body), adjusted)

    def reader(self, target: Target, *, stream: bool) -> EmbeddingsReader:
        """A reader for one reply."""
        return EmbeddingsReader()

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error."""
        return read_error(status, headers, body)

    def splice_request(self, ask: Ask, target: Target, credential: str) -> WireRequest:
        """The caller's bytes with the model's name in place."""
        return splice_model(PATH, ask, target, credential)

    def relay(self, ask: Ask, *, stream: bool) -> Relay:
        """Forwards the provider's bytes and reads usage beside them."""
        return PlainRelay()


EMBEDDINGS = OpenAIEmbeddings()
