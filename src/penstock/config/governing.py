"""Faults of meaning in what governs callers: organisations, teams, virtual keys, users, their budgets and limits."""

import re
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from penstock.config.fault import Fault, shown
from penstock.config.rates import usd_price
from penstock.config.schema import (
    BudgetConfig,
    Config,
    GovernedConfig,
    OrganisationConfig,
    UserConfig,
    VirtualKeyConfig,
)
from penstock.config.secrets import HASH_PREFIX
from penstock.config.shape import nearest

_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_USER_OF = " of key "
"""Stands between a user's name and a key's where a node of the tree is named (ledger.tree)."""
_MOMENT = "Write 2027-01-01 or 2027-01-01T12:00:00Z."
ALL_USERS = "*"


def governing_faults(config: Config) -> Iterator[Fault]:
    """Of all four levels."""
    yield from _organisation_faults(config.organisations)
    yield from _team_faults(config)
    teams = [team.name for team in config.teams]
    for i, key in enumerate(config.virtual_keys):
        path = f"$.virtual_keys[{i}]"
        yield from governed_faults(path, key)
        yield from _key_faults(path, key, teams)
        names: set[str] = set()
        for n, user in enumerate(key.users):
            yield from _named(f"{path}.users[{n}]", "user", user.name, names)
            yield from governed_faults(f"{path}.users[{n}]", user)
            yield from _user_faults(f"{path}.users[{n}]", user)


def _organisation_faults(organisations: tuple[OrganisationConfig, ...]) -> Iterator[Fault]:
    names: set[str] = set()
    for i, organisation in enumerate(organisations):
        path = f"$.organisations[{i}]"
        yield from _named(path, "organisation", organisation.name, names)
        yield from governed_faults(path, organisation)


def _team_faults(config: Config) -> Iterator[Fault]:
    names: set[str] = set()
    known = [organisation.name for organisation in config.organisations]
    for i, team in enumerate(config.teams):
        path = f"$.teams[{i}]"
        yield from _named(path, "team", team.name, names)
        yield from governed_faults(path, team)
        yield from _parent(f"{path}.organisation", "organisation", team.organisation, known)


def _named(path: str, kind: str, name: str, seen: set[str]) -> Iterator[Fault]:
    if not name or name != name.strip():
        yield Fault(
            f"{path}.name", f"The name of {_a(kind)} is not empty, and has no spaces around it.", "Rename it."
        )
    elif name in seen:
        yield Fault(f"{path}.name", f"Two {kind}s are named {shown(name)}.", "Rename one.")
    seen.add(name)


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeio" else f"a {kind}"


def _parent(path: str, kind: str, name: str | None, known: list[str]) -> Iterator[Fault]:
    if name is None or name in known:
        return
    close = nearest(name, known)
    meant = f"Did you mean {close!r}?" if close else f"Add it under {kind}s."
    yield Fault(path, f"There is no {kind} {shown(name)}.", meant)


def _key_faults(path: str, key: VirtualKeyConfig, teams: list[str]) -> Iterator[Fault]:
    yield from _parent(f"{path}.team", "team", key.team, teams)
    if _USER_OF in key.name:
        yield Fault(
            f"{path}.name",
            f"A key's name does not hold \"{_USER_OF.strip()}\", as its users' do.",
            "Rename it.",
        )
    yield from _hash_faults(f"{path}.key", key.key)
    seen = {key.key}
    for n, previous in enumerate(key.previous):
        place = f"{path}.previous[{n}]"
        yield from _hash_faults(f"{place}.key", previous.key)
        if previous.key in seen:
            yield Fault(f"{place}.key", "This secret stands twice at this key.", "Take one out.")
        seen.add(previous.key)
        if not is_moment(previous.until):
            yield Fault(f"{place}.until", f"{shown(previous.until)} is no date.", _MOMENT)
    if key.expires is not None and not is_moment(key.expires):
        yield Fault(f"{path}.expires", f"{shown(key.expires)} is no date.", _MOMENT)


def _hash_faults(path: str, reference: str) -> Iterator[Fault]:
    """A misspelt hash is not repeated: it may be the secret itself."""
    if reference.startswith(HASH_PREFIX) and not _HASH.fullmatch(reference[len(HASH_PREFIX) :]):
        yield Fault(
            path,
            "What follows sha256: is no SHA-256 in 64 lower-case hexadecimal digits (it is not repeated here).",
            "Write what `penstock keys new` printed.",
        )


def _user_faults(path: str, user: UserConfig) -> Iterator[Fault]:
    if user.name == ALL_USERS and user.tags:
        yield Fault(f"{path}.tags", "Everybody else has no tags of their own.", "Put them on the key.")


def governed_faults(path: str, governed: GovernedConfig) -> Iterator[Fault]:
    """What every level may have."""
    for field, patterns, what in (
        ("models", governed.models, "model"),
        ("providers", governed.providers, "provider"),
    ):
        if not patterns:
            yield Fault(f"{path}.{field}", f"The list is empty: no {what} at all.", 'Write ["*"] for all.')
        elif all(pattern.startswith("!") for pattern in patterns):
            yield Fault(
                f"{path}.{field}",
                f"The list only denies: no {what} at all is allowed.",
                'Add "*": a denial wins over it.',
            )
    names: set[str] = set()
    for i, budget in enumerate(governed.budgets):
        place = f"{path}.budgets[{i}]"
        name = budget_name(budget)
        if not name or name != name.strip():
            yield Fault(
                f"{place}.name",
                "The name of a budget is not empty, and has no spaces around it.",
                "Rename it.",
            )
        elif name in names:
            yield Fault(
                f"{place}.name",
                f"Two budgets are named {shown(name)} (unnamed ones are called like their period).",
                "Give each its own name.",
            )
        names.add(name)
        yield from _budget_faults(place, budget)


def budget_name(budget: BudgetConfig) -> str:
    """What refusals and alerts call it."""
    return budget.period if budget.name is None else budget.name


def _budget_faults(path: str, budget: BudgetConfig) -> Iterator[Fault]:
    try:
        usd_price(budget.limit_usd)
    except ValueError as error:
        yield Fault(
            f"{path}.limit_usd", f"{str(error).replace('price', 'limit')}.", "Write dollars, 10 or 2.50."
        )
    try:
        ZoneInfo(budget.timezone)
    except (KeyError, ValueError, OSError):  # not known; no name of a file; a folder
        yield Fault(
            f"{path}.timezone",
            f"{shown(budget.timezone)} is no time zone.",
            "Write UTC or a name such as Europe/Berlin.",
        )
    if budget.overdraft_percent and budget.mode == "hard":
        yield Fault(
            f"{path}.overdraft_percent",
            "A hard budget has no overdraft.",
            "Write mode: soft, or take it out.",
        )


def is_moment(text: str) -> bool:
    """An ISO date or date-time."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
