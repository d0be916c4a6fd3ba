"""``penstock doctor``: what is installed, whether the configuration is sound, and who can be reached."""

import argparse
import asyncio
import os
import platform
import sqlite3
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import uvloop
from rich.cells import cell_len

import penstock
from penstock import __version__
from penstock.base.decisions import Rejected
from penstock.base.errors import PenstockError
from penstock.base.native import load_native
from penstock.cache.embed.opening import inspect
from penstock.cli.drift import DAYS, drifts
from penstock.cli.screen import folded, put, screen
from penstock.config.borrowing import catalogue_for
from penstock.config.catalogue import Catalogue
from penstock.config.load import Loaded, load
from penstock.config.schema_cache import SemanticCacheConfig
from penstock.ledger.journal import Journal
from penstock.ledger.opening import is_postgres, state
from penstock.net.google_token import GoogleTokens
from penstock.observe.log import OperatorLog
from penstock.server import express
from penstock.wiring.build import Shared, build, ledger_place

MOST_DRIFTS = 5
NATIVE = {
    ("server", "_express"): "the express lane",
    ("gateway", "_shortcut"): "the stream shortcut",
    ("net", "_line"): "bytes of streams",
    ("routing", "_gcra"): "rate limits",
    ("ledger", "_till"): "budgets",
    ("ledger", "_rows"): "the ledger's rows",
    ("ledger.postgres", "_copy"): "rows to PostgreSQL",
    ("wire", "_large"): "large bodies",
    ("cache.embed", "_bert"): "the embedder",
}
"""Package and module, and what it does; what is missing is done by Python, slower."""
LIBRARIES = (
    "uvloop",
    "httptools",
    "msgspec",
    "starlette",
    "pyyaml",
    "rich",
    "google-auth",
    "cryptography",
    "brotli",
)


class Check(msgspec.Struct, frozen=True):
    """One thing looked at."""

    what: str
    ok: bool
    found: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--config", type=Path, help="YAML file to check, and whose providers to reach")
    parser.add_argument("--offline", action="store_true", help="reach nobody")
    parser.add_argument("--json", action="store_true", help="print JSON only")


def run(args: argparse.Namespace) -> int:
    """0 when all is well, 1 otherwise."""
    catalogue = Catalogue.load()
    checks = _versions(catalogue)
    loaded: Loaded | None = None
    if args.config is not None:
        loaded = load(args.config, os.environ, catalogue, datetime.now(UTC).date().isoformat())
        checks += [Check("configuration", False, str(fault)) for fault in loaded.faults]
        if not loaded.faults:
            checks.append(Check("configuration", True, f"{args.config} has no faults"))
            if not args.offline:
                checks += _ledger(loaded)
                checks += _drift(loaded, catalogue)
                with TemporaryDirectory(prefix="penstock-doctor-") as folder:
                    checks += uvloop.run(_reach(loaded, catalogue, f"{folder}/ledger.db"))
    checks.append(_semantic(loaded))
    if args.json:
        sys.stdout.write(msgspec.json.encode(checks).decode() + "\n")
    else:
        _tell(checks)
    return 0 if all(check.ok for check in checks) else 1


def _tell(checks: list[Check]) -> None:
    """A line a check; what was found folds inside its own column."""
    console = screen()
    put(console, "penstock doctor", "bold")
    width = max(cell_len(check.what) for check in checks)
    for check in checks:
        mark = "ok" if check.ok else "no"
        head = f"  {mark}  {check.what}{' ' * (width - cell_len(check.what))}  "
        folded(console, check.found or "-", "" if check.ok else "red", indent=head, hang=" " * len(head))
    failed = sum(not check.ok for check in checks)
    put(console, "all is well" if not failed else f"{failed} of {len(checks)} are not well", "bold")


def _versions(catalogue: Catalogue) -> list[Check]:
    checks = [
        Check("penstock", True, __version__),
        Check("python", sys.version_info >= (3, 11), platform.python_version()),
        Check("sqlite", sqlite3.sqlite_version_info >= (3, 38), sqlite3.sqlite_version),
        Check("machine", True, f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"),
        Check("express lane", True, "native" if not express.missing else f"none, {express.missing}"),
        _native(),
        Check("catalogue", True, f"version {catalogue.version}, {len(catalogue.providers())} providers"),
    ]
    for library in LIBRARIES:
        try:
            checks.append(Check(library, True, version(library)))
        except PackageNotFoundError:
            checks.append(Check(library, False, "not installed: run pip install penstock again"))
    return checks


def _native() -> Check:
    """Which native modules are used. None is needed."""
    root = Path(penstock.__file__).parent
    used: list[str] = []
    missing: dict[str, list[str]] = {}
    for (package, name), what in NATIVE.items():
        module, why = load_native(f"penstock.{package}", name, root.joinpath(*package.split(".")))
        if module is None:
            missing.setdefault(why, []).append(f"{name} ({what})")
        else:
            used.append(name.lstrip("_"))
    parts = [" ".join(used)] if used else []
    parts += [f"in Python instead: {', '.join(names)}: {why}" for why, names in missing.items()]
    return Check("native modules", True, "; ".join(parts))


def _semantic(loaded: Loaded | None) -> Check:
    """Is the embedder there? A fault only for a configuration that asks for it; a provider's embedder needs nothing here."""
    asked = loaded.config.semantic_cache if loaded is not None and loaded.config is not None else None
    needed = asked is not None and asked.enabled
    base = loaded.base if loaded is not None else Path()
    found = inspect(asked if asked is not None and needed else SemanticCacheConfig(), base=base)
    if not isinstance(found, Rejected):
        return Check("semantic tier", True, f"ready, embedder {found.build_id}")
    if found.code == "embedder-of-provider":
        return Check("semantic tier", True, found.reason)
    return Check("semantic tier", not needed, found.reason if needed else f"off. {found.reason}")


def _ledger(loaded: Loaded) -> list[Check]:
    """Does the ledger's server answer? A file is looked at when it is opened."""
    place = ledger_place(loaded)
    if not is_postgres(place):
        return []
    try:
        return [Check("reach the ledger", True, state(place))]
    except PenstockError as error:
        return [Check("reach the ledger", False, error.public())]


def _drift(loaded: Loaded, catalogue: Catalogue) -> list[Check]:
    """Models that others answered for: a vendor has retired one, and redirects. Nothing where there is no ledger yet."""
    place = ledger_place(loaded)
    if not is_postgres(place) and not Path(place).exists():
        return []
    if loaded.config is not None:
        catalogue = catalogue_for(loaded.config, catalogue)
    since_ms = int((datetime.now(UTC).timestamp() - DAYS * 86_400) * 1000)
    try:
        found = drifts(place, catalogue.facts, since_ms)
    except PenstockError as error:
        # How it stands with a server's ledger has been said: it may be away, or have no tables yet.
        return [] if is_postgres(place) else [Check("model drift", False, error.public())]
    said = "; ".join(str(one) for one in found[:MOST_DRIFTS]) or f"none in {DAYS} days"
    return [Check("model drift", True, said)]


async def _reach(loaded: Loaded, catalogue: Catalogue, ledger: str) -> list[Check]:
    journal = Journal(ledger)
    try:
        shared = Shared(journal, OperatorLog())
        house = build(loaded, catalogue, shared)
        said = await asyncio.gather(*(p.transport.warm(1) for p in house.providers.values()))
        checks = [
            Check(f"reach {name}", one is None, "connected" if one is None else one)
            for name, one in zip(house.providers, said, strict=True)
        ]
        for name, provider in house.providers.items():
            if provider.tokens is not None:
                checks.append(await _signed_in(name, provider.tokens))
        for transport in shared.transports.values():
            await transport.aclose()
        return checks
    except PenstockError as error:
        return [Check("build", False, error.public())]
    finally:
        journal.close()


async def _signed_in(name: str, tokens: GoogleTokens) -> Check:
    """Does Google give the service account a token?"""
    try:
        await tokens.token()
    except PenstockError as error:
        return Check(f"sign in {name}", False, error.public())
    return Check(f"sign in {name}", True, "Google gave an access token")
