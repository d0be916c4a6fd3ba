"""The process: reloads, signals, restarts, what it prints. ``penstock serve`` itself, and the simulator behind it."""

import json
import re
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.simulate import Scenario, Simulator, running_simulator
from penstock.simulate.scenario import Profile
from tests.server.process import GatewayProcess, command
from tests.simulate.raw import RawReply, connect, read_reply, request_bytes

KEYS = {
    "OPENAI_KEY_PRIMARY": "plainsecretprimary4711",
    "OPENAI_KEY_BACKUP": "sk-proj-backupsecret0815abcdef",
    "ANTHROPIC_KEY": "sk-ant-api03-verysecretindeed",
    "ADMIN_KEY": "admin-secret-9000",
}
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY_PRIMARY}]
    network: {base_url: "SIM/p/openai/v1"}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "SIM/p/anthropic"}
server: {admin_key: env.ADMIN_KEY, drain_timeout_ms: 5000}
"""
ADMIN = {"authorization": f"Bearer {KEYS['ADMIN_KEY']}"}
SHOWN = {400: 400, 404: 404, 500: 502, 503: 502, 401: 502}
"""What a caller sees of a provider's status."""
PACED = Scenario(profiles={"gpt-4o": Profile(tokens_per_s=40.0, output_tokens=40)})
"""gpt-4o takes a second for its forty words; every other model answers at once."""


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """One simulator for all processes of this file."""
    with running_simulator(PACED) as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def _clear(sim):
    sim.clear()


def config_of(sim, text=CONFIG) -> str:
    return text.replace("SIM", sim.url)


class Streams:
    """Several paced streams at once, each in a thread of its own."""

    def __init__(self, gateway: GatewayProcess, count: int, **fields: Any) -> None:
        self.replies: list[RawReply] = []
        self._threads = [
            threading.Thread(target=self._one, args=(gateway, {"model": "openai/gpt-4o", **fields}))
            for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _one(self, gateway: GatewayProcess, fields: dict[str, Any]) -> None:
        self.replies.append(gateway.chat(stream=True, **fields))

    def wait(self) -> list[RawReply]:
        for thread in self._threads:
            thread.join()
        return self.replies


def words_of(reply: RawReply) -> int:
    """How many content deltas a stream had."""
    frames = [frame for frame in reply.frames() if isinstance(frame, dict)]
    return sum(1 for frame in frames for choice in frame["choices"] if choice["delta"].get("content"))


def whole(reply: RawReply) -> bool:
    """A stream of forty words that ended as it should."""
    return (reply.status, reply.ended, reply.frames()[-1], words_of(reply)) == (200, "complete", "[DONE]", 40)


def running(sim, count: int) -> None:
    """Wait until that many streams have begun and none has ended."""
    until_s = time.monotonic() + 5
    while sum(1 for one in sim.requests if one.events_sent > 2) < count:
        assert time.monotonic() < until_s, sim.requests
        time.sleep(0.005)
    assert not any(one.complete for one in sim.requests)


def rows(gateway: GatewayProcess, sql: str) -> list[tuple[Any, ...]]:
    """Rows of the ledger, read from its file as anybody may."""
    connection = sqlite3.connect(gateway.db)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("way", ["SIGHUP", "POST /admin/reload"])
def test_a_reload_under_running_streams_loses_nothing(tmp_path, sim, way):
    """Streams on the old configuration end whole, while new calls already use the new one."""
    with GatewayProcess(tmp_path, config_of(sim), KEYS) as gateway:
        streams = Streams(gateway, 6)
        running(sim, 6)
        changed = gateway.config.read_text().replace("/p/openai/", "/p/moved/")
        gateway.config.write_text(changed + "\nroutes: [{id: fresh, primary: openai/gpt-4o-mini}]\n")
        if way == "SIGHUP":
            gateway.signal(signal.SIGHUP)
        else:
            assert gateway.ask("/admin/reload", {}, headers=ADMIN).json()["status"] == "reloaded"
        gateway.wait_for("reload.done")
        assert gateway.chat(model="fresh").status == 200
        assert sim.requests[-1].provider == "moved"
        replies = streams.wait()
        assert len(replies) == 6
        assert all(map(whole, replies))
        assert gateway.terminate() == 0
    assert rows(gateway, "SELECT class, count(*) FROM entries GROUP BY class") == [("delivered", 7)]
    assert len(rows(gateway, "SELECT DISTINCT config_version FROM calls")) == 2


def test_a_faulty_configuration_leaves_the_old_one_running_and_says_why(tmp_path, sim):
    """By SIGHUP in the log, by POST /admin/reload in the answer; every fault with its path and remedy."""
    with GatewayProcess(tmp_path, config_of(sim), KEYS) as gateway:
        streams = Streams(gateway, 2)
        running(sim, 2)
        good = gateway.config.read_text()
        for bad, path in (
            (good.replace("keys:", "kees:", 1), "$.providers.openai.kees"),
            (good + "\nsemantic_cash: {}\n", "$.semantic_cash"),
            (good.replace("env.OPENAI_KEY_PRIMARY", "env.NOBODY_SET_THIS"), "NOBODY_SET_THIS"),
            (good.replace(sim.url, "http://[broken", 1), "$.providers.openai.network"),
            ("providers: [", "$"),
        ):
            gateway.config.write_text(bad)
            refused = gateway.ask("/admin/reload", {}, headers=ADMIN)
            assert refused.status == 400, bad
            assert refused.json()["error"]["code"] == "config_faults"
            assert path in refused.json()["error"]["message"]
            assert "the running one stays" in refused.json()["error"]["message"]
            assert gateway.chat().status == 200
        gateway.config.write_text(good.replace("keys:", "kees:", 1))
        gateway.signal(signal.SIGHUP)
        said = gateway.wait_for("reload.refused", 6)  # five were asked for above
        assert "$.providers.openai.kees" in said["first"]
        assert "keys" in said["first"]
        assert gateway.chat().status == 200
        assert all(map(whole, streams.wait()))
        gateway.config.write_text(good)
        assert gateway.ask("/admin/reload", {}, headers=ADMIN).status == 200


def test_sigterm_drains(tmp_path, sim):
    """Running streams end whole, no new call is served, the ledger holds all of them, and the exit status is 0."""
    with GatewayProcess(tmp_path, config_of(sim), KEYS) as gateway:
        with connect(gateway.url) as kept, connect(gateway.url) as idle:
            begun = request_bytes("POST", "/v1/chat/completions", b"{}")
            kept.sendall(begun[:-1])
            streams = Streams(gateway, 4)
            running(sim, 4)
            gateway.signal(signal.SIGTERM)
            gateway.wait_for("draining")
            assert idle.recv(1) == b""  # told to go away at once
            kept.sendall(begun[-1:])
            refused = read_reply(kept)
            assert refused.status == 503
            assert refused.json()["error"]["code"] == "draining"
            assert refused.headers["connection"] == "close"
            assert int(refused.headers["retry-after"]) >= 1
            with pytest.raises(ConnectionRefusedError):
                connect(gateway.url)
        assert all(map(whole, streams.wait()))
        assert gateway.join() == 0
        assert gateway.wait_for("stopped")["cut_calls"] is False
    assert rows(gateway, "SELECT class, output FROM entries") == [("delivered", 40)] * 4


def test_sigterm_lets_a_slow_reader_have_its_whole_reply(tmp_path, sim):
    """What was written to a caller's socket and not yet read is part of a running call."""
    sim.set_faults([{"kind": "huge_event", "bytes": 8 * 1024 * 1024}])
    config = config_of(sim).replace("drain_timeout_ms: 5000", "drain_timeout_ms: 45000")
    with GatewayProcess(tmp_path, config, KEYS) as gateway:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            host, port = gateway.url.removeprefix("http://").split(":")
            sock.connect((host, int(port)))
            sock.settimeout(40)
            body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
            sock.sendall(request_bytes("POST", "/v1/chat/completions", json.dumps(body).encode()))
            sim.wait_for(lambda one: one.complete)
            time.sleep(0.3)
            gateway.signal(signal.SIGTERM)
            gateway.wait_for("draining")
            time.sleep(0.3)
            reply = read_reply(sock)
        assert reply.ended == "complete"
        assert len(reply.body) > 8 * 1024 * 1024
        assert gateway.join() == 0


def test_a_call_that_outlives_the_drain_is_cut_and_still_recorded(tmp_path, sim):
    """After drain_timeout_ms the rest is cut; what was consumed is in the ledger all the same."""
    config = config_of(sim).replace("drain_timeout_ms: 5000", "drain_timeout_ms: 200")
    with GatewayProcess(tmp_path, config, KEYS) as gateway:
        streams = Streams(gateway, 3)
        running(sim, 3)
        assert gateway.terminate() == 0
        assert gateway.wait_for("stopped")["cut_calls"] is True
        assert {reply.ended for reply in streams.wait()} <= {"eof", "reset"}
    found = rows(gateway, "SELECT class, usage_source, output > 0 FROM entries")
    assert found == [("billed_not_delivered", "estimated", 1)] * 3


def test_a_restart_keeps_the_ledger(tmp_path, sim):
    """A new process reads what the old one wrote, and adds to it."""
    with GatewayProcess(tmp_path, config_of(sim), KEYS) as gateway:
        first = gateway.chat()
        cost = gateway.ask(f"/v1/generation?id={first.headers['x-request-id']}").json()
        assert gateway.terminate() == 0
    with GatewayProcess(tmp_path, config_of(sim), KEYS) as gateway:
        again = gateway.ask(f"/v1/generation?id={first.headers['x-request-id']}").json()
        assert again["data"]["total_cost"] == cost["data"]["total_cost"] > 0
        assert gateway.ask(f"/v1/generation?id={first.json()['id']}").json() == again
        assert gateway.chat().status == 200
        assert gateway.terminate() == 0
    assert rows(gateway, "SELECT count(*), count(DISTINCT request_id) FROM calls") == [(2, 2)]


def test_explain_prints_what_was_recorded_also_after_a_reload(tmp_path, sim):
    """The decision as it was taken: the same words before and after the configuration has changed its mind."""
    chain = "fallbacks: [{primary: openai/gpt-4o-mini, secondary: anthropic/claude-haiku-4-5}]\n"
    config = config_of(sim).replace('/v1"}', '/v1", retry: {max_retries: 0}}') + chain
    with GatewayProcess(tmp_path, config, KEYS) as gateway:
        sim.set_faults([{"kind": "status", "status": 503, "when": {"providers": ["openai"]}}])
        reply = gateway.chat()
        assert reply.headers["x-penstock-provider"] == "anthropic"
        request_id = reply.headers["x-request-id"]
        gateway.ask(f"/v1/generation?id={request_id}")
        time.sleep(0.2)
        before = command("explain", request_id, "--db", str(gateway.db))
        gateway.config.write_text(
            config_of(sim).replace("openai:", "groq:").replace("/p/openai/", "/p/groq/")
        )
        assert gateway.ask("/admin/reload", {}, headers=ADMIN).status == 200
        after = command("explain", request_id, "--db", str(gateway.db))
    for told in (before, after):
        assert told.returncode == 0, told.stderr
        for word in ("openai/gpt-4o-mini", "first in the chain", "same dialect", "fallback", "503",
                     "anthropic/claude-haiku-4-5", "translated from openai to anthropic", "ANTHROPIC_KEY",
                     "price version", "delivered", "total: $"):  # fmt: skip
            assert word in told.stdout, word
    assert before.stdout == after.stdout


def test_cost_is_grouped_by_what_callers_said(tmp_path, sim):
    """x-penstock-meta and the body's metadata are kept, and `penstock cost --by meta:sku` groups by them."""
    with GatewayProcess(tmp_path, config_of(sim), KEYS) as gateway:
        for _ in range(2):
            gateway.chat(headers={"x-penstock-meta": "sku=12,campaign=x"})
        gateway.chat(metadata={"sku": "13"})
        gateway.chat()
        gateway.terminate()
    told = command("cost", "--by", "meta:sku", "--json", "--db", str(gateway.db))
    assert told.returncode == 0, told.stderr
    found = {row["meta:sku"]: row["calls"] for row in json.loads(told.stdout)}
    assert {key: count for key, count in found.items() if key in ("12", "13")} == {"12": 2, "13": 1}
    assert sum(found.values()) == 4
    only = command(
        "cost", "--by", "provider", "--where", "meta:campaign=x", "--json", "--db", str(gateway.db)
    )
    assert [(row["provider"], row["calls"]) for row in json.loads(only.stdout)] == [("openai", 2)]
    assert json.loads(only.stdout)[0]["cost_nusd"] > 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_virtual_keys_only_loopback_is_bound(tmp_path, sim, host):
    """Anything else is refused with a sentence, unless --open says that it is meant."""
    closed = GatewayProcess(tmp_path, config_of(sim), KEYS, "--host", host)
    closed.start()
    assert closed.join() == 1
    assert "--open" in closed.wait_for("config.fault")["fault"]
    with GatewayProcess(tmp_path, config_of(sim), KEYS, "--host", host, "--open") as opened:
        port = opened.url.rpartition(":")[2]
        opened.url = f"http://[::1]:{port}" if host == "::" else f"http://127.0.0.1:{port}"
        assert opened.chat().status == 200


def test_loopback_is_the_default_and_virtual_keys_open_the_door(tmp_path, sim):
    """Nobody else can reach a gateway that asks for no key; one with keys may listen anywhere."""
    with GatewayProcess(tmp_path, config_of(sim), KEYS) as gateway:
        assert gateway.url.startswith("http://127.0.0.1:")
    keyed = config_of(sim) + "virtual_keys: [{name: a, key: env.ADMIN_KEY}]\n"
    with GatewayProcess(tmp_path, keyed, KEYS, "--host", "0.0.0.0") as gateway:
        gateway.url = gateway.url.replace("0.0.0.0", "127.0.0.1")
        assert gateway.chat(headers={"authorization": "Bearer wrong"}).status == 401
        assert gateway.chat(headers=ADMIN).status == 200


def test_a_start_with_faults_names_them_all_and_exits_1(tmp_path):
    """Every fault has its path and what to write instead; nothing listens."""
    bad = "providers:\n  openai: {keys: [{value: env.NOT_SET_ANYWHERE}], colour: red}\nfalbacks: []\n"
    gateway = GatewayProcess(tmp_path, bad)
    gateway.start()
    assert gateway.join() == 1
    told = [one["fault"] for one in gateway.events if one["event"] == "config.fault"]
    assert any("$.falbacks" in fault and "fallbacks" in fault for fault in told)
    assert any("$.providers.openai.colour" in fault for fault in told)
    assert not gateway.db.exists()


def test_behaviour_40_secrets_are_nowhere(tmp_path, sim):
    """No key, of whatever shape, in logs, replies, their headers, the ledger's file or what the commands print."""
    keyed = """
virtual_keys: [{name: research, key: env.RESEARCH_KEY}]
fallbacks: [{primary: openai/gpt-4o-mini, secondary: anthropic/claude-haiku-4-5}]
"""
    secrets = {**KEYS, "RESEARCH_KEY": "0f8fad5bd9cb469fa16570867728950e"}
    backup = "[{value: env.OPENAI_KEY_PRIMARY}, {value: env.OPENAI_KEY_BACKUP}]"
    config = config_of(sim).replace("[{value: env.OPENAI_KEY_PRIMARY}]", backup) + keyed
    seen: list[bytes] = []
    caller = {"authorization": f"Bearer {secrets['RESEARCH_KEY']}"}
    quoting = {
        "openai": f"Wrong: {secrets['OPENAI_KEY_PRIMARY']}, or {secrets['OPENAI_KEY_BACKUP']}",
        "anthropic": f"Wrong: {secrets['ANTHROPIC_KEY']}",
    }
    leaky = {"x-leak": secrets["OPENAI_KEY_PRIMARY"], "openai-organization": "org-secret"}

    def fail(**fault: Any) -> None:
        sim.set_faults(
            {**fault, "message": said, "code": said, "body": said, "when": {"providers": [name]}}
            if fault["kind"] in ("html", "plain_text")
            else {**fault, "message": said, "code": said, "when": {"providers": [name]}}
            for name, said in quoting.items()
        )

    with GatewayProcess(tmp_path, config, secrets) as gateway:
        kinds = ("error_first_frame", "error_mid_stream", "error_in_200", "html", "plain_text")
        ways = [{"kind": "status", "status": status} for status in (400, 404, 500, 503)]
        # Refused keys cool down, so these come last, and are asked once.
        ways += [{"kind": kind, "after": 2, "status": 529} for kind in kinds] + [
            {"kind": "status", "status": 401}
        ]
        for number, way in enumerate(ways):
            for stream in (False, True):
                fail(**way, headers=leaky)
                chain = [f"openai/gpt-{number}", f"anthropic/claude-{number}"]
                reply = gateway.chat(model=chain[0], models=chain, stream=stream, headers=caller)
                assert reply.ended == "complete", (way, stream, reply)
                assert way["kind"] != "status" or reply.status == SHOWN[way["status"]]
                seen.append(reply.wire)
                mine = f"/v1/generation?id={reply.headers['x-request-id']}"
                seen.append(gateway.ask(mine, headers=caller).wire)
            gateway.ask("/admin/reload", {}, headers=ADMIN)
        assert len(sim.requests) > 2 * len(ways)
        gateway.ask("/v1/chat/completions", b"{", headers=caller)
        pages = ("/admin/health", "/metrics", "/v1/models", "/ready", "/health", "/nowhere")
        seen += [gateway.ask(path, headers=ADMIN if "admin" in path else caller).wire for path in pages]
        wrong = gateway.chat(headers={"authorization": "Bearer wrong-but-secret-0815"})
        assert wrong.status == 401
        seen.append(wrong.wire)
        assert gateway.terminate() == 0
    ids = [row[0] for row in rows(gateway, "SELECT request_id FROM calls")]
    assert len(ids) >= 19
    seen.append("\n".join(gateway.lines).encode())
    seen += [path.read_bytes() for path in tmp_path.iterdir() if path.name != "penstock.yaml"]
    for words in (["check", str(gateway.config)], ["cost", "--db", str(gateway.db)],
                  ["explain", ids[0], "--db", str(gateway.db)], ["explain", ids[2], "--json", "--db", str(gateway.db)]):  # fmt: skip
        told = command(*words, env=secrets)
        assert told.returncode == 0, told.stderr
        seen.append((told.stdout + told.stderr).encode())
    everything = b"\n".join(seen)
    for secret in (*secrets.values(), "wrong-but-secret-0815", "org-secret"):
        place = everything.find(secret.encode())
        assert place < 0, everything[max(0, place - 200) : place + 100]
        assert not re.search(re.escape(secret[:12]).encode(), everything)
