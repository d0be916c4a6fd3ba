"""The event alphabet's law, what counts as content, and the fold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.events import (
    LAW,
    Event,
    Finished,
    Lawful,
    MediaMade,
    RefusalDelta,
    Started,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
    UnlawfulEvent,
    UsageSeen,
    fold,
    is_content,
)
from penstock.base.usage import Usage

EXAMPLES: list[Event] = [
    Started(),
    TextDelta("x"),
    RefusalDelta("x"),
    ThinkingDelta("x"),
    ToolStarted(0, "id", "f"),
    ToolArgs(0, "{}"),
    MediaMade("image", "image/png", "AA=="),
    UsageSeen(Usage()),
    Stopped("stop"),
    Finished(),
]


def test_every_state_takes_exactly_what_the_table_allows() -> None:
    for state, row in LAW.items():
        for event in EXAMPLES:
            law = Lawful()
            law.state = state
            if type(event) in row:
                law.see(event)
                assert law.state == row[type(event)]
            else:
                with pytest.raises(UnlawfulEvent):
                    law.see(event)
                assert law.state == state


def test_a_lawful_reply_ends_done_and_usage_may_come_on_either_side_of_the_stop() -> None:
    law = Lawful()
    for event in [
        Started(),
        TextDelta(""),
        UsageSeen(Usage()),
        Stopped("length"),
        UsageSeen(Usage()),
        Finished(),
    ]:
        law.see(event)
    assert law.state == "done"


@pytest.mark.parametrize(
    ("event", "counts"),
    [
        (Started("m", "i"), False),
        (TextDelta(""), False),
        (TextDelta(" "), True),
        (RefusalDelta(""), False),
        (RefusalDelta("No"), True),
        (ThinkingDelta(signature="sig"), False),
        (ThinkingDelta("hm"), True),
        (ThinkingDelta(redacted="data"), True),
        (ToolStarted(0, "i", "f"), True),
        (ToolArgs(0, "{}"), False),
        (MediaMade("audio", "audio/wav", "AA=="), True),
        (UsageSeen(Usage(output=1)), False),
        (Stopped("stop"), False),
        (Finished(), False),
    ],
)
def test_behaviour_01_what_commits_a_reply(event: Event, counts: bool) -> None:
    assert is_content(event) is counts


@given(st.lists(st.text(max_size=5), max_size=10))
def test_fold_joins_text_as_it_came(texts: list[str]) -> None:
    folded = fold([Started("m", "i"), *map(TextDelta, texts), Stopped("stop"), Finished()])
    assert (folded.text, folded.model, folded.id) == ("".join(texts), "m", "i")
    assert folded.finished
    assert folded.stopped == Stopped("stop")


def test_behaviour_14_interleaved_calls_keep_their_arguments_apart() -> None:
    folded = fold(
        [
            Started(),
            ToolStarted(1, "b", "g"),
            ToolStarted(0, "a", "f"),
            ToolArgs(1, '{"y"'),
            ToolArgs(0, '{"x":1}'),
            ToolArgs(1, ":2}"),
        ]
    )
    assert [(tool.id, tool.arguments) for tool in folded.tools] == [("a", '{"x":1}'), ("b", '{"y":2}')]


def test_behaviour_15_a_call_without_arguments_is_an_empty_object() -> None:
    assert fold([Started(), ToolStarted(0, "a", "now")]).tools[0].arguments == "{}"


def test_behaviour_16_thinking_folds_into_blocks_ended_by_their_signatures() -> None:
    folded = fold(
        [
            Started(),
            ThinkingDelta("a", format="f"),
            ThinkingDelta("b", format="f"),
            ThinkingDelta(signature="s", format="f"),
            ThinkingDelta(redacted="r", format="f"),
            ThinkingDelta("c", format="f"),
            ThinkingDelta(signature="t", format="f", tool_id="call"),
        ]
    )
    assert folded.thinking == [
        ThinkingDelta("ab", "s", "f"),
        ThinkingDelta(redacted="r", format="f"),
        ThinkingDelta("c", format="f"),
        ThinkingDelta(signature="t", format="f", tool_id="call"),
    ]


def test_the_last_usage_counts_and_what_never_came_stays_unknown() -> None:
    first, last = Usage(output=1), Usage(output=2)
    folded = fold([Started(), UsageSeen(first), Stopped("stop"), UsageSeen(last)])
    assert folded.usage == last
    assert not folded.finished
    assert fold([Started()]).usage is None


def test_a_reply_s_fold_does_not_leak_into_the_next() -> None:
    assert fold([Started(), MediaMade("image", "image/png", "AA==")]).media
    assert fold([Started()]).media == []
