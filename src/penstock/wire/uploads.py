"""The port of a provider's files: what ``gateway.uploads`` asks, in no vendor's words. Sans-IO.

Theory
------
A large file may stand in a request as base64, or be brought to the provider first and be named in the request. This port
knows where files stand in a request that is already written for its provider, how they are brought there, named and deleted.
It looks at slim bodies as well (base.bulk): data is a string with a token in it then, of which only the beginning is looked at.

An upload is a generator: it yields what is to be asked (``Ask``) or waited for (``Pause``), is sent the 2xx answer, and
returns what has become of the file. Paths are below the provider's base URL; credentials are the gateway's business.
"""

import re
from collections.abc import Callable, Generator
from typing import Any, Final, Protocol

from msgspec import Struct

from penstock.base.media_size import Medium
from penstock.wire.http import Headers, WireRequest
from penstock.wire.poured import Decoded

MIN_EXPIRY_S: Final = 3600
"""OpenAI and Anthropic let a file expire after an hour at the earliest (openai-python 3.52.0, file_create_params;
anthropic-python 2.11.0, file_upload_params; read 2026-11)."""


class Uploaded(Struct, frozen=True):
    """A file that is there. ``uri`` where requests name it by that."""

    id: str
    uri: str = ""


class Inline(Struct):
    """A file that stands in a request as base64. ``put`` names an uploaded one in its place."""

    kind: Medium
    data: str
    mime: str
    filename: str
    put: Callable[[Uploaded], None]

    def __repr__(self) -> str:
        """Without the data."""
        return f"Inline({self.kind}, {self.mime!r})"


class NewFile(Struct, frozen=True):
    """A file to be brought there. ``name`` is our own for it; it shall be gone ``expires_s`` after, whatever becomes of us."""

    name: str
    filename: str
    mime: str
    body: Decoded
    expires_s: int

    def __repr__(self) -> str:
        """Without the body."""
        return f"NewFile({self.name!r}, {self.body.size} bytes)"


class Ask(Struct, frozen=True):
    """A request. ``absolute``: its path is of the provider's host, its base path included."""

    request: WireRequest
    absolute: bool = False


class Pause(Struct, frozen=True):
    """Nothing to ask for so long."""

    wait_s: float


class Answer(Struct, frozen=True):
    """A 2xx."""

    headers: Headers
    body: bytes


Upload = Generator[Ask | Pause, Answer | None, Uploaded]


class UploadService(Protocol):
    """One vendor's files. Readers raise UpstreamMalformed; an upload that came to nothing raises UpstreamError."""

    fields: tuple[str, ...]
    """The top-level fields in which files may stand."""
    most_request_bytes: int | None
    """Larger requests are refused, files in them included. None: uploaded files are under the same limit."""
    most_file_bytes: int
    most_life_s: int
    """It keeps a file no longer."""

    def inlines(self, value: Any) -> list[Inline]:
        """The files in the value of such a field that could be uploaded instead. ``put`` changes the value."""
        ...

    def upload(self, new: NewFile) -> Upload:
        """Brings it there."""
        ...

    def id_of(self, name: str) -> str:
        """What a file of this name is called there, where that is known before it is there; ""."""
        ...

    def delete(self, file: str) -> WireRequest:
        """Asks for its deletion."""
        ...

    def dress(self, request: WireRequest) -> None:
        """Make a request that names files one that may."""
        ...


_GONE_STATUS = frozenset({400, 403, 404, 410})
_GONE = ("not found", "no such", "not exist", "expired", "deleted", "invalid file")


MISSING_FILE: Final = "file_not_found"
"""The code of a request that names a file which its provider does not have."""
_MISSING = re.compile(r"\bfile[-_]\w{3,}|\bthe File \S+ or it may not exist")


def names_missing_file(message: str) -> bool:
    """What a provider says when a file that the request names is not there: not that its model, or our key, is not known."""
    return _MISSING.search(message) is not None


def says_gone(status: int | None, message: str, uploaded: Uploaded) -> bool:
    """A refusal that means this file is no longer there. Google says 403 for that (python-genai issue 1218)."""
    if status not in _GONE_STATUS:
        return False
    said = message.lower()
    if uploaded.id.rpartition("/")[2].lower() in said:
        return True
    return "file" in said and any(words in said for words in _GONE)
