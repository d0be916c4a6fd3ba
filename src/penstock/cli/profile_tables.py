"""A profile in the terminal: stages, kernels, findings; variants and the request's hops where there are some."""

from msgspec.structs import replace
from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.cli.columns import print_columns
from penstock.cli.screen import folded, printable, put, screen
from penstock.engine.lab import folding
from penstock.engine.lab.figures import (
    NONE,
    bound_text,
    break_even_text,
    count_text,
    depths,
    fact_text,
    fix_parts,
    gain_text,
    hop_depths,
    module_text,
    ms_text,
    nothing_found,
    on_cpu,
    saves_text,
    scaled_text,
    share_text,
    short_text,
    start_text,
    usd,
    where_text,
)
from penstock.engine.measure.records import REST, Finding, KernelRow, Profile, Variant

_NAME_CELLS = 48
_OP_CELLS = 30
_SHOWN_KERNELS = 12
"""Of a variant; the others are counted."""
_PROSE_CELLS = 120
"""Findings are read, not searched: folded in a pipe, too."""
_OF = {
    "live": "Of the captured run, which the profiler slows down.",
    "trace": "Of the run in the trace.",
    "preflight": "At the card's roof: no program is faster on it.",
}
"""What the stages' times are, by the profile's source."""


def show(profile: Profile, *, top: int = 15) -> None:
    """All tables that the profile has something for, with a headline."""
    console = screen()
    _headline(console, profile)
    if profile.hops:
        _hops(console, profile)
    if profile.stages:
        _stages(console, profile)
    if profile.kernels:
        _kernels(console, profile, top)
    if profile.variants:
        _variants(console, profile)
    if profile.notes:
        _notes(console, profile)
    if profile.source != "ledger":
        _findings(console, profile)


def _headline(console: Console, profile: Profile) -> None:
    device, timing = profile.device, profile.timing
    put(console, f"{profile.target} on {device.name}", "bold")
    if timing is not None:
        said = (
            f"{ms_text(timing.median_ms)} without a profiler (quartiles {ms_text(timing.low_ms)} to {ms_text(timing.high_ms)}, "
            f"{timing.runs} run{'' if timing.runs == 1 else 's'}"
        )
        said += f"; first call {ms_text(timing.first_ms)})" if timing.first_ms is not None else ")"
        folded(console, said)
    if device.span_ms and on_cpu(profile):
        folded(
            console,
            f"{count_text(device.device_events)} ops took {share_text(device.busy_share)} of {ms_text(device.span_ms)}; the rest is "
            "Python, dispatch and the profiler.",
        )
    elif device.span_ms:
        waits = (
            f"; waits for the host {ms_text(device.host_wait_ms)}, for kernels {ms_text(device.kernel_wait_ms)}, other "
            f"{ms_text(device.other_wait_ms)}"
        )
        folded(
            console,
            f"Device busy {share_text(device.busy_share)} of {ms_text(device.span_ms)}; {count_text(device.kernels)} kernels"
            + ("" if device.host_wait_ms is None else waits)
            + ".",
        )
    if profile.cost_nusd is not None:
        best = "At best one" if profile.source == "preflight" else "One"
        folded(console, f"{best} run costs {usd(profile.cost_nusd)}.")
    if profile.source == "preflight":
        put(console, f"  {'dtype':<28} {profile.machine.get('dtype', '')}")
        for name, value in (fact_text(*fact) for fact in profile.facts.items()):
            put(console, f"  {name:<28} {value}")
    warned = list(profile.warnings) + ([] if timing is None else list(timing.warnings))
    if not device.reliable:
        warned.insert(0, f"Attribution is unreliable here: {device.unreliable_because}")
    for line in dict.fromkeys(warned):
        folded(console, line, "yellow", indent="! ", hang="  ")
    put(console, "")


def _stages(console: Console, profile: Profile) -> None:
    titles = ["stage", "wall", folding.EACH, "share", "exposed host", "GPU busy", "calls", "launches", "work"]
    titles.append("cost")
    rows = folding.stages(profile.stages, profile.kernels)
    shown = [one.row for one in rows]
    lines = [
        [
            "  " * depth + one.label,
            ms_text(row.wall_ms),
            ms_text(one.median_ms),
            share_text(row.share),
            ms_text(row.exposed_host_ms),
            ms_text(row.gpu_busy_ms),
            NONE if row.name in REST else count_text(row.calls),
            count_text(row.launches),
            scaled_text(row.flops, "FLOP"),
            usd(row.cost_nusd),
        ]
        for one, row, depth in zip(rows, shown, depths(shown), strict=True)
    ]
    if profile.cost_nusd is None:
        titles, lines = titles[:-1], [line[:-1] for line in lines]
    top = [row for row in profile.stages if not row.parent]
    total = ["total", ms_text(sum(row.wall_ms for row in top)), "", share_text(sum(row.share for row in top))]
    total += ["", "", "", "", ""] + ([usd(profile.cost_nusd)] if profile.cost_nusd is not None else [])
    known = [index for index in range(len(titles)) if any(line[index] != NONE for line in lines)]
    titles = [titles[index] for index in known]  # on a CPU there is no device to be busy
    print_columns(
        console,
        titles,
        [[line[index] for index in known] for line in [*lines, total]],
        [
            one
            for one in ("work", "launches", "calls", "exposed host", "GPU busy", folding.EACH)
            if one in titles
        ],
        total=True,
        elsewhere="--json or --report",
    )
    said = _OF[profile.source] if profile.source in _OF else _OF["live"]
    if any(row.parent for row in profile.stages):
        said += " Indented stages are parts of others."
    if len(shown) < len(profile.stages):
        said += f" {folding.SAID}"
    if profile.cost_nusd is not None:
        said += " Cost: of the run without the profiler, by share." if profile.timing else ""
    folded(console, said, "dim")
    put(console, "")


def _kernels(console: Console, profile: Profile, top: int) -> None:
    whole = sum(row.total_ms for row in profile.kernels)
    rows = folding.kernels(profile.kernels)
    lines = [
        [
            _kernel(one.row),
            short_text(one.row.op, _OP_CELLS) or NONE,
            short_text(folding.labelled(module_text(one.row.module), len(one.totals_ms)), _OP_CELLS),
            count_text(one.row.count),
            ms_text(one.row.total_ms),
            ms_text(one.median_ms),
            share_text(one.row.total_ms / whole if whole else None),
        ]
        for one in rows[:top]
    ]
    kernel = "op" if on_cpu(profile) else "kernel"
    titles = [kernel, "launched by", "module", "count", "total", folding.EACH, "share"]
    given_up = ["module", "launched by", "count", folding.EACH]
    if all(one.median_ms is None for one in rows[:top]):
        titles, lines = (
            [*titles[:5], *titles[6:]],
            [[*line[:5], *line[6:]] for line in lines],
        )
        given_up.pop()
    print_columns(
        console,
        titles,
        lines,
        given_up,
        total=False,
        elsewhere="--json or --report",
    )
    if len(rows) > top:
        folded(console, f"{len(rows) - top:,} more: --top N shows them.", "dim")
    if len(rows) < len(profile.kernels):
        folded(console, folding.SAID, "dim")
    put(console, "")


def _kernel(row: KernelRow) -> str:
    """Its name, and what it says: a long name is mostly noise."""
    name = short_text(row.name, _NAME_CELLS)
    return f"{name} = {short_text(row.means, _NAME_CELLS)}" if row.means and row.means != row.name else name


def _findings(console: Console, profile: Profile) -> None:
    if not profile.findings:
        folded(console, nothing_found(profile))
        return
    table = Table(header_style="bold", show_lines=True, width=min(console.width, _PROSE_CELLS))
    table.add_column("saves at most", justify="right", no_wrap=True, vertical="top")
    table.add_column("finding", overflow="fold")
    for one in profile.findings:
        table.add_row(Text(saves_text(one)), _told(one))
    console.print(table)


def _told(finding: Finding) -> Text:
    finding = replace(
        finding,
        title=printable(finding.title),
        where=printable(finding.where),
        caller=printable(finding.caller),
        evidence=printable(finding.evidence),
        fix=printable(finding.fix),
        proof=printable(finding.proof),
    )
    sentence, code = fix_parts(finding.fix)
    said = Text()
    said.append(finding.title, "bold")
    said.append(f"  {finding.id}", "cyan")
    if finding.where:
        said.append(f"  {where_text(finding)}", "dim")
    said.append(f"\n{finding.evidence}")
    if finding.bound:
        said.append(f"\n{bound_text(finding)}", "dim")
    if sentence:
        said.append(f"\nFix: {sentence}")
    if code:
        said.append("\n" + "\n".join(f"    {line}" for line in code.splitlines()), "green")
    if finding.proof:
        said.append(f"\nIt worked if: {finding.proof}", "dim")
    return said


def _variants(console: Console, profile: Profile) -> None:
    titles = [
        "variant",
        "median",
        "gain",
        "max error",
        "compiled in",
        "graphs",
        "breaks even after",
        "kernels",
    ]
    print_columns(
        console,
        titles,
        [_variant(one) for one in profile.variants],
        ("graphs", "max error", "kernels", "breaks even after"),
        total=False,
        elsewhere="--json or --report",
    )
    for one in profile.variants:
        if one.refused:
            folded(console, f"{one.name}: not compared: {one.refused}", "yellow", hang="  ")
            continue
        if one.verdict == "same":
            folded(console, f"{one.name}: {gain_text(one)}", hang="  ")
        if not one.expected and not one.kernels:
            continue
        put(console, f"{one.name}", "bold")
        for line in one.compiled:
            folded(console, line, indent="  compiled  ", hang="            ")
        for line in one.expected:
            folded(console, line, indent="  expected  ", hang="            ")
        for row in one.kernels[:_SHOWN_KERNELS]:
            means = f" ({row.means})" if row.means else ""
            folded(
                console,
                f"{row.count} x {short_text(row.name, _NAME_CELLS)}{means}",
                indent="  observed  ",
                hang="            ",
            )
        if len(one.kernels) > _SHOWN_KERNELS:
            more = one.kernels[_SHOWN_KERNELS:]
            put(
                console,
                f"            … {len(more):,} more, {sum(row.count for row in more):,} kernels: --json or --report",
            )
        for line in one.differences:
            folded(console, line, "yellow", indent="  differs   ", hang="            ")
    put(console, "")


def _notes(console: Console, profile: Profile) -> None:
    for line in profile.notes:
        folded(console, line)
    put(console, "")


def _variant(one: Variant) -> list[str]:
    return [
        one.name,
        "refused" if one.refused else ms_text(None if one.timing is None else one.timing.median_ms),
        "noise" if one.verdict == "same" else gain_text(one),
        NONE if one.max_error is None else f"{one.max_error:.2g}",
        f"{one.prepare_s:.2f} s" if one.prepare_s else NONE,
        count_text(one.graphs),
        break_even_text(one),
        f"{sum(row.count for row in one.kernels)}" if one.kernels else NONE,
    ]


def _hops(console: Console, profile: Profile) -> None:
    lines = [
        [
            "  " * depth + hop.name,
            start_text(hop.start_ms),
            ms_text(hop.wall_ms),
            ms_text(hop.gpu_busy_ms),
            hop.source,
            hop.target or NONE,
            usd(hop.cost_nusd),
        ]
        for hop, depth in zip(profile.hops, hop_depths(profile.hops), strict=True)
    ]
    titles = ["hop", "start", "wall", "GPU busy", "from", "target", "cost"]
    print_columns(
        console,
        titles,
        lines,
        ("from", "target", "GPU busy", "start"),
        total=False,
        elsewhere="--json or --report",
    )
    folded(console, "Indented hops are parts of the one above them, and so is their cost.", "dim")
    put(console, "")
