"""OpenAI's legacy completions as its servers, and those that copy them, write them.

Source: openai-openapi 2.3.0 (CreateCompletionRequest/Response), read 2026-11.
"""

from typing import Any

import msgspec

from penstock.simulate.content import Answer, Asked, answer_to, grouped, tokens_in
from penstock.simulate.openai_rules import bad
from penstock.simulate.reply import Call, Frame, Frames, Kind
from penstock.simulate.untyped import as_int, as_list, as_object, as_text

_encode = msgspec.json.Encoder().encode
_DEFAULT_CAP = 16


def answers(body: dict[str, Any], call: Call) -> list[Answer]:
    """What the model says after each prompt, ``n`` times; what the vendor would refuse is refused."""
    if not as_text(body.get("model")):
        raise bad("you must provide a model parameter", None)
    prompt = body.get("prompt")
    if "messages" in body:
        raise bad("Unrecognized request argument supplied: messages", None)
    prompts = [prompt] if isinstance(prompt, str) else as_list(prompt)
    if prompts and not isinstance(prompts[0], str):
        prompts = [" ".join("word" for _ in prompts)]
    cap = as_int(body.get("max_tokens")) or _DEFAULT_CAP
    stop = body.get("stop")
    stops = (stop,) if isinstance(stop, str) else tuple(as_text(text) for text in as_list(stop))
    asked = [Asked(as_text(text), tokens_in(as_text(text)), cap, stops=stops) for text in prompts or [""]]
    return [answer_to(one, call) for one in asked for _ in range(as_int(body.get("n")) or 1)]


def whole(body: dict[str, Any], said: list[Answer], call: Call) -> bytes:
    """The reply that is not streamed."""
    prompts = as_list(body.get("prompt")) or [body.get("prompt")]
    choices: list[dict[str, Any]] = []
    for index, answer in enumerate(said):
        text = "".join(answer.text)
        if body.get("echo"):
            text = as_text(prompts[index * len(prompts) // len(said)]) + text
        choices.append(_choice(index, text, _finish(answer), answer.text if body.get("logprobs") else None))
    return _encode({**_facts(call), "choices": choices, "usage": _usage(said)})


def frames(body: dict[str, Any], said: list[Answer], call: Call) -> Frames:
    """The same as a stream."""
    wanted = as_object(body.get("stream_options")).get("include_usage") is True
    facts = {**_facts(call), **({"usage": None} if wanted else {})}
    for index, answer in enumerate(said):
        for text, tokens in grouped(answer.text, call.profile.tokens_per_event):
            yield Frame(Kind.CONTENT, _event({**facts, "choices": [_choice(index, text, None)]}), tokens)
    for index, answer in enumerate(said):
        yield Frame(Kind.FINISH, _event({**facts, "choices": [_choice(index, "", _finish(answer))]}))
    if wanted:
        yield Frame(Kind.USAGE, _event({**facts, "choices": [], "usage": _usage(said)}))
    yield Frame(Kind.DONE, b"data: [DONE]\n\n")


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + _encode(body) + b"\n\n"


def _facts(call: Call) -> dict[str, Any]:
    return {
        "id": f"cmpl-sim{call.serial:024d}",
        "object": "text_completion",
        "created": call.unix_s,
        "model": call.shown_model,
    }


def _choice(index: int, text: str, finish: str | None, tokens: list[str] | None = None) -> dict[str, Any]:
    logprobs = None
    if tokens is not None:
        logprobs = {
            "tokens": tokens,
            "token_logprobs": [-0.1] * len(tokens),
            "top_logprobs": None,
            "text_offset": [0] * len(tokens),
        }
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}


def _finish(answer: Answer) -> str:
    return {"length": "length", "filter": "content_filter"}.get(answer.stop, "stop")


def _usage(said: list[Answer]) -> dict[str, int]:
    prompt = said[0].usage.prompt_tokens
    completion = sum(answer.usage.completion_tokens for answer in said)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
