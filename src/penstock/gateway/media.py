"""What a caller names by its address, fetched by us where the provider cannot: once a call, for all of its attempts.

Rules
- The dialect says which part its provider cannot fetch: it refuses that part alone with a code that ends in ``-url``.
- ``net.fetch`` guards the way: no address of a private network, at any step. This file caps size, time and number.
- What came is what its bytes are, not what its server calls it: a page where a picture should be is refused.
- A part that could not be fetched is a reason against that target, which names the caller's field.
"""

import asyncio
import base64
import re
from fnmatch import fnmatchcase
from urllib.parse import unquote, urlsplit

import msgspec

from penstock.base.chat import Audio, ChatRequest, Document, Image, Message, Part, ToolResult, Video
from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError
from penstock.base.models import Target
from penstock.config.schema import MediaConfig
from penstock.net.fetch import Fetched, Fetcher
from penstock.net.transport import Deadlines
from penstock.wire.http import header
from penstock.wire.ports import UpstreamDialect
from penstock.wire.sniff import kind_of_bytes

Medium = Image | Document | Audio | Video
MOST_FILES = 20
MOST_AT_ONCE = 4
MOST_CALL_BYTES = 100 * 1024 * 1024
"""Of all files of a call together, unless one alone may be larger."""
_WHOLE_CHARS, _SAMPLE_CHARS = 1024 * 1024, 4096
_HEAD = re.compile(r"[A-Za-z0-9+/_\-\s]*")
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]*(?:=\s*){0,2}")
"""Either alphabet, broken into lines or not, padded or not: all of which somebody sends, and providers read."""
_OK = 200
_WEB = ("https://", "http://")


class Media:
    """The files of one call. ``fetcher`` is given where a test looks names up itself."""

    __slots__ = ("_fetcher", "_files", "_settings", "_slots")

    def __init__(self, settings: MediaConfig, fetcher: Fetcher | None = None) -> None:
        self._settings = settings
        self._fetcher = fetcher
        self._files: dict[str, asyncio.Task[tuple[str, bytes] | Rejected]] = {}
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)

    async def fetched(
        self, request: ChatRequest, target: Target, dialect: UpstreamDialect
    ) -> ChatRequest | Rejected | None:
        """The request with what ``target`` cannot fetch put into it; None: it can fetch all, or we may fetch nothing."""
        if not self._settings.fetch:
            return None
        wanted = _wanted(request, target, dialect)
        if not wanted:
            return None
        if len(wanted) > MOST_FILES:
            return _no(
                "", f"names {len(wanted)} files to fetch; at most {MOST_FILES} are fetched", _place_of(wanted)
            )
        for medium in wanted.values():
            if medium.url not in self._files:
                self._files[medium.url] = asyncio.ensure_future(self._fetch(medium.url))
        try:
            await asyncio.gather(*(self._files[medium.url] for medium in wanted.values()))
        finally:
            for task in self._files.values():
                task.cancel()  # where the caller has gone; else all are done
        replaced: dict[tuple[int, int, int], Medium] = {}
        size = 0
        for place, medium in wanted.items():
            found = self._files[medium.url].result()
            if isinstance(found, Rejected):
                return _no(found.code, f"could not be fetched: {found.reason}", place)
            size += len(found[1])
            whole = _filled(medium, *found)
            if isinstance(whole, Rejected):
                return _no(whole.code, whole.reason, place)
            replaced[place] = whole
        if size > max(MOST_CALL_BYTES, self._settings.max_bytes):
            return _no(
                "url-too-large", "and the call's other files are too large together", _place_of(wanted)
            )
        return msgspec.structs.replace(request, messages=_with(request.messages, replaced))

    async def _fetch(self, url: str) -> tuple[str, bytes] | Rejected:
        """Its type and its bytes."""
        seconds = self._settings.timeout_ms / 1000
        try:
            async with self._slots:
                found = await self._way().fetch(url, Deadlines(seconds, seconds, seconds, seconds))
        except UpstreamError as error:
            return Rejected("url-unreachable", error.message.rstrip("."))
        if isinstance(found, Rejected):
            return found
        if found.status != _OK:
            return Rejected("url-status", f"its server answered {found.status}")
        return _kind(found), found.body

    def _way(self) -> Fetcher:
        if self._fetcher is None:
            allowed, denied = self._settings.allow_hosts, self._settings.deny_hosts

            def trusted(host: str) -> bool:
                return _among(host, allowed)

            self._fetcher = Fetcher(
                plain=True,
                most_bytes=self._settings.max_bytes,
                trusted=trusted,
                denied=lambda host: _among(host, denied) and not trusted(host),
            )
        return self._fetcher


def _among(host: str, globs: tuple[str, ...]) -> bool:
    name = host.lower().rstrip(".").strip("[]")
    return any(fnmatchcase(name, one.lower()) for one in globs)


def _kind(found: Fetched) -> str:
    declared = (header(found.headers, b"content-type") or b"").decode("latin-1")
    return kind_of_bytes(found.body, declared)


def _wanted(
    request: ChatRequest, target: Target, dialect: UpstreamDialect
) -> dict[tuple[int, int, int], Medium]:
    """The parts that the dialect refuses for their address, by message, part and picture of a tool's result (-1: itself)."""
    wanted: dict[tuple[int, int, int], Medium] = {}
    for index, message in enumerate(request.messages):
        for number, part in enumerate(message.parts):
            for inner, medium in _media(part):
                if not medium.url.startswith(_WEB) or _has_data(medium):
                    continue
                alone = ChatRequest(request.model, (Message("user", (medium,)),))
                no = dialect.refuse(alone, target)
                if no is not None and no.code.endswith("-url"):
                    wanted[index, number, inner] = medium
    return wanted


def _has_data(medium: Medium) -> bool:
    return bool(medium.data)


def _media(part: Part) -> list[tuple[int, Medium]]:
    match part:
        case Image() | Document() | Audio() | Video():
            return [(-1, part)]
        case ToolResult(images=images):
            return list(enumerate(images))
        case _:
            return []


def _with(messages: tuple[Message, ...], replaced: dict[tuple[int, int, int], Medium]) -> tuple[Message, ...]:
    changed = list(messages)
    for (index, number, inner), medium in replaced.items():
        parts = list(changed[index].parts)
        part = parts[number]
        if isinstance(part, ToolResult) and isinstance(medium, Image):
            images = (*part.images[:inner], medium, *part.images[inner + 1 :])
            parts[number] = msgspec.structs.replace(part, images=images)
        else:
            parts[number] = medium
        changed[index] = msgspec.structs.replace(changed[index], parts=tuple(parts))
    return tuple(changed)


def _filled(medium: Medium, mime: str, body: bytes) -> Medium | Rejected:
    """The part with its bytes; or why they are not what it should be."""
    kind, (name, _, sub) = type(medium).__name__.lower(), mime.partition("/")
    fits = name == kind if kind != "document" else name in ("application", "text")
    if not fits:
        what = f"is {mime}" if mime else "is a page, or nothing that is known"
        return Rejected("url-content", f"{what}, and no {kind}")
    data = base64.b64encode(body).decode()
    match medium:
        case Audio():
            return msgspec.structs.replace(medium, data=data, format=sub, url="")
        case Document():
            filename = medium.filename or unquote(urlsplit(medium.url).path.rpartition("/")[2])
            return msgspec.structs.replace(medium, data=data, mime=mime, url="", filename=filename)
        case Image() | Video():
            return msgspec.structs.replace(medium, data=data, mime=mime, url="")


def _place_of(wanted: dict[tuple[int, int, int], Medium]) -> tuple[int, int, int]:
    return next(iter(wanted))


def not_base64(request: ChatRequest) -> Rejected | None:
    """The first part whose data is no base64, or None. Of a large one its beginning and its end are looked at."""
    for index, message in enumerate(request.messages):
        for number, part in enumerate(message.parts):
            for _, medium in _media(part):
                if medium.data and not _is_base64(medium.data):
                    param = f"messages[{index}].content[{number}]"
                    return Rejected(
                        "data-not-base64",
                        f"The data in {param} is no base64. Send the bytes as base64, without a line's end.",
                        param=param,
                        caller_fault=True,
                    )
    return None


def _is_base64(data: str) -> bool:
    if len(data) > _WHOLE_CHARS:
        return _HEAD.fullmatch(data, 0, _SAMPLE_CHARS) is not None and (
            _BASE64.fullmatch(data, len(data) - _SAMPLE_CHARS) is not None
        )
    return _BASE64.fullmatch(data) is not None


def _no(code: str, what: str, place: tuple[int, int, int]) -> Rejected:
    param = f"messages[{place[0]}].content[{place[1]}]"
    return Rejected(
        code or "url-number",
        f"The address in {param} {what}. Send the bytes instead.",
        param=param,
        caller_fault=True,
    )
