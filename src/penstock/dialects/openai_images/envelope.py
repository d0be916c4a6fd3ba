"""The envelope of an images call: a JSON body or a form -> ImagesAsk; and the neutral request, only to translate.

Theory: JSON and form say the same by the same names; a form's texts are read as the numbers and words they stand for.
The fields that only a gateway reads (models, fallbacks, provider) may stand in either; in a form as JSON text.

References: OpenAI's images/generations and images/edits (specification 2.3.0).
"""

import base64
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct, field

from penstock.base.chat import Ask, Image
from penstock.base.errors import BadRequest
from penstock.base.images import ImagesRequest
from penstock.base.models import PriceRow
from penstock.base.operations import Operation
from penstock.wire.multipart import FormPart, is_form, read_form
from penstock.wire.pictures import look, size_of
from penstock.wire.preferences import ProviderField, read_preferences, refuse_misspelt
from penstock.wire.unreadable import unreadable

Kind = Literal["generation", "edit"]
MOST_PICTURES = 10
MOST_IMAGES = 16
MOST_PROMPT_CHARS = 32_000
MOST_PARTIAL = 3
PICTURE_BYTES = 10_000
"""What a picture that is edited counts for in ``input_bytes``: a few thousand tokens, whatever its base64 is long."""
AUTO_PIXELS = 1536 * 1024
GATEWAY_FIELDS = ("models", "fallbacks", "provider", "penstock")
_FORM_GATEWAY = tuple(f"{name}[" for name in GATEWAY_FIELDS)
QUALITIES = ("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd")
FORMATS = ("png", "webp", "jpeg", "gif", "svg")
BACKGROUNDS = ("transparent", "opaque", "auto")
_REMEDIES = {
    "model": 'Send a string such as "openai/gpt-image-2".',
    "prompt": "Send the words that say what the picture shows.",
    "n": f"Send a whole number from 1 to {MOST_PICTURES}.",
    "size": 'Send "auto", or width and height such as "1024x1024".',
    "quality": f"Send one of {', '.join(QUALITIES)}.",
    "background": f"Send one of {', '.join(BACKGROUNDS)}.",
    "output_format": f"Send one of {', '.join(FORMATS)}.",
    "output_compression": "Send a whole number from 0 to 100.",
    "partial_images": f"Send a whole number from 0 to {MOST_PARTIAL}, together with stream: true.",
    "response_format": "Send b64_json or url.",
    "stream": "Send true or false.",
    "image": f"Send one to {MOST_IMAGES} files named image or image[].",
    "images": 'Send a list of one to 16 objects {"image_url": "data:image/png;base64,..."} or {"file_id": "file-..."}.',
    "mask": "Send a PNG file that is transparent where the picture may change.",
    "provider": 'Send an object such as {"order": ["openai"], "allow_fallbacks": true}.',
    "models": "Send a list of model names.",
    "fallbacks": "Send a list of model names.",
}


class Reference(Struct):
    """A picture in a JSON body."""

    image_url: str | None = None
    file_id: str | None = None


class Fields(Struct):
    """What we read of either body."""

    model: str | None = None
    prompt: str | None = None
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    background: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    moderation: str | None = None
    stream: bool | None = None
    partial_images: int | None = None
    response_format: Literal["b64_json", "url"] | None = None
    style: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    input_fidelity: str | None = None
    images: tuple[Reference, ...] | None = None
    mask: Reference | None = None
    aspect_ratio: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    steps: int | None = None
    num_inference_steps: int | None = None
    guidance: float | None = None
    guidance_scale: float | None = None
    strength: float | None = None
    models: tuple[str, ...] | None = None
    fallbacks: tuple[str, ...] | None = None
    provider: ProviderField | None = None
    penstock: Any = None


KNOWN = frozenset(Fields.__struct_fields__) | {"image", "image[]"}
_decode = msgspec.json.Decoder(Fields).decode


class ImagesAsk(Ask):
    """The envelope of one images call, with what was read on the way. ``link_base``: where a caller reaches us."""

    kind: Kind = "generation"
    fields: Fields = field(default_factory=Fields)
    form: list[FormPart] | None = None
    link_base: str = ""
    row: PriceRow | None = None
    """The prices of the target that the bytes are passed on to: its relay charges by them."""


def read_envelope(kind: Kind, content_type: bytes, body: bytes, link_base: str) -> ImagesAsk:
    """Body -> ImagesAsk. Raises BadRequest naming the field."""
    form: list[FormPart] | None = None
    if is_form(content_type):
        form = read_form(content_type, body)
        fields = _of_form(form)
    else:
        try:
            fields = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unreadable(error, body, _REMEDIES) from None
    pictures = _check(kind, fields, form)
    n = 1 if fields.n is None else fields.n
    wish = fields.provider
    operation: Operation = "images"
    return ImagesAsk(
        "openai",
        body,
        fields.model or "",
        fields.stream is True,
        models=fields.models or (),
        fallbacks=fields.fallbacks or (),
        provider=None if wish is None else read_preferences(wish, body if form is None else b""),
        n=n,
        input_bytes=len((fields.prompt or "").encode()) + pictures * PICTURE_BYTES,
        gateway_fields=tuple(name for name in GATEWAY_FIELDS if getattr(fields, name) is not None),
        user=fields.user or fields.safety_identifier or "",
        operation=operation,
        units=(("image", n), ("pixel", n * _pixels(fields.size))),
        kind=kind,
        fields=fields,
        form=form,
        link_base=link_base,
    )


def _pixels(size: str | None) -> int:
    found = size_of(size)
    return AUTO_PIXELS if found is None else found[0] * found[1]


def _of_form(form: list[FormPart]) -> Fields:
    """The texts of a form. JSON where a field is a list or an object."""
    given: dict[str, Any] = {}
    for part in form:
        if part.filename is not None or part.name in ("image", "image[]", "mask"):
            continue
        text = part.data.decode("utf-8", "replace")
        if part.name in (*GATEWAY_FIELDS, "images"):
            try:
                given[part.name] = msgspec.json.decode(part.data)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise _wrong(part.name, f"The field {part.name} of the form is not JSON.") from None
        elif text:
            given[part.name] = text
    try:
        fields = msgspec.convert(given, Fields, strict=False)
    except msgspec.ValidationError as error:
        raise unreadable(error, b"", _REMEDIES) from None
    if fields.provider is not None:
        refuse_misspelt(given["provider"])
    return fields


def _check(kind: Kind, fields: Fields, form: list[FormPart] | None) -> int:
    """Raises BadRequest for what no provider can take. How many pictures there are to edit."""
    if not fields.model and not fields.models:
        raise _wrong("model", "The field model is missing.")
    if not fields.prompt:
        raise _wrong("prompt", "The field prompt is missing.")
    if len(fields.prompt) > MOST_PROMPT_CHARS:
        raise _wrong(
            "prompt",
            f"The field prompt has {len(fields.prompt)} characters; {MOST_PROMPT_CHARS} are the most.",
        )
    if fields.n is not None and not 1 <= fields.n <= MOST_PICTURES:
        raise _wrong("n", f"The field n is {fields.n}.")
    if fields.partial_images is not None and not 0 <= fields.partial_images <= MOST_PARTIAL:
        raise _wrong("partial_images", f"The field partial_images is {fields.partial_images}.")
    if fields.partial_images and not fields.stream:
        raise _wrong("partial_images", "The field partial_images is for streams.")
    if fields.output_compression is not None and not 0 <= fields.output_compression <= 100:
        raise _wrong("output_compression", f"The field output_compression is {fields.output_compression}.")
    if fields.stream and fields.response_format == "url":
        raise BadRequest(
            "A stream carries its pictures itself: response_format url is for whole replies.",
            param="response_format",
            hint="Leave stream out, or ask for b64_json.",
        )
    if kind == "generation":
        return 0
    pictures = len(fields.images or ())
    if form is not None:
        pictures += sum(part.name in ("image", "image[]") for part in form)
    name = "image" if form is not None else "images"
    if not pictures:
        raise _wrong(name, f"The field {name} is missing: there is no picture to edit.")
    if pictures > MOST_IMAGES:
        raise _wrong(name, f"There are {pictures} pictures to edit.")
    return pictures


def expand(ask: ImagesAsk) -> ImagesRequest:
    """The neutral request. Raises BadRequest naming the field."""
    fields = ask.fields
    for name, allowed in (("quality", QUALITIES), ("output_format", FORMATS), ("background", BACKGROUNDS)):
        value = getattr(fields, name)
        if value is not None and value not in allowed:
            raise _wrong(name, f"The field {name} is {value[:40]!r}.")
    if fields.size not in (None, "auto") and size_of(fields.size) is None:
        raise _wrong("size", f"The field size is {fields.size[:40]!r}.")
    images, mask = (
        (_of_parts(ask.form) if ask.form is not None else ((), None)) if ask.kind == "edit" else ((), None)
    )
    if ask.kind == "edit":
        images += tuple(_image(one, f"images[{at}]") for at, one in enumerate(fields.images or ()))
        mask = mask or (None if fields.mask is None else _image(fields.mask, "mask"))
    extras = _extras(ask)
    return ImagesRequest(
        model=ask.model,
        prompt=fields.prompt or "",
        n=ask.n,
        size=None if fields.size == "auto" else fields.size,
        aspect_ratio=fields.aspect_ratio,
        quality=None if fields.quality == "auto" else fields.quality,
        background=fields.background if fields.background != "auto" else None,  # type: ignore[arg-type] - checked above
        output_format=fields.output_format,
        output_compression=fields.output_compression,
        response_format=fields.response_format,
        stream=ask.stream,
        partial_images=fields.partial_images or None,
        moderation=None if fields.moderation == "auto" else fields.moderation,
        images=images,
        mask=mask,
        input_fidelity=fields.input_fidelity,
        style=fields.style,
        negative_prompt=fields.negative_prompt,
        seed=fields.seed,
        steps=fields.steps if fields.steps is not None else fields.num_inference_steps,
        guidance=fields.guidance if fields.guidance is not None else fields.guidance_scale,
        strength=fields.strength,
        user=fields.user or fields.safety_identifier,
        extras={"openai": extras} if extras else {},
    )


def _extras(ask: ImagesAsk) -> dict[str, Any]:
    """What the neutral form has no word for."""
    if ask.form is not None:
        return {
            part.name: part.data.decode("utf-8", "replace")
            for part in ask.form
            if part.filename is None and part.name not in KNOWN and not part.name.startswith(_FORM_GATEWAY)
        }
    raw = msgspec.json.decode(ask.body, type=dict[str, Raw])
    return {name: msgspec.json.decode(value) for name, value in raw.items() if name not in KNOWN}


def _of_parts(form: list[FormPart]) -> tuple[tuple[Image, ...], Image | None]:
    images: list[Image] = []
    mask: Image | None = None
    for part in form:
        if part.name in ("image", "image[]"):
            images.append(_of_bytes(part.data, part.name))
        elif part.name == "mask":
            mask = _of_bytes(part.data, "mask")
    return tuple(images), mask


def _of_bytes(data: bytes, param: str) -> Image:
    facts = look(data)
    if facts is None:
        raise _wrong(param.removesuffix("[]"), f"The file of the field {param} is no PNG, JPEG, WebP or GIF.")
    return Image(data=base64.b64encode(data).decode(), mime=facts.mime)


def _image(one: Reference, param: str) -> Image:
    if one.file_id:
        raise BadRequest(
            f"The field {param}.file_id names a file that only its own provider knows.",
            param=f"{param}.file_id",
            hint="Send the picture itself as image_url: data:image/png;base64,...",
        )
    url = one.image_url or ""
    if url.startswith("data:"):
        head, comma, data = url.partition(",")
        if not comma or not head.endswith(";base64"):
            raise _wrong("images", f"The field {param}.image_url is no base64 data URL.")
        return Image(data=data, mime=head[5:].partition(";")[0])
    if not url.startswith(("https://", "http://")):
        raise _wrong("images", f"The field {param}.image_url is neither a data URL nor a web address.")
    return Image(url=url)


def _wrong(param: str, message: str) -> BadRequest:
    return BadRequest(message, param=param, hint=_REMEDIES.get(param))
