"""Gemini's picture models in the simulator: who asks for responseModalities IMAGE gets one, at what it costs there."""

import base64
import re
from typing import Any

from msgspec.structs import replace

from penstock.simulate.content import Answer
from penstock.simulate.picture import png
from penstock.simulate.reply import Call
from penstock.simulate.untyped import as_int, as_list, as_object, as_text

IMAGE_TOKENS = 1290
_RATIO = re.compile(r"(\d+):(\d+)")


def drawn(answer: Answer, config: dict[str, Any]) -> Answer:
    """A picture, and words only where they were asked for as well."""
    wanted = as_list(config.get("responseModalities"))
    if "IMAGE" not in wanted or answer.stop != "stop":
        return answer
    answer.image = True
    if "TEXT" not in wanted:
        answer.text = []
        answer.usage = replace(answer.usage, output=0)
    answer.usage = replace(answer.usage, output_image=IMAGE_TOKENS)
    return answer


def picture_of(config: dict[str, Any], call: Call) -> dict[str, Any]:
    """The part: scaled down, its aspect ratio as it was asked."""
    shape = as_object(config.get("imageConfig"))
    found = _RATIO.fullmatch(as_text(shape.get("aspectRatio")))
    width, height = (int(found[1]), int(found[2])) if found else (1, 1)
    data = png(width * 8, height * 8, as_int(config.get("seed")) or call.serial % 100_000)
    return {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}}
