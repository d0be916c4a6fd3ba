"""A configuration file loads whole, or all its faults are said: each with its path and what to write instead."""

import datetime as dt
import math
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from penstock.config.load import load, load_text
from penstock.config.schema import SemanticCacheConfig, TargetConfig
from tests.config.make import EVERY, FIXTURES, NOWHERE, TODAY, catalogue, faults, fixture, loaded, sound

OPENAI = "providers: {openai: {keys: [{value: env.K}]}}\n"


# The two files of the specification, exactly as they were written.


def test_the_chain_file_means_what_it_says():
    """Weights, the chain in its order with openai twice, and the semantic cache's settings."""
    found = fixture("chain.yaml")
    assert found.faults == []
    config = found.config
    assert [(key.value, key.weight) for key in config.providers["openai"].keys] == [
        ("env.OPENAI_KEY_PRIMARY", 0.7),
        ("env.OPENAI_KEY_BACKUP", 0.3),
    ]
    assert [key.weight for key in config.providers["anthropic"].keys] == [1.0]
    (chain,) = config.fallbacks
    assert (chain.primary, chain.secondary, chain.tertiary, chain.fallbacks) == (
        "openai/gpt-4o-mini",
        "anthropic/claude-haiku-4-5",
        "openai/gpt-4o-mini",
        (),
    )
    assert config.semantic_cache == SemanticCacheConfig(
        enabled=True, similarity_threshold=0.94, ttl_seconds=604800
    )
    assert found.secrets["env.OPENAI_KEY_BACKUP"].reveal() == "value-of-OPENAI_KEY_BACKUP"


def test_the_route_file_means_what_it_says():
    """mcp entries are routes; retries are as written; stability loads, and nothing is to be said of it."""
    found = fixture("route.yaml")
    assert found.faults == []
    config = found.config
    (route,) = config.mcp
    assert (route.id, route.primary, route.fallbacks) == (
        "prompt-rewrite",
        "openai/gpt-4o-mini",
        ("anthropic/claude-haiku-4-5",),
    )
    retry = config.providers["openai"].network.retry
    assert (retry.max_retries, retry.backoff_initial_ms) == (2, 100)
    assert list(config.providers) == ["openai", "anthropic", "stability"]
    assert found.warnings == []


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        (
            "chain.yaml",
            ["providers.openai.keys[0]", "providers.openai.keys[1]", "providers.anthropic.keys[0]"],
        ),
        ("route.yaml", ["providers.anthropic.keys[0]", "providers.stability.keys[0]"]),
    ],
)
def test_each_unset_variable_is_a_fault_of_its_own(name, missing):
    """All at once, by path, naming the variable."""
    environ = {} if name == "chain.yaml" else {"OPENAI_KEY_PRIMARY": "a", "OPENAI_KEY_SECONDARY": "b"}
    found = fixture(name, environ)
    assert found.config is None
    assert [fault.path for fault in found.faults] == [f"$.{path}.value" for path in missing]
    assert "ANTHROPIC_KEY is not set" in " ".join(fault.message for fault in found.faults)


# All faults at once.


def test_all_faults_are_said_at_once_with_paths_and_remedies():
    """Nine mistakes of shape, nine faults; none hides another."""
    found = faults("""
providers:
  openai:
    key: [{value: env.A}]
    keys: [{value: env.A, weight: 0}, {weigth: 1}, env.B]
    network: {connect_timeout_ms: "5000", idle_timeout_ms: 0, retry: {max_retries: 11}}
  anthropic: {dialect: antropic}
fallback: []
server: {port: 70000}
""")
    assert set(found) == {
        "$.providers.openai.key",
        "$.providers.openai.keys[0].weight",
        "$.providers.openai.keys[1].weigth",
        "$.providers.openai.keys[1].value",
        "$.providers.openai.keys[2]",
        "$.providers.openai.network.connect_timeout_ms",
        "$.providers.openai.network.idle_timeout_ms",
        "$.providers.openai.network.retry.max_retries",
        "$.providers.anthropic.dialect",
        "$.fallback",
        "$.server.port",
    }
    assert "Did you mean 'keys'?" in found["$.providers.openai.key"]
    assert "Did you mean 'weight'?" in found["$.providers.openai.keys[1].weigth"]
    assert "Did you mean 'anthropic'?" in found["$.providers.anthropic.dialect"]
    assert "Did you mean 'fallbacks'?" in found["$.fallback"]
    assert "digits, without quotes" in found["$.providers.openai.network.connect_timeout_ms"]
    assert "at most 65535" in found["$.server.port"]
    assert "more than 0" in found["$.providers.openai.keys[0].weight"]


def test_all_faults_of_meaning_are_said_at_once():
    """What is well-formed and cannot be built."""
    found = faults(
        """
providers:
  opnai: {keys: [{value: env.A}, {value: env.A}]}
  own: {dialect: openai}
  runwayml: {keys: [{value: env.A}]}
  bedrock: {keys: [{value: env.A}]}
  azure: {keys: [{value: env.A, models: []}]}
  gemini: {dialect: anthropic}
  vertex: {}
  a/b: {dialect: openai, network: {base_url: "https://h/v1"}, models: {"": x}}
fallbacks:
  - {primary: gpt-4o, secondary: opnia/gpt-4o}
  - {primary: own/x, tertiary: own/y}
  - {primary: {model: own/x}}
routes: [{id: r, primary: own/x}, {id: "", primary: own/x}]
mcp: [{id: r, primary: nobody/x}, {id: s, primary: mistral/x}]
virtual_keys:
  - {name: one, key: env.V, provider_keys: [own.B], expires: soon}
  - {name: one, key: env.V, models: []}
  - {name: "", key: env.W}
"""
    )
    assert {path: text.split(".")[0] for path, text in found.items()} == {
        "$.providers.opnai": "'opnai' is not a known provider",
        "$.providers.opnai.keys[1].name": "Two keys are named 'A'",
        "$.providers.own.network.base_url": "No base URL is known",
        "$.providers.runwayml.dialect": "No dialect of this version speaks to runwayml",
        "$.providers.bedrock.location": "Bedrock needs a region",
        "$.providers.azure.network.base_url": "No base URL is known",
        "$.providers.azure.keys[0].models": "The list is empty: no model at all",
        "$.providers.gemini.network.base_url": "gemini speaks gemini at its known address, not anthropic",
        "$.providers.vertex.project": "Vertex needs project",
        "$.providers.vertex.location": "Vertex needs location",
        "$.providers.vertex.credentials": "Vertex needs credentials",
        "$.providers.a/b": "A provider's name has no slash and no spaces around it",
        "$.providers.a/b.models.": "An alias or its model is empty",
        "$.fallbacks[0].primary": "'gpt-4o' names no provider",
        "$.fallbacks[0].secondary": "The provider 'opnia' is not configured",
        "$.fallbacks[1].tertiary": "There is no secondary",
        "$.fallbacks[2].primary": "'own/x' has two chains",
        "$.routes[1].id": "The id is empty",
        "$.mcp[0].id": "The route 'r' stands twice",
        "$.mcp[0].primary": "The provider 'nobody' is not configured",
        "$.mcp[1].primary": "The provider 'mistral' is not configured",
        "$.virtual_keys[0].provider_keys[0]": "There is no key 'own",
        "$.virtual_keys[0].expires": "'soon' is no date",
        "$.virtual_keys[1].name": "Two virtual keys are named 'one'",
        "$.virtual_keys[1].key": "Two virtual keys share one secret",
        "$.virtual_keys[1].models": "The list is empty: no model at all",
        "$.virtual_keys[2].name": "The name is empty",
    }
    assert "Did you mean 'openai'?" in found["$.providers.opnai"]
    assert "Did you mean opnai/gpt-4o?" in found["$.fallbacks[0].secondary"]
    assert "Add mistral under providers." in found["$.mcp[1].primary"]


# Values.


@pytest.mark.parametrize(
    "written", ["2027-01-01", '"2027-01-01"', "2027-01-01T12:30:00Z", "2027-01-01 12:30:00+02:00"]
)
def test_a_day_may_stand_without_quotes(written):
    """YAML would make it a date; here it stays what was written, a date or a date-time."""
    config = sound(f"{OPENAI}virtual_keys: [{{name: a, key: env.V, expires: {written}}}]")
    assert config.virtual_keys[0].expires == written.strip('"')


@pytest.mark.parametrize("written", ["tomorrow", "2027-13-01", "2027-01-01T25:00", "01.02.2027", '""'])
def test_what_is_no_day_is_refused(written):
    assert list(faults(f"{OPENAI}virtual_keys: [{{name: a, key: env.V, expires: {written}}}]")) == [
        "$.virtual_keys[0].expires"
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "---\n"])
def test_an_empty_file_is_a_gateway_without_providers(text):
    """It loads, and a warning says that it can serve nothing."""
    found = loaded(text)
    assert (found.faults, found.config.providers) == ([], {})
    assert [note.path for note in found.warnings] == ["$.providers"]


@pytest.mark.parametrize("text", ["[1, 2]", "hello", "7", "true", "1.5"])
def test_a_file_that_is_no_mapping_is_refused(text):
    assert "Expected fields" in faults(text)["$"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "line 1"),
        ("a:\n\t- b", "Indent with spaces"),
        ("a: b: c", "mapping values are not allowed"),
        ("a: *nowhere", "undefined alias"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("a: !!int x", "does not fit its YAML tag"),
        ("a: !!timestamp x", "does not fit its YAML tag"),
        ("a: !!binary \u00e9", ""),
        ("? [a, b]\n: c", "no plain word"),
        ("? {a: b}\n: c", "no plain word"),
        ("a: \x00", ""),
        ('a: "\\ud800"', "surrogate"),
        ("[" * 900, "too deep"),
        ("a: " + "{b: " * 1200 + "1" + "}" * 1200, "too deep"),
    ],
)  # fmt: skip
def test_what_is_no_yaml_is_one_fault_with_its_place(text, said):
    """Whatever is wrong with the YAML itself: one sentence, no traceback."""
    found = faults(text)
    assert list(found) == ["$"]
    assert said in found["$"]


def test_a_key_that_stands_twice_is_refused_by_name_and_line():
    """YAML readers disagree about which one wins, in silence."""
    found = faults("providers: {}\nserver: {port: 1, port: 2}\n")
    assert "the key 'port' stands twice (line 2, column 19)" in found["$"]


def test_anchors_and_merges_work():
    """``<<`` takes over fields, and what stands beside it wins; that is no repeated key."""
    config = sound("""
providers:
  openai: &one
    keys: [{value: env.K}]
    network: {idle_timeout_ms: 7}
  own: {<<: *one, dialect: openai, network: {base_url: "https://h/v1"}}
""")
    assert config.providers["own"].keys == config.providers["openai"].keys
    assert (
        config.providers["own"].network.idle_timeout_ms,
        config.providers["openai"].network.idle_timeout_ms,
    ) == (
        60_000,
        7,
    )


def test_a_file_that_holds_itself_is_refused():
    """YAML can say so: params that contain themselves can be sent to nobody."""
    found = faults(f"{OPENAI}routes: [{{id: r, primary: {{model: openai/x, params: &p {{a: *p}}}}}}]")
    assert list(found) == ["$.routes[0].primary.params.a"]


# Parameters of a target, prices.


@pytest.mark.parametrize("name", ["model", "messages", "stream", "stream_options"])
def test_what_the_gateway_decides_is_no_parameter_of_a_target(name):
    """The dialect would ignore it: said, rather than ignored."""
    found = faults(f"{OPENAI}fallbacks: [{{primary: {{model: openai/x, params: {{{name}: x}}}}}}]")
    assert list(found) == [f"$.fallbacks[0].primary.params.{name}"]


@pytest.mark.parametrize(
    ("param", "fits"),
    [
        ("temperature: 0", True),
        ("temperature: 0.5", True),
        ("temperature: null", True),
        ("temperature: hot", False),
        ("temperature: true", False),
        ("max_tokens: 5", True),
        ("max_tokens: 5.5", False),
        ("reasoning_effort: low", True),
        ("reasoning_effort: 3", False),
        ("response_format: {type: json_object}", True),
        ("house_special: [1, {a: b}]", True),
        ("house_special: .nan", False),
        ("house_special: !!set {a, b}", False),
        ("house_special: !!binary aGk=", False),
        ("house_special: {1: 2}", False),
    ],
)
def test_parameters_of_a_target_are_checked(param, fits):
    """Known ones by their kind, all of them for being JSON."""
    text = f"{OPENAI}routes: [{{id: r, primary: openai/x, fallbacks: [{{model: openai/y, params: {{{param}}}}}]}}]"
    if fits:
        (target,) = sound(text).routes[0].fallbacks
        assert isinstance(target, TargetConfig)
    else:
        assert list(faults(text)) == [f"$.routes[0].fallbacks[0].params.{param.split(':')[0]}"]


def test_own_prices_are_decimal_text():
    """Each unit that is none, and each text that is no price, with its own path."""
    found = faults(f"""{OPENAI}
prices:
  - {{model: openai/x, usd_per_million: {{input: "0.15", output: cheap, outptu: "1", cache_read: "-1"}}}}
  - {{model: gpt-4o, usd_per_million: {{input: nan, output: "1 0"}}}}
  - {{model: openai/x, usd_per_million: {{}}}}
""")
    assert set(found) == {
        "$.prices[0].usd_per_million.output",
        "$.prices[0].usd_per_million.outptu",
        "$.prices[0].usd_per_million.cache_read",
        "$.prices[1].model",
        "$.prices[1].usd_per_million.input",
        "$.prices[1].usd_per_million.output",
        "$.prices[2].model",
        "$.prices[2].usd_per_million",
    }


@pytest.mark.parametrize("price", ["0", "0.15", "15", "1e-3", " 2.5 ", "0.00000000001"])
def test_every_decimal_is_a_price(price):
    sound(f'{OPENAI}prices: [{{model: openai/x, usd_per_million: {{input: "{price}"}}}}]')


@pytest.mark.parametrize(
    "price",
    [
        "",
        ".",
        "x",
        "-0.1",
        "inf",
        "nan",
        "1e999999999",
        "1e-999999999999999999999",
        "1e10",
        "sNaN",
        "0x10",
        "1,5",
        "$1",
    ],
)
def test_what_is_no_decimal_is_no_price(price):
    text = f'{OPENAI}prices: [{{model: openai/x, usd_per_million: {{input: "{price}"}}}}]'
    assert list(faults(text)) == ["$.prices[0].usd_per_million.input"]


# Addresses and files.


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("https://h/v1", True),
        ("http://[::1]:8080", True),
        ("h/v1", False),
        ("ftp://h", False),
        ("https://", False),
        ("https://h:0/v1", False),
        ("https://h:x/v1", False),
        ("https://h/v1?api-version=1", False),
        ("https://a b/v1", False),
        ("https://[::1/v1", False),
    ],
)
def test_base_urls_are_checked_as_the_transport_will_read_them(url, fits):
    text = f'providers: {{own: {{dialect: openai, network: {{base_url: "{url}"}}}}}}'
    if fits:
        sound(text)
    else:
        assert list(faults(text)) == ["$.providers.own.network.base_url"]


def test_a_ca_file_is_looked_for_beside_the_configuration(tmp_path):
    """Missing, unreadable or empty of certificates: a fault with its path."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "none.pem").write_text("hello")

    def text(name: str) -> str:
        return f"providers: {{openai: {{keys: [{{value: env.K}}], network: {{ca_file: {name}}}}}}}"

    sound(text("ca.pem"), base=tmp_path)
    sound(text(str(tmp_path / "ca.pem")))
    place = "$.providers.openai.network.ca_file"
    assert "No such file" in faults(text("missing.pem"), base=tmp_path)[place]
    assert "no PEM certificates" in faults(text("none.pem"), base=tmp_path)[place]
    assert "cannot be read" in faults(text('"~nobody-here/ca.pem"'), base=tmp_path)[place]
    assert "cannot be read" in faults(text('"a\\0b"'), base=tmp_path)[place]


@pytest.mark.parametrize(
    "wrong", ["proxy: socks5://h:1", "proxy: h:3128", "proxy: http://", 'proxy: "http://h h:1"']
)
def test_a_proxy_is_an_http_address(wrong):
    text = f"providers: {{openai: {{keys: [{{value: env.K}}], network: {{{wrong}}}}}}}"
    assert list(faults(text)) == ["$.providers.openai.network.proxy"]


def test_vertex_needs_a_service_account_that_reads_as_one(tmp_path):
    """Unreadable, no JSON, another kind of JSON: faults at credentials."""
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "user.json").write_text('{"type": "authorized_user", "client_id": "x"}')
    (tmp_path / "words.json").write_text("hello")
    (tmp_path / "good.json").write_text(
        '{"client_email": "a@b", "private_key": "-----BEGIN PRIVATE KEY-----\\nx"}'
    )

    def text(name: str) -> str:
        return f"providers: {{vertex: {{project: p, location: global, credentials: 'file:{name}'}}}}"

    sound(text("good.json"), base=tmp_path)
    place = "$.providers.vertex.credentials"
    assert "No such file" in faults(text("missing.json"), base=tmp_path)[place]
    assert "is empty" in faults(text("empty.json"), base=tmp_path)[place]
    for name in ("user.json", "words.json"):
        assert "not a Google service account's key" in faults(text(name), base=tmp_path)[place]


def test_a_file_that_is_not_there_is_a_fault(tmp_path):
    """Neither a traceback nor a gateway without providers."""
    for path, said in (
        (tmp_path / "missing.yaml", "There is no file"),
        (tmp_path, "Is a directory"),
    ):
        found = load(path, EVERY, catalogue(), TODAY)
        assert (found.config, [fault.path for fault in found.faults]) == (None, ["$"])
        assert said in found.faults[0].message
    (tmp_path / "latin.yaml").write_bytes(b"a: caf\xe9")
    assert "not UTF-8 (byte 6)" in load(tmp_path / "latin.yaml", EVERY, catalogue(), TODAY).faults[0].message


# Warnings.


def test_lifecycle_dates_warn_and_refuse_nothing():
    """Retired and retiring are told apart; aliases and every place of a chain are looked at."""
    facts = next(
        f for f in catalogue().find("openai/") if f.provider == "openai" and f.retires and f.mode == "chat"
    )
    text = f"""
providers: {{openai: {{keys: [{{value: env.K}}], models: {{old: {facts.model}}}}}}}
routes: [{{id: r, primary: openai/gpt-4o-mini, fallbacks: [openai/{facts.model}, openai/old]}}]
"""
    retires = dt.date.fromisoformat(facts.retires)
    places = ["$.routes[0].fallbacks[0]", "$.routes[0].fallbacks[1]", "$.providers.openai.models.old"]
    for today, said in ((retires, "was retired on"), (retires - dt.timedelta(3), "retires on")):
        found = load_text(text, NOWHERE, EVERY, catalogue(), today.isoformat())
        assert found.config is not None
        notes = {note.path: note.message for note in found.warnings if facts.model in note.message}
        assert set(places) <= set(notes)
        assert all(f"openai/{facts.model} {said} {facts.retires}" in notes[place] for place in places)
    long_before = load_text(text, NOWHERE, EVERY, catalogue(), "2024-01-01")
    assert not [note for note in long_before.warnings if "retire" in note.message]


def test_an_unknown_price_warns_until_it_is_given():
    """Costs would be unknown: said; with an own price there is nothing to say."""
    text = f"{OPENAI}routes: [{{id: r, primary: openai/house-model}}]\n"
    assert [(note.path, note.message) for note in loaded(text).warnings] == [
        ("$.routes[0].primary", "The price of openai/house-model is not known.")
    ]
    own = 'prices: [{model: openai/house-model, usd_per_million: {input: "1", output: "2"}}]'
    assert loaded(text + own).warnings == []


def test_knobs_without_effect_and_expired_keys_warn():
    """What is written and does nothing is said."""
    found = loaded("""
providers:
  openai: {project: p}
  ollama: {}
  stability: {keys: [{value: env.K}]}
routes: [{id: r, primary: openai/gpt-4o-mini, fallbacks: [stability/sd3]}]
prices: [{model: opnai/x, usd_per_million: {input: "1"}}]
virtual_keys: [{name: a, key: env.A, expires: 2026-11-20}, {name: b, key: env.B, expires: 2026-11-20T01:00:00Z}]
""")
    assert found.config is not None
    assert [note.path for note in found.warnings] == [
        "$.providers.openai.project",
        "$.providers.openai.keys",
        "$.prices[0].model",
        "$.virtual_keys[0].expires",
    ]


# Anything at all.

_NAMES = st.sampled_from([
    "providers", "openai", "vertex", "own", "keys", "value", "weight", "models", "dialect", "network", "base_url", "proxy",
    "ca_file", "retry", "max_retries", "fallbacks", "primary", "secondary", "params", "model", "routes", "mcp", "id",
    "virtual_keys", "name", "key", "provider_keys", "rate_limit", "burst", "expires", "prices", "usd_per_million", "input",
    "server", "port", "admin_key", "ledger", "semantic_cache", "similarity_threshold", "credentials", "project", "location",
])  # fmt: skip
_PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["env.A", "env.", "file:", "file:x", "openai/x", "2027-01-01", "https://h/v1", "openai", "~x", "*"]
    ),
    st.dates(),
    st.binary(max_size=3),
)
_DOCUMENT = st.recursive(
    _PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(_NAMES | st.text(max_size=3) | st.integers(), inner, max_size=4),
    ),
    max_leaves=20,
)
_SOUND: dict[str, Any] = {
    "providers": {"openai": {"keys": [{"value": "env.A", "weight": 1}], "network": {"retry": {"max_retries": 1}}}},
    "fallbacks": [{"primary": "openai/x", "secondary": {"model": "openai/y", "params": {"temperature": 1}}}],
    "routes": [{"id": "r", "primary": "openai/x", "fallbacks": ["openai/y"], "max_attempts": 3}],
    "virtual_keys": [{"name": "a", "key": "env.V", "models": ["*"], "provider_keys": ["openai.A"], "expires": "2027-01-01"}],
    "prices": [{"model": "openai/x", "usd_per_million": {"input": "1"}}],
    "server": {"port": 1, "admin_key": "env.B"},
    "semantic_cache": {"similarity_threshold": 0.5},
}  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += _places(item, (*path, key))
    return found


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        return {k: _replaced(v, tuple(rest), new) if k == key else v for k, v in value.items()}
    return [_replaced(v, tuple(rest), new) if k == key else v for k, v in enumerate(value)]


def said_well(text: str) -> None:
    """Loads, or says faults that a person can find: never an exception, never both."""
    found = loaded(text)
    assert (found.config is None) == bool(found.faults)
    for fault in found.faults:
        assert fault.path.startswith("$")
        assert fault.message
        str(fault).encode()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_DOCUMENT)
def test_any_document_loads_or_is_refused(document):
    """Any YAML value: faults are values, never exceptions."""
    said_well(yaml.safe_dump(document, allow_unicode=True))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_places(_SOUND)), _DOCUMENT)
@example(("providers", "openai", "keys", 0, "weight"), 10**400)
@example(("providers", "openai", "keys", 0, "weight"), math.inf)
@example(("server", "port"), 10**400)
@example(("providers", "openai", "keys", 0, "value"), "file:\0")
def test_a_sound_file_with_anything_in_any_place_loads_or_is_refused(place, value):
    """Near the true shape every check is reached."""
    said_well(yaml.safe_dump(_replaced(_SOUND, place, value), allow_unicode=True))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="{}[]:,&*!|>'\"%@`#-?<= \nab1", max_size=60))
def test_any_text_loads_or_is_refused(text):
    """YAML or not."""
    said_well(text)


def test_the_fixture_of_the_property_is_sound():
    """Else the property would look at refusals only."""
    sound(yaml.safe_dump(_SOUND))
    assert Path(FIXTURES / "chain.yaml").exists()
