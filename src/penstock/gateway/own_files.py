"""The gateway's own files in a call: ``file-...`` ids that /v1/files gave out, put into the body as the bytes they stand for.

Theory: no provider knows our ids, so they are replaced once, before the body is read, whoever will answer: what goes through
unchanged afterwards is right, and so is what is translated. The body keeps its shape; only the fields that hold the
conversation, or the pictures, are written anew.

Rules
- Only a part's own place for a file is looked at, never words, nor what a model wrote as a tool's arguments.
- Only files of this virtual key are found. An id that is none of them stays: it may be the provider's own.
"""

import asyncio
import base64
import mimetypes
import re
from collections.abc import Iterator
from typing import Any, cast

import msgspec

from penstock.base.errors import BodyTooLarge, PenstockError
from penstock.gateway.house import House
from penstock.gateway.large import lighten
from penstock.gateway.ports import Inbound
from penstock.gateway.settle import CallFacts
from penstock.wire.large import LARGE_BYTES
from penstock.wire.sniff import kind_of_bytes
from penstock.wire.splice import edit, spans

KIND = "file"
INLINED = "file-inlined"
_FIELDS = ("messages", "input", "contents", "images", "mask")
_ID = re.compile(rb'"(file-[0-9a-f]{24})"')
"""As ``objects.names.new_id`` makes them."""
_ASIDE_BYTES = 256 * 1024
_TEXT = "text/"
_UNKNOWN = "application/octet-stream"
_encode = msgspec.json.Encoder().encode
Json = dict[str, Any]
Found = tuple[str, str, bytes]
"""Its name, its type, its bytes."""


async def inline_files(house: House, inbound: Inbound, facts: CallFacts) -> None:
    """Put the caller's files into ``inbound.body``, and take it apart if it is large. Raises what a credential may be refused for, and BodyTooLarge."""
    # find, not "in": CPython first takes the needle for an int and words an error about it
    if len(inbound.body) > LARGE_BYTES and not inbound.looked:
        house.doors.admit(inbound.told, inbound.known, facts.at_ms / 1000)  # for nobody it is not done
        await lighten(inbound)
    said = inbound.body if inbound.bulk is None else inbound.bulk.slim
    if said.find(b'"file-') < 0 or said[:1] not in (b"{", b" ", b"\n"):
        return
    names = dict.fromkeys(match[1].decode() for match in _ID.finditer(said))
    if not names:
        return
    owner = house.doors.admit(inbound.told, inbound.known, facts.at_ms / 1000).name
    files = dict[str, Found]()
    room = house.config.server.max_body_bytes - len(inbound.body)
    for name in names:
        stored = await house.keeper.get(KIND, name, owner)
        if stored is None:
            continue
        room -= stored.size * 4 // 3
        if room < 0:
            raise BodyTooLarge(
                f"With the bytes of its files the request is over {house.config.server.max_body_bytes} bytes; {name} "
                "does not fit any more (server.max_body_bytes).",
                param=name,
            )
        body = await house.keeper.body(KIND, name, owner)
        if body is not None:
            filename = str(stored.meta.get("filename", ""))
            files[name] = (filename, _mime(filename, body), body)
    if not files:
        return
    large = len(inbound.body) + sum(len(one[2]) for one in files.values()) > _ASIDE_BYTES
    made = (
        await asyncio.to_thread(with_files, inbound.body, files) if large else with_files(inbound.body, files)
    )
    if made is not None:
        inbound.body, inbound.ask, inbound.bulk, inbound.looked = made, None, None, False
        facts.inlined = (INLINED,)
        await lighten(inbound)


def with_files(body: bytes, files: dict[str, Found]) -> bytes | None:
    """``body`` with these files in it; None: it cannot be read (its reader will say why), or names none of them as a part."""
    try:
        places = spans(body)
        written = dict[str, bytes]()
        for field in _FIELDS:
            if field not in places:
                continue
            _, start, end = places[field]
            value = msgspec.json.decode(body[start:end])
            if _fill(field, value, files):
                written[field] = _encode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, PenstockError):
        return None
    return edit(body, places, replace=written) if written else None


def _fill(field: str, value: Any, files: dict[str, Found]) -> bool:
    if field in ("images", "mask"):
        filled = [_picture(one, files) for one in _objects(value if field == "images" else [value])]
        return True in filled
    done = False
    for message in _objects(value):
        for part in (message, *_parts(message)):
            filled = _one(part, files)
            done = done or filled
    return done


def _objects(value: Any) -> Iterator[Json]:
    if isinstance(value, list):
        for one in cast("list[Any]", value):
            if isinstance(one, dict):
                yield cast("Json", one)


def _parts(message: Json) -> Iterator[Json]:
    """A message's parts, and those of the tool results among them."""
    for name in ("content", "parts", "output"):
        for part in _objects(message.get(name)):
            yield part
            if part.get("type") == "tool_result":
                yield from _objects(part.get("content"))


def _picture(one: Json, files: dict[str, Found]) -> bool:
    found = _known(one.get("file_id"), files)
    if found is None:
        return False
    del one["file_id"]
    one["image_url"] = _url(found)
    return True


def _known(name: Any, files: dict[str, Found]) -> Found | None:
    return files.get(name) if isinstance(name, str) else None


def _one(part: Json, files: dict[str, Found]) -> bool:
    """Fill one part; whether there was a file of ours."""
    match part:
        case {"type": "file", "file": {"file_id": name}} if found := _known(name, files):
            if found[1].startswith("image/"):
                del part["file"]
                part.update(type="image_url", image_url={"url": _url(found)})
            else:
                _file(part["file"], found)
        case {"type": "input_file", "file_id": name} if found := _known(name, files):
            if found[1].startswith("image/"):
                del part["file_id"]
                part.pop("filename", None)
                part.update(type="input_image", image_url=_url(found))
            else:
                _file(part, found)
        case {"type": "input_image", "file_id": name} if found := _known(name, files):
            del part["file_id"]
            part["image_url"] = _url(found)
        case {"type": "document" | "image", "source": {"type": "file", "file_id": name}} if found := _known(
            name, files
        ):
            part["source"] = _source(found)
            if found[1].startswith("image/"):
                part["type"] = "image"
        case {"fileData": {"fileUri": name}} | {"file_data": {"file_uri": name}} if found := _known(
            name, files
        ):
            part.pop("fileData", None)
            part.pop("file_data", None)
            part["inlineData"] = {"mimeType": found[1], "data": base64.b64encode(found[2]).decode()}
        case _:
            return False
    return True


def _file(facts: Json, found: Found) -> None:
    del facts["file_id"]
    facts["file_data"] = _url(found)
    if not facts.get("filename"):
        facts["filename"] = found[0] or "file"


def _source(found: Found) -> Json:
    _, mime, body = found
    if mime.startswith(_TEXT):
        return {"type": "text", "media_type": "text/plain", "data": body.decode("utf-8", "replace")}
    return {"type": "base64", "media_type": mime, "data": base64.b64encode(body).decode()}


def _url(found: Found) -> str:
    return f"data:{found[1]};base64,{base64.b64encode(found[2]).decode()}"


def _mime(filename: str, body: bytes) -> str:
    declared = mimetypes.guess_type(filename)[0] or ""
    return kind_of_bytes(body, declared) or declared or _UNKNOWN
