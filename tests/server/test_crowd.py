"""More connections than ``server.max_connections``: answered 503 and closed, while those inside are served."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from penstock.server import crowd
from tests.behaviours.gateway import Gateway, chat, running_gateway
from tests.server.test_http import CHAT, connected
from tests.simulate.raw import RawReply, read_reply, request_bytes

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
server: {max_connections: 3}
"""
BODY = json.dumps(chat("openai/gpt-4o-mini")).encode()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("crowd"), CONFIG) as made:
        yield made


def ask(sock: socket.socket) -> RawReply:
    """One chat call on a connection that stays open."""
    sock.sendall(request_bytes("POST", CHAT, BODY))
    return read_reply(sock)


def until(what) -> None:
    """Wait for the gateway's loop to have seen something."""
    for _ in range(500):
        if what():
            return
        time.sleep(0.01)
    raise AssertionError("It did not happen.")


def full_house(gateway: Gateway, stack: ExitStack) -> list[socket.socket]:
    """As many connections as it takes, each of them served once."""
    until(lambda: not gateway.running.app.connections)
    inside = [stack.enter_context(connected(gateway)) for _ in range(3)]
    assert [ask(sock).status for sock in inside] == [200] * 3
    return inside


def test_one_too_many_is_answered_and_closed_and_the_others_are_served(gateway):
    """503 with the reason and when to come again; the next one is welcome as soon as somebody leaves."""
    with ExitStack() as stack:
        inside = full_house(gateway, stack)
        stranger = stack.enter_context(connected(gateway))
        reply = ask(stranger)
        assert reply.status == 503
        assert reply.headers["connection"] == "close"
        assert reply.headers["retry-after"] == "1"
        assert reply.headers["x-request-id"].startswith("gen-")
        error = json.loads(reply.body)["error"]
        assert (error["code"], error["type"]) == ("too_many_connections", "server_error")
        assert "3 connections" in error["message"]
        assert stranger.recv(1) == b""
        assert [ask(sock).status for sock in inside] == [200] * 3
        inside[0].close()
        until(lambda: len(gateway.running.app.connections) == 2)
        assert ask(stack.enter_context(connected(gateway))).status == 200


def test_a_body_that_is_still_being_sent_does_not_cost_the_answer(gateway):
    """What comes after the first bytes is thrown away: a reset would take the 503 with it."""
    with ExitStack() as stack:
        full_house(gateway, stack)
        stranger = stack.enter_context(connected(gateway))
        stranger.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n\r\n")
        for _ in range(4):
            stranger.sendall(b"x" * 1_000_000)
        assert read_reply(stranger).status == 503
        assert stranger.recv(1) == b""


def test_the_operator_sees_it(gateway):
    """How many are inside, and how many were sent away."""
    with ExitStack() as stack:
        inside = full_house(gateway, stack)
        before = figures(inside[0])
        assert ask(stack.enter_context(connected(gateway))).status == 503
        after = figures(inside[0])
        assert before["penstock_connections"] == after["penstock_connections"] == 3
        refused = "penstock_connections_refused_total"
        assert after[refused] - before.get(refused, 0) == 1


def figures(sock: socket.socket) -> dict[str, float]:
    sock.sendall(request_bytes("GET", "/metrics", b""))
    lines = [line.split() for line in read_reply(sock).body.decode().splitlines() if line[0] != "#"]
    return {name: float(value) for name, value in lines if "{" not in name}


def test_who_says_nothing_is_cut_and_so_are_too_many(gateway, monkeypatch):
    """Waiting for a word is bounded in time and number: the crowd before the door takes no more than its share."""
    monkeypatch.setattr(crowd, "LINGER_S", 0.2)
    monkeypatch.setattr(crowd, "MAX_LINGERING", 1)
    with ExitStack() as stack:
        full_house(gateway, stack)
        silent = stack.enter_context(connected(gateway))
        until(lambda: len(gateway.running.app.turned_away) == 1)
        late = stack.enter_context(connected(gateway))
        assert cut(late)
        assert len(gateway.running.app.turned_away) == 1
        assert cut(silent)
        until(lambda: not gateway.running.app.turned_away)


def cut(sock: socket.socket) -> bool:
    """The other side has hung up, without a word."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_reload_changes_the_limit(gateway):
    """More is let in at once."""
    with ExitStack() as stack:
        full_house(gateway, stack)
        assert ask(stack.enter_context(connected(gateway))).status == 503
        assert gateway.reload(CONFIG.replace("max_connections: 3", "max_connections: 4")) == []
        assert ask(stack.enter_context(connected(gateway))).status == 200
        assert gateway.reload(CONFIG) == []
