"""Counters, histograms and gauges of one process, and their text for Prometheus (exposition format 0.0.4).

Theory: ``observe`` finds one object per series and adds to its fields; all that is derived (cumulative buckets,
dollars, text) is made when Prometheus asks, every few seconds, not when a call ends.

Rules
- One thread, the loop's: no locks.
- ``observe`` reads plain attributes (the Protocols below); it does not know the ledger.
- Series are bounded per metric: past ``limit``, a call is counted as "other" rather than not at all.
- Callers choose names, and must not fill that room with invented ones: a model or route gets series of its own once a
  provider has delivered under that name, or where ``expect`` named it; until then it is "other". The operator's own
  names need no room under the limit.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence, Sized
from typing import Any, Protocol

from msgspec import Struct

from penstock.base.money import usd_text
from penstock.base.usage import TOKEN_UNITS
from penstock.observe import names
from penstock.observe.names import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"


class EntryFacts(Protocol):
    """What is read of an attempt."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def route(self) -> str: ...
    @property
    def klass(self) -> str: ...
    @property
    def error_code(self) -> str | None: ...
    @property
    def cost_nusd(self) -> int | None: ...
    @property
    def ttft_ms(self) -> float | None: ...
    @property
    def usage_source(self) -> str | None: ...


class CallFacts(Protocol):
    """What is read of a call."""

    @property
    def status(self) -> int: ...
    @property
    def latency_ms(self) -> float: ...
    @property
    def gateway_us(self) -> int: ...


class RecordFacts(Protocol):
    """A call with its attempts."""

    @property
    def call(self) -> CallFacts: ...
    @property
    def entries(self) -> Sequence[EntryFacts]: ...


class _Histogram:
    __slots__ = ("buckets", "counts", "total")

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self.buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.total = 0.0

    @property
    def state(self) -> tuple[list[int], float]:
        return self.counts, self.total

    def absorb(self, other: tuple[list[int], float]) -> None:
        counts, total = other
        self.counts = [mine + more for mine, more in zip(self.counts, counts, strict=True)]
        self.total += total


_Labels = tuple[str, ...]
_HistogramState = tuple[list[int], float]
_ACROSS: dict[str, Callable[[float, float], float]] = {
    "sum": lambda a, b: a + b,
    "max": max,
    "min": min,
}


class Snapshot(Struct, array_like=True):
    """One process's figures, as they travel."""

    inflight: int
    requests: list[tuple[tuple[str, str, str, int, str], int]]
    attempts: list[tuple[tuple[str, str, str], int]]
    targets: list[tuple[tuple[str, str], tuple[list[int], int, int], _HistogramState, _HistogramState]]
    overhead: _HistogramState
    plain: dict[str, list[tuple[_Labels, int | float]]]
    texts: dict[str, list[tuple[_Labels, str]]]


class _Target:
    """Everything counted per provider and model."""

    __slots__ = ("cost_nusd", "duration", "first_token", "tokens", "unpriced")

    def __init__(self) -> None:
        self.tokens = [0] * len(TOKEN_UNITS)
        self.cost_nusd = 0
        self.unpriced = 0
        self.duration = _Histogram(names.DURATION_S)
        self.first_token = _Histogram(names.FIRST_TOKEN_S)


class _Figures:
    """What is counted, and how it becomes one figure with that of other processes."""

    def __init__(self) -> None:
        self.inflight = 0
        self._requests: dict[tuple[str, str, str, int, str], int] = {}
        self._attempts: dict[tuple[str, str, str], int] = {}
        self._targets: dict[tuple[str, str], _Target] = {}
        self._overhead = _Histogram(names.OVERHEAD_S)
        self._plain: dict[str, dict[tuple[str, ...], float]] = {}
        self._texts: dict[str, dict[tuple[str, ...], str]] = {}

    def _collect(self) -> None:
        """Set the gauges that are read from elsewhere."""

    def snapshot(self) -> Snapshot:
        """All of it as plain values, for the process that is asked on behalf of all."""
        self._collect()
        return Snapshot(
            self.inflight,
            list(self._requests.items()),
            list(self._attempts.items()),
            [
                (key, (one.tokens, one.cost_nusd, one.unpriced), one.duration.state, one.first_token.state)
                for key, one in self._targets.items()
            ],
            self._overhead.state,
            {name: list(series.items()) for name, series in self._plain.items()},
            {name: list(series.items()) for name, series in self._texts.items()},
        )

    def absorb(self, other: Snapshot) -> None:
        """Another process's figures, on top of these: as each metric says (``Metric.across``)."""
        self.inflight += other.inflight
        for request, count in other.requests:
            self._requests[request] = self._requests.get(request, 0) + count
        for attempt, count in other.attempts:
            self._attempts[attempt] = self._attempts.get(attempt, 0) + count
        for key, (tokens, cost_nusd, unpriced), duration, first_token in other.targets:
            target = self._targets.setdefault(key, _Target())
            target.tokens = [mine + more for mine, more in zip(target.tokens, tokens, strict=True)]
            target.cost_nusd += cost_nusd
            target.unpriced += unpriced
            target.duration.absorb(duration)
            target.first_token.absorb(first_token)
        self._overhead.absorb(other.overhead)
        for metric in names.METRICS:
            across = metric.across or ("max" if metric.kind == "gauge" else "sum")
            if metric.name in other.plain:
                mine = self._plain.setdefault(metric.name, {})
                for labels, value in other.plain[metric.name]:
                    mine[labels] = _ACROSS[across](mine[labels], value) if labels in mine else value
            if metric.name in other.texts:
                self._texts[metric.name] = dict(other.texts[metric.name]) | self._texts.get(metric.name, {})


class Metrics(_Figures):
    """What one process counts. ``inflight`` is a plain field: add and subtract."""

    def __init__(self, *, limit: int = 1000, version: str = "") -> None:
        """``limit``: distinct series of one metric before the rest is "other"."""
        super().__init__()
        self._limit = limit
        self._collectors: list[Callable[[Metrics], None]] = []
        self._own: frozenset[str] = frozenset()
        self._known: frozenset[str] = frozenset()
        if version:
            self.set(names.INFO, 1, version)

    def expect(self, own: frozenset[str], known: frozenset[str]) -> None:
        """Names that get series before anything was delivered: the operator's ``own`` (routes, aliases and
        ``provider/model``), past the limit too, and ``known`` ones (``provider/model``)."""
        self._own, self._known = own, known

    def observe(self, record: RecordFacts) -> None:
        """Count one finished call and its attempts."""
        call, entries = record.call, record.entries
        provider = model = route = klass = ""
        attempts, targets = self._attempts, self._targets
        target: _Target | None = None
        ttft_ms: float | None = None
        for entry in entries:
            provider, model, klass = entry.provider, entry.model, entry.klass
            key = (provider, model, entry.error_code or klass)
            count = attempts.get(key)
            if count is None:
                self._first_attempt(entry, key)
            else:
                attempts[key] = count + 1
            target = targets.get((provider, model))
            if target is None:
                target = self._new_target(entry)
            cost = entry.cost_nusd
            if cost is None:
                target.unpriced += 1
            else:
                target.cost_nusd += cost
            if entry.usage_source is not None:
                _add_tokens(target.tokens, entry)
            route, ttft_ms = entry.route, entry.ttft_ms
        series = (route, provider, model, call.status, klass)
        count = self._requests.get(series)
        if count is None:
            self._first_request(entries, series)
        else:
            self._requests[series] = count + 1
        overhead = call.gateway_us * 1e-6
        histogram = self._overhead
        histogram.counts[bisect_left(names.OVERHEAD_S, overhead)] += 1
        histogram.total += overhead
        if target is not None and klass != "cache_hit":
            duration = call.latency_ms * 1e-3
            histogram = target.duration
            histogram.counts[bisect_left(names.DURATION_S, duration)] += 1
            histogram.total += duration
            if ttft_ms is not None:
                first = ttft_ms * 1e-3
                histogram = target.first_token
                histogram.counts[bisect_left(names.FIRST_TOKEN_S, first)] += 1
                histogram.total += first

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._series(metric, labels)[labels] = value

    def set_texts(self, metric: Metric, series: dict[tuple[str, ...], str]) -> None:
        """Set all series of a gauge at once, by labels: exact decimals, as money is written."""
        self._texts[metric.name] = series

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        """Add to a counter of the table that ``observe`` does not fill."""
        series = self._series(metric, labels)
        if labels not in series and len(series) >= self._limit:
            labels = (OTHER,) * len(labels)
        series[labels] = series.get(labels, 0) + amount

    def set_breaker(self, target: str, state: str) -> None:
        """A target's breaker is ``closed``, ``half-open``, ``open``, or ``dropped``: by the provider's own 404."""
        provider, _, model = target.partition("/")
        if state == "dropped" and not self._is_named(provider, model):
            return
        self.set(names.BREAKER, names.BREAKER_STATES[state], target)

    def set_key(self, provider: str, key: str, *, up: bool) -> None:
        """A provider's key may be used, or cools down."""
        self.set(names.KEY_UP, int(up), provider, key)

    def clear(self, metric: Metric) -> None:
        """Forget a gauge's series: what a reload took away must not stand for ever."""
        self._plain.pop(metric.name, None)

    def before_render(self, collect: Callable[["Metrics"], None]) -> None:
        """``collect(metrics)`` is called before each render, to set gauges that are read from elsewhere."""
        self._collectors.append(collect)

    def _collect(self) -> None:
        for collect in self._collectors:
            collect(self)

    def render(self) -> bytes:
        """All of it, as Prometheus reads it."""
        self._collect()
        out: list[str] = []
        for metric in names.METRICS:
            out.append(f"# HELP {metric.name} {_help(metric.help)}\n# TYPE {metric.name} {metric.kind}\n")
            self._render_one(metric, out)
        return "".join(out).encode()

    def _render_one(self, metric: Metric, out: list[str]) -> None:
        match metric.name:
            case names.REQUESTS.name:
                _lines(
                    out, metric, {(r, p, m, str(s), c): n for (r, p, m, s, c), n in self._requests.items()}
                )
            case names.ATTEMPTS.name:
                _lines(out, metric, self._attempts)
            case names.TOKENS.name:
                for (provider, model), target in self._targets.items():
                    counts = zip(TOKEN_UNITS, target.tokens, strict=True)
                    _lines(out, metric, {(provider, model, unit): count for unit, count in counts if count})
            case names.COST_NUSD.name:
                _lines(out, metric, {key: target.cost_nusd for key, target in self._targets.items()})
            case names.COST_USD.name:
                _lines(
                    out, metric, {key: usd_text(target.cost_nusd) for key, target in self._targets.items()}
                )
            case names.OWN_COST_USD.name:
                own = self._plain.get(names.OWN_COST_NUSD.name, {})
                _lines(out, metric, {labels: usd_text(int(nusd)) for labels, nusd in own.items()})
            case names.UNPRICED.name:
                _lines(out, metric, {key: target.unpriced for key, target in self._targets.items()})
            case names.DURATION.name:
                for key, target in self._targets.items():
                    _histogram_lines(out, metric, key, target.duration)
            case names.FIRST_TOKEN.name:
                for key, target in self._targets.items():
                    _histogram_lines(out, metric, key, target.first_token)
            case names.OVERHEAD.name:
                _histogram_lines(out, metric, (), self._overhead)
            case names.INFLIGHT.name:
                _lines(out, metric, {(): self.inflight})
            case _:
                _lines(out, metric, self._texts.get(metric.name, {}))
                _lines(out, metric, self._plain.get(metric.name, {}))

    def _series(self, metric: Metric, labels: tuple[str, ...]) -> dict[tuple[str, ...], float]:
        if len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels}, not {labels}")
        return self._plain.setdefault(metric.name, {})

    def _first_attempt(self, entry: EntryFacts, key: tuple[str, str, str]) -> None:
        provider, model, outcome = key
        if not self._may_name(entry):
            key = (provider, OTHER, outcome)
        elif self._is_full(self._attempts, f"{provider}/{model}"):
            key = (OTHER, OTHER, OTHER)
        self._attempts[key] = self._attempts.get(key, 0) + 1

    def _first_request(self, entries: Sequence[EntryFacts], key: tuple[str, str, str, int, str]) -> None:
        route, provider, model, status, klass = key
        if entries:
            if not self._may_name(entries[-1]):
                model = OTHER
            if route not in self._own and not any(
                route in (entry.model, f"{entry.provider}/{entry.model}") and self._may_name(entry)
                for entry in entries
            ):
                route = OTHER
            key = (route, provider, model, status, klass)
            said = key not in self._requests and {route, model} != {OTHER}
            if said and self._is_full(self._requests, f"{provider}/{model}", route):
                key = (OTHER, OTHER, OTHER, status, klass)
        self._requests[key] = self._requests.get(key, 0) + 1

    def _new_target(self, entry: EntryFacts) -> _Target:
        key = (entry.provider, entry.model)
        if not self._may_name(entry):
            key = (entry.provider, OTHER)
        elif self._is_full(self._targets, f"{entry.provider}/{entry.model}"):
            key = (OTHER, OTHER)
        return self._targets.setdefault(key, _Target())

    def _is_full(self, series: Sized, *names_: str) -> bool:
        """No room for a new series, unless all its names are the operator's."""
        return len(series) >= self._limit and not self._own.issuperset(names_)

    def _may_name(self, entry: EntryFacts) -> bool:
        return entry.klass == "delivered" or self._is_named(entry.provider, entry.model)

    def _is_named(self, provider: str, model: str) -> bool:
        name = f"{provider}/{model}"
        return name in self._own or name in self._known or (provider, model) in self._targets


def _add_tokens(tokens: list[int], entry: Any) -> None:
    # Written out for the two that are nearly always there; the others are nearly always 0.
    tokens[0] += entry.input
    tokens[6] += entry.output
    if entry.cache_read:
        tokens[1] += entry.cache_read
    if entry.reasoning:
        tokens[7] += entry.reasoning
    if entry.cache_write_5m:
        tokens[2] += entry.cache_write_5m
    if entry.cache_write_1h:
        tokens[3] += entry.cache_write_1h
    if entry.input_audio:
        tokens[4] += entry.input_audio
    if entry.input_image:
        tokens[5] += entry.input_image
    if entry.output_audio:
        tokens[8] += entry.output_audio
    if entry.output_image:
        tokens[9] += entry.output_image


def _lines(out: list[str], metric: Metric, series: Any) -> None:
    for labels, value in series.items():
        out.append(f"{metric.name}{_labels(metric.labels, labels)} {_number(value)}\n")


def _histogram_lines(out: list[str], metric: Metric, labels: tuple[str, ...], histogram: _Histogram) -> None:
    names_ = (*metric.labels, "le")
    running = 0
    for bound, count in zip((*histogram.buckets, None), histogram.counts, strict=True):
        running += count
        le = "+Inf" if bound is None else _number(bound)
        out.append(f"{metric.name}_bucket{_labels(names_, (*labels, le))} {running}\n")
    out.append(f"{metric.name}_sum{_labels(metric.labels, labels)} {_number(histogram.total)}\n")
    out.append(f"{metric.name}_count{_labels(metric.labels, labels)} {running}\n")


def _labels(label_names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not label_names:
        return ""
    return "{" + ",".join(f'{n}="{_escape(v)}"' for n, v in zip(label_names, values, strict=True)) + "}"


def _escape(value: str) -> str:
    text = value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return text.encode("utf-8", "replace").decode("utf-8")


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else repr(value)
