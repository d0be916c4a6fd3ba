"""Reasoning as asked -> Gemini's ``thinkingConfig``; pure, checked before the call.

Theory
------
Gemini 2.5 counts (``thinkingBudget``), Gemini 3 and later grade (``thinkingLevel``); both together are a 400, so is a
budget outside the model's range, and a budget outside ``thinkingConfig`` is silently ignored. None asked = nothing
sent, on every inlet. A budget is a measure that each maker bounds elsewhere (Anthropic's callers ask for 60,000 tokens):
one above or below the range becomes its nearest end, and it is said.

    effort            none     minimal   low      medium   high     xhigh, max
    2.5 (budget)      0 *      1024      1024     8192     24576    24576          Google's own numbers
    3+  (level)       MINIMAL~ MINIMAL~~ LOW      MEDIUM   HIGH     HIGH~

    *   2.5 Pro cannot stop thinking: refused       ~ an approximation: reported
    ~~  LOW, reported, where the model has no MINIMAL; there "none" is refused
(Numbers: ai.google.dev/gemini-api/docs/openai "Thinking"; ranges: ai.google.dev/gemini-api/docs/thinking; 2026-11.)
"""

from typing import Any, Literal

from msgspec import Struct

from penstock.base.chat import Effort, Reasoning
from penstock.base.decisions import Accepted, Rejected
from penstock.base.models import BudgetRange, ModelFacts
from penstock.dialects.gemini.models import Rules

Style = Literal["none", "budget", "level"]

EFFORT_BUDGET: dict[Effort, int] = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 24576,
    "max": 24576,
}
EFFORT_LEVEL: dict[Effort, str] = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
_FLASH = BudgetRange(minimum=1, maximum=24_576)
_FLASH_LITE = BudgetRange(minimum=512, maximum=24_576)
_PRO = BudgetRange(minimum=128, maximum=32_768, off=False)
_ANY = BudgetRange(minimum=1, maximum=2**31 - 1)
"""From generation 3 on Google maps a budget to a level by itself; no range is documented."""


class Plan(Struct, frozen=True):
    """``config`` is the ``thinkingConfig`` to send, None for none; ``adjusted`` is what had to be approximated."""

    config: dict[str, Any] | None = None
    adjusted: tuple[str, ...] = ()


NOTHING = Plan()


def style(rules: Rules, facts: ModelFacts) -> Style:
    """How this model is told to think: the catalogue's word, else its name's."""
    match facts.reasoning:
        case "budget" | "level" | "none":
            return facts.reasoning
        case _:
            pass
    if "-tts" in rules.name:
        return "none"
    if rules.version >= (3, 0):
        return "level"
    return "budget" if rules.version == (2, 5) and "-image" not in rules.name else "none"


def budget_range(rules: Rules, facts: ModelFacts) -> BudgetRange:
    """Which budgets this model takes: the catalogue's word, else its name's."""
    if facts.budget is not None:
        return facts.budget
    if rules.version >= (3, 0):
        return _ANY
    if "flash-lite" in rules.name:
        return _FLASH_LITE
    return _PRO if "-pro" in rules.name else _FLASH


def plan(asked: Reasoning | None, rules: Rules, facts: ModelFacts) -> Accepted[Plan] | Rejected:
    """What to send, or why it cannot be."""
    if asked is None:
        return Accepted(NOTHING)
    if (fault := _contradiction(asked)) is not None:
        return fault
    effort, budget = asked.effort, asked.max_tokens
    if asked.enabled is False or budget == 0:
        effort, budget = "none", None
    elif effort is None and budget is None:
        if asked.enabled is None:
            return Accepted(NOTHING)  # only ``exclude``: thinking itself was not asked for
        effort = "medium"
    how = style(rules, facts)
    if how == "none":
        return Accepted(NOTHING if effort == "none" else Plan(adjusted=("reasoning-dropped",)))
    if budget is not None:
        return _budget_asked(budget, asked, budget_range(rules, facts), rules.name)
    if effort is None:
        return Accepted(NOTHING)
    if how == "budget":
        return _effort_as_budget(effort, asked, budget_range(rules, facts), rules.name)
    return _effort_as_level(effort, asked, rules)


def _contradiction(asked: Reasoning) -> Rejected | None:
    if asked.effort is not None and asked.max_tokens is not None:
        reason = "Reasoning is asked as an effort and as a budget at once; give one of them."
    elif asked.enabled is False and (asked.effort not in (None, "none") or asked.max_tokens not in (None, 0)):
        reason = "Reasoning is disabled and asked for at once; drop `enabled: false` or the rest."
    elif asked.enabled is True and (asked.effort == "none" or asked.max_tokens == 0):
        reason = "Reasoning is enabled and switched off at once; drop `enabled: true` or the rest."
    else:
        return None
    return Rejected("reasoning-contradiction", reason, param=asked.param, caller_fault=True)


def _budget_asked(
    budget: int, asked: Reasoning, allowed: BudgetRange, model: str
) -> Accepted[Plan] | Rejected:
    if budget == -1 and allowed.dynamic:
        return Accepted(Plan(_with_thoughts({"thinkingBudget": budget}, asked)))
    if budget < 0:
        return Rejected(
            "reasoning-budget-out-of-range",
            f"{model} takes a thinking budget of {_in_words(allowed)}; {budget} was asked.",
            param=asked.param,
            caller_fault=True,
        )
    near = min(max(budget, allowed.minimum), allowed.maximum)
    adjusted = () if near == budget else ("reasoning.max_tokens-clamped",)
    return Accepted(Plan(_with_thoughts({"thinkingBudget": near}, asked), adjusted))


def _effort_as_budget(
    effort: Effort, asked: Reasoning, allowed: BudgetRange, model: str
) -> Accepted[Plan] | Rejected:
    if effort == "none":
        if not allowed.off:
            return _cannot_be_off(asked, model, f"its thinking budget is {_in_words(allowed)}")
        return Accepted(Plan({"thinkingBudget": 0}))
    wanted = EFFORT_BUDGET[effort]
    budget = min(max(wanted, allowed.minimum), allowed.maximum)
    adjusted = () if budget == wanted else ("reasoning_effort-clamped",)
    return Accepted(Plan(_with_thoughts({"thinkingBudget": budget}, asked), adjusted))


def _effort_as_level(effort: Effort, asked: Reasoning, rules: Rules) -> Accepted[Plan] | Rejected:
    minimal = _has_minimal(rules)
    if effort == "none":
        if not minimal:
            return _cannot_be_off(asked, rules.name, "its lowest thinking level is LOW")
        return Accepted(Plan({"thinkingLevel": "MINIMAL"}, ("reasoning_effort-none-as-minimal",)))
    level, adjusted = EFFORT_LEVEL[effort], ()
    if effort == "minimal" and not minimal:
        level, adjusted = "LOW", ("reasoning_effort-minimal-as-low",)
    elif effort in ("xhigh", "max"):
        adjusted = (f"reasoning_effort-{effort}-as-high",)
    return Accepted(Plan(_with_thoughts({"thinkingLevel": level}, asked), adjusted))


def _has_minimal(rules: Rules) -> bool:
    # Pro models and 3.8 and later have no MINIMAL (ai.google.dev "Thinking levels"; gemini-4-argon: LOW to HIGH).
    return rules.version < (3, 8) and "-pro" not in rules.name


def _with_thoughts(config: dict[str, Any], asked: Reasoning) -> dict[str, Any]:
    # Without includeThoughts the thoughts are billed but invisible: just what ``exclude`` asks for.
    if not asked.exclude:
        config["includeThoughts"] = True
    return config


def _cannot_be_off(asked: Reasoning, model: str, why: str) -> Rejected:
    return Rejected(
        "reasoning-cannot-be-off",
        f"{model} cannot stop thinking: {why}.",
        param=asked.param,
        caller_fault=True,
    )


def _in_words(allowed: BudgetRange) -> str:
    words = [f"{allowed.minimum} to {allowed.maximum}"]
    if allowed.off:
        words.append("0 (off)")
    if allowed.dynamic:
        words.append("-1 (dynamic)")
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
