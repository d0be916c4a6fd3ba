"""What a Gemini model's name says about its rules, where the catalogue is silent.

Rules
- Generations differ in what they take: before 2.5 no JSON Schema and no thinking; 2.5 a thinking *budget*; from 3 on
  a thinking *level*, call ids and thought signatures; from 3.6 no prefill and no penalties.
- A name without a version is unknown, and an unknown model gets the behaviour that no model refuses.
- ``*-latest`` without a version is an alias of the newest, so it gets the newest rules.
(Sources: ai.google.dev "Thinking", "Gemini 3 developer guide", changelog; read 2026-11.)
"""

import re
from functools import lru_cache

from msgspec import Struct

_VERSION = re.compile(r"^gemini-(\d{1,2})(?:\.(\d{1,2}))?(?![\d.])")
_PREFIXES = ("publishers/google/models/", "google/", "models/")
_NEWEST = (99, 0)
_UNKNOWN = (0, 0)


class Rules(Struct, frozen=True):
    """What one model at one flavour of Google takes. ``version`` is (0, 0) where the name does not tell."""

    name: str
    vertex: bool
    version: tuple[int, int]

    @property
    def known(self) -> bool:
        """The name tells the generation."""
        return self.version != _UNKNOWN

    @property
    def json_schema(self) -> bool:
        """Takes real JSON Schema (``parametersJsonSchema``, ``responseJsonSchema``)."""
        return not self.known or self.version >= (2, 5)

    @property
    def ids_and_signatures(self) -> bool:
        """Numbers its calls and demands its thought signatures back; older ones on Vertex refuse foreign ids."""
        return self.version >= (3, 0)

    @property
    def tools_with_json(self) -> bool:
        """Takes tools and ``responseMimeType`` application/json together (2.5: 400, python-genai#867)."""
        return not self.known or self.version >= (3, 0)

    @property
    def validated_mode(self) -> bool:
        """Knows the function calling mode VALIDATED."""
        return self.version >= (2, 5)

    @property
    def prefill(self) -> bool:
        """Continues a last turn of role model."""
        return self.version < (3, 6)

    @property
    def penalties(self) -> bool:
        """Takes presencePenalty and frequencyPenalty."""
        return self.version < (3, 6)

    @property
    def several(self) -> bool:
        """Gives several candidates."""
        return self.version < (3, 6) and not (self.version == (3, 5) and "lite" in self.name)

    @property
    def sampling(self) -> bool:
        """Heeds temperature, topP and topK; newer ones take them and ignore them."""
        return self.version < (3, 5) or (self.version == (3, 5) and "lite" not in self.name)


@lru_cache(maxsize=1024)
def rules(model: str, vertex: bool) -> Rules:
    """The rules of ``model``."""
    name = bare_name(model)
    match = _VERSION.match(name)
    if match is not None:
        version = (int(match.group(1)), int(match.group(2) or 0))
    elif name.startswith("gemini-") and name.endswith("-latest"):
        version = _NEWEST
    else:
        version = _UNKNOWN
    return Rules(name=name, vertex=vertex, version=version)


def bare_name(model: str) -> str:
    """``models/gemini-2.5-flash`` -> ``gemini-2.5-flash``: the paths carry the prefix themselves."""
    for prefix in _PREFIXES:
        model = model.removeprefix(prefix)
    return model
