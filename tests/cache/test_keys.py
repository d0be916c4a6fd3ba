"""The canonical form and its keys: what can change an answer counts, what cannot does not; tenants have nothing in common."""

import base64
import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import ChatRequest, Document, Image, Message, Text, Tool
from penstock.base.embeddings import EmbeddingsRequest
from penstock.base.images import ImagesRequest
from penstock.cache.keys import IDLE_EXTRAS, Keys, canonical, surroundings
from tests.cache.asked import GROUP, anthropic, embeddings, form, gemini, openai, read, said

SECRET = bytes(range(32))
PIXEL = base64.b64encode(b"\x89PNG a picture").decode()
OTHER = base64.b64encode(b"\x89PNG another one").decode()
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a town.",
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["town"],
        },
    },
}


def shuffled(value: Any, chance: random.Random) -> Any:
    """The same JSON, its objects' keys in another order."""
    if isinstance(value, dict):
        keys = list(value)
        chance.shuffle(keys)
        return {key: shuffled(value[key], chance) for key in keys}
    if isinstance(value, list):
        return [shuffled(one, chance) for one in value]
    return value


def pictured(url: str, text: str = "What is this?", **more: Any) -> ChatRequest:
    part = {"type": "image_url", "image_url": {"url": url, **more}}
    return read(
        "openai",
        {
            "model": "m",
            "messages": [{"role": "user", "content": [{"type": "text", "text": text}, part]}],
        },
    )


# What peers got wrong (reference 1.4).


def test_case_is_not_folded__bifrost_lower_cases() -> None:
    assert form(openai("Explain Ls")) != form(openai("Explain ls"))


def test_byte_identical_requests_have_one_key__bifrost_2791() -> None:
    body = json.dumps({"model": "m", "tools": [TOOL], "messages": [{"role": "user", "content": "hi"}]})
    forms = {form(read("openai", body.encode())) for _ in range(20)}
    assert len(forms) == 1


@given(st.integers())
def test_the_order_of_keys_is_nothing__bifrost_2791(seed: int) -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [TOOL],
        "logit_bias": {"50256": -100, "11": 5},
        "temperature": 0.2,
    }
    assert form(read("openai", shuffled(body, random.Random(seed)))) == form(read("openai", body))


def test_system_prompt_is_compared_exactly__portkey() -> None:
    one = said(("system", "Answer in German."), ("user", "Describe a red mug."))
    two = said(("system", "Answer in French."), ("user", "Describe a red mug."))
    assert form(one) != form(two)
    assert surroundings(one, group=GROUP) != surroundings(two, group=GROUP)


def test_an_image_is_part_of_the_key__litellm() -> None:
    one, two = pictured(f"data:image/png;base64,{PIXEL}"), pictured(f"data:image/png;base64,{OTHER}")
    assert form(one) != form(two)
    assert surroundings(one, group=GROUP) != surroundings(two, group=GROUP)
    assert form(pictured("https://a.example/1.png")) != form(pictured("https://a.example/2.png"))


@pytest.mark.parametrize(
    "field",
    [
        {"temperature": 0.7},
        {"top_p": 0.5},
        {"top_k": 4},
        {"max_tokens": 7},
        {"n": 2},
        {"seed": 1},
        {"seed": 0},
        {"stop": ["\n"]},
        {"presence_penalty": 0.5},
        {"frequency_penalty": 0.5},
        {"logprobs": True, "top_logprobs": 2},
        {"tools": [TOOL]},
        {"tools": [TOOL], "tool_choice": "required"},
        {"tools": [TOOL], "tool_choice": "none"},
        {"tools": [TOOL], "parallel_tool_calls": False},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}},
        {"reasoning_effort": "high"},
        {"logit_bias": {"11": 5}},
        {"verbosity": "low"},
        {"a_field_of_the_future": 1},
    ],
    ids=str,
)
def test_temperature_tools_and_max_tokens_are_in_the_key__kong(field: dict[str, Any]) -> None:
    plain, told = openai(), openai(**field)
    assert form(told) != form(plain)
    assert surroundings(told, group=GROUP) != surroundings(plain, group=GROUP)


def test_tenants_have_no_equal_keys__vllm_sr_1448() -> None:
    keys = Keys(SECRET)
    asked = openai("What is my balance?")
    exact = {keys.exact_key(tenant, "", form(asked)) for tenant in ("ann", "bob", "ann ", "", "Ann")}
    parted = {keys.partition_key(tenant, "", asked, GROUP, "build", "") for tenant in ("ann", "bob", "")}
    assert len(exact) == 5
    assert len(parted) == 3


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()), st.binary(), st.binary())
def test_no_namespace_looks_like_another_scope__vllm_sr_2134(
    one: tuple[str, str], two: tuple[str, str], body: bytes, other: bytes
) -> None:
    keys = Keys(SECRET)
    same = keys.exact_key(*one, body) == keys.exact_key(*two, other)
    assert same == ((one, body) == (two, other))


def test_names_do_not_run_into_each_other() -> None:
    keys = Keys(SECRET)
    assert keys.exact_key("ab", "c", b"x") != keys.exact_key("a", "bc", b"x")
    assert keys.exact_key("a", "b", b"cx") != keys.exact_key("a", "bc", b"x")
    assert keys.partition("a", "n", b"x", "b1", "t") != keys.partition("a", "n", b"x", "b", "1t")


def test_another_embedder_is_another_partition__bifrost_and_apisix() -> None:
    keys, asked = Keys(SECRET), openai()
    found = {
        keys.partition_key("a", "", asked, GROUP, build, template)
        for build in ("minilm-int8", "minilm-fp32")
        for template in ("", "t1")
    }
    assert len(found) == 4


# What cannot change an answer.


@pytest.mark.parametrize(
    "field",
    [
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"user": "ann"},
        {"store": True},
        {"metadata": {"a": "b"}},
        {"safety_identifier": "x"},
        {"prompt_cache_key": "x"},
        {"prompt_cache_retention": "24h"},
        {"service_tier": "flex"},
        {"n": 1},
        {"temperature": None},
        {"logprobs": False},
        {"response_format": {"type": "text"}},
        {"tool_choice": "none"},
        {"model": "another-name-of-the-group"},
    ],
    ids=str,
)
def test_what_cannot_change_the_answer_is_not_in_the_key(field: dict[str, Any]) -> None:
    assert form(openai(**field)) == form(openai())


def test_what_is_done_unsaid_with_tools() -> None:
    assert form(openai(tools=[TOOL], tool_choice="auto", parallel_tool_calls=True)) == form(
        openai(tools=[TOOL])
    )


def test_numbers_are_one_however_written() -> None:
    assert form(openai(temperature=1)) == form(openai(temperature=1.0))
    assert form(openai(temperature=0)) == form(openai(temperature=-0.0))


def test_breakpoints_of_prompt_caching_are_not_in_the_key() -> None:
    def asked(**more: Any) -> ChatRequest:
        part = {"type": "text", "text": "Describe a red mug.", **more}
        return read(
            "anthropic", {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [part]}]}
        )

    assert form(asked(cache_control={"type": "ephemeral", "ttl": "1h"})) == form(asked())


def test_stop_sequences_are_a_set() -> None:
    assert form(openai(stop=["a", "b"])) == form(openai(stop=["b", "a", "b"]))
    assert form(openai(stop="a")) == form(openai(stop=["a"]))
    assert form(openai(stop=["ab"])) != form(openai(stop=["a", "b"]))


def test_the_order_of_messages_parts_and_tools_counts() -> None:
    one, two = said(("user", "a"), ("assistant", "b")), said(("assistant", "b"), ("user", "a"))
    assert form(one) != form(two)
    tools = (Tool("a"), Tool("b"))
    assert form(said(("user", "x"), tools=tools)) != form(said(("user", "x"), tools=tools[::-1]))
    joined = ChatRequest("m", (Message("user", (Text("ab"),)),))
    parts = ChatRequest("m", (Message("user", (Text("a"), Text("b"))),))
    assert form(joined) != form(parts)


def test_the_order_of_an_answers_schema_counts() -> None:
    """Fields of a structured answer are written in the schema's order."""

    def asked(*names: str) -> ChatRequest:
        schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
        return openai(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}})

    assert form(asked("reason", "verdict")) != form(asked("verdict", "reason"))


def test_text_is_compared_in_nfc() -> None:
    assert form(openai("caf\u00e9")) == form(openai("cafe\u0301"))
    assert form(openai("caf\u00e9")) != form(openai("cafe"))


def test_blanks_fall_away_only_at_the_end_of_what_people_say() -> None:
    assert form(openai("hi \n")) == form(openai("hi"))
    assert form(openai(" hi")) != form(openai("hi"))
    assert form(openai("a  b")) != form(openai("a b"))
    prefill, blank = (
        said(("user", "a"), ("assistant", words)) for words in ("The answer is", "The answer is ")
    )
    assert form(prefill) != form(blank)
    parts = [ChatRequest("m", (Message("user", (Text(first), Text("b"))),)) for first in ("a", "a ")]
    assert form(parts[0]) != form(parts[1])


def test_a_bare_prompt_is_not_a_conversation() -> None:
    def prompt(text: str) -> ChatRequest:
        return read("completions", {"model": "m", "prompt": text})

    assert form(prompt("def f():")) != form(openai("def f():"))
    assert form(prompt("def f():\n    ")) != form(prompt("def f():"))


# Media.


def test_a_picture_counts_by_its_bytes() -> None:
    whole = ChatRequest("m", (Message("user", (Image(data=PIXEL, mime="image/png"),)),))
    raw = form(whole)
    assert PIXEL.encode() not in raw
    assert form(pictured(f"data:image/png;base64,{PIXEL}", detail="auto")) == form(
        pictured(f"data:image/png;base64,{PIXEL}")
    )
    assert form(pictured(f"data:image/png;base64,{PIXEL}", detail="low")) != form(
        pictured(f"data:image/png;base64,{PIXEL}")
    )


def test_a_large_picture_does_not_make_a_large_form() -> None:
    data = base64.b64encode(bytes(3_000_000)).decode()
    assert len(form(ChatRequest("m", (Message("user", (Image(data=data, mime="image/png"),)),)))) < 400


def test_what_is_not_base64_is_told_apart_all_the_same() -> None:
    def asked(data: str) -> bytes:
        return form(ChatRequest("m", (Message("user", (Document(data=data, mime="application/pdf"),)),)))

    assert len({asked("AAAA"), asked("AAA"), asked("AAAA!!"), asked("A AAA"), asked("")}) == 5


# Dialects.


def test_openai_anthropic_and_gemini_ask_the_same() -> None:
    one = read(
        "openai",
        {
            "model": "gpt",
            "max_completion_tokens": 100,
            "temperature": 0.5,
            "stop": ["END"],
            "stream": True,
            "user": "ann",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello."},
                {"role": "user", "content": [{"type": "text", "text": "Describe a red mug."}]},
            ],
        },
    )
    two = read(
        "anthropic",
        {
            "model": "claude",
            "max_tokens": 100,
            "temperature": 0.5,
            "stop_sequences": ["END"],
            "metadata": {"user_id": "bob"},
            "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": [{"type": "text", "text": "Hello."}]},
                {"role": "user", "content": "Describe a red mug."},
            ],
        },
    )
    three = read(
        "gemini",
        {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "generationConfig": {"maxOutputTokens": 100, "temperature": 0.5, "stopSequences": ["END"]},
            "contents": [
                {"role": "user", "parts": [{"text": "Hi"}]},
                {"role": "model", "parts": [{"text": "Hello."}]},
                {"role": "user", "parts": [{"text": "Describe a red mug."}]},
            ],
        },
    )
    assert form(one) == form(two) == form(three)


def test_a_tool_loop_is_the_same_in_two_dialects_whatever_its_ids() -> None:
    function = TOOL["function"]
    assert isinstance(function, dict)
    call = {"name": "weather", "arguments": '{"town":"Oslo"}'}
    one = read(
        "openai",
        {
            "model": "m",
            "max_tokens": 50,
            "tools": [TOOL],
            "messages": [
                {"role": "user", "content": "Weather in Oslo?"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            ],
        },
    )
    two = read(
        "anthropic",
        {
            "model": "m",
            "max_tokens": 50,
            "tools": [
                {
                    "name": "weather",
                    "description": "Weather of a town.",
                    "input_schema": shuffled(function["parameters"], random.Random(3)),
                }
            ],
            "messages": [
                {"role": "user", "content": "Weather in Oslo?"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "tool_use", "id": "toolu_9", "name": "weather", "input": {"town": "Oslo"}}
                    ],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "toolu_9", "content": "rain"}],
                },
            ],
        },
    )
    assert form(one) == form(two)


def test_each_call_keeps_its_own_answer() -> None:
    def asked(first: str, second: str) -> ChatRequest:
        calls = [
            {"id": name, "type": "function", "function": {"name": "weather", "arguments": town}}
            for name, town in (("a", "Oslo"), ("b", "Rome"))
        ]
        answers = [
            {"role": "tool", "tool_call_id": first, "content": "rain"},
            {"role": "tool", "tool_call_id": second, "content": "sun"},
        ]
        return read(
            "openai",
            {
                "model": "m",
                "messages": [
                    {"role": "user", "content": "?"},
                    {"role": "assistant", "tool_calls": calls},
                    *answers,
                ],
            },
        )

    assert form(asked("a", "b")) != form(asked("b", "a"))


def test_another_dialects_own_fields_count() -> None:
    assert form(gemini(safetySettings=[{"category": "x", "threshold": "y"}])) != form(gemini())
    assert form(gemini(labels={"a": "b"})) == form(gemini())
    assert form(anthropic(context_management={"edits": []})) != form(anthropic())


# Partitions.


def test_a_partition_is_all_but_the_last_words_of_the_user() -> None:
    def asked(system: str, before: str, last: str) -> bytes:
        turns = (("system", system), ("user", before), ("assistant", "yes"), ("user", last))
        return surroundings(said(*turns), group=GROUP)

    assert asked("s", "a", "b") == asked("s", "a", "something else")
    assert asked("s", "a", "b") != asked("s", "c", "b")
    assert asked("s", "a", "b") != asked("t", "a", "b")


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_words_of_the_last_message_are_in_the_surroundings(one: str, two: str) -> None:
    assert surroundings(said(("user", one)), group=GROUP) == surroundings(said(("user", two)), group=GROUP)


def test_group_policy_and_version_count() -> None:
    asked = openai()
    found = {canonical(asked, group=group, policy=policy) for group in ("a", "b") for policy in ("", "1")}
    assert len(found) == 4


def test_a_template_class_hangs_on_no_users_words() -> None:
    keys = Keys(SECRET)
    one = said(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"))
    two = said(("system", "s"), ("user", "other"))
    assert keys.template_class("t", "", one, GROUP) == keys.template_class("t", "", two, GROUP)
    other = said(("system", "x"), ("user", "a"))
    assert keys.template_class("t", "", other, GROUP) != keys.template_class("t", "", one, GROUP)
    assert keys.template_class("u", "", one, GROUP) != keys.template_class("t", "", one, GROUP)


# Embeddings.


def test_embeddings_count_every_token() -> None:
    assert form(embeddings("a red mug")) != form(embeddings("a red mug "))
    assert form(embeddings("caf\u00e9")) != form(embeddings("cafe\u0301"))
    assert form(embeddings([1, 2])) != form(embeddings(["1", "2"]))
    assert form(embeddings(["a", "b"])) != form(embeddings(["b", "a"]))
    assert form(embeddings(dimensions=64)) != form(embeddings())
    assert form(embeddings(task="RETRIEVAL_QUERY")) != form(embeddings())


def test_how_vectors_are_wanted_does_not_count() -> None:
    assert form(embeddings(encoding_format="base64", user="ann")) == form(embeddings())


def test_a_text_alone_is_a_list_of_one() -> None:
    assert form(embeddings("a")) == form(embeddings(["a"]))


def test_a_picture_to_embed_counts_by_its_bytes() -> None:
    made = [EmbeddingsRequest("m", (Image(data=data, mime="image/png"),)) for data in (PIXEL, OTHER)]
    assert form(made[0]) != form(made[1])


def test_chat_and_embeddings_share_no_form() -> None:
    assert form(embeddings("hi")) != form(openai("hi"))


# Keys.


def test_other_operations_are_refused() -> None:
    with pytest.raises(TypeError, match="only chat and embeddings"):
        canonical(ImagesRequest(model="m", prompt="x"), group=GROUP)


def test_a_key_is_sixteen_bytes_and_needs_the_secret() -> None:
    raw = form(openai())
    key = Keys(SECRET).exact_key("t", "n", raw)
    assert len(key) == 16
    assert Keys(SECRET).exact_key("t", "n", raw) == key
    assert Keys(bytes(32)).exact_key("t", "n", raw) != key
    assert Keys(SECRET * 4).exact_key("t", "n", raw) != key


def test_the_secret_is_in_no_repr_and_must_be_one() -> None:
    keys = Keys(SECRET)
    assert SECRET.hex() not in repr(keys)
    assert repr(SECRET) not in repr(keys)
    assert len(keys.tenant_secret("a")) == 32
    assert keys.tenant_secret("a") != keys.tenant_secret("b")
    with pytest.raises(ValueError, match="needs 16"):
        Keys(b"short")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(max_size=6), JSON, max_size=4),
    st.dictionaries(st.text(max_size=6), JSON, max_size=4),
)
def test_two_schemas_have_one_form_only_if_they_are_one(one: dict[str, Any], two: dict[str, Any]) -> None:
    forms = [form(said(("user", "x"), tools=(Tool("f", "", schema),))) for schema in (one, two)]
    assert (forms[0] == forms[1]) == (json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True))


ROLES = st.sampled_from(["system", "user", "assistant"])
TURNS = st.lists(st.tuples(ROLES, st.text(alphabet="ab \n\u00e9e\u0301", max_size=5)), max_size=4)


@given(TURNS, TURNS)
def test_two_conversations_have_one_form_only_if_they_say_the_same(
    one: list[tuple[str, str]], two: list[tuple[str, str]]
) -> None:
    def plain(turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
        words = [(role, text.replace("e\u0301", "\u00e9")) for role, text in turns]
        return [(role, text if role == "assistant" else text.rstrip()) for role, text in words]

    assert (form(said(*one)) == form(said(*two))) == (plain(one) == plain(two))


def test_idle_extras_are_of_any_dialect() -> None:
    for name in IDLE_EXTRAS:
        assert form(said(("user", "x"), extras={"openai": {name: 1}})) == form(said(("user", "x")))


def test_the_form_is_json() -> None:
    found = msgspec.json.decode(form(openai(tools=[TOOL], temperature=0.2)))
    assert found["group"] == GROUP
    assert list(found) == sorted(found)
