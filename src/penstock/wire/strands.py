"""Replies that take several exchanges, written as plain code: a dialogue made of generators, sans-IO.

Theory
------
A *strand* makes one picture (or whatever a provider makes one at a time). It yields what it wants sent and is given the
answers, or yields seconds and is woken after them; what it returns is what was made:

    answers = yield (request, Elsewhere(url))     # all at once
    yield 0.5                                     # a wait

``Strands`` runs n of them side by side as one ``wire.ports.Dialogue``. n calls for n pictures are n strands.

Rules
- A strand that failed is begun once more where others are beside it and its failure may pass: what they made has been
  paid for. A strand alone is the schedule's to repeat.
- What is under way is heard out before a failure is raised: what it made is charged, and the usage so far says so.
- Whoever is cancelled says through its handle what tells the provider to stop.
"""

from base64 import b64decode
from collections.abc import Callable, Generator, Sequence

import msgspec
from msgspec import Struct

from penstock.base.errors import UpstreamError, UpstreamFault, UpstreamMalformed, UpstreamRateLimited
from penstock.base.events import Event, Finished, MediaMade, Started, Stopped, UsageSeen
from penstock.base.usage import TOKEN_UNITS, Usage
from penstock.wire.finish import Finish
from penstock.wire.http import Headers, WireRequest
from penstock.wire.pictures import picture_of
from penstock.wire.ports import Elsewhere, Moves, Send

TRIES = 2
AGAIN_S = 0.5
LONGEST_AGAIN_S = 10.0
"""A provider that asks for more is left to the schedule: the caller waits."""


class Answer(Struct, frozen=True):
    """One exchange's answer, with whatever status."""

    status: int
    headers: Headers
    body: bytes


class Made(Struct, frozen=True):
    """What a strand made, and what it cost."""

    pictures: tuple[MediaMade, ...]
    usage: Usage
    model: str = ""
    id: str = ""


class Handle(Struct):
    """What a strand says of itself. ``stop``: what tells the provider that nobody waits for it any more."""

    stop: WireRequest | Elsewhere | None = None


Wish = tuple[WireRequest | Elsewhere, ...] | float
Strand = Generator[Wish, tuple[Answer, ...], Made]
Maker = Callable[[Handle], Strand]


_AS_MADE = Finish()


class _Running:
    """A strand and where it stands."""

    __slots__ = ("answers", "handle", "maker", "strand", "tries", "wanted")

    def __init__(self, maker: Maker) -> None:
        self.maker = maker
        self.handle = Handle()
        self.strand: Strand | None = None
        self.answers: dict[int, Answer] = {}
        self.wanted = 0
        """How many answers it waits for; 0: it waits for time, or is over."""
        self.tries = 0


class Strands:
    """``wire.ports.Dialogue`` of one or more strands."""

    def __init__(
        self, makers: Sequence[Maker], adjusted: tuple[str, ...] = (), finish: Finish = _AS_MADE
    ) -> None:
        self.adjusted = adjusted
        self.finish = finish
        self._all = [_Running(maker) for maker in makers]
        self._open = set(range(len(self._all)))
        self._asleep: set[int] = set()
        self._usage: Usage | None = None
        self._made = 0
        self._failure: UpstreamError | None = None
        self._told_all = False
        """What was made has been told, and the failure is next."""

    def begin(self) -> Moves:
        """The first wishes of all."""
        moves = _Moves()
        for place in sorted(self._open):
            self._begin(place, moves)
        return self._close(moves)

    def got(self, tag: str, status: int, headers: Headers, body: bytes) -> Moves:
        """An answer for one of them."""
        return self._heard(tag, Answer(status, headers, body))

    def failed(self, tag: str, error: UpstreamError) -> Moves:
        """An exchange came to nothing."""
        place = int(tag.partition(".")[0])
        moves = _Moves()
        if place in self._open:
            self._all[place].answers.clear()
            self._on(place, error, moves)
        return self._close(moves)

    def woke(self) -> Moves:
        """The wait is over, for all who wait: to be early does no harm."""
        if self._told_all and self._failure is not None:
            raise self._failure
        moves = _Moves()
        for place in sorted(self._asleep):
            self._asleep.discard(place)
            if self._all[place].strand is None:
                self._begin(place, moves)
            else:
                self._on(place, (), moves)
        return self._close(moves)

    def cancel(self) -> tuple[Send, ...]:
        """What stops those that still run."""
        stops = [(place, self._all[place].handle.stop) for place in sorted(self._open)]
        self._open.clear()
        return tuple(Send(f"{place}.stop", stop) for place, stop in stops if stop is not None)

    def _heard(self, tag: str, answer: Answer) -> Moves:
        moves = _Moves()
        first, _, second = tag.partition(".")
        place, number = int(first), int(second)
        running = self._all[place]
        if place in self._open and running.wanted:
            running.answers[number] = answer
            if len(running.answers) == running.wanted:
                answers = tuple(running.answers[at] for at in range(running.wanted))
                running.answers = {}
                self._on(place, answers, moves)
        return self._close(moves)

    def _begin(self, place: int, moves: "_Moves") -> None:
        running = self._all[place]
        running.tries += 1
        running.handle = Handle()
        running.strand = running.maker(running.handle)
        self._on(place, None, moves)

    def _on(self, place: int, given: "tuple[Answer, ...] | UpstreamError | None", moves: "_Moves") -> None:
        """Let it run until it wants something, has made what it makes, or has failed."""
        running = self._all[place]
        strand = running.strand
        assert strand is not None, "begun before"
        running.wanted = 0
        try:
            if isinstance(given, UpstreamError):
                wish = strand.throw(given)
            else:
                wish = next(strand) if given is None else strand.send(given)
        except StopIteration as stop:
            self._open.discard(place)
            self._take(stop.value, moves)
            return
        except UpstreamError as error:
            self._fail(place, error, moves)
            return
        if isinstance(wish, float | int):
            self._sleep(place, float(wish), moves)
            return
        running.wanted = len(wish)
        moves.sends += [Send(f"{place}.{number}", what) for number, what in enumerate(wish)]

    def _sleep(self, place: int, wait_s: float, moves: "_Moves") -> None:
        self._asleep.add(place)
        moves.wait_s = wait_s if moves.wait_s <= 0 else min(moves.wait_s, wait_s)

    def _fail(self, place: int, error: UpstreamError, moves: "_Moves") -> None:
        running = self._all[place]
        running.strand = None
        wait_s = AGAIN_S if error.retry_after_s is None else error.retry_after_s
        spent = isinstance(error, UpstreamRateLimited) and error.quota_exhausted
        passes = error.retryable and not spent and wait_s <= LONGEST_AGAIN_S
        if len(self._all) > 1 and passes and running.tries < TRIES and self._failure is None:
            self._sleep(place, max(wait_s, 0.01), moves)
            return
        self._open.discard(place)
        self._failure = self._failure or error

    def _take(self, made: Made, moves: "_Moves") -> None:
        if self._usage is None:
            moves.events.append(Started(made.model, made.id))
        self._usage = made.usage if self._usage is None else added(self._usage, made.usage)
        moves.events += [
            msgspec.structs.replace(picture, index=self._made + number)
            for number, picture in enumerate(made.pictures)
        ]
        self._made += len(made.pictures)
        moves.events.append(UsageSeen(self._usage))

    def _close(self, moves: "_Moves") -> Moves:
        """The end, once all are over. A failure is raised only then."""
        if self._open:
            return Moves(tuple(moves.sends), moves.wait_s, tuple(moves.events))
        if self._failure is not None:
            error = self._failure
            if self._made:
                error.message = (
                    f"{self._made} of {len(self._all)} were made, and are charged for; then: {error.message}"
                )
                error.args = (error.message,)
            if moves.events:  # told first, so that they are counted
                self._told_all = True
                return Moves(events=tuple(moves.events), wait_s=_SOON_S)
            raise error
        moves.events += [Stopped("stop"), Finished()]
        return Moves(events=tuple(moves.events), done=True)


def pictures_at(
    urls: Sequence[str], label: str
) -> Generator[Wish, tuple[Answer, ...], tuple[tuple[MediaMade, ...], list[tuple[int, int]]]]:
    """The pictures at these addresses, in order, and their sizes: what stands in the address itself is not fetched."""
    away = [url for url in urls if not url.startswith("data:")]
    answers = iter((yield tuple(Elsewhere(url) for url in away)) if away else ())
    pictures: list[MediaMade] = []
    sizes: list[tuple[int, int]] = []
    for url in urls:
        if url.startswith("data:"):
            try:
                data = b64decode(url.partition(",")[2])
            except ValueError:
                raise UpstreamMalformed(f"{label} sent a picture that is no base64.") from None
        else:
            answer = next(answers)
            if not _OK <= answer.status < _REDIRECT:
                raise UpstreamFault(
                    f"A picture that {label} made could not be fetched ({answer.status}).",
                    code="picture_gone",
                )
            data = answer.body
        picture, size = picture_of(data, label)
        pictures.append(picture)
        sizes.append(size)
    return tuple(pictures), sizes


_SOON_S = 0.001
_OK, _REDIRECT = 200, 300


class _Moves(Struct):
    """Moves in the making."""

    sends: list[Send] = []
    wait_s: float = 0.0
    events: list[Event] = []


def added(one: Usage, other: Usage) -> Usage:
    """Both together: tokens by class, fees by unit."""
    fees: dict[str, int] = {}
    for unit, quantity in (*one.fees, *other.fees):
        fees[unit] = fees.get(unit, 0) + quantity
    return msgspec.structs.replace(
        one,
        **{unit: getattr(one, unit) + getattr(other, unit) for unit in TOKEN_UNITS},
        fees=tuple(fees.items()),
        note=one.note or other.note,
    )
