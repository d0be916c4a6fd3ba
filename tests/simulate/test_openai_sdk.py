"""The official ``openai`` client, pointed straight at the simulator, understands all it says."""

import json
from collections.abc import Iterator

import openai
import pytest
from pydantic import BaseModel

from penstock.simulate import Profile, ProviderSettings, Scenario, Simulator, running_simulator

SCENARIO = Scenario(
    keys={"locked": ["right-key"]},
    providers={
        "local": ProviderSettings(unknown_fields="accept", reasoning_field="reasoning_content"),
        "padded": ProviderSettings(obfuscation=True),
        "narrow": ProviderSettings(models=("gpt-4*",)),
    },
    profiles={
        "gpt-long": Profile(output_tokens=40, tokens_per_event=7),
        "gpt-knows": Profile(text="Who knows?", answers={"Why?": "Because.", "How so?": "Because."}),
    },
)
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
            "required": ["city"],
        },
    },
}
NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with running_simulator(SCENARIO) as sim:
        yield sim


@pytest.fixture(autouse=True)
def _fresh(sim: Simulator) -> None:
    sim.clear()


def client(sim: Simulator, provider: str = "alpha", key: str = "sk-test") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{sim.provider_url(provider)}/v1", api_key=key, max_retries=0)


def say(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_a_completion_with_usage(sim: Simulator) -> None:
    """Text, finish reason, ids and consistent usage; the simulator saw the client's own headers."""
    with client(sim) as openai_client:
        reply = openai_client.chat.completions.with_raw_response.create(
            model="gpt-4o-mini", messages=say("ECHO hi there")
        )
    whole = reply.parse()
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("hi there", "stop")
    assert (whole.object, whole.model) == ("chat.completion", "gpt-4o-mini")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert reply.headers["x-request-id"].startswith("req_")
    received = sim.requests[0]
    assert (received.provider, received.dialect, received.model, received.key) == (
        "alpha",
        "openai",
        "gpt-4o-mini",
        "sk-test",
    )
    assert received.headers["x-stainless-lang"] == "python"
    assert json.loads(received.body)["messages"] == say("ECHO hi there")


def test_the_same_request_gets_the_same_answer_streamed_or_not(sim: Simulator) -> None:
    """Answers are derived from the request; a stream is the same words."""
    with client(sim) as c:
        first = c.chat.completions.create(model="gpt-4o-mini", messages=say("one")).choices[0].message.content
        again = c.chat.completions.create(model="gpt-4o-mini", messages=say("one")).choices[0].message.content
        chunks = list(c.chat.completions.create(model="gpt-4o-mini", messages=say("one"), stream=True))
    assert first == again == "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


def test_stream_usage_comes_in_a_chunk_without_choices(sim: Simulator) -> None:
    """include_usage: null on every chunk but the last, which has no choices."""
    with client(sim) as c:
        chunks = list(
            c.chat.completions.create(
                model="gpt-long", messages=say("hi"), stream=True, stream_options={"include_usage": True}
            )
        )
    assert [chunk.choices for chunk in chunks].count([]) == 1
    assert chunks[-1].usage.completion_tokens == 40
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len([c for c in chunks if c.choices and c.choices[0].delta.content]) == 6


def test_parallel_tool_calls_streamed_keep_index_id_and_whole_arguments(sim: Simulator) -> None:
    """The SDK's own accumulator ends with two calls whose arguments fit the schema; an empty schema gives {}."""
    with (
        client(sim) as c,
        c.chat.completions.stream(
            model="gpt-4o-mini", messages=say("CALL_TOOLS 2"), tools=[WEATHER, NOW]
        ) as stream,
    ):
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "now"]
    assert json.loads(calls[0].function.arguments) == {"city": "value-0", "days": 3}
    assert calls[1].function.arguments == "{}"
    assert len({call.id for call in calls}) == 2
    assert final.choices[0].finish_reason == "tool_calls"


def test_a_forced_tool_and_its_result(sim: Simulator) -> None:
    """A named tool is called without being asked in words; its result is quoted in the next answer."""
    with client(sim) as c:
        forced = {"type": "function", "function": {"name": "now"}}
        asked = c.chat.completions.create(
            model="gpt-4o-mini", messages=say("hi"), tools=[WEATHER, NOW], tool_choice=forced
        )
        message = asked.choices[0].message
        history = [*say("hi"), message.model_dump(exclude_none=True, exclude={"annotations"})]
        history.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "noon"})
        answer = c.chat.completions.create(model="gpt-4o-mini", messages=history, tools=[WEATHER, NOW])
    assert message.content is None
    assert answer.choices[0].message.content == "The tools said: noon"


def test_a_json_schema_is_satisfied(sim: Simulator) -> None:
    """The SDK's parse helper accepts what comes."""

    class Mill(BaseModel):
        name: str
        wheels: int
        tags: list[str]

    with client(sim) as c:
        parsed = c.chat.completions.parse(model="gpt-4o-mini", messages=say("hi"), response_format=Mill)
    assert isinstance(parsed.choices[0].message.parsed, Mill)


def test_images_reasoning_and_cached_tokens_are_counted(sim: Simulator) -> None:
    """Each has its place in usage; prompt includes cached, completion includes reasoning."""
    picture = [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    with client(sim) as c:
        plain = c.chat.completions.create(model="gpt-5", messages=say("hi")).usage
        seen = c.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": picture}]).usage
        thought = c.chat.completions.create(model="gpt-5", messages=say("hi"), reasoning_effort="high").usage
        cached = c.chat.completions.create(model="gpt-5-cached", messages=say("hi" * 200)).usage
    assert seen.prompt_tokens > plain.prompt_tokens + 200
    assert thought.completion_tokens_details.reasoning_tokens == 64
    assert thought.completion_tokens == plain.completion_tokens + 64
    assert 0 < cached.prompt_tokens_details.cached_tokens < cached.prompt_tokens


def test_cap_stop_refusal_and_filter(sim: Simulator) -> None:
    """Each way to stop has its finish reason."""
    with client(sim) as c:

        def first(text: str, **more):
            return c.chat.completions.create(model="gpt-4o-mini", messages=say(text), **more).choices[0]

        capped = first("SAY_TOKENS 50", max_tokens=5)
        assert (capped.finish_reason, len(capped.message.content.split())) == ("length", 5)
        stopped = first("ECHO one two three", stop=["two"])
        assert (stopped.finish_reason, stopped.message.content.strip()) == ("stop", "one")
        refused = first("REFUSE_ANSWER")
        assert (refused.message.content, bool(refused.message.refusal)) == (None, True)
        assert first("FILTER_ANSWER").finish_reason == "content_filter"
        starved = c.chat.completions.create(
            model="gpt-5", messages=say("hi"), reasoning_effort="high", max_completion_tokens=20
        )
        assert (starved.choices[0].finish_reason, starved.choices[0].message.content) == ("length", "")
        assert starved.usage.completion_tokens_details.reasoning_tokens == 20
        cut = first("CALL_TOOL", tools=[WEATHER], max_tokens=3)
        assert cut.finish_reason == "length"


def test_several_choices_interleave_by_index(sim: Simulator) -> None:
    """n=2: both indexes arrive, each whole."""
    with client(sim) as c:
        chunks = list(
            c.chat.completions.create(model="gpt-4o-mini", messages=say("ECHO a b"), n=2, stream=True)
        )
    texts = {0: "", 1: ""}
    for chunk in chunks:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == {0: "a b", 1: "a b"}


def test_errors_raise_the_clients_own_classes(sim: Simulator) -> None:
    """429 with its headers, 401 for a wrong key, 404 for a model not served, 500."""
    with client(sim) as c:
        sim.set_faults([{"kind": "status", "status": 429, "retry_after_s": 2}])
        with pytest.raises(openai.RateLimitError) as limited:
            c.chat.completions.create(model="gpt-4o-mini", messages=say("hi"))
        assert limited.value.response.headers["retry-after"] == "2"
        assert limited.value.code == "rate_limit_exceeded"
        sim.set_faults([{"kind": "status", "status": 500}])
        with pytest.raises(openai.InternalServerError):
            c.chat.completions.create(model="gpt-4o-mini", messages=say("hi"))
        sim.set_faults([{"kind": "error_mid_stream", "after": 1}])
        with pytest.raises(openai.APIError, match="server had an error"):
            list(c.chat.completions.create(model="gpt-4o-mini", messages=say("hi"), stream=True))
    sim.set_faults([])
    with client(sim, "locked", "wrong-key") as c, pytest.raises(openai.AuthenticationError) as denied:
        c.chat.completions.create(model="gpt-4o-mini", messages=say("hi"))
    assert denied.value.code == "invalid_api_key"
    with client(sim, "narrow") as c, pytest.raises(openai.NotFoundError):
        c.chat.completions.create(model="gpt-5", messages=say("hi"))


def test_the_clients_own_retries_outlive_two_failures(sim: Simulator) -> None:
    """``first: 2`` with retry-after-ms: the third attempt succeeds."""
    sim.set_faults(
        [
            {
                "kind": "status",
                "status": 503,
                "retry_after_s": 0.001,
                "retry_after_as": "ms",
                "when": {"first": 2},
            }
        ]
    )
    with client(sim).with_options(max_retries=2) as c:
        assert c.chat.completions.create(model="gpt-4o-mini", messages=say("hi")).choices
    assert [received.status for received in sim.requests] == [503, 503, 200]


def test_vendor_rules(sim: Simulator) -> None:
    """What OpenAI refuses, with its code; an OpenAI-compatible server takes unknown fields."""
    with client(sim) as c:

        def refused(**more) -> openai.BadRequestError:
            asked = {"model": "gpt-4o-mini", "messages": say("hi")} | more
            with pytest.raises(openai.BadRequestError) as caught:
                c.chat.completions.create(**asked)
            return caught.value

        cap = refused(model="gpt-5", max_tokens=5)
        assert (cap.code, cap.param) == ("unsupported_parameter", "max_tokens")
        assert refused(model="o3-mini", temperature=0.5).code == "unsupported_value"
        assert "models" in refused(extra_body={"models": ["a"]}).message
        assert "stream_options" in refused(stream_options={"include_usage": True}).message
        assert refused(tool_choice="auto").param == "tool_choice"
        assert "word 'json'" in refused(response_format={"type": "json_object"}).message
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        unanswered = [*say("hi"), {"role": "assistant", "tool_calls": [call]}, *say("so?")]
        assert "c1" in refused(messages=unanswered).message
        orphan = [*say("hi"), {"role": "tool", "tool_call_id": "c1", "content": "x"}]
        assert "preceeding message" in refused(messages=orphan).message
    with client(sim, "local") as c:
        reply = c.chat.completions.create(
            model="qwen3", messages=say("hi"), reasoning_effort="low", extra_body={"repetition_penalty": 1.1}
        )
        assert reply.choices[0].message.model_extra["reasoning_content"]


def test_obfuscation_only_where_configured(sim: Simulator) -> None:
    """Padding is off by default, and can be switched off by the caller."""
    with client(sim, "padded") as c:
        padded = list(c.chat.completions.create(model="gpt-4o", messages=say("hi"), stream=True))
        bare = list(
            c.chat.completions.create(
                model="gpt-4o", messages=say("hi"), stream=True, stream_options={"include_obfuscation": False}
            )
        )
    assert all("obfuscation" in chunk.to_dict() for chunk in padded)
    assert not any("obfuscation" in chunk.to_dict() for chunk in bare)


def test_models_are_listed(sim: Simulator) -> None:
    """The client's own pagination reads it."""
    with client(sim) as c:
        assert "gpt-4o-mini" in [model.id for model in c.models.list()]


def test_a_model_knows_which_questions_mean_the_same(sim: Simulator) -> None:
    """``answers`` by the last user message, streamed or not; other questions get the profile's own text."""
    before = [*say("Why?"), {"role": "assistant", "content": "So."}]
    with client(sim) as openai_client:
        for question, answer in (("Why?", "Because."), ("How so?", "Because."), ("Why not?", "Who knows?")):
            asked = {"model": "gpt-knows", "messages": [*before, *say(question)]}
            whole = openai_client.chat.completions.create(**asked)
            assert whole.choices[0].message.content == answer
            chunks = openai_client.chat.completions.create(**asked, stream=True)
            said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
            assert "".join(said) == answer
