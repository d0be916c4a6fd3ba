"""The event alphabet: what any chat source (provider, cache, own worker) yields, and its lawful order.

Theory
------
``Stopped`` is what the model says; ``Finished`` is what the wire says. OpenAI sends usage *after* the finish
reason, so the two are different events, and a stream cut between them is broken and is reported as broken.

    state    Started  content*  UsageSeen  Stopped   Finished
    fresh    open     -         -          -         -
    open     -        open      open       stopped   -
    stopped  -        -         stopped    -         done
    done     -        -         -          -         -

(*content: TextDelta, ThinkingDelta, ToolStarted, ToolArgs, MediaMade, RefusalDelta, and what other operations make.) A blank is a broken law.
Where several answers were asked for, all of this is the first one's; what the others say comes as ``Aside``, also after the
first has stopped: who knows of one answer alone can pass them over.
"""

from typing import Literal

from msgspec import Struct

from penstock.base.usage import Usage

StopReason = Literal["stop", "length", "tool_calls", "content_filter", "error"]


class Started(Struct, frozen=True, gc=False, tag=True):
    """The reply has begun. ``model`` is what the provider says it used, "" if it did not say."""

    model: str = ""
    id: str = ""


class TextDelta(Struct, frozen=True, gc=False, tag=True):
    """A piece of the answer. May be empty; empty text is not content."""

    text: str


class RefusalDelta(Struct, frozen=True, gc=False, tag=True):
    """A piece of the model's refusal."""

    text: str


class ThinkingDelta(Struct, frozen=True, gc=False, tag=True):
    """A piece of visible reasoning, and/or the provider's opaque proof of it.

    ``signature`` belongs to the thinking block that this delta ends (Anthropic) or to the part (Gemini).
    ``format`` names whose opaque state it is: ``anthropic-claude-v1``, ``google-gemini-v1``, ``unknown``.
    ``redacted`` is Anthropic's redacted_thinking data. ``tool_id`` ties a Gemini signature to a tool call.
    """

    text: str = ""
    signature: str = ""
    format: str = "unknown"
    redacted: str = ""
    tool_id: str = ""


class ToolStarted(Struct, frozen=True, gc=False, tag=True):
    """A tool call begins. ``index`` counts tool calls only, from 0."""

    index: int
    id: str
    name: str


class ToolArgs(Struct, frozen=True, gc=False, tag=True):
    """A fragment of one tool call's JSON arguments; the fragments of an index joined are one JSON object."""

    index: int
    json: str


class MediaMade(Struct, frozen=True, gc=False, tag=True):
    """An image or a sound made by the model. ``data`` is base64, or "" where ``url`` is set.

    ``index``: which of several pictures. ``partial``: a preview, the n-th of its picture from 0; -1 is the picture itself.
    """

    kind: Literal["image", "audio"]
    mime: str
    data: str = ""
    url: str = ""
    index: int = 0
    partial: int = -1
    revised_prompt: str = ""


class VectorMade(Struct, frozen=True, gc=False, tag=True):
    """The embedding of the ``index``-th input: float32, little-endian."""

    index: int
    vector: bytes


class Scored(Struct, frozen=True, gc=False, tag=True):
    """How well the ``index``-th document answers the query: the best one first."""

    index: int
    score: float


class Judged(Struct, frozen=True, gc=False, tag=True):
    """What a moderation model says of the ``index``-th input: its categories as the provider names them."""

    index: int
    flagged: bool
    categories: dict[str, bool]
    scores: dict[str, float]
    applied: dict[str, list[str]] = {}


class SegmentMade(Struct, frozen=True, gc=False, tag=True):
    """A stretch of a recording written down: its words, whose they are, and where it lies. ``kind``: segment or word."""

    kind: Literal["segment", "word"]
    text: str
    start_s: float
    end_s: float
    speaker: str = ""
    native: dict[str, object] = {}


class TranscriptFacts(Struct, frozen=True, gc=False, tag=True):
    """What is said of a whole recording: ``duration_s`` and the language, None and "" where the provider does not say."""

    duration_s: float | None = None
    language: str = ""


class UsageSeen(Struct, frozen=True, gc=False, tag=True):
    """Cumulative usage so far; the last one counts."""

    usage: Usage


class Stopped(Struct, frozen=True, gc=False, tag=True):
    """The model stopped, and why; ``native`` is the provider's own word."""

    why: StopReason
    native: str = ""
    stop_sequence: str | None = None


class Finished(Struct, frozen=True, gc=False, tag=True):
    """The wire ended properly."""


Said = TextDelta | RefusalDelta | ThinkingDelta | ToolStarted | ToolArgs | MediaMade
"""Content of one answer."""


class Aside(Struct, frozen=True, gc=False, tag=True):
    """What the ``index``-th answer says, or why it stopped, where several were asked for; from 1, the first one is no aside."""

    index: int
    event: Said | Stopped


Made = VectorMade | Scored | Judged | SegmentMade | TranscriptFacts
"""What other operations than chat make."""
Content = Said | Made
Event = Started | Aside | Content | UsageSeen | Stopped | Finished

_CONTENT: tuple[type, ...] = (
    TextDelta,
    RefusalDelta,
    ThinkingDelta,
    ToolStarted,
    ToolArgs,
    MediaMade,
    VectorMade,
    Scored,
    Judged,
    SegmentMade,
    TranscriptFacts,
)
_MADE = (MediaMade, VectorMade, Scored, Judged, SegmentMade)

LAW: dict[str, dict[type, str]] = {
    "fresh": {Started: "open"},
    "open": {**dict.fromkeys(_CONTENT, "open"), Aside: "open", UsageSeen: "open", Stopped: "stopped"},
    "stopped": {Aside: "stopped", UsageSeen: "stopped", Finished: "done"},
    "done": {},
}


class UnlawfulEvent(Exception):
    """A source yielded an event that its state does not allow: a bug in a reader."""


class Lawful:
    """Holds a source to the law. ``see`` each event in turn; ``state`` is where it stands."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = "fresh"

    def see(self, event: Event) -> None:
        """Move on, or raise UnlawfulEvent."""
        nxt = LAW[self.state].get(type(event))
        if nxt is None:
            raise UnlawfulEvent(f"{type(event).__name__} in state {self.state}")
        self.state = nxt


def is_content(event: Event) -> bool:
    """True for the events that let a gateway commit to 200: non-empty text, thinking, a tool's start, media.

    A role, a ping, an empty delta or a bare signature are not content (behaviour 1).
    """
    kind = type(event)
    if kind is Aside:
        return is_content(event.event)  # type: ignore[union-attr]
    if kind is TextDelta or kind is RefusalDelta:
        return bool(event.text)  # type: ignore[union-attr]
    if kind is ThinkingDelta:
        return bool(event.text or event.redacted)  # type: ignore[union-attr]
    return kind is ToolStarted or kind in _MADE


class FoldedTool(Struct):
    """One whole tool call."""

    index: int
    id: str
    name: str
    arguments: str = ""


class Folded(Struct):
    """A whole reply, made of its events."""

    model: str = ""
    id: str = ""
    text: str = ""
    refusal: str = ""
    thinking: list[ThinkingDelta] = []
    tools: list[FoldedTool] = []
    media: list[MediaMade] = []
    made: list[Made] = []
    usage: Usage | None = None
    stopped: Stopped | None = None
    finished: bool = False
    asides: "dict[int, Folded]" = {}
    """The other answers."""


def fold(events: list[Event]) -> Folded:
    """Make the non-streaming reply out of events, so that streaming and not are one path.

    Consecutive thinking text is joined into one block, ended by its signature; a redacted block stands alone.
    """
    folded = Folded()
    texts: list[str] = []
    refusals: list[str] = []
    tools: dict[int, FoldedTool] = {}
    args: dict[int, list[str]] = {}
    asides: dict[int, list[Event]] = {}
    for event in events:
        match event:
            case TextDelta(text=text):
                texts.append(text)
            case ToolStarted(index=index, id=tool_id, name=name):
                tools[index] = FoldedTool(index=index, id=tool_id, name=name)
                args[index] = []
            case ToolArgs(index=index, json=fragment):
                args[index].append(fragment)
            case ThinkingDelta():
                _fold_thinking(folded.thinking, event)
            case RefusalDelta(text=text):
                refusals.append(text)
            case MediaMade():
                folded.media.append(event)
            case UsageSeen(usage=usage):
                folded.usage = usage
            case Stopped():
                folded.stopped = event
            case Started(model=model, id=reply_id):
                folded.model, folded.id = model, reply_id
            case Finished():
                folded.finished = True
            case Aside(index=index, event=said):
                asides.setdefault(index, []).append(said)
            case _:
                folded.made.append(event)
    for index, tool in tools.items():
        tool.arguments = "".join(args[index]) or "{}"
    folded.text, folded.refusal = "".join(texts), "".join(refusals)
    folded.asides = {index: fold(asides[index]) for index in sorted(asides)}
    folded.tools = [tools[index] for index in sorted(tools)]
    return folded


def _fold_thinking(blocks: list[ThinkingDelta], delta: ThinkingDelta) -> None:
    last = blocks[-1] if blocks else None
    joins = (
        last is not None
        and not last.signature
        and not last.redacted
        and not delta.redacted
        and last.format == delta.format
        and not delta.tool_id
    )
    if joins and last is not None:
        blocks[-1] = ThinkingDelta(
            text=last.text + delta.text, signature=delta.signature, format=last.format, tool_id=last.tool_id
        )
    else:
        blocks.append(delta)
