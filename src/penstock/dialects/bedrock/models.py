"""Which parameters a model at Bedrock takes: its family by name, corrected by what the catalogue knows.

Sources: the Bedrock user guide (Claude adaptive thinking; Nova 2 extended thinking; OpenAI models), botocore 1.44's
service model of bedrock-runtime 2023-09-30, Anthropic's migration guides; read 2026-11. An id may carry a region
(``us.anthropic.…``) or be an ARN. A Claude newer than the table follows its last row; other vendors' models get the
cautious row.

    family          reasoning is asked by (in additionalModelRequestFields)
    claude          thinking{type: enabled, budget_tokens} up to 4.6; thinking{type: adaptive} with output_config.effort from 4.6
    nova 2          reasoningConfig{type, maxReasoningEffort}
    openai          reasoning_effort
"""

import re
from functools import lru_cache
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from penstock.base.models import Target

Family = Literal["claude", "nova", "openai", "other"]
ThinkingKind = Literal["none", "budget", "both", "adaptive", "effort", "nova"]
ThinkingOff = Literal["omit", "disabled", "never"]


class Rules(Struct, frozen=True):
    """What one model takes. The defaults are the cautious row."""

    family: Family = "other"
    max_output: int = 4_096
    sampling: bool = True
    thinking: ThinkingKind = "none"
    off: ThinkingOff = "omit"
    """How thinking is turned off; all but "omit" think by default."""
    efforts: tuple[str, ...] = ()
    forced_tools: bool = True
    prefill: bool = False
    json_schema: bool = False
    cache: bool = False
    """Takes cachePoint blocks."""


_CLAUDE = Rules(family="claude", prefill=True)
_NOVA = Rules(family="nova", max_output=5_120, prefill=True, cache=True)
_NOVA_2 = replace(_NOVA, max_output=64_000, thinking="nova", prefill=False, efforts=("low", "medium", "high"))
_OPENAI = Rules(
    family="openai",
    max_output=64_000,
    thinking="effort",
    off="never",
    efforts=("low", "medium", "high"),
    json_schema=True,
)
_STRUCTURED = Rules(json_schema=True)
_STRUCTURED_VENDORS = ("qwen.", "deepseek.", "mistral.", "google.", "nvidia.", "minimax.", "moonshot")
"""Whose models take structured outputs (Bedrock user guide); Amazon's own do not."""
_V37 = replace(_CLAUDE, max_output=64_000, thinking="budget", cache=True)
_V45 = replace(_V37, json_schema=True)
_V46 = replace(_V45, thinking="both", prefill=False, efforts=("low", "medium", "high", "max"))
_V47 = replace(
    _V46,
    max_output=128_000,
    thinking="adaptive",
    sampling=False,
    efforts=("low", "medium", "high", "xhigh", "max"),
)
_V5 = replace(_V47, off="disabled")
_V55 = replace(_V5, off="never", forced_tools=False)
_TABLE: tuple[tuple[tuple[int, int], Rules], ...] = (
    ((0, 0), _CLAUDE),
    ((3, 5), replace(_CLAUDE, max_output=8_192, cache=True)),
    ((3, 7), _V37),
    ((4, 5), _V45),
    ((4, 6), _V46),
    ((4, 7), _V47),
    ((5, 0), _V5),
    ((5, 5), _V55),
)
_VERSION = re.compile(
    r"claude-(?:(?P<first>[a-z]+)-)?(?P<major>\d{1,2})(?!\d)(?:[-.](?P<minor>\d{1,2})(?!\d))?(?:-(?P<last>[a-z]+))?"
)
_ALWAYS = ("fable", "mythos")


@lru_cache(maxsize=1024)
def by_name(model: str) -> Rules:
    """The rules that the id alone tells."""
    name = model.lower()
    if "nova-2" in name:
        return _NOVA_2
    if "amazon.nova" in name:
        return _NOVA
    if "openai." in name:
        return _OPENAI
    if "claude" not in name:
        return _STRUCTURED if any(vendor in name for vendor in _STRUCTURED_VENDORS) else Rules()
    found = _VERSION.search(name)
    if found is None:
        return _CLAUDE
    version = (int(found["major"]), int(found["minor"] or 0))
    family = found["first"] or found["last"]
    if family == "haiku" and version == (5, 5):
        return _V5
    if family in _ALWAYS:
        return _V55 if version > (5, 0) else replace(_V5, off="never")
    rules = _CLAUDE
    for first, row in _TABLE:
        if version >= first:
            rules = row
    return rules


_KINDS: dict[str, tuple[ThinkingKind, ...]] = {
    "none": ("none",),
    "budget": ("budget", "both"),
    "adaptive": ("adaptive", "both"),
    "always": ("adaptive",),
}
"""The catalogue's word for a Claude's reasoning -> our kinds that agree with it."""


def rules_for(target: Target) -> Rules:
    """The rules of a target: by its name, then corrected by the catalogue where it speaks."""
    rules, facts = by_name(target.model), target.facts
    if not facts.known:
        return rules
    changes: dict[str, object] = {}
    if facts.max_output_tokens is not None:
        changes["max_output"] = facts.max_output_tokens
    if facts.capabilities is not None:
        changes |= {name: name in facts.capabilities for name in ("sampling", "prefill")}
        if (
            rules.family == "claude"
        ):  # of other models the catalogue counts a schema made of a forced tool, too
            changes["json_schema"] = "json_schema" in facts.capabilities
    if rules.family == "claude" and facts.reasoning in _KINDS:
        agreed = _KINDS[facts.reasoning]
        if rules.thinking not in agreed:
            changes["thinking"] = agreed[0]
        if facts.reasoning == "always" and rules.off == "omit":
            changes["off"] = "never"
        if agreed[0] == "adaptive" and not rules.efforts:
            changes["efforts"] = _V47.efforts
    return replace(rules, **changes)
