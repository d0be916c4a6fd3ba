"""Large files of a call, brought to the provider that is about to be asked, and named in the request instead.

Theory
------
It is done to the request as it was written for its provider, whoever wrote it: passed through or translated, what stands there
is in the provider's own words, and a provider's service (wire.uploads) knows them. Of a large body only the slim form is read
(base.bulk); the file is decoded out of the caller's own body while it is sent (wire.poured), and in its place in the request
stands a name. What has no large files, or stays under its provider's limit, comes here for one comparison.

Rules
- A file is brought to the account that the attempt spends on, for one virtual key, and found again only there (upload_shelf).
  Another key or another provider gets its own, or the bytes.
- A caller that wants nothing kept (``zdr``, ``data_collection: deny``) has nothing uploaded.
- The provider may say that a file is gone: it is forgotten and brought anew, once an attempt.
- A file that cannot be brought stands in the request, if that is then small enough for the provider; else the attempt has
  failed with what the upload failed with.
"""

import asyncio
import secrets
import time
from typing import Any

import msgspec
from msgspec import Struct

from penstock.base.bulk import Bulk, size_of
from penstock.base.chat import Ask
from penstock.base.errors import PenstockError, UpstreamError, UpstreamTimeout
from penstock.config.schema import UploadsConfig
from penstock.gateway.house import House, Provider
from penstock.gateway.settle import CallFacts
from penstock.gateway.upload_desk import UploadDesk, service_of
from penstock.gateway.upload_shelf import Known, Shelf, content_key
from penstock.observe.names import UPLOADS
from penstock.wire.http import WireRequest
from penstock.wire.large import LARGE_BYTES, take_apart
from penstock.wire.poured import Decoded
from penstock.wire.splice import Span, edit, spans
from penstock.wire.uploads import Inline, NewFile, Uploaded, UploadService, says_gone

_ASIDE_BYTES = 256 * 1024
_SLACK_S = 3600
"""A provider that deletes a file by itself does so later than we would."""
_encode = msgspec.json.Encoder().encode


class _Written(Struct):
    """A written request, read again. ``bulk``: what the tokens in ``body`` stand for."""

    request: WireRequest
    body: bytes
    bulk: Bulk | None
    size: int
    found: dict[str, Span]
    fields: dict[str, Any]
    inlines: list[Inline]


class _Place(Struct):
    """One file on its way. ``json``: its base64 as it stands in the body."""

    inline: Inline
    json: bytes
    size: int
    key: str
    known: Known | None = None


class Uploads:
    """Of one call."""

    def __init__(self, house: House, facts: CallFacts) -> None:
        self._house = house
        self._facts = facts

    async def placed(
        self, provider: Provider, credential: str, request: WireRequest, until_s: float
    ) -> "Placing | None":
        """The request with its large files at the provider; None: it goes as it is. Raises UpstreamError."""
        ask = self._facts.ask
        used = service_of(self._house, provider.name)
        if used is None or ask is None or ask.operation != "chat":
            return None
        service, settings = used
        size = request.size + (0 if ask.bulk is None else ask.bulk.hidden_bytes)
        if not (_is_over(service, size) or (settings.when == "large" and size > settings.min_bytes)):
            return None
        large = len(request.body) > _ASIDE_BYTES
        found = (request, ask.bulk, size, service)
        written = await asyncio.to_thread(_read, *found) if large else _read(*found)
        chosen = [] if written is None else chosen_of(service, settings, size, written.inlines)
        if written is None or not chosen:
            return None
        if _wants_nothing_kept(ask):
            self._facts.note(
                "file",
                target=provider.name,
                reason="its files stay in the request: the caller wants nothing kept",
            )
            return None
        places = [_place(inline, provider, credential) for inline in chosen]
        placing = Placing(self._house, self._facts, provider, credential, used, written, places)
        return placing if await placing.place(until_s) else None


def _is_over(service: UploadService, size: int) -> bool:
    return service.most_request_bytes is not None and size > service.most_request_bytes


def _wants_nothing_kept(ask: Ask) -> bool:
    wishes = ask.provider
    return wishes is not None and (wishes.zdr or wishes.data_collection == "deny")


def chosen_of(
    service: UploadService, settings: UploadsConfig, size: int, inlines: list[Inline]
) -> list[Inline]:
    """Which files are uploaded: the large ones where that is wanted, and the largest until the rest is small enough."""
    chosen: list[Inline] = []
    for inline in sorted(inlines, key=lambda one: size_of(one.data), reverse=True):
        chars = size_of(inline.data)
        file_bytes = chars * 3 // 4
        wanted = settings.when == "large" and file_bytes >= settings.min_bytes
        needed = chars >= LARGE_BYTES and _is_over(service, size)
        if file_bytes <= service.most_file_bytes and (wanted or needed):
            chosen.append(inline)
            size -= chars
    return chosen


def _read(request: WireRequest, bulk: Bulk | None, size: int, service: UploadService) -> _Written | None:
    """The request read again; None: it cannot be read, and whoever is sent it will say so."""
    body = request.body
    if bulk is None:
        taken = (take_apart(body, name.encode()) for name in service.fields)
        bulk = next((one for one in taken if one is not None), None)
        body = body if bulk is None else bulk.slim
    fields: dict[str, Any] = {}
    inlines: list[Inline] = []
    try:
        found = spans(body)
        for name in service.fields:
            if name in found:
                _, start, end = found[name]
                fields[name] = msgspec.json.decode(body[start:end])
                inlines += service.inlines(fields[name])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, PenstockError):
        return None
    return _Written(request, body, bulk, size, found, fields, inlines)


def _place(inline: Inline, provider: Provider, credential: str) -> _Place:
    json = _encode(inline.data)[1:-1]
    key = content_key(provider.name, credential, inline.mime, inline.filename, json)
    return _Place(inline, json, size_of(inline.data), key)


class Placing:
    """A request whose large files are at the provider, or on their way (gateway.beside.Placed)."""

    def __init__(
        self,
        house: House,
        facts: CallFacts,
        provider: Provider,
        credential: str,
        used: tuple[UploadService, UploadsConfig],
        written: _Written,
        places: list[_Place],
    ) -> None:
        self._house = house
        self._facts = facts
        self._provider = provider
        self._credential = credential
        self._service, self._settings = used
        self._written = written
        self._places = places
        self._shelf = Shelf(house.keeper, facts.principal.name)
        self._once_more = True
        self.request = written.request

    async def again(self, error: UpstreamError, until_s: float) -> "Placing | None":
        """With files that were gone brought anew, once; None: that is not what the provider says."""
        gone = [
            place
            for place in self._places
            if place.known is not None and says_gone(error.upstream_status, error.message, place.known.file)
        ]
        if not gone or not self._once_more:
            return None
        self._once_more = False
        for place in gone:
            known, place.known = place.known, None
            assert known is not None
            self._note(f"{known.file.id} is gone, says {self._provider.name}")
            await self._shelf.drop(place.key, known)
        return self if await self.place(until_s) else None

    async def place(self, until_s: float) -> bool:
        """See to it that the files are there. False: the request goes as it is. Raises UpstreamError."""
        failure: PenstockError | None = None
        for place in self._places:
            if place.known is not None:
                continue
            try:
                place.known = await self._found_or_brought(place, until_s)
            except ValueError as error:
                self._note(f"a file stays in the request: {error}")
            except PenstockError as error:
                failure = failure or error
                self._count("failed")
                self._note(
                    f"a file could not be brought to {self._provider.name}: {error.message}", error.code
                )
                if isinstance(error, UpstreamTimeout) and error.phase == "total":
                    raise  # the call's own time is over
        there = [place for place in self._places if place.known is not None]
        left = self._written.size - sum(place.size for place in there)
        if failure is not None and _is_over(self._service, left):
            raise failure
        return bool(there) and self._write(there)

    def _write(self, there: list[_Place]) -> bool:
        written, gone = self._written, frozenset[bytes]()
        for place in there:
            assert place.known is not None
            place.inline.put(place.known.file)
            gone |= frozenset() if written.bulk is None else written.bulk.tokens(place.json)
        values = {name: _encode(value) for name, value in written.fields.items()}
        body = edit(written.body, written.found, replace=values)
        pieces = () if written.bulk is None else written.bulk.fill(body, gone)
        if pieces is None:
            return False
        words = [f"{place.inline.kind}-uploaded" for place in there]
        adjusted = tuple(dict.fromkeys((*written.request.adjusted, *words)))
        self.request = msgspec.structs.replace(
            written.request, body=b"" if pieces else body, pieces=pieces, adjusted=adjusted
        )
        self._service.dress(self.request)
        return True

    async def _found_or_brought(self, place: _Place, until_s: float) -> Known:
        """One that is there, or will be when another call has brought it; or brought now. ValueError: it is no base64."""
        flights, flight = self._house.uploads, (self._facts.principal.name, place.key)
        while (other := flights.get(flight)) is not None:
            await asyncio.wait((other,), timeout=max(0.0, until_s - time.monotonic()))
            if not other.done():
                raise UpstreamTimeout("The call's deadline passed before a file was brought.", phase="total")
        mine = flights[flight] = asyncio.get_running_loop().create_future()
        try:
            known = await self._shelf.find(place.key)
            if known is None:
                return await self._brought(place, until_s)
            self._count("reused")
            self._note(f"reused file {known.file.id} of {self._provider.name}")
            return known
        finally:
            del flights[flight]
            mine.set_result(None)

    async def _brought(self, place: _Place, until_s: float) -> Known:
        begun_s = time.monotonic()
        provider, service, bulk = self._provider, self._service, self._written.bulk
        pieces = (memoryview(place.json),) if bulk is None else bulk.pieces(place.json)
        body = await asyncio.to_thread(Decoded, pieces)
        keep_s = min(self._settings.keep_s, service.most_life_s)
        longest_s = self._house.config.server.total_timeout_ms // 1000 + 1
        gone_s = keep_s + longest_s + _SLACK_S
        name = f"penstock-{secrets.token_hex(12)}"
        key_name = next(key.name for key in provider.keys.keys if key.secret == self._credential)
        custody = await self._shelf.begin(
            provider.name,
            key_name,
            keep_s=keep_s,
            longest_call_s=longest_s,
            file=service.id_of(name),
            gone_s=gone_s,
        )
        new = NewFile(name, place.inline.filename, place.inline.mime, body, gone_s)
        try:
            file: Uploaded = await UploadDesk(provider, self._credential, until_s).run(service.upload(new))
        except UpstreamError:
            await self._shelf.give_up(custody)
            raise
        known = await self._shelf.keep(place.key, custody, file)
        self._count("uploaded")
        self._note(
            f"uploaded {_megabytes(body.size)} to {provider.name} in {time.monotonic() - begun_s:.1f} s as {file.id}"
        )
        return known

    def _count(self, result: str) -> None:
        self._house.metrics.add(UPLOADS, 1, self._provider.name, result)

    def _note(self, reason: str, code: str = "") -> None:
        outcomes = self._facts.outcomes
        self._facts.note("file", outcomes[-1] if outcomes else None, reason=reason, code=code)


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.0f} MB" if size >= 9_500_000 else f"{size / 1_000_000:.1f} MB"
