"""What is charged beside tokens reaches the usage: searches of the web, whole and streamed, in every spelling."""

import json
from typing import Any

import pytest

from penstock.base.chat import Ask
from penstock.base.errors import UpstreamMalformed
from penstock.base.models import ModelFacts, Target
from penstock.base.usage import Usage
from penstock.dialects.anthropic import ANTHROPIC
from penstock.dialects.gemini import GEMINI
from penstock.dialects.gemini.grounding import Grounding
from penstock.dialects.openai_chat import OPENAI
from penstock.wire.sse import sse
from tests.dialects.test_service_tier import body, last_usage

TARGET = Target("p", "m", "openai", ModelFacts("p", "m"))
TOKENS = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CITED = [{"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}}]
Fees = tuple[tuple[str, int], ...]


def openai_usages(message: dict[str, Any], usage: dict[str, Any], *, first: bool = False) -> list[Usage]:
    """What the relay and the reader make of it: whole, and as a stream with the usage last (or first)."""
    whole = body(
        id="c", model="m", choices=[{"index": 0, "message": message, "finish_reason": "stop"}], usage=usage
    )
    says = body(id="c", model="m", choices=[{"index": 0, "delta": message}])
    ends = body(id="c", model="m", choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    counts = body(id="c", model="m", choices=[], usage=usage)
    order = (counts, says, ends, b"[DONE]") if first else (says, ends, counts, b"[DONE]")
    found: list[Usage] = []
    for data, stream in ((whole, False), (b"".join(map(sse, order)), True)):
        relay = OPENAI.relay(Ask("openai", b"", "m", stream=stream, include_usage=True), stream=stream)
        assert relay.feed(data) + relay.close() == data
        assert relay.usage is not None
        found += [relay.usage, last_usage(OPENAI, data, stream=stream)]
    return found


@pytest.mark.parametrize(
    ("said", "fees"),
    [
        ({"server_tool_use": {"web_search_requests": 3}}, (("web_search", 3),)),
        (
            {"server_tool_use_details": {"web_search_requests": 2, "tool_calls_executed": 2}},
            (("web_search", 2),),
        ),
        ({"server_tool_use": {"web_search_requests": 0}}, ()),
        ({"server_tool_use": None}, ()),
        ({"num_search_queries": 18, "citation_tokens": 200}, (("web_search", 18), ("citation", 200))),
        ({"search_context_size": "low"}, (("web_search:low", 1),)),
        ({"search_context_size": "high", "num_search_queries": 4}, (("web_search:high", 4),)),
        ({"num_sources_used": 7}, (("search_source", 7),)),
        ({"num_sources_used": 0}, ()),
        ({"num_search_queries": -1}, ()),
        ({}, ()),
    ],
)
def test_openai_compatible_servers_count_searches_in_their_own_words(
    said: dict[str, Any], fees: Fees
) -> None:
    """OpenRouter, Perplexity and xAI; the tokens are what they were."""
    for usage in openai_usages({"content": "Hi"}, TOKENS | said):
        assert usage.fees == fees
        assert (usage.input, usage.output, usage.note) == (3, 2, "")


@pytest.mark.parametrize("first", [False, True], ids=["usage last", "usage first"])
def test_a_cited_page_is_one_search(first: bool) -> None:
    """OpenAI's search models charge once a call and count nothing; the annotations show that they searched."""
    for usage in openai_usages({"content": "Hi", "annotations": CITED}, TOKENS, first=first):
        assert usage.fees == (("web_search", 1),)
    for usage in openai_usages({"content": "Hi", "annotations": []}, TOKENS, first=first):
        assert usage.fees == ()
    of_a_file = [{"type": "file", "file": {"name": "a.pdf"}}]
    for usage in openai_usages({"content": "Hi", "annotations": of_a_file}, TOKENS, first=first):
        assert usage.fees == ()


def test_a_count_of_searches_outweighs_cited_pages() -> None:
    """OpenRouter sends both; what it counted is what it did. xAI charges by source."""
    cited = {"content": "Hi", "annotations": CITED}
    for usage in openai_usages(cited, TOKENS | {"server_tool_use": {"web_search_requests": 4}}):
        assert usage.fees == (("web_search", 4),)
    for usage in openai_usages(cited, TOKENS | {"num_sources_used": 2}):
        assert usage.fees == (("search_source", 2),)


@pytest.mark.parametrize("odd", [{"server_tool_use": []}, {"search_context_size": 5}])
def test_an_odd_field_beside_the_tokens_costs_no_tokens(odd: dict[str, Any]) -> None:
    """A fee that cannot be read is not counted; the usage is not lost with it."""
    for usage in openai_usages({"content": "Hi"}, TOKENS | odd):
        assert (usage.input, usage.output, usage.fees) == (3, 2, ())


@pytest.mark.parametrize(
    ("said", "fees"),
    [
        ({"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}}, (("web_search", 2),)),
        ({"server_tool_use": {"web_search_requests": 0}}, ()),
        ({"server_tool_use": None}, ()),
    ],
)
def test_anthropic_counts_its_searches(said: dict[str, Any], fees: Fees) -> None:
    """In a stream the last word counts. Fetching a page has no price of its own."""
    usage = {"input_tokens": 3, "output_tokens": 2}
    message = {"type": "message", "id": "i", "model": "m", "content": [{"type": "text", "text": "Hi"}]}
    whole = body(**message, stop_reason="end_turn", usage=usage | said)
    assert last_usage(ANTHROPIC, whole, stream=False).fees == fees
    frames = (
        {"type": "message_start", "message": {**message, "content": [], "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2} | said},
        {"type": "message_stop"},
    )
    stream = b"".join(sse(body(**frame)) for frame in frames)
    assert last_usage(ANTHROPIC, stream, stream=True).fees == fees


@pytest.mark.parametrize(
    ("metadata", "fees"),
    [
        ({"webSearchQueries": ["a", "b", "a", ""]}, (("web_search", 2),)),
        ({"webSearchQueries": ["a"], "imageSearchQueries": ["b"]}, (("web_search", 2),)),
        (
            {"webSearchQueries": ["a"], "groundingChunks": [{"web": {"uri": "u"}}, {"maps": {}}]},
            (("web_search", 1), ("maps_grounding", 1)),
        ),
        (
            {"webSearchQueries": ["a", "b"], "groundingChunks": [{"maps": {"placeId": "p"}}]},
            (("maps_grounding", 2),),
        ),
        ({"googleMapsWidgetContextToken": "t"}, (("maps_grounding", 1),)),
        ({"groundingChunks": [{"retrievedContext": {}}]}, ()),
        ({"webSearchQueries": 5, "groundingChunks": [1, None]}, ()),
        ({}, ()),
        (None, ()),
    ],
)
def test_gemini_tells_its_queries(metadata: Any, fees: Fees) -> None:
    """Each distinct query once; the map's, where the sources are places. Whatever else stands there, the answer holds."""
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}
    candidate = {"content": {"parts": [{"text": "Hi"}]}, "groundingMetadata": metadata}
    whole = body(candidates=[{**candidate, "finishReason": "STOP"}], usageMetadata=counts)
    assert last_usage(GEMINI, whole, stream=False).fees == fees
    ends = body(candidates=[{"finishReason": "STOP"}], usageMetadata=counts)
    before = sse(body(candidates=[candidate])) + sse(ends)
    after = sse(body(candidates=[{}], usageMetadata=counts)) + sse(
        body(candidates=[{**candidate, "finishReason": "STOP"}])
    )
    for stream in (before, after):
        assert last_usage(GEMINI, stream, stream=True).fees == fees


def test_gemini_s_queries_of_several_chunks_are_joined() -> None:
    """The same query again is the same query."""
    seen = Grounding()
    for queries in (["a"], ["a", "b"], []):
        seen.see(json.dumps({"webSearchQueries": queries}).encode())
    assert seen.fees == (("web_search", 2),)
    seen.see(b'{"webSearchQueries":["\xff"]}')  # half a character of somebody's page
    assert seen.fees == (("web_search", 3),)
    with pytest.raises(UpstreamMalformed):
        seen.see(b'{"webSearchQueries":')
