"""Random histories: Google would take each, and nothing of them disappears without a word."""

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import (
    ChatRequest,
    Image,
    Message,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from penstock.base.models import ModelFacts, Target
from penstock.dialects.gemini import GEMINI, VERTEX
from penstock.dialects.gemini.history import DUMMY_SIGNATURE
from tests.dialects.gemini_oracle import check_body, check_turns

GOOGLE = "google-gemini-v1"
IDS = st.sampled_from(["a", "b", "c"])


def marked(letter: str) -> st.SearchStrategy[str]:
    """A word that is found again: valid base64 too, so that it can stand for data and signatures."""
    return st.integers(0, 9_999_999).map(lambda n: f"{letter}{n:07d}")


TEXTS = st.builds(Text, text=st.just("") | marked("T"))
IMAGES = st.builds(Image, data=marked("I"), mime=st.just("image/png"))
ARGUMENTS = marked("A").map(lambda word: json.dumps({"k": word})) | st.sampled_from(
    ["", "{bad", "[1]", "null"]
)
CALLS = st.builds(ToolCall, id=IDS, name=st.sampled_from(["f", "g"]), arguments=ARGUMENTS)
THOUGHTS = st.builds(
    Thinking,
    text=st.just("") | marked("H"),
    signature=st.just("") | marked("S"),
    format=st.sampled_from([GOOGLE, GOOGLE, "anthropic-claude-v1", "unknown"]),
    tool_id=st.just("") | IDS,
)
RESULTS = st.builds(
    ToolResult,
    id=IDS,
    name=st.sampled_from(["f", "g"]),
    text=marked("R") | marked("R").map(lambda word: json.dumps({"k": word})),
    is_error=st.booleans(),
    images=st.lists(IMAGES, max_size=1).map(tuple),
)


def messages_of(role: str, parts: st.SearchStrategy[Part]) -> st.SearchStrategy[Message]:
    return st.lists(parts, max_size=4).map(lambda found: Message(role, tuple(found)))


MESSAGES = st.one_of(
    messages_of("system", TEXTS),
    messages_of("user", TEXTS | IMAGES),
    messages_of("assistant", TEXTS | CALLS | THOUGHTS | IMAGES),
    st.lists(THOUGHTS | CALLS, min_size=1, max_size=4).map(lambda found: Message("assistant", tuple(found))),
    RESULTS.map(lambda result: Message("tool", (result,))),
    RESULTS.map(lambda result: Message("tool", (result,))),
)
HISTORIES = st.lists(MESSAGES, min_size=3, max_size=9).map(tuple) | st.lists(
    MESSAGES, min_size=1, max_size=2
).map(tuple)
MODELS = st.sampled_from(["gemini-2.5-flash", "gemini-3-flash", "gemini-3.8-flash", "gemini-2.0-flash"])


def written(history: tuple[Message, ...], model: str, vertex: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    dialect = VERTEX if vertex else GEMINI
    target = Target("g", model, dialect.name, ModelFacts("g", model), options={"project": "p"})
    wire = dialect.write_request(ChatRequest("m", history), target, "KEY")
    return json.loads(wire.body), wire.adjusted


@given(HISTORIES, MODELS, st.booleans())
def test_google_would_take_it(history, model, vertex):
    """Known names only, roles in turn, as many responses as calls, in their order."""
    body, _ = written(history, model, vertex)
    check_body(body, vertex=vertex)
    check_turns(body["contents"])


@given(HISTORIES, MODELS)
def test_nothing_disappears_silently(history, model):
    """Every word, picture, argument, result and signature is in the body, or its loss is reported."""
    body, adjusted = written(history, model, vertex=False)
    kept = set(re.findall(r"[TIAHSR]\d{7}", json.dumps(body)))
    for message in history:
        for part in message.parts:
            words = set(re.findall(r"[TIAHSR]\d{7}", repr(part)))
            lost = words - kept
            if not lost:
                continue
            assert isinstance(part, Thinking), f"{part} is gone"
            if part.format == GOOGLE:
                assert lost == {part.signature}
                assert "thought-signature-dropped" in adjusted
            else:
                assert "thinking-stripped" in adjusted


@given(HISTORIES, MODELS)
def test_bad_arguments_are_reported(history, model):
    """Arguments that are no JSON object go as {}, and it is said."""
    body, adjusted = written(history, model, vertex=False)
    bad = [
        part
        for message in history
        for part in message.parts
        if isinstance(part, ToolCall) and part.arguments in ("{bad", "[1]", "null")
    ]
    assert bool(bad) == ("tool-arguments-replaced" in adjusted)
    for content in body["contents"]:
        for part in content["parts"]:
            assert isinstance(part.get("functionCall", {}).get("args", {}), dict)


@given(HISTORIES, MODELS)
def test_ids_and_signatures_by_generation(history, model):
    """Before 3 no ids; from 3 on ids, and in the current turn a signature on the first call of each step."""
    body, adjusted = written(history, model, vertex=False)
    new = model.startswith("gemini-3")
    for content in body["contents"]:
        for part in content["parts"]:
            call = part.get("functionCall") or part.get("functionResponse")
            if call is not None:
                assert ("id" in call) == new
    turn = 0
    for place, content in enumerate(body["contents"]):
        if content["role"] == "user" and any("functionResponse" not in part for part in content["parts"]):
            turn = place
    dummies = 0
    for place, content in enumerate(body["contents"]):
        signed = [part.get("thoughtSignature") for part in content["parts"] if "functionCall" in part]
        dummies += signed.count(DUMMY_SIGNATURE)
        if new and signed and place > turn:
            assert signed[0]
    assert (dummies > 0) == ("thought-signature-skipped" in adjusted)


def test_behaviour_16_a_reply_read_and_returned_is_the_same_parts():
    """Thought, signed text and signed call come back as Google sent them (3: ids too)."""
    parts = (
        Thinking("Hmm", "", GOOGLE),
        Thinking("", "QQ==", GOOGLE),
        Text("Hi"),
        Thinking("", "Qg==", GOOGLE, tool_id="x"),
        ToolCall("x", "f", '{"b":1,"a":2}'),
        ToolCall("y", "f", "{}"),
    )
    history = (Message("user", (Text("q"),)), Message("assistant", parts))
    body, adjusted = written(
        (*history, Message("tool", (ToolResult("x", "f", "1"),))), "gemini-3-flash", vertex=False
    )
    assert body["contents"][1]["parts"] == [
        {"text": "Hmm", "thought": True},
        {"text": "Hi", "thoughtSignature": "QQ=="},
        {"functionCall": {"id": "x", "name": "f", "args": {"b": 1, "a": 2}}, "thoughtSignature": "Qg=="},
        {"functionCall": {"id": "y", "name": "f", "args": {}}},
    ]
    assert [part["functionResponse"]["response"] for part in body["contents"][2]["parts"]] == [
        {"output": "1"},
        {"error": "No result was given for this call."},
    ]
    assert adjusted == ("tool-result-synthesised",)


def test_signature_that_the_fold_joined_goes_to_the_text():
    """Callers put reasoning first; a signature without text to carry stands in an empty part, as Google sends it."""
    joined = Message("assistant", (Thinking("Hmm", "QQ==", GOOGLE), Text("Hi")))
    alone = Message("assistant", (Text("Hi"), Thinking("", "QQ==", GOOGLE), Thinking("", "Qg==", GOOGLE)))
    user = Message("user", (Text("q"),))
    first, _ = written((user, joined, user), "gemini-3-flash", vertex=False)
    assert first["contents"][1]["parts"] == [
        {"text": "Hmm", "thought": True},
        {"text": "Hi", "thoughtSignature": "QQ=="},
    ]
    second, _ = written((user, alone, user), "gemini-3-flash", vertex=False)
    assert second["contents"][1]["parts"] == [
        {"text": "Hi", "thoughtSignature": "QQ=="},
        {"text": "", "thoughtSignature": "Qg=="},
    ]


def test_pictures_in_results_go_inside_from_3_on_and_beside_before():
    history = (
        Message("user", (Text("q"),)),
        Message("assistant", (ToolCall("x", "f", "{}"),)),
        Message(
            "tool", (ToolResult("x", "f", '{"ok":true}', images=(Image(data="iVBORw0=", mime="image/png"),)),)
        ),
    )
    picture = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0="}}
    old, said = written(history, "gemini-2.5-flash", vertex=False)
    answer = {"functionResponse": {"name": "f", "response": {"ok": True}}}
    assert old["contents"][2]["parts"] == [answer, picture]
    assert "tool-result-image-moved" in said
    new, _ = written(history, "gemini-3-flash", vertex=False)
    assert new["contents"][2]["parts"][0]["functionResponse"]["parts"] == [picture]


def test_system_messages_lead_or_are_said_by_the_user():
    system = Message("system", (Text("Be brief."),))
    only, said = written((system, Message("system", (Text("Say hi."),))), "gemini-2.5-flash", vertex=False)
    assert only["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert only["contents"] == [{"role": "user", "parts": [{"text": "<system>\nSay hi.\n</system>"}]}]
    assert said == ("system-message-as-user",)


def test_calls_of_earlier_turns_need_no_signature():
    """Only the current turn is checked by Google; the cache's prefix stays as it was."""
    step = (
        Message("assistant", (ToolCall("x", "f", "{}"),)),
        Message("tool", (ToolResult("x", "f", "1"),)),
    )
    user = Message("user", (Text("q"),))
    body, said = written((user, *step, user, *step), "gemini-3-flash", vertex=False)
    signed = [part for content in body["contents"] for part in content["parts"] if "functionCall" in part]
    assert [part.get("thoughtSignature") for part in signed] == [None, DUMMY_SIGNATURE]
    assert said == ("thought-signature-skipped",)


def test_results_of_one_id_answer_its_calls_in_order():
    """A model that reuses ids within a turn: first come, first matched; one too many becomes text."""
    history = (
        Message("user", (Text("q"),)),
        Message("assistant", (ToolCall("x", "f", "{}"), ToolCall("x", "g", "{}"))),
        *(Message("tool", (ToolResult("x", "f", word),)) for word in ("one", "two", "three")),
    )
    body, said = written(history, "gemini-2.5-flash", vertex=False)
    assert body["contents"][2]["parts"] == [
        {"functionResponse": {"name": "f", "response": {"output": "one"}}},
        {"functionResponse": {"name": "g", "response": {"output": "two"}}},
        {"text": "Result of f: three"},
    ]
    assert said == ("tool-result-as-text",)


def test_calls_at_the_end_are_answered():
    """A history that ends in a call: the result is synthesised, and it is said."""
    history = (Message("user", (Text("q"),)), Message("assistant", (ToolCall("x", "f", "{}"),)))
    body, said = written(history, "gemini-2.5-flash", vertex=False)
    check_turns(body["contents"])
    assert body["contents"][-1]["role"] == "user"
    assert said == ("tool-result-synthesised",)
