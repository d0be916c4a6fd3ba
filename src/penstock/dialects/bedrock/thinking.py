"""Reasoning, as asked in any spelling -> ``additionalModelRequestFields`` of the model's family.

Nothing asked = nothing sent. What cannot be had as asked is approximated and noted, never refused. A Claude's budget
must be at least 1,024 and below maxTokens, and excludes forced tools; any thinking excludes sampling parameters
(Bedrock user guide, extended thinking). The ratio of a budget to an effort is OpenRouter's (wire facts, June 2026).
"""

from typing import Any

from msgspec import Struct

from penstock.base.chat import Reasoning
from penstock.dialects.bedrock.models import Rules
from penstock.wire.notes import Notes

MIN_BUDGET = 1_024
_RATIO = {"max": 0.95, "xhigh": 0.95, "high": 0.8, "medium": 0.5, "low": 0.2, "minimal": 0.1}
_EFFORT_BELOW = ((0.35, "low"), (0.65, "medium"), (0.875, "high"))
_NEAREST = {"minimal": "low", "xhigh": "max"}


class Plan(Struct):
    """What goes into the body."""

    fields: dict[str, Any]
    max_tokens: int | None = None
    active: bool = False
    """The model is told to think: sampling parameters are refused beside it."""


def plan_thinking(
    asked: Reasoning | None, rules: Rules, max_tokens: int | None, notes: Notes, *, manual_ok: bool
) -> Plan:
    """``manual_ok``: history and tool choice admit a budget."""
    plan = Plan({}, max_tokens)
    if asked is None:
        return plan
    if _is_off(asked):
        return _turned_off(plan, rules, notes)
    if asked.effort is None and asked.max_tokens is None and not asked.enabled:
        return plan  # `{}` asks to see what the model thinks anyway: Bedrock always shows it
    if rules.thinking == "none":
        notes.add("reasoning-dropped")
        return plan
    if asked.exclude and rules.thinking not in ("adaptive", "both"):
        notes.add("reasoning-exclude-dropped")
    budget_asked = asked.max_tokens is not None and asked.max_tokens > 0
    if rules.thinking == "budget" or (rules.thinking == "both" and budget_asked and manual_ok):
        if manual_ok:
            return _manual(plan, asked, rules, notes)
        notes.add("reasoning-dropped")
        return plan
    return _by_effort(plan, asked, rules, notes)


def _is_off(asked: Reasoning) -> bool:
    if asked.max_tokens is not None:
        return asked.max_tokens == 0
    return asked.effort == "none" or (asked.enabled is False and asked.effort is None)


def _turned_off(plan: Plan, rules: Rules, notes: Notes) -> Plan:
    if rules.off == "disabled":
        plan.fields["thinking"] = {"type": "disabled"}
    elif rules.off == "never":
        notes.add("reasoning-off-approximated")
        if rules.efforts:
            _say_effort(plan, rules, rules.efforts[0])
    return plan


def _manual(plan: Plan, asked: Reasoning, rules: Rules, notes: Notes) -> Plan:
    given = plan.max_tokens or rules.max_output
    if asked.max_tokens is not None and asked.max_tokens > 0:
        budget = max(asked.max_tokens, MIN_BUDGET)
        if budget != asked.max_tokens:
            notes.add("reasoning-budget-raised")
    else:
        if asked.max_tokens is not None:
            notes.add("reasoning-dynamic-approximated")
        budget = max(int(given * _RATIO[asked.effort or "medium"]), MIN_BUDGET)
    if budget >= given:
        # The caller's cap stays the cap of the answer; the thoughts come on top of it.
        raised = max(min(given + budget, rules.max_output), MIN_BUDGET + 1)
        if raised > given:
            notes.add("max_tokens-raised")
            given = raised
        if budget >= given:
            budget = max(given // 2, MIN_BUDGET)
            notes.add("reasoning-budget-lowered")
    plan.max_tokens = given
    plan.fields["thinking"] = {"type": "enabled", "budget_tokens": budget}
    plan.active = True
    return plan


def _by_effort(plan: Plan, asked: Reasoning, rules: Rules, notes: Notes) -> Plan:
    plan.active = rules.family == "claude"
    if plan.active:
        # From 4.7 on the text of thoughts is left out unless it is asked for.
        shown = "omitted" if asked.exclude else "summarized"
        plan.fields["thinking"] = {"type": "adaptive", "display": shown}
    if asked.max_tokens is not None and asked.max_tokens < 0:
        return plan if plan.active else _say_effort(plan, rules, "medium")
    if asked.max_tokens is not None:
        notes.add("reasoning-budget-approximated")
        share = asked.max_tokens / max(plan.max_tokens or rules.max_output, 1)
        wanted = next((effort for limit, effort in _EFFORT_BELOW if share < limit), "xhigh")
    else:
        wanted = asked.effort or "medium"
    effort = wanted if wanted in rules.efforts else _NEAREST.get(wanted, "high")
    if effort not in rules.efforts:
        effort = rules.efforts[-1]
    if effort != wanted and asked.max_tokens is None:
        notes.add("reasoning_effort-approximated")
    return _say_effort(plan, rules, effort)


def _say_effort(plan: Plan, rules: Rules, effort: str) -> Plan:
    if rules.family == "openai":
        plan.fields["reasoning_effort"] = effort
    elif rules.family == "nova":
        plan.fields["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": effort}
    else:
        plan.fields["output_config"] = {"effort": effort}
    return plan
