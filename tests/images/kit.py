"""Dialogues by hand: targets of each image dialect, and a driver that answers what they want as a test says."""

from collections.abc import Callable

from penstock.base.events import Event, Lawful
from penstock.base.images import ImagesRequest
from penstock.base.models import ModelFacts, PriceRow, Target
from penstock.base.money import price_from_usd_text
from penstock.dialects import OPERATIONS
from penstock.wire.ports import Dialogue, Send
from penstock.wire.strands import Answer

MODELS = {
    "openai": "gpt-image-2",
    "gemini": "gemini-2.5-flash-image",
    "vertex": "gemini-2.5-flash-image",
    "stability": "stable-image-core",
    "fal": "fal-ai/flux/dev",
    "replicate": "black-forest-labs/flux-dev",
}


def target(dialect: str, model: str = "", **prices: str) -> Target:
    """A target of this dialect; ``prices`` are dollars a unit."""
    units = {unit: price_from_usd_text(usd) for unit, usd in prices.items()}
    row = PriceRow("v", units) if units else None
    facts = ModelFacts("p", model or MODELS[dialect], "image_generation", price=row)
    return Target(
        "p", model or MODELS[dialect], dialect, facts, options={"project": "x", "location": "global"}
    )


def dialogue(dialect: str, request: ImagesRequest, to: Target | None = None) -> Dialogue:
    """The dialogue of one attempt."""
    speaker = OPERATIONS["images"][dialect]
    to = to or target(dialect)
    assert speaker.refuse(request, to) is None
    return speaker.converse(request, to, "secret-key")  # type: ignore[attr-defined]


def drive(
    talk: Dialogue,
    answer: Callable[[Send], Answer],
    most: int = 500,
    pick: Callable[[int], int] = lambda _n: 0,
) -> list[Event]:
    """Answer all that it wants, in the order that ``pick`` chooses, until it is done. A hang is an assertion."""
    law, events = Lawful(), []
    moves, waiting, asleep = talk.begin(), [], False
    for _ in range(most):
        for event in moves.events:
            law.see(event)
        events += moves.events
        waiting += moves.sends
        asleep = asleep or moves.wait_s > 0
        if moves.done:
            assert law.state == "done"
            assert not waiting, "it ended while it waited for answers"
            return events
        assert waiting or asleep, "it waits for nothing, and is not done"
        if not waiting:
            asleep = False
            moves = talk.woke()
            continue
        send = waiting.pop(pick(len(waiting)))
        found = answer(send)
        moves = talk.got(send.tag, found.status, found.headers, found.body)
    raise AssertionError(f"no end after {most} moves")
