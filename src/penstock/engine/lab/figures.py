"""Figures as people read them: milliseconds, shares, counts and money, one way in the terminal and in the report."""

from collections.abc import Iterable

from penstock.base.money import usd_text
from penstock.engine.measure import marks
from penstock.engine.measure.attribution import plain
from penstock.engine.measure.records import Finding, Hop, Profile, StageRow, Variant

NONE = "-"
"""What is not known; never shown as 0."""
_SCALES = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


def ms_text(value_ms: float | None) -> str:
    """ "0.0123 ms", "12.3 ms", "1,171.6 ms": three digits that say something, and none that do not."""
    if value_ms is None:
        return NONE
    size = abs(value_ms)
    if size == 0:
        return "0 ms"
    if size >= 100:
        return f"{value_ms:,.1f} ms"
    if size >= 10:
        return f"{value_ms:.2f} ms"
    return f"{value_ms:.3f} ms" if size >= 0.01 else f"{value_ms * 1000:.2f} µs"


def share_text(share: float | None) -> str:
    """ "16.2 %"."""
    return NONE if share is None else f"{share * 100:.1f} %"


def count_text(value: float | None) -> str:
    """ "8,042"."""
    return NONE if value is None else f"{value:,.0f}"


def scaled_text(value: float | None, unit: str) -> str:
    """ "13.52 TFLOP", "265 GB": decimal prefixes."""
    if value is None:
        return NONE
    for scale, prefix in _SCALES:
        if abs(value) >= scale:
            shown = value / scale
            digits = 0 if abs(shown) >= 100 else 1 if abs(shown) >= 10 else 2
            return f"{shown:,.{digits}f} {prefix}{unit}"
    return f"{value:,.0f} {unit}"


_FACTS = {"threads": "host threads", "waits": "times the host waited", "steps": "profiler steps"}
"""Facts whose name says too little where it stands alone."""


def fact_text(name: str, value: float) -> tuple[str, str]:
    """A fact's name and figure in words: ("weight_bytes", 2.78e6) -> ("weight", "2.78 MB"), by the unit in its name."""
    words = _FACTS.get(name) or name.replace("_", " ")
    if name.endswith("_bytes") or name.startswith("bytes"):
        return words.removesuffix(" bytes"), scaled_text(value, "B")
    if name.endswith("_ms"):
        return words.removesuffix(" ms"), ms_text(value)
    if name == "flops":
        return "work", scaled_text(value, "FLOP")
    return words, f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def usd(nusd: int | None) -> str:
    """ "$0.0000015", exact; what is not known is said."""
    return NONE if nusd is None else f"${usd_text(nusd)}"


def short_text(text: str, most: int) -> str:
    """The text in at most ``most`` characters: its middle goes first, for kernels differ at both ends."""
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 3
    return f"{text[:head]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - (most - 1 - head) :]}"


def shown_name(name: str) -> str:
    """A range's name without what marks it: "stage: unet" -> "unet", "## Call CompiledFxGraph fp5r5pk7bndv ##" -> "compiled graph fp5r5pk7"."""
    return marks.stage_of(name) or marks.module_of(name) or plain(name)


def module_text(name: str) -> str:
    """A kernel's module; what ran in none of them lies in the run itself, and has none."""
    return NONE if not name or marks.run_of(name) is not None else name


def on_cpu(profile: Profile) -> bool:
    """There is no device beside the host: the ops are what runs."""
    return profile.device.name.startswith("cpu")


def depths(rows: Iterable[StageRow]) -> list[int]:
    """How deep each row is nested: its parent is the last row above it of that name."""
    at: dict[str, int] = {}
    found: list[int] = []
    for row in rows:
        depth = at.get(row.parent, 0) + 1 if row.parent else 0
        at[row.name] = depth
        found.append(depth)
    return found


def hop_depths(hops: Iterable[Hop]) -> list[int]:
    """How deep each hop lies inside others, whose ``key`` is its ``parent``."""
    at: dict[str, int] = {}
    found: list[int] = []
    for hop in hops:
        at[hop.key] = at.get(hop.parent, 0) + 1 if hop.parent else 0
        found.append(at[hop.key])
    return found


def start_text(start_ms: float) -> str:
    """ "+0.0 ms", "-1.0 ms": from the first hop's start; a clock that is behind may have it earlier."""
    return f"{start_ms:+,.1f} ms"


def fix_parts(fix: str) -> tuple[str, str]:
    """A finding's fix as its sentence and its code; either may be empty. The code begins on the second line."""
    sentence, _, code = fix.strip().partition("\n")
    code = code.strip("\n")
    lines = code.splitlines()
    if len(lines) > 1 and lines[0].startswith("```") and lines[-1].startswith("```"):
        code = "\n".join(lines[1:-1])
    return sentence, code


def saves_text(finding: Finding) -> str:
    """ "6.32 ms", "2,310.0 ms once"; "-" without a bound."""
    return f"{ms_text(finding.saves_ms)} once" if finding.once else ms_text(finding.saves_ms)


def bound_text(finding: Finding) -> str:
    """What the figure rests on, or why there is none."""
    if not finding.bound:
        return ""
    return f"{'No bound' if finding.saves_ms is None else 'Bound'}: {finding.bound}"


def where_text(finding: Finding) -> str:
    """Its place; of a line in a library also the user's own line."""
    return f"{finding.where}, called from {finding.caller}" if finding.caller else finding.where


_REAL_GAIN = 1.05
"""From this on a variant's gain is worth a sentence. Our choice."""


def gain_text(one: Variant) -> str:
    """ "1.25x"; "no difference within the noise (+2.0 % ± 5.3 %)" where the quartiles of the two sides touch."""
    if one.gain is None:
        return NONE
    if one.verdict != "same":
        return f"{one.gain:.2f}x"
    return f"no difference within the noise ({noise_text(one)})"


def noise_text(one: Variant) -> str:
    """ "+2.0 % ± 5.3 %": by how much a side's speed is another, and half of what the quartiles allow."""
    gain, low, high = one.gain or 1.0, one.gain_low or 1.0, one.gain_high or 1.0
    return f"{(gain - 1) * 100:+.1f} % ± {(high - low) * 50:.1f} %"


def break_even_text(one: Variant) -> str:
    """ "2,500 calls"; "never" where it is not faster beyond the noise; "-" of what was not compared."""
    if one.gain is None:
        return NONE
    return "never" if one.break_even_calls is None else f"{one.break_even_calls:,.0f} calls"


def _gain(own: Variant) -> float | None:
    """A gain that is worth a sentence: above the noise of both sides."""
    return own.gain if own.verdict == "faster" and own.gain is not None and own.gain >= _REAL_GAIN else None


def nothing_found(profile: Profile) -> str:
    """What stands where findings would: that there are none, or that the comparison is what was found."""
    base = next((one for one in profile.variants if one.timing is not None), None)
    found = ((_gain(one), one) for one in profile.variants)
    gained = sorted(((gain, one) for gain, one in found if gain is not None), key=lambda pair: -pair[0])
    if base is None or not gained:
        return "Nothing was found that is worth a change."
    told: list[str] = []
    for gain, one in gained:
        after = one.break_even_calls
        paid = f", and has paid for its preparation after {after:,.0f} calls" if after else ""
        told.append(f"{one.name} is {gain:.2f}x as fast as {base.name}{paid}")
    return f"The comparison found what is worth a change: {'; '.join(told)}. Nothing else was found."
