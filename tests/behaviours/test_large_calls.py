"""Calls above a megabyte, which are translated and spliced beside the loop: the same answers and refusals as small ones."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.behaviours.gateway import MODELS, THREE_DIALECTS, Gateway, at, chat, running_gateway

CONFIG = (
    THREE_DIALECTS
    + """
routes:
  - {id: either, primary: gemini/gemini-2.5-flash, fallbacks: [openai/gpt-4o-mini]}
"""
)
SMALL, FILLER = (
    base64.b64encode(b"%PDF-1.4\n" + b"penstock" * n + b"\n%%EOF\n").decode() for n in (8, 120_000)
)
each_size = pytest.mark.parametrize("filler", [SMALL, FILLER], ids=["small", "large"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("large"), CONFIG) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served


def asked(model: str, filler: str, **more: Any) -> dict[str, Any]:
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64," + filler}
    content = [{"type": "file", "file": file}, {"type": "text", "text": "ECHO salmon pool"}]
    return {"model": model, "messages": [{"role": "user", "content": content}], **more}


@each_size
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("provider", MODELS)
def test_every_dialect_gets_all_of_it(gateway: Gateway, provider: str, stream: bool, filler: str) -> None:
    answer = gateway.post(asked(MODELS[provider], filler, stream=stream, logit_bias={"7": 1}))
    assert answer.text().strip() == "salmon pool"
    assert filler in str(gateway.sent())
    assert ("logit_bias-dropped" in answer.headers.get("x-penstock-adjusted", "")) == (provider != "openai")


@each_size
def test_what_is_wrong_is_named(gateway: Gateway, filler: str) -> None:
    """Found beside the loop, told as ever, and nothing was sent."""
    answer = gateway.post(asked(MODELS["anthropic"], filler, temperature="hot"))
    assert (answer.status, answer.error["param"]) == (400, "temperature")
    assert gateway.sim.requests == []


@each_size
def test_a_fallback_of_another_dialect_gets_it_too(gateway: Gateway, filler: str) -> None:
    gateway.faults(at("gemini", "status", status=503))
    answer = gateway.post(asked("either", filler))
    assert answer.text().strip() == "salmon pool"
    assert [entry.status for entry in gateway.ledger(answer.request_id).entries] == [503, 200]


def test_small_calls_are_served_meanwhile(gateway: Gateway) -> None:
    """A large and a small call at once: each has its own answer."""
    with gateway.open(asked(MODELS["gemini"], FILLER)) as large:
        small = gateway.post(chat(MODELS["openai"], "ECHO heron"))
        assert small.text().strip() == "heron"
        assert large.rest().text().strip() == "salmon pool"
