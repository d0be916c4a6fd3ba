"""Secrets are written as references, resolved once, and never repeated: not in a fault, a repr, or an error."""

import msgspec
import pytest
from rich.console import Console

from penstock.base.decisions import Rejected
from penstock.config.load import Loaded, load_text, references
from penstock.config.secrets import Secret, is_reference, reference_name, resolve
from tests.config.make import NOWHERE, TODAY, catalogue, faults, loaded, sound

PLAIN = "sk-live-51Hq8ZkTBmC3vN0pXwYeRuJd"
"""What a hurried operator pastes."""
PLACES = {
    "a provider's key": "providers: {openai: {keys: [{value: '%s'}]}}",
    "a provider's key as a number": "providers: {openai: {keys: [{value: 51840051840051840051}]}}",
    "a key without its field": "providers: {openai: {keys: ['%s']}}",
    "a key instead of its field": "providers: {openai: {keys: [{'%s'}]}}",
    "a key as a name": "providers: {openai: {keys: {'%s': 1}}}",
    "a virtual key": "providers: {openai: {keys: [{value: env.K}]}}\nvirtual_keys: [{name: a, key: '%s'}]",
    "the admin key": "server: {admin_key: '%s'}",
    "credentials": "providers: {vertex: {project: p, location: global, credentials: '%s'}}",
    "a proxy's password": "providers: {openai: {keys: [{value: env.K}], network: {proxy: 'http://me:%s@h:1'}}}",
    "a proxy's password, misspelt": "providers: {openai: {keys: [{value: env.K}], network: {proxy: 'htp://me:%s@h:x'}}}",
    "an address's password": "providers: {openai: {keys: [{value: env.K}], network: {base_url: 'ftp://me:%s@h'}}}",
    "after env.": "server: {admin_key: 'env.%s'}",
    "a list of provider keys": "providers: {openai: {keys: [{value: env.K}]}}\nvirtual_keys: [{name: a, key: env.V, provider_keys: ['%s']}]",
    "a key beside provider_keys": "providers: {openai: {keys: [{value: '%s'}]}}\nvirtual_keys: [{name: a, key: env.V, provider_keys: [openai.x]}]",
    "a dialect": "providers: {openai: {dialect: '%s'}}",
    "an expiry": "virtual_keys: [{name: a, key: env.V, expires: '%s'}]",
    "a YAML tag": "server: {admin_key: !%s x}",
    "a YAML alias": "server: {admin_key: *%s}",
    "a broken line": "server: {admin_key: %s: x}",
    "a broken quote": "server: {admin_key: '%s}",
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_in_plain_is_refused_and_never_repeated(place):
    """Wherever it stands: a fault, and no piece of it in any message, repr or JSON of what loading gave."""
    text = PLACES[place].replace("%s", PLAIN)
    found = loaded(text)
    assert found.config is None
    assert found.faults
    told = [str(found.faults), repr(found), str(found), msgspec.json.encode(found.faults).decode()]
    with (console := Console(width=400)).capture() as shown:
        console.print(found)
        console.print(found.faults)
    for text in (*told, shown.get()):
        assert PLAIN[:12] not in text
        assert PLAIN[-12:] not in text
        assert PLAIN[5:20] not in text
        assert "5184005184005184" not in text


@pytest.mark.parametrize("place", ["a provider's key", "a virtual key", "the admin key", "credentials"])
def test_the_remedy_for_a_plain_secret_is_a_reference(place):
    (said,) = faults(PLACES[place].replace("%s", PLAIN)).values()
    assert "must not stand in the configuration" in said
    assert "env.NAME or file:PATH" in said


def test_a_proxy_with_a_password_is_a_reference():
    """Without a password it may stand there; with one, the whole URL is kept elsewhere."""
    text = "providers: {openai: {keys: [{value: env.K}], network: {proxy: '%s'}}}"
    sound(text % "http://h:3128")
    (said,) = faults(text % "http://me:hunter2@h:3128").values()
    assert "Write env.NAME" in said
    assert "hunter2" not in said
    found = loaded(text % "env.P", {"K": "k", "P": "http://me:hunter2@h:3128"})
    assert (found.faults, found.secrets["env.P"].reveal()) == ([], "http://me:hunter2@h:3128")
    (fault,) = loaded(text % "env.P", {"K": "k", "P": "socks5://me:hunter2@h"}).faults
    assert fault.path == "$.providers.openai.network.proxy"
    assert "hunter2" not in str(fault)


def test_a_secret_shows_where_it_came_from_and_not_what_it_is():
    """repr, str, format, rich and msgspec's own repr of what holds it."""
    secret = Secret("env.KEY", PLAIN)
    with (console := Console(width=200)).capture() as shown:
        console.print(secret, {"a": secret})
    for text in (repr(secret), str(secret), f"{secret}", f"{[secret]}", shown.get()):
        assert "Secret(env.KEY)" in text
        assert PLAIN not in text
    assert secret.reveal() == PLAIN
    assert not hasattr(secret, "__dict__")


def test_loading_shows_no_secret_in_its_repr():
    """Neither those that were resolved nor the text of a refused file."""
    found = loaded("providers: {openai: {keys: [{value: env.K}]}}", {"K": PLAIN})
    assert found.secrets["env.K"].reveal() == PLAIN
    assert PLAIN not in repr(found)
    assert PLAIN not in repr(found.secrets)
    assert isinstance(found, Loaded)


# Resolving.


@pytest.mark.parametrize(
    ("reference", "environ", "code", "said"),
    [
        ("env.KEY", {}, "secret-unset", "KEY is not set"),
        ("env.KEY", {"KEY": ""}, "secret-unset", "KEY is empty"),
        ("env.KEY", {"KEY": " \n"}, "secret-unset", "KEY is empty"),
        ("env.", {}, "secret-misnamed", "no name"),
        ("env.A-B", {"A-B": "x"}, "secret-misnamed", "no name"),
        ("env.1A", {}, "secret-misnamed", "no name"),
        ("file:", {}, "secret-unreadable", "cannot be read"),
        ("file:missing", {}, "secret-unreadable", "No such file"),
        ("file:~nobody-here/x", {}, "secret-unreadable", "home"),
        ("file:a\0b", {}, "secret-unreadable", "cannot be read"),
        ("file:empty", {}, "secret-empty", "is empty"),
        ("file:latin", {}, "secret-unreadable", "not UTF-8"),
        ("plain", {}, "secret-in-plain", "must not stand"),
        ("", {}, "secret-in-plain", "must not stand"),
        ("ENV.KEY", {"KEY": "x"}, "secret-in-plain", "must not stand"),
    ],
)
def test_what_cannot_be_resolved_says_why(tmp_path, reference, environ, code, said):
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    found = resolve(reference, environ, tmp_path)
    assert isinstance(found, Rejected)
    assert (found.code, said in found.reason) == (code, True)


def test_a_file_is_found_beside_the_configuration_and_trimmed(tmp_path):
    """The line break that editors put at the end is not part of a key."""
    (tmp_path / "key").write_text("  abc\n")
    found = resolve("file:key", {}, tmp_path)
    assert isinstance(found, Secret)
    assert (found.reveal(), repr(found)) == ("abc", "Secret(file:key)")
    assert resolve(f"file:{tmp_path}/key", {}, NOWHERE).reveal() == "abc"


def test_names_of_references():
    """The default name of a key."""
    assert [reference_name(one) for one in ("env.OPENAI_KEY", "file:/run/secrets/openai", "file:a.key")] == [
        "OPENAI_KEY",
        "openai",
        "a.key",
    ]
    assert [is_reference(one) for one in ("env.A", "file:a", "sk-a", "")] == [True, True, False, False]


def test_every_reference_of_a_configuration_is_resolved():
    """Keys, credentials, proxies, virtual keys, the admin key: each with its path."""
    config = sound(
        """
providers:
  openai: {keys: [{value: env.A}, {value: env.B}], network: {proxy: env.P}}
virtual_keys: [{name: v, key: env.V}]
server: {admin_key: env.ADMIN}
""",
        {"A": "a", "B": "b", "P": "http://h:1", "V": "v", "ADMIN": "x"},
    )
    assert references(config) == [
        ("$.providers.openai.keys[0].value", "env.A"),
        ("$.providers.openai.keys[1].value", "env.B"),
        ("$.providers.openai.network.proxy", "env.P"),
        ("$.virtual_keys[0].key", "env.V"),
        ("$.server.admin_key", "env.ADMIN"),
    ]


@pytest.mark.parametrize("value", ["a b", "a\nb", "schlüssel", "a\x7fb", "-----BEGIN KEY-----\nx"])
def test_a_key_that_cannot_stand_in_a_header_is_a_fault(value):
    """Better when the file is read than at the first call. The key is not repeated."""
    text = """
providers: {openai: {keys: [{value: env.K}]}}
virtual_keys: [{name: v, key: env.K}]
server: {admin_key: env.K}
"""
    found = faults(text, {"K": value})
    assert list(found) == ["$.providers.openai.keys[0].value", "$.virtual_keys[0].key", "$.server.admin_key"]
    assert all(value not in said for said in found.values())


def test_two_virtual_keys_with_one_secret_are_told_apart_by_nobody():
    """Also where the same value stands in two variables: one of them would never be used."""
    text = """
providers: {openai: {keys: [{value: env.K}]}}
virtual_keys: [{name: a, key: env.A}, {name: b, key: env.B}, {name: c, key: env.C}]
"""
    assert list(faults(text, {"K": "k", "A": "same", "B": "other", "C": "same"})) == ["$.virtual_keys[2].key"]


def test_the_environment_is_what_is_handed_in(monkeypatch):
    """Loading reads nothing from the process behind its caller's back."""
    monkeypatch.setenv("PENSTOCK_TEST_KEY", "from-the-process")
    text = "providers: {openai: {keys: [{value: env.PENSTOCK_TEST_KEY}]}}"
    assert len(load_text(text, NOWHERE, {}, catalogue(), TODAY).faults) == 1
