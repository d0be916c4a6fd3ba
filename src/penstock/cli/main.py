"""``penstock``: parse the first word, import that command alone, run it.

Rules: stdout is for data, stderr for people; exit 0 is done, 1 is a fault that was said, 2 is a wrong call.
"""

import argparse
import io
import sys
from difflib import get_close_matches
from importlib import import_module

from penstock import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("penstock.cli.serve", "Run the gateway."),
    "check": ("penstock.cli.check", "Check a configuration: all faults at once."),
    "models": ("penstock.cli.models", "List known models with limits, prices and dates."),
    "cost": ("penstock.cli.cost", "Show what was spent, by whom and on what."),
    "profile": (
        "penstock.cli.profile",
        "Show where each millisecond of a model goes, and what would save some.",
    ),
    "reconcile": ("penstock.cli.reconcile", "Compare the ledger with a provider's export."),
    "explain": ("penstock.cli.explain", "Show every decision on the way of one request."),
    "keys": ("penstock.cli.keys", "Make, change, rotate and revoke virtual keys."),
    "teams": ("penstock.cli.teams", "Make, change and remove teams."),
    "organisations": ("penstock.cli.organisations", "Make, change and remove organisations."),
    "budgets": ("penstock.cli.budgets", "Show every budget, and set those made at run time."),
    "batches": ("penstock.cli.batches", "Show a key's batches: progress, and who runs them."),
    "audit": ("penstock.cli.audit", "Show who changed keys, teams and budgets."),
    "cache stats": ("penstock.cli.cache_stats", "Show what the cache holds, serves and saves."),
    "cache audit": ("penstock.cli.cache_audit", "Judge answers served by similarity, side by side."),
    "cache sweep": ("penstock.cli.cache_sweep", "Try thresholds on judged pairs, and certify one."),
    "cache purge": ("penstock.cli.cache_purge", "Drop kept answers."),
    "cache warm": ("penstock.cli.cache_warm", "Fill the cache before it is asked."),
    "simulate": ("penstock.cli.simulate", "Run simulated providers."),
    "demo": ("penstock.cli.demo", "Gateway, simulated providers and an outage, live."),
    "doctor": ("penstock.cli.doctor", "Show versions, configuration and reachability."),
}

GROUPS = {"cache": "See, audit, drop, fill and calibrate kept answers."}
"""First words of commands that have two."""


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal or a file that cannot take a µ gets an escape for it, not a traceback.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """Run one command and return its exit status."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if argv[0] in ("-V", "--version", "version"):
        print(f"penstock {__version__}")
        return 0
    name, rest = _named(argv)
    if name in GROUPS and (not rest or rest[0] in ("-h", "--help", "help")):
        print(_overview(name))
        return 0
    if name not in COMMANDS:
        if name in GROUPS:
            name, group = f"{name} {rest[0]}", name
        else:
            group = ""
        near = get_close_matches(name, COMMANDS, n=1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        print(f"penstock: there is no command {name!r}.{meant}\n\n{_overview(group)}", file=sys.stderr)
        return 2
    module_name, summary = COMMANDS[name]
    command = import_module(module_name)
    parser = argparse.ArgumentParser(prog=f"penstock {name}", description=summary)
    command.add_arguments(parser)
    args = parser.parse_args(rest)
    try:
        return int(command.run(args))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _named(argv: list[str]) -> tuple[str, list[str]]:
    """The command, which may have two words, and what follows it."""
    both = " ".join(argv[:2])
    return (both, argv[2:]) if both in COMMANDS else (argv[0], argv[1:])


def _overview(group: str = "") -> str:
    """All commands; those of a group by their second words."""
    cut = len(group) + 1 if group else 0
    rows = [(name[cut:], said) for name, (_, said) in COMMANDS.items() if name.startswith(group)]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {said}" for name, said in rows]
    word = f" {group}" if group else ""
    head = f"{GROUPS[group]}\n\n" if group else ""
    return (
        f"usage: penstock{word} COMMAND [options]\n\n{head}"
        + "\n".join(lines)
        + f"\n\npenstock{word} COMMAND --help says more."
    )
