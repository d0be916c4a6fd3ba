"""The table of docs/reference/pairs.md is what happens: each cell is run, and what the provider received is looked at."""

import json

import pytest

from penstock.dialects import CALLERS, UPSTREAMS
from tests.behaviours.gateway import Gateway
from tests.pairs.features import FEATURES
from tests.pairs.matrix import GOLDEN, LOST, Matrix
from tests.pairs.world import INLETS, PLAIN


@pytest.mark.parametrize("inlet", INLETS)
def test_every_cell_is_as_the_page_says(gateway: Gateway, inlet: str) -> None:
    """``python -m tests.pairs.matrix`` would change nothing, and nothing is lost without a word."""
    rows = Matrix(gateway).rows(inlet)
    known = json.loads(GOLDEN.read_text(encoding="utf-8"))
    flat = [(name, door, cell) for name, row in rows.items() for door, cell in row.items()]
    assert [one for one in flat if one[2]["verdict"] == LOST] == []
    assert [one for one in flat if known[inlet].get(one[0], {}).get(one[1]) != one[2]] == []
    assert list(known[inlet]) == list(rows)
    assert all(list(row) == list(PLAIN) for row in known[inlet].values())


def test_every_pair_of_dialects_is_run() -> None:
    """A new dialect of either side is missed here first."""
    assert set(PLAIN) == set(UPSTREAMS)
    assert set(INLETS) == {name for name, caller in CALLERS.items() if caller.operation == "chat"}


def test_every_feature_can_be_said_by_someone() -> None:
    """No row is empty, and what a row is compared with exists."""
    assert all(feature.said for feature in FEATURES.values())
    assert {feature.beside for feature in FEATURES.values()} - {""} <= set(FEATURES)


def test_a_loss_would_be_seen(gateway: Gateway) -> None:
    """A feature whose value no provider receives is LOST, not lossless."""
    seed = FEATURES["seed"]._replace(name="another seed", marks=((7118,),))
    assert Matrix(gateway).cell(seed, "openai", "openai")["verdict"] == LOST
    same = FEATURES["text"]._replace(name="the same again", beside="text")
    assert Matrix(gateway).cell(same, "anthropic", "cohere")["verdict"] == LOST
