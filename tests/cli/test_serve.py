"""``penstock serve`` as a process: it says all its faults and exits 1, or listens, drains and exits 0."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.config.make import FIXTURES
from tests.house.source import ROOT

KEYS = {name: f"value-of-{name}" for name in ("OPENAI_KEY_PRIMARY", "OPENAI_KEY_BACKUP", "ANTHROPIC_KEY")}
ENV = {**{k: v for k, v in os.environ.items() if k not in KEYS}, "PYTHONPATH": str(ROOT / "src")}


def serve(folder: Path, *words: str, keys: Mapping[str, str] = KEYS) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "penstock", "serve", "--json", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**ENV, **keys},
    )


def refused(folder: Path, *words: str, keys: Mapping[str, str] = KEYS) -> list[str]:
    """The faults that were said by a gateway that would not start."""
    with serve(folder, *words, keys=keys) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, ""), err
    events = [json.loads(line) for line in err.splitlines()]
    assert {event["event"] for event in events} == {"config.fault"}
    return [event["fault"] for event in events]


def test_a_faulty_configuration_is_said_whole_and_exits_1(tmp_path):
    """Every fault is a line; nothing listens, and no ledger is made."""
    faults = refused(tmp_path, "--config", str(FIXTURES / "chain.yaml"), "--port", "0", keys={})
    assert [fault.partition(":")[0] for fault in faults] == [
        "$.providers.openai.keys[0].value",
        "$.providers.openai.keys[1].value",
        "$.providers.anthropic.keys[0].value",
    ]
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_opened_is_said(tmp_path):
    """No file, no directory for the ledger, a port in use, a host open to all: each a sentence and exit 1."""
    config = ("--config", str(FIXTURES / "chain.yaml"))
    assert "There is no file penstock.yaml" in refused(tmp_path)[0]
    (said,) = refused(tmp_path, *config, "--port", "0", "--db", str(tmp_path / "no" / "where.db"))
    assert said.startswith("$.ledger.path: ")
    assert "cannot be opened" in said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (said,) = refused(
            tmp_path, *config, "--port", str(taken.getsockname()[1]), "--db", str(tmp_path / "x.db")
        )
    assert said.startswith("$.server.port: cannot listen on 127.0.0.1")
    (said,) = refused(tmp_path, *config, "--port", "0", "--host", "0.0.0.0")
    assert "open to others" in said
    assert "--open" in said


def test_a_broken_service_account_is_a_fault_and_no_traceback(tmp_path):
    """The file reads as one, and its key is none: known when the house is built."""
    (tmp_path / "sa.json").write_text(
        '{"client_email": "a@b", "private_key": "-----BEGIN PRIVATE KEY-----\\nbm90aGluZw==\\n-----END PRIVATE KEY-----"}'
    )
    (tmp_path / "penstock.yaml").write_text(
        "providers: {vertex: {project: p, location: global, credentials: 'file:sa.json'}}"
    )
    (said,) = refused(tmp_path, "--port", "0", "--db", str(tmp_path / "x.db"))
    assert said.startswith("$.providers.vertex.credentials: ")
    assert "bm90aGluZw" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_listens_reloads_and_ends_cleanly(tmp_path, number):
    """A line with its URL, an answer on it, a reload that is refused, exit 0 after the signal, and a ledger."""
    path = tmp_path / "penstock.yaml"
    # Nobody is reached: the gateway warms its connections when it starts.
    network = 'network: {base_url: "http://127.0.0.1:9/v1"}'
    path.write_text(
        f"providers: {{openai: {{keys: [{{value: env.ANTHROPIC_KEY}}], {network}}}}}\nserver: {{port: 0}}\n"
    )
    with serve(tmp_path) as process:
        try:
            event = json.loads(process.stderr.readline())
            while event["event"] != "listening":
                event = json.loads(process.stderr.readline())
            with urlopen(f"{event['url']}/health", timeout=10) as reply:
                assert reply.status == 200
            path.write_text("providers: 7")
            process.send_signal(signal.SIGHUP)
            event = json.loads(process.stderr.readline())
            while event["event"] != "reload.refused":
                event = json.loads(process.stderr.readline())
            assert "$.providers" in event["first"]
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, out) == (0, "")
    assert [json.loads(line)["event"] for line in err.splitlines()][-1] == "stopped"
    assert (tmp_path / "penstock.db").exists()
