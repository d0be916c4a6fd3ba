"""What a Gemini reply says of its searches, which Google charges beside the tokens.

Rules
- Each distinct query counts once; an empty one is not charged. Gemini 2 charges for the prompt, however many queries it
  took: that is the price's matter (base.models.PriceRow), not the count's.
- ``groundingMetadata`` has one list of queries. They are the map's where the sources are places alone; a reply that shows
  places has asked the map once at least.
- In a stream the metadata may come in pieces: what counts is their union.
"""

import json
from typing import Any, cast

from penstock.base.errors import UpstreamMalformed


class Grounding:
    """The searches of one reply."""

    __slots__ = ("_queries", "_sources")

    def __init__(self) -> None:
        self._queries: set[str] = set()
        self._sources: set[str] = set()

    def see(self, metadata: bytes) -> None:
        """One ``groundingMetadata``. Read loosely: it holds pieces of pages, in whatever encoding."""
        try:
            found: Any = json.loads(metadata.decode("utf-8", "replace"))
        except (ValueError, RecursionError) as error:
            raise UpstreamMalformed("The provider's grounding metadata cannot be read.") from error
        facts = _dict(found)
        for name in ("webSearchQueries", "imageSearchQueries"):
            self._queries.update(
                query for query in _list(facts.get(name)) if isinstance(query, str) and query
            )
        for chunk in _list(facts.get("groundingChunks")):
            self._sources.update(_dict(chunk))
        if facts.get("googleMapsWidgetContextToken"):
            self._sources.add("maps")

    @property
    def fees(self) -> tuple[tuple[str, int], ...]:
        """``base.usage.Usage.fees``."""
        queries = len(self._queries)
        if "maps" not in self._sources:
            return (("web_search", queries),) if queries else ()
        if "web" not in self._sources:
            return (("maps_grounding", max(queries, 1)),)
        return (("web_search", max(queries, 1)), ("maps_grounding", 1))


def _list(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}
