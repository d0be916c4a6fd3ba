"""The built-in embedder for tests, opened once a run: the fixture ``embedder`` of tests/conftest.py.

Where its libraries or weights are not installed the tests are skipped with the reason, or fail: ``PENSTOCK_NEED_EMBEDDER=1``,
for machines that must have them. ``make test`` installs them.
"""

import os
from pathlib import Path
from typing import NoReturn

import pytest

from penstock.base.decisions import Rejected
from penstock.cache.embed import weights
from penstock.cache.embed.opening import inspect, open_embedder
from penstock.cache.ports import Embedder
from penstock.config.schema_cache import SemanticCacheConfig


def missing(reason: str) -> NoReturn:
    """Skip, or fail where the embedder must be there."""
    if os.environ.get("PENSTOCK_NEED_EMBEDDER") == "1":
        pytest.fail(f"PENSTOCK_NEED_EMBEDDER=1, and {reason}", pytrace=False)
    pytest.skip(reason)


def source() -> weights.Source:
    """Where the built-in model lies."""
    found = inspect(SemanticCacheConfig())
    if isinstance(found, Rejected):
        missing(found.reason)
    return found


def opened(folder: Path) -> Embedder:
    """The embedder; what it builds is kept under the folder."""
    source()
    found = open_embedder(SemanticCacheConfig(), environ={"XDG_CACHE_HOME": str(folder)})
    assert not isinstance(found, Rejected), found.reason
    return found
