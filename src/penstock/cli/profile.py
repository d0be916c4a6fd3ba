"""``penstock profile``: where each millisecond and cent of a PyTorch inference goes, and what would save some."""

import argparse
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.base.errors import BadRequest, PenstockError
from penstock.base.money import Price
from penstock.cli.arguments import seconds
from penstock.cli.place import LEDGER_HELP
from penstock.cli.screen import printable

if TYPE_CHECKING:
    from penstock.engine.measure.records import Profile
    from penstock.engine_wiring.asked import Asked

_GPUS = "h100, h200, a100, a10g, b200 or mi300x"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help=(
            "linear, mlp or geglu (the guided tour); my_module.py:build; the folder of a diffusers pipeline; the folder of a "
            "text generator, with --generate; or a trace.json[.gz] (needs no torch)"
        ),
    )
    _add_inputs(parser)
    measured = parser.add_argument_group("what is done")
    measured.add_argument(
        "--compare", metavar="LIST", help="run these side by side: some of eager,compile,kernels"
    )
    measured.add_argument(
        "--shapes",
        type=int,
        default=1,
        metavar="N",
        help="how many shapes the traffic has: --compare's break-even pays the compilation once for each (default: 1)",
    )
    measured.add_argument(
        "--gpu", metavar="NAME", help=f"run nothing: what it would need and take on {_GPUS}, on meta tensors"
    )
    measured.add_argument(
        "--seconds",
        type=seconds,
        metavar="S",
        help="time calls for at most S seconds (default: 10; --quick: 2)",
    )
    measured.add_argument("--quick", action="store_true", help="time for at most 2 seconds")
    measured.add_argument(
        "--deep",
        action="store_true",
        help="probe deeper, which runs it many times: eight times the batch, eager against compiled, each fault against its cure",
    )
    measured.add_argument(
        "--stacks",
        action="store_true",
        help="source lines in the capture, which makes it several times slower",
    )
    _add_money(parser)
    out = parser.add_argument_group("what comes out")
    out.add_argument("--json", action="store_true", help="print JSON only")
    out.add_argument("--report", metavar="HTML", help="write a report: one file that needs no network")
    out.add_argument("--speedscope", metavar="JSON", help="write the timeline for https://www.speedscope.app")
    out.add_argument("--capture", metavar="JSON.GZ", help="keep the capture, as a Kineto trace")
    out.add_argument(
        "--verbose",
        action="store_true",
        help="show what libraries say on stderr (warnings, bars), which else only a run that fails does",
    )
    out.add_argument(
        "--top", type=int, default=15, metavar="N", help="kernels in the terminal's table (default: 15)"
    )


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what it is run with")
    group.add_argument(
        "--shape", metavar="SIZES", help="64,128,768 for the tour; height,width in pixels for a pipeline"
    )
    group.add_argument("--dtype", metavar="NAME", help="fp32, bf16 or fp16")
    group.add_argument("--device", metavar="NAME", help="cpu or cuda (default: the GPU, where there is one)")
    group.add_argument(
        "--generate", action="store_true", help="the folder holds a text generator: prefill and decode apart"
    )
    group.add_argument("--prompt", metavar="TEXT", help="what a pipeline or generator is asked")
    group.add_argument("--steps", type=int, default=None, metavar="N", help="denoising steps of a pipeline")
    group.add_argument("--tokens", type=int, default=None, metavar="N", help="tokens that a generator makes")
    group.add_argument("--batch", type=int, default=None, metavar="N", help="images or sequences at once")


def _add_money(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what it costs, and the request that it was part of")
    group.add_argument("--usd-per-hour", metavar="USD", help="the device's price, in decimal dollars")
    group.add_argument(
        "--compute", metavar="NAME", help="the price of this compute of the configuration, instead"
    )
    group.add_argument(
        "--config", metavar="FILE", help="the configuration (penstock.yaml, where there is one)"
    )
    group.add_argument(
        "--trace",
        metavar="ID",
        help="join with what the gateway's ledger has of this trace: HTTP, queue, stages, storage in one waterfall",
    )
    group.add_argument(
        "--db", metavar="LEDGER", help=f"{LEDGER_HELP} (the configuration's, else penstock.db)"
    )


def run(args: argparse.Namespace) -> int:
    """Profile and tell; 0, or 1 with a sentence on stderr, or 2 where nothing was named."""
    if args.target is None and args.trace is None:
        print("penstock profile: name what to profile, or a --trace. See --help.", file=sys.stderr)
        return 2
    try:
        for option in ("report", "speedscope", "capture"):
            _writable(getattr(args, option), f"--{option}")
        _apart(args)
        profile = _profiled(args)
        _write(args, profile)
        _show(args, profile)
    except PenstockError as error:
        print(printable(error.public()), file=sys.stderr)
        return 1
    return 0


def _profiled(args: argparse.Namespace) -> "Profile":
    # torch, or what stands in for it in a test, is loaded by what is run, if it is.
    from penstock.cli.profile_noise import kept_back  # noqa: PLC0415 - see tests/house/test_floors.py
    from penstock.cli.profile_progress import progress  # noqa: PLC0415 - see tests/house/test_floors.py
    from penstock.engine_wiring.profiling import profile_of  # noqa: PLC0415 - see tests/house/test_floors.py

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler tells of its own probes on stderr
    asked = asked_of(args)
    with progress() as tell, kept_back(verbose=args.verbose), own_stdout():
        return profile_of(asked, tell)


def asked_of(args: argparse.Namespace) -> "Asked":
    """The options as values. Raises BadRequest for what cannot be."""
    from penstock.engine_wiring.asked import (  # noqa: PLC0415 - see tests/house/test_floors.py
        Asked,
        dtype_named,
        kind_of,
        sizes,
        variants_named,
    )

    kind = "" if args.target is None else kind_of(args.target, generate=args.generate)
    for option in ("shapes", "top"):
        _at_least(getattr(args, option), 1, f"--{option}")
    for option in ("steps", "tokens", "batch"):
        given = getattr(args, option)
        if given is not None:
            _at_least(given, 1, f"--{option}")
    per_hour, ledger = _money(args)
    asked = Asked(
        target=args.target or "",
        kind=kind,
        shape=() if args.shape is None else sizes(args.shape),
        dtype="" if args.dtype is None else dtype_named(args.dtype),
        device=args.device or "",
        compare=() if args.compare is None else variants_named(args.compare),
        gpu=(args.gpu or "").lower(),
        prompt=args.prompt or "",
        steps=args.steps or 0,
        tokens=args.tokens or 0,
        batch=args.batch or 0,
        shapes=args.shapes,
        seconds=args.seconds or 0.0,
        quick=args.quick,
        deep=args.deep,
        capture=None if args.capture is None else Path(args.capture),
        stacks=args.stacks,
        per_hour=per_hour,
        trace_id=args.trace or "",
        ledger=ledger,
    )
    _fitting(asked)
    return asked


def _at_least(value: int, least: int, option: str) -> None:
    if value < least:
        raise BadRequest(
            f"{option} {value} is too small.", param=option, hint=f"Write {max(1, least)} or more."
        )


_RUNS_IT = (
    "shape",
    "dtype",
    "device",
    "compare",
    "gpu",
    "prompt",
    "steps",
    "tokens",
    "batch",
    "capture",
    "stacks",
    "seconds",
    "quick",
    "deep",
)


def _fitting(asked: "Asked") -> None:
    """Options that mean nothing for this target are refused: nobody shall believe that they did something."""
    if asked.kind in ("trace", ""):
        given = [name for name in _RUNS_IT if getattr(asked, name)]
        if given:
            what = "A trace file has been run already" if asked.kind else "Without a TARGET nothing is run"
            raise BadRequest(
                f"{what}: --{given[0]} changes nothing.", param=f"--{given[0]}", hint="Leave it out."
            )
    if asked.capture is not None and not asked.capture.name.endswith((".json", ".json.gz")):
        raise BadRequest(
            f"{asked.capture} is no name for a trace.", param="--capture", hint="End it in .json or .json.gz."
        )
    only = {"tokens": "generator", "steps": "pipeline"}
    for name, kind in only.items():
        if getattr(asked, name) and asked.kind != kind:
            raise BadRequest(f"--{name} is for a {kind}.", param=f"--{name}", hint="Leave it out.")
    if asked.prompt and asked.kind not in ("generator", "pipeline"):
        raise BadRequest("--prompt is for a pipeline or a generator.", param="--prompt", hint="Leave it out.")


def _money(args: argparse.Namespace) -> tuple[Price | None, str]:
    """The device's price per hour, None where none is configured; and the ledger. Raises BadRequest."""
    from penstock.cli.cost_config import told_by  # noqa: PLC0415 - see tests/house/test_floors.py
    from penstock.config.rates import usd_price  # noqa: PLC0415 - see tests/house/test_floors.py

    if args.usd_per_hour is not None and args.compute is not None:
        raise BadRequest(
            "--usd-per-hour and --compute are two prices.", param="--compute", hint="Leave one out."
        )
    needs_file = args.compute is not None or args.config is not None or args.trace is not None
    told = told_by(args.config, args.db) if needs_file else None
    ledger = "" if told is None else told.ledger
    if args.usd_per_hour is not None:
        try:
            return usd_price(args.usd_per_hour), ledger
        except ValueError as error:
            raise BadRequest(
                f"--usd-per-hour: {error}.", param="--usd-per-hour", hint="Write decimal dollars, 2.49."
            ) from error
    if args.compute is None:
        return None, ledger
    pools = () if told is None or told.pools is None else told.pools
    for pool in pools:
        if pool.name == args.compute:
            return pool.per_hour, ledger
    known = ", ".join(pool.name for pool in pools)
    hint = f"Known: {known}." if known else "Add compute: {h100: {usd_per_hour: 2.49}} to it."
    if told is None or told.pools is None:
        hint = "Name the configuration that has it with --config."
    raise BadRequest(f"There is no compute {args.compute!r}.", param="--compute", hint=hint)


def _writable(path: str | None, option: str) -> None:
    """Said before anything runs, not after."""
    if path is None:
        return
    folder = Path(path).resolve().parent
    if Path(path).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise BadRequest(
            f"{path!r} cannot be written.", param=option, hint="Name a file in a folder that exists."
        )


def _apart(args: argparse.Namespace) -> None:
    """No file is written over what is read, nor over another that is written. Raises BadRequest."""
    taken: dict[Path, str] = {}
    if args.target is not None:
        file = (
            Path(args.target.rpartition(":")[0] or args.target)
            if ".py:" in args.target
            else Path(args.target)
        )
        taken[file.resolve()] = "the target"
    for option in ("report", "speedscope", "capture"):
        given = getattr(args, option)
        if given is None:
            continue
        path = Path(given).resolve()
        if path in taken:
            raise BadRequest(
                f"{given!r} is {taken[path]} already: it would be written over.",
                param=f"--{option}",
                hint="Name another file.",
            )
        taken[path] = f"--{option}"


def _write(args: argparse.Namespace, profile: "Profile") -> None:
    from penstock.engine.lab.report.page import page  # noqa: PLC0415 - see tests/house/test_floors.py
    from penstock.engine.lab.speedscope import speedscope_bytes  # noqa: PLC0415 - see tests/house/test_floors.py

    made: list[tuple[str, str, bytes]] = []
    if args.report is not None:
        made.append(("--report", args.report, page(profile).encode("utf-8", "replace")))
    if args.speedscope is not None:
        made.append(("--speedscope", args.speedscope, speedscope_bytes(profile)))
    for option, path, held in made:
        try:
            Path(path).write_bytes(held)
        except OSError as error:
            raise BadRequest(
                f"{path!r} cannot be written: {error}.", param=option, hint="Name another file."
            ) from error
        print(f"wrote {path} ({len(held):,} bytes)", file=sys.stderr)
    if args.capture is not None:
        print(f"wrote {args.capture}", file=sys.stderr)


def _show(args: argparse.Namespace, profile: "Profile") -> None:
    if args.json:
        from penstock.engine.lab.document import encoded  # noqa: PLC0415 - see tests/house/test_floors.py

        print(encoded(profile))
        return
    from penstock.cli.profile_tables import show  # noqa: PLC0415 - see tests/house/test_floors.py

    show(profile, top=args.top)


@contextmanager
def own_stdout() -> Generator[None, Any, None]:
    """stdout is for the profile: what the profiled code prints, in Python or below it, goes to stderr."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # closed: then nothing below Python can write to it either
        kept = -1
    try:
        if kept >= 0:
            os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if kept >= 0:
            os.dup2(kept, 1)
            os.close(kept)
