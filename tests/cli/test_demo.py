"""``penstock demo`` shows the main job: an outage in the middle that no caller notices, read from the ledger."""

import json
import os
import re
import signal
import subprocess
import sys
import time

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
    assert sum(row["attempts"] for row in said["providers"]) >= said["requests"] + said["fell_back"]
    assert sum(row["cost_nusd"] for row in said["providers"]) == said["cost_nusd"]
    assert sum(row["failed"] for row in said["providers"]) > 0
    assert 0 < said["added_p50_us"] <= said["added_p99_us"]


def test_it_tells_people_what_happened_and_stays_if_asked():
    """A table and a sentence; with --stay a URL that answers, until it is told to end."""
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
        assert re.search(r"\d+ calls; 0 failed; \d+ fell back", said), said
        assert "curl" in said
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
