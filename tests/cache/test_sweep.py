"""Sweeps over judged pairs: what is read, what is counted, what is refused with its line and column."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cache.semantic.sweep import (
    CsvFault,
    Judged,
    Pair,
    calibrated,
    counts,
    labels,
    read_pairs,
    rows,
    worst,
)


def judged(
    score: float, wrong: bool, *, line: int = 2, vetoes: tuple[str, ...] = (), metric: float | None = None
) -> Judged:
    """A pair that is measured."""
    return Judged(Pair(line, "a", "b", not wrong), score, wrong, vetoes, metric)


def test_a_file_is_read_with_the_lines_of_its_rows() -> None:
    text = 'prompt,other,same,score\nred,"rot\nund\nrund",yes,0.9\n\nblue,blau,FALSE,\n'
    read = read_pairs(text, metric=False)
    assert read.faults == []
    assert read.pairs == [
        Pair(2, "red", "rot\nund\nrund", same=True, score=0.9),
        Pair(6, "blue", "blau", same=False, score=None),
    ]


def test_columns_may_stand_in_any_order_among_others_and_behind_a_byte_order_mark() -> None:
    read = read_pairs("\N{ZERO WIDTH NO-BREAK SPACE}Same,note, Other ,prompt\n1,x,b,a\n", metric=False)
    assert read.pairs == [Pair(2, "a", "b", same=True)]


def test_answers_are_read_where_a_metric_compares_them() -> None:
    read = read_pairs("prompt,other,answer_a,answer_b\na,b,1.png,2.png\n", metric=True)
    assert read.pairs == [Pair(2, "a", "b", answers=("1.png", "2.png"))]


@pytest.mark.parametrize(
    ("text", "metric", "faults"),
    [
        ("", False, ["line 1, head: the file is empty"]),
        ("prompt,other,same\n", False, ["line 2, row: there is no pair below the head"]),
        ("prompt,same\n", False, ["line 1, other: the column is missing"]),
        (
            "prompt,other,answer_a,answer_b\n",
            False,
            ["line 1, same: the column is missing; compare the answers with --metric FILE.py:FUNCTION"],
        ),
        (
            "prompt,other,same\n",
            True,
            ["line 1, answer_a: the column is missing", "line 1, answer_b: the column is missing"],
        ),
        ("prompt,other,same,other\n", False, ["line 1, other: the column is there twice"]),
        (
            "prompt,other,same,score\na,b,maybe,2\n ,b,1,x\na,b,1\na,b,1,nan\na,b,0,0.5\n",
            False,
            [
                "line 2, same: 'maybe' is neither true nor false",
                "line 2, score: '2' is no number from -1 to 1",
                "line 3, prompt: it is empty",
                "line 3, score: 'x' is no number from -1 to 1",
                "line 4, row: it has 3 cells, and the head has 4",
                "line 5, score: 'nan' is no number from -1 to 1",
            ],
        ),
    ],
)
def test_every_fault_is_told_with_its_line_and_column(text: str, metric: bool, faults: list[str]) -> None:
    read = read_pairs(text, metric=metric)
    assert [str(fault) for fault in read.faults] == faults
    assert read.pairs == []


def test_a_quote_that_never_ends_is_a_fault() -> None:
    (fault,) = read_pairs('prompt,other,same\n"a,b,1\n', metric=False).faults
    assert isinstance(fault, CsvFault)
    assert fault.column == "row"
    assert "no CSV" in fault.reason


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).filter(str.strip)


@settings(deadline=None)
@given(st.lists(st.tuples(words, words, st.booleans(), st.floats(-1, 1)), min_size=1, max_size=20))
def test_what_was_written_is_read(pairs: list[tuple[str, str, bool, float]]) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["prompt", "other", "same", "score"])
    writer.writerows(pairs)
    read = read_pairs(file.getvalue(), metric=False)
    assert read.faults == []
    assert [(pair.prompt, pair.other, pair.same, pair.score) for pair in read.pairs] == pairs


def test_rows_count_what_each_threshold_serves() -> None:
    pairs = [
        judged(0.97, False),
        judged(0.95, True),
        judged(0.95, False),
        judged(0.99, True, vetoes=("numbers",)),
        judged(0.80, True),
    ]
    low, high = rows(pairs, (0.94, 0.98), 0.95)
    assert (low.hits, low.wrong, low.hit_rate) == (3, 1, 0.6)
    assert low.wrong_rate == pytest.approx(1 / 3)
    # Clopper and Pearson's for 1 of 3, two-sided 95 %.
    assert (low.least, low.most) == (pytest.approx(0.0084, abs=1e-4), pytest.approx(0.9057, abs=1e-4))
    assert (high.hits, high.wrong_rate, high.least, high.most) == (0, None, None, None)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), max_size=50))
def test_a_stricter_threshold_serves_no_more(drawn: list[tuple[float, bool, bool]]) -> None:
    pairs = [judged(score, wrong, vetoes=("x",) if vetoed else ()) for score, wrong, vetoed in drawn]
    found = rows(pairs, (0.2, 0.5, 0.8), 0.9)
    assert [row.hits for row in found] == sorted((row.hits for row in found), reverse=True)
    for row in found:
        assert counts(pairs, row.threshold) == (row.hits, row.wrong)
        if row.wrong_rate is not None and row.least is not None and row.most is not None:
            assert row.least <= row.wrong_rate <= row.most


def test_the_worst_are_those_that_would_be_served_first() -> None:
    pairs = [
        judged(0.91, True, line=2),
        judged(0.99, False, line=3),
        judged(0.99, True, line=4, vetoes=("negation",)),
        judged(0.97, True, line=5, metric=0.4),
        judged(0.97, True, line=6, metric=0.1),
    ]
    assert [one.pair.line for one in worst(pairs, 2)] == [6, 5]
    assert [one.pair.line for one in worst(pairs, 9)] == [6, 5, 2]


def test_labels_leave_out_what_the_guards_refuse() -> None:
    (told,) = labels([judged(0.9, True), judged(0.95, True, vetoes=("codes",))], "captions", 7)
    assert (told.klass, told.score, told.wrong, told.source, told.at_ms) == (
        "captions",
        0.9,
        True,
        "upload",
        7,
    )


def test_one_look_certifies_with_fewer_labels_than_a_gateway_that_looks_again() -> None:
    told = {
        count: calibrated([judged(0.99, False)] * count, 0.05, 0.95, 0.98) for count in (62, 63, 76, 77, 400)
    }
    assert told[62].value is None, (
        "0.8 of the level are left where 0.995 has no labels: ln(0.04) / ln(0.95) = 62.8"
    )
    assert told[63].value == 0.98
    assert told[76].served is None
    assert "76 clean labels of the 77 that 5 % needs at 0.98" in told[76].reason
    assert told[77].served == 0.98
    assert (told[400].value, told[400].served) == (0.98, 0.98)


def test_pairs_that_are_wrong_certify_nothing() -> None:
    told = calibrated([judged(0.99, True)] * 400, 0.05, 0.95, 0.80)
    assert (told.value, told.served) == (None, None)
    assert "not certified yet" in told.reason
