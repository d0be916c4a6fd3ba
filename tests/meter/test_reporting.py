"""The reporter against gateways that are right, away, slow, and refusing: nothing twice, nothing waits, nothing raises."""

import json
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import pytest

from penstock.meter.reporter import Reporter
from penstock.meter.sender import target_of
from tests.meter.gateways import ToldGateway, taken
from tests.server.process import GatewayProcess, environment

RATES = "compute: {h100: {usd_per_hour: 2.49}}\n"


@pytest.fixture
def reporter():
    """One of its own, quick, that is left empty."""
    made = Reporter()
    made.gather_s = 0.01
    yield made
    made._queue.clear()


def nobody():
    """An address where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def event(number, **fields):
    return {"stage": "s", "compute": "h100", "gpu_seconds": number, **fields}


def fill(reporter, count):
    for number in range(count):
        reporter.add(event(number))


def test_what_is_added_arrives_once_in_order(reporter):
    """Under ids of its own, with the key, in batches."""
    with ToldGateway(lambda events, _: taken(events)) as gateway:
        reporter.aim(target_of(f"{gateway.url}/v1/", "vk-1"))
        fill(reporter, 1200)
        assert reporter.flush(20)
    assert [one["gpu_seconds"] for one in gateway.events] == list(range(1200))
    assert len({one["id"] for one in gateway.events}) == 1200
    assert len(gateway.posts) <= 6
    assert set(gateway.keys) == {"Bearer vk-1"}
    assert (reporter.sent, reporter.dropped, reporter.waiting) == (1200, 0, 0)


def test_a_gateway_that_is_away_gets_it_when_it_is_back(reporter, caplog):
    """Nothing is lost up to the bound, and the log has one line."""
    port = nobody()
    reporter.aim(target_of(f"http://127.0.0.1:{port}", None))
    with caplog.at_level(logging.WARNING, "penstock.meter"):
        fill(reporter, 50)
        assert not reporter.flush(0.3)
        fill(reporter, 50)
        assert not reporter.flush(0.3)
    assert [one.levelname for one in caplog.records] == ["WARNING"]
    with ToldGateway(lambda events, _: taken(events), port) as gateway:
        assert reporter.flush(20)
    assert [one["gpu_seconds"] for one in gateway.events] == [*range(50), *range(50)]


def test_beyond_the_bound_the_newest_are_dropped_counted_and_said_once(reporter, caplog):
    """The queue is bounded while the gateway is away."""
    reporter.aim(target_of(f"http://127.0.0.1:{nobody()}", None))
    reporter.max_queue = 100
    with caplog.at_level(logging.WARNING, "penstock.meter"):
        fill(reporter, 2000)
    assert reporter.waiting <= 100 + 500  # one batch may be on its way
    assert reporter.waiting + reporter.dropped == 2000
    assert len([one for one in caplog.records if "dropped" in one.message]) == 1


def test_a_slow_gateway_makes_nobody_wait(reporter):
    """Adding goes on while a post takes its time: the posts are few, so no add waited for one."""
    with ToldGateway(lambda events, _: taken(events)) as gateway:
        gateway.delay_s = 0.5
        reporter.aim(target_of(gateway.url, None))
        fill(reporter, 300)
        added_while = len(gateway.posts)
        assert reporter.flush(20)
    assert added_while <= 1
    assert len(gateway.events) == 300


@pytest.mark.parametrize("status", [500, 503, 429, 401, 404, 302])
def test_a_refusal_of_the_moment_is_tried_again_with_the_same_ids(reporter, status):
    """Until it is taken."""
    with ToldGateway(
        lambda events, nth: taken(events) if nth > 2 else (status, b'{"error": {"message": "no"}}')
    ) as gateway:
        reporter.aim(target_of(gateway.url, None))
        fill(reporter, 3)
        until_s = time.monotonic() + 20
        while not reporter.flush(0.05):  # each flush is one try at once
            assert time.monotonic() < until_s
    assert gateway.posts[0] == gateway.posts[1] == gateway.posts[2]
    assert (reporter.sent, reporter.dropped) == (3, 0)


def test_a_page_that_is_no_gateway_takes_nothing(reporter):
    """200 from something else is no acknowledgement."""
    with ToldGateway(lambda events, nth: (200, b"<html>") if nth == 1 else taken(events)) as gateway:
        reporter.aim(target_of(gateway.url, None))
        fill(reporter, 1)
        until_s = time.monotonic() + 20
        while not reporter.flush(0.05):
            assert time.monotonic() < until_s
    assert len(gateway.posts) == 2


def test_faulty_events_are_dropped_alone(reporter, caplog, tmp_path):
    """The real gateway names them; the others of the batch are stored."""
    with GatewayProcess(tmp_path, RATES) as gateway:
        reporter.aim(target_of(gateway.url, None))
        with caplog.at_level(logging.WARNING, "penstock.meter"):
            for number in range(20):
                reporter.add(event(number, compute="h100" if number % 5 else "h10"))
            reporter.add(event(1, meta={"odd": float("nan")}))  # no JSON
            reporter.add(event(2, gpu_seconds=object()))  # its repr is no number
            assert reporter.flush(20)
        connection = sqlite3.connect(f"file:{gateway.db}?mode=ro", uri=True)
        try:
            assert connection.execute("SELECT count(*) FROM entries").fetchone() == (16,)
        finally:
            connection.close()
    assert (reporter.sent, reporter.dropped) == (16, 6)
    assert len(caplog.records) == 1


def test_a_batch_too_long_is_halved(reporter):
    """413 until it fits; in order, nothing lost."""
    with ToldGateway(lambda events, _: taken(events) if len(events) <= 10 else (413, b"{}")) as gateway:
        reporter.aim(target_of(gateway.url, None))
        fill(reporter, 100)
        assert reporter.flush(20)
    assert [one["gpu_seconds"] for post in gateway.posts if len(post) <= 10 for one in post] == list(
        range(100)
    )
    assert (reporter.sent, reporter.dropped) == (100, 0)


def test_a_kept_connection_that_was_closed_is_opened_again(reporter, caplog):
    """Without a line in the log: servers close idle connections."""
    with ToldGateway(lambda events, _: taken(events)) as gateway, caplog.at_level(logging.WARNING):
        gateway.hangs_up = True
        reporter.aim(target_of(gateway.url, None))
        for _ in range(5):
            fill(reporter, 1)
            assert reporter.flush(20)
    assert len(gateway.events) == 5
    assert caplog.records == []


def test_a_url_that_is_none_is_said_at_once():
    """Where it is given in code: configuring is no metering."""
    for url in ("", "gateway:8080", "ftp://x", "http://"):
        with pytest.raises(ValueError, match="write http://host:port"):
            target_of(url, None)
    assert "vk-secret" not in repr(target_of("http://x", "vk-secret"))


def run(code, env, **options):
    """A service of its own."""
    return subprocess.run(
        [sys.executable, "-c", code], env=environment(env), capture_output=True, text=True, timeout=30, check=False, **options
    )  # fmt: skip


ONE = """
import penstock
with penstock.meter("denoise", compute="h100"):
    pass
"""


def test_what_is_left_is_sent_at_exit():
    """A script that ends right after its block; the address and key are the environment's."""
    with ToldGateway(lambda events, _: taken(events)) as gateway:
        done = run(ONE, {"PENSTOCK_URL": gateway.url, "PENSTOCK_KEY": "vk-2"})
    assert (done.returncode, done.stderr) == (0, "")
    assert [one["stage"] for one in gateway.events] == ["denoise"]
    assert gateway.keys == ["Bearer vk-2"]


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:1", "nonsense"])
def test_without_a_gateway_a_service_ends_as_it_would(url):
    """No exception, no other exit status, a warning; the exit waits its bound and no longer (else: the timeout)."""
    code = "import penstock; penstock.meter.configure(exit_timeout_s=0.2)" + ONE
    done = run(code, {"PENSTOCK_URL": url} if url else {})
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr
    assert "1 events could not be sent" in done.stderr


def test_a_gateway_that_never_answers_does_not_hold_the_exit():
    """The post is on its way when the process ends."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        done = run(
            "import penstock; penstock.meter.configure(exit_timeout_s=0.2)" + ONE, {"PENSTOCK_URL": url}
        )
    assert done.returncode == 0
    assert "1 events could not be sent" in done.stderr


def test_a_forked_child_reports_its_own_and_only_its_own():
    """Under other ids; what waited in the parent is sent once."""
    code = """
import os, penstock
with penstock.meter("parent", compute="h100"): pass
if os.fork() == 0:
    with penstock.meter("child", compute="h100"): pass
    os._exit(0 if penstock.meter.flush(10) else 1)
assert os.wait()[1] == 0
"""
    with ToldGateway(lambda events, _: taken(events)) as gateway:
        done = run(code, {"PENSTOCK_URL": gateway.url})
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(one["stage"] for one in gateway.events) == ["child", "parent"]
    assert len({one["id"] for one in gateway.events}) == 2


def test_through_restarts_of_the_real_gateway_each_block_is_counted_once(tmp_path, reporter):
    """Killed in the middle, three times, while blocks go on: the ledger has every event once."""
    port, count = nobody(), 0
    reporter.aim(target_of(f"http://127.0.0.1:{port}", None))
    for _ in range(3):
        with GatewayProcess(
            tmp_path, RATES + f"server: {{port: {port}}}\n", None, "--port", str(port)
        ) as gateway:
            for _ in range(20):
                fill(reporter, 25)
                count += 25
                reporter.flush(0.02)
            gateway.signal(signal.SIGKILL)
    with GatewayProcess(tmp_path, RATES, None, "--port", str(port)) as gateway:
        until_s = time.monotonic() + 30
        while not reporter.flush(0.1):
            assert time.monotonic() < until_s, reporter.last_error
        connection = sqlite3.connect(f"file:{gateway.db}?mode=ro", uri=True)
        try:
            assert connection.execute("SELECT count(*) FROM entries").fetchone() == (count,)
        finally:
            connection.close()
    assert (reporter.sent, reporter.dropped) == (count, 0)


def test_import_is_cheap_and_the_meter_needs_the_standard_library_only():
    """``import penstock`` loads nothing of it; the meter loads no other room and no package."""
    code = (
        "import sys, json, penstock; early = [m for m in sys.modules if m.startswith('penstock.')];"
        "penstock.meter; print(json.dumps([early, sorted(sys.modules)]))"
    )
    early, late = json.loads(run(code, {}).stdout)
    assert early == []
    assert {name.split(".")[1] for name in late if name.startswith("penstock.")} == {"meter"}
    assert {"msgspec", "torch", "yaml", "uvloop", "starlette", "asyncio"} & set(late) == set()
    assert os.path.exists(environment({})["PYTHONPATH"])
