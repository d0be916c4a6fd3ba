"""HTML that cannot be broken by what is put into it: plain text is escaped, always; only what is built here is markup.

Rules
- A child is ``Html`` (markup) or anything else (text, escaped). Attributes are escaped text.
- Data for a script is JSON without ``<``, ``>`` and ``&``: no kernel's name can end the element that it stands in.
"""

import re
from html import escape
from typing import Any

import msgspec

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
"""Characters that no HTML file may hold."""
_VOID = frozenset({"meta", "input", "br", "rect", "line", "circle", "path", "wbr", "col"})
_IN_JSON = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def text(value: object) -> Html:
    """A value as text: escaped, unless it is markup."""
    if isinstance(value, Html):
        return value
    return Html(escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value))))


def tag(name: str, /, *children: object, **attributes: Any) -> Html:
    """An element. ``class_``, ``for_`` lose their underscore, others within become hyphens; None and False leave one out."""
    said = [f"<{name}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        word = key.rstrip("_").replace("_", "-")
        said.append(f" {word}" if value is True else f' {word}="{_attribute(value)}"')
    if name in _VOID and not children:
        said.append("/>" if name in {"rect", "line", "circle", "path"} else ">")
        return Html("".join(said))
    said.append(">")
    said += [text(child) for child in children if child is not None]
    said.append(f"</{name}>")
    return Html("".join(said))


def joined(children: "list[Html] | tuple[Html, ...]") -> Html:
    """Markup after markup."""
    return Html("".join(children))


def data(identity: str, value: object) -> Html:
    """JSON for a script, in an element that no text of it can end."""
    held = msgspec.json.encode(value).decode().translate(_IN_JSON)
    return Html(f'<script type="application/json" id="{_attribute(identity)}">{held}</script>')


def _attribute(value: object) -> str:
    if isinstance(value, float):
        value = f"{value:.3f}".rstrip("0").rstrip(".")
    return escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value)))
