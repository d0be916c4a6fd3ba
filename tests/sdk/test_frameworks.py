"""langchain-openai, pydantic-ai and litellm as clients: real programs in an environment of their own."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.behaviours.gateway import THREE_DIALECTS, Gateway, running_gateway

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("PENSTOCK_FRAMEWORKS", ROOT / ".venv-frameworks")) / "bin" / "python"
KEY = "vk-caller-000000000006"
CONFIG = THREE_DIALECTS + "virtual_keys:\n  - {name: caller, key: env.CALLER_KEY}\n"
DOORS = ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"]
pytestmark = [
    pytest.mark.skipif(not PYTHON.exists(), reason=f"{PYTHON} is missing: `make test` makes it"),
    pytest.mark.timeout(180),
]
"""Importing them takes seconds, on a busy machine many."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("frameworks"), config=CONFIG) as running:
        yield running


def run(name: str, gateway: Gateway, model: str) -> dict[str, Any]:
    """What the program got."""
    program = ROOT / "tests" / "frameworks" / "program.py"
    done = subprocess.run(
        [str(PYTHON), str(program), name, gateway.url, KEY, model],
        capture_output=True, text=True, check=False, timeout=170,
        env={"PATH": "/usr/bin:/bin", "HOME": str(ROOT), "LANGSMITH_TRACING": "false", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("model", DOORS)
def test_langchain(gateway: Gateway, model: str):
    made = run("langchain", gateway, model)
    assert made["said"] == "Hello from LangChain"
    assert made["streamed"] == "one two three four five"
    assert made["tokens"] > 0
    assert made["tool"] == "weather"
    assert made["error"].endswith("AuthenticationError")
    assert made.get("vectors", 2) == 2


@pytest.mark.parametrize("model", DOORS)
def test_pydantic_ai(gateway: Gateway, model: str):
    made = run("pydantic_ai", gateway, model)
    assert made["said"] == "Hello from Pydantic AI"
    assert made["streamed"] == "one two three four five"
    assert made["shaped"] == "City"
    assert made["called"] == 1
    assert made["answered"]
    assert made["tokens"] > 0


@pytest.mark.parametrize("model", DOORS)
def test_litellm(gateway: Gateway, model: str):
    made = run("litellm", gateway, model)
    assert made["said"] == "Hello from LiteLLM"
    assert made["streamed"] == "one two three four five"
    assert made["tokens"] > 0
    assert made["error"].endswith("AuthenticationError")
