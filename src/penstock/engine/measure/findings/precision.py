"""An autoencoder in the wrong precision: float32 where half would do, float16 where it overflows; float16 on a CPU."""

from penstock.engine.measure.records import Finding, Peaks
from penstock.engine.measure.seen import Output, Part, Seen

FP16_MOST = 65504.0
"""The largest float16."""
HEADROOM = 2.0
"""An activation within this factor of it is one brighter image away from overflowing. Our choice."""


def find(seen: Seen, peaks: Peaks | None = None) -> list[Finding]:
    """All of this family."""
    found: list[Finding] = []
    for part in seen.parts:
        out = part.output
        if part.autoencoder and out is not None:
            if out.dtype == "float32" and seen.device != "cpu":
                found.append(_fp32(seen, part, out, peaks))
            found += _unsafe(seen, part, out)
        if part.device == "cpu" and part.dtype == "float16" and part.convs.count:
            found.append(_fp16_on_cpu(seen, part))
    return found


def _fp32(seen: Seen, part: Part, out: Output, peaks: Peaks | None) -> Finding:
    rests = (
        f" although its weights rest in {part.dtype}, because its configuration says force_upcast"
        if part.dtype != out.dtype and part.force_upcast
        else ""
    )
    spent = f"; {part.wall_ms:.1f} ms of a run" if part.wall_ms is not None else ""
    saves_ms = _bound(part.wall_ms, peaks)
    return Finding(
        id="fp32-vae",
        title=f"{part.path} decodes in float32 on a GPU",
        evidence=f"{part.path} decodes in float32{rests}: twice the bytes of bfloat16, and not the tensor cores' best{spent}.",
        saves_ms=saves_ms,
        bound=(
            "By the card's peaks: bfloat16's arithmetic against float32's, or half the bytes."
            if saves_ms is not None
            else "The card's peaks in both precisions, or the decoding's time, are not known."
        ),
        fix=f"Decode in bfloat16, whose range is float32's.\n{_to_bf16(seen, part)}",
        proof=f"next({part.path}.parameters()).dtype is torch.bfloat16 while it decodes; kernels named bf16; PSNR above 40 dB.",
        facts={"vae_ms": part.wall_ms} if part.wall_ms is not None else {},
        where=part.path,
    )


def _bound(wall_ms: float | None, peaks: Peaks | None) -> float | None:
    """At most the peaks' ratio where arithmetic decides, at most half where bytes do; the larger of the two. None unknown."""
    if wall_ms is None or peaks is None:
        return None
    full = max(peaks.flops_per_s.get("fp32", 0.0), peaks.flops_per_s.get("tf32", 0.0))
    half = peaks.flops_per_s.get("bf16", 0.0)
    if not full or not half:
        return None
    return wall_ms * max(0.5, 1 - full / half)


def _unsafe(seen: Seen, part: Part, out: Output) -> list[Finding]:
    if out.dtype != "float16" or out.input_non_finite:
        return []  # what came in was spoilt already: not this part's fault
    spoilt = out.non_finite > 0 or out.black_image
    close = out.largest is not None and out.largest > FP16_MOST / HEADROOM
    if not spoilt and not close:
        return []
    told = f"{out.non_finite} of {out.elements} values that {part.path} decoded in float16 are not finite"
    if out.black_image:
        told += "; the image is one value throughout"
    if out.largest is not None:
        told += f"; its largest activation is {out.largest:.0f} of float16's {FP16_MOST:.0f}"
    if part.force_upcast:
        told += "; its configuration says force_upcast: it was made to run in float32"
    return [
        Finding(
            id="fp16-unsafe-vae",
            title=f"{part.path} {'overflows' if spoilt else 'is close to overflowing'} in float16",
            evidence=told + ".",
            bound="It decides whether the picture is right, not how long it takes.",
            fix=f"Decode in bfloat16, whose range is float32's.\n{_to_bf16(seen, part)}",
            proof="torch.isfinite(image).all() over what it decodes.",
            facts={
                "non_finite": float(out.non_finite),
                "elements": float(out.elements),
                **({"largest": out.largest} if out.largest is not None else {}),
            },
            where=part.path,
        )
    ]


def _to_bf16(seen: Seen, part: Part) -> str:
    """Code that works with the denoiser as it is: a pipeline does not cast latents to the autoencoder's dtype."""
    lines = [f"{part.path}.to(torch.bfloat16)"]
    others = [other for other in seen.parts if other.forward_calls and not other.autoencoder]
    denoiser = max(others, key=lambda other: other.forward_calls or 0, default=None)
    if denoiser is None or denoiser.dtype != "bfloat16":
        lines += [
            f"decode = {part.path}.decode",
            f"{part.path}.decode = lambda z, *args, **kwargs: decode(z.to(torch.bfloat16), *args, **kwargs)",
        ]
    return "\n".join(lines)


def _fp16_on_cpu(seen: Seen, part: Part) -> Finding:
    code = _to_bf16(seen, part) if part.autoencoder else f"{part.path}.to(torch.bfloat16)"
    return Finding(
        id="fp16-on-cpu",
        title=f"{part.path} computes in float16 on a CPU",
        evidence=(
            f"{part.convs.count} convolutions of {part.path} are float16 on a CPU, which has no fast path for them: an SDXL VAE took "
            "12.3 s so, 0.055 s in bfloat16 (measured, AVX-512)."
        ),
        saves_ms=part.wall_ms,
        bound=(
            "All of its time in the run: nearly all of it goes, where it is convolutions."
            if part.wall_ms is not None
            else "Its time in the run is not known."
        ),
        fix=f"On a CPU take bfloat16, and give it bfloat16 inputs.\n{code}",
        proof=f"next({part.path}.parameters()).dtype is torch.bfloat16.",
        facts={"convs": float(part.convs.count)},
        where=part.path,
    )
