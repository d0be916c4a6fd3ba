"""OpenAI's images as its servers write them: generations and edits, whole and streamed.

Source: shared facts of openai-openapi 2.3.0 and openai-python 3.52.0, read 2026-11. A picture is scaled down: its size is
a sixteenth of what was asked, its aspect ratio is true. ``DRAW_PLAIN`` in a prompt: a server that counts no tokens.
"""

import base64
import re
from typing import Any

import msgspec

from penstock.simulate.openai import OPENAI
from penstock.simulate.picture import WEBP, jpeg, png
from penstock.simulate.reply import Call, Frame, Frames, Kind, Refused, Reply
from penstock.simulate.stability import read_parts
from penstock.simulate.untyped import as_int, as_object, as_text
from penstock.wire.http import Headers, header

_encode = msgspec.json.Encoder().encode
_COMMON = frozenset(
    {
        "prompt",
        "model",
        "n",
        "size",
        "quality",
        "background",
        "output_format",
        "output_compression",
        "moderation",
        "stream",
        "partial_images",
        "safety_identifier",
        "user",
    }
)
_EDIT = _COMMON | {"image", "image[]", "images", "mask", "input_fidelity"}
_TOKENS = {"low": 272, "medium": 1056, "high": 4160}
_SIZE = re.compile(r"(\d+)x(\d+)")
_SCALE = 16


def fields_of(headers: Headers, body: bytes) -> Any:
    """The fields of a JSON body or of a form; None where it is neither."""
    content_type = header(headers, b"content-type") or b""
    if not content_type.startswith(b"multipart/form-data"):
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
    fields: dict[str, Any] = {}
    try:
        parts = read_parts(content_type, body)
    except Refused:
        return None
    for name, data in parts:
        if name in ("image", "image[]", "mask"):
            fields.setdefault(name, []).append(data)
        else:
            text = data.decode("utf-8", "replace")
            fields[name] = {"true": True, "false": False}.get(text, int(text) if text.isdigit() else text)
    return fields


class OpenAIImages:
    """``/images/generations`` and ``/images/edits``."""

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        if call.method != "POST":
            raise Refused(405, f"Not allowed to {call.method} on {call.path}.", code="method_not_allowed")
        if not call.key:
            raise Refused(401, "You didn't provide an API key.")
        edit = call.path.endswith("/edits")
        fields = as_object(call.json)
        if not fields:
            raise Refused(400, "We could not parse the body of your request.")
        _check(fields, call, edit=edit)
        if call.stream:
            return Reply(
                200, [(b"content-type", b"text/event-stream")], frames=_frames(fields, call, edit=edit)
            )
        return Reply(200, [(b"content-type", b"application/json")], _encode(_whole(fields, call, edit=edit)))

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply."""
        return OPENAI.refuse(refused, call)

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """An event of the name ``error``."""
        return b"event: error\n" + OPENAI.error_frame(refused, call, first=first)


OPENAI_IMAGES = OpenAIImages()


def _check(fields: dict[str, Any], call: Call, *, edit: bool) -> None:
    allowed = _EDIT if edit else _COMMON
    unknown = sorted(set(fields) - allowed)
    if unknown and call.settings.unknown_fields == "refuse":
        raise Refused(400, f"Unknown parameter: '{unknown[0]}'.", code="unknown_parameter", param=unknown[0])
    prompt = as_text(fields.get("prompt"))
    if not prompt or len(prompt) > 32_000:
        raise Refused(400, "Invalid value for 'prompt'.", param="prompt", code="invalid_value")
    if "BLOCK_PROMPT" in prompt:
        raise Refused(
            400,
            "Your request was rejected by the safety system.",
            kind="image_generation_user_error",
            code="moderation_blocked",
        )
    n = fields.get("n", 1)
    if not isinstance(n, int) or not 1 <= n <= 10:
        raise Refused(400, "Invalid value for 'n'.", param="n", code="invalid_value")
    size = fields.get("size", "auto")
    if size != "auto" and not _SIZE.fullmatch(str(size)):
        raise Refused(400, "Invalid value for 'size'.", param="size", code="invalid_value")
    if edit and not any(fields.get(name) for name in ("image", "image[]", "images")):
        raise Refused(400, "Missing required parameter: 'image'.", param="image")
    for mask in fields.get("mask") or ():
        if isinstance(mask, bytes) and not mask.startswith(b"\x89PNG"):
            raise Refused(400, "Invalid mask: it must be a PNG.", param="mask")


def _picture(fields: dict[str, Any], call: Call, number: int) -> str:
    form = fields.get("output_format", "png")
    found = _SIZE.fullmatch(str(fields.get("size", "")))
    width, height = (int(found[1]), int(found[2])) if found else (1024, 1024)
    data = {"jpeg": jpeg(), "webp": WEBP}.get(str(form)) or png(
        max(1, width // _SCALE), max(1, height // _SCALE), call.serial + number
    )
    return base64.b64encode(data).decode()


def _told(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "background": fields.get("background", "opaque"),
        "output_format": fields.get("output_format", "png"),
        "quality": _quality(fields),
        "size": fields.get("size", "1024x1024"),
    }


def _quality(fields: dict[str, Any]) -> str:
    quality = str(fields.get("quality", "auto"))
    return quality if quality in _TOKENS else "medium"


def _usage(fields: dict[str, Any], pictures: int, partial: int, *, edit: bool) -> dict[str, Any]:
    text = (len(str(fields["prompt"])) + 3) // 4
    given = sum(len(fields.get(name) or ()) for name in ("image", "image[]", "images")) if edit else 0
    made = _TOKENS[_quality(fields)] * pictures + 100 * partial
    return {
        "input_tokens": text + 323 * given,
        "input_tokens_details": {"text_tokens": text, "image_tokens": 323 * given},
        "output_tokens": made,
        "output_tokens_details": {"image_tokens": made, "text_tokens": 0},
        "total_tokens": text + 323 * given + made,
    }


def _whole(fields: dict[str, Any], call: Call, *, edit: bool) -> dict[str, Any]:
    n = as_int(fields.get("n")) or 1
    body: dict[str, Any] = {
        "created": call.unix_s,
        "data": [{"b64_json": _picture(fields, call, number)} for number in range(n)],
        **_told(fields),
    }
    if "DRAW_PLAIN" not in str(fields["prompt"]):
        body["usage"] = _usage(fields, n, 0, edit=edit)
    return body


def _frames(fields: dict[str, Any], call: Call, *, edit: bool) -> Frames:
    kind = "image_edit" if edit else "image_generation"
    partial = as_int(fields.get("partial_images")) or 0
    for index in range(partial):
        event = {
            "type": f"{kind}.partial_image",
            "b64_json": _picture(fields, call, index),
            "partial_image_index": index,
            "created_at": call.unix_s,
            **_told(fields),
        }
        yield Frame(Kind.CONTENT, _event(event), 1)
    for number in range(as_int(fields.get("n")) or 1):
        event = {
            "type": f"{kind}.completed",
            "b64_json": _picture(fields, call, number),
            "created_at": call.unix_s,
            **_told(fields),
            "usage": _usage(fields, 1, partial, edit=edit),
        }
        yield Frame(Kind.FINISH, _event(event), 1)


def _event(event: dict[str, Any]) -> bytes:
    return b"event: " + event["type"].encode() + b"\ndata: " + _encode(event) + b"\n\n"
