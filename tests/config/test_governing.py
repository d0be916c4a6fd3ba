"""Faults of organisations, teams, keys and users: each with its place, all at once."""

import hashlib

import pytest

from tests.config.make import faults, sound

HASH = "a" * 64


def governed(block: str) -> str:
    return "providers: {openai: {keys: [{value: env.OPENAI}]}}\n" + block


@pytest.mark.parametrize(
    ("block", "path", "words"),
    [
        ("teams: [{name: a, organisation: acne}]\norganisations: [{name: acme}]", "$.teams[0].organisation", "acme"),
        ("virtual_keys: [{name: k, key: env.K, team: desing}]\nteams: [{name: design}]", "$.virtual_keys[0].team", "design"),
        ("virtual_keys: [{name: k, key: env.K, team: t}]", "$.virtual_keys[0].team", "Add it under teams"),
        ("organisations: [{name: a}, {name: a}]", "$.organisations[1].name", "Two organisations"),
        ("teams: [{name: a}, {name: a}]", "$.teams[1].name", "Two teams"),
        ('teams: [{name: " a"}]', "$.teams[0].name", "spaces"),
        ("virtual_keys: [{name: k, key: env.K, users: [{name: u}, {name: u}]}]", "$.virtual_keys[0].users[1].name", "Two users"),
        ("virtual_keys: [{name: u of key k, key: env.K}]", "$.virtual_keys[0].name", "of key"),
        ("teams: [{name: a, budgets: [{limit_usd: 1, timezone: Europe/Berln}]}]", "$.teams[0].budgets[0].timezone", "time zone"),
        ("teams: [{name: a, budgets: [{limit_usd: 1, timezone: ../etc}]}]", "$.teams[0].budgets[0].timezone", "time zone"),
        ('teams: [{name: a, budgets: [{limit_usd: 1, timezone: ""}]}]', "$.teams[0].budgets[0].timezone", "time zone"),
        ("teams: [{name: a, budgets: [{limit_usd: ten}]}]", "$.teams[0].budgets[0].limit_usd", "decimal limit"),
        ("teams: [{name: a, budgets: [{limit_usd: -1}]}]", "$.teams[0].budgets[0].limit_usd", "non-negative"),
        ("teams: [{name: a, budgets: [{limit_usd: 1, overdraft_percent: 5}]}]", "$.teams[0].budgets[0].overdraft_percent", "soft"),
        ("teams: [{name: a, budgets: [{limit_usd: 1}, {limit_usd: 2}]}]", "$.teams[0].budgets[1].name", "Two budgets"),
        ("teams: [{name: a, budgets: [{limit_usd: 1, name: week}, {limit_usd: 2, period: week}]}]", "$.teams[0].budgets[1].name", "Two budgets"),
        ("teams: [{name: a, models: []}]", "$.teams[0].models", "no model at all"),
        ("teams: [{name: a, providers: ['!openai']}]", "$.teams[0].providers", "only denies"),
        ("virtual_keys: [{name: k, key: 'sha256:abc'}]", "$.virtual_keys[0].key", "64"),
        (f"virtual_keys: [{{name: k, key: 'sha256:{HASH.upper()}'}}]", "$.virtual_keys[0].key", "lower-case"),
        ("virtual_keys: [{name: k, key: env.K, previous: [{key: env.L, until: soon}]}]", "$.virtual_keys[0].previous[0].until", "no date"),
        ("virtual_keys: [{name: k, key: env.K, previous: [{key: env.K, until: 2027-01-01}]}]", "$.virtual_keys[0].previous[0].key", "twice"),
        ("virtual_keys: [{name: k, key: env.K, previous: [{key: plain, until: 2027-01-01}]}]", "$.virtual_keys[0].previous[0].key", "must not stand"),
        ("virtual_keys: [{name: k, key: env.K, users: [{name: '*', tags: {a: b}}]}]", "$.virtual_keys[0].users[0].tags", "Put them on the key"),
        (f"virtual_keys: [{{name: k, key: 'sha256:{HASH}'}}, {{name: l, key: 'sha256:{HASH}'}}]", "$.virtual_keys[1].key", "share one secret"),
    ],
)  # fmt: skip
def test_each_fault_has_its_place_and_its_remedy(block, path, words):
    """One mistake each; nothing else is said."""
    found = faults(governed(block))
    assert list(found) == [path]
    assert words in found[path]


def test_a_misspelt_hash_is_not_repeated():
    """It may be the secret itself."""
    found = faults(governed("virtual_keys: [{name: k, key: 'sha256:hunter2hunter2'}]"))
    assert "hunter2" not in "".join(found.values())


def test_a_secret_and_the_hash_of_it_are_one_key():
    """Two keys that one secret opens would be a toss-up."""
    assert sound(governed(f"virtual_keys: [{{name: k, key: 'sha256:{HASH}'}}]"))
    same = hashlib.sha256(b"value-of-K").hexdigest()
    found = faults(governed(f"virtual_keys: [{{name: k, key: env.K}}, {{name: l, key: 'sha256:{same}'}}]"))
    assert list(found) == ["$.virtual_keys[1].key"]


def test_all_of_it_together_is_sound():
    """A whole tree."""
    config = sound(
        governed(
            "organisations: [{name: acme, budgets: [{limit_usd: 500, timezone: Europe/Berlin}]}]\n"
            "teams: [{name: design, organisation: acme, providers: ['*', '!gemini']}]\n"
            f"virtual_keys: [{{name: k, key: 'sha256:{HASH}', team: design, previous: [{{key: env.OLD, until: 2027-01-01}}],"
            " budgets: [{limit_usd: 1, period: day}, {limit_usd: '2.5', period: day, mode: soft, overdraft_percent: 5, name: burst}],"
            " users: [{name: ann}, {name: '*', max_concurrent: 2}]}]\n"
        )
    )
    assert config.virtual_keys[0].budgets[1].name == "burst"
