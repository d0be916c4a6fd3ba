"""The pulse: the figures of all calls, and which of them were answered by another attempt or target."""

import msgspec
import pytest

from penstock.base.models import ModelFacts, Target
from penstock.gateway.record import Explain, Happening, tell
from penstock.ledger.journal import Journal
from penstock.ledger.pulse import FIRST_REASON, HEALTH_CODES, passed_over, pulse
from penstock.ledger.reading import open_reader
from penstock.routing.health import Health
from penstock.routing.names import Chain
from penstock.routing.plan import plan
from tests.ledger.make import entry, record

NAMES = ("openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash")


def planned(*out: str) -> Explain:
    """What the real planner writes down when these targets have failed too often."""
    health = Health()
    for name in out:
        while not health.fault(name, 100.0):
            pass
    targets = tuple(
        Target(provider, model, "openai", ModelFacts(provider, model), position=place)
        for place, (provider, _, model) in enumerate(name.partition("/") for name in NAMES)
    )
    chain = Chain(route="fast", targets=targets, reason="a named route")
    made = plan(
        chain, needs=frozenset(), input_tokens=1, max_tokens=None, caller_family="openai", patterns=("*",),
        preferences=None, refuse=None, health=health, now_s=100.1, may_pass_through=lambda _: None,
    )  # fmt: skip
    return tell(chain, made)


def with_happenings(story: Explain, *happenings: Happening) -> Explain:
    """The story as it went on."""
    return msgspec.structs.replace(story, happenings=list(happenings))


SERVED = Happening(1.0, "try", NAMES[1], "KEY", "first try", attempt=1)


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        (planned(), False),
        (planned(NAMES[0]), True),
        (planned(NAMES[0], NAMES[1]), True),
        (planned(*NAMES), True),
        (planned(NAMES[1]), False),
        (planned(NAMES[2]), False),
        (with_happenings(planned(), Happening(0.5, "refused", NAMES[0], "", "no", "keys-cooling"), SERVED), True),
        (with_happenings(planned(), Happening(0.5, "refused", NAMES[0], "", "no", "open"), SERVED), True),
        (with_happenings(planned(), Happening(0.5, "refused", NAMES[1], "", "no", "keys-cooling"), SERVED), False),
        (with_happenings(planned(), Happening(0.5, "refused", NAMES[0], "", "no", "lacks-image"), SERVED), False),
    ],
    ids=[
        "all-well", "first-open", "two-open", "all-open", "a-later-one-open", "the-last-open", "keys-cooling",
        "opened-since-the-plan", "waited-for-its-own-key", "cannot-serve-it",
    ],
)  # fmt: skip
def test_a_target_that_stood_aside_for_its_health_was_passed_over(story, expected):
    """An earlier target that was out makes the answer a fallback; a later one, or one that could never serve, does not."""
    assert passed_over(msgspec.json.encode(story).decode()) is expected


@pytest.mark.parametrize("text", [None, "null", "[1]", "{}", '{"refused": 3}', '{"steps": [["open"]]}', "{"])
def test_a_strange_story_is_no_fallback(text):
    """What another version wrote is never an error."""
    assert passed_over(text) is False


def test_the_planner_still_says_first_in_the_chain():
    """The word that the pulse looks for is the planner's own, and so are the codes."""
    healthy, out = planned(), planned(NAMES[0])
    assert healthy.steps[0].reason == FIRST_REASON
    assert [refusal.code for refusal in out.refused] == ["open"]
    assert {refusal.code for refusal in out.refused} <= HEALTH_CODES


def test_calls_that_went_straight_to_the_fallback_fell_back(tmp_path):
    """Counted once each: a second attempt, or one attempt past a target that was open; never a failed call."""
    path = str(tmp_path / "penstock.db")
    journal = Journal(path)
    journal.add(record("plain", explain=planned()))
    journal.add(record("later-open", explain=planned(NAMES[1])))
    journal.add(record("straight", explain=planned(NAMES[0])))
    both = (entry("both", 1, klass="failed", cost_nusd=0, lines=()), entry("both", 2))
    journal.add(record("both", *both, explain=planned(NAMES[0])))
    journal.add(record("retried", entry("retried", 1), entry("retried", 2), explain=planned()))
    journal.add(record("failed", status=503, explain=planned(NAMES[0])))
    journal.add(record("told-nothing"))
    journal.add(record("told-strangely", explain={"refused": "open", "steps": {"open": "open"}}))
    journal.close()
    connection = open_reader(path)
    try:
        figures = pulse(connection)
    finally:
        connection.close()
    assert (figures.requests, figures.failed, figures.fell_back) == (8, 1, 3)
    assert [(row.provider, row.attempts) for row in figures.providers] == [("openai", 10)]
    assert figures.cost_nusd == sum(row.cost_nusd for row in figures.providers) == 9 * 270_000
