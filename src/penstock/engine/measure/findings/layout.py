"""Memory layout of convolutions, and decoding in tiles that memory did not ask for."""

from penstock.engine.measure.findings.tried import Saving, saving, spent_in
from penstock.engine.measure.records import Finding, Peaks
from penstock.engine.measure.seen import Part, Seen

CONV_SHARE = 0.1
"""A part is conv-heavy when this share of its parameters is in convolutions (SDXL's UNet 0.14, its VAE 0.97). Our choice."""
LEAST_CONVS = 2
ROOM = 0.8
"""Of the memory that the weights leave: what decoding in one piece may take. Our choice."""


def find(seen: Seen, peaks: Peaks | None = None) -> list[Finding]:
    """All of this family."""
    found = [_channels(part, seen) for part in seen.parts if suspect(part) and not _no_gain(part)]
    memory = seen.memory.total_bytes if seen.memory is not None else None
    total = (peaks.memory_bytes if peaks is not None else None) or memory
    for part in seen.parts:
        found += _tiled(seen, part, total)
    return found


def _no_gain(part: Part) -> bool:
    """Timed both ways, and the other layout is not faster here: then it is no fault."""
    return part.channels_last is not None and part.channels_last.saves_ms is None


def suspect(part: Part) -> bool:
    """Conv-heavy, used by the run, and laid out channels-first outside of compiled regions, where Inductor chooses the layout."""
    convs = part.convs
    used = bool(part.forward_calls) or bool(part.method_calls)
    return (
        used
        and convs.contiguous >= LEAST_CONVS
        and convs.parameter_share >= CONV_SHARE
        and part.device != "meta"
    )


def _channels(part: Part, seen: Seen) -> Finding:
    convs = part.convs
    told = saving(part.channels_last, "channels-last", seen.wall_ms, most=_convolved(part, seen))
    layout = "channels_last_3d" if convs.dims == 3 else "channels_last"
    return Finding(
        id="missing-channels-last",
        title=f"{part.path} is conv-heavy and not in {layout}",
        evidence=(
            f"{convs.contiguous} of {convs.count} convolutions of {part.path}, {convs.parameter_share:.0%} of its parameters between "
            "them all, are laid out channels-first and not compiled; where cuDNN or oneDNN computes channels-last, it may transpose on the way "
            f"in and out. {told.told}"
        ),
        saves_ms=told.saves_ms,
        bound=told.bound,
        fix=f"Lay the weights out as they are computed; the activations follow.\n{part.path}.to(memory_format=torch.{layout})",
        proof="No nchwToNhwc kernels in a trace, and a shorter run; every such weight.is_contiguous(memory_format=torch."
        + layout
        + ").",
        facts={
            "convs": float(convs.count),
            "channels_first": float(convs.contiguous),
            "parameter_share": convs.parameter_share,
        },
        where=part.path,
    )


def _convolved(part: Part, seen: Seen) -> Saving | None:
    """The time of its convolutions and of the conversions of their layout, by the capture; None where there is none."""
    spent = spent_in(seen, part.path)
    if spent is None:
        return None
    return Saving(
        spent.convs_ms,
        "The time of its convolutions and of the conversions around them.",
        f"They and the conversions of their layout take {spent.convs_ms:.3g} of its {spent.wall_ms:.3g} ms: at most that "
        "(--deep times it both ways).",
    )


def _tiled(seen: Seen, part: Part, total: int | None) -> list[Finding]:
    seen_here = part.tiling
    if seen_here is None or total is None or seen_here.whole_bytes is None or not seen_here.decodes:
        return []
    tiles = seen_here.tiles or 0
    if not (seen_here.tiling or seen_here.slicing) or tiles <= seen_here.decodes:
        return []  # switched on, but nothing was cut: it costs nothing
    weights = sum(other.weight_bytes for other in seen.parts)
    if seen_here.whole_bytes > ROOM * (total - weights):
        return []
    saves, bound = None, "The time of its decoding is not known."
    if seen_here.cut_ms is not None and seen_here.whole_ms is not None:
        saves = max(0.0, (seen_here.cut_ms - seen_here.whole_ms) * seen_here.decodes)
        bound = "One decode as it is set against one in one piece, timed in turn."
    elif part.wall_ms is not None:
        saves = part.wall_ms * (1 - seen_here.decodes / tiles)
        bound = "The decoding's time but for one piece of each decode: in one piece it takes at least as long as its largest tile."
    ways = [way for way, on in (("tiling", seen_here.tiling), ("slicing", seen_here.slicing)) if on]
    return [
        Finding(
            id="tiling-without-need",
            title=f"{part.path} decodes in {tiles} pieces where one would fit",
            evidence=(
                f"{tiles} calls of the decoder in {seen_here.decodes} decode; in one piece it needs "
                f"{seen_here.whole_bytes / 2**20:.1f} MiB beside {weights / 2**20:.1f} MiB of weights, of {total / 2**20:.0f} MiB. "
                "Tiles overlap, and leave seams."
            ),
            saves_ms=saves,
            bound=bound,
            fix="Decode in one piece.\n" + "\n".join(f"{part.path}.disable_{way}()" for way in ways),
            proof=f"One call of {part.path}.decoder a decode.",
            facts={
                "tiles": float(tiles),
                "decodes": float(seen_here.decodes),
                "whole_bytes": float(seen_here.whole_bytes),
                "memory_bytes": float(total),
            },
            where=part.path,
        )
    ]
