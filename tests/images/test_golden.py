"""What each dialect sends, byte for byte, beside its golden file; UPDATE_GOLDEN=1 writes them anew."""

import base64
import os
import re
from pathlib import Path

import pytest

from penstock.base.chat import Image
from penstock.base.images import ImagesRequest
from penstock.simulate.picture import png
from penstock.wire.http import WireRequest
from penstock.wire.ports import Elsewhere
from tests.images.kit import dialogue, target

GOLDEN = Path(__file__).parents[1] / "golden" / "images"
PICTURE = Image(data=base64.b64encode(png(1, 1, 0)).decode(), mime="image/png")
RICH = ImagesRequest(
    "m",
    "a mill at a river",
    n=2,
    size="1536x1024",
    quality="high",
    output_format="jpeg",
    output_compression=80,
    moderation="low",
    negative_prompt="people",
    seed=7,
    steps=20,
    guidance=3.5,
    user="u-1",
    extras={"openai": {"house_style": "plain"}},
)
PLAIN = ImagesRequest("m", "a mill")
EDIT = ImagesRequest("m", "in winter", images=(PICTURE,), strength=0.4)
CASES: dict[str, tuple[str, ImagesRequest, str]] = {
    "openai-rich": ("openai", RICH, ""),
    "openai-other-server": ("openai", RICH, "flux-2"),
    "openai-edit": ("openai", EDIT, "flux-2"),
    "gemini-rich": ("gemini", RICH, "gemini-3-pro-image"),
    "gemini-edit": ("gemini", EDIT, ""),
    "vertex-plain": ("vertex", PLAIN, ""),
    "stability-rich": ("stability", RICH, "sd3.5-large"),
    "stability-ultra-edit": ("stability", EDIT, "stable-image-ultra"),
    "fal-rich": ("fal", RICH, ""),
    "fal-by-ratio": ("fal", RICH, "fal-ai/nano-banana"),
    "fal-edit": ("fal", EDIT, "fal-ai/flux/dev/image-to-image"),
    "replicate-rich": ("replicate", RICH, ""),
    "replicate-one-by-one": ("replicate", RICH, "black-forest-labs/flux-1.1-pro"),
    "replicate-version": ("replicate", PLAIN, "o/m:abc123"),
    "replicate-edit": ("replicate", EDIT, ""),
}


def shown(what: WireRequest | Elsewhere) -> bytes:
    assert isinstance(what, WireRequest)
    lines = [what.method + b" " + what.path, *[b"%b: %b" % pair for pair in what.headers], b"", what.body]
    return re.sub(rb"penstock-[0-9a-f]{32}", b"BOUNDARY", b"\n".join(lines).replace(b"\r\n", b"\n"))


@pytest.mark.parametrize("name", CASES)
def test_the_requests_are_as_they_were_agreed(name: str):
    """And the words that say what was changed."""
    dialect, request, model = CASES[name]
    talk = dialogue(dialect, request, target(dialect, model))
    sends = [shown(send.what) for send in talk.begin().sends]
    found = b"\n=====\n".join([("adjusted: " + ", ".join(talk.adjusted)).encode(), *sends]) + b"\n"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(found)
    assert found == path.read_bytes()
