"""In which order endpoints are tried: OpenRouter's load balancing and sorting, as one pure function with reasons.

Theory
------
Endpoints of one model are interchangeable. By default those without a significant outage in the last 30 s come first,
drawn one after the other, each with a chance of its weight, 1 / price^2, among those left (OpenRouter, provider
selection, 2026-11); then the others, drawn alike. The price is the mean of a prompt and a completion token's, as the
page does not say which is meant. An endpoint that costs nothing has all the weight, one whose price is not known none.

Rules
- ``order`` or ``sort`` ends the drawing: what ``order`` names comes first as named, the rest by price.
- What misses ``preferred_min_throughput`` or ``preferred_max_latency`` goes behind the rest; what was not measured in the
  last five minutes misses nothing.
- A chain of the operator's keeps its order, unless the caller sorts or orders it.
- Equals stay as they were. Every place has a reason; a drawn one says its weight and its share.
"""

from collections.abc import Callable, Sequence
from random import Random

from msgspec import Struct

from penstock.base.chat import ProviderPreferences
from penstock.base.models import Target
from penstock.routing.observed import DAY_S, Observed

FIXED = -1
_NONE = ProviderPreferences()
_UNKNOWN = float("inf")
PICO_PER_MILLION_USD = 10**6
"""Pico-dollars a token for each dollar per million tokens."""


class Candidate(Struct, frozen=True):
    """A target that can serve. ``group``: which of the models asked for it is an endpoint of; FIXED: a chain's target."""

    name: str
    target: Target
    group: int = FIXED
    words: frozenset[str] = frozenset()
    """What ``order`` may call it."""
    unwell: bool = False
    """Its breaker is not closed."""


class Placed(Struct, frozen=True):
    """A candidate, and why it stands where it stands; "" where nothing was decided."""

    candidate: Candidate
    reason: str = ""


class Weight(Struct, frozen=True):
    """A drawn endpoint's weight, and its share of all that could have been drawn first."""

    name: str
    usd_per_million: float | None
    weight: float
    share: float


def arrange(
    candidates: Sequence[Candidate],
    wishes: ProviderPreferences | None,
    *,
    seen: Observed,
    now_s: float,
    rng: Random,
) -> list[Placed]:
    """All candidates, each once, in the order in which they shall be tried."""
    want = wishes or _NONE
    placed: list[Placed] = []
    for part in _parts(candidates, want):
        listed, rest = _listed(part, want.order)
        placed += listed
        placed += _rest(rest, want, seen, now_s, rng, ordered=bool(want.order))
    return placed


def weights(candidates: Sequence[Candidate]) -> list[Weight]:
    """The chance of each to be drawn first, exactly; free ones share it all, what has no known price has none."""
    prices = [usd_per_million(one.target) for one in candidates]
    free = [price == 0 for price in prices]
    raw = [
        float(is_free) if any(free) else 0.0 if price is None else 1 / price**2
        for price, is_free in zip(prices, free, strict=True)
    ]
    total = sum(raw)
    if not total:
        raw, total = [1.0] * len(raw), float(len(raw))
    return [
        Weight(one.name, price, weight, weight / total)
        for one, price, weight in zip(candidates, prices, raw, strict=True)
    ]


def usd_per_million(target: Target) -> float | None:
    """The mean of its prompt and completion price in dollars per million tokens; None: not known."""
    row = target.facts.price
    both = [] if row is None else [row.units.get("input"), row.units.get("output")]
    known = [price.pico_usd / price.per for price in both if price is not None]
    return None if len(known) != 2 else sum(known) / 2 / PICO_PER_MILLION_USD


def _parts(candidates: Sequence[Candidate], want: ProviderPreferences) -> list[list[Candidate]]:
    """What is ordered among itself: one model's endpoints; all where models do not count, or all is the operator's."""
    if want.sort and want.partition == "none":
        return [list(candidates)]
    parts: dict[object, list[Candidate]] = {}
    for place, one in enumerate(candidates):
        key: object = one.group
        if one.group == FIXED:
            key = one.target.model if want.sort else "chain" if want.order else (FIXED, place)
        parts.setdefault(key, []).append(one)
    return list(parts.values())


def _listed(part: list[Candidate], order: tuple[str, ...]) -> tuple[list[Placed], list[Candidate]]:
    rank = {word.lower(): place for place, word in reversed(list(enumerate(order)))}
    ranks = [min((rank[word] for word in one.words if word in rank), default=len(order)) for one in part]
    first = sorted((place, at) for at, place in enumerate(ranks) if place < len(order))
    listed = [Placed(part[at], f"number {place + 1} of provider.order") for place, at in first]
    return listed, [one for one, place in zip(part, ranks, strict=True) if place == len(order)]


def _rest(
    rest: list[Candidate],
    want: ProviderPreferences,
    seen: Observed,
    now_s: float,
    rng: Random,
    *,
    ordered: bool,
) -> list[Placed]:
    well: list[Candidate] = []
    slow: list[tuple[Candidate, str]] = []
    for one in rest:
        why = _misses(one, want, seen, now_s)
        if why:
            slow.append((one, why))
        else:
            well.append(one)
    placed = _one_part(well, want, seen, now_s, rng, ordered=ordered)
    reasons = {one.name: why for one, why in slow}
    for one in _one_part([one for one, _ in slow], want, seen, now_s, rng, ordered=ordered):
        placed.append(Placed(one.candidate, f"behind the rest: {reasons[one.candidate.name]}"))
    return placed


def _one_part(
    part: list[Candidate],
    want: ProviderPreferences,
    seen: Observed,
    now_s: float,
    rng: Random,
    *,
    ordered: bool,
) -> list[Placed]:
    if want.sort:
        return _sorted(part, want.sort, seen, now_s)
    if not part or part[0].group == FIXED:
        return [Placed(one) for one in part]
    if len(part) == 1:
        return [Placed(part[0], "its model's only endpoint here")] if not ordered else [Placed(part[0])]
    if ordered:
        return _sorted(part, "price", seen, now_s)
    stable = [one for one in part if not (one.unwell or seen.troubled(one.name, now_s))]
    others = [one for one in part if one not in stable]
    return _drawn(stable, rng, "") + _drawn(others, rng, "trouble in the last 30 s; ")


def _drawn(part: list[Candidate], rng: Random, remark: str) -> list[Placed]:
    placed: list[Placed] = []
    whole = {one.name: one for one in weights(part)} if part else {}
    left = list(part)
    while left:
        chances = weights(left)
        at = rng.choices(range(len(left)), [one.weight for one in chances])[0] if len(left) > 1 else 0
        one = left.pop(at)
        told = whole[one.name]
        price = "unknown" if told.usd_per_million is None else f"${told.usd_per_million:g} per million tokens"
        placed.append(
            Placed(
                one,
                f"{remark}drawn as number {len(placed) + 1} of {len(part)} endpoints: "
                f"price {price}, weight {told.weight:.6g}, share {told.share:.6f}",
            )
        )
    return placed


def _sorted(part: list[Candidate], by: str, seen: Observed, now_s: float) -> list[Placed]:
    key, say = _MEASURES[by]
    rows = [(key(one, seen, now_s), place, one) for place, one in enumerate(part)]
    return [Placed(one, say(value)) for value, _, one in sorted(rows, key=lambda row: (row[0], row[1]))]


Measure = tuple[float, ...]


def _by_price(one: Candidate, _seen: Observed, _now_s: float) -> Measure:
    price = usd_per_million(one.target)
    return (_UNKNOWN if price is None else price,)


def _by_throughput(one: Candidate, seen: Observed, now_s: float) -> Measure:
    found = seen.throughput(one.name, now_s)
    return (_UNKNOWN if found is None else -found.p50,)


def _by_latency(one: Candidate, seen: Observed, now_s: float) -> Measure:
    found = seen.latency_s(one.name, now_s)
    return (_UNKNOWN if found is None else found.p50,)


def _by_tools(one: Candidate, seen: Observed, now_s: float) -> Measure:
    """Tools first, then the fewest failures of a day, then the price: we have no score of how well a model calls tools."""
    takes = one.target.facts.capabilities
    up = seen.uptime(one.name, now_s, DAY_S)
    failing = 0.0 if up is None else round(1 - up, 3)
    return (0.0 if takes is not None and "tools" in takes else 1.0, failing, *_by_price(one, seen, now_s))


def _told(what: str, unit: str, sign: int = 1) -> Callable[[Measure], str]:
    def say(value: Measure) -> str:
        if value[0] == _UNKNOWN:
            return f"sorted by {what}: not known here, so last"
        return f"sorted by {what}: {sign * value[0]:.4g} {unit}"

    return say


def _told_tools(value: Measure) -> str:
    tools = "takes tools" if value[0] == 0 else "not known to take tools"
    return f"sorted for tools: {tools}, {value[1]:.1%} of a day's calls failed"


_MEASURES: dict[str, tuple[Callable[[Candidate, Observed, float], Measure], Callable[[Measure], str]]] = {
    "price": (_by_price, _told("price", "dollars per million tokens")),
    "throughput": (_by_throughput, _told("throughput", "tokens per second at the median of 5 minutes", -1)),
    "latency": (_by_latency, _told("latency", "s to the first token at the median of 5 minutes")),
    "exacto": (_by_tools, _told_tools),
}


def _misses(one: Candidate, want: ProviderPreferences, seen: Observed, now_s: float) -> str:
    """Which of the preferred bounds it misses, in words; "" for none."""
    if want.min_throughput and (found := seen.throughput(one.name, now_s)) is not None:
        for percent, bound in want.min_throughput:
            if found.at(percent) < bound:
                return f"{found.at(percent):.4g} tokens per second at p{percent}, {bound:g} preferred"
    if want.max_latency and (found := seen.latency_s(one.name, now_s)) is not None:
        for percent, bound in want.max_latency:
            if found.at(percent) > bound:
                return f"{found.at(percent):.4g} s to the first token at p{percent}, {bound:g} preferred"
    return ""
