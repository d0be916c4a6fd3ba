"""The neutral request -> ``generateContent``: refusals, path, headers, body.

Rules
- What Google would answer with a 400 is refused before the call, with the caller's field named, or left out and
  reported; nothing disappears silently (``WireRequest.adjusted``).
- AI Studio stores requests by default since 2026-10-26: ``store: false`` always, unless the caller asked to store.
- Vertex v1 takes exactly: cachedContent, contents, continuationToken, generationConfig, labels, modelArmorConfig,
  outputConfig, safetySettings, systemInstruction, toolConfig, tools (discovery revision 20261106). Anything else is a
  400 "Unknown name", so ``store`` and ``serviceTier`` never go there.
"""

import re
from typing import Any
from urllib.parse import quote

import msgspec

from penstock.base.chat import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    ResponseFormat,
    Tool,
    ToolCall,
    ToolResult,
    Video,
)
from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest
from penstock.base.models import Target
from penstock.dialects.gemini import native, thinking
from penstock.dialects.gemini.history import write_history
from penstock.dialects.gemini.media import media_part
from penstock.dialects.gemini.models import Rules, bare_name, rules
from penstock.dialects.gemini.schema import to_openapi_subset
from penstock.wire.http import Headers, WireRequest

Json = dict[str, Any]
_ENCODE = msgspec.json.Encoder().encode
_FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}\Z")
_MAX_STOPS = 5
MOST_ANSWERS = 8
"""``candidateCount`` (Gemini API reference, GenerationConfig; read 2026-11)."""
_SERVED_BY_US = frozenset({"stream_options", "metadata"})
"""OpenAI fields that the gateway itself honours: the provider need not see them."""
_BARE_SCHEMA = frozenset(
    {"type", "properties", "required", "additionalProperties", "title", "description", "$schema"}
)


# -- refusals


def refuse(request: ChatRequest, target: Target, vertex: bool) -> Rejected | None:
    """Why this target cannot take the request as it stands, or None."""
    if vertex and not target.options.get("project"):
        return Rejected("vertex-project-missing", f"{target.name} has no `project` in its configuration.")
    own = rules(target.model, vertex)
    verdict = thinking.plan(request.reasoning, own, target.facts)
    if isinstance(verdict, Rejected):
        return verdict
    return (
        native.refuse(request.extras.get("gemini", {}), vertex)
        or _refuse_numbers(request, own)
        or _refuse_tools(request)
        or _refuse_messages(request.messages, own)
    )


def _refuse_numbers(request: ChatRequest, own: Rules) -> Rejected | None:
    most = MOST_ANSWERS if own.several else 1
    if request.n is not None and not 1 <= request.n <= most:
        return _fault(
            "n-unsupported", f"{own.name} gives at most {most} answers a call; n is {request.n}.", "n"
        )
    if len(request.stop) > _MAX_STOPS:
        return _fault(
            "stop-too-many",
            f"Gemini takes at most {_MAX_STOPS} stop sequences; {len(request.stop)} were given.",
            "stop",
        )
    return None


def _refuse_tools(request: ChatRequest) -> Rejected | None:
    for index, tool in enumerate(request.tools):
        if not _FUNCTION_NAME.match(tool.name):
            return _fault(
                "tool-name-unsupported",
                f"Gemini's function names begin with a letter or underscore, then letters, digits and _ . : - "
                f"up to 128 in all; {tool.name[:40]!r} does not.",
                f"tools[{index}].function.name",
            )
    choice = request.tool_choice
    if choice is not None and choice.mode == "named" and request.tools:
        unknown = set(choice.names) - {tool.name for tool in request.tools}
        if unknown:
            return _fault(
                "tool-choice-unknown",
                f"The chosen tool {min(unknown)[:40]!r} is not among the tools.",
                "tool_choice",
            )
    return None


def _refuse_messages(messages: tuple[Message, ...], own: Rules) -> Rejected | None:
    if not messages:
        return _fault("messages-empty", "Gemini needs at least one message.", "messages")
    called: set[str] = set()
    for index, message in enumerate(messages):
        for place, part in enumerate(message.parts):
            param = f"messages[{index}].content[{place}]"
            match part:
                case Image() | Document() | Audio() | Video():
                    pictures: tuple[Image | Document | Audio | Video, ...] = (part,)
                case ToolResult(id=call_id, name=name, images=images):
                    if not name and call_id not in called:
                        return _fault(
                            "tool-result-unknown",
                            f"The tool result {call_id[:60]!r} answers no call of this conversation.",
                            f"messages[{index}].tool_call_id",
                        )
                    pictures = images
                case ToolCall(id=call_id):
                    called.add(call_id)
                    continue
                case _:
                    continue
            for picture in pictures:
                verdict = media_part(picture, own.vertex)
                if isinstance(verdict, Rejected):
                    return msgspec.structs.replace(verdict, param=param)
    last = messages[-1]
    if last.role == "assistant" and not own.prefill and not _calls(last):
        return _fault(
            "prefill-unsupported",
            f"{own.name} does not continue an assistant's message; end with a user's.",
            f"messages[{len(messages) - 1}]",
        )
    return None


def _calls(message: Message) -> bool:
    return any(isinstance(part, ToolCall) for part in message.parts)


def _fault(code: str, reason: str, param: str) -> Rejected:
    return Rejected(code, reason, param=param, caller_fault=True)


# -- the request


def write_request(request: ChatRequest, target: Target, credential: str, vertex: bool) -> WireRequest:
    """The provider's request."""
    own = rules(target.model, vertex)
    adjusted: list[str] = []
    history = write_history(request.messages, own, adjusted)
    body: Json = {"contents": history.contents}
    if history.system:
        body["systemInstruction"] = {"parts": history.system}
    _write_tools(request, own, body, adjusted)
    config = _config(request, target, own, adjusted)
    if config:
        body["generationConfig"] = config
    _write_account(request, own, body, adjusted)
    native.place(request.extras.get("gemini", {}), body, vertex, adjusted)
    _note_the_rest(request, adjusted)
    return WireRequest(
        method=b"POST",
        path=path_of(
            target, vertex, "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        ),
        headers=request_headers(credential, vertex, stream=request.stream),
        body=_ENCODE(body),
        adjusted=tuple(dict.fromkeys(adjusted)),
    )


def path_of(target: Target, vertex: bool, verb: str) -> bytes:
    """Where one of the model's methods is; ``verb`` may hold a query."""
    model = quote(bare_name(target.model), safe="")
    if not vertex:
        return f"/v1beta/models/{model}:{verb}".encode()
    project = quote(target.options.get("project", ""), safe="")
    location = quote(target.options.get("location") or "global", safe="")
    base = f"/v1/projects/{project}/locations/{location}/publishers/google/models"
    return f"{base}/{model}:{verb}".encode()


def request_headers(credential: str, vertex: bool, *, stream: bool) -> Headers:
    """What goes with every call."""
    secret = credential.encode("latin-1", "replace")
    return [
        (b"content-type", b"application/json"),
        (b"accept", b"text/event-stream" if stream else b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"authorization", b"Bearer " + secret) if vertex else (b"x-goog-api-key", secret),
    ]


# -- tools


def _write_tools(request: ChatRequest, own: Rules, body: Json, adjusted: list[str]) -> None:
    choice = request.tool_choice
    if not request.tools:
        if choice is not None and choice.mode in ("required", "named"):
            adjusted.append("tool_choice-dropped")  # a toolConfig without tools is a 400
        return
    body["tools"] = [{"functionDeclarations": [_declaration(one, own, adjusted) for one in request.tools]}]
    calling: Json = {}
    if choice is not None:
        calling["mode"] = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}[choice.mode]
        if choice.mode == "named":
            calling["allowedFunctionNames"] = list(choice.names)
    if any(tool.strict for tool in request.tools):
        # Google holds calls to their schemas in modes ANY and VALIDATED only, and promises less than `strict`.
        adjusted.append("strict-approximated" if own.validated_mode else "strict-dropped")
        if own.validated_mode and calling.get("mode", "AUTO") == "AUTO":
            calling["mode"] = "VALIDATED"
    if calling:
        body["toolConfig"] = {"functionCallingConfig": calling}
    if request.parallel_tool_calls is False:
        adjusted.append("parallel_tool_calls-dropped")  # Google has no switch for it


def _declaration(tool: Tool, own: Rules, adjusted: list[str]) -> Json:
    made: Json = {"name": tool.name}
    if tool.description:
        made["description"] = tool.description
    if tool.cache is not None:
        adjusted.append("cache_control-dropped")
    if tool.parameters is not None and not _takes_nothing(tool.parameters):
        if own.json_schema:
            made["parametersJsonSchema"] = tool.parameters
        else:
            made["parameters"], lossy = to_openapi_subset(tool.parameters)
            if lossy:
                adjusted.append("tool-schema-approximated")
    return made


def _takes_nothing(schema: Json) -> bool:
    """An object without properties: a 400 if sent, and the same as no parameters at all."""
    closed = not schema.get("additionalProperties")
    return not schema.get("properties") and closed and _BARE_SCHEMA.issuperset(schema)


# -- generationConfig


def _config(request: ChatRequest, target: Target, own: Rules, adjusted: list[str]) -> Json:
    config: Json = {}
    if request.max_tokens is not None:
        # Google's cap includes the thoughts, as OpenAI's max_completion_tokens does. Without reasoning asked, no
        # budget is set to protect the cap: no reasoning asked = nothing sent; MAX_TOKENS then says what happened.
        config["maxOutputTokens"] = request.max_tokens
    if request.n is not None and request.n > 1:
        config["candidateCount"] = request.n
    _sampling(request, own, config, adjusted)
    if request.stop:
        config["stopSequences"] = list(request.stop)
    if request.response_format is not None:
        _format(request.response_format, bool(request.tools), own, config, adjusted)
    _resolution(request.messages, config, adjusted)
    verdict = thinking.plan(request.reasoning, own, target.facts)
    if isinstance(verdict, Rejected):  # refuse() says so first; this is for who did not ask it
        raise BadRequest(verdict.reason, param=verdict.param)
    adjusted.extend(verdict.value.adjusted)
    if verdict.value.config is not None:
        config["thinkingConfig"] = verdict.value.config
    return config


def _sampling(request: ChatRequest, own: Rules, config: Json, adjusted: list[str]) -> None:
    for field, name, value in (
        ("temperature", "temperature", request.temperature),
        ("top_p", "topP", request.top_p),
        ("top_k", "topK", request.top_k),
    ):
        if value is not None:
            config[name] = value
            if not own.sampling:
                adjusted.append(f"{field}-ignored")
    for field, name, value in (
        ("presence_penalty", "presencePenalty", request.presence_penalty),
        ("frequency_penalty", "frequencyPenalty", request.frequency_penalty),
    ):
        if value is not None and own.penalties:
            config[name] = value
        elif value:  # 0 is the default: nothing is lost
            adjusted.append(f"{field}-dropped")
    if request.seed is not None:
        config["seed"] = request.seed
        if not -(2**31) <= request.seed < 2**31:  # an int32 at Google; the same caller's seed stays the same
            config["seed"] = request.seed & 0x7FFFFFFF
            adjusted.append("seed-approximated")


def _format(wanted: ResponseFormat, tools: bool, own: Rules, config: Json, adjusted: list[str]) -> None:
    if wanted.kind == "text":
        return
    if tools and not own.tools_with_json:
        adjusted.append("response_format-dropped")
        return
    config["responseMimeType"] = "application/json"
    if wanted.kind == "json_object" or wanted.schema is None:
        return
    if own.json_schema:
        config["responseJsonSchema"] = wanted.schema
    else:
        config["responseSchema"], lossy = to_openapi_subset(wanted.schema)
        if lossy:
            adjusted.append("response_format-approximated")


def _resolution(messages: tuple[Message, ...], config: Json, adjusted: list[str]) -> None:
    """OpenAI says the detail per picture, Google (before 3) per request: the finest that was asked wins."""
    details = {
        part.detail
        for message in messages
        for part in message.parts
        if isinstance(part, Image) and part.detail
    } - {"auto"}
    if not details:
        return
    config["mediaResolution"] = "MEDIA_RESOLUTION_LOW" if details == {"low"} else "MEDIA_RESOLUTION_HIGH"
    adjusted.append("detail-approximated")


# -- beside generationConfig


def _write_account(request: ChatRequest, own: Rules, body: Json, adjusted: list[str]) -> None:
    tier = request.service_tier
    if tier in ("flex", "priority") and not own.vertex:
        body["serviceTier"] = tier
    elif tier is not None and tier not in ("auto", "default", "standard"):
        adjusted.append("service_tier-dropped")
    if not own.vertex:
        body["store"] = request.store is True
    elif request.store:
        adjusted.append("store-dropped")


def _note_the_rest(request: ChatRequest, adjusted: list[str]) -> None:
    if request.logprobs or request.top_logprobs:
        # Google has them, but the event alphabet has no word for them: asking would cost and deliver nothing.
        adjusted.append("logprobs-dropped")
    if request.user is not None:
        adjusted.append("user-dropped")
    for dialect, fields in request.extras.items():
        if dialect != "gemini":
            adjusted.extend(f"{name}-dropped" for name in fields if name not in _SERVED_BY_US)
