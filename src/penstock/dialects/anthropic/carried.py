"""Another provider's proof of its thoughts, in the one place where Anthropic's callers keep such things for us.

Theory
------
A Messages client returns ``signature`` (and a redacted block's ``data``) unread, whatever stands in it. So a proof that is
not Anthropic's travels there, marked as ours, with the name of the format that it has and the tool call that it belongs to:

    penstock.1.<format>.<tool id>.<the proof>          format and tool id percent-encoded, their dots too

Rule: what carries the mark never goes to Anthropic; what carries none is Anthropic's own, and goes to nobody else.
"""

from urllib.parse import quote, unquote

from msgspec import Struct

from penstock.dialects.anthropic.shapes import FORMAT

MARK = "penstock.1."
_FIELDS = 3


class Carried(Struct, frozen=True):
    """A proof, and whose it is. ``proof`` may be empty: thoughts that nobody signed."""

    proof: str
    format: str
    tool_id: str = ""


def write_carried(proof: str, whose: str, tool_id: str = "") -> str:
    """The signature that an Anthropic caller is given."""
    if whose == FORMAT and proof and not tool_id:
        return proof
    return f"{MARK}{_quoted(whose)}.{_quoted(tool_id)}.{proof}"


def read_carried(signature: str) -> Carried:
    """What a caller brought back."""
    if not signature.startswith(MARK):
        return Carried(signature, FORMAT if signature else "unknown")
    pieces = signature[len(MARK) :].split(".", _FIELDS - 1)
    if len(pieces) < _FIELDS:
        return Carried("", "unknown")
    return Carried(pieces[2], unquote(pieces[0]), unquote(pieces[1]))


def _quoted(text: str) -> str:
    return quote(text, safe="").replace(".", "%2E")
