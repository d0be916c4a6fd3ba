"""An independent price calculator (genai-prices, from PyPI, with the data it ships) says the same of the same usage.

Rules
- Same model, same tokens, at one moment: each pair must agree to half a nano-dollar a line, or its model stands in
  ``DIFFER`` with the reason. A model that stands there and agrees is a fault too: the list excuses nothing in advance.
- A usage is asked of a model only where both tables have a price for each of its units; what only one of them knows is
  no difference.
- Not wholly independent: where the catalogue's first source has no row, its figures are genai-prices' own, and only the
  arithmetic (tiers, shares, rounding) is checked.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache

import genai_prices
from genai_prices import Usage as TheirUsage
from genai_prices import data_snapshot

from penstock.base.usage import Usage
from penstock.config.catalogue import Catalogue
from penstock.ledger.prices import price_lines, row_at

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
VERSION = "0.2.3"
LEAST_PAIRS = 3000
OUR_NAME = {"google": "gemini", "x-ai": "xai", "aws": "bedrock", "fireworks": "fireworks_ai"}
USAGES: dict[str, dict[str, int]] = {
    "plain": {"input": 1003, "output": 77},
    "cached": {"input": 1003, "cache_read": 5011, "output": 77},
    "written": {"input": 1003, "cache_write_5m": 2003, "output": 77},
    "written for an hour": {"input": 1003, "cache_write_1h": 2003, "output": 77},
    "audio in": {"input": 10, "input_audio": 999, "output": 77},
    "audio out": {"input": 10, "output": 7, "output_audio": 999},
    "long": {"input": 300_001, "output": 1001},
    "long, cached": {"input": 200_001, "cache_read": 100_003, "output": 1001},
}
THEIR_PRICES = {
    "input": ("input_mtok",),
    "output": ("output_mtok",),
    "cache_read": ("cache_read_mtok",),
    "cache_write_5m": ("cache_write_5m_mtok", "cache_write_mtok"),
    "cache_write_1h": ("cache_write_1h_mtok",),
    "input_audio": ("input_audio_mtok",),
    "output_audio": ("output_audio_mtok",),
}

_DBU = (
    "sold in units of its own: our source has the exact product, theirs the page's dollars rounded to cents"
)
_YUAN = "sold in yuan: turned into dollars at the rates of two different days"
_PER_REQUEST = (
    "theirs adds the fee of a search to every request; ours counts it from the reply's search_context_size"
)
_PROMOTION = "second table has a 45 % promotional discount"
_OF_TWO_TIMES = "retired: prices of different times"
DIFFER: dict[str, str] = {
    "anthropic/claude-sonnet-4-5": "theirs has the ended beta of 1M tokens; our window is 200,000, so there is no tier",
    "azure/o1-preview": "the bare name is found as azure/eu's row, a tenth dearer; theirs is the global one",
    "bedrock/global.anthropic.claude-sonnet-4-20250514-v1:0": "theirs lacks the tier above 200,000",
    "bedrock/global.anthropic.claude-sonnet-4-5-20250929-v1:0": "theirs lacks the tier above 200,000",
    "bedrock/openai.gpt-5.4": "theirs has a region's price, a tenth dearer, and lacks the tier above 272,000",
    "bedrock/openai.gpt-5.5": "theirs has a region's price, a tenth dearer, and lacks the tier above 272,000",
    **dict.fromkeys(
        (
            "databricks/databricks-deepseek-v4-1-flash",
            "databricks/databricks-deepseek-v4-pro-0813",
            "databricks/databricks-gemma-3-12b",
            "databricks/databricks-glm-5-2",
            "databricks/databricks-glm-5-3",
            "databricks/databricks-glm-5-3-flash",
            "databricks/databricks-gpt-oss-120b",
            "databricks/databricks-gpt-oss-20b",
            "databricks/databricks-inkling",
            "databricks/databricks-kimi-k3",
            "databricks/databricks-llama-4-maverick",
            "databricks/databricks-meta-llama-3-1-8b-instruct",
            "databricks/databricks-meta-llama-3-3-70b-instruct",
            "databricks/databricks-qwen3-next-80b-a3b-instruct",
            "databricks/databricks-qwen35-122b-a10b",
        ),
        _DBU,
    ),
    "deepseek/deepseek-chat": "id retired 2026-07-24; theirs still has the V3 hours-of-day prices",
    "deepseek/deepseek-reasoner": "id retired 2026-07-24; theirs still has the R1 hours-of-day prices",
    "deepseek/deepseek-v3.2": "not on the vendor's page any more; theirs has a reseller's discount",
    "gemini/gemini-pro": "ours takes the bare name for gemini-pro-latest; theirs is Gemini 1.0 Pro's price",
    "groq/openai/gpt-oss-safeguard-20b": "our source rounds the cached price from 0.0375 to 0.037",
    "novita/deepseek/deepseek-v4-pro-0813": "two prices for cached tokens; the sum of the rest agrees",
    "novita/mindai/macaron-v1-tall": _PROMOTION,
    "novita/mindai/macaron-v1-venti": _PROMOTION,
    "novita/mistralai/mistral-nemo": "theirs has the old price, input equal to output",
    "openai/babbage": "ours takes the bare name for babbage-002; theirs is the model of 2020",
    "openai/davinci": "ours takes the bare name for davinci-002; theirs is the model of 2020",
    "openai/gpt-4o-mini-transcribe": "ours has one price for text and audio in; theirs the launch's for audio",
    "openai/gpt-4o-transcribe": "ours has one price for text and audio in; theirs the launch's for audio",
    "openai/gpt-4o-mini-tts": "ours has the price of text out; theirs bills all output as audio",
    "openai/gpt-5.6-cyber": "theirs lacks the tier above 272,000",
    "openrouter/x-ai/grok-4-fast": "the tier names no price for cached tokens: ours is unknown, theirs the short prompt's",
    "perplexity/sonar": _PER_REQUEST,
    "perplexity/sonar-pro": _PER_REQUEST,
    "perplexity/sonar-reasoning": _PER_REQUEST,
    "perplexity/sonar-reasoning-pro": _PER_REQUEST,
    "together/NousResearch/Nous-Hermes-2-Mixtral-8x7B-DPO": _OF_TWO_TIMES,
    "together/Qwen/Qwen3.7-Max": "cut to 60 % after launch; theirs has the launch price",
    "together/Qwen/Qwen3.8-2.4T-A95B": "two prices for cached tokens; the sum of the rest agrees",
    "together/meta-llama/Llama-3.3-70B-Instruct-Turbo": _OF_TWO_TIMES,
    "together/mistralai/Mixtral-8x7B-Instruct-v0.1": _OF_TWO_TIMES,
    "xai/grok-code-fast-1": "retired 2026-05-15 and served by its successor; theirs has the launch price",
    "zhipuai/GLM-5.3": _YUAN,
    "zhipuai/GLM-5.3-Flash": _YUAN,
}
"""``provider/model`` -> why two tables differ, seen 2026-11-21 with genai-prices 0.2.3."""


def theirs_of(counts: dict[str, int]) -> TheirUsage:
    """Inclusive counts, as that calculator takes them: the whole, and its parts beside it."""
    usage = Usage(**counts)
    figures = {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
    written = usage.cache_write_5m + usage.cache_write_1h
    parts = {
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": written,
        "input_audio_tokens": usage.input_audio,
        "output_audio_tokens": usage.output_audio,
    }
    if written:
        figures |= {
            "cache_write_5m_tokens": usage.cache_write_5m,
            "cache_write_1h_tokens": usage.cache_write_1h,
        }
    return TheirUsage(**figures, **{name: count for name, count in parts.items() if count})


@cache
def compared() -> tuple[int, dict[str, list[str]]]:
    """How many pairs were asked, and what differs: ``provider/model`` -> usage and both costs."""
    catalogue, pairs = Catalogue.load(), 0
    differ: dict[str, list[str]] = {}
    for provider in data_snapshot.get_snapshot().providers:
        name = OUR_NAME.get(provider.id, provider.id)
        if catalogue.provider(name) is None:
            continue
        for model in provider.models:
            row = row_at(catalogue.facts(name, model.id).price, round(AT.timestamp() * 1000))
            prices = model.get_prices(AT)
            if row is None:
                continue
            for label, counts in USAGES.items():
                if not all(
                    unit in row.units and any(getattr(prices, key) is not None for key in THEIR_PRICES[unit])
                    for unit in counts
                ):
                    continue
                lines, ours = price_lines(Usage(**counts), row)
                said = model.calc_price(theirs_of(counts), provider, genai_request_timestamp=AT)
                theirs = said.total_price * 10**9
                pairs += 1
                if ours is None or abs(theirs - ours) > Decimal("0.5") * len(lines):
                    differ.setdefault(f"{name}/{model.id}", []).append(f"{label}: {ours} | {theirs}")
    return pairs, differ


def test_it_is_the_version_whose_differences_are_known():
    """Another version has other prices: look at what differs, then correct the list."""
    assert genai_prices.__version__ == VERSION


def test_two_calculators_agree_or_the_difference_is_explained():
    """Thousands of pairs of model and usage; every other difference is a fault of ours, or a new line with a reason."""
    pairs, differ = compared()
    assert pairs >= LEAST_PAIRS
    unexplained = {name: said for name, said in differ.items() if name not in DIFFER}
    assert unexplained == {}


def test_what_is_listed_as_different_is_different():
    """The list may not hide what agrees again."""
    _, differ = compared()
    assert sorted(DIFFER.keys() - differ.keys()) == []
    assert all(len(reason) > 20 for reason in DIFFER.values())


def test_deepseek_agrees_at_every_hour_of_a_weekday():
    """Both look at the clock: the list price from 1 to 4 and from 6 to 10 o'clock UTC, half of it else.

    Of weekends theirs does not know; the vendor's page says "Monday through Friday" (api-docs.deepseek.com, pricing).
    """
    catalogue, counts, sums = Catalogue.load(), USAGES["cached"], set()
    for name in ("deepseek-flash", "deepseek-v4-pro"):
        for hour in range(5 * 24):
            moment = datetime(2026, 11, 16, 0, 30, tzinfo=UTC) + timedelta(hours=hour)
            row = row_at(catalogue.facts("deepseek", name).price, round(moment.timestamp() * 1000))
            said = genai_prices.calc_price(
                theirs_of(counts), name, provider_id="deepseek", genai_request_timestamp=moment
            )
            ours = price_lines(Usage(**counts), row)[1]
            assert said.total_price * 10**9 == ours, moment
            sums.add((name, ours))
    assert len(sums) == 4
