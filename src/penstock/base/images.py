"""What a caller asks of an image model, in the neutral form that every upstream dialect can write."""

from typing import Any, Literal

from msgspec import Struct, field

from penstock.base.chat import Image


class ImagesRequest(Struct):
    """Pictures to make, or to make of ``images``. Absent is None: what the caller did not say is not sent.

    ``size`` is "WxH" or "auto". ``images`` are what is edited, the first one foremost (their ``data`` is base64 or they
    have a ``url``); none: a generation. ``mask``: transparent (alpha 0) is what may change, as OpenAI has it.
    ``response_format``: "url" is served from our own store. ``seed``, ``steps``, ``guidance``, ``strength`` and
    ``negative_prompt`` are what diffusion models take beside OpenAI's fields.
    """

    model: str
    prompt: str
    n: int = 1
    size: str | None = None
    aspect_ratio: str | None = None
    quality: str | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    output_format: str | None = None
    output_compression: int | None = None
    response_format: Literal["b64_json", "url"] | None = None
    stream: bool = False
    partial_images: int | None = None
    moderation: str | None = None
    images: tuple[Image, ...] = ()
    mask: Image | None = None
    input_fidelity: str | None = None
    style: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    strength: float | None = None
    user: str | None = None
    extras: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])

    @property
    def operation_name(self) -> str:
        """Which of the two it is, for messages."""
        return "edit" if self.images else "generation"
