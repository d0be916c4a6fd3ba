"""The table of docs/reference/pairs.md is what happens: each cell is run, and what the provider received is looked at."""

import json

from tests.behaviours.gateway import Gateway
from tests.pairs.features import FEATURES
from tests.pairs.matrix import GOLDEN, LOST, Matrix
from tests.pairs.world import INLETS, PLAIN


def test_every_cell_is_as_the_page_says(gateway: Gateway) -> None:
    """``python -m tests.pairs.matrix`` would change nothing, and nothing is lost without a word."""
    cells = Matrix(gateway).all()
    known = json.loads(GOLDEN.read_text(encoding="utf-8"))
    flat = [
        (inlet, name, door, cell)
        for inlet, rows in cells.items()
        for name, row in rows.items()
        for door, cell in row.items()
    ]
    assert [one[:3] for one in flat if one[3]["verdict"] == LOST] == []
    assert [one for one in flat if known.get(one[0], {}).get(one[1], {}).get(one[2]) != one[3]] == []
    assert list(known) == list(cells) == list(INLETS)
    assert all(list(known[inlet]) == list(rows) for inlet, rows in cells.items())
    assert all(list(row) == list(PLAIN) for rows in known.values() for row in rows.values())


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
