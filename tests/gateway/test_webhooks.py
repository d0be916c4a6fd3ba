"""Alerts on their way out, on real sockets: bounded, patient, one address beside another."""

import asyncio
import base64
import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.behaviours.receiver import Receiver

from penstock.base.clock import Clock, SystemClock
from penstock.base.endpoint import parse_hook_url
from penstock.config.catalogue import Catalogue
from penstock.config.hooks import signing_key
from penstock.config.load import load_text
from penstock.gateway import webhooks
from penstock.gateway.webhooks import Address, Webhooks, signed
from penstock.observe.log import OperatorLog
from penstock.observe.metrics import Metrics
from penstock.testing import FakeClock

SECRET = "a secret of more than sixteen bytes"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - another thread's doing
            await asyncio.sleep(0.005)


class Sending:
    """Webhooks, and what they say."""

    def __init__(self, *urls: str, clock: Clock | None = None) -> None:
        self.said = io.StringIO()
        self.metrics = Metrics()
        log = OperatorLog(stream=self.said)
        self.webhooks = Webhooks(log, self.metrics, clock or SystemClock(), random.Random(1))
        self.webhooks.change([Address(url, SECRET) for url in urls])

    def counted(self) -> dict[str, int]:
        """Outcome -> how many, of all addresses."""
        found: dict[str, int] = {}
        for (_, outcome), count in self.metrics._plain.get("penstock_webhooks_total", {}).items():
            found[outcome] = found.get(outcome, 0) + int(count)
        return found

    async def until(self, **outcomes: int) -> None:
        await until(lambda: self.counted() == outcomes)


def test_what_is_never_taken_is_given_up_and_said(receiver, monkeypatch):
    """After the last of the waits; the next message has all its tries again."""
    monkeypatch.setattr(webhooks, "BACK_OFF_S", (0.001, 0.002))
    receiver.statuses = [503, 404, 301, 200]

    async def run() -> None:
        sending = Sending(receiver.url + "/x")
        sending.webhooks.post({"n": 1})
        await sending.until(retried=2, failed=1)
        sending.webhooks.post({"n": 2})
        await sending.until(retried=2, failed=1, delivered=1)
        await sending.webhooks.aclose()
        assert "given up after 3 tries: status 301" in sending.said.getvalue()

    asyncio.run(run())
    assert sorted((one.told["n"], one.status) for one in receiver.posted) == [
        (1, 301),
        (1, 404),
        (1, 503),
        (2, 200),
    ]


def test_one_address_that_does_not_answer_holds_up_no_other(receiver):
    """Each has its own queue. What a stop leaves behind is counted and said."""
    receiver.hold.clear()
    other = Receiver()

    async def run() -> None:
        sending = Sending(receiver.url, "http://127.0.0.1:9/", other.url)
        for number in range(3):
            sending.webhooks.post({"n": number})
        await until(lambda: len(other.posted) == 3)
        await sending.webhooks.aclose(grace_s=0.01)
        assert sending.counted()["dropped"] == 6
        assert "the gateway stopped" in sending.said.getvalue()

    try:
        asyncio.run(run())
    finally:
        other.close()
    assert [one.told["n"] for one in other.posted] == [0, 1, 2]


def test_a_full_queue_drops_its_oldest(receiver, monkeypatch):
    """The newest says most. The message that is just being sent may still arrive."""
    monkeypatch.setattr(webhooks, "MAX_WAITING", 4)
    receiver.hold.clear()

    async def run() -> None:
        sending = Sending(receiver.url)
        for number in range(10):
            sending.webhooks.post({"n": number})
            await asyncio.sleep(0)
        assert sending.counted() == {"dropped": 6}
        receiver.hold.set()
        await until(lambda: bool(receiver.posted) and receiver.posted[-1].told["n"] == 9)
        await sending.webhooks.aclose()

    asyncio.run(run())
    numbers = [one.told["n"] for one in receiver.posted]
    assert numbers[-4:] == [6, 7, 8, 9]
    assert numbers[:-4] in ([], [0])


def test_an_address_that_a_reload_takes_away_empties_its_queue(receiver):
    """What was posted to it is still sent; what comes then is not. One that stays keeps its place."""

    async def run() -> None:
        sending = Sending(receiver.url)
        sending.webhooks.post({"n": 1})
        sending.webhooks.change([])
        sending.webhooks.post({"n": 2})
        await sending.until(delivered=1)
        await sending.webhooks.aclose()

    asyncio.run(run())
    assert [one.told["n"] for one in receiver.posted] == [1]


def test_a_receivers_own_word_on_when_to_come_back_is_heard(receiver, monkeypatch):
    """But not for longer than the longest of the waits."""
    waits: list[float] = []
    clock = FakeClock()

    async def run() -> None:
        sending = Sending("http://127.0.0.1:9/", clock=clock)
        (post,) = sending.webhooks._posts.values()
        answers = [("status 429", 99.0), ("status 429", 1e9), ("status 429", 0.0), ("", 0.0)]

        async def tries(_: object) -> tuple[str, float]:
            return answers.pop(0)

        async def rest(wait_s: float) -> None:
            waits.append(wait_s)
            clock.advance(wait_s)

        monkeypatch.setattr(post, "_try", tries)
        monkeypatch.setattr(post, "_rest", rest)
        sending.webhooks.post({})
        assert post.task is not None
        await post.task
        await sending.webhooks.aclose()

    asyncio.run(run())
    assert waits[:2] == pytest.approx([99.0, webhooks.BACK_OFF_S[-1]])
    assert 0.75 * webhooks.BACK_OFF_S[2] <= waits[2] <= 1.25 * webhooks.BACK_OFF_S[2]


@given(
    refusals=st.lists(st.integers(0, len(webhooks.BACK_OFF_S) + 1), min_size=1, max_size=6),
    gaps_s=st.lists(st.sampled_from([0.0, 1.0, 100.0, 5000.0]), min_size=6, max_size=6),
)
def test_one_that_is_refused_lets_the_others_pass(refusals, gaps_s):
    """Whatever is refused how often: each first try comes before any later wait is over, in order; each has all its tries."""
    clock = FakeClock()
    tried: list[tuple[float, int]] = []

    async def run() -> None:
        sending = Sending("http://127.0.0.1:9/", clock=clock)
        (post,) = sending.webhooks._posts.values()
        coming = list(range(len(refusals)))
        posted_at: dict[int, float] = {}

        def post_next() -> None:
            number = coming.pop(0)
            posted_at[number] = clock.monotonic_s()
            sending.webhooks.post({"n": number})

        async def tries(message: Any) -> tuple[str, float]:
            number = json.loads(message.body)["n"]
            tried.append((clock.monotonic_s(), number))
            done = sum(one == number for _, one in tried)
            return ("status 500" if done <= refusals[number] else ""), 0.0

        async def rest(wait_s: float) -> None:
            if coming and gaps_s[len(posted_at)] < wait_s:
                clock.advance(gaps_s[len(posted_at)])
                post_next()
            else:
                clock.advance(wait_s)

        post._try, post._rest = tries, rest  # type: ignore[method-assign]
        while coming:
            post_next()
            assert post.task is not None
            await post.task
        firsts = {number: at_s for at_s, number in reversed(tried)}
        assert firsts == posted_at
        await sending.webhooks.aclose()

    asyncio.run(run())
    for number, refused in enumerate(refusals):
        assert sum(one == number for _, one in tried) == min(refused, len(webhooks.BACK_OFF_S)) + 1


def test_a_message_that_is_refused_for_ever_blocks_no_later_one(receiver, monkeypatch):
    """On a real socket: the second is there while the first waits for its next try."""
    monkeypatch.setattr(webhooks, "BACK_OFF_S", (3600.0,))
    receiver.statuses = [500]

    async def run() -> None:
        sending = Sending(receiver.url)
        sending.webhooks.post({"n": 1})
        await sending.until(retried=1)
        sending.webhooks.post({"n": 2})
        await sending.until(retried=1, delivered=1)
        await sending.webhooks.aclose(grace_s=0.01)
        assert sending.counted()["dropped"] == 1

    asyncio.run(run())
    assert [(one.told["n"], one.status) for one in receiver.posted] == [(1, 500), (2, 204)]


def test_an_address_shows_neither_path_nor_secret():
    """Whoever prints it."""
    shown = repr(Address("https://hooks.example/services/T00/secret?token=1", SECRET))
    assert shown == "Address(hooks.example:443)"


@given(st.binary(max_size=50), st.integers(0, 2**40), st.text("abc0123_", min_size=1))
def test_a_signature_depends_on_everything_that_is_signed(body, at_s, message_id):
    """Another id, time, body or key is another signature."""
    key = signing_key(SECRET)
    mine = signed(key, message_id, at_s, body)[2]
    assert mine != signed(key, message_id + "x", at_s, body)[2]
    assert mine != signed(key, message_id, at_s + 1, body)[2]
    assert mine != signed(key, message_id, at_s, body + b"x")[2]
    assert mine != signed(key + b"x", message_id, at_s, body)[2]


def test_the_signature_is_that_of_standard_webhooks():
    """The example of its specification's own library tests."""
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = dict(signed(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'))
    assert found[b"webhook-signature"] == b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["too-brief", "whsec_c2hvcnQ=", "whsec_not base64!", ""])
def test_a_secret_that_can_be_guessed_or_read_wrongly_is_refused(secret):
    """Without being repeated."""
    with pytest.raises(ValueError, match=r"shorter|Base64") as refused:
        signing_key(secret)
    assert secret == "" or secret not in str(refused.value)


def test_base64_without_its_mark_is_warned_of_and_never_repeated():
    """A library would decode it, and we do not. With the mark, or as words, nothing is said."""
    encoded = base64.b64encode(bytes(range(32))).decode()

    def said(secret: str) -> list[str]:
        hook = {"url": "https://x.example/", "secret": "env.S"}
        text = json.dumps({"providers": {"openai": {}}, "alerts": {"webhooks": [hook]}})
        loaded = load_text(text, Path(), {"S": secret}, Catalogue.load(), "2026-11-21")
        assert loaded.faults == []
        assert secret not in str(loaded.warnings)
        return [one.message for one in loaded.warnings if one.path == "$.alerts.webhooks[0].secret"]

    assert len(said(encoded)) == 1
    assert said("whsec_" + encoded) == []
    assert said(SECRET) == []


def test_a_secret_is_any_text_or_base64():
    """As the receiver's library takes it."""
    assert signing_key(SECRET) == SECRET.encode()
    assert signing_key("whsec_" + base64.b64encode(SECRET.encode()).decode()) == SECRET.encode()


@pytest.mark.parametrize(
    ("url", "where", "path"),
    [
        ("https://x.example", "x.example:443", b"/"),
        ("http://x:81/a/b/?q=1&r=%20", "x:81", b"/a/b/?q=1&r=%20"),
        ("https://x/\u00e9", "x:443", b"/%C3%A9"),
    ],
)
def test_the_path_goes_out_as_it_was_written(url, where, path):
    """A slash at the end, the query, and what is escaped already."""
    endpoint, found = parse_hook_url(url)
    assert (endpoint.where, endpoint.base_path, found) == (where, b"", path)


@pytest.mark.parametrize(
    "url", ["x", "ftp://x/", "https://u:p@x/", "https:///a", "https://x/#a", "https://x/ a"]
)
def test_what_is_no_address_is_refused_without_being_repeated(url):
    """With a sentence that says what is wrong."""
    with pytest.raises(ValueError, match=r"URL") as refused:
        parse_hook_url(url)
    assert "u:p" not in str(refused.value)
