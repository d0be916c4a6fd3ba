"""fal's queue as its servers write it: submit, status, result, cancel; and the host that its pictures lie on.

Source: shared facts of fal_client 1.0.3 and of third-party copies of fal's OpenAPI, read 2026-11. A job stands in the
queue, runs, and is done: one step a question. In a prompt ``FAIL_JOB`` ends it in an error, ``SLOW_JOB`` never ends it,
``LOST_PICTURE`` points at a picture that is not there. Pictures are scaled down to a sixteenth.

Pictures lie on another host than the queue, whose credential they must not get: here ``/p/media``. A caller at the root of
the simulator cannot tell the two apart: its pictures lie at ``/p/here``, where a credential does no harm.
"""

import re
from typing import Any

import msgspec
from msgspec import Struct

from penstock.simulate.picture import jpeg, png
from penstock.simulate.reply import Call, Refused, Reply
from penstock.simulate.untyped import as_int, as_object, as_text
from penstock.wire.http import Headers, header

_encode = msgspec.json.Encoder().encode
_FIELDS = frozenset(
    {
        "prompt",
        "image_size",
        "aspect_ratio",
        "num_images",
        "num_inference_steps",
        "guidance_scale",
        "seed",
        "enable_safety_checker",
        "sync_mode",
        "output_format",
        "image_url",
        "image_urls",
        "mask_url",
        "strength",
    }
)
_SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
_SCALE = 16
_JOB = re.compile(r"^/([^/]+/[^/]+)/requests/([^/]+)(/status|/cancel)?$")
_PICTURE = re.compile(r"^/pictures/(\d+)x(\d+)/(\d+)\.(png|jpeg)$")
SECONDS = 1.25
"""What every job says that it took."""


class _Job(Struct):
    body: dict[str, Any]
    media: str
    """Where its pictures lie."""
    asked: int = 0
    cancelled: bool = False


class Fal:
    """The dialect, with its jobs."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        picture = _PICTURE.match(call.path)
        if picture is not None:
            return _file(picture, call)
        if not call.key:
            raise Refused(401, "Authentication is required to access this application.")
        job = _JOB.match(call.path)
        if job is not None:
            return self._ask(job[2], job[3] or "", call)
        if call.method != "POST":
            raise Refused(405, "Method Not Allowed")
        return self._submit(call)

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply."""
        detail: Any = refused.message or "the simulator was told so"
        if refused.kind:
            detail = [{"loc": ["body", "prompt"], "msg": refused.message, "type": refused.kind}]
        headers: Headers = [*_headers(call), (b"x-fal-error-type", (refused.kind or "error").encode())]
        return Reply(refused.status, headers, _encode({"detail": detail}))

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """Never streamed."""
        return self.refuse(refused, call).body

    def _submit(self, call: Call) -> Reply:
        body = as_object(call.json)
        prompt = as_text(body.get("prompt"))
        if not prompt:
            raise Refused(422, "field required", kind="missing")
        unknown = sorted(set(body) - _FIELDS)
        if unknown and call.settings.unknown_fields == "refuse":
            raise Refused(422, f"Extra inputs are not permitted: {unknown[0]}", kind="extra_forbidden")
        n = body.get("num_images", 1)
        if not isinstance(n, int) or not 1 <= n <= 10:
            raise Refused(422, "num_images: must be between 1 and 10", kind="less_than_equal")
        if body.get("output_format", "jpeg") not in ("jpeg", "png"):
            raise Refused(422, "output_format: must be jpeg or png", kind="literal_error")
        if "BLOCK_PROMPT" in prompt:
            raise Refused(
                422,
                "The content could not be processed because it contained material flagged by a content checker.",
                kind="content_policy_violation",
            )
        name = f"req-{call.serial}"
        host = f"http://{(header(call.headers, b'host') or b'').decode()}"
        self._jobs[name] = _Job(body, f"{host}/p/{'here' if call.root == host else 'media'}")
        # A job is below its application, without what follows it in the endpoint's name.
        app = "/".join(call.path.split("/")[1:3])
        job = f"{call.root}/{app}/requests/{name}"
        return _json(
            {
                "status": "IN_QUEUE",
                "request_id": name,
                "response_url": job,
                "status_url": f"{job}/status",
                "cancel_url": f"{job}/cancel",
                "queue_position": 0,
            },
            call,
        )

    def _ask(self, name: str, what: str, call: Call) -> Reply:
        job = self._jobs.get(name)
        if job is None:
            raise Refused(404, "Request not found")
        if what == "/cancel":
            job.cancelled = True
            return _json({"status": "CANCELLATION_REQUESTED"}, call, 202)
        if what == "/status":
            return self._status(name, job, call)
        return _result(job, call)

    def _status(self, name: str, job: _Job, call: Call) -> Reply:
        job.asked += 1
        prompt = str(job.body["prompt"])
        status: dict[str, Any] = {"request_id": name, "status": "IN_PROGRESS", "logs": None}
        if job.asked == 1:
            status |= {"status": "IN_QUEUE", "queue_position": 0}
        elif job.asked > 2 and ("SLOW_JOB" not in prompt or job.cancelled):
            status |= {"status": "COMPLETED", "metrics": {"inference_time": SECONDS}}
            if "FAIL_JOB" in prompt or job.cancelled:
                status |= {"error": "Internal Server Error", "error_type": "internal_server_error"}
        return _json(status, call, 200 if status["status"] == "COMPLETED" else 202)


def _result(job: _Job, call: Call) -> Reply:
    body, prompt = job.body, str(job.body["prompt"])
    if "FAIL_JOB" in prompt:
        raise Refused(500, "Internal Server Error", kind="internal_server_error")
    size = body.get("image_size", "landscape_4_3")
    width, height = _SIZES.get(str(size), (1024, 1024))
    if isinstance(size, dict):
        given = as_object(size)
        width, height = as_int(given.get("width")) or 512, as_int(given.get("height")) or 512
    form = str(body.get("output_format", "jpeg"))
    n = as_int(body.get("num_images")) or 1
    place = "lost" if "LOST_PICTURE" in prompt else "pictures"
    seed = as_int(body.get("seed")) or call.serial % 1_000_000
    images = [
        {
            "url": f"{job.media}/{place}/{width // _SCALE}x{height // _SCALE}/{seed + number}.{form}",
            "width": width,
            "height": height,
            "content_type": f"image/{form}",
        }
        for number in range(n)
    ]
    filtered = "FILTER_ANSWER" in prompt
    return _json(
        {
            "images": images,
            "timings": {"inference": SECONDS},
            "seed": seed,
            "has_nsfw_concepts": [filtered] * n,
            "prompt": prompt,
        },
        call,
    )


def _file(picture: "re.Match[str]", call: Call) -> Reply:
    if call.key and call.provider != "here":
        raise Refused(400, "A credential was sent to the host of the pictures.")
    width, height, seed, form = int(picture[1]), int(picture[2]), int(picture[3]), picture[4]
    data = jpeg() if form == "jpeg" else png(max(1, width), max(1, height), seed)
    return Reply(200, [(b"content-type", f"image/{form}".encode())], data)


def _headers(call: Call) -> Headers:
    return [(b"content-type", b"application/json"), (b"x-fal-request-id", b"req-%d" % call.serial)]


def _json(value: dict[str, Any], call: Call, status: int = 200) -> Reply:
    return Reply(status, _headers(call), _encode(value))
