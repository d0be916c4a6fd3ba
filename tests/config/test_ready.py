"""Types are made ready once: threads that convert to one at once read the same, and do not end the process.

Each round is a process of its own, for only the first conversion of a type is in danger; its threads change places after every
few instructions. Without ``ready`` most rounds end in a segmentation fault (msgspec 0.22.0, 2026-11-22).
"""

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.config import load
from penstock.config.catalogue import Catalogue
from penstock.config.schema import Config
from penstock.registry import objects
from penstock.registry.objects import Registry, Stored, merge

ROUND = """
import sys, threading
import msgspec
from penstock.base.ready import ready
from penstock.config.schema import Config

limits = {"budgets": [{"limit_usd": 1}]}
document = {
    "organisations": [{"name": "a"}], "teams": [{"name": "b", **limits}],
    "virtual_keys": [{"name": "k", "key": "env.K", "users": [{"name": "*"}]}],
}
barrier, found = threading.Barrier(6), []

def read():
    barrier.wait()
    try:
        ready(Config)
        found.append(msgspec.convert(document, Config))
    except BaseException as error:
        found.append(repr(error))

threads = [threading.Thread(target=read) for _ in range(6)]
sys.setswitchinterval(1e-6)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(0 if found == [msgspec.convert(document, Config)] * 6 else str(found))
"""


@pytest.mark.parametrize("number", range(3))
def test_threads_that_convert_at_once_read_the_same(number: int):
    ended = subprocess.run(
        [sys.executable, "-c", ROUND], capture_output=True, text=True, timeout=50, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, ""), number


def test_whoever_reads_a_configuration_makes_it_ready_first(monkeypatch: pytest.MonkeyPatch):
    """A file's reader and the reader of what was made at run time, which run in two threads."""
    asked: list[object] = []
    monkeypatch.setattr(load, "ready", asked.append)
    monkeypatch.setattr(objects, "ready", asked.append)
    assert load.load_text("{}", Path(), {}, Catalogue.load(), "2026-11-22").faults == []
    stored = Stored(kind="team", name="made", fields={}, created_ms=0, updated_ms=0)
    assert merge(Config(), Registry(objects=(stored,)), lambda _config: []).left_out == {}
    assert asked == [Config, Config]
