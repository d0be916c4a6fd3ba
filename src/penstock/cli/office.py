"""Whom ``penstock keys``, ``teams``, ``organisations``, ``budgets`` and ``audit`` ask: a gateway, or the store itself.

With ``--url``, or PENSTOCK_URL, a running gateway does it, by its admin API: the change is in force when the command ends.
Without, and where ``--config`` or ``--db`` is named, the command changes the store that belongs to the ledger of ``--config`` or ``--db``, gateway or not; one that runs on it takes
the change up within a second.
"""

import argparse
import getpass
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest, ConfigFault, PenstockError
from penstock.cli.admin_client import AdminClient
from penstock.cli.place import DEFAULT_CONFIG, gateway_named, ledger_at
from penstock.config.catalogue import Catalogue
from penstock.config.load import load, value_of
from penstock.config.meaning import meaning_faults
from penstock.config.schema import Config
from penstock.config.secrets import is_reference, resolve
from penstock.ledger.opening import is_postgres
from penstock.registry.changes import Ask
from penstock.registry.desk import Desk
from penstock.registry.objects import Kind
from penstock.registry.opening import open_store


class Office(Protocol):
    """Answers as the admin API does, whichever way it goes."""

    where: str
    """What has been changed, for people."""

    def ask(self, ask: Ask) -> dict[str, Any]:
        """Make a change."""
        ...

    def objects(self, kind: Kind) -> list[dict[str, Any]]:
        """All of a kind."""
        ...

    def object(self, kind: Kind, name: str) -> dict[str, Any]:
        """One of them."""
        ...

    def budgets(self) -> list[dict[str, Any]]:
        """All budgets in force."""
        ...

    def audit(
        self, *, limit: int, before: int | None, kind: str | None, name: str | None
    ) -> list[dict[str, Any]]:
        """The record, newest first."""
        ...


class _LocalDesk(Desk):
    where = ""


def fields_of(args: argparse.Namespace) -> dict[str, Any]:
    """What ``--set`` and ``--unset`` say. Raises BadRequest."""
    fields: dict[str, Any] = {}
    for text in cast("list[str]", args.set):
        path, equals, value = text.partition("=")
        names = path.split(".")
        if not equals or not all(names):
            raise BadRequest(
                f"--set takes FIELD=VALUE, not {path!r}.", param="--set", hint="--set 'models=[\"openai/*\"]'"
            )
        try:
            read = value_of(value)
        except ValueError as error:
            raise BadRequest(
                f"--set {path}: {error}.", param="--set", hint="Put text with special marks in quotes."
            ) from error
        inner = fields
        for name in names[:-1]:
            below: Any = inner.setdefault(name, {})
            inner = cast("dict[str, Any]", below)
            if not isinstance(below, dict):
                raise BadRequest(f"--set {path}: {name!r} was set to a value before.", param="--set")
        inner[names[-1]] = read
    return {**fields, **dict.fromkeys(cast("list[str]", args.unset))}


def office_of(args: argparse.Namespace) -> Office:
    """The gateway of ``--url`` or PENSTOCK_URL, or the store. Raises ConfigFault or BadRequest with what to do."""
    stored = [name for name in ("config", "db") if getattr(args, name) is not None]
    if stored and args.url is not None:
        raise BadRequest(f"--{stored[0]} does not go with --url.", hint="Leave one of them away.")
    args.url, said = (None, "") if stored else gateway_named(args.url)
    if args.url is None:
        return _local(args)
    reference = str(args.admin_key)
    key = resolve(reference, os.environ, Path())
    if isinstance(key, Rejected):
        hint = "Set it to the gateway's admin key (server.admin_key), or name another with --admin-key."
        if key.code == "secret-in-plain":
            hint = "Write env.NAME or file:PATH: a key on the command line is there for all to read."
        raise ConfigFault(key.reason, path="--admin-key", hint=hint)
    return AdminClient(str(args.url), key, getpass.getuser(), args.ca_file, said=said)


def _local(args: argparse.Namespace) -> Office:
    path: Path | None = args.config
    if path is None and DEFAULT_CONFIG.exists():
        path = DEFAULT_CONFIG
    if path is None and args.db is None:
        raise ConfigFault(
            "It is not said whose keys these are: there is no penstock.yaml here.",
            path="--config",
            hint="Name a running gateway with --url, its configuration with --config, or its ledger with --db.",
        )
    catalogue, base = Catalogue.load(), Path() if path is None else path.parent
    config = Config() if path is None else _read(path, catalogue)
    place = ledger_at(args.db) if args.db is not None else ledger_of(config, base)
    store = open_store(place)
    if not is_postgres(place) and not Path(place).exists() and not Path(store.name).exists():
        # Most likely it is the wrong folder: a path in the configuration is read from where the gateway starts.
        print(
            f"note: there is no ledger at {Path(place).absolute()} yet; a gateway must be started with this very one.",
            file=sys.stderr,
        )
    desk = _LocalDesk(
        store,
        config,
        lambda asked: meaning_faults(asked, catalogue, base),
        f"{getpass.getuser()}@{socket.gethostname()}",
    )
    desk.where = store.name if is_postgres(place) else str(Path(store.name).absolute())
    return desk


def _read(path: Path, catalogue: Catalogue) -> Config:
    """What the file says; its secrets need not be at hand."""
    loaded = load(path, os.environ, catalogue, datetime.now(UTC).date().isoformat(), secrets=False)
    if loaded.config is None:
        first = loaded.faults[0]
        raise ConfigFault(
            f"{path}: {first.message}",
            path=first.path,
            hint=f"{first.remedy} `penstock check` lists all faults.",
        )
    return loaded.config


def ledger_of(config: Config, base: Path) -> str:
    """The place that a configuration names; raises ConfigFault where it names nothing."""
    url = config.ledger.url
    if url is None:
        return config.ledger.path
    if not is_reference(url):
        return url
    found = resolve(url, os.environ, base)
    if isinstance(found, Rejected):
        raise ConfigFault(found.reason, path="$.ledger.url", hint="Set it, or name the ledger with --db.")
    return found.reveal()


def say(error: PenstockError) -> int:
    """Print what went wrong; the exit status."""
    where = f"{error.param}: " if error.param and error.param.startswith(("--", "$")) else ""
    print(f"{where}{error.public()}", file=sys.stderr)
    return 1


def put_json(value: Any) -> None:
    """For programs."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def took_effect(args: argparse.Namespace, office: Office) -> str:
    """Where a change went, and from when on it holds."""
    if args.url is not None:
        return f"In force at {office.where} (its other workers and nodes follow within a second)."
    return f"Stored in {office.where}; a gateway that runs on it follows within a second."
