"""What the catalogue promises: enough rows, each with source and date, right figures, and look-ups that never guess."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.models import BudgetRange, ModelFacts, PriceRow
from penstock.base.money import PICO_PER_USD, Price
from penstock.base.usage import TOKEN_UNITS
from penstock.config import catalogue as module
from penstock.config.catalogue import OTHER_UNITS, UNITS, Catalogue, lifecycle_note
from penstock.config.model_names import undated
from penstock.config.price_lines import parse_prices
from penstock.config.schema import PriceOverride

CATALOGUE = Catalogue.load()
DATA = Path(module.__file__).parent / "data"
SECOND = json.loads((Path(__file__).parent / "fixtures" / "second_table.json").read_text("utf-8"))
REGIONS = ("us.", "eu.", "apac.", "global.", "jp.", "au.", "ca.", "in.", "us-gov.", "us/", "eu/", "global/")


def all_rows() -> Iterator[ModelFacts]:
    """Every row of the file, as facts."""
    yield from CATALOGUE.find("")


def usd(price: Price, units: int = 1_000_000) -> Decimal:
    """Dollars for so many units."""
    return Decimal(price.pico_usd) * units / (price.per * PICO_PER_USD)


def per_million(provider: str, model: str) -> dict[str, Decimal]:
    """Standard token prices of a row, in dollars per million."""
    price = CATALOGUE.facts(provider, model).price
    assert price is not None
    return {unit: usd(figure) for unit, figure in price.units.items() if unit in UNITS}


def figures(price: PriceRow) -> str:
    """All figures of a row as text, to tell twins."""
    return str((sorted(price.units.items()), price.tiers, sorted(price.service.items())))


# ------------------------------------------------------------------ how much, and from where


def test_at_least_60_providers_sell_priced_models():
    """Providers with at least one row that costs something."""
    sellers = {
        facts.provider
        for facts in all_rows()
        if facts.price and any(figure.pico_usd for figure in facts.price.units.values())
    }
    assert len(sellers) >= 60


def test_at_least_3000_distinct_prices_without_regional_twins():
    """Counted meanly: no regional id at all, nothing free, and spellings of one price (dates, paths) count once."""
    seen = set()
    for facts in all_rows():
        price = facts.price
        if price is None or not any(figure.pico_usd for figure in price.units.values()):
            continue
        regional = facts.provider in {"azure", "bedrock", "bedrock_mantle"} and (
            facts.model.startswith(REGIONS) or "-1/" in facts.model or "-2/" in facts.model
        )
        if not regional:
            bare = undated(facts.model.lower().rpartition("/")[2])
            seen.add((facts.provider, bare, figures(price)))
    assert len(seen) >= 3000


def test_every_row_says_its_source_and_date():
    """A row without provenance would be hearsay."""
    for facts in all_rows():
        assert facts.source.startswith(("litellm ", "genai-prices ")), facts.model
        assert date.fromisoformat(facts.date) <= datetime.now(tz=UTC).date()
        for day in (facts.retires, facts.deprecated):
            assert not day or date.fromisoformat(day)


def test_every_price_parses_and_every_unit_is_known():
    """All lines of the file become integer prices in units that the ledger can name."""
    known = {*UNITS, *OTHER_UNITS}
    for facts in all_rows():
        if facts.price is None:
            continue
        parts = [
            facts.price.units,
            *(tier.prices for tier in facts.price.tiers),
            *facts.price.service.values(),
        ]
        assert any(parts), facts.model
        for units in parts:
            assert {unit.partition(":")[0] for unit in units} <= known, facts.model
            assert all(figure.pico_usd >= 0 for figure in units.values())
        assert all(tier.above_tokens > 0 for tier in facts.price.tiers)
    assert set(TOKEN_UNITS) <= set(UNITS)


def test_nothing_is_free_that_is_not_known_to_be_free():
    """A row that is all zero is a placeholder in public tables: it must be unknown, not 0."""
    free = {
        facts.provider
        for facts in all_rows()
        if facts.price and not any(figure.pico_usd for figure in facts.price.units.values())
    }
    assert free <= {"ollama", "lemonade", "openrouter", "opencode_go", "openai", "zai"}


def test_thirty_random_rows_agree_with_a_second_table():
    """Drawn anew each day; rows on which the tables are known to disagree are named in the fixture, with the reason."""
    table, disagree = SECOND["usd_per_token"], SECOND["disagree"]
    assert len(table) >= 400
    assert set(disagree) <= set(table)
    assert len(disagree) <= 15
    seed = datetime.now(tz=UTC).date().isoformat()
    names = random.Random(seed).sample(sorted(table.keys() - disagree.keys()), 30)
    for name in names:
        provider, _, model = name.partition("/")
        price = CATALOGUE.facts(provider, model).price
        assert price is not None, (seed, name)
        for unit, text in zip(("input", "output"), table[name], strict=True):
            ours = usd(price.units[unit], 1) if unit in price.units else Decimal(0)
            theirs = Decimal(text or 0)
            assert abs(ours - theirs) <= Decimal("0.001") * max(ours, theirs), (
                seed,
                name,
                unit,
                ours,
                theirs,
            )


def test_rows_listed_as_disagreeing_really_do():
    """The list of exceptions may not grow beyond what it excuses."""
    for name, reason in SECOND["disagree"].items():
        provider, _, model = name.partition("/")
        price = CATALOGUE.facts(provider, model).price
        assert price is not None
        assert reason
        ours = [usd(price.units[unit], 1) for unit in ("input", "output")]
        theirs = [Decimal(text) for text in SECOND["usd_per_token"][name]]
        assert any(abs(a - b) > Decimal("0.001") * max(a, b) for a, b in zip(ours, theirs, strict=True)), name


# ------------------------------------------------------------------ figures that must be right


def test_gemini_2_5_flash():
    """ai.google.dev price list: 0.30 in, 1.00 audio in, 0.03 cached, 2.50 out, thinking at the output rate."""
    prices = per_million("gemini", "gemini-2.5-flash")
    assert prices["input"] == Decimal("0.30")
    assert prices["input_audio"] == Decimal("1.00")
    assert prices["cache_read"] == Decimal("0.03")
    assert prices["output"] == Decimal("2.50")
    assert "reasoning" not in prices  # a missing one is billed as output, in every service class too
    facts = CATALOGUE.facts("gemini", "gemini-2.5-flash")
    assert facts.context_tokens == 1_048_576
    assert {"text", "image", "audio", "video", "document"} == facts.modalities_in
    assert facts.price is not None
    assert usd(facts.price.service["batch"]["input"]) == Decimal("0.15")
    assert usd(facts.price.service["priority"]["output"]) == Decimal("4.5")


def test_gpt_4o_mini_by_name_and_by_date():
    """0.15 in, 0.075 cached, 0.60 out; the dated snapshot has its own row and its own end."""
    for model in ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"):
        prices = per_million("openai", model)
        assert (prices["input"], prices["cache_read"], prices["output"]) == (
            Decimal("0.15"),
            Decimal("0.075"),
            Decimal("0.60"),
        )
    assert CATALOGUE.facts("openai", "gpt-4o-mini").max_output_tokens == 16_384
    assert CATALOGUE.facts("openai", "gpt-4o-mini-2024-07-18").retires == "2027-01-14"
    assert CATALOGUE.facts("openai", "gpt-4o-mini").retires == ""


def test_claude_cache_writes_cost_a_quarter_more_or_double():
    """Anthropic: 5-minute writes 1.25 times, 1-hour writes 2 times, reads a tenth of the input price."""
    prices = per_million("anthropic", "claude-haiku-4-5")
    assert prices["input"] == 1
    assert prices["output"] == 5
    assert prices["cache_write_5m"] == Decimal("1.25") * prices["input"]
    assert prices["cache_write_1h"] == 2 * prices["input"]
    assert prices["cache_read"] == prices["input"] / 10


def test_gemini_2_5_pro_has_a_tier_above_200k():
    """Longer prompts double the input price, in the batch class too."""
    price = CATALOGUE.facts("gemini", "gemini-2.5-pro").price
    assert price is not None
    assert [tier.above_tokens for tier in price.tiers] == [200_000]
    assert usd(price.units["input"]) == Decimal("1.25")
    assert usd(price.tiers[0].prices["input"]) == Decimal("2.5")
    assert usd(price.tiers[0].prices["output"]) == 15
    assert usd(price.service["batch>200000"]["input"]) == Decimal("1.25")


@pytest.mark.parametrize(
    ("model", "budget"),
    [
        ("gemini-2.5-flash", BudgetRange(1, 24_576, off=True, dynamic=True)),
        ("gemini-2.5-flash-lite", BudgetRange(512, 24_576, off=True, dynamic=True)),
        ("gemini-2.5-pro", BudgetRange(128, 32_768, off=False, dynamic=True)),
    ],
)
@pytest.mark.parametrize("provider", ["gemini", "vertex"])
def test_gemini_2_5_budgets(provider, model, budget):
    """Google's table of thinking budgets, on both flavours."""
    facts = CATALOGUE.facts(provider, model)
    assert facts.reasoning == "budget"
    assert facts.budget == budget


@pytest.mark.parametrize(
    ("provider", "model", "style", "sampling", "prefill"),
    [
        ("gemini", "gemini-2.5-flash", "budget", True, True),
        ("gemini", "gemini-3.8-flash", "level", False, False),
        ("gemini", "gemini-4-argon", "level", False, False),
        ("anthropic", "claude-haiku-4-5", "budget", True, True),
        ("anthropic", "claude-sonnet-4-6", "adaptive", True, False),
        ("anthropic", "claude-opus-4-7", "adaptive", False, False),
        ("anthropic", "claude-opus-5-5", "always", False, False),
        ("openai", "gpt-5-mini", "effort", False, False),
        ("openai", "o3-mini", "effort", False, False),
    ],
)
def test_reasoning_styles_and_parameters(provider, model, style, sampling, prefill):
    """Vendors' rules per model, kept as data."""
    facts = CATALOGUE.facts(provider, model)
    assert facts.reasoning == style
    assert facts.capabilities is not None
    assert ("sampling" in facts.capabilities) is sampling
    assert ("prefill" in facts.capabilities) is prefill
    assert {"tools", "json_schema"} <= facts.capabilities


def test_claude_4_6_takes_budgets_beside_adaptive_thinking():
    """The one generation that accepts both spellings."""
    assert CATALOGUE.facts("anthropic", "claude-sonnet-4-6").budget is not None
    assert CATALOGUE.facts("anthropic", "claude-opus-4-7").budget is None


def test_the_caps_name_follows_the_model_and_is_never_guessed_away():
    """OpenAI's reasoning models and its unknown ones want max_completion_tokens; gpt-4 takes either; others max_tokens."""
    assert CATALOGUE.facts("openai", "gpt-5-mini").cap_name == "max_completion_tokens"
    assert CATALOGUE.facts("openai", "gpt-99").cap_name == "max_completion_tokens"
    assert CATALOGUE.facts("openai", "gpt-4o-mini").cap_name is None
    assert CATALOGUE.facts("groq", "openai/gpt-oss-120b").cap_name == "max_tokens"
    assert CATALOGUE.facts("vllm", "anything").cap_name == "max_tokens"
    assert CATALOGUE.facts("somebody", "anything").cap_name is None


# ------------------------------------------------------------------ look-ups


def test_unknown_is_known_to_be_unknown():
    """No row: known False and no price; never 0."""
    facts = CATALOGUE.facts("openai", "no-such-model")
    assert not facts.known
    assert facts.price is None
    assert CATALOGUE.facts("nobody", "gpt-4o").known is False


@pytest.mark.parametrize(
    ("provider", "asked", "same_price_as"),
    [
        ("openai", "gpt-4o-mini-2031-01-01", ("openai", "gpt-4o-mini")),
        ("openai", "GPT-4o-mini", ("openai", "gpt-4o-mini")),
        ("openai", "openai/gpt-4o-mini", ("openai", "gpt-4o-mini")),
        ("openai", "ft:gpt-4o-mini-2024-07-18:us:thing:a1", ("openai", "ft:gpt-4o-mini-2024-07-18")),
        ("google", "models/gemini-2.5-flash", ("gemini", "gemini-2.5-flash")),
        ("vertex_ai", "publishers/google/models/gemini-2.5-flash", ("vertex", "gemini-2.5-flash")),
        ("anthropic", "claude-haiku-4-5@20251001", ("anthropic", "claude-haiku-4-5")),
    ],
)
def test_other_spellings_find_their_row(provider, asked, same_price_as):
    """Dates, prefixes, aliases and case."""
    facts = CATALOGUE.facts(provider, asked)
    assert facts.known
    assert facts.model == asked
    assert facts.price is not None
    assert facts.price == CATALOGUE.facts(*same_price_as).price


def test_a_spelling_that_may_cost_something_else_lends_facts_but_no_price():
    """Routing suffixes, unlisted regions and models resold elsewhere."""
    for provider, asked in [
        ("openrouter", "google/gemini-2.5-flash:nitro"),
        ("bedrock", "mx.amazon.nova-lite-v1:0"),
        ("xroute", "google/gemini-2.5-flash"),
    ]:
        facts = CATALOGUE.facts(provider, asked)
        assert facts.price is None
        if facts.known:
            assert facts.context_tokens
    assert CATALOGUE.facts("xroute", "google/gemini-2.5-flash").context_tokens == 1_048_576
    assert CATALOGUE.facts("openrouter", "google/gemini-2.5-flash:nitro").known


def test_regional_twins_resolve_to_their_plain_row():
    """A folded twin is still found, at the same price."""
    same = json.loads((DATA / "models.json").read_text("utf-8"))["same"]
    twins = [(provider, alias, model) for provider, names in same.items() for alias, model in names.items()]
    assert len(twins) > 100
    for provider, alias, model in twins:
        assert CATALOGUE.facts(provider, alias).price == CATALOGUE.facts(provider, model).price


def test_openrouter_rows_carry_their_makers_limits():
    """OpenRouter's price, Google's context and modalities."""
    facts = CATALOGUE.facts("openrouter", "google/gemini-2.5-flash")
    assert facts.price is not None
    assert facts.context_tokens == 1_048_576
    assert "image" in facts.modalities_in
    assert facts.budget == BudgetRange(1, 24_576, off=True, dynamic=True)


def test_bare_names_go_to_their_maker_first():
    """A model of a bare name is bought from who makes it; its resellers follow."""
    for model, maker in [
        ("gpt-4o-mini", "openai"),
        ("claude-haiku-4-5", "anthropic"),
        ("gemini-2.5-flash", "gemini"),
        ("grok-4.3", "xai"),
    ]:
        assert CATALOGUE.bare(model)[0] == (maker, model)
    assert ("openrouter", "google/gemini-2.5-flash") in CATALOGUE.bare("gemini-2.5-flash")
    assert CATALOGUE.bare("no-such-model") == []


def test_nearest_names():
    """A slip of the finger is answered with what was meant, in the form in which it was asked."""
    assert "openai/gpt-4o-mini" in CATALOGUE.nearest("openai/gpt-4o-minni")
    assert "claude-haiku-4-5" in CATALOGUE.nearest("claude-haiku-45")
    assert CATALOGUE.nearest("qqqqzzzz") == []
    assert CATALOGUE.nearest("") == []


ROWS = [(facts.provider, facts.model) for facts in CATALOGUE.find("")]


@given(st.sampled_from(ROWS))
def test_every_row_is_found_by_its_own_name(row):
    """The id as written finds the row itself, in lists too."""
    provider, model = row
    facts = CATALOGUE.facts(provider, model)
    assert facts.known
    assert (facts.provider, facts.model) == row
    assert row in CATALOGUE.bare(model)
    assert facts in CATALOGUE.find(f"{provider}/{model}")


@given(st.text(max_size=40), st.one_of(st.text(max_size=300), st.sampled_from([model for _, model in ROWS])))
def test_facts_never_raise_and_never_invent_a_price(provider, model):
    """Whatever is asked, there is an answer, and a price only with a row behind it."""
    facts = CATALOGUE.facts(provider, model)
    assert facts.model == model
    if not facts.known:
        assert facts.price is None
    assert len(CATALOGUE.nearest(model)) <= 3


# ------------------------------------------------------------------ own prices, versions, lifecycle


def test_own_prices_win_and_say_so():
    """A config price replaces the row's, keeps its limits, and changes the version."""
    own = PriceOverride(model="openai/gpt-4o-mini", usd_per_million={"input": "0.10", "output": "0.5"})
    mine = Catalogue((own,))
    price = mine.facts("openai", "gpt-4o-mini").price
    assert price is not None
    assert price.version.startswith("own-")
    assert usd(price.units["input"]) == Decimal("0.10")
    assert "cache_read" not in price.units
    assert mine.facts("openai", "gpt-4o-mini").context_tokens == 128_000
    assert mine.version != CATALOGUE.version
    other = Catalogue((PriceOverride(model="my-gpu/llama", usd_per_million={"output": "1"}),))
    assert other.facts("my-gpu", "llama").price is not None
    assert other.facts("openai", "gpt-4o-mini").price == CATALOGUE.facts("openai", "gpt-4o-mini").price


@pytest.mark.parametrize(
    ("model", "units", "says"),
    [
        ("openai/gpt-4o", {"inptu": "1"}, "'inptu' is no unit"),
        ("openai/gpt-4o", {"input": "cheap"}, "no decimal price"),
        ("openai/gpt-4o", {"input": "-1"}, "non-negative"),
        ("gpt-4o", {"input": "1"}, "provider/model"),
    ],
)
def test_own_prices_that_are_none_are_refused(model, units, says):
    """With a sentence that says what is wrong."""
    with pytest.raises(ValueError, match=says):
        Catalogue((PriceOverride(model=model, usd_per_million=units),))


def test_a_price_version_changes_with_its_figures_and_date():
    """Stable for the same line, another for any other."""
    version = parse_prices("input=1e-7 output=2e-7", "s", "2026-11-21").version
    assert version == parse_prices("input=1e-7 output=2e-7", "t", "2026-11-21").version
    assert version != parse_prices("input=1e-7 output=3e-7", "s", "2026-11-21").version
    assert version != parse_prices("input=1e-7 output=2e-7", "s", "2026-11-22").version


def test_lifecycle_warns_in_time_and_refuses_nothing():
    """Retired, retiring within 90 days, deprecated: a sentence; facts and price stay."""
    day = date(2026, 11, 21)
    flash = CATALOGUE.facts("gemini", "gemini-2.5-flash")
    assert lifecycle_note(flash, day) == "retires on 2026-12-01, in 10 days"
    assert lifecycle_note(flash, date(2026, 12, 1)) == "retired on 2026-12-01"
    assert lifecycle_note(flash, date(2026, 1, 1)) == ""
    vertex = CATALOGUE.facts("vertex", "gemini-2.5-flash")
    assert lifecycle_note(vertex, day) == "deprecated since 2026-10-20, retires on 2027-03-31"
    assert lifecycle_note(CATALOGUE.facts("openai", "gpt-4o"), date(2020, 1, 1)) == ""
    assert vertex.price is not None


# ------------------------------------------------------------------ providers


def test_known_names_imply_dialect_and_base_url():
    """OpenAI-compatible servers are rows, not code."""
    for name, dialect, base_url in [
        ("openai", "openai", "https://api.openai.com/v1"),
        ("anthropic", "anthropic", "https://api.anthropic.com"),
        ("gemini", "gemini", "https://generativelanguage.googleapis.com"),
        ("openrouter", "openai", "https://openrouter.ai/api/v1"),
        ("xroute", "openai", "https://api.xroute.ai/openai/v1"),
        ("groq", "openai", "https://api.groq.com/openai/v1"),
        ("stability", "stability", "https://api.stability.ai"),
        ("bedrock", "bedrock", "https://bedrock-runtime.us-east-1.amazonaws.com"),
        ("cohere", "cohere", "https://api.cohere.com"),
    ]:
        row = CATALOGUE.provider(name)
        assert row is not None
        assert (row.dialect, row.base_url) == (dialect, base_url)
    for name in (
        "mistral",
        "deepseek",
        "together",
        "fireworks",
        "xai",
        "vllm",
        "sglang",
        "ollama",
        "cerebras",
    ):
        row = CATALOGUE.provider(name)
        assert row is not None
        assert row.dialect == "openai"
        assert row.base_url
    azure = CATALOGUE.provider("azure")
    assert azure is not None
    assert azure.base_url == ""


def test_openrouter_understands_the_gateways_fields_itself():
    """They pass through there, and nowhere else by default."""
    row, plain = CATALOGUE.provider("openrouter"), CATALOGUE.provider("xroute")
    assert row is not None
    assert plain is not None
    assert {"provider", "reasoning", "transforms", "usage", "plugins"} <= row.passthrough_fields
    # It knows these too, but the gateway has already made its own chain of them, with its own names.
    assert row.passthrough_fields.isdisjoint({"models", "fallbacks", "route"})
    assert plain.passthrough_fields == frozenset()


def test_provider_names_and_urls_are_sound():
    """No name or alias twice; URLs without a trailing slash; every seller of a row is in the table."""
    rows = CATALOGUE.providers()
    names = [name for row in rows for name in (row.name, *row.aliases)]
    assert len(names) == len(set(names))
    assert {provider for provider, _ in ROWS} <= {row.name for row in rows}
    for row in rows:
        assert row.base_url == "" or row.base_url.startswith(("https://", "http://127.0.0.1:"))
        assert not row.base_url.endswith("/")
    found = CATALOGUE.provider_by_url("https://api.openai.com/v1/")
    assert found is not None
    assert found.name == "openai"
    assert CATALOGUE.provider_by_url("") is None


def test_vertex_hosts_by_location():
    """Regional, multi-regional and global."""
    vertex = CATALOGUE.provider("vertex")
    assert vertex is not None
    assert vertex.base_url_at("us-east5") == "https://us-east5-aiplatform.googleapis.com"
    assert vertex.base_url_at("global") == vertex.base_url_at(None) == "https://aiplatform.googleapis.com"
    assert vertex.base_url_at("eu") == "https://aiplatform.eu.rep.googleapis.com"


def test_the_data_file_is_small_and_says_what_it_knows_in_one_decode():
    """At most 1.5 MB; its rows decode typed, so a bad row is a build failure and not a surprise at run time."""
    raw = (DATA / "models.json").read_bytes()
    assert len(raw) <= 1_500_000
    tables = msgspec.json.decode(raw, type=module._Tables)
    assert all(
        0 <= index < len(tables.sources)
        for rows in tables.models.values()
        for row in rows.values()
        for index in row.sources
    )


@pytest.mark.parametrize("name", ["gpt-4o-audio-preview", "gpt-4o-mini-audio-preview"])
def test_a_name_without_a_date_has_the_audio_prices_of_its_newest_version(name):
    """Else audio would be billed as text: a sixteenth of what it costs."""
    catalogue = Catalogue.load()
    newest = max(
        facts.model
        for facts in catalogue.find(name)
        if facts.provider == "openai" and facts.model.startswith(f"{name}-20")
    )
    undated, dated = catalogue.facts("openai", name).price, catalogue.facts("openai", newest).price
    assert undated is not None
    assert dated is not None
    assert undated.units == dated.units
    assert undated.units["input_audio"].pico_usd > undated.units["input"].pico_usd
