"""The server itself: connections, hang-ups, speeds, the log, the control paths and the command."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import get_args
from urllib.request import Request, urlopen

import pytest

from penstock.config.schema_dialects import DialectName
from penstock.simulate import (
    Distribution,
    Fault,
    Profile,
    ProviderSettings,
    Received,
    Scenario,
    Simulator,
    load_scenario,
    running_simulator,
    simulator_process,
)
from penstock.simulate.faults import FaultKind
from tests.simulate.raw import OPENAI_BODY, OPENAI_STREAM, ask, connect, read_reply, request_bytes

CHAT = "/v1/chat/completions"
KEY = {"authorization": "Bearer k"}
SLOW = Scenario(
    profiles={"slow*": Profile(ttft_ms=20, tokens_per_s=100, output_tokens=400)},
    providers={"strict": ProviderSettings(models=("gpt-4o-mini",))},
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with running_simulator(SLOW) as sim:
        yield sim


@pytest.fixture
def sim(shared: Simulator) -> Simulator:
    shared.clear()
    return shared


def chat_bytes(body: dict, path: str = CHAT, headers: dict | None = None) -> bytes:
    return request_bytes("POST", path, json.dumps(body).encode(), {**KEY, **(headers or {})})


def test_connections_are_kept_and_pipelined_requests_answered_in_order(sim: Simulator) -> None:
    """Three requests on one socket, two of them sent at once: three whole replies, one connection in the log."""
    with connect(sim.url) as sock:
        sock.sendall(chat_bytes(OPENAI_BODY))
        assert read_reply(sock).ended == "complete"
        stream = chat_bytes({**OPENAI_STREAM, "model": "slow-x", "max_tokens": 3})
        sock.sendall(stream + chat_bytes(OPENAI_BODY, headers={"connection": "close"}))
        rest = b""
        while more := sock.recv(65536):
            rest += more
    assert rest.index(b"[DONE]") < rest.index(b'"object":"chat.completion"')
    assert len({received.connection for received in sim.requests}) == 1
    assert [received.status for received in sim.requests] == [200, 200, 200]


def test_http_1_0_callers_get_the_body_until_the_connection_closes(sim: Simulator) -> None:
    """No chunks to who cannot read them."""
    with connect(sim.url) as sock:
        sock.sendall(chat_bytes(OPENAI_STREAM).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        reply = read_reply(sock)
    assert reply.ended == "eof"
    assert "transfer-encoding" not in reply.headers
    assert reply.frames()[-1] == "[DONE]"


def test_repeated_requests_get_ids_of_their_own(sim: Simulator) -> None:
    """A remembered answer differs from the first in its ids only; key and body still decide."""
    for body in (OPENAI_BODY, OPENAI_STREAM):
        wires = [ask(sim.url, CHAT, body).wire for _ in range(3)]
        serials = [re.search(rb"chatcmpl-sim0*(\d+)", wire)[1] for wire in wires]
        assert len(set(serials)) == 3
        assert wires[0].count(serials[0]) == wires[2].count(serials[2]) > 1
        stamp = re.compile(rb'"created":\d+')
        plain = {
            stamp.sub(b"", wire.replace(serial, b"")) for wire, serial in zip(wires, serials, strict=True)
        }
        assert len(plain) == 1
    assert (
        len({(received.bytes_sent, received.events_sent) for received in sim.requests if received.stream})
        == 1
    )
    assert ask(sim.url, CHAT, OPENAI_BODY, headers={"authorization": ""}).status == 401
    sim.set_faults([Fault("status", status=500)])
    assert ask(sim.url, CHAT, OPENAI_BODY).status == 500


def test_a_hang_up_is_logged_at_once_at_any_stage(sim: Simulator) -> None:
    """Before the head and in the middle of a stream: the log has when, not before the caller hung up."""
    for body, wait_for in (({**OPENAI_STREAM, "model": "slow-x"}, b"data: "), (OPENAI_BODY, b"")):
        sim.clear()
        sim.set_faults([Fault("slow_head", ms=5000)] if not wait_for else [])
        sock = connect(sim.url)
        sock.sendall(chat_bytes(body))
        if wait_for:
            while wait_for not in sock.recv(65536):
                pass
        else:
            sim.wait_for(lambda received: received.model == "gpt-4o-mini")
        closed_s = time.time()
        sock.close()
        received = sim.wait_for(lambda received: received.disconnected_unix_s is not None)
        assert received.disconnected_unix_s >= closed_s - 0.001
        assert (received.bytes_sent > 0) is bool(wait_for)
        assert received.ended_unix_s is None


def test_a_complete_reply_is_not_a_hang_up(sim: Simulator) -> None:
    """Times are in order, the bytes sent are the bytes on the wire."""
    reply = ask(sim.url, CHAT, OPENAI_STREAM)
    received = sim.wait_for(lambda received: received.ended_unix_s is not None)
    assert received.disconnected_unix_s is None
    assert received.started_unix_s <= received.first_byte_unix_s <= received.ended_unix_s
    assert received.bytes_sent == len(reply.wire)
    assert received.events_sent == len(reply.chunks)


def test_a_stream_keeps_its_rate_without_drifting(sim: Simulator) -> None:
    """21 tokens at 100 a second after 20 ms: never early, first token not before the TTFT."""
    before_s = time.monotonic()
    reply = ask(sim.url, CHAT, {**OPENAI_STREAM, "model": "slow-x", "max_tokens": 21})
    elapsed_s = time.monotonic() - before_s
    assert reply.ended == "complete"
    assert elapsed_s >= 0.219
    received = sim.requests[0]
    assert received.first_byte_unix_s - received.started_unix_s >= 0.019


def test_a_whole_reply_takes_as_long_as_its_stream_would(sim: Simulator) -> None:
    """Not streamed, the time of all tokens passes before the head."""
    ask(sim.url, CHAT, {**OPENAI_BODY, "model": "slow-x", "max_tokens": 10})
    received = sim.requests[0]
    assert received.first_byte_unix_s - received.started_unix_s >= 0.119


def test_distributions_have_their_percentiles() -> None:
    """Median and 95th percentile of 4,000 draws lie where they were put; same seed, same draws."""
    asked = Distribution(p50=100, p95=400)
    rng = Random(7)
    drawn = sorted(asked.draw(rng) for _ in range(4000))
    assert 93 < drawn[2000] < 107
    assert 340 < drawn[3800] < 470
    assert Distribution(p50=100, p95=400).draw(Random(7)) == asked.draw(Random(7))
    assert Distribution(p50=5).draw(rng) == 5


def test_bad_requests_get_the_vendors_answer(sim: Simulator) -> None:
    """Broken JSON, unknown paths, models that are not served, no key, wrong method, no HTTP."""
    assert ask(sim.url, CHAT, b"{").status == 400
    assert ask(sim.url, "/v1/nothing", {}).status == 404
    assert ask(sim.url, "/p/strict/v1/chat/completions", {**OPENAI_BODY, "model": "gpt-9"}).status == 404
    assert ask(sim.url, CHAT, OPENAI_BODY, headers={"authorization": ""}).status == 401
    assert ask(sim.url, CHAT, OPENAI_BODY, method="GET").status == 405
    with connect(sim.url) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 400")


def test_a_body_of_many_megabytes_arrives_whole(sim: Simulator) -> None:
    """The log has every byte."""
    body = {**OPENAI_BODY, "messages": [{"role": "user", "content": "x" * 12_000_000}]}
    assert ask(sim.url, CHAT, body).status == 200
    assert len(sim.requests[0].body) == len(json.dumps(body))


def test_a_slow_reader_holds_the_stream_back_and_then_gets_all_of_it(sim: Simulator) -> None:
    """Back-pressure: what does not fit the sockets waits, nothing is lost."""
    sim.set_faults([Fault("huge_event", bytes=8_000_000)])
    with connect(sim.url) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(chat_bytes(OPENAI_STREAM))
        sim.wait_for(lambda received: received.bytes_sent > 1_000_000)
        assert sim.requests[0].ended_unix_s is None
        reply = read_reply(sock)
    assert reply.frames()[-1] == "[DONE]"
    assert max(len(chunk) for chunk in reply.chunks) > 8_000_000


def test_the_log_is_bounded_by_number_and_by_bytes() -> None:
    """The oldest go first; the newest always stays."""
    with running_simulator(Scenario(keep_requests=3, keep_body_bytes=10_000)) as sim:
        for number in range(5):
            ask(sim.url, f"/p/n{number}{CHAT}", OPENAI_BODY)
        assert [received.provider for received in sim.requests] == ["n2", "n3", "n4"]
        ask(sim.url, CHAT, {**OPENAI_BODY, "user": "x" * 20_000})
        assert [received.provider for received in sim.requests] == ["openai"]


def test_no_secret_in_the_repr_of_a_request() -> None:
    """Neither key, nor query, nor words."""
    received = Received(
        "POST", "/v1/x?key=sk-secret", [(b"authorization", b"sk-secret")], b"my words", 0.0, key="sk-secret"
    )
    assert "sk-secret" not in repr(received)
    assert "words" not in repr(received)


def test_control_paths(sim: Simulator) -> None:
    """Faults are set, added, read and cleared over HTTP; requests are listed by provider, newest last."""

    def control(method: str, path: str, body=None):
        reply = ask(sim.url, path, body, method=method)
        return reply.status, reply.json()

    fault = {"kind": "status", "status": 429, "when": {"models": ["gpt-4*"]}}
    assert control("POST", "/_sim/faults", {"faults": [fault]}) == (200, {"faults": [fault]})
    control("POST", "/_sim/faults", {"replace": False, "faults": [{"kind": "crlf"}]})
    assert [one["kind"] for one in control("GET", "/_sim/faults")[1]["faults"]] == ["status", "crlf"]
    assert ask(sim.url, "/p/alpha/v1/chat/completions", OPENAI_BODY).status == 429
    assert control("DELETE", "/_sim/faults") == (200, {"faults": []})
    ask(sim.url, "/p/beta/v1/chat/completions", OPENAI_BODY)
    listed = control("GET", "/_sim/requests")[1]["requests"]
    assert [(row["provider"], row["status"], row["faults"]) for row in listed] == [
        ("alpha", 429, ["status"]),
        ("beta", 200, []),
    ]
    assert json.loads(listed[0]["body"]) == OPENAI_BODY
    assert len(control("GET", "/_sim/requests?provider=beta")[1]["requests"]) == 1
    assert control("GET", "/_sim/requests?limit=1")[1]["requests"][0]["provider"] == "beta"
    assert control("GET", "/_sim/requests?limit=0")[1]["requests"] == []
    assert control("DELETE", "/_sim/requests")[0] == 200
    assert control("GET", "/_sim/health") == (200, {"ok": True, "requests": 0})
    status, told = control("POST", "/_sim/faults", {"faults": [{"kind": "explode"}]})
    assert (status, "faults[0].kind" in told["error"]) == (400, True)
    assert control("GET", "/_sim/else")[0] == 404


def test_the_simulator_runs_inside_ones_own_loop() -> None:
    """start and stop, twice, with the plain asyncio loop too; no socket stays behind."""

    async def life() -> int:
        sim = Simulator()
        await sim.start()
        first = sim.url
        reader, writer = await asyncio.open_connection("127.0.0.1", int(first.rpartition(":")[2]))
        writer.write(chat_bytes(OPENAI_BODY))
        line = await reader.readline()
        await sim.stop()
        writer.close()
        return int(line.split()[1])

    assert asyncio.run(life()) == 200


def test_scenario_files_are_yaml_or_json_and_their_faults_are_named(tmp_path: Path) -> None:
    """A whole scenario loads; a wrong one says where."""
    path = tmp_path / "storm.yaml"
    path.write_text(
        "seed: 7\n"
        "keys: {alpha: [sk-1]}\n"
        "profiles:\n  'gpt-*': {ttft_ms: {p50: 300, p95: 900}, tokens_per_s: 60}\n"
        "providers:\n  beta: {unknown_fields: accept}\n"
        "faults:\n  - {kind: status, status: 503, when: {providers: [alpha], from_s: 20, to_s: 40}}\n"
    )
    scenario = load_scenario(path)
    assert scenario.faults[0].when.from_s == 20
    assert scenario.profile("alpha", "gpt-5").ttft_ms == Distribution(300, 900)
    path.write_text("faults: [{kind: status, statuss: 1}]")
    with pytest.raises(ValueError, match=r"statuss.*faults\[0\]"):
        load_scenario(path)
    other = tmp_path / "storm.json"
    other.write_text('{"seed": 3}')
    assert load_scenario(other).seed == 3


def test_the_command_serves_until_sigterm(tmp_path: Path) -> None:
    """One JSON line with the URL; faults by file; exit 0."""
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("faults: [{kind: status, status: 418}]")
    command = [
        sys.executable,
        "-m",
        "penstock.cli.simulate",
        "--port",
        "0",
        "--json",
        "--scenario",
        str(scenario),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        url = json.loads(process.stdout.readline())["url"]
        with urlopen(Request(f"{url}/_sim/health")) as reply:
            assert json.load(reply)["ok"] is True
        assert ask(url, CHAT, OPENAI_BODY).status == 418
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_the_documented_scenario_loads_and_every_fault_is_documented(tmp_path: Path) -> None:
    """The how-to's YAML is real, and its table names each kind there is."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "simulate-providers.md"
    text = page.read_text()
    path = tmp_path / "storm.yaml"
    path.write_text(text.partition("```yaml\n")[2].partition("```")[0])
    scenario = load_scenario(path)
    assert scenario.faults
    assert scenario.keys
    table = text.partition("| kind |")[2].partition("\n\n")[0]
    assert [kind for kind in get_args(FaultKind) if f"`{kind}`" not in table] == []


def test_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """For benches: started, asked, ended."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    with simulator_process("--seed", "3") as url:
        assert ask(url, CHAT, OPENAI_BODY).status == 200
    with pytest.raises(ConnectionRefusedError):
        connect(url)


def test_the_command_explains_what_it_cannot_do(tmp_path: Path) -> None:
    """A missing file and a port in use: exit 1 and a sentence."""
    command = [sys.executable, "-m", "penstock.cli.simulate", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    missing = subprocess.run(
        [*command, "--scenario", str(tmp_path / "none.yaml")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert (missing.returncode, "none.yaml" in missing.stderr) == (1, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command[-1] = str(taken.getsockname()[1])
        busy = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (busy.returncode, "cannot listen" in busy.stderr) == (1, True)


def test_the_greeting_names_every_dialect_and_an_address_to_use() -> None:
    """What is told as ``base_url`` is one: nothing that the gateway adds itself, and the how-to's table says the same."""
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.cli.simulate", "--port", "0"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(12)]
        process.terminate()
    root = lines[0].partition(". ")[0].rpartition(" ")[2]
    told = {line.split()[0].lower(): line.split()[1].removeprefix(root) for line in lines[1:]}
    assert told == {name: "/v1" if name in ("openai", "replicate", "jina") else "" for name in told}
    assert set(told) >= set(get_args(DialectName)) - {"responses"}
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "simulate-providers.md").read_text()
    table = page.partition("| dialect |")[2].partition("\n\n")[0]
    for row in table.splitlines()[2:-1]:
        names, url = row.strip("| ").split(" | ")
        assert {told[name.lower()] for name in names.split(", ")} == {
            url.strip("`")[len("http://127.0.0.1:9090") :]
        }
    assert {name for name in told if name not in table.lower()} == set()
