"""What is special about a large call: its long strings are apart from the rest of it, and nobody may notice.

The same through each inlet and to each upstream is in tests/dialects/test_slim_bodies.py; here it goes over sockets.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.base.errors import BadRequest
from penstock.dialects import CALLERS
from penstock.server.http1 import TURN_BYTES
from tests.behaviours.gateway import MODELS, THREE_DIALECTS, Gateway, chat, running_gateway

BOOK = 'A line of "words", été, 北京.\n' * 4_000
PDF = base64.b64encode(b"%PDF-1.4\n" + bytes(range(256)) * 5_000 + b"\n%%EOF\n").decode()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("large"), THREE_DIALECTS) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served


def asked(model: str, *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    content = [*parts, {"type": "text", "text": "ECHO salmon pool"}]
    return {"model": model, "messages": [{"role": "user", "content": content}], **more}


def file(data: str, mime: str = "application/pdf") -> dict[str, Any]:
    return {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:{mime};base64,{data}"}}


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_body_passes_through_byte_for_byte(gateway: Gateway, ascii_only: bool) -> None:
    """Its spaces, its order, its unknown fields, each escape as its caller has written it; in three calls on end."""
    value = asked(MODELS["openai"], file(PDF), {"type": "text", "text": BOOK}, temperature=1.5, user="été")
    body = json.dumps(value, ensure_ascii=ascii_only, indent=1).replace(": 1.5", "  :1.50").encode()
    for _ in range(3):
        assert gateway.post(body).text().strip() == "salmon pool"
        assert gateway.sim.requests[-1].body == body.replace(b'"openai/', b'"', 1)


@pytest.mark.parametrize("provider", MODELS)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_book_is_translated_as_it_is(gateway: Gateway, provider: str, ascii_only: bool) -> None:
    body = json.dumps(
        asked(MODELS[provider], file(PDF), {"type": "text", "text": BOOK}), ensure_ascii=ascii_only
    ).encode()
    assert gateway.post(body).text().strip() == "salmon pool"
    found = [word for word in _strings(gateway.sent()) if "北京" in word]
    assert found == [BOOK]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


@pytest.mark.parametrize("end", [b"", b"]", b"}", b'"', b"\\", b"\x00"])
def test_bad_json_is_told_with_its_own_position(gateway: Gateway, end: bytes) -> None:
    body = json.dumps(asked(MODELS["gemini"], file(PDF))).encode()[:-4] + end
    with pytest.raises(BadRequest) as told:
        CALLERS["openai"].read_request(body)
    answer = gateway.post(body)
    assert answer.status == 400
    assert answer.error["message"].startswith(told.value.message)
    assert gateway.sim.requests == []


@pytest.mark.parametrize("wrong", ["!", "-_é", "\\u0000"])
def test_bad_base64_in_the_middle_is_found(gateway: Gateway, wrong: str) -> None:
    """Where no reader of a slim body would see it."""
    half = PDF[: 500_000 - 500_000 % 4]
    body = json.dumps(asked(MODELS["anthropic"], file(PDF), file(f"{half}WRONG{half}"))).encode()
    answer = gateway.post(body.replace(b"WRONG", wrong.encode()))
    assert (answer.status, answer.error["code"]) == (400, "data-not-base64")
    assert answer.error["param"] == "messages[0].content[1]"
    assert gateway.sim.requests == []


@pytest.mark.parametrize(
    "wish", [{}, {"provider": {"require_parameters": True}}], ids=["", "require_parameters"]
)
def test_words_sent_as_a_file_are_read(gateway: Gateway, wish: dict[str, Any]) -> None:
    """Anthropic gets a text file as words: its base64 is decoded, which only the whole body allows."""
    words = base64.b64encode(BOOK.encode()).decode()
    answer = gateway.post(asked(MODELS["anthropic"], file(PDF), file(words, "text/plain"), **wish))
    assert answer.text().strip() == "salmon pool"
    assert BOOK in list(_strings(gateway.sent()))


def test_a_document_too_large_for_its_provider_is_refused_by_its_true_size(gateway: Gateway) -> None:
    data = PDF[:-4] * 45
    answer = gateway.post(asked(MODELS["gemini"], file(data)))
    assert (answer.status, answer.error["code"]) == (400, "document-too-large")
    assert "54.9 MB" in answer.error["message"]


def test_what_is_kept_is_kept_whole(gateway: Gateway) -> None:
    """A Response's input is listed as it came, and is there again in the next turn."""
    pdf = {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64," + PDF}
    book, short = ({"type": "input_text", "text": text} for text in (BOOK, "ECHO a"))
    given = [{"role": "user", "content": [pdf, book, short]}]
    first = gateway.post({"model": MODELS["anthropic"], "input": given}, "/v1/responses")
    assert first.status == 200
    items = gateway.get(f"/v1/responses/{first.json()['id']}/input_items").json()["data"]
    assert (items[0]["content"][0]["file_data"], items[0]["content"][1]["text"]) == (pdf["file_data"], BOOK)
    more = {"model": MODELS["gemini"], "input": "ECHO b", "previous_response_id": first.json()["id"]}
    assert gateway.post(more, "/v1/responses").status == 200
    assert {BOOK, PDF} <= set(_strings(gateway.sent()))


def test_the_loop_has_its_turns_meanwhile(gateway: Gateway) -> None:
    """Reading it and sending it on takes at least a turn a megabyte, however fast both sides are; each turn is everyone's."""
    body = json.dumps(asked(MODELS["openai"], file(PDF[:-4] * 16))).encode()
    loop, turns, over = gateway.loop, [0], [False]

    def turn() -> None:
        turns[0] += 1
        if not over[0]:
            loop.call_soon(turn)

    gateway.post(chat(MODELS["openai"], "ECHO before"))  # a connection is open
    gateway.inside(turn)
    before = turns[0]
    assert gateway.post(body).status == 200
    over[0] = True
    assert turns[0] - before >= 2 * (len(body) // TURN_BYTES)
