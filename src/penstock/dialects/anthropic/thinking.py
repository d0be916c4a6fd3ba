"""Reasoning, as asked in any spelling -> what this model calls it.

Sources: shared wire facts on reasoning (OpenRouter's ratio rule for budgets, June 2026) and Anthropic's thinking
guide. Nothing asked = nothing sent. What cannot be had as asked is approximated and noted, never refused:

    asked         budget models                     adaptive models
    effort        ratio x max_tokens, 1,024 to 128,000  output_config.effort + adaptive
    max_tokens    budget_tokens, at least 1,024      nearest effort (noted)
    -1            medium (noted)                     adaptive
    off           nothing sent                       disabled | between_tools | lowest effort (noted)
"""

from typing import Any

from msgspec import Struct

from penstock.base.chat import Reasoning
from penstock.dialects.anthropic.models import Rules
from penstock.wire.notes import Notes

MIN_BUDGET = 1_024
MAX_BUDGET = 128_000
RATIO = {"max": 0.95, "xhigh": 0.95, "high": 0.8, "medium": 0.5, "low": 0.2, "minimal": 0.1}
# What effort a share of max_tokens amounts to: the same table backwards.
_EFFORT_BELOW = ((0.35, "low"), (0.65, "medium"), (0.875, "high"))


class Plan(Struct):
    """What goes into the body."""

    thinking: dict[str, Any] | None = None
    effort: str | None = None
    max_tokens: int = 0
    active: bool = False
    """The model is told to think: sampling parameters and a prefill are refused beside it."""


def plan_thinking(
    asked: Reasoning | None, rules: Rules, max_tokens: int, notes: Notes, *, manual_ok: bool, forced: bool
) -> Plan:
    """``manual_ok``: the history admits a budget. ``forced``: a tool is forced, which excludes a budget."""
    plan = Plan(max_tokens=max_tokens)
    if asked is None:
        return plan
    if _is_off(asked):
        return _turned_off(plan, rules, notes)
    wanted = asked.effort is not None or asked.max_tokens is not None or asked.enabled
    if not wanted:
        # `{}` asks to see the thoughts of a model that thinks anyway; `{exclude: true}` asks for nothing.
        if rules.off != "omit" and not asked.exclude:
            plan.thinking = {"type": "adaptive", "display": "summarized"}
            plan.active = True
        return plan
    if rules.thinking == "none":
        notes.add("reasoning-dropped")
        return plan
    if asked.effort is not None and asked.max_tokens is not None:
        notes.add("reasoning_effort-dropped")
    if _wants_budget(asked, rules, manual_ok=manual_ok and not forced):
        if not manual_ok or forced:
            notes.add("reasoning-dropped")
            return plan
        return _manual(plan, asked, rules, notes)
    return _adaptive(plan, asked, rules, notes)


def _is_off(asked: Reasoning) -> bool:
    if asked.max_tokens is not None:
        return asked.max_tokens == 0
    return asked.effort == "none" or (asked.enabled is False and asked.effort is None)


def _wants_budget(asked: Reasoning, rules: Rules, *, manual_ok: bool) -> bool:
    if rules.thinking == "both":
        return asked.max_tokens is not None and asked.max_tokens > 0 and manual_ok
    return rules.thinking == "budget"


def _turned_off(plan: Plan, rules: Rules, notes: Notes) -> Plan:
    if rules.off in ("disabled", "between_tools"):
        plan.thinking = {"type": rules.off}
    elif rules.off == "never":
        notes.add("reasoning-off-approximated")
        plan.effort = rules.efforts[0] if rules.efforts else None
        plan.active = True
    return plan


def _manual(plan: Plan, asked: Reasoning, rules: Rules, notes: Notes) -> Plan:
    if asked.max_tokens is not None and asked.max_tokens > 0:
        budget = max(asked.max_tokens, MIN_BUDGET)
        if budget != asked.max_tokens:
            notes.add("reasoning-budget-raised")
    else:
        if asked.max_tokens is not None:
            notes.add("reasoning-dynamic-approximated")
        ratio = RATIO[asked.effort or "medium"]
        budget = max(min(int(plan.max_tokens * ratio), MAX_BUDGET), MIN_BUDGET)
    if budget >= plan.max_tokens:
        # The caller's cap stays the cap of the answer; the thoughts come on top of it.
        given = plan.max_tokens
        plan.max_tokens = max(min(given + budget, rules.max_output), MIN_BUDGET + 1)
        if plan.max_tokens > given:
            notes.add("max_tokens-raised")
        if budget >= plan.max_tokens:
            budget = max(plan.max_tokens // 2, MIN_BUDGET)
            notes.add("reasoning-budget-lowered")
    plan.thinking = {"type": "enabled", "budget_tokens": budget}
    plan.active = True
    if asked.exclude:
        if rules.display:
            plan.thinking["display"] = "omitted"
        else:
            notes.add("reasoning-exclude-dropped")
    return plan


def _adaptive(plan: Plan, asked: Reasoning, rules: Rules, notes: Notes) -> Plan:
    plan.active = True
    # From 4.7 on the text of thoughts is left out unless it is asked for.
    plan.thinking = {"type": "adaptive", "display": "omitted" if asked.exclude else "summarized"}
    if asked.max_tokens is not None and asked.max_tokens > 0:
        notes.add("reasoning-budget-approximated")
        share = asked.max_tokens / max(plan.max_tokens, 1)
        wanted = next((effort for limit, effort in _EFFORT_BELOW if share < limit), "xhigh")
    elif asked.max_tokens is not None:
        return plan
    else:
        wanted = asked.effort or "medium"
    plan.effort = (
        wanted if wanted in rules.efforts else {"minimal": "low", "xhigh": "max"}.get(wanted, "high")
    )
    if plan.effort not in rules.efforts:
        plan.effort = None
        notes.add("reasoning_effort-dropped")
    elif plan.effort != wanted and asked.max_tokens is None:
        notes.add("reasoning_effort-approximated")
    return plan
