"""Gemini as AI Studio and Vertex write it: generateContent, streamGenerateContent, countTokens, models.

Source: Vertex discovery documents revision 20261106 and google-genai 3.4.0, read 2026-11. A stream with ``alt=sse`` is
``data: {json}`` lines ended by CR LF, without ``[DONE]``; without it, it is one JSON array.
"""

from typing import Any

import msgspec

from penstock.base.usage import Usage
from penstock.simulate import gemini_rules as rules
from penstock.simulate import gemini_sounds as sounds
from penstock.simulate import vectors
from penstock.simulate.content import Answer, Asked, ToolSpec, answer_to, grouped, tokens_in
from penstock.simulate.gemini_fields import read_request
from penstock.simulate.gemini_pictures import IMAGE_TOKENS, drawn, picture_of
from penstock.simulate.reply import Call, Frame, Frames, Kind, Refused, Reply
from penstock.simulate.untyped import as_int, as_list, as_object, as_text
from penstock.wire.http import Headers

_encode = msgspec.json.Encoder().encode
_IMAGE_TOKENS = 258
_UNAUTHENTICATED = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential."
)
_ERRORS = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", _UNAUTHENTICATED),
    402: ("FAILED_PRECONDITION", "This API method requires billing to be enabled."),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    404: ("NOT_FOUND", "The model is not found for API version v1, or is not supported for generateContent."),
    413: ("INVALID_ARGUMENT", "Request payload size exceeds the limit."),
    429: (
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    499: ("CANCELLED", "The operation was cancelled."),
    500: ("INTERNAL", "An internal error has occurred. Please retry."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}
_FINISH = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "filter": "SAFETY",
    "refusal": "STOP",
    "malformed": "MALFORMED_FUNCTION_CALL",
}
_LEVEL_TOKENS = {"MINIMAL": 4, "LOW": 16, "MEDIUM": 32, "HIGH": 64, "XHIGH": 96}
_SAFE = [
    {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "NEGLIGIBLE"},
]
_UNSAFE = [
    {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True},
]


class Gemini:
    """The dialect, in two flavours: ``vertex`` wants an access token instead of an API key."""

    def __init__(self, *, vertex: bool) -> None:
        self._vertex = vertex

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        self._authenticate(call)
        verb = call.path.rpartition(":")[2] if ":" in call.path else ""
        if not verb:
            return _models(call)
        embedded = vectors.gemini(call, verb) if call.method == "POST" else None
        if embedded is not None:
            return embedded
        if call.method != "POST" or verb not in ("generateContent", "streamGenerateContent", "countTokens"):
            raise Refused(404, "Requested entity was not found.")
        body = as_object(call.json)
        if verb == "countTokens":
            return self._count(body, call)
        request = read_request(
            call.json, vertex=self._vertex, accept_unknown=call.settings.unknown_fields == "accept"
        )
        rules.check(request, call.model, vertex=self._vertex)
        thoughts_shown = as_object(_config(request).get("thinkingConfig")).get("includeThoughts") is True
        sounds.check(_config(request), call.model)
        asked = _asked(request, call)
        answer = drawn(answer_to(asked, call), _config(request))
        answer, made = sounds.spoken(answer, asked.prompt, _config(request))
        writer = _Writer(answer, call, vertex=self._vertex, thoughts_shown=thoughts_shown)
        writer.picture = picture_of(_config(request), call)
        writer.sounds = made
        writer.candidates = as_int(_config(request).get("candidateCount")) or 1
        if call.stream and call.query.get("alt") == "sse":
            return Reply(200, _headers(b"text/event-stream"), frames=_as_events(writer.chunks()))
        if call.stream:
            return Reply(200, _headers(_JSON), frames=_as_array(writer.chunks()))
        return Reply(
            200, _headers(_JSON), _encode(writer.whole()), tokens=writer.answer.usage.completion_tokens
        )

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply; a list of one on a stream that is an array."""
        error: Any = self._error(refused, call)
        status: int = error["error"]["code"]
        if call.stream and call.query.get("alt") != "sse":
            error = [error]
        return Reply(status, _headers(_JSON), _encode(error))

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """An error in the stream's own framing."""
        error = _encode(self._error(refused, call))
        if call.query.get("alt") == "sse":
            return b"data: " + error + b"\r\n\r\n"
        return (b"[" if first else b",\r\n") + error + b"]"

    def _authenticate(self, call: Call) -> None:
        if self._vertex:
            if not call.known_token(call.key):
                raise Refused(401, "")
        elif not call.key:
            raise Refused(
                403,
                "Method doesn't allow unregistered callers (callers without established identity). Please use API Key "
                "or other form of API consumer identity to call this API.",
            )

    def _error(self, refused: Refused, call: Call) -> dict[str, Any]:
        code = refused.status
        # Google answers a bad API key with 400, not 401.
        if code == 401 and not self._vertex:
            return _google_error(
                400,
                refused.message or "API key not valid. Please pass a valid API key.",
                "INVALID_ARGUMENT",
                [_error_info("API_KEY_INVALID")],
            )
        if code == 529:
            code = 503
        word, message = _ERRORS.get(code) or _ERRORS[400 if code < 500 else 500]
        details = refused.details or _details(code, refused, call)
        return _google_error(code, refused.message or message, refused.kind or word, details)

    def _count(self, body: dict[str, Any], call: Call) -> Reply:
        inner = body.get("generateContentRequest", body.get("generate_content_request", body))
        request = read_request(inner, vertex=self._vertex, accept_unknown=True)
        asked = _asked(request, call)
        total = asked.input_tokens + asked.image_tokens
        counted: dict[str, Any] = {
            "totalTokens": total,
            "promptTokensDetails": _modalities(asked.input_tokens, asked.image_tokens, 0),
        }
        if self._vertex:
            counted["totalBillableCharacters"] = total * 4
        return Reply(200, _headers(_JSON), _encode(counted))


GEMINI = Gemini(vertex=False)
VERTEX = Gemini(vertex=True)
_JSON = b"application/json; charset=UTF-8"


def _google_error(code: int, message: str, word: str, details: list[Any]) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message, "status": word}
    if details:
        error["details"] = details
    return {"error": error}


def _error_info(reason: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }


def _details(code: int, refused: Refused, call: Call) -> list[Any]:
    details: list[Any] = []
    if refused.code:
        details.append(_error_info(refused.code))
    if code == 429:
        quota = "PerDay" if refused.code == "PerDay" else "PerMinute"
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [
                    {
                        "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
                        "quotaId": f"GenerateRequests{quota}PerProjectPerModel",
                        "quotaDimensions": {"location": "global", "model": call.model},
                    }
                ],
            }
        )
    if refused.retry_after_s is not None:
        details.append(
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{refused.retry_after_s:g}s"}
        )
    return details


def _headers(content_type: bytes) -> Headers:
    return [
        (b"content-type", content_type),
        (b"vary", b"Origin, X-Origin, Referer"),
        (b"server", b"scaffolding on HTTPServer2"),
        (b"x-content-type-options", b"nosniff"),
    ]


def _config(request: dict[str, Any]) -> dict[str, Any]:
    return as_object(request.get("generationConfig"))


def _asked(request: dict[str, Any], call: Call) -> Asked:
    prompt, after_tools = "", None
    text_tokens = images = audio = 0
    for raw in [*as_list(request.get("contents")), request.get("systemInstruction")]:
        content = as_object(raw)
        text, results = "", ""
        for raw_part in as_list(content.get("parts")):
            part = as_object(raw_part)
            text += as_text(part.get("text"))
            mime = as_text(as_object(part.get("inlineData") or part.get("fileData")).get("mimeType"))
            images += _IMAGE_TOKENS if mime.startswith("image/") else 0
            audio += 64 if mime.startswith("audio/") else 0
            text_tokens += 258 if mime.startswith("application/") else 0
            for name in ("functionCall", "functionResponse"):
                text_tokens += tokens_in(str(part[name])) if name in part else 0
            if "functionResponse" in part:
                shown = _encode(as_object(part["functionResponse"]).get("response")).decode()
                results = f"{results} | {shown}" if results else shown
        text_tokens += tokens_in(text)
        if raw is not None and raw is not request.get("systemInstruction"):
            after_tools = results or None
            if content.get("role") != "model" and text:
                prompt = text
    tools = _tools(request)
    calling = as_object(as_object(request.get("toolConfig")).get("functionCallingConfig"))
    config = _config(request)
    text_tokens += sum(tokens_in(str(tool.schema)) for tool in tools)
    return Asked(
        prompt=prompt,
        input_tokens=text_tokens,
        max_tokens=as_int(config.get("maxOutputTokens")),
        image_tokens=images,
        audio_tokens=audio,
        tools=() if calling.get("mode") == "NONE" else tools,
        forced=tuple(as_text(name) for name in as_list(calling.get("allowedFunctionNames")))
        if calling.get("mode") == "ANY"
        else None,
        after_tools=after_tools,
        schema=_schema(config),
        any_json=config.get("responseMimeType") == "application/json",
        stops=tuple(as_text(stop) for stop in as_list(config.get("stopSequences"))),
        thinking=_thinking_tokens(as_object(config.get("thinkingConfig"))),
        cache_read=text_tokens * 3 // 4 if "cached" in call.model or request.get("cachedContent") else 0,
    )


def _schema(config: dict[str, Any]) -> dict[str, Any] | None:
    schema = config.get("responseJsonSchema", config.get("responseSchema"))
    return None if schema is None else as_object(schema)


def _tools(request: dict[str, Any]) -> tuple[ToolSpec, ...]:
    tools: list[ToolSpec] = []
    for raw in as_list(request.get("tools")):
        for item in as_list(as_object(raw).get("functionDeclarations")):
            declared = as_object(item)
            schema = declared.get("parametersJsonSchema", declared.get("parameters"))
            tools.append(ToolSpec(as_text(declared.get("name")), as_object(schema)))
    return tuple(tools)


def _thinking_tokens(thinking: dict[str, Any]) -> int:
    level, budget = thinking.get("thinkingLevel"), as_int(thinking.get("thinkingBudget"))
    if level is not None:
        return _LEVEL_TOKENS.get(level, 32)
    if budget is None:
        return 32 if thinking.get("includeThoughts") is True else 0
    return 32 if budget < 0 else min(budget, 32)


def _modalities(text: int, image: int, audio: int) -> list[dict[str, Any]]:
    counts = (("TEXT", text), ("IMAGE", image), ("AUDIO", audio))
    return [{"modality": name, "tokenCount": count} for name, count in counts if count]


class _Writer:
    """Writes one reply: whole, or as the chunks of a stream."""

    def __init__(self, answer: Answer, call: Call, *, vertex: bool, thoughts_shown: bool) -> None:
        self.answer = answer
        self.candidates = 1
        self.picture: dict[str, Any] = picture_of({}, call)
        self.sounds: list[dict[str, Any]] = []
        self._call = call
        self._vertex = vertex
        self._thoughts_shown = thoughts_shown
        version = rules.model_version(call.model)
        self._signs = bool(answer.thinking) or (version is not None and version >= (3, 0))
        self._ids = vertex or version is None or version >= (3, 0)

    def whole(self) -> dict[str, Any]:
        """The reply of generateContent."""
        if self.answer.stop == "blocked":
            return self._blocked()
        parts = [
            *self._thought_parts("".join(self.answer.thinking)),
            *self._answer_parts("".join(self.answer.text)),
        ]
        candidates = [self._candidate(parts, index, last=True) for index in range(self.candidates)]
        return self._chunk(candidates, self.answer.usage)

    def chunks(self) -> Frames:
        """The chunks of streamGenerateContent, as JSON."""
        if self.answer.stop == "blocked":
            yield Frame(Kind.FINISH, _encode(self._blocked()))
            return
        for _ in range(self._call.quirks.role_only):
            yield self._frame(Kind.OPEN, [{"text": ""}], 0)
        size = self._call.profile.tokens_per_event
        for thought, tokens in grouped(self.answer.thinking, size):
            if self._thoughts_shown:
                yield self._frame(Kind.CONTENT, self._thought_parts(thought), tokens)
        for text, tokens in grouped(self.answer.text, size):
            yield self._frame(Kind.CONTENT, [{"text": text}], tokens)
        for number in range(len(self.answer.calls)):
            yield self._frame(Kind.CONTENT, self._call_parts(number), 4)
        if self.answer.image:
            yield self._frame(Kind.CONTENT, [self.picture], IMAGE_TOKENS)
        for sound in self.sounds:
            yield self._frame(Kind.CONTENT, [sound], 4)
        yield from self._last()

    def _last(self) -> Frames:
        signed = self._signs and not self.answer.calls and self.answer.text
        parts: list[dict[str, Any]] = [{"text": "", "thoughtSignature": rules.SIGNATURE}] if signed else []
        if not parts and self.answer.text:
            parts = [{"text": ""}]
        candidates = [self._candidate(parts, index, last=True) for index in range(self.candidates)]
        if self._call.quirks.terminal == "split":
            yield Frame(Kind.FINISH, _encode(self._chunk(candidates, None)))
            yield Frame(Kind.USAGE, _encode(self._chunk([], self.answer.usage)))
        else:
            yield Frame(Kind.FINISH, _encode(self._chunk(candidates, self.answer.usage)))

    def _frame(self, kind: Kind, parts: list[dict[str, Any]], tokens: int) -> Frame:
        seen = Usage(input=self.answer.usage.prompt_tokens)
        candidates = [self._candidate(parts, index, last=False) for index in range(self.candidates)]
        return Frame(kind, _encode(self._chunk(candidates, seen)), tokens)

    def _answer_parts(self, text: str) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        if text:
            part: dict[str, Any] = {"text": text}
            if self._signs and not self.answer.calls:
                part["thoughtSignature"] = rules.SIGNATURE
            parts.append(part)
        for number in range(len(self.answer.calls)):
            parts += self._call_parts(number)
        if self.answer.image:
            parts.append(self.picture)
        return parts + self.sounds

    def _thought_parts(self, thought: str) -> list[dict[str, Any]]:
        return [{"text": thought, "thought": True}] if thought and self._thoughts_shown else []

    def _call_parts(self, number: int) -> list[dict[str, Any]]:
        made = self.answer.calls[number]
        if not made.whole:
            return []
        call: dict[str, Any] = {"name": made.name, "args": msgspec.json.decode(made.arguments)}
        if self._ids:
            call["id"] = f"sim-{self._call.serial}-{number}"
        part: dict[str, Any] = {"functionCall": call}
        if self._signs and number == 0:
            part["thoughtSignature"] = rules.SIGNATURE
        return [part]

    def _candidate(self, parts: list[dict[str, Any]], index: int, *, last: bool) -> dict[str, Any]:
        content: dict[str, Any] = {"role": "model"}
        if parts:
            content = {"parts": parts, "role": "model"}
        candidate: dict[str, Any] = {"content": content}
        if last:
            candidate["finishReason"] = _FINISH[self.answer.stop]
            if self.answer.stop == "malformed":
                candidate["finishMessage"] = "Malformed function call: print(default_api.f("
            if self.answer.stop == "filter":
                candidate["safetyRatings"] = _UNSAFE
        candidate["index"] = index
        return candidate

    def _blocked(self) -> dict[str, Any]:
        feedback = {"blockReason": "PROHIBITED_CONTENT", "safetyRatings": _SAFE}
        return {"promptFeedback": feedback} | self._chunk([], self.answer.usage)

    def _chunk(self, candidates: list[dict[str, Any]], usage: Usage | None) -> dict[str, Any]:
        chunk: dict[str, Any] = {"candidates": candidates} if candidates else {}
        if usage is not None and self._call.quirks.usage != "missing":
            chunk["usageMetadata"] = self._usage(usage)
        chunk["modelVersion"] = self._call.shown_model
        chunk["responseId"] = f"sim{self._call.serial:019d}"
        if self._vertex:
            chunk["createTime"] = "2026-11-21T00:00:00.000000Z"
        return chunk

    def _usage(self, usage: Usage) -> dict[str, Any]:
        """Prompt includes cached; candidates exclude thoughts; the total is the sum."""
        shown: dict[str, Any] = {"promptTokenCount": usage.prompt_tokens}
        if usage.output:
            shown["candidatesTokenCount"] = usage.output * self.candidates
            shown["candidatesTokensDetails"] = _modalities(usage.output * self.candidates, 0, 0)
        if usage.cache_read:
            shown["cachedContentTokenCount"] = usage.cache_read
            shown["cacheTokensDetails"] = _modalities(usage.cache_read, 0, 0)
        if usage.reasoning:
            shown["thoughtsTokenCount"] = usage.reasoning
        media = usage.output_image + usage.output_audio
        if media:
            shown["candidatesTokenCount"] = usage.output * self.candidates + media
            shown["candidatesTokensDetails"] = _modalities(
                usage.output * self.candidates, usage.output_image, usage.output_audio
            )
        total = usage.prompt_tokens + usage.output * self.candidates + usage.reasoning + media
        shown["totalTokenCount"] = total + (1000 if self._call.quirks.usage == "inconsistent" else 0)
        if self._call.quirks.usage == "zero":
            shown |= {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}
        if self._call.quirks.usage == "negative":
            shown["candidatesTokenCount"] = -1
        text = usage.prompt_tokens - usage.input_image - usage.input_audio
        shown["promptTokensDetails"] = _modalities(text, usage.input_image, usage.input_audio)
        if self._vertex:
            shown["trafficType"] = "ON_DEMAND"
        return shown


def _as_events(frames: Frames) -> Frames:
    for frame in frames:
        yield frame._replace(data=b"data: " + frame.data + b"\r\n\r\n")


def _as_array(frames: Frames) -> Frames:
    lead = b"["
    for frame in frames:
        yield frame._replace(data=lead + frame.data)
        lead = b",\r\n"
    yield Frame(Kind.DONE, b"]")


def _models(call: Call) -> Reply:
    names = [name for name in call.settings.models if not any(sign in name for sign in "*?[")] or [
        "gemini-2.5-flash"
    ]
    wanted = [name for name in names if not call.model or name == call.model]
    rows = [
        {
            "name": f"models/{name}",
            "version": "001",
            "displayName": name,
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
            "thinking": True,
        }
        for name in wanted
    ]
    if call.model:
        if not rows:
            raise Refused(404, f"models/{call.model} is not found")
        return Reply(200, _headers(_JSON), _encode(rows[0]))
    return Reply(200, _headers(_JSON), _encode({"models": rows}))
