"""``contents`` as a caller writes them -> the neutral messages.

Theory
------
A Gemini history has two roles, and calls and results among their parts. Results become messages of their own, before
the rest of their content; a result answers a call by its id, and where there is none by its name, in order. Calls
without an id (2.5 has none) get one that depends on the calls before it only, so that a growing history keeps its ids.

Reasoning stands in parts with ``thought`` and in signatures: Google's go back to Google, ours hold another provider's
(``marks``).
"""

from hashlib import blake2b

from msgspec import Raw

from penstock.base.chat import (
    Audio,
    Document,
    Image,
    Message,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
)
from penstock.base.errors import BadRequest
from penstock.dialects.gemini.envelope import kind_of_address, need_of
from penstock.dialects.gemini.fields import (
    Json,
    Reader,
    compact,
    elements,
    first,
    is_null,
    loose,
    text,
    wrong,
)
from penstock.dialects.gemini.history import FORMAT
from penstock.dialects.gemini.marks import standard, unmark

_QUOTE, _OBJECT = b'"'[0], b"{"[0]
_SOUNDS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "x-flac": "flac", "mp4": "m4a"}
_DETAIL = {"MEDIA_RESOLUTION_LOW": "low", "MEDIA_RESOLUTION_HIGH": "high"}
_NATIVE = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
"""Parts that only Google's own tools make."""
_FILES_API = "https://generativelanguage.googleapis.com/"


class Turns:
    """Reads contents one after the other. ``lost`` names what the neutral form has no word for."""

    def __init__(self, reader: Reader, detail: str | None) -> None:
        self._reader = reader
        self._detail = detail
        self._open: list[ToolCall] = []
        self._calls = 0
        self.lost: list[str] = []

    def contents(self, raw: Raw) -> list[Message]:
        """All messages. Raises BadRequest naming the field."""
        if first(raw) == _QUOTE:
            return [Message("user", (Text(text(raw, "contents")),))]
        messages: list[Message] = []
        for index, one in enumerate(elements(raw)):
            if not is_null(one):
                self._content(one, f"contents[{index}]", messages)
        return messages

    def system(self, raw: Raw) -> Message | None:
        """``systemInstruction``: words only."""
        if first(raw) == _QUOTE:
            words = [text(raw, "systemInstruction")]
        else:
            content = self._reader.message("Content", raw, "systemInstruction")
            words: list[str] = []
            for index, part in enumerate(content.get("parts", ())):
                if "text" not in part:
                    raise wrong(f"systemInstruction.parts[{index}]", "is not a text", "Send text parts only.")
                words.append(part["text"])
        parts = tuple(Text(one) for one in words if one)
        return Message("system", parts) if parts else None

    def _content(self, raw: Raw, place: str, messages: list[Message]) -> None:
        if first(raw) == _QUOTE:
            messages.append(Message("user", (Text(text(raw, place)),)))
            return
        content = self._reader.message("Content", raw, place)
        parts: list[Json] = content.get("parts", [])
        role = content.get("role") or "USER"
        if role == "MODEL":
            messages.append(Message("assistant", self._model(parts, place)))
        elif role in ("USER", "FUNCTION", "TOOL"):
            self._user(parts, place, messages)
        elif role == "SYSTEM":
            messages.append(
                Message("system", tuple(Text(part["text"]) for part in parts if part.get("text")))
            )
        else:
            raise wrong(f"{place}.role", f"is {role.lower()[:40]!r}", 'Send "user" or "model".')

    def _user(self, parts: list[Json], place: str, messages: list[Message]) -> None:
        said: list[Part] = []
        for index, part in enumerate(parts):
            here = f"{place}.parts[{index}]"
            if "functionResponse" in part:
                result = self._result(part["functionResponse"], f"{here}.functionResponse")
                messages.append(Message("tool", (result,)))
            elif "functionCall" in part:
                raise wrong(f"{here}.functionCall", "stands in a user's content", 'Its role is "model".')
            elif (made := self._plain(part, here)) is not None:
                said.append(made)
        if said or not any("functionResponse" in part for part in parts):
            messages.append(Message("user", tuple(said)))

    # -- the model's side

    def _model(self, parts: list[Json], place: str) -> tuple[Part, ...]:
        self._open = []
        google = any(
            "thoughtSignature" in part and unmark(standard(part["thoughtSignature"])) is None
            for part in parts
        )
        said: list[Part] = []
        thoughts: list[str] = []
        for index, part in enumerate(parts):
            here = f"{place}.parts[{index}]"
            signature = standard(part.get("thoughtSignature", ""))
            if part.get("thought"):
                thoughts.append(part.get("text", ""))
                if signature:
                    said.extend(_signed(thoughts, signature))
                    thoughts = []
                continue
            if any(thoughts):
                said.append(Thinking(text="".join(thoughts), format=FORMAT if google else "unknown"))
            thoughts = []
            call = None
            if "functionCall" in part:
                call = self._call(part["functionCall"], f"{here}.functionCall")
            if signature:
                said.extend(_beside(signature, call))
            made = call if call is not None else self._plain(part, here)
            if made is not None:
                said.append(made)
        if any(thoughts):
            said.append(Thinking(text="".join(thoughts), format=FORMAT if google else "unknown"))
        return tuple(said)

    def _call(self, part: Json, place: str) -> ToolCall:
        name = part.get("name", "")
        if not name:
            raise wrong(f"{place}.name", "is missing")
        args = part.get("args")
        if args is not None and first(args) != _OBJECT:
            raise wrong(f"{place}.args", "is not an object")
        arguments = "{}" if args is None else compact(args)
        seed = f"{self._calls}\n{name}\n{arguments}"
        call_id = part.get("id") or f"call_{_digest(seed)}"
        self._calls += 1
        call = ToolCall(call_id, name, arguments)
        self._open.append(call)
        return call

    # -- results

    def _result(self, part: Json, place: str) -> ToolResult:
        call_id, name = part.get("id", ""), part.get("name", "")
        call = self._answered(call_id, name)
        if call is None:
            raise BadRequest(
                f"{place} answers no function call of the content before it.",
                param=place,
                hint="Send a functionResponse with the id or the name of each functionCall, right after it.",
            )
        body, is_error = _payload(part.get("response"))
        images: list[Image] = []
        for index, one in enumerate(part.get("parts", ())):
            made = self._plain(one, f"{place}.parts[{index}]")
            if isinstance(made, Image):
                images.append(made)
            elif made is not None:
                self.lost.append("functionResponse.parts")
        return ToolResult(call.id, call.name, body, is_error, tuple(images))

    def _answered(self, call_id: str, name: str) -> ToolCall | None:
        """The open call that this result answers, which is open no longer."""
        for call in self._open:
            if (call.id == call_id) if call_id else (call.name == name):
                self._open.remove(call)
                return call
        if call_id:  # a client that made up an id: its name tells, as it would without one
            return self._answered("", name)
        return None

    # -- parts of either side

    def _plain(self, part: Json, place: str) -> Part | None:
        """Words or a medium; None for what only Google knows, which is noted."""
        for name in ("videoMetadata", "partMetadata"):
            if name in part and not (name == "videoMetadata" and _is_film(part)):
                self.lost.append(name)
        if "inlineData" in part or "fileData" in part:
            return self._medium(part, place)
        if "text" in part:
            return Text(part["text"])
        native = next((name for name in _NATIVE if name in part), None)
        if native is not None:
            self.lost.append(native)
        elif "thoughtSignature" not in part and not part.get("thought"):
            raise wrong(place, "holds nothing that a part may hold", 'Send {"text": "..."}, for example.')
        return None

    def _medium(self, part: Json, place: str) -> Part:
        blob: Json = part.get("inlineData") or part["fileData"]
        url, data = blob.get("fileUri", ""), standard(_joined(blob.get("data", "")))
        mime: str = blob.get("mimeType", "").strip().lower()
        if not url and not data:
            raise wrong(place, "has neither data nor a fileUri")
        if data and not mime:
            raise wrong(f"{place}.inlineData.mimeType", "is missing", "Send one such as image/png.")
        kind = need_of(mime) if mime else kind_of_address(url)
        uploaded = url.startswith(_FILES_API)
        file_id, url = (url, "") if uploaded else ("", url)
        match kind:
            case "image":
                return Image(url or file_id, data, mime, self._detail_of(part))
            case "audio":
                sub = mime.partition("/")[2].partition(";")[0]
                return Audio(data, _SOUNDS.get(sub, sub), url, file_id)
            case "video":
                start, end, fps = _stretch(part)
                return Video(data, mime, url, file_id, start, end, fps)
            case _:
                return Document(data, mime, url, file_id, blob.get("displayName", ""))

    def _detail_of(self, part: Json) -> str | None:
        raw = part.get("mediaResolution")
        if raw is None:
            return self._detail
        return _DETAIL.get(str(loose(raw).get("level")).upper())


def _signed(thoughts: list[str], signature: str) -> list[Thinking]:
    """Thoughts whose last part carries a signature."""
    words = "".join(thoughts)
    blocks = unmark(signature)
    if blocks is None:
        return [Thinking(text=words, signature=signature, format=FORMAT)]
    if blocks and words and not blocks[0].text and not blocks[0].redacted:
        one = blocks[0]
        blocks[0] = Thinking(words, one.signature, one.format, one.redacted, one.tool_id)
    return blocks


def _beside(signature: str, call: ToolCall | None) -> list[Thinking]:
    """A signature on a text or a call."""
    blocks = unmark(signature)
    if blocks is not None:
        return blocks
    return [Thinking(signature=signature, format=FORMAT, tool_id="" if call is None else call.id)]


def _payload(raw: Raw | None) -> tuple[str, bool]:
    """A result's words, and whether they tell an error: what ``history`` wraps is unwrapped, the rest stays JSON."""
    if raw is None:
        return "{}", False
    found = loose(raw)
    if len(found) == 1:
        told = found.get("output")
        if isinstance(told, str):
            return told, False
        if "error" in found:
            told = found["error"]
            return (told if isinstance(told, str) else compact(raw)), True
    return compact(raw), False


def _digest(seed: str) -> str:
    return blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _is_film(part: Json) -> bool:
    blob: Json = part.get("inlineData") or part.get("fileData") or {}
    mime: str = blob.get("mimeType", "")
    return need_of(mime) == "video" if mime else kind_of_address(blob.get("fileUri", "")) == "video"


def _joined(data: str) -> str:
    """Base64 without line breaks; as it is where there are none: it may be the size of a film."""
    return "".join(data.split()) if any(blank in data for blank in " \n\r\t") else data


def _stretch(part: Json) -> tuple[float | None, float | None, float | None]:
    found = loose(part.get("videoMetadata"))
    fps = found.get("fps")
    return (
        _seconds(found.get("startOffset")),
        _seconds(found.get("endOffset")),
        fps if isinstance(fps, int | float) else None,
    )


def _seconds(value: object) -> float | None:
    """A protobuf Duration, "12.5s"."""
    if not isinstance(value, str):
        return None
    try:
        return float(value.removesuffix("s"))
    except ValueError:
        return None
