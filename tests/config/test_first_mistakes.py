"""Faults of shape do not hide faults of meaning: one run of ``check`` says both, and nothing that only follows."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.mend import mended
from penstock.config.schema import Config
from penstock.config.shape import shape_faults
from tests.config.make import faults, loaded

KEY_ON_OPENAI = "virtual_keys: [{name: v, key: env.V, provider_keys: [openai.K]}]"


def test_shape_and_meaning_are_said_in_one_run():
    """A misspelt field, a wrong kind, an unset variable and a provider that is not there."""
    text = """
providers:
  openai: {keys: [{value: env.SET, wieght: 1}, {value: env.UNSET}], network: {base_url: host/v1, idle_timeout_ms: x}}
  mine: {keys: [{value: env.SET}]}
fallbacks:
  - {primary: openai/a, secondry: anthropic/b}
  - {secondary: openai/c}
  - {primary: openai/a}
routes: [{id: r, primary: bare}, {id: r, primary: openai/a}]
"""
    assert set(faults(text, {"SET": "k"})) == {
        "$.providers.openai.keys[0].wieght",
        "$.providers.openai.keys[1].value",
        "$.providers.openai.network.base_url",
        "$.providers.openai.network.idle_timeout_ms",
        "$.providers.mine",
        "$.fallbacks[0].secondry",
        "$.fallbacks[0].secondary",  # the provider that the misspelt field names is not configured
        "$.fallbacks[1].primary",
        "$.fallbacks[2].primary",
        "$.routes[0].primary",
        "$.routes[1].id",
    }


def test_what_only_follows_is_not_said():
    """Each of these has one mistake, and is told one."""
    for text, place in (
        ("provders: {openai: {keys: [{value: env.K}]}}\nfallbacks: [{primary: openai/a}]", "$.provders"),
        ("providers: [openai]\nfallbacks: [{primary: openai/a}]", "$.providers"),
        ("providers: {mine: {dialect: opena, network: {base_url: 'http://h'}}}", "$.providers.mine.dialect"),
        ("providers: {mine: {dialect: openai, network: {bas_url: 'http://h'}}}", "$.providers.mine.network.bas_url"),
        ("providers: {openai: {keys: [sk-in-plain]}}", "$.providers.openai.keys[0]"),
        (f"providers: {{openai: {{keys: sk-in-plain}}}}\n{KEY_ON_OPENAI}", "$.providers.openai.keys"),
        ("providers: {openai: {}}\nfallbacks: [{primary: openai/a, secondry: openai/b, tertiary: openai/c}]",
         "$.fallbacks[0].secondry"),
    ):  # fmt: skip
        assert list(faults(text)) == [place], text


def test_a_plain_secret_is_repeated_in_no_fault():
    """Also not where the place it stands in is mended."""
    text = "providers: {openai: {keys: [sk-in-plain, {valeu: sk-in-plain}], credentials: [sk-in-plain]}}"
    assert "sk-in-plain" not in str(loaded(text).faults)


_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6)
_words = st.sampled_from(
    [
        "providers",
        "keys",
        "value",
        "weight",
        "fallbacks",
        "primary",
        "secondary",
        "routes",
        "id",
        "models",
        "network",
        "virtual_keys",
        "rate_limit",
        "prices",
        "usd_per_million",
        "server",
        "retry",
        "key",
        "name",
        "params",
        "valeu",
    ]
)
_documents = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=4),
    max_leaves=30,
)


@given(st.dictionaries(_words, _documents, max_size=5))
def test_what_is_left_is_always_well_formed(document: dict[str, object]):
    """Whatever was written, the mended document has no fault of shape, becomes a Config, and keeps lists' lengths."""
    left = mended(document, Config)
    assert shape_faults(left, Config) == []
    assert isinstance(msgspec.convert(left, Config), Config)
    for name in ("fallbacks", "routes", "virtual_keys"):
        given_list = document.get(name)
        if isinstance(given_list, list):
            assert len(left[name]) == len(given_list)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("providers:\n\topenai: {}\n", "a tab stands before the text (line 2). Indent with spaces."),
        ("providers: {openai: {keys: [{value: env.K}\n", "expected ',' or ']' (line 2, column 1)."),
        ("server: {}\nserver: {}\n", "the key 'server' stands twice (line 2, column 1). Make the two one."),
        ("providers: {openai: {api_key: env.K}}", "Write keys: [{value: env.NAME}]."),
        (
            "providers: {openai: {keys: [env.K]}}",
            "Write {value: …}, with fields such as value, name, weight, models.",
        ),
    ],
)
def test_common_slips_are_told_in_whole_sentences(text, said):
    """What a person who writes a first configuration gets wrong."""
    (fault,) = faults(text).values()
    assert said in fault


def test_cache_knobs_that_cannot_be_meant_are_faults():
    """Each with its path and what to write instead."""
    text = """
providers: {openai: {keys: [{value: env.K}]}}
cache: {redis: "http://somewhere", max_bytes: 1000, max_entry_bytes: 2000, tenant_max_bytes: 3000}
semantic_cache: {enabled: true, embedder: nobody/model, templates: ["no variable"], audit: {budget_usd: much, judge: gpt}}
"""
    assert set(faults(text)) == {
        "$.cache.redis", "$.cache.max_entry_bytes", "$.cache.tenant_max_bytes", "$.semantic_cache.embedder",
        "$.semantic_cache.templates[0]", "$.semantic_cache.audit.budget_usd", "$.semantic_cache.audit.judge",
    }  # fmt: skip


def test_cache_knobs_without_effect_are_warned_of():
    """A place without a tier, and a promise that nothing can ever certify."""
    text = """
providers: {openai: {keys: [{value: env.K}]}}
cache: {path: x.db}
"""
    (warning,) = loaded(text).warnings
    assert warning.path == "$.cache"
    text = """
providers: {openai: {keys: [{value: env.K}]}}
semantic_cache: {enabled: true, max_error_rate: 0.01, audit: {shadow_rate: 0}}
"""
    (warning,) = loaded(text).warnings
    assert warning.path == "$.semantic_cache.audit.shadow_rate"
