"""``penstock demo`` shows the main job: an outage in the middle that no caller notices, read from the ledger."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.cli.terminal import in_terminal, plain
from tests.docs.blocks import ROOT

DEMO = [sys.executable, "-m", "penstock", "demo"]
ENV = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100"}


def test_nobody_notices_the_outage():
    """Exit 0, no call failed, some fell back, and it has cost something; the figures add up."""
    done = subprocess.run(
        [*DEMO, "--seconds", "3", "--json"], env=ENV, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["failed"] == 0
    assert said["unanswered"] == 0
    assert said["fell_back"] > 0
    assert said["cost_nusd"] > 0
    assert said["unknown_prices"] == 0
    assert {row["provider"] for row in said["providers"]} == {"openai", "anthropic", "gemini"}
    assert sum(row["attempts"] for row in said["providers"]) >= said["requests"]
    assert sum(row["cost_nusd"] for row in said["providers"]) == said["cost_nusd"]
    # While openai is open, most calls go straight to the next target: these have fallen back too.
    assert said["fell_back"] > sum(row["failed"] for row in said["providers"]) > 0
    assert 0 < said["added_p50_us"] <= said["added_p99_us"]


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_sees_it_live(columns):
    """The phase, all figures while they grow, and a summary that stays; nothing is cut, exit 0."""
    env = {name: value for name, value in ENV.items() if name not in ("COLUMNS", "NO_COLOR")}
    code, said = in_terminal([*DEMO, "--seconds", "2"], columns, {**env, "TERM": "xterm-256color"})
    assert code == 0, said
    shown = plain(said)
    phases = [shown.index(f"[{phase}]") for phase in ("calm", "outage of openai", "recovery")]
    assert phases == sorted(phases)
    for title in ("requests", "failed", "fell back", "cost", "added p50", "added p99", "median TTFT"):
        assert title in shown[: phases[1]]
    # What stays is behind the last frame.
    summary = shown[shown.rindex("all calls, read from the ledger") :]
    assert re.search(r"\d+ calls; 0 failed; [1-9]\d* answered by another attempt or provider", summary)
    assert "[recovery]" not in summary
    assert "…" not in shown
    assert max(map(len, summary.splitlines())) <= columns
    assert said.endswith("\r\n")
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")  # the cursor is back


def test_it_tells_people_what_happened_and_stays_if_asked():
    """Tables and sentences; with --stay a URL, and a curl that works as it stands, until it is told to end."""
    demo = subprocess.Popen(
        [*DEMO, "--seconds", "1.5", "--stay"],
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said, until_s = "", time.monotonic() + 40
        while "Ctrl-C" not in said and time.monotonic() < until_s:
            line = demo.stdout.readline()
            assert line, said
            said += line
        url = re.search(r"runs at (http://127\.0\.0\.1:\d+)", said)
        assert url is not None, said
        assert "read from the ledger" in said
        assert re.search(r"\d+ calls; 0 failed; \d+ answered by another attempt or provider", said), said
        assert re.search(r"\d+\.\d s: outage of openai", said), said
        command = re.search(r"^  curl .*?(?=\n\n)", said, re.MULTILINE | re.DOTALL)
        assert command is not None, said
        answer = subprocess.run(
            ["bash", "-c", command[0]], capture_output=True, text=True, timeout=20, check=True
        )
        assert json.loads(answer.stdout)["choices"][0]["message"]["content"]
        ledger = re.search(r"penstock (cost --by model --db .+)$", said, re.MULTILINE)
        assert ledger is not None, said
        cost = subprocess.run(
            [sys.executable, "-m", "penstock", *ledger[1].split()],
            env=ENV, capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        assert "openai/gpt-4o-mini" in cost.stdout
        probe = f"import urllib.request as r; print(r.urlopen('{url[1]}/ready').status)"
        done = subprocess.run(
            [sys.executable, "-c", probe], capture_output=True, text=True, timeout=20, check=True
        )
        assert done.stdout.strip() == "200"
        demo.send_signal(signal.SIGINT)
        assert demo.wait(20) == 0
    finally:
        demo.kill()
        demo.communicate()


def test_a_busy_port_is_said_without_a_traceback():
    """Exit 1 and the gateway's own sentence."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*DEMO, "--seconds", "1", "--port", port],
            env=ENV,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert done.returncode == 1
    assert f"port {port}: it is in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_it_leaves_no_process_behind(tmp_path, number):
    """Also in the middle of the replay, and when the terminal is closed: gateway and simulator go with it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    demo = subprocess.Popen(
        [*DEMO, "--seconds", "50", "--port", str(port)],
        env={**ENV, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert _listens(port, wanted=True)
        demo.send_signal(number)
        assert demo.wait(30) == 1
        assert _listens(port, wanted=False)
        assert list(tmp_path.iterdir()) == []
    finally:
        demo.kill()
        demo.wait()


def _listens(port: int, *, wanted: bool) -> bool:
    """Whether the port comes to be as wanted."""
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        with socket.socket() as probe:
            if (probe.connect_ex(("127.0.0.1", port)) == 0) is wanted:
                return True
        time.sleep(0.05)
    return False
