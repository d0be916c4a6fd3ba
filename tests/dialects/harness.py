"""Golden files of dialects: four parts, fed whole, byte by byte, in random cuts, and truncated at every byte.

A file ``tests/golden/<dialect>/<case>.txt`` has parts divided by lines ``--- name [options]``:

    --- neutral            the ChatRequest as JSON (absent = default)                       (may be missing)
    --- wire-request       method path, headers (credential shown as KEY), blank line, JSON body   (may be missing)
    --- wire-reply [stream] the provider's body, byte for byte ("\\r\\n" where the option crlf is given)
    --- events             one JSON array a line: ["TextDelta", {"text": "..."}]

The last line break before a divider belongs to the divider.
"""

import itertools
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from penstock.base import events as alphabet
from penstock.base.errors import UpstreamError
from penstock.base.events import Event, Finished, Lawful, TextDelta, ThinkingDelta, ToolArgs, UsageSeen
from penstock.wire.ports import ReplyReader

GOLDEN = Path(__file__).parent.parent / "golden"
_DIVIDER = re.compile(rb"^--- ([a-z-]+)((?: [a-z0-9=._/-]+)*)\n", re.MULTILINE)


class Case(msgspec.Struct):
    """One golden file, taken apart."""

    name: str
    parts: dict[str, bytes]
    options: dict[str, tuple[str, ...]]

    @property
    def stream(self) -> bool:
        return "stream" in self.options.get("wire-reply", ())

    @property
    def reply(self) -> bytes:
        body = self.parts["wire-reply"]
        return body.replace(b"\n", b"\r\n") if "crlf" in self.options["wire-reply"] else body

    @property
    def events(self) -> list[Event]:
        return [_event(line) for line in self.parts["events"].splitlines() if line.strip()]


def cases(dialect: str) -> list[Case]:
    """All cases of one dialect, by name."""
    return [_read(path) for path in sorted((GOLDEN / dialect).glob("*.txt"))]


def _read(path: Path) -> Case:
    data = path.read_bytes()
    marks = list(_DIVIDER.finditer(data))
    parts: dict[str, bytes] = {}
    options: dict[str, tuple[str, ...]] = {}
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        name = mark.group(1).decode()
        end = following.start() if following else len(data)
        body = data[mark.end() : end]
        parts[name] = body[:-1] if body.endswith(b"\n") and following else body
        options[name] = tuple(mark.group(2).decode().split())
    return Case(path.stem, parts, options)


def _event(line: bytes) -> Event:
    name, facts = msgspec.json.decode(line)
    return msgspec.convert(facts, getattr(alphabet, name))


def dump(events: list[Event]) -> str:
    """Events as the lines of a golden file, defaults left out."""
    lines = []
    for event in events:
        facts: dict[str, Any] = msgspec.to_builtins(event)
        slim = {k: v for k, v in facts.items() if k != "type" and not _is_default(event, k, v)}
        lines.append(msgspec.json.encode([type(event).__name__, slim]).decode())
    return "\n".join(lines) + "\n"


def _is_default(event: Event, name: str, value: Any) -> bool:
    for info in msgspec.structs.fields(type(event)):
        if info.name == name:
            return info.default is not msgspec.NODEFAULT and info.default == value
    return False


def squash(events: list[Event]) -> list[Event]:
    """Join neighbouring deltas, keep the last usage: equal for any split of the same bytes."""
    out: list[Event] = []
    for event in events:
        last = out[-1] if out else None
        match (last, event):
            case (TextDelta(text=a), TextDelta(text=b)):
                out[-1] = TextDelta(a + b)
            case (ToolArgs(index=i, json=a), ToolArgs(index=j, json=b)) if i == j:
                out[-1] = ToolArgs(i, a + b)
            case (ThinkingDelta(signature="", redacted=""), ThinkingDelta(redacted="")) if (
                last.format == event.format and not event.tool_id
            ):
                out[-1] = msgspec.structs.replace(event, text=last.text + event.text)
            case (UsageSeen(), UsageSeen()):
                out[-1] = event
            case _:
                out.append(event)
    return out


def play(reader: ReplyReader, chunks: list[bytes]) -> list[Event]:
    """Feed chunks and close; every event is held to the law."""
    law = Lawful()
    seen: list[Event] = []
    for batch in [*(reader.feed(chunk) for chunk in chunks), reader.close()]:
        for event in batch:
            law.see(event)
            seen.append(event)
    return seen


def check_any_split(
    make: Callable[[], ReplyReader], body: bytes, expected: list[Event], seed: int = 7
) -> None:
    """Whole, byte by byte, and 40 random cuts give the same events."""
    want = squash(expected)
    assert squash(play(make(), [body])) == want
    assert squash(play(make(), [body[i : i + 1] for i in range(len(body))])) == want
    rng = random.Random(seed)
    for _ in range(40):
        cuts = sorted(rng.sample(range(len(body) + 1), k=min(len(body), rng.randint(1, 9))))
        edges = [0, *cuts, len(body)]
        chunks = [body[a:b] for a, b in itertools.pairwise(edges)]
        assert squash(play(make(), chunks)) == want


def check_truncation(make: Callable[[], ReplyReader], body: bytes, complete_from: int) -> None:
    """A cut at every byte before ``complete_from`` is an UpstreamError; from there on it is a proper end."""
    for cut in range(len(body)):
        try:
            events = play(make(), [body[:cut]])
        except UpstreamError:
            assert cut < complete_from, f"cut at {cut} of {len(body)} was called broken"
        else:
            assert events[-1] == Finished()
            assert cut >= complete_from, f"cut at {cut} of {len(body)} passed for a whole reply"
