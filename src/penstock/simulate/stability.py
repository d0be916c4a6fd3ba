"""Stability's v2beta image generation as its servers write it.

Source: Stability's OpenAPI as carried by tadasant/mcp-server-stability-ai, read 2026-11. Requests are always multipart,
also without a file. One picture a call; its size is scaled down, its aspect ratio is true.
"""

import base64
import re
from typing import Any

import msgspec

from penstock.simulate.picture import WEBP, jpeg, png
from penstock.simulate.reply import Call, Refused, Reply
from penstock.wire.http import Headers, header

_encode = msgspec.json.Encoder().encode
_RATIOS = {
    "21:9": (21, 9),
    "16:9": (16, 9),
    "3:2": (3, 2),
    "5:4": (5, 4),
    "1:1": (1, 1),
    "4:5": (4, 5),
    "2:3": (2, 3),
    "9:16": (9, 16),
    "9:21": (9, 21),
}
_COMMON = frozenset({"prompt", "negative_prompt", "aspect_ratio", "seed", "style_preset", "output_format"})
_FIELDS = {
    "core": _COMMON,
    "ultra": _COMMON | {"image", "strength"},
    "sd3": _COMMON | {"model", "mode", "image", "strength", "cfg_scale"},
}
_EDIT = frozenset({"image", "prompt", "negative_prompt", "seed", "output_format"})
_EDITS = {
    "edit/inpaint": _EDIT | {"mask", "grow_mask", "style_preset"},
    "edit/erase": frozenset({"image", "mask", "grow_mask", "seed", "output_format"}),
    "edit/remove-background": frozenset({"image", "output_format"}),
    "control/sketch": _EDIT | {"control_strength"},
    "control/structure": _EDIT | {"control_strength"},
    "control/style": _EDIT | {"aspect_ratio", "fidelity"},
    "upscale/fast": frozenset({"image", "output_format"}),
    "upscale/conservative": _EDIT | {"creativity"},
}
_SD3_MODELS = ("sd3.5-large", "sd3.5-large-turbo", "sd3.5-medium")
_MAX_BODY_BYTES = 10 * 1024 * 1024
_MAX_SEED = 4_294_967_294
_NAMES = {
    400: "bad_request",
    401: "unauthorized",
    402: "payment_required",
    403: "content_moderation",
    404: "not_found",
    413: "payload_too_large",
    422: "invalid_language",
    429: "rate_limit_exceeded",
    500: "internal_error",
}
_PARAMETER = re.compile(rb';\s*([a-z*]+)="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


class Stability:
    """The dialect: ``/v2beta/stable-image/generate/{core|ultra|sd3}``, and the edits that answer at once."""

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        if not call.key:
            raise Refused(401, "authorization: is required")
        place = call.path.removeprefix("/v2beta/stable-image/")
        kind = place.removeprefix("generate/")
        if (kind not in _FIELDS and place not in _EDITS) or call.method != "POST":
            raise Refused(404, f"{call.path}: no such resource")
        if len(call.body) > _MAX_BODY_BYTES:
            raise Refused(413, "body: must not be larger than 10MiB")
        fields = read_multipart(header(call.headers, b"content-type") or b"", call.body)
        accept = (header(call.headers, b"accept") or b"*/*").decode("latin-1")
        if not any(word in accept for word in ("image/", "application/json", "*/*")):
            raise Refused(400, "accept: must be image/* or application/json")
        asked = {
            name: value.decode("utf-8", "replace")
            for name, value in fields.items()
            if name not in ("image", "mask")
        }
        if place in _EDITS:
            _check_edit(place, asked, fields)
        else:
            _check(kind, asked, fields)
        return _picture(call, asked, as_json="application/json" in accept)

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply."""
        name = refused.kind or _NAMES.get(
            refused.status, "bad_request" if refused.status < 500 else "internal_error"
        )
        body = {
            "id": _id(call),
            "name": name,
            "errors": [refused.message or f"{name}: the simulator was told so"],
        }
        return Reply(refused.status, _headers(call, b"application/json"), _encode(body))

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """Never streamed; the body of the error."""
        return self.refuse(refused, call).body


STABILITY = Stability()


def _id(call: Call) -> str:
    return f"{call.serial:032d}"


def _headers(call: Call, content_type: bytes) -> Headers:
    return [(b"content-type", content_type), (b"x-request-id", _id(call).encode())]


def read_multipart(content_type: bytes, body: bytes) -> dict[str, bytes]:
    """The parts of a multipart/form-data body by name; Refused if it is none."""
    return dict(read_parts(content_type, body))


def read_parts(content_type: bytes, body: bytes) -> list[tuple[str, bytes]]:
    """The parts in order; a name may come again."""
    if not content_type.lower().startswith(b"multipart/form-data"):
        raise Refused(400, "content-type: must be multipart/form-data")
    found = re.search(rb'boundary="?([^";]+)"?', content_type)
    if found is None:
        raise Refused(400, "content-type: boundary is missing")
    parts: list[tuple[str, bytes]] = []
    for piece in body.split(b"--" + found[1])[1:]:
        if piece.startswith(b"--"):
            return parts
        head, blank, content = piece.partition(b"\r\n\r\n")
        disposition = next(
            (line for line in head.split(b"\r\n") if line.lower().startswith(b"content-disposition:")), b""
        )
        names = {name.lower(): value for name, value in _PARAMETER.findall(disposition)}
        if not blank or b"name" not in names:
            raise Refused(400, "body: a part has no name")
        parts.append((names[b"name"].decode("utf-8", "replace"), content.removesuffix(b"\r\n")))
    raise Refused(400, "body: the last boundary is missing")


def _check(kind: str, asked: dict[str, str], fields: dict[str, bytes]) -> None:
    errors = [f"{name}: is not allowed" for name in fields if name not in _FIELDS[kind] and fields[name]]
    prompt = asked.get("prompt", "")
    if not 1 <= len(prompt) <= 10_000:
        errors.append("prompt: must be between 1 and 10000 characters")
    image_to_image = asked.get("mode") == "image-to-image"
    if asked.get("aspect_ratio", "1:1") not in _RATIOS:
        errors.append(f"aspect_ratio: must be one of {', '.join(_RATIOS)}")
    if image_to_image and "aspect_ratio" in asked:
        errors.append("aspect_ratio: is not allowed with mode image-to-image")
    if asked.get("output_format", "png") not in ("png", "jpeg", "webp"):
        errors.append("output_format: must be one of png, jpeg, webp")
    seed = asked.get("seed", "0")
    if not seed.isdigit() or int(seed) > _MAX_SEED:
        errors.append(f"seed: must be between 0 and {_MAX_SEED}")
    if asked.get("model", _SD3_MODELS[0]) not in _SD3_MODELS:
        errors.append(f"model: must be one of {', '.join(_SD3_MODELS)}")
    if "image" in fields and "strength" not in asked:
        errors.append("strength: is required when an image is given")
    if image_to_image and "image" not in fields:
        errors.append("image: is required with mode image-to-image")
    if errors:
        raise Refused(400, "; ".join(errors))
    if "BLOCK_PROMPT" in prompt:
        raise Refused(
            403, "Your request was flagged by our content moderation system.", kind="content_moderation"
        )


def _check_edit(place: str, asked: dict[str, str], fields: dict[str, bytes]) -> None:
    allowed = _EDITS[place]
    errors = [f"{name}: is not allowed" for name in fields if name not in allowed and fields[name]]
    if not fields.get("image"):
        errors.append("image: is required")
    if "prompt" in allowed and not 1 <= len(asked.get("prompt", "")) <= 10_000:
        errors.append("prompt: must be between 1 and 10000 characters")
    if "mask" in fields and not fields["mask"].startswith(b"\x89PNG"):
        errors.append("mask: must be a PNG")
    if errors:
        raise Refused(400, "; ".join(errors))
    if "BLOCK_PROMPT" in asked.get("prompt", ""):
        raise Refused(
            403, "Your request was flagged by our content moderation system.", kind="content_moderation"
        )


def _picture(call: Call, asked: dict[str, str], *, as_json: bool) -> Reply:
    wide, high = _RATIOS[asked.get("aspect_ratio", "1:1")]
    seed = int(asked.get("seed", "0")) or call.serial % _MAX_SEED
    form = asked.get("output_format", "png")
    image = {"jpeg": jpeg(), "webp": WEBP}.get(form) or png(wide * 4, high * 4, seed)
    finish = "CONTENT_FILTERED" if "FILTER_ANSWER" in asked.get("prompt", "") else "SUCCESS"
    if as_json:
        value: dict[str, Any] = {
            "image": base64.b64encode(image).decode(),
            "finish_reason": finish,
            "seed": seed,
        }
        return Reply(200, _headers(call, b"application/json"), _encode(value))
    headers = _headers(call, b"image/" + form.encode())
    return Reply(200, [*headers, (b"finish-reason", finish.encode()), (b"seed", b"%d" % seed)], image)
