"""Objects made at run time, in the configuration's own structs, and how the two become one configuration.

Rules
- Kept is what was said: the fields that somebody gave, and nothing else, so that a default may change.
- Of two with one name the configuration's counts, with a warning.
- What cannot stand beside today's configuration (its team is gone) is left out, and so is what stands below it: its keys
  are refused, never let through without their limits.
"""

import re
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec import Struct

from penstock.base.ready import ready
from penstock.config.fault import Fault, shown
from penstock.config.schema import (
    Config,
    GovernedConfig,
    OrganisationConfig,
    TeamConfig,
    VirtualKeyConfig,
)

Kind = Literal["organisation", "team", "key"]
Place = tuple[Kind, str]
"""Kind and name: what an object is known by."""
Check = Callable[[Config], list[Fault]]
"""Faults of meaning of a whole configuration."""


class Sort(Struct, frozen=True):
    """One kind of object."""

    kind: Kind
    block: str
    """The configuration's list of them, and the path of the admin API."""
    struct: type[GovernedConfig]
    word: str
    """For people."""
    command: str
    """Whose command manages them."""


SORTS: dict[Kind, Sort] = {
    "organisation": Sort(
        "organisation", "organisations", OrganisationConfig, "organisation", "organisations"
    ),
    "team": Sort("team", "teams", TeamConfig, "team", "teams"),
    "key": Sort("key", "virtual_keys", VirtualKeyConfig, "virtual key", "keys"),
}
_KIND_OF: dict[str, Kind] = {"organisations": "organisation", "teams": "team", "virtual_keys": "key"}
SECRET_FIELDS = ("key", "previous")
"""Fields that only making and rotating a key may write."""
_PATH = re.compile(r"\$\.(organisations|teams|virtual_keys)\[(\d+)\](.*)", re.DOTALL)


class Stored(Struct, frozen=True, kw_only=True):
    """One object as it is kept; ``fields`` without the name."""

    kind: Kind
    name: str
    fields: dict[str, Any]
    created_ms: int
    updated_ms: int

    @property
    def place(self) -> Place:
        """What it is known by."""
        return self.kind, self.name

    def __repr__(self) -> str:
        """Without the fields: a key's hash is among them."""
        return f"Stored({self.kind} {self.name!r})"


class Registry(Struct, frozen=True, kw_only=True):
    """All that was made at run time. ``version`` counts the changes; ``closed``: a key was made, ever."""

    version: int = 0
    closed: bool = False
    objects: tuple[Stored, ...] = ()

    def get(self, place: Place) -> Stored | None:
        """The object of this kind and name."""
        return next((one for one in self.objects if one.place == place), None)

    def names(self, kind: Kind) -> list[str]:
        """Of one kind."""
        return [one.name for one in self.objects if one.kind == kind]


class Merged(Struct, frozen=True, kw_only=True):
    """One configuration of both. ``left_out``: why an object has no effect, each fault's path from the object's own fields."""

    config: Config
    left_out: dict[Place, list[Fault]]

    def warnings(self) -> list[Fault]:
        """One a left-out object, with what to do."""
        return [
            Fault(
                f"$.{SORTS[kind].block}",
                f"The {SORTS[kind].word} {shown(name)} made at run time has no effect: {faults[0].message}",
                faults[0].remedy,
            )
            for (kind, name), faults in self.left_out.items()
        ]


def declared(config: Config, kind: Kind) -> tuple[GovernedConfig, ...]:
    """What a configuration has of a kind."""
    if kind == "organisation":
        return config.organisations
    return config.teams if kind == "team" else config.virtual_keys


def name_of(one: GovernedConfig) -> str:
    """The name, which each of the kinds has."""
    return str(getattr(one, "name", ""))


def merge(config: Config, registry: Registry, check: Check) -> Merged:
    """``config`` and what of ``registry`` can stand beside it. ``config`` has no faults of its own."""
    left_out: dict[Place, list[Fault]] = {}
    live: dict[Kind, list[GovernedConfig]] = {kind: [] for kind in SORTS}
    for one in registry.objects:
        made = _struct(one, config)
        if isinstance(made, Fault):
            left_out[one.place] = [made]
        else:
            live[one.kind].append(made)
    while True:
        together = _joined(config, live)
        bad: dict[Place, list[Fault]] = {}
        for fault in check(together):
            found = _whose(fault, config, live)
            if found is not None:
                bad.setdefault(found[0], []).append(found[1])
        if not bad:
            return Merged(config=together, left_out=left_out)
        left_out |= bad
        for kind, members in live.items():
            live[kind] = [one for one in members if (kind, name_of(one)) not in bad]


def _struct(one: Stored, config: Config) -> GovernedConfig | Fault:
    sort = SORTS[one.kind]
    if any(name_of(other) == one.name for other in declared(config, one.kind)):
        return Fault(
            "$.name",
            "the configuration has one of the same name, which counts.",
            f"Take it out there, or run: penstock {sort.command} {_ending(one.kind)} {one.name}",
        )
    ready(Config)
    try:
        return msgspec.convert({"name": one.name, **one.fields}, sort.struct)
    except msgspec.ValidationError:
        return Fault(
            "$", "this version of Penstock cannot read it.", "Run the version that made it, or make it anew."
        )


def _ending(kind: Kind) -> str:
    return "revoke" if kind == "key" else "remove"


def _joined(config: Config, live: dict[Kind, list[GovernedConfig]]) -> Config:
    more = {
        SORTS[kind].block: (*declared(config, kind), *members) for kind, members in live.items() if members
    }
    return msgspec.structs.replace(config, **more) if more else config


def _whose(
    fault: Fault, config: Config, live: dict[Kind, list[GovernedConfig]]
) -> tuple[Place, Fault] | None:
    """The object made at run time that a fault is of, and the fault with its path from there; None: not one of them."""
    match = _PATH.fullmatch(fault.path)
    if match is None:
        return None
    kind = _KIND_OF[match[1]]
    at = int(match[2]) - len(declared(config, kind))
    if at < 0:
        return None
    return (kind, name_of(live[kind][at])), Fault(f"${match[3]}", fault.message, fault.remedy)
