"""A span has three beats for who listens, and is nothing for who does not."""

import pytest

from penstock.observe.span import listen, span


@pytest.fixture
def heard():
    """What a listener hears."""
    beats = []
    stop = listen(beats.append)
    yield beats
    stop()


def test_nobody_listens_and_nothing_is_made():
    """Without listeners every span is the same silent object, and work goes on."""
    first, second = span("a", x=1), span("b")
    assert first is second
    with first as silent:
        silent.note(x=2)
    with pytest.raises(KeyError), span("c"):
        raise KeyError


def test_started_and_completed(heard):
    """The beats share an id; facts learnt on the way are on the last."""
    with span("upstream.try", model="m") as watched:
        watched.note(status=200)
    started, completed = heard
    assert (started.name, started.beat, started.facts) == ("upstream.try", "started", {"model": "m"})
    assert (completed.beat, completed.facts) == ("completed", {"model": "m", "status": 200})
    assert started.id == completed.id
    assert started.duration_ms is None
    assert completed.duration_ms >= 0


def test_failed_names_the_error_and_lets_it_through(heard):
    """The error is seen by its class, and reaches the caller."""
    with pytest.raises(KeyError), span("upstream.try"):
        raise KeyError("words")
    assert [(seen.beat, seen.error) for seen in heard] == [("started", None), ("failed", "KeyError")]


def test_spans_nest_and_are_told_apart(heard):
    """Each span has its own id."""
    with span("outer"), span("inner"):
        pass
    assert [(seen.name, seen.beat) for seen in heard] == [
        ("outer", "started"),
        ("inner", "started"),
        ("inner", "completed"),
        ("outer", "completed"),
    ]
    assert heard[0].id != heard[1].id


def test_a_listener_can_leave():
    """After stop nothing is heard, and stopping twice is no error."""
    beats = []
    stop = listen(beats.append)
    stop()
    stop()
    with span("a"):
        pass
    assert beats == []
