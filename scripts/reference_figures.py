"""The README's speed figures, from the recorded runs in ``benches/results``: newest of each theme, or "not recorded yet"."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "benches" / "results"
THEMES = (
    "gateway-whole",
    "gateway-peers",
    "gateway-streams",
    "gateway-memory",
    "gateway-start",
    "gateway-soak",
    "gateway-translated",
    "gateway-large",
    "governance-cost",
    "cache",
    "cache-stream",
)
NONE = "No run has been recorded yet: `make bench` records one."


def newest(folder: Path = RESULTS) -> dict[str, tuple[str, dict[str, Any]]]:
    """Theme -> (file name, record), by the record's own time."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in sorted(folder.glob("[gc]*_*.json")) if folder.exists() else []:
        record = json.loads(path.read_text(encoding="utf-8"))
        theme = str(record.get("theme", path.name.partition("_")[0]))
        if theme not in found or str(record.get("at", "")) >= str(found[theme][1].get("at", "")):
            found[theme] = (path.name, record)
    return found


def figures(folder: Path = RESULTS) -> str:
    """The block between the README's marks."""
    runs = newest(folder)
    if not runs:
        return NONE
    rows: list[tuple[str, str, str]] = []
    for theme in THEMES:
        if theme in runs:
            rows += [(what, figure, theme) for what, figure in _rows(theme, runs[theme][1])]
    rows = [row for row in rows if row[1]]
    if not rows:
        return NONE
    lines = ["| what | measured | run |", "|---|---|---|"]
    lines += [
        f"| {what} | {figure} | [{theme}](benches/results/{runs[theme][0]}) |" for what, figure, theme in rows
    ]
    shown = dict.fromkeys(theme for _, _, theme in rows)
    lines += ["", *(_identity(*runs[theme]) for theme in shown)]
    return "\n".join(lines)


def _identity(name: str, record: dict[str, Any]) -> str:
    machine, versions = record.get("machine", {}), record.get("versions", {})
    commit = f"commit {record.get('commit', '?')}" + (" with local changes" if record.get("dirty") else "")
    load = machine.get("load_before") or [0.0]
    return (
        f"- `{name}`: {record.get('at', '?')}, {machine.get('cpu', '?')}, {machine.get('cores', '?')} cores, "
        f"load before {load[0]:.1f}, Python {versions.get('python', '?')}, {commit}"
    )


def _rows(theme: str, record: dict[str, Any]) -> list[tuple[str, str]]:
    part: dict[str, Any] = record.get(theme.removeprefix("gateway-"), record)
    said: dict[str, Any] = part.get("summary", part)
    return {
        "gateway-whole": _whole,
        "gateway-peers": _peers,
        "gateway-streams": _streams,
        "gateway-memory": _memory,
        "gateway-start": _start,
        "gateway-soak": _soak,
        "gateway-translated": _translated,
        "gateway-large": _large,
        "governance-cost": _governance,
        "cache": _cache,
        "cache-stream": lambda _said: _stream(record),
    }[theme](said)


def _whole(said: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("added latency, median, one connection", _beside(said.get("added_p50_us"), "µs")),
        ("added latency, p99, one connection", _beside(said.get("added_p99_us"), "µs")),
        ("1 KB completions per second, 32 connections", _beside(said.get("requests_per_s"), "/s", digits=0)),
    ]


def _peers(said: dict[str, Any]) -> list[tuple[str, str]]:
    """Other gateways, each in the same run as ours."""

    def by_name(figure: str) -> dict[str, Any]:
        return {name: one[figure] for name, one in said.items() if isinstance(one, dict) and figure in one}

    return [
        ("added latency, median, beside other gateways", _beside(by_name("added_p50_us"), "µs")),
        ("completions per second, beside other gateways", _beside(by_name("requests_per_s"), "/s", digits=0)),
    ]


def _streams(said: dict[str, Any]) -> list[tuple[str, str]]:
    def p99(figure: str) -> dict[str, Any]:
        return {name: one["p99"] for name, one in said.get(figure, {}).items()}

    cpu, first, late = (
        "CPU per streamed event",
        "first content event behind the upstream's, p99",
        "lateness of an event, p99",
    )
    return [
        (f"{cpu}, 64 streams × 50 events/s", _beside(said.get("cpu_us_per_event_64"), "µs")),
        (f"{cpu}, 512 streams × 50 events/s", _beside(said.get("cpu_us_per_event_512"), "µs")),
        (f"{first}, 64 streams open", _beside(p99("first_event_added_us"), "µs", digits=0)),
        (f"{first}, 64 streams at once", _beside(p99("first_event_added_us_64_at_once"), "µs", digits=0)),
        (f"{late}, 512 streams × 50 events/s", _beside(p99("late_us_512"), "µs", digits=0)),
    ]


def _memory(said: dict[str, Any]) -> list[tuple[str, str]]:
    held = said.get("rss_1000_streams_mib")
    return [("resident memory, 1,000 open streams", "" if held is None else f"{held:g} MiB")]


def _start(said: dict[str, Any]) -> list[tuple[str, str]]:
    ready, imported = said.get("ready_median_s"), said.get("import_median_s")
    return [
        ("start to `/ready`", "" if ready is None else f"{ready:g} s"),
        ("`import penstock`", "" if imported is None else f"{imported * 1000:.0f} ms"),
    ]


def _soak(said: dict[str, Any]) -> list[tuple[str, str]]:
    slope, calls = said.get("slope_mib_per_million"), said.get("calls")
    if slope is None or calls is None:
        return []
    return [(f"growth of resident memory over {calls:,} calls", f"{slope:g} MiB per million calls")]


def _translated(said: dict[str, Any]) -> list[tuple[str, str]]:
    share, unlike = said.get("share_of_pass_through"), said.get("share_of_pass_through_unlike")
    if share is None or unlike is None:
        return []
    worst = said.get("share_unlike_of_pass_through_alike")
    against = "" if worst is None else f"; unlike, of passed-through ones alike: {worst * 100:.0f} %"
    return [
        (
            "translated calls per second (Anthropic in, OpenAI out), of passed-through ones, 32 connections",
            f"{share * 100:.0f} % (bodies unlike each other: {unlike * 100:.0f} %{against})",
        )
    ]


def _large(said: dict[str, Any]) -> list[tuple[str, str]]:
    """Each case by its name, with blanks for its underscores."""

    def each(figure: str, unit: str) -> str:
        found = said.get(figure, {})
        return ", ".join(
            f"{name.replace('_', ' ')} {value:,.1f}{unit}"
            for name, value in found.items()
            if value is not None
        )

    return [
        (
            "peak memory of a large call (50 MB PDF, 1M tokens) over rest, in bodies",
            each("rise_times_body", " ×"),
        ),
        ("small calls' p99 beside large calls, more than without", each("added_p99_ms", " ms")),
    ]


def _governance(said: dict[str, Any]) -> list[tuple[str, str]]:
    share = said.get("governed_share_of_plain")
    if share is None:
        return []
    return [
        ("completions per second with budgets, places and limits, of those without", f"{share * 100:.0f} %")
    ]


def _cache(said: dict[str, Any]) -> list[tuple[str, str]]:
    captions = said.get("caption_p95_ms")
    if captions is None:
        return []
    exact, meaning, past = said["exact_over_health_us"], said["semantic_hit_ms"], said["ineligible_us"]
    again = said.get("semantic_hit_again_ms")
    known = (
        [] if again is None else [("a hit by meaning, the same words as before, median", f"{again:.2f} ms")]
    )
    parts = said.get("of_it_embedding_ms"), said.get("of_it_health_ms")
    of_it = "" if None in parts else f" (its embedding alone {parts[0]:.2f}, `/health` {parts[1]:.2f})"
    within = said.get("ineligible_within_95_us")
    between = "" if within is None else f" ({within[0]:,.1f} to {within[1]:,.1f} with 95 %)"
    return [
        ("a hit by the exact key, median, over `/health`", f"{exact:,.1f} µs"),
        ("a hit by meaning, words never seen before, median", f"{meaning:.2f} ms{of_it}"),
        *known,
        (
            "a call that the cache has no part in, median, more than without a cache",
            f"{past:,.1f} µs{between}",
        ),
        (
            "p95 of a caption call of 340 ms, and of a hit by meaning",
            f"{captions['without_cache']:,.1f} ms, {captions['hit']:,.1f} ms",
        ),
    ]


def _stream(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Promise by promise: in how many runs it was kept, what was served, and how much of that was wrong."""
    rows: list[tuple[str, str]] = []
    for one in record.get("promises", []):
        other = one.get("vcache_at_equal_error") or {}
        beside = f" (vCache's rule at no more errors: {other['hit_rate'] * 100:.1f} %)" if other else ""
        rows.append(
            (
                f"`max_error_rate: {one['max_error_rate']:g}`, stream with a known truth",
                (
                    f"kept in {one['kept']} of {one['courses']} runs; {one['hit_rate'] * 100:.1f} % hits{beside}, "
                    f"{one['wrong_rate'] * 100:.2f} % of them wrong"
                ),
            )
        )
    fixed = [
        f"{one['rule'].removeprefix('fixed ')}: {one['hit_rate'] * 100:.1f} % hits, {one['wrong_rate'] * 100:.2f} % wrong"
        for one in record.get("fixed_with_guards", [])
    ]
    return [*rows, ("fixed thresholds with the same guards, same stream", "; ".join(fixed))]


def _beside(said: Any, unit: str, digits: int = 1) -> str:
    """Our figure, with what ran beside it in the same run."""
    if not isinstance(said, dict) or "penstock" not in said:
        return ""
    others = [f"{name} {value:,.{digits}f}" for name, value in said.items() if name != "penstock"]
    beside = f" (in the same run: {', '.join(others)})" if others else ""
    return f"{said['penstock']:,.{digits}f} {unit}{beside}"
