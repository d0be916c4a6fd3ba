"""From the configuration's organisations, teams, virtual keys and users to principals at their doors.

What must outlive a reload is handed in: rates, places and money keep what was taken of them.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b

import msgspec
from msgspec import Struct, field

from penstock.config.governing import ALL_USERS
from penstock.config.load import Loaded
from penstock.config.schema import Config, GovernedConfig, RateLimitConfig, UserConfig, VirtualKeyConfig
from penstock.config.secrets import Secret, key_hash
from penstock.gateway.advances import Advance, Advances
from penstock.gateway.allowance import Allowance
from penstock.gateway.principal import Doors, Principal, Users, digest_of_hash
from penstock.gateway.purse import Purse
from penstock.gateway.treasury import Treasury
from penstock.ledger.tree import (
    key_id,
    node_of,
    nodes_of,
    organisation_id,
    organisation_of,
    team_id,
    team_of,
    user_id,
)
from penstock.routing.allow import joined
from penstock.routing.concurrency import Places, TakesPlaces
from penstock.routing.credit import Lease, LeasedPlaces
from penstock.routing.limits import KeyLimits, Limits, PathLimits, own_bucket


class Kept(Struct):
    """What outlives a reload, by the node whose it is."""

    limits: dict[tuple[str, RateLimitConfig], KeyLimits]
    places: dict[tuple[str, int], TakesPlaces]
    treasury: Treasury | None = None
    advances: Advances | None = None
    """Where several processes share rates and places."""
    principals: dict[str, tuple[tuple[object, ...], Principal]] = field(
        default_factory=dict[str, tuple[tuple[object, ...], Principal]]
    )
    """By the key's name, with all that they were made of."""

    def limits_of(self, node: str, rate: RateLimitConfig) -> KeyLimits:
        """A node's rates: the same object as long as they are configured alike."""
        found = self.limits.get((node, rate))
        if found is None:
            found = self.limits[node, rate] = KeyLimits(
                rate.requests_per_minute,
                rate.tokens_per_minute,
                rate.burst,
                holder_of(node),
                own_bucket if self.advances is None else partial(self.advances.wallet.lease, node),
            )
        return found

    def places_of(self, node: str, most: int, lease_s: float) -> TakesPlaces:
        """A node's places; a call that runs keeps the one it has, whatever a reload says."""
        found = self.places.get((node, most))
        if found is None and self.advances is not None:
            lease = self.advances.wallet.lease(node, "places", 0, most)
            found = self.places[node, most] = LeasedPlaces(lease, lease_s)
        elif found is None:
            found = self.places[node, most] = Places(most, lease_s)
        return found

    def advance_of(self, rates: tuple[KeyLimits, ...], places: Iterable[TakesPlaces]) -> Advance | None:
        """What a call fetches of what is shared."""
        if self.advances is None:
            return None
        pairs = [one.buckets for one in rates]
        each = [requests for requests, _ in pairs] + [
            one.lease for one in places if isinstance(one, LeasedPlaces)
        ]
        return Advance(
            self.advances,
            tuple([one for one in each if isinstance(one, Lease)]),
            tuple([tokens for _, tokens in pairs if isinstance(tokens, Lease)]),
        )


def holder_of(node: str) -> str:
    """The node as the subject of a sentence; a key speaks of itself."""
    return "This key" if node.startswith("key ") else node[:1].upper() + node[1:]


def has_budgets(config: Config) -> bool:
    """Whether anything is to be held for any call."""
    levels: list[GovernedConfig] = [*config.organisations, *config.teams, *config.virtual_keys]
    levels += [user for key in config.virtual_keys for user in key.users]
    return any(level.budgets for level in levels)


def doors_of(config: Config, loaded: Loaded, kept: Kept) -> Doors:
    """All virtual keys, by what opens for them."""
    if kept.treasury is not None:
        kept.treasury.put(nodes_of(msgspec.structs.replace(config, virtual_keys=())))
    doors: dict[bytes, Principal] = {}
    known = _Known(config, kept, loaded)
    for key in config.virtual_keys:
        principal = known.principal_of(key)
        for before in key.previous:
            hashed = key_hash(before.key, loaded.secrets)
            if hashed is not None:
                doors[digest_of_hash(hashed)] = msgspec.structs.replace(
                    principal, until_unix_s=unix_s(before.until)
                )
        hashed = key_hash(key.key, loaded.secrets)
        if hashed is not None:
            doors[digest_of_hash(hashed)] = principal
    return Doors(doors, closed=loaded.closed)


class _Known:
    """Principals of before, where nothing that they were made of has changed: of thousands of keys mostly one does."""

    def __init__(self, config: Config, kept: Kept, loaded: Loaded) -> None:
        self._config = config
        self._kept = kept
        self._loaded = loaded
        self._before, kept.principals = kept.principals, {}
        self._teams = {team.name: team for team in config.teams}
        self._organisations = {one.name: one for one in config.organisations}
        # The treasury by identity: paths lead to its own accounts.
        self._common = (id(kept.treasury), config.server.total_timeout_ms, tuple(config.providers))

    def principal_of(self, key: VirtualKeyConfig) -> Principal:
        """The key's; its budgets are put where they are not what they were."""
        team = self._teams.get(key.team or "")
        above = None if team is None else self._organisations.get(team.organisation or "")
        loaded = self._loaded
        identities = (
            loaded.made.get(("key", key.name)) or identity_of(key, loaded.secrets),
            "" if team is None else loaded.made.get(("team", team.name), ""),
            "" if above is None else loaded.made.get(("organisation", above.name), ""),
        )
        made_of = (key, team, above, identities, self._common)
        before = self._before.get(key.name)
        if before is not None and before[0] == made_of:
            principal = before[1]
        else:
            treasury = self._kept.treasury
            if treasury is not None:
                parent = None if key.team is None else team_id(key.team)
                treasury.put([node_of(key_id(key.name), parent, key)])
            principal = principal_of(self._config, key, self._kept, identities)
        self._kept.principals[key.name] = (made_of, principal)
        return principal


def principal_of(
    config: Config, key: VirtualKeyConfig, kept: Kept, identities: tuple[str, str, str] = ("", "", "")
) -> Principal:
    """One virtual key's, with its users; what stands above it is found in ``config``."""
    return _Making(config, key, kept, identities).principal()


def identity_of(key: VirtualKeyConfig, secrets: Mapping[str, Secret]) -> str:
    """What tells a configured key from another one of its name: its first secret that is known, so that a rotation with
    ``previous`` keeps it until the grace period ends. "": it has none."""
    older = sorted(key.previous, key=lambda one: one.until)
    for reference in (*[one.key for one in older], key.key):
        hashed = key_hash(reference, secrets)
        if hashed is not None:
            return blake2b(hashed, digest_size=16, person=b"penstock-keyname").hexdigest()
    return ""


def unix_s(text: str) -> float:
    """An ISO date or date-time, UTC unless it says otherwise."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


class _Making:
    """One virtual key's principal, and those of its users."""

    def __init__(
        self, config: Config, key: VirtualKeyConfig, kept: Kept, identities: tuple[str, str, str]
    ) -> None:
        self._key = key
        self._identities = identities
        self._kept = kept
        self._lease_s = 2 * config.server.total_timeout_ms / 1000
        team = team_of(config, key)
        organisation = organisation_of(config, team)
        self._levels: list[tuple[str, GovernedConfig]] = [(key_id(key.name), key)]
        if team is not None:
            self._levels.append((team_id(team.name), team))
        if organisation is not None:
            self._levels.append((organisation_id(organisation.name), organisation))
        self._team = "" if team is None else team.name
        self._organisation = "" if organisation is None else organisation.name
        own: dict[str, set[str]] = {}
        for name in key.provider_keys:
            for provider in config.providers:  # whose own names may hold dots
                if name.startswith(f"{provider}."):
                    own.setdefault(provider, set()).add(name[len(provider) + 1 :])
        # A list that names nothing that exists allows nothing: only no list at all allows every key.
        self._provider_keys: dict[str, frozenset[str] | None] | None = None
        if key.provider_keys:
            self._provider_keys = {p: frozenset(names) for p, names in own.items()}
            # Whose models the key is given by name (gemini/...) while no account there is, is meant to be called all the same.
            named = {pattern.partition("/")[0] for pattern in key.models if "/" in pattern}
            self._provider_keys.update(dict.fromkeys((named & config.providers.keys()) - own.keys()))

    def principal(self) -> Principal:
        """The key's, with its users."""
        key = self._key
        named = {user.name: self._made(user) for user in key.users if user.name != ALL_USERS}
        others = next((user for user in key.users if user.name == ALL_USERS), None)
        make = None
        if others is not None:
            each = others

            def make_one(name: str) -> Principal:
                return self._made(msgspec.structs.replace(each, name=name))

            make = make_one
        users = Users(named, make) if key.users else None
        return msgspec.structs.replace(self._made(None), users=users)

    def _made(self, user: UserConfig | None) -> Principal:
        """One principal; nearest first, so that a refusal speaks of what is nearest."""
        key, kept = self._key, self._kept
        levels = list(self._levels)
        node = key_id(key.name)
        if user is not None:
            node = user_id(key.name, user.name)
            levels.insert(0, (node, user))
            if kept.treasury is not None:
                kept.treasury.put([node_of(node, key_id(key.name), user)])
        rates = tuple(
            [kept.limits_of(who, one.rate_limit) for who, one in levels if one.rate_limit is not None]
        )
        limits: Limits | None = None
        if rates:
            limits = rates[0] if len(rates) == 1 else PathLimits(rates)
        places = tuple(
            [
                (holder_of(who), kept.places_of(who, one.max_concurrent, self._lease_s))
                for who, one in levels
                if one.max_concurrent is not None
            ]
        )
        path = None if kept.treasury is None else kept.treasury.path(node)
        purse = None if path is None or kept.treasury is None else Purse(kept.treasury, path, key.name)
        tags = {name: value for _, one in reversed(levels) for name, value in one.tags.items()}
        return Principal(
            name=key.name,
            patterns=joined([(one.models, one.providers) for _, one in levels]),
            provider_keys=self._provider_keys,
            limits=limits,
            expires_unix_s=None if key.expires is None else unix_s(key.expires),
            allowance=Allowance(limits, places, purse, kept.advance_of(rates, [one for _, one in places]))
            if limits or places or purse
            else None,
            organisation=self._organisation,
            team=self._team,
            user="" if user is None else user.name,
            tags=tags or None,
            priority=key.priority,
            identities=self._identities,
        )
