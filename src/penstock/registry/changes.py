"""What is asked for, decided: a change that is right as a whole, or an error that names the field and the remedy.

Pure: nothing here reads a clock, a store or the system's randomness. ``decide`` says what would be stored, ``settled`` that
the configuration as a whole can bear it; whoever calls them stores it, or nothing.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from penstock.base.errors import BadRequest, NotFound
from penstock.config.fault import Fault, shown
from penstock.config.schema import BudgetConfig, Config, GovernedConfig
from penstock.config.secrets import Secret
from penstock.config.shape import nearest, shape_faults
from penstock.registry.objects import (
    SECRET_FIELDS,
    SORTS,
    Check,
    Kind,
    Merged,
    Registry,
    Stored,
    declared,
    merge,
    name_of,
)
from penstock.registry.secret import hash_of

Verb = Literal["create", "change", "remove", "rotate", "set_budget", "remove_budget"]
DEFAULT_GRACE_S = 86_400
MAX_GRACE_S = 366 * 86_400
MAX_NAME_CHARS = 100
_ACTIONS: dict[Verb, str] = {
    "create": "created",
    "change": "changed",
    "remove": "removed",
    "rotate": "rotated",
    "set_budget": "changed",
    "remove_budget": "changed",
}
_TOLD_FAULTS = 5


class Ask(Struct, frozen=True, kw_only=True):
    """One thing that somebody wants. ``fields`` are a configuration's; for ``set_budget`` those of the budget."""

    verb: Verb
    kind: Kind
    name: str
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    grace_s: int = DEFAULT_GRACE_S
    budget: str = ""


class Change(Struct, frozen=True, kw_only=True):
    """What will be stored: ``after`` in place of ``before``. ``secret`` is a key that is shown this once."""

    action: str
    before: Stored | None
    after: Stored | None
    secret: Secret | None = None

    @property
    def object(self) -> Stored:
        """Whom it is about."""
        one = self.after or self.before
        if one is None:
            raise ValueError("a change of nothing")
        return one


class BadFields(BadRequest):
    """Fields that cannot be taken; ``faults`` are all of them."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        more = f" And {len(faults) - _TOLD_FAULTS} more." if len(faults) > _TOLD_FAULTS else ""
        said = " | ".join(str(fault) for fault in faults[:_TOLD_FAULTS])
        super().__init__(
            f"Nothing was changed: {said}{more}",
            code="invalid_fields",
            param=faults[0].path.removeprefix("$").removeprefix(".") or None,
        )


def decide(
    ask: Ask, registry: Registry, config: Config, now_s: float, fresh: Callable[[str], Secret]
) -> Change:
    """The change that ``ask`` is. Raises BadFields, BadRequest or NotFound; nothing is stored yet."""
    now_ms = round(now_s * 1000)
    if ask.verb == "create":
        return _create(ask, registry, config, now_ms, fresh)
    before = _found(ask, registry, config)
    secret: Secret | None = None
    if ask.verb == "remove":
        action = "revoked" if ask.kind == "key" else "removed"
        _refuse_used(ask, registry)
        return Change(action=f"{ask.kind}.{action}", before=before, after=None)
    if ask.verb == "change":
        fields = _changed(ask, before.fields)
    elif ask.verb == "rotate":
        secret = fresh(ask.name)
        fields = _rotated(ask, before.fields, now_s, hash_of(secret.reveal()))
    elif ask.verb == "set_budget":
        fields = _with_budget(ask, before.fields)
    else:
        fields = _without_budget(ask, before.fields)
    after = msgspec.structs.replace(before, fields=fields, updated_ms=now_ms)
    return Change(action=f"{ask.kind}.{_ACTIONS[ask.verb]}", before=before, after=after, secret=secret)


def settled(ask: Ask, change: Change, registry: Registry, config: Config, check: Check) -> Merged:
    """The configuration as it would be. Raises BadFields, or BadRequest where others could not bear the change."""
    was, would = merge(config, registry, check), merge(config, applied(registry, change), check)
    after = change.after
    if after is not None and after.place in would.left_out:
        raise BadFields([_at_asked(ask, fault, after) for fault in would.left_out[after.place]])
    for (kind, name), faults in would.left_out.items():
        if (kind, name) not in was.left_out:
            raise BadRequest(
                f"Nothing was changed: the {SORTS[kind].word} {shown(name)} could not bear it: {faults[0]}",
                code="still_used",
                status=409,
                hint=f"Change it first, or remove it: penstock {SORTS[kind].command}.",
            )
    return would


def applied(registry: Registry, change: Change) -> Registry:
    """The registry after a change, its version included."""
    place = change.object.place
    kept = [one for one in registry.objects if one.place != place]
    objects = kept if change.after is None else [*kept, change.after]
    return Registry(
        version=registry.version + 1,
        closed=registry.closed or place[0] == "key",
        objects=tuple(sorted(objects, key=_order)),
    )


def _order(one: Stored) -> tuple[int, str]:
    return list(SORTS).index(one.kind), one.name


def _create(
    ask: Ask, registry: Registry, config: Config, now_ms: int, fresh: Callable[[str], Secret]
) -> Change:
    sort, faults = SORTS[ask.kind], _name_faults(ask.name)
    if faults:
        raise BadFields(faults)
    fields = {name: value for name, value in ask.fields.items() if value is not None}
    _refuse_shape(ask, fields)
    if ask.name in [name_of(one) for one in declared(config, ask.kind)]:
        raise BadRequest(
            f"The configuration has a {sort.word} {shown(ask.name)}.",
            code="name_taken",
            status=409,
            param="name",
            hint="Choose another name.",
        )
    if registry.get((ask.kind, ask.name)) is not None:
        raise BadRequest(
            f"There is a {sort.word} {shown(ask.name)} already.",
            code="name_taken",
            status=409,
            param="name",
            hint="Choose another name, or change the one that is there.",
        )
    secret = fresh(ask.name) if ask.kind == "key" else None
    if secret is not None:
        fields["key"] = hash_of(secret.reveal())
    made = Stored(kind=ask.kind, name=ask.name, fields=fields, created_ms=now_ms, updated_ms=now_ms)
    return Change(action=f"{ask.kind}.created", before=None, after=made, secret=secret)


def _name_faults(name: Any) -> list[Fault]:
    if not isinstance(name, str) or not name:
        return [Fault("$.name", "The name is missing.", "Write who it stands for.")]
    if len(name) > MAX_NAME_CHARS:
        return [Fault("$.name", f"The name is longer than {MAX_NAME_CHARS} characters.", "Shorten it.")]
    if name != name.strip() or "/" in name or not name.isprintable():
        return [
            Fault("$.name", "A name has no slash, no line break, and no spaces around it.", "Write another.")
        ]
    return []


def _found(ask: Ask, registry: Registry, config: Config) -> Stored:
    sort = SORTS[ask.kind]
    one = registry.get((ask.kind, ask.name))
    if one is not None:
        return one
    known = [name_of(other) for other in declared(config, ask.kind)]
    if ask.name in known:
        raise BadRequest(
            f"The {sort.word} {shown(ask.name)} is declared in the configuration.",
            code="declared_in_config",
            status=409,
            hint="Change it there, and reload.",
        )
    close = nearest(ask.name, registry.names(ask.kind))
    raise NotFound(
        f"There is no {sort.word} {shown(ask.name)}.",
        code="no_such_object",
        hint=f"Did you mean {close!r}?" if close else f"See them with: penstock {sort.command} list.",
    )


def _refuse_used(ask: Ask, registry: Registry) -> None:
    """Raises BadRequest where something made at run time stands below it."""
    below = {"organisation": ("team", "organisation"), "team": ("key", "team")}.get(ask.kind)
    if below is None:
        return
    kind, named = below
    users = [one.name for one in registry.objects if one.kind == kind and one.fields.get(named) == ask.name]
    if users:
        some = ", ".join(shown(name) for name in users[:5]) + (", …" if len(users) > 5 else "")
        word = SORTS["key" if kind == "key" else "team"].word
        raise BadRequest(
            f"Nothing was changed: {len(users)} {word}{'' if len(users) == 1 else 's'} ({some}) "
            f"{'belongs' if len(users) == 1 else 'belong'} to the {SORTS[ask.kind].word} {shown(ask.name)}.",
            code="still_used",
            status=409,
            hint=f"Move or {'revoke' if kind == 'key' else 'remove'} them first.",
        )


def _refuse_shape(ask: Ask, fields: dict[str, Any]) -> None:
    """Raises BadFields for what is not of the configuration's shape, or not to be written."""
    faults = _shape_faults_of(ask, fields)
    if faults:
        raise BadFields(faults)


def _shape_faults_of(ask: Ask, fields: dict[str, Any]) -> list[Fault]:
    faults: list[Fault] = []
    if ask.kind == "key":
        faults = [
            Fault(f"$.{name}", "The gateway makes keys itself.", "Take it out; rotate a key to change it.")
            for name in SECRET_FIELDS
            if name in fields
        ]
    if "name" in fields:
        faults.append(Fault("$.name", "A name cannot be changed.", "Make a new one, and remove this one."))
    told = {name: value for name, value in fields.items() if name not in (*SECRET_FIELDS, "name")}
    whole = {"name": ask.name, **told, **({"key": "sha256:"} if ask.kind == "key" else {})}
    return faults + shape_faults(whole, SORTS[ask.kind].struct)


def _changed(ask: Ask, fields: dict[str, Any]) -> dict[str, Any]:
    if not ask.fields:
        raise BadFields([Fault("$", "There is no field to change.", "Give at least one.")])
    given = {name: value for name, value in ask.fields.items() if value is not None}
    faults = _shape_faults_of(ask, given)
    struct: type[GovernedConfig] = SORTS[ask.kind].struct
    for name, value in ask.fields.items():
        if value is None and (
            name in SECRET_FIELDS or name == "name" or name not in struct.__struct_fields__
        ):
            close = nearest(name, list(struct.__struct_fields__))
            meant = f"Did you mean {close!r}?" if close and close != name else "Take it out."
            faults.append(Fault(f"$.{name}", "This field cannot be set to its default.", meant))
    if faults:
        raise BadFields(faults)
    return {name: value for name, value in {**fields, **ask.fields}.items() if value is not None}


def _rotated(ask: Ask, fields: dict[str, Any], now_s: float, new: str) -> dict[str, Any]:
    if not 0 <= ask.grace_s <= MAX_GRACE_S:
        raise BadFields(
            [
                Fault(
                    "$.grace_s",
                    "The grace period is out of range.",
                    f"Write seconds from 0 to {MAX_GRACE_S}.",
                )
            ]
        )
    ends = _iso(now_s + ask.grace_s)
    # Whoever still uses the key before the last one keeps his own grace period, and no more.
    known: list[dict[str, str]] = fields.get("previous", [])
    kept = [one for one in known if datetime.fromisoformat(one["until"]).timestamp() > now_s]
    # Without a grace period no older key is taken either: who asks for that has lost one.
    kept = [{"key": str(fields["key"]), "until": ends}, *kept] if ask.grace_s else []
    left = {name: value for name, value in fields.items() if name != "previous"}
    return {**left, "key": new, **({"previous": kept} if kept else {})}


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(round(unix_s), UTC).isoformat().replace("+00:00", "Z")


def budget_name(fields: dict[str, Any]) -> str:
    """What a budget is known by: its name, else its period."""
    return str(fields.get("name") or fields.get("period") or "month")


def _with_budget(ask: Ask, fields: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in ask.fields.items() if value is not None}
    faults = shape_faults(given, BudgetConfig)
    if faults:
        raise BadFields(faults)
    known: list[dict[str, Any]] = fields.get("budgets", [])
    wanted = budget_name(given)
    names = [budget_name(one) for one in known]
    if wanted in names:
        at = names.index(wanted)
        budgets = [*known[:at], given, *known[at + 1 :]]
    else:
        budgets = [*known, given]
    return {**fields, "budgets": budgets}


def _without_budget(ask: Ask, fields: dict[str, Any]) -> dict[str, Any]:
    known: list[dict[str, Any]] = fields.get("budgets", [])
    kept = [one for one in known if budget_name(one) != ask.budget]
    if len(kept) == len(known):
        names = ", ".join(shown(budget_name(one)) for one in known)
        raise NotFound(
            f"The {SORTS[ask.kind].word} {shown(ask.name)} has no budget {shown(ask.budget)}.",
            code="no_such_object",
            hint=f"It has: {names}." if names else "It has none.",
        )
    left = {name: value for name, value in fields.items() if name != "budgets"}
    return {**left, "budgets": kept} if kept else left


def _at_asked(ask: Ask, fault: Fault, after: Stored) -> Fault:
    """A fault of a budget that was asked for alone: its path from the budget's own fields."""
    if ask.verb != "set_budget":
        return fault
    budgets: list[dict[str, Any]] = after.fields.get("budgets", [])
    wanted = budget_name(ask.fields)
    at = next((i for i, one in enumerate(budgets) if budget_name(one) == wanted), -1)
    place = f"$.budgets[{at}]"
    if not fault.path.startswith(place):
        return fault
    return Fault(f"${fault.path[len(place) :]}", fault.message, fault.remedy)
