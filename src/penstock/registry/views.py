"""Objects and changes as people and programs are shown them: no key, and no hash of one, is among it."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from penstock.config.fault import Fault
from penstock.config.schema import Config, GovernedConfig, Usd, VirtualKeyConfig
from penstock.registry.changes import Change, budget_name
from penstock.registry.objects import SECRET_FIELDS, SORTS, Kind, Merged, Registry, Stored, declared, name_of
from penstock.registry.secret import blotted


class Entry(Struct, frozen=True, kw_only=True):
    """One change of the record: who, when, what, before and after. ``id`` is the store's."""

    id: int = 0
    at_ms: int
    who: str
    action: str
    kind: str
    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def entry_of(change: Change, who: str, now_s: float) -> Entry:
    """What the record keeps of a change."""
    one = change.object
    return Entry(
        at_ms=round(now_s * 1000),
        who=who,
        action=change.action,
        kind=one.kind,
        name=one.name,
        before=None if change.before is None else _recorded(change.before),
        after=None if change.after is None else _recorded(change.after),
    )


def taken_entry(config: Config, version: str, before: Config | None, who: str, now_s: float) -> Entry:
    """A file that was put in force: what it declares of organisations, teams and keys, and what the last one did."""
    return Entry(
        at_ms=round(now_s * 1000),
        who=who,
        action="config.taken",
        kind="config",
        name="",
        before=None if before is None else _declarations(before),
        after={"config": version, **_declarations(config)},
    )


def _declarations(config: Config) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind, sort in SORTS.items():
        ones = declared(config, kind)
        if ones:
            found[sort.block] = {name_of(one): _blotted(_said(one)) for one in ones}
    return found


def _said(one: GovernedConfig) -> dict[str, Any]:
    """The fields that are not what they would be if nobody had said them."""
    whole: dict[str, Any] = msgspec.to_builtins(one)
    bare = {field.name: field for field in msgspec.structs.fields(one)}
    said: dict[str, Any] = {}
    for name, value in whole.items():
        field = bare[name]
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if name != "name" and (default is msgspec.NODEFAULT or value != msgspec.to_builtins(default)):
            said[name] = value
    return said


def _recorded(one: Stored) -> dict[str, Any]:
    """The fields that were said."""
    return _blotted(one.fields)


def _blotted(said: dict[str, Any]) -> dict[str, Any]:
    """Of a key's hash only its beginning, to tell two apart."""
    fields = dict(said)
    if "key" in fields:
        fields["key"] = blotted(str(fields["key"]))
    if "previous" in fields:
        fields["previous"] = [{**old, "key": blotted(str(old["key"]))} for old in fields["previous"]]
    return fields


def entry_view(entry: Entry) -> dict[str, Any]:
    """A change for reading."""
    return {
        "id": entry.id,
        "at": iso_ms(entry.at_ms),
        "who": entry.who,
        "action": entry.action,
        "kind": entry.kind,
        "name": entry.name,
        "before": entry.before,
        "after": entry.after,
    }


def iso_ms(at_ms: int) -> str:
    """UTC, to the millisecond."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def object_views(
    kind: Kind, config: Config, registry: Registry, merged: Merged, now_s: float
) -> list[dict[str, Any]]:
    """All of a kind: the configuration's first, then those made at run time, with those that have no effect."""
    views = _views(kind, config, registry, merged)
    for view in views:
        if view.get("expires") and moment_s(view["expires"]) <= now_s:
            view |= {"in_force": False, "why_not": f"It has expired, {view['expires']}."}
    return views


def moment_s(text: str) -> float:
    """Of an ISO date or date-time; UTC where it does not say."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _views(kind: Kind, config: Config, registry: Registry, merged: Merged) -> list[dict[str, Any]]:
    views = [_view(kind, one, None, ()) for one in declared(config, kind)]
    live = {name_of(one): one for one in declared(merged.config, kind)[len(declared(config, kind)) :]}
    return views + [
        _view(kind, live.get(one.name), one, merged.left_out.get(one.place, ()))
        for one in registry.objects
        if one.kind == kind
    ]


def _view(
    kind: Kind, one: GovernedConfig | None, stored: Stored | None, faults: tuple[Fault, ...] | list[Fault]
) -> dict[str, Any]:
    fields: dict[str, Any] = (
        {**(stored.fields if stored is not None else {})} if one is None else msgspec.to_builtins(one)
    )
    hidden = (*SECRET_FIELDS, "name")
    view: dict[str, Any] = {
        "name": name_of(one) if stored is None and one is not None else stored.name if stored else "",
        "source": "config" if stored is None else "runtime",
    }
    if stored is not None:
        view |= {"created_at": iso_ms(stored.created_ms), "updated_at": iso_ms(stored.updated_ms)}
        view["in_force"] = not faults
        if faults:
            view["why_not"] = str(faults[0])
    if kind == "key":
        previous: list[dict[str, Any]] = fields.get("previous", ())
        view["previous_until"] = [old["until"] for old in previous]
    return {**view, **_with_text({name: value for name, value in fields.items() if name not in hidden})}


def budget_views(config: Config, merged: Merged) -> list[dict[str, Any]]:
    """Every budget in force, with whose it is; a key's users' too. What was spent is not known here."""
    views: list[dict[str, Any]] = []
    for kind in SORTS:
        made = len(declared(config, kind))
        for i, one in enumerate(declared(merged.config, kind)):
            whose = {
                "kind": kind,
                "of": name_of(one),
                "user": None,
                "source": "config" if i < made else "runtime",
            }
            views += _budgets(whose, one)
            if isinstance(one, VirtualKeyConfig):
                for user in one.users:
                    views += _budgets({**whose, "user": user.name}, user)
    return views


_UNKNOWN: dict[str, Any] = dict.fromkeys(
    ("spent_usd", "left_usd", "in_ledger_usd", "withheld_usd", "window_from", "window_until")
)


def _usd(value: Usd) -> str:
    """Dollars as decimal text: what YAML read as a float was written without its ".0"."""
    return str(value).removesuffix(".0")


def _with_text(fields: dict[str, Any]) -> dict[str, Any]:
    """Limits as text, here and of users."""
    shown = dict(fields)
    if shown.get("budgets"):
        shown["budgets"] = [{**one, "limit_usd": _usd(one["limit_usd"])} for one in shown["budgets"]]
    if shown.get("users"):
        shown["users"] = [_with_text(one) for one in shown["users"]]
    return shown


def _budgets(whose: dict[str, Any], one: GovernedConfig) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for budget in one.budgets:
        fields: dict[str, Any] = msgspec.to_builtins(budget)
        told = {"name": budget_name(fields), "limit_usd": _usd(budget.limit_usd)}
        found.append({**whose, **fields, **told, **_UNKNOWN})
    return found
