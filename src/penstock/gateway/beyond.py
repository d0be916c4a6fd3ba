"""What a provider may read and look for by itself, at the caller's expense: no bound on the body's bytes bounds it.

Theory
------
A tool that the provider runs (a search of the web, a page fetched, a file store, an MCP server) puts what it finds into the
prompt, and costs a fee each time. So does what the provider has kept (a cached content, a stored conversation). Which of
them a body asks for is seen by its words: a field or a type of that name, never text (its quotes are escaped).

Rules
- The prompt of such a call is held as the model's whole context.
- A search is held as often as the body allows (``max_uses``), else ``SEARCHES`` times, at the dearest of its prices.
"""

import re

from penstock.base.models import PriceRow
from penstock.ledger.reserving import most_nusd

SEARCHES = 10
"""More than models make in one call by themselves, where nothing says how many (Anthropic, web search tool; read 2026-11)."""
_MOST_SEARCHES = 1_000
_TYPES = rb'web_search|web_fetch|file_search|code_interpreter|code_execution|mcp"|mcp_toolset|tool_search|openrouter:'
_FIELDS = (
    rb"web_search_options|mcp_servers|google_?[sS]earch(?:_?[rR]etrieval)?|enterprise_?[wW]eb_?[sS]earch|url_?[cC]ontext"
    rb"|google_?[mM]aps|file_?[sS]earch|code_?[eE]xecution|retrieval|cached_?[cC]ontent|conversation|plugins"
)
_ESCAPED = rb"(?<!\\)\\u00(?:[46][1-9a-fA-F]|[57][0-9aA]|5[fF])"
"""A letter written as an escape, which no encoder does: such a body's words are not what they seem."""
_ASKED = re.compile(rb'(?<!\\)"(?:type"\s*:\s*"(?:%b)|(?:%b)"\s*:)|%b' % (_TYPES, _FIELDS, _ESCAPED))
_USES = re.compile(rb'(?<!\\)"max_uses"\s*:\s*(\d{1,9})')
_FEES = frozenset({"web_search", "web_search_prompt", "maps_grounding", "maps_grounding_prompt"})


_DISGUISED = re.compile(_ESCAPED)


def disguises(body: bytes) -> bool:
    """Whether a letter is written as an escape: then no field of this body can be ruled out by looking for its name."""
    return body.find(b"\\u00") >= 0 and _DISGUISED.search(body) is not None


def reaches(body: bytes) -> bool:
    """Whether the provider may read more for this call than the body has."""
    return _ASKED.search(body) is not None


def fees_nusd(body: bytes, row: PriceRow) -> int:
    """The most that searches of this call cost beside their tokens, where the row has a price for them."""
    prices = [price for name, price in row.units.items() if name.partition(":")[0] in _FEES]
    if not prices:
        return 0
    allowed = [min(int(uses), _MOST_SEARCHES) for uses in _USES.findall(body)]
    return max(most_nusd(sum(allowed) or SEARCHES, price) for price in prices)
