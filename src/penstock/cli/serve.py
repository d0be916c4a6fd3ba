"""``penstock serve``: run the gateway."""

import argparse
import gc
import os
import sys
from pathlib import Path

from penstock.base.errors import ConfigFault
from penstock.cli.arguments import port, workers
from penstock.cli.place import LEDGER_HELP, ledger_at


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--config", type=Path, default=Path("penstock.yaml"), help="YAML file (penstock.yaml)"
    )
    parser.add_argument("--host", help="address to listen on (server.host, 127.0.0.1)")
    parser.add_argument("--port", type=port, help="port, 0 for a free one (server.port, 8080)")
    parser.add_argument("--db", help=f"{LEDGER_HELP} (ledger.url, ledger.path, penstock.db)")
    parser.add_argument("--open", action="store_true", help="allow other than loopback without virtual keys")
    parser.add_argument(
        "--workers", type=workers, help="processes on one port (server.workers, 1)", metavar="N"
    )
    parser.add_argument("--seat", type=_seat, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="log as JSON lines")


def run(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    gc.disable()  # what a start makes stays; wiring.serve.settle_memory lets the collector begin with what comes after
    import uvloop  # noqa: PLC0415 - see tests/house/test_floors.py: --help must not wait for the house

    from penstock.net.dial import read_trust_beside  # noqa: PLC0415

    read_trust_beside()
    from penstock.observe.log import OperatorLog  # noqa: PLC0415
    from penstock.wiring.serve import SeatOptions, ServeOptions, serve  # noqa: PLC0415
    from penstock.wiring.supervise import supervise, workers_of  # noqa: PLC0415

    # A waiting thread (the ledger's writer) asks for the GIL every interval: shorter than the default 5 ms keeps its
    # rare Python moments from being paid for in the calls' tail latency.
    sys.setswitchinterval(0.001)
    log = OperatorLog(json_lines=args.json, always=None if args.seat is None else {"worker": args.seat[0]})
    try:
        db = None if args.db is None else ledger_at(args.db)
    except ConfigFault as error:
        log.fault("config.fault", fault=f"{error.path}: {error.public()}")
        return 1
    options = ServeOptions(
        config=args.config,
        host=args.host,
        port=args.port,
        db=db,
        open=args.open,
        workers=args.workers,
        seat=None if args.seat is None else SeatOptions(*args.seat),
    )
    if options.seat is None:
        count = workers_of(options, os.environ)
        if count > 1:
            return uvloop.run(supervise(options, _words(args), count, os.environ, log))
    return uvloop.run(serve(options, os.environ, log))


def _words(args: argparse.Namespace) -> list[str]:
    """The same command for a worker: where it listens is given to it."""
    said = ["serve", "--config", str(args.config)]
    if args.host is not None:
        said += ["--host", args.host]
    if args.db is not None:
        said += ["--db", args.db]
    return said + ["--open"] * args.open + ["--json"] * args.json


def _seat(text: str) -> tuple[int, int, tuple[int, ...]]:
    """``INDEX:LINE:DOOR,DOOR``, as the supervisor says it to its worker."""
    index, line, doors = text.split(":")
    return int(index), int(line), tuple(map(int, doors.split(",")))
