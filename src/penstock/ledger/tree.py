"""Organisation, team, virtual key and user as nodes of the budgets' tree, with the budgets of the configuration.

Rule: a node's name says what it is ("team design"), for it stands in refusals and alerts, and tells a team from a key of
one name. A user is known below its key alone.
"""

from penstock.base.money import Price
from penstock.config.governing import budget_name
from penstock.config.rates import usd_price
from penstock.config.schema import (
    BudgetConfig,
    Config,
    GovernedConfig,
    OrganisationConfig,
    TeamConfig,
    VirtualKeyConfig,
)
from penstock.ledger.budgets import Budget, Node


def organisation_id(name: str) -> str:
    """The node of an organisation."""
    return f"organisation {name}"


def team_id(name: str) -> str:
    """The node of a team."""
    return f"team {name}"


def key_id(name: str) -> str:
    """The node of a virtual key."""
    return f"key {name}"


def user_id(key: str, name: str) -> str:
    """The node of a user of the virtual key ``key``. No key's name holds " of key " (config.governing)."""
    return f"user {name} of key {key}"


def budget_of(config: BudgetConfig) -> Budget:
    """One budget, its limit rounded down to whole nano-dollars."""
    return Budget(
        budget_name(config),
        _whole_nusd(usd_price(config.limit_usd)),
        config.period,
        config.timezone,
        config.mode,
        config.overdraft_percent,
    )


def node_of(node: str, parent: str | None, governed: GovernedConfig) -> Node:
    """A node with its budgets."""
    return Node(node, parent, tuple([budget_of(one) for one in governed.budgets]))


def organisation_of(config: Config, team: TeamConfig | None) -> OrganisationConfig | None:
    """What stands above a team."""
    name = None if team is None else team.organisation
    return next((one for one in config.organisations if one.name == name), None)


def team_of(config: Config, key: VirtualKeyConfig) -> TeamConfig | None:
    """What stands above a virtual key."""
    return next((one for one in config.teams if one.name == key.team), None)


def nodes_of(config: Config) -> list[Node]:
    """All of the configuration, parents first; users that are called ``*`` are made when they call."""
    nodes = [node_of(organisation_id(one.name), None, one) for one in config.organisations]
    for team in config.teams:
        above = None if team.organisation is None else organisation_id(team.organisation)
        nodes.append(node_of(team_id(team.name), above, team))
    nodes += [
        node_of(key_id(key.name), None if key.team is None else team_id(key.team), key)
        for key in config.virtual_keys
    ]
    return nodes


def _whole_nusd(price: Price) -> int:
    return price.pico_usd // (price.per * 1000)
