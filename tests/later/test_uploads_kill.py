"""kill -9 of a real gateway with files at a provider: the next process finds them, and deletes what nobody knows of."""

import base64
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from penstock.simulate import Simulator, running_simulator
from tests.later.test_kill import CHAT, until
from tests.server.process import GatewayProcess

CONFIG = """
providers:
  gemini:
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "%s/p/gemini", retry: {max_retries: 0}}
    uploads: {when: large, min_bytes: 1_048_576}
"""
KEYS = {"GEMINI_KEY": "AIzaTest000000000000000000000000000004"}
SLOW = {"kind": "slow_head", "ms": 60_000, "when": {"dialects": ["gemini_files"], "after": 1}}


def asked(mark: str) -> dict[str, Any]:
    data = base64.b64encode(b"%PDF-1.4 " + mark.encode() * 2_000_000).decode()
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64," + data}
    content = [{"type": "file", "file": file}, {"type": "text", "text": "ECHO read"}]
    return {"model": "gemini/gemini-2.5-flash", "messages": [{"role": "user", "content": content}]}


def brought(sim: Simulator) -> int:
    return sum("upload_id=" in one.path for one in sim.requests)


def test_killed_with_a_file_there_and_one_on_its_way(tmp_path: Path):
    """What was told of is used again; what was not is deleted by the name that it was given."""
    with running_simulator() as sim:
        with GatewayProcess(tmp_path, CONFIG % sim.url, KEYS) as first:
            assert first.ask(CHAT, asked("a"), timeout_s=30).status == 200
            sim.set_faults([SLOW])
            with ThreadPoolExecutor(1) as beside:
                cut = beside.submit(first.ask, CHAT, asked("b"), timeout_s=60)
                until(lambda: brought(sim) == 2)
                first.signal(signal.SIGKILL)
                first.join()
                assert cut.result().ended in ("eof", "reset")
        sim.set_faults([])
        assert len(sim.files.held()) == 2
        with GatewayProcess(tmp_path, CONFIG % sim.url, KEYS) as second:
            assert second.ask(CHAT, asked("a"), timeout_s=30).status == 200
            assert brought(sim) == 2
            with sqlite3.connect(tmp_path / "penstock.db", timeout=10) as ledger:
                ledger.execute("UPDATE objects SET due_ms = 1 WHERE kind = 'upload'")
            until(lambda: sim.files.held() == [])
