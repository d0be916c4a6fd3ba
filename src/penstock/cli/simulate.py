"""``penstock simulate``: run the simulated providers until told to stop."""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

import msgspec
import uvloop

from penstock.cli.arguments import port
from penstock.simulate import Scenario, Simulator, load_scenario

_SPEAKS = (
    ("OpenAI", "/v1", ""),
    ("Anthropic", "", ""),
    ("Gemini", "", ""),
    ("Vertex", "", "access tokens from /token"),
    ("Bedrock", "", ""),
    ("Cohere", "", ""),
    ("Stability", "", ""),
    ("fal", "", ""),
    ("Replicate", "/v1", ""),
    ("Jina", "/v1", ""),
    ("KServe", "", ""),
)
"""Names, and what follows the address in a ``base_url`` (the vendors differ in whether their version belongs to it)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=port, default=9090, help="port; 0 takes a free one (default: 9090)")
    parser.add_argument("--scenario", type=Path, help="YAML or JSON file with speeds, keys and faults")
    parser.add_argument("--seed", type=int, help="seed of every random draw (default: the scenario's, or 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON line with the URL, nothing else")


def run(args: argparse.Namespace) -> int:
    """Listen until SIGINT or SIGTERM. 0, or 1 if the scenario or the address is no good."""
    try:
        scenario = load_scenario(args.scenario) if args.scenario else Scenario()
    except (OSError, ValueError) as error:
        print(f"penstock simulate: {error}", file=sys.stderr)
        return 1
    if args.seed is not None:
        scenario = msgspec.structs.replace(scenario, seed=args.seed)
    try:
        uvloop.run(_serve(Simulator(scenario), args.host, args.port, as_json=args.json))
    except OSError as error:
        print(
            f"penstock simulate: cannot listen on {args.host}:{args.port}: {error.strerror}", file=sys.stderr
        )
        return 1
    return 0


async def _serve(sim: Simulator, host: str, port: int, *, as_json: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await sim.start(host, port)
    print(json.dumps({"url": sim.url}) if as_json else _greeting(sim), flush=True)
    await stop.wait()
    await sim.stop()


def _greeting(sim: Simulator) -> str:
    lines = [f"Simulated providers at {sim.url}. What to write as base_url:"]
    lines += [f"  {name:<10} {sim.url}{path}  {note}".rstrip() for name, path, note in _SPEAKS]
    lines.append(f"  The same for a provider called NAME under {sim.url}/p/NAME/")
    lines.append(f"  Faults: POST {sim.url}/_sim/faults    Requests: GET {sim.url}/_sim/requests")
    return "\n".join(lines)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="penstock simulate", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(_main())
