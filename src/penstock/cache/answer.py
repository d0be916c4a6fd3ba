"""What is kept of an answer, and what the semantic tier reads of it without opening it.

An answer is kept as normalised events (base.events), not as the bytes of a provider: any caller's dialect can write them
again, streamed or whole.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from penstock.base.events import Event
from penstock.base.usage import Usage

KIND = "answer"
"""base.Place.kind of cached answers."""


class Answer(Struct, frozen=True, array_like=True):
    """One kept answer. ``gaps_ms[i]`` is the pause before ``events[i]`` as the provider made them (paced replay).

    ``id`` is public ("ce-" and hex). ``route`` is what was asked for, ``provider`` and ``model`` who answered.
    ``cost_nusd`` is what it cost when it was made: what one hit saves; None is not known.
    ``prompt`` is the last user message, for a person who audits; "" where nothing but hashes may be kept.
    """

    id: str
    request_id: str
    virtual_key: str
    operation: str
    route: str
    provider: str
    model: str
    created_ms: int
    cost_nusd: int | None
    prompt: str
    events: tuple[Event, ...]
    gaps_ms: tuple[float, ...] = ()
    exact_until_ms: int = 0
    """0: not in the exact tier."""
    semantic_until_ms: int = 0
    """0: not in the semantic tier."""


class About(Struct, frozen=True, array_like=True):
    """What the semantic tier knows of an entry: enough to find and judge it.

    ``partition`` is the keyed hash of everything but the embedded ``text``; ``klass`` names the class whose threshold holds;
    ``vector`` is float32, little-endian, of unit length; ``embedder`` the build that made it.
    """

    id: str
    partition: bytes
    klass: str
    text: str
    vector: bytes
    embedder: str
    until_ms: int


class GivenUsage(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What somebody says that an answer took, which no provider has given here; in OpenAI's words."""

    prompt_tokens: Annotated[int, Meta(ge=0)]
    completion_tokens: Annotated[int, Meta(ge=0)]
    total_tokens: int | None = None
    """Not read: it is their sum."""

    @property
    def usage(self) -> Usage:
        """In ours."""
        return Usage(input=self.prompt_tokens, output=self.completion_tokens)


_answer = msgspec.msgpack.Decoder(Answer)
_about = msgspec.msgpack.Decoder(About)
encode: Any = msgspec.msgpack.Encoder().encode


def read_answer(data: bytes) -> Answer:
    """Raises msgspec.DecodeError: what cannot be read is a miss."""
    return _answer.decode(data)


def read_about(data: bytes) -> About:
    """Raises msgspec.DecodeError."""
    return _about.decode(data)
