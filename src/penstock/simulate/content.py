"""What the simulated model says: an answer derived from the request, the same every time.

Theory
------
A dialect reads its request into ``Asked``, this file makes an ``Answer`` of it, and the dialect writes that. A token is
a word. Words in capitals in the caller's last message steer the answer (``Directives``); the same words, in lower
case after ``sim-`` in the model's name, do so too ("gpt-sim-refuse").

Rules
- Thinking counts against the cap; a cap used up by thinking leaves no text and stop "length".
- Usage is a disjoint vector (base.usage); each dialect adds it up its vendor's way.
"""

import re
import zlib
from typing import Any, Literal

import msgspec
from msgspec import Struct

from penstock.base.usage import Usage
from penstock.simulate.reply import Call
from penstock.simulate.sample import sample_of

Stop = Literal["stop", "length", "tool_calls", "filter", "refusal", "stop_sequence", "blocked", "malformed"]

_FILLER = (
    "the valve opens when water stands high and closes again at night so the wheel turns slowly naïve café millers "
    "know their river 水車 grinds grain into flour — while the keeper writes each litre down über 🙂 und"
)
_MUSING = "first the question then the facts weigh both and choose the plainer answer"
WORDS = tuple(_FILLER.split())
THOUGHTS = tuple(_MUSING.split())
_DIRECTIVE = re.compile(
    r"\b(CALL_TOOLS?|SAY_TOKENS|ECHO|FILTER_ANSWER|BLOCK_PROMPT|REFUSE_ANSWER|SPEND_ON_THINKING|MALFORMED_CALL"
    r"|REDACT_THINKING|DRAW_IMAGE|EMPTY_ANSWER)\b(?:[ :]+(\d+))?"
)
_NO_FIELDS: tuple[str, ...] = ()


class ToolSpec(Struct, frozen=True):
    """A tool that the caller offers."""

    name: str
    schema: dict[str, Any]


class Asked(Struct):
    """The request, as far as the answer depends on it.

    ``forced``: None leaves it to the model; empty forces any tool; else one of these. ``after_tools`` is the text of
    the tool results that end the history, None if it does not end so. ``thinking`` is how many tokens it may think.
    """

    prompt: str
    input_tokens: int
    max_tokens: int | None = None
    image_tokens: int = 0
    audio_tokens: int = 0
    tools: tuple[ToolSpec, ...] = ()
    forced: tuple[str, ...] | None = None
    parallel: bool = True
    after_tools: str | None = None
    schema: dict[str, Any] | None = None
    any_json: bool = False
    stops: tuple[str, ...] = _NO_FIELDS
    thinking: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0


class MadeCall(Struct, frozen=True):
    """A tool call. ``arguments`` is JSON text; ``whole`` False: the cap cut it off."""

    name: str
    arguments: str
    whole: bool = True


class Answer(Struct):
    """What the model says. ``text`` and ``thinking`` are tokens, to be joined as they are."""

    text: list[str]
    thinking: list[str]
    calls: list[MadeCall]
    stop: Stop
    usage: Usage
    stop_sequence: str | None = None
    redacted: bool = False
    image: bool = False


def answer_to(asked: Asked, call: Call) -> Answer:
    """The answer."""
    orders = directives(asked.prompt, call.model)
    blocked = _refusing(asked, orders)
    if blocked is not None:
        return blocked
    thinking = _thoughts(asked, orders)
    calls = _calls(asked, orders)
    text = [] if calls else _text(asked, orders, call)
    stop: Stop = "tool_calls" if calls else "stop"
    if call.quirks.huge_bytes and text:
        text.insert(0, "x" * call.quirks.huge_bytes)
    text, found = _stopped_at(text, asked.stops)
    if found is not None:
        stop = "stop_sequence"
    answer = Answer(
        text, thinking, calls, stop, Usage(), found, "REDACT_THINKING" in orders, "DRAW_IMAGE" in orders
    )
    _cap(answer, asked.max_tokens)
    answer.usage = _usage(asked, answer)
    return answer


def directives(prompt: str, model: str) -> dict[str, int]:
    """The orders in a prompt or a model's name, with their number (1 if none is given)."""
    orders: dict[str, int] = {}
    if "_" in prompt or "ECHO" in prompt:
        for word, number in _DIRECTIVE.findall(prompt):
            orders[word] = int(number) if number else 1
    if "sim-" in model:
        for word in ("refuse", "filter", "block", "malformed", "spend"):
            if f"sim-{word}" in model:
                orders[_BY_MODEL[word]] = 1
    return orders


_BY_MODEL = {
    "refuse": "REFUSE_ANSWER",
    "filter": "FILTER_ANSWER",
    "block": "BLOCK_PROMPT",
    "malformed": "MALFORMED_CALL",
    "spend": "SPEND_ON_THINKING",
}


def tokens_in(text: str) -> int:
    """How many input tokens a text counts: one per four characters, at least one for any text."""
    return (len(text) + 3) // 4


def _refusing(asked: Asked, orders: dict[str, int]) -> Answer | None:
    if "BLOCK_PROMPT" in orders:
        return Answer([], [], [], "blocked", _input_usage(asked, 0, 0))
    if "REFUSE_ANSWER" in orders:
        words = ["I", " cannot", " help", " with", " that."]
        return Answer(words, [], [], "refusal", _input_usage(asked, len(words), 0))
    if "FILTER_ANSWER" in orders:
        words = [WORDS[0], " " + WORDS[1]]
        return Answer(words, [], [], "filter", _input_usage(asked, len(words), 0))
    if "MALFORMED_CALL" in orders:
        return Answer([], [], [], "malformed", _input_usage(asked, 0, 0))
    return None


def _thoughts(asked: Asked, orders: dict[str, int]) -> list[str]:
    count = asked.thinking
    if "SPEND_ON_THINKING" in orders and asked.max_tokens is not None:
        count = asked.max_tokens
    return _words(THOUGHTS, count, 0)


def _calls(asked: Asked, orders: dict[str, int]) -> list[MadeCall]:
    wanted = 0
    if asked.forced is not None:
        wanted = 1
    if asked.tools and asked.after_tools is None:
        wanted = max(wanted, orders.get("CALL_TOOLS", 0), 1 if "CALL_TOOL" in orders else 0)
    if not wanted or not asked.tools:
        return []
    allowed = [tool for tool in asked.tools if not asked.forced or tool.name in asked.forced]
    if not asked.parallel:
        wanted = 1
    return [_call(allowed[index % len(allowed)], index) for index in range(wanted)] if allowed else []


def _call(tool: ToolSpec, index: int) -> MadeCall:
    arguments = sample_of(tool.schema, salt=index)
    return MadeCall(tool.name, msgspec.json.encode(arguments if isinstance(arguments, dict) else {}).decode())


def _text(asked: Asked, orders: dict[str, int], call: Call) -> list[str]:
    if asked.schema is not None:
        return _tokens_of(msgspec.json.encode(sample_of(asked.schema)).decode())
    if asked.any_json:
        return _tokens_of('{"answer": "' + WORDS[0] + " " + WORDS[1] + '"}')
    if "EMPTY_ANSWER" in orders:
        return []
    if "ECHO" in orders:
        return _tokens_of(asked.prompt.partition("ECHO")[2].lstrip(" :"))
    if asked.after_tools is not None:
        return _tokens_of(f"The tools said: {asked.after_tools}")
    known = call.profile.answers.get(asked.prompt)
    if known is not None:
        return _tokens_of(known)
    if call.profile.text:
        return _tokens_of(call.profile.text)
    count = orders.get("SAY_TOKENS", call.profile.output_tokens)
    return _words(WORDS, count, zlib.crc32(asked.prompt.encode()))


def _words(table: tuple[str, ...], count: int, start: int) -> list[str]:
    if count <= 0:
        return []
    size = len(table)
    words = [" " + table[(start + index) % size] for index in range(count)]
    words[0] = words[0][1:]
    return words


def _tokens_of(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def _stopped_at(text: list[str], stops: tuple[str, ...]) -> tuple[list[str], str | None]:
    if not stops:
        return text, None
    joined = "".join(text)
    places = [(joined.index(stop), stop) for stop in stops if stop and stop in joined]
    if not places:
        return text, None
    place, stop = min(places)
    return _tokens_of(joined[:place]), stop


def _cap(answer: Answer, cap: int | None) -> None:
    """Hold thinking, then text, then calls to the cap."""
    if cap is None:
        return
    thought = len(answer.thinking)
    if thought >= cap:
        answer.thinking = answer.thinking[:cap]
        if answer.text or answer.calls or thought > cap:
            answer.text, answer.calls, answer.stop = [], [], "length"
        return
    left = cap - thought
    if len(answer.text) > left:
        answer.text, answer.stop, answer.stop_sequence = answer.text[:left], "length", None
        return
    left -= len(answer.text)
    for index, made in enumerate(answer.calls):
        left -= _call_tokens(made)
        if left < 0:
            cut = MadeCall(made.name, made.arguments[: len(made.arguments) // 2], whole=False)
            answer.calls = [*answer.calls[:index], cut]
            answer.stop = "length"
            return


def _call_tokens(made: MadeCall) -> int:
    return 4 + (len(made.name) + len(made.arguments)) // 4


def _usage(asked: Asked, answer: Answer) -> Usage:
    output = len(answer.text) + sum(_call_tokens(made) for made in answer.calls)
    return _input_usage(asked, output, len(answer.thinking))


def _input_usage(asked: Asked, output: int, reasoning: int) -> Usage:
    cached = asked.cache_read + asked.cache_write_5m + asked.cache_write_1h
    return Usage(
        input=max(0, asked.input_tokens - cached),
        cache_read=asked.cache_read,
        cache_write_5m=asked.cache_write_5m,
        cache_write_1h=asked.cache_write_1h,
        input_image=asked.image_tokens,
        input_audio=asked.audio_tokens,
        output=output,
        reasoning=reasoning,
    )


def grouped(tokens: list[str], size: int) -> list[tuple[str, int]]:
    """Tokens as stream events of ``size`` tokens: (text, how many)."""
    if size <= 1:
        return [(token, 1) for token in tokens]
    return [
        ("".join(tokens[start : start + size]), len(tokens[start : start + size]))
        for start in range(0, len(tokens), size)
    ]
