"""The official Node.js clients, ``openai`` and ``@anthropic-ai/sdk``, through the gateway, to each dialect.

Each is a program of tests/node, run by Node.js against a gateway and simulated providers on real sockets; it says the name
of every part that passed, and ends with an error at the first that did not. ``make test`` installs the packages by their lock.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviours.gateway import SECRETS, THREE_DIALECTS, Gateway, running_gateway

NODE = Path(__file__).parent.parent / "node"
CONFIG = (
    THREE_DIALECTS
    + """
  responses:
    dialect: responses
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/responses/v1", retry: {max_retries: 0}}
virtual_keys:
  - {name: caller, key: env.CALLER_KEY}
"""
)
DOORS = (
    "openai/gpt-4o-mini",
    "anthropic/claude-haiku-4-5",
    "gemini/gemini-2.5-flash",
    "responses/gpt-4o-mini",
)
THINKERS = ("anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash", "responses/gpt-5-mini")
PARTS = {
    "openai": ("chat", "stream", "two_tools", "tools_in_a_stream"),
    "anthropic": ("messages", "stream", "two_tools"),
}
installed = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE / "node_modules").is_dir(),
    reason="THE NODE.JS CLIENTS ARE NOT TESTED: it takes Node.js 20 or newer, and `npm ci` in tests/node (`make test` runs it)",
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("node"), CONFIG) as served:
        yield served


def passed(gateway: Gateway, program: str) -> list[str]:
    """The parts that the program says have passed, in order; it must have ended well."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "PENSTOCK_URL": gateway.url,
        "PENSTOCK_KEY": SECRETS["CALLER_KEY"],
        "PENSTOCK_DOORS": ",".join(DOORS),
        "PENSTOCK_THINKERS": ",".join(THINKERS),
    }
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        [node, str(NODE / f"{program}.mjs")],
        env=env,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, f"after {done.stdout.splitlines()[-1:]}: {done.stderr}"
    return done.stdout.splitlines()


@installed
def test_the_openai_package(gateway: Gateway) -> None:
    """Chat, streams, two tools whole and streamed, and the classes of its errors."""
    expected = [f"{door} {part}" for door in DOORS for part in PARTS["openai"]]
    assert passed(gateway, "openai") == [*expected, "errors"]


@installed
def test_the_anthropic_package(gateway: Gateway) -> None:
    """Messages, streams, two tools, thoughts that go back signed, and the classes of its errors."""
    expected = [f"{door} {part}" for door in DOORS for part in PARTS["anthropic"]]
    assert passed(gateway, "anthropic") == [*expected, *(f"{door} thinking" for door in THINKERS), "errors"]
