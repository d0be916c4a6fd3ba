"""Replicate's predictions as its servers write them: created, waited for or asked after, cancelled.

Source: shared facts of replicate 1.0.7 and Replicate's OpenAPI, read 2026-11. A prediction that is waited for is still
running when the wait ends ("Prefer: wait" waits for nothing here), and done at the second question; with ``DRAW_AT_ONCE``
in its prompt it is done by then. ``FAIL_JOB`` ends it in an error, ``SLOW_JOB`` never ends it. Pictures are scaled down.
"""

import re
from typing import Any

import msgspec
from msgspec import Struct

from penstock.simulate.reply import Call, Refused, Reply
from penstock.simulate.untyped import as_int, as_object, as_text
from penstock.wire.http import Headers, header

_encode = msgspec.json.Encoder().encode
_FIELDS = frozenset(
    {
        "prompt",
        "aspect_ratio",
        "width",
        "height",
        "num_outputs",
        "output_format",
        "output_quality",
        "seed",
        "num_inference_steps",
        "guidance",
        "negative_prompt",
        "disable_safety_checker",
        "image",
        "mask",
        "prompt_strength",
    }
)
_CREATE = re.compile(r"^/v1/(?:(?:models|deployments)/[^/]+/[^/]+/)?predictions$")
_ONE = re.compile(r"^/v1/predictions/([^/]+)(/cancel)?$")
_MAX_DATA_BYTES = 256 * 1024
_TITLES = {
    401: "Unauthenticated",
    402: "Insufficient credit",
    404: "Not Found",
    422: "Input validation failed",
    429: "Too many requests",
}
SECONDS = 2.5
"""What every prediction says that it took."""


class _Prediction(Struct):
    input: dict[str, Any]
    base: str
    urls: dict[str, str]
    model: str
    asked: int = 0
    cancelled: bool = False


class Replicate:
    """The dialect, with its predictions."""

    def __init__(self) -> None:
        self._all: dict[str, _Prediction] = {}

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        if not call.key:
            raise Refused(401, "You did not pass an authentication token")
        one = _ONE.match(call.path)
        if one is not None:
            return self._ask(one[1], call, cancel=bool(one[2]))
        if not _CREATE.match(call.path) or call.method != "POST":
            raise Refused(404, "The requested resource could not be found.")
        return self._create(call)

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply: RFC 7807."""
        body = {
            "title": _TITLES.get(refused.status, "Error"),
            "detail": refused.message or "the simulator was told so",
            "status": refused.status,
        }
        return Reply(refused.status, [(b"content-type", b"application/problem+json")], _encode(body))

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """Never streamed."""
        return self.refuse(refused, call).body

    def _create(self, call: Call) -> Reply:
        body = as_object(call.json)
        given = as_object(body.get("input"))
        _check(given, call)
        name = f"pred{call.serial}"
        base = f"http://{(header(call.headers, b'host') or b'').decode()}"
        place = f"{call.root}/v1/predictions/{name}"
        urls = {"get": place, "cancel": f"{place}/cancel", "web": f"https://replicate.com/p/{name}"}
        made = self._all[name] = _Prediction(given, base, urls, "/".join(call.path.split("/")[3:5]))
        if "DRAW_AT_ONCE" in str(given["prompt"]):
            made.asked = 2
        return _told(name, made, 201 if made.asked else 202)

    def _ask(self, name: str, call: Call, *, cancel: bool) -> Reply:
        made = self._all.get(name)
        if made is None:
            raise Refused(404, "The requested resource could not be found.")
        if cancel:
            if call.method != "POST":
                raise Refused(405, "Method not allowed")
            made.cancelled = True
        else:
            made.asked += 1
        return _told(name, made, 200)


def _check(given: dict[str, Any], call: Call) -> None:
    prompt = as_text(given.get("prompt"))
    if not prompt:
        raise Refused(422, "- input: prompt is required")
    unknown = sorted(set(given) - _FIELDS)
    if unknown and call.settings.unknown_fields == "refuse":
        raise Refused(422, f"- input: Additional property {unknown[0]} is not allowed")
    if not 1 <= (as_int(given.get("num_outputs")) or 1) <= 4:
        raise Refused(422, "- input.num_outputs: Must be less than or equal to 4")
    if given.get("output_format", "webp") not in ("webp", "jpg", "png"):
        raise Refused(422, "- input.output_format: must be one of webp, jpg, png")
    for name in ("image", "mask"):
        value = as_text(given.get(name)) or ""
        if value.startswith("data:") and len(value) > _MAX_DATA_BYTES * 4 // 3 + 64:
            raise Refused(422, f"- input.{name}: data URLs may have up to 256kb")


def _told(name: str, made: _Prediction, status: int) -> Reply:
    prompt = str(made.input["prompt"])
    body: dict[str, Any] = {
        "id": name,
        "model": made.model,
        "version": "simulated",
        "input": made.input,
        "output": None,
        "error": None,
        "status": "starting",
        "urls": made.urls,
        "metrics": {},
    }
    if made.cancelled:
        body["status"] = "canceled"
    elif made.asked == 1 or "SLOW_JOB" in prompt:
        body["status"] = "processing" if made.asked else "starting"
    elif made.asked > 1:
        body |= _end(name, made, prompt)
    headers: Headers = [(b"content-type", b"application/json")]
    return Reply(status, headers, _encode(body))


def _end(name: str, made: _Prediction, prompt: str) -> dict[str, Any]:
    if "FAIL_JOB" in prompt:
        return {"status": "failed", "error": "CUDA out of memory."}
    if "BLOCK_PROMPT" in prompt or "FILTER_ANSWER" in prompt:
        return {
            "status": "failed",
            "error": "NSFW content detected. Try running it again, or try a different prompt.",
        }
    form = {"jpg": "jpeg"}.get(str(made.input.get("output_format", "webp")), "png")
    width, height = 64, 64
    ratio = re.fullmatch(r"(\d+):(\d+)", str(made.input.get("aspect_ratio", "1:1")))
    if ratio is not None:
        width, height = int(ratio[1]) * 4, int(ratio[2]) * 4
    if as_int(made.input.get("width")):
        width, height = made.input["width"] // 16, made.input["height"] // 16
    seed = as_int(made.input.get("seed")) or int(name.removeprefix("pred")) % 1_000_000
    urls = [
        f"{made.base}/p/media/pictures/{width}x{height}/{seed + number}.{form}"
        for number in range(as_int(made.input.get("num_outputs")) or 1)
    ]
    several = "num_outputs" in made.input
    return {
        "status": "succeeded",
        "output": urls if several else urls[0],
        "metrics": {"predict_time": SECONDS},
    }
