"""Dialogues: any order of answers and any failure lead to pictures, or to an error with blame; never to a hang."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.errors import UpstreamError
from penstock.base.events import MediaMade, UsageSeen
from penstock.base.images import ImagesRequest
from penstock.ledger.prices import price_lines
from penstock.simulate.picture import png
from penstock.wire.ports import Elsewhere, Send
from penstock.wire.strands import Answer
from tests.images.kit import MODELS, dialogue, drive, target

PNG = png(16, 8, 3)
B64 = base64.b64encode(PNG).decode()
JSON = [(b"content-type", b"application/json")]


def told(value: Any, status: int = 200) -> Answer:
    return Answer(status, JSON, json.dumps(value).encode())


GOOD: dict[str, list[Answer]] = {
    "openai": [told({"created": 1, "data": [{"b64_json": B64}, {"url": "https://cdn.example/a.png"}]})],
    "gemini": [
        told(
            {
                "candidates": [
                    {
                        "content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": B64}}]},
                        "finishReason": "STOP",
                    }
                ],
                "usageMetadata": {
                    "promptTokenCount": 5,
                    "candidatesTokenCount": 1290,
                    "totalTokenCount": 1295,
                    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
                },
                "modelVersion": "gemini-2.5-flash-image",
            }
        )
    ],
    "stability": [Answer(200, [(b"content-type", b"image/png"), (b"finish-reason", b"SUCCESS")], PNG)],
    "fal": [
        told(
            {
                "request_id": "r",
                "status_url": "https://q/s",
                "response_url": "https://q/r",
                "cancel_url": "https://q/c",
            }
        ),
        told({"status": "IN_QUEUE"}, 202),
        told({"status": "IN_PROGRESS"}, 202),
        told({"status": "COMPLETED", "metrics": {"inference_time": 1.2}}),
        told({"images": [{"url": "https://cdn.example/a.png"}], "has_nsfw_concepts": [False]}),
    ],
    "replicate": [
        told(
            {"id": "p", "status": "starting", "urls": {"get": "https://r/p", "cancel": "https://r/p/cancel"}},
            201,
        ),
        told(
            {
                "id": "p",
                "status": "processing",
                "urls": {"get": "https://r/p", "cancel": "https://r/p/cancel"},
            }
        ),
        told(
            {
                "id": "p",
                "status": "succeeded",
                "output": ["https://cdn.example/a.png"],
                "metrics": {"predict_time": 2.0},
            }
        ),
    ],
}
GOOD["vertex"] = GOOD["gemini"]
BAD = [
    Answer(429, [(b"retry-after", b"1")], b"{}"),
    Answer(429, [(b"retry-after", b"99")], b"{}"),
    Answer(500, [], b"<html>"),
    Answer(503, JSON, b'{"detail":"no"}'),
    Answer(401, JSON, b'{"error":{"message":"bad key"}}'),
    Answer(400, JSON, b'{"id":"1","name":"bad_request","errors":["no"]}'),
    Answer(422, JSON, b'{"detail":[{"loc":["body"],"msg":"no","type":"content_policy_violation"}]}'),
    Answer(404, JSON, b"[]"),
    Answer(200, JSON, b""),
    Answer(200, JSON, b"null"),
    Answer(200, JSON, b"{}"),
    Answer(200, JSON, b'{"data":[]}'),
    Answer(200, JSON, b'{"error":{"message":"inside"}}'),
    Answer(200, [(b"content-type", b"text/html")], b"<html>"),
    Answer(200, JSON, b'{"status":"COMPLETED","error":"boom","error_type":"x"}'),
    Answer(200, JSON, b'{"status":"failed","error":"NSFW content detected"}'),
    Answer(200, JSON, b'{"status":"odd"}'),
    Answer(200, JSON, b'{"candidates":[{"finishReason":"IMAGE_SAFETY"}]}'),
    Answer(200, JSON, b'{"candidates":[{"content":{"parts":[{"text":"no"}]},"finishReason":"NO_IMAGE"}]}'),
    Answer(200, [(b"content-type", b"image/png"), (b"finish-reason", b"CONTENT_FILTERED")], PNG),
    Answer(200, [(b"content-type", b"image/png")], b"not a picture"),
]


class Wire:
    """Answers each strand's wishes with the dialect's good replies in turn, or with what the test throws in."""

    def __init__(self, dialect: str, throw: dict[int, Answer] | None = None) -> None:
        self._dialect = dialect
        self._throw = throw or {}
        self._step: dict[str, int] = {}
        self.count = 0

    def answer(self, send: Send) -> Answer:
        self.count += 1
        if self.count - 1 in self._throw:
            return self._throw[self.count - 1]
        if isinstance(send.what, Elsewhere) and "cdn.example" in send.what.url:
            return Answer(200, [(b"content-type", b"image/png")], PNG)
        strand = send.tag.partition(".")[0]
        if not isinstance(send.what, Elsewhere):
            self._step[strand] = 0
        step = self._step[strand]
        self._step[strand] = step + 1
        replies = GOOD[self._dialect]
        return replies[min(step, len(replies) - 1)]


@pytest.mark.parametrize("dialect", MODELS)
@given(
    st.integers(1, 4),
    st.dictionaries(st.integers(0, 12), st.sampled_from(BAD), max_size=4),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_any_order_and_any_failure_end(dialect: str, n: int, throw: dict[int, Answer], rng: Any):
    """A result that is lawful and has pictures, or an error that blames the provider."""
    talk = dialogue(dialect, ImagesRequest("m", "a mill", n=n, seed=4))
    wire = Wire(dialect, throw)
    try:
        events = drive(talk, wire.answer, pick=rng.randrange)
    except UpstreamError as error:
        assert error.blame == "upstream"
        assert error.message
        assert talk.cancel() == ()
        return
    pictures = [event for event in events if isinstance(event, MediaMade)]
    assert sorted(picture.index for picture in pictures) == list(range(len(pictures)))
    assert pictures


@pytest.mark.parametrize("dialect", MODELS)
@given(st.integers(0, 12), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_a_network_that_fails_is_told(dialect: str, at: int, n: int):
    """An exchange without an answer: an error, or, where others are beside it, another try."""
    talk = dialogue(dialect, ImagesRequest("m", "a mill", n=n))
    wire, waiting, asleep = Wire(dialect), [], False
    moves = talk.begin()
    try:
        for step in range(300):
            waiting += moves.sends
            asleep = asleep or moves.wait_s > 0
            if moves.done:
                return
            if not waiting:
                assert asleep
                asleep, moves = False, talk.woke()
                continue
            send = waiting.pop(0)
            if step == at:
                moves = talk.failed(send.tag, UpstreamError("cut", code="cut"))
                continue
            found = wire.answer(send)
            moves = talk.got(send.tag, found.status, found.headers, found.body)
        raise AssertionError("no end")
    except UpstreamError as error:
        assert "cut" in error.message


@pytest.mark.parametrize("dialect", ["stability", "gemini"])
def test_seeds_are_counted_up(dialect: str):
    """n pictures of one seed would be the same picture n times."""
    talk = dialogue(dialect, ImagesRequest("m", "a mill", n=3, seed=41))
    bodies = [send.what.body for send in talk.begin().sends if not isinstance(send.what, Elsewhere)]
    for number, body in enumerate(bodies):
        said = (
            b'"seed":%d' % (41 + number)
            if dialect == "gemini"
            else b'name="seed"\r\n\r\n%d\r\n' % (41 + number)
        )
        assert said in body
    assert len(bodies) == 3


def test_what_was_made_is_charged_when_the_rest_fails():
    """Two of three: their usage is told before the failure is raised, and the sentence says so."""
    talk = dialogue("stability", ImagesRequest("m", "a mill", n=3), target("stability", image="0.03"))
    seen = []
    moves = talk.begin()
    sends = list(moves.sends)
    good = GOOD["stability"][0]
    for send in sends[:2]:
        seen += talk.got(send.tag, good.status, good.headers, good.body).events
    moves = talk.got(sends[2].tag, 500, [], b"")
    assert (moves.wait_s > 0, moves.sends, moves.done) == (True, (), False)
    (again,) = talk.woke().sends
    with pytest.raises(UpstreamError, match="2 of 3 were made, and are charged") as caught:
        talk.got(again.tag, 500, [], b"")
    assert caught.value.retryable
    usage = [event.usage for event in seen if isinstance(event, UsageSeen)][-1]
    assert usage.fees == (("image", 2),)


@pytest.mark.parametrize(
    ("dialect", "prices", "unit"),
    [
        ("stability", {"image": "0.03"}, "image"),
        ("fal", {"image": "0.025", "pixel": "0.00000002"}, "pixel"),
        ("fal", {"image": "0.025"}, "image"),
        ("replicate", {"second": "0.0014"}, "second"),
        ("replicate", {"image": "0.04"}, "image"),
        ("openai", {"image:16x8": "0.01", "image": "0.02"}, "image:16x8"),
        ("gemini", {"input": "0.0000003", "output_image": "0.00003", "image": "0.039"}, "output_image"),
    ],
)
@given(st.integers(1, 4))
@settings(max_examples=8, deadline=None)
def test_the_sum_of_the_parts_is_what_the_provider_charges(
    dialect: str, prices: dict[str, str], unit: str, n: int
):
    """One unit for one picture, never two; every line has a price, and they add up."""
    to = target(dialect, **prices)
    request = ImagesRequest("m", "a mill", n=n, size="16x8" if dialect == "openai" else None)
    events = drive(dialogue(dialect, request, to), Wire(dialect).answer)
    usage = [event.usage for event in events if isinstance(event, UsageSeen)][-1]
    pictures = sum(isinstance(event, MediaMade) for event in events)
    lines, total = price_lines(usage, to.facts.price)
    assert total == sum(line.cost_nusd or 0 for line in lines)
    expected = {"pixel": pictures * 16 * 8, "second": 2, "output_image": pictures * 1290}.get(unit, pictures)
    assert {line.unit: line.quantity for line in lines}[unit] == expected
    assert [line.unit for line in lines if line.unit != "input"] == [unit]


def test_a_running_job_says_how_to_stop_it():
    """fal by PUT, Replicate by POST; what has not begun, or is over, has nothing to stop."""
    for dialect, method in (("fal", b"PUT"), ("replicate", b"POST")):
        talk = dialogue(dialect, ImagesRequest("m", "a mill"))
        (send,) = talk.begin().sends
        first = GOOD[dialect][0]
        assert talk.got(send.tag, first.status, first.headers, first.body).wait_s > 0
        (stop,) = talk.cancel()
        assert isinstance(stop.what, Elsewhere)
        assert stop.what.method == method
        assert talk.cancel() == ()
    assert dialogue("fal", ImagesRequest("m", "a mill")).cancel() == ()
