"""Requests that name uploaded files, or are too large without: what the vendors say to them.

Rules
- Ids that the simulator gave out must still be there, and be of this account; others are nobody's business here.
- A file is there for the key that it was uploaded with.
- Limits: Anthropic 32 MB a request, Gemini 100 MB (their references, read 2026-11).
"""

from collections.abc import Iterator
from typing import Any, cast

from penstock.simulate.anthropic_files import AnthropicFiles
from penstock.simulate.batches import Batches
from penstock.simulate.gemini_files import GeminiFiles
from penstock.simulate.reply import Call, Refused
from penstock.simulate.untyped import as_text

_MEBIBYTE = 1024 * 1024
_ANTHROPIC_BYTES, _GEMINI_BYTES = 32 * _MEBIBYTE, 100 * _MEBIBYTE
_MARKS = (b'"file_sim', b'"file-sim', b"/v1beta/files/")


class FileNames:
    """Looks into each request."""

    def __init__(self, openai: Batches, anthropic: AnthropicFiles, gemini: GeminiFiles) -> None:
        self._openai = openai
        self._anthropic = anthropic
        self._gemini = gemini

    def held(self) -> list[tuple[str, str, int]]:
        """What callers have uploaded and not deleted: the provider, the file's name, its bytes."""
        own = [(one.provider, name, len(one.data)) for name, one in self._anthropic.files.items()]
        google = [(one.provider, one.name, len(one.data)) for one in self._gemini.named()]
        return [*self._openai.held(), *own, *google]

    def forget(self) -> None:
        """All of them are gone."""
        self._openai.forget_files()
        self._anthropic.files.clear()
        self._gemini.forget()

    def check(self, call: Call) -> None:
        """Raises Refused."""
        size = len(call.body)
        if call.dialect == "anthropic" and size > _ANTHROPIC_BYTES:
            raise Refused(413, "")
        if call.dialect == "gemini" and size > _GEMINI_BYTES:
            raise Refused(400, f"Request payload size exceeds the limit: {_GEMINI_BYTES} bytes.")
        if call.dialect in ("anthropic", "gemini", "openai", "responses") and names_files(call.body):
            for field, name in _named(call.json):
                self._check(field, name, call)

    def _check(self, field: str, name: str, call: Call) -> None:
        if call.dialect == "anthropic" and name.startswith("file_sim"):
            self._anthropic.find(name, call)
        elif call.dialect in ("openai", "responses") and name.startswith("file-sim"):
            if self._openai.file(name, call).purpose == "batch":
                raise Refused(400, f"Invalid file purpose: {name}", param=field)
        elif call.dialect == "gemini" and name.startswith(f"{call.root}/v1beta/files/"):
            found = self._gemini.find(name.removeprefix(f"{call.root}/v1beta/"), call)
            if self._gemini.state(found) != "ACTIVE":
                raise Refused(
                    400,
                    f"The File {found.name.partition('/')[2]} is not in an ACTIVE state and usage is not allowed.",
                )


def names_files(body: bytes) -> bool:
    """Whether a request may name files that were uploaded here: then it is answered anew each time."""
    return any(body.find(mark) >= 0 for mark in _MARKS)


def _named(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for field, one in cast("dict[str, Any]", value).items():
            if field in ("file_id", "fileUri", "file_uri"):
                yield field, as_text(one)
            else:
                yield from _named(one)
    elif isinstance(value, list):
        for one in cast("list[Any]", value):
            yield from _named(one)
