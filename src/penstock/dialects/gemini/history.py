"""Messages -> ``systemInstruction`` and ``contents``: two roles that take turns, calls and results in equal number.

Theory
------
The history is cut into runs, of the assistant (role model) and of everybody else (role user). A model run with n
functionCalls must be answered by one user content with exactly n functionResponses (else 400 "number of function
response parts"), so the results of the run that follows are laid out in the order of the calls: what is missing is
synthesised, what belongs to no call of the run before becomes text. Both are reported.

A thought signature goes back on the part it came with: by ``tool_id`` on its functionCall, else on the text it
accompanied. Models from 3 on demand one on the first call of each step of the current turn; where it is lost (another
provider made the call) Google's documented dummy stands in.
"""

from typing import Any

import msgspec
from msgspec import Struct

from penstock.base.chat import Audio, Document, Image, Message, Text, Thinking, ToolCall, ToolResult, Video
from penstock.base.decisions import Accepted
from penstock.dialects.gemini.media import media_part
from penstock.dialects.gemini.models import Rules

FORMAT = "google-gemini-v1"
DUMMY_SIGNATURE = "skip_thought_signature_validator"
"""ai.google.dev/gemini-api/docs/thought-signatures, "migrating from other models"."""

Json = dict[str, Any]
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_EMPTY = msgspec.Raw(b"{}")
_IN_RESULT = frozenset({"image/png", "image/jpeg", "image/webp"})


class History(Struct):
    """What is made of the messages."""

    system: list[Json]
    contents: list[Json]


def write_history(messages: tuple[Message, ...], rules: Rules, adjusted: list[str]) -> History:
    """Translate. What is approximated or dropped is named in ``adjusted``."""
    leading = 0
    while leading < len(messages) and messages[leading].role == "system":
        leading += 1
    if leading == len(messages) and leading > 0:
        leading -= 1  # Google wants at least one content: the last instruction is said by the user
    writer = _Writer(rules, adjusted)
    system: list[Json] = []
    for message in messages[:leading]:
        writer.note_name(message)
        system.extend(writer.texts(message))
    run: list[Message] = []
    for message in messages[leading:]:
        if writer.is_silent(message):
            continue  # it would only part a call from its result
        if run and (message.role == "assistant") != (run[0].role == "assistant"):
            writer.run(run)
            run = []
        run.append(message)
    writer.run(run)
    return History(system, writer.finish())


class _Writer:
    """Runs -> contents. ``open_calls`` are the calls that the next user content must answer."""

    def __init__(self, rules: Rules, adjusted: list[str]) -> None:
        self.rules = rules
        self.adjusted = adjusted
        self.contents: list[Json] = []
        self.open_calls: list[ToolCall] = []
        self.turn_starts = 0

    def run(self, run: list[Message]) -> None:
        """One run of messages of one side."""
        if run and run[0].role == "assistant":
            parts: list[Json] = []
            for message in run:
                self._model_parts(message, parts)
            if parts and not self.contents:
                # A history must begin with the user (the clients' own check: "First content should be ... 'user'").
                self.adjusted.append("user-turn-added")
                self._add("user", [{"text": "."}])
            self._add("model", parts)
        elif run:
            self._user_run(run)

    def finish(self) -> list[Json]:
        """The contents, the last calls answered and the signatures in place."""
        if self.open_calls:
            self._add("user", self._answers({}))
        if not self.contents:
            self.adjusted.append("empty-message-padded")
            self._add("user", [{"text": " "}])
        if self.rules.ids_and_signatures:
            self._sign_current_turn()
        return self.contents

    def _add(self, role: str, parts: list[Json]) -> None:
        if not parts:
            return
        if self.contents and self.contents[-1]["role"] == role:
            self.contents[-1]["parts"].extend(parts)
        else:
            self.contents.append({"role": role, "parts": parts})

    # -- the user's side

    def _user_run(self, run: list[Message]) -> None:
        results: dict[str, list[ToolResult]] = {}
        for message in run:
            for part in message.parts:
                if isinstance(part, ToolResult):
                    results.setdefault(part.id, []).append(part)
        moved: list[Json] = []
        answers = self._answers(results, moved)
        others: list[Json] = []
        for message in run:
            self.note_name(message)
            if message.role == "system":
                self.adjusted.append("system-message-as-user")
                others.extend({"text": f"<system>\n{one['text']}\n</system>"} for one in self.texts(message))
            else:
                others.extend(self._user_parts(message, results))
        parts = [*answers, *moved, *others]
        if not parts:
            self.adjusted.append("empty-message-padded")  # an empty text part is a 400
            parts = others = [{"text": " "}]
        self._add("user", parts)
        if moved or others:
            self.turn_starts = len(self.contents)

    def _answers(self, results: dict[str, list[ToolResult]], moved: list[Json] | None = None) -> list[Json]:
        """One functionResponse for each open call, in their order; takes what it uses out of ``results``."""
        answers: list[Json] = []
        for call in self.open_calls:
            waiting = results.get(call.id)
            if waiting:
                answers.append(self._answer(call, waiting.pop(0), [] if moved is None else moved))
            else:
                self.adjusted.append("tool-result-synthesised")
                body = {"error": "No result was given for this call."}
                answers.append({"functionResponse": self._named(call, body)})
        self.open_calls = []
        return answers

    def _answer(self, call: ToolCall, result: ToolResult, moved: list[Json]) -> Json:
        response = self._named(call, _payload(result))
        inside: list[Json] = []
        for image in result.images:
            part = self._media(image)
            inline = part.get("inlineData")
            if self.rules.ids_and_signatures and inline is not None and inline["mimeType"] in _IN_RESULT:
                inside.append(part)
            elif part:
                self.adjusted.append("tool-result-image-moved")
                moved.append(part)
        if inside:
            response["parts"] = inside
        return {"functionResponse": response}

    def _named(self, call: ToolCall, response: Any) -> Json:
        named: Json = {"name": call.name, "response": response}
        return {"id": call.id, **named} if self.rules.ids_and_signatures and call.id else named

    def _user_parts(self, message: Message, unused: dict[str, list[ToolResult]]) -> list[Json]:
        """All but the results that answer a call; one that answers none (``unused``) becomes text."""
        parts: list[Json] = []
        for part in message.parts:
            match part:
                case Text(text=text, cache=cache):
                    self._note_cache(cache)
                    if text:
                        parts.append({"text": text})
                case Image() | Document() | Audio() | Video():
                    parts.extend(one for one in [self._media(part)] if one)
                case ToolResult(id=call_id, name=name, text=text):
                    if any(part is one for one in unused.get(call_id, ())):
                        self.adjusted.append("tool-result-as-text")
                        parts.append({"text": f"Result of {name or call_id}: {text}"})
                        parts.extend(one for one in map(self._media, part.images) if one)
                case Thinking() | ToolCall():
                    self.adjusted.append(f"{message.role}-{type(part).__name__.lower()}-dropped")
        return parts

    # -- the model's side

    def _model_parts(self, message: Message, parts: list[Json]) -> None:
        self.note_name(message)
        signatures = self._signatures(message)
        loose: list[str] = []
        texts: list[Json] = []
        for part in message.parts:
            match part:
                case Thinking():
                    parts.extend(self._thought(part, loose))
                case Text(text=text, cache=cache):
                    self._note_cache(cache)
                    if text:
                        texts.append(
                            {"text": text, "thoughtSignature": loose.pop(0)} if loose else {"text": text}
                        )
                        parts.append(texts[-1])
                case ToolCall():
                    parts.append(self._call(part, signatures))
                    self.open_calls.append(part)
                case Image() | Document() | Audio() | Video():
                    parts.extend(one for one in [self._media(part)] if one)
                case ToolResult():
                    self.adjusted.append("assistant-toolresult-dropped")
        for signature in loose:
            bare = next((one for one in reversed(texts) if "thoughtSignature" not in one), None)
            if bare is None:
                parts.append({"text": "", "thoughtSignature": signature})  # as Google itself sends it
            else:
                bare["thoughtSignature"] = signature
        if signatures:
            self.adjusted.append("thought-signature-dropped")

    def _signatures(self, message: Message) -> dict[str, str]:
        """Signatures by call. Callers put reasoning before the calls or after them: both are found."""
        found: dict[str, str] = {}
        for part in message.parts:
            if isinstance(part, Thinking) and part.format == FORMAT and part.tool_id and part.signature:
                if part.tool_id in found:
                    self.adjusted.append("thought-signature-dropped")
                found[part.tool_id] = part.signature
        return found

    def _thought(self, part: Thinking, loose: list[str]) -> list[Json]:
        if part.format != FORMAT:
            self.adjusted.append("thinking-stripped")  # another provider's thoughts prove nothing here
            return []
        if part.redacted:
            self.adjusted.append("thinking-stripped")  # Google has no such thing
        if part.signature and not part.tool_id:
            # The fold joins a thought with the signature of the text after it, so it is the text that gets it.
            loose.append(part.signature)
        return [{"text": part.text, "thought": True}] if part.text else []

    def _call(self, call: ToolCall, signatures: dict[str, str]) -> Json:
        args = as_object(call.arguments)
        if args is None:
            self.adjusted.append("tool-arguments-replaced")
            args = _EMPTY
        made: Json = {"name": call.name, "args": args}
        if self.rules.ids_and_signatures and call.id:
            made = {"id": call.id, **made}
        part: Json = {"functionCall": made}
        if (signature := signatures.pop(call.id, "")) != "":
            part["thoughtSignature"] = signature
        return part

    def _sign_current_turn(self) -> None:
        for content in self.contents[self.turn_starts :]:
            if content["role"] != "model":
                continue
            first = next((part for part in content["parts"] if "functionCall" in part), None)
            if first is not None and "thoughtSignature" not in first:
                self.adjusted.append("thought-signature-skipped")
                first["thoughtSignature"] = DUMMY_SIGNATURE

    def is_silent(self, message: Message) -> bool:
        """An assistant's message of which nothing is left to send."""
        if message.role != "assistant":
            return False
        for part in message.parts:
            match part:
                case Text(text=""):
                    continue
                case Thinking(format=whose) if whose != FORMAT:
                    continue
                case _:
                    return False
        if any(isinstance(part, Thinking) for part in message.parts):
            self.adjusted.append("thinking-stripped")
        return True

    # -- both sides

    def texts(self, message: Message) -> list[Json]:
        """The text parts of a system message."""
        found: list[Json] = []
        for part in message.parts:
            if isinstance(part, Text):
                self._note_cache(part.cache)
                if part.text:
                    found.append({"text": part.text})
            else:
                self.adjusted.append(f"system-{type(part).__name__.lower()}-dropped")
        return found

    def note_name(self, message: Message) -> None:
        """Gemini has no names of speakers."""
        if message.name:
            self.adjusted.append("name-dropped")

    def _note_cache(self, cache: str | None) -> None:
        if cache is not None:
            self.adjusted.append("cache_control-dropped")

    def _media(self, part: Image | Document | Audio | Video) -> Json:
        if not isinstance(part, Audio | Video):
            self._note_cache(part.cache)
        if isinstance(part, Document) and part.filename:
            self.adjusted.append("filename-dropped")
        verdict = media_part(part, self.rules.vertex)
        if isinstance(verdict, Accepted):
            return verdict.value
        self.adjusted.append(f"{type(part).__name__.lower()}-dropped")  # refuse() has said why before
        return {}


def as_object(text: str) -> msgspec.Raw | None:
    """JSON text of an object, byte for byte (key order and big integers survive); None if it is none."""
    if not text.strip():
        return _EMPTY
    data = text.encode("utf-8", "surrogatepass")
    try:
        _OBJECT.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return msgspec.Raw(data)


def _payload(result: ToolResult) -> Any:
    """Google wants an object: a JSON object goes as it is, all else is wrapped."""
    if result.is_error:
        return {"error": result.text}
    found = as_object(result.text) if result.text.strip() else None
    return {"output": result.text} if found is None else found
