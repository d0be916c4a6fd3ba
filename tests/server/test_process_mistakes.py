"""What an operator gets wrong, or has no patience for: ``penstock serve`` says what to do instead."""

import shutil
import signal
import socket
from collections.abc import Iterator

import pytest

from penstock.simulate import Simulator, running_simulator
from tests.server.process import GatewayProcess, command
from tests.server.test_process import CONFIG, KEYS, PACED, Streams, config_of, rows, running


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """One simulator for all processes of this file."""
    with running_simulator(PACED) as simulator:
        yield simulator


def refused(tmp_path, config: str, *options: str) -> dict:
    """The only fault of a start that failed."""
    gateway = GatewayProcess(tmp_path, config, KEYS, *options)
    gateway.start()
    assert gateway.join() == 1
    return gateway.wait_for("config.fault")


def test_a_second_signal_ends_the_drain(tmp_path, sim):
    """Ctrl-C twice: what runs is cut at once, recorded and billed, instead of after drain_timeout_ms."""
    with GatewayProcess(tmp_path, config_of(sim).replace("5000", "600000"), KEYS) as gateway:
        streams = Streams(gateway, 2)
        running(sim, 2)
        gateway.signal(signal.SIGINT)
        assert "second" in gateway.wait_for("draining")["again"]
        gateway.signal(signal.SIGINT)
        assert gateway.join() == 0
        assert gateway.wait_for("stopped")["cut_calls"] is True
        assert {reply.ended for reply in streams.wait()} <= {"eof", "reset"}
    assert rows(gateway, "SELECT class FROM entries") == [("billed_not_delivered",)] * 2


def test_a_busy_port_and_a_foreign_address_are_told_apart(tmp_path, sim):
    """The fault stands at the field that is wrong, as an error."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = refused(tmp_path, config_of(sim), "--port", str(taken.getsockname()[1]))
    assert (busy["level"], "$.server.port" in busy["fault"], "in use" in busy["fault"]) == (
        "error",
        True,
        True,
    )
    foreign = refused(tmp_path, config_of(sim), "--host", "203.0.113.7", "--open")["fault"]
    assert foreign.startswith("$.server.host: 203.0.113.7")
    assert "--host" in foreign


def test_a_reload_says_what_waits_for_a_restart(tmp_path, sim):
    """Address and ledger are read at the start only: a reload that changes them says so, and serves on as before."""
    with GatewayProcess(tmp_path, config_of(sim), KEYS) as gateway:
        changed = config_of(sim).replace("server: {", "server: {port: 9, ") + "ledger: {flush_ms: 99}\n"
        gateway.config.write_text(changed, encoding="utf-8")
        gateway.signal(signal.SIGHUP)
        assert gateway.wait_for("reload.needs_restart")["path"] == "$.server.port"
        assert gateway.wait_for("reload.needs_restart", 2)["path"] == "$.ledger"
        gateway.wait_for("reload.done")
        assert gateway.chat().status == 200


def test_a_refused_reload_logs_every_fault(tmp_path, sim):
    """After SIGHUP the log is all that the operator sees: not the first fault only."""
    with GatewayProcess(tmp_path, config_of(sim), KEYS) as gateway:
        gateway.config.write_text(CONFIG.replace("anthropic:", "antropic:") + "routs: []\n", encoding="utf-8")
        gateway.signal(signal.SIGHUP)
        assert gateway.wait_for("reload.refused")["level"] == "error"
        gateway.wait_for("config.fault", gateway.wait_for("reload.refused")["faults"])
        told = " ".join(one["fault"] for one in gateway.events if one["event"] == "config.fault")
        assert "$.providers.antropic" in told
        assert "$.routs" in told


def test_after_a_clean_stop_the_ledger_is_one_file(tmp_path, sim):
    """Who copies penstock.db after the process has ended copies all of it: no write-ahead log is left beside it."""
    with GatewayProcess(tmp_path, config_of(sim), KEYS) as gateway:
        request_id = gateway.chat().headers["x-request-id"]
        assert gateway.terminate() == 0
    assert [path.name for path in tmp_path.glob("penstock.db*")] == ["penstock.db"]
    copied = shutil.copy(gateway.db, tmp_path / "copy.db")
    assert command("explain", request_id, "--db", str(copied)).returncode == 0


def test_a_hint_names_no_provider_that_is_not_configured(tmp_path, sim):
    """A caller is not told to try what would be refused again."""
    with GatewayProcess(tmp_path, config_of(sim), KEYS) as gateway:
        unknown = gateway.chat(model="gemini/gemini-2.5-flash")
        assert unknown.status == 404
        assert "Did you mean" not in unknown.json()["error"]["message"]
        near = gateway.chat(model="gpt-4o-minni").json()["error"]["message"]
        assert "Did you mean gpt-4o-mini" in near
