"""Anthropic's running totals: what message_delta says replaces what message_start said, but a 0 erases no count."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.events import fold
from penstock.base.usage import Usage
from tests.dialects.harness import play
from tests.dialects.test_anthropic import STOP, block, ended, frames, reader

SAID = {
    "input_tokens": 10,
    "cache_read_input_tokens": 5,
    "cache_creation_input_tokens": 7,
    "output_tokens": 1,
}
ZEROS = dict.fromkeys(SAID, 0) | {"output_tokens": 20}
SPLIT = {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}


def told(start: dict[str, Any], *later: dict[str, Any]) -> Usage:
    """What the reader makes of a stream whose usages are these."""
    begins = {"type": "message_start", "message": {"id": "m", "model": "c", "usage": start}}
    deltas = [ended(None, **usage) for usage in later[:-1]] + [ended("end_turn", **later[-1])]
    usage = fold(play(reader(), [frames(begins, *block(0, "x"), *deltas, STOP)])).usage
    assert usage is not None
    return usage


@pytest.mark.parametrize(
    ("start", "later", "vector"),
    [
        (SAID, [{"input_tokens": 0, "output_tokens": 20}], (10, 5, 7, 0, 20)),
        (SAID, [ZEROS], (10, 5, 7, 0, 20)),
        (SAID, [{"output_tokens": 20}, {"output_tokens": 0}], (10, 5, 7, 0, 20)),
        (
            SAID | {"cache_creation": SPLIT},
            [ZEROS | {"cache_creation": dict.fromkeys(SPLIT, 0)}],
            (10, 5, 3, 4, 20),
        ),
        (dict.fromkeys(SAID, 0), [SAID | {"output_tokens": 20}], (10, 5, 7, 0, 20)),
        (
            {"input_tokens": 10, "output_tokens": 1},
            [{"input_tokens": 30, "output_tokens": 20}],
            (30, 0, 0, 0, 20),
        ),
        # The prompt turned out to come from the cache: the tokens have moved, none is lost.
        (
            {"input_tokens": 10, "output_tokens": 1},
            [{"input_tokens": 0, "cache_read_input_tokens": 10, "output_tokens": 20}],
            (0, 10, 0, 0, 20),
        ),
        (
            {"input_tokens": 10, "output_tokens": 1},
            [{"input_tokens": 0, "cache_read_input_tokens": 3, "output_tokens": 20}],
            (10, 3, 0, 0, 20),
        ),
    ],
)
def test_a_zero_in_a_later_usage_erases_nothing(
    start: dict[str, Any], later: list[dict[str, Any]], vector: tuple[int, ...]
) -> None:
    """Some servers fill the fields of message_delta that they do not know with 0."""
    usage = told(start, *later)
    assert (usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h, usage.output) == vector
    assert usage.note == ""


def test_thinking_and_searches_stay_as_well() -> None:
    """What stands one level down is a count like any other."""
    first = {
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
        "server_tool_use": {"web_search_requests": 2},
    }
    zero = {"output_tokens_details": {"thinking_tokens": 0}, "server_tool_use": {"web_search_requests": 0}}
    usage = told({"input_tokens": 1, "output_tokens": 1}, first, {"output_tokens": 9} | zero)
    assert (usage.output, usage.reasoning, usage.fees) == (5, 4, (("web_search", 2),))


COUNTS = st.fixed_dictionaries({name: st.none() | st.integers(0, 3) for name in SAID})


@given(COUNTS, COUNTS)
def test_the_prompt_never_shrinks_by_a_zero(
    start: dict[str, int | None], later: dict[str, int | None]
) -> None:
    """What is said and not 0 is taken; what is 0 or missing leaves at least what was there, or moved elsewhere."""
    usage = told(start, later)
    before = sum(count or 0 for name, count in start.items() if name != "output_tokens")
    replaced = sum(
        (start[name] or 0) - count for name, count in later.items() if count and name != "output_tokens"
    )
    assert usage.prompt_tokens >= min(before, before - replaced)
    assert usage.completion_tokens == (later["output_tokens"] or start["output_tokens"] or 0)
