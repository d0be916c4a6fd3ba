"""A request's whole way: what the ledger has of a trace, and the stages of its capture, in one waterfall.

Theory: the ledger knows when each call and each metered part began, how long it took and what it cost, but not what happened
inside. The capture knows the inside, but is slower than life. So the capture's stages are laid into the hop that they are the
inside of, in their order, drawn in proportion where they are longer than it; each takes its share of that hop's cost.

Which hop that is, the first that fits
1. the hop of the stage's own name, or of a name that means the same (``SAME``);
2. for all stages left over: the longest hop on compute of one's own; without one, the longest attempt at a provider.

Rules
- Pure. A hop's parts are never longer than it, and their costs sum to its cost to the nano-dollar, with what is left over.
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from penstock.base.errors import BadRequest
from penstock.base.money import div_half_even
from penstock.engine.measure.records import REST, UNATTRIBUTED, DeviceSummary, Hop, Profile, StageRow

OWN = "own/"
"""How the target of compute of one's own begins."""
SAME: tuple[frozenset[str], ...] = (
    frozenset(
        {
            "text-encoder",
            "text-encode",
            "text-encoding",
            "encode-prompt",
            "text",
            "prompt",
            "embed",
            "embeddings",
        }
    ),
    frozenset({"denoise", "denoiser", "denoising", "unet", "transformer", "dit", "diffusion", "sample"}),
    frozenset({"vae", "vae-decode", "decode-latents", "decode-image", "decoder"}),
    frozenset({"encode", "encoding", "postprocess", "image-encode", "png", "jpeg"}),
    frozenset({"prefill"}),
    frozenset({"decode", "generate"}),
)
"""Names of one thing: by the pipelines' methods, and by the words that services give their meters."""
_PARTS = 10**9


def ledger_profile(trace_id: str, hops: Sequence[Hop]) -> Profile:
    """What is known of a request without a capture: its hops."""
    return Profile(
        target=f"trace {trace_id}",
        source="ledger",
        device=DeviceSummary(name="the ledger"),
        wall_ms=_end_ms(hops),
        trace_ids=(trace_id,),
        hops=tuple(hops),
        cost_nusd=_sum(hop.cost_nusd for hop in hops if not hop.parent),
    )


def joined(profile: Profile, trace_id: str, hops: Sequence[Hop]) -> Profile:
    """The profile with the request's hops, and its own stages inside them.

    Raises:
        BadRequest: the capture says that it is of other requests.
    """
    if profile.trace_ids and trace_id not in profile.trace_ids:
        raise BadRequest(
            f"{profile.target} is of the request {', '.join(profile.trace_ids)}, not of {trace_id}.",
            param="--trace",
            hint="Name that trace, or the capture that is of this one.",
        )
    inside: dict[str, list[StageRow]] = {}
    for row in profile.stages:
        if row.parent or row.name in REST:
            continue
        host = _by_name(row.name, hops) or _longest(hops)
        if host is not None:
            inside.setdefault(host.key, []).append(row)
    told: list[Hop] = []
    warnings = list(profile.warnings)
    for hop in hops:
        told.append(hop)
        rows = inside.get(hop.key)
        if rows:
            told += _laid(rows, hop)
            longer = sum(row.wall_ms for row in rows) / hop.wall_ms if hop.wall_ms else 0.0
            if longer > 1.05:
                warnings.append(
                    f"The capture's stages took {longer:.2f} times as long as {hop.name} in the ledger (the profiler, or another "
                    "run): they are drawn in proportion."
                )
            elif longer < 0.95:
                warnings.append(
                    f"The capture's stages took {longer:.2f} of {hop.name}'s time in the ledger: they are drawn as long as they are, one "
                    f"after the other from its start, and the rest is {UNATTRIBUTED}. Where in the hop they lay is not known."
                )
    if not profile.trace_ids:
        warnings.append(
            f"The capture does not say which request it is of: that it is of {trace_id} is taken on trust."
        )
    return replace(profile, hops=tuple(told), trace_ids=(trace_id,), warnings=tuple(warnings))


def plain(name: str) -> str:
    """ "Text_Encoder" -> "text-encoder"."""
    return name.strip().lower().replace("_", "-").replace(" ", "-")


def _by_name(stage: str, hops: Sequence[Hop]) -> Hop | None:
    name = plain(stage)
    ours = [hop for hop in hops if not hop.parent]
    for hop in ours:
        if plain(hop.name) == name:
            return hop
    for hop in ours:
        if any(name in names and plain(hop.name) in names for names in SAME):
            return hop
    return None


def _longest(hops: Sequence[Hop]) -> Hop | None:
    """Where the work was done that no hop names."""
    own = [hop for hop in hops if hop.target.startswith(OWN) and hop.klass == "own_cost"]
    attempts = [hop for hop in hops if hop.source == "ledger"]
    return max(own or attempts, key=lambda hop: hop.wall_ms, default=None)


def _laid(rows: Sequence[StageRow], host: Hop) -> list[Hop]:
    """The stages one after another inside their hop, and what of it they leave."""
    whole_ms = sum(row.wall_ms for row in rows)
    scale = min(1.0, host.wall_ms / whole_ms) if whole_ms > 0 else 0.0
    parts: list[Hop] = []
    at_ms = host.start_ms
    given = 0
    for row in rows:
        wall_ms = row.wall_ms * scale
        at_ms += wall_ms
        cost, given = _step(host, at_ms - host.start_ms, given)
        parts.append(
            Hop(
                key=f"{host.key}#{row.name}",
                parent=host.key,
                name=row.name,
                start_ms=at_ms - wall_ms,
                wall_ms=wall_ms,
                source="profile",
                cost_nusd=cost,
                target=host.target,
                gpu_busy_ms=None if row.gpu_busy_ms is None else row.gpu_busy_ms * scale,
            )
        )
    left_ms = host.start_ms + host.wall_ms - at_ms
    if left_ms > host.wall_ms * 1e-6:
        cost = None if host.cost_nusd is None else host.cost_nusd - given
        parts.append(
            Hop(
                key=f"{host.key}#{UNATTRIBUTED}",
                parent=host.key,
                name=UNATTRIBUTED,
                start_ms=at_ms,
                wall_ms=left_ms,
                source="profile",
                cost_nusd=cost,
                target=host.target,
            )
        )
    elif parts and host.cost_nusd is not None and parts[-1].cost_nusd is not None:
        parts[-1] = replace(parts[-1], cost_nusd=parts[-1].cost_nusd + host.cost_nusd - given)
    return parts


def _step(host: Hop, until_ms: float, given: int) -> tuple[int | None, int]:
    """The cost of the next part, and what has been given with it: the step of the rounded running sum."""
    if host.cost_nusd is None:
        return None, given
    part = round(min(1.0, until_ms / host.wall_ms) * _PARTS) if host.wall_ms > 0 else 0
    upto = div_half_even(host.cost_nusd * part, _PARTS)
    return upto - given, upto


def _end_ms(hops: Sequence[Hop]) -> float:
    return max((hop.start_ms + hop.wall_ms for hop in hops), default=0.0)


def _sum(costs: Iterable[int | None]) -> int | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None
