"""Which parameters a Claude model takes: data by family and version, corrected by what the catalogue knows.

Sources: shared wire facts (Anthropic's migration guides up to Haiku 5.5, 2026-10), its models overview, its
"configuring thinking" and "structured outputs" pages. A model that is newer than the table follows the newest row
of its family; an id that is no Claude at all (other vendors speak this dialect too) gets the cautious row.

    version        sampling  thinking             off            forced tools  prefill  JSON schema
    3.0 - 3.6      yes       -                    -              yes           yes      -
    3.7 - 4.1      yes       budget               omit           yes*          yes      -
    4.5            yes       budget               omit           yes*          yes      yes
    4.6            yes       budget or adaptive   omit           yes*          no       yes
    4.7, 4.8       no        adaptive             omit           yes           no       yes
    5, Haiku 5.5   no        adaptive, default    disabled       yes           no       yes
    Sonnet 5.5     no        adaptive, default    between_tools  no            no       yes
    Opus 5.5, …    no        adaptive, default    never          no            no       yes

    * not together with a thinking budget
"""

import re
from functools import lru_cache
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from penstock.base.models import ModelFacts, ReasoningStyle, Target

ThinkingKind = Literal["none", "budget", "both", "adaptive"]
ThinkingOff = Literal["omit", "disabled", "between_tools", "never"]

_ALL_EFFORTS = ("low", "medium", "high", "xhigh", "max")


class Rules(Struct, frozen=True):
    """What one model takes. The defaults are the cautious row."""

    max_output: int = 8_192
    sampling: bool = True
    top_p_beside_temperature: bool = True
    thinking: ThinkingKind = "budget"
    off: ThinkingOff = "omit"
    """How thinking is turned off; all but "omit" think by default."""
    efforts: tuple[str, ...] = ()
    display: bool = True
    """Thinking may be asked for without its text being returned."""
    forced_tools: bool = True
    prefill: bool = True
    json_schema: bool = False


_V3 = Rules(max_output=4_096, thinking="none")
_V35 = replace(_V3, max_output=8_192)
_V37 = replace(_V3, max_output=64_000, thinking="budget", display=False)
_OPUS_4 = replace(_V37, max_output=32_000, display=True)
_OPUS_41 = replace(_OPUS_4, top_p_beside_temperature=False)
_SONNET_4 = replace(_OPUS_4, max_output=64_000)
_V45 = replace(_OPUS_41, max_output=64_000, json_schema=True)
_V46 = replace(
    _V45, max_output=128_000, thinking="both", efforts=("low", "medium", "high", "max"), prefill=False
)
_V47 = replace(_V46, sampling=False, thinking="adaptive", efforts=_ALL_EFFORTS)
_V5 = replace(_V47, off="disabled")
_ALWAYS = replace(_V5, off="never")
_ALWAYS_FREE = replace(_ALWAYS, forced_tools=False)
_BETWEEN = replace(_ALWAYS_FREE, off="between_tools")

# Family -> (first version, rules), ascending.
_TABLE: dict[str, tuple[tuple[tuple[int, int], Rules], ...]] = {
    "opus": (
        ((3, 0), _V3),
        ((4, 0), _OPUS_4),
        ((4, 1), _OPUS_41),
        ((4, 5), _V45),
        ((4, 6), _V46),
        ((4, 7), _V47),
        ((5, 0), _V5),
        ((5, 5), _ALWAYS_FREE),
    ),
    "sonnet": (
        ((3, 0), _V3),
        ((3, 5), _V35),
        ((3, 7), _V37),
        ((4, 0), _SONNET_4),
        ((4, 5), _V45),
        ((4, 6), _V46),
        ((4, 7), _V47),
        ((5, 0), _V5),
        ((5, 5), _BETWEEN),
    ),
    "haiku": (((3, 0), _V3), ((3, 5), _V35), ((4, 5), _V45), ((4, 6), _V47), ((5, 0), _V5)),
    "fable": (((5, 0), _ALWAYS), ((5, 1), _ALWAYS_FREE)),
    "mythos": (((5, 0), _ALWAYS), ((5, 1), _ALWAYS_FREE)),
}

_FAMILY_FIRST = re.compile(r"claude-([a-z]+)-(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")
_VERSION_FIRST = re.compile(r"claude-(\d)(?:[-.](\d))?-([a-z]+)")
_ANCIENT = re.compile(r"claude-(?:v?[12]\b|instant)")


@lru_cache(maxsize=1024)
def by_name(model: str) -> Rules:
    """The rules that the id alone tells: "anthropic/claude-opus-4.5", "us.anthropic.claude-3-5-sonnet-…", …"""
    name = model.lower()
    if _ANCIENT.search(name):
        return _V3
    if found := _VERSION_FIRST.search(name):
        family, version = found[3], (int(found[1]), int(found[2] or 0))
    elif found := _FAMILY_FIRST.search(name):
        family, version = found[1], (int(found[2]), int(found[3] or 0))
    elif "claude" in name:
        return _ALWAYS_FREE
    else:
        return Rules()
    rows = _TABLE.get(family)
    if rows is None:
        return _ALWAYS_FREE
    chosen = rows[0][1]
    for first, rules in rows:
        if version >= first:
            chosen = rules
    return chosen


# The catalogue's one word for reasoning -> the kinds of ours that agree with it; the first where none does.
_AGREES: dict[ReasoningStyle, tuple[ThinkingKind, ...]] = {
    "none": ("none",),
    "budget": ("budget", "both"),
    "effort": ("adaptive", "both"),
    "level": ("adaptive", "both"),
    "adaptive": ("adaptive", "both"),
    "always": ("adaptive",),
}


def rules_for(target: Target) -> Rules:
    """The rules of a target: by its name, then corrected by the catalogue where it speaks."""
    rules = by_name(target.model)
    return _corrected(rules, target.facts) if target.facts.known else rules


def _corrected(rules: Rules, facts: ModelFacts) -> Rules:
    changes: dict[str, object] = {}
    if facts.max_output_tokens is not None and facts.max_output_tokens != rules.max_output:
        changes["max_output"] = facts.max_output_tokens
    if facts.capabilities is not None:
        for name in ("sampling", "prefill", "json_schema"):
            if (name in facts.capabilities) is not getattr(rules, name):
                changes[name] = name in facts.capabilities
    if facts.reasoning is not None:
        agreed = _AGREES[facts.reasoning]
        if rules.thinking not in agreed:
            changes["thinking"] = agreed[0]
        kind = changes.get("thinking", rules.thinking)
        if kind in ("adaptive", "both") and not rules.efforts:
            changes["efforts"] = _ALL_EFFORTS
        if facts.reasoning == "always" and rules.off == "omit":
            changes["off"] = "never"
    return replace(rules, **changes) if changes else rules
