"""The gateway's own cost, beside the upstream alone and nginx as a plain reverse proxy, alternating in one run.

``python -m benches.gateway [--rounds 5] [--seconds 4] [--only whole,streams,memory,start,translated,large,soak,peers] [--soak 2000000]``
Needs wrk and nginx (Debian packages). Loopback only.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from benches import houses, streams
from benches.large import large
from benches.machine import identity, write
from benches.translated import CHAT, translated

LUA = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer {key}"
local bodies = {{ {bodies} }}
local requests, turn = {{}}, 0
init = function()
  for i = 1, #bodies do requests[i] = wrk.format(nil, nil, nil, bodies[i]) end
end
request = function()
  turn = turn % #requests + 1
  return requests[turn]
end
"""
CONVERSATIONS = 64
ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "key": houses.KEY}
"""What every stream asks for."""


def body(number: int, **more: Any) -> str:
    """One of the bodies that take turns: no two conversations are the same, nor of one length; 900 bytes on average."""
    words = f"question {number}: " + "x" * (868 + number)
    return json.dumps(
        {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": words}],
            "temperature": 0.1,
            **more,
        }
    )


def script(bodies: Iterable[str]) -> str:
    """What wrk sends, in turn."""
    return LUA.format(key=houses.KEY, bodies=", ".join(f"'{one}'" for one in bodies))


BODY = body(0)
ALIKE = [body(number) for number in range(CONVERSATIONS)]
UNLIKE = [body(number, user=f"user-{number}") for number in range(CONVERSATIONS)]
"""No request is like the one before in more than its head: what the express lane serves not (decision 009)."""
PEER_HEADERS = {
    "litellm": {"authorization": "Bearer sk-" + houses.KEY},
    "portkey": {"x-portkey-provider": "openai", "x-portkey-custom-host": "http://127.0.0.1:{upstream}/v1"},
}
LATENCY = re.compile(r"^\s+(50|75|90|99)%\s+([\d.]+)(us|ms|s)", re.MULTILINE)
UNIT_US = {"us": 1.0, "ms": 1e3, "s": 1e6}


def wrk(port: int, lua: Path, connections: int, seconds: float, path: str = CHAT) -> dict[str, float]:
    """One run of wrk: requests/s and latency percentiles in microseconds; any error is an exception."""
    words = [
        "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", str(lua),
        f"http://127.0.0.1:{port}{path}",
    ]  # fmt: skip
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(out)
    found = {f"p{q}_us": float(value) * UNIT_US[unit] for q, value, unit in LATENCY.findall(out)}
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    return {**found, "requests_per_s": float(rate.group(1)) if rate else 0.0}


def peers(folder: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """The same calls through the peers that are installed, alternating with the upstream alone and with us."""
    installed = houses.peers()
    ours = folder / "post.lua"
    ours.write_text(script(ALIKE))
    with ExitStack() as stack:
        upstream, _ = stack.enter_context(houses.nginx(folder, "static"))
        gateway, _, _ = stack.enter_context(houses.penstock(folder, upstream))
        ways: dict[str, tuple[int, Path]] = {"direct": (upstream, ours), "penstock": (gateway, ours)}
        for name in installed:
            port, _ = stack.enter_context(getattr(houses, name)(folder, upstream))
            lua = folder / f"{name}.lua"
            more = "".join(
                f'wrk.headers["{key}"] = "{value.format(upstream=upstream)}"\n'
                for key, value in PEER_HEADERS[name].items()
            )
            lua.write_text(ours.read_text() + more)
            ways[name] = (port, lua)
        record: dict[str, Any] = {"installed": installed}
        for connections in (1, 32):
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, (port, lua) in ways.items():
                    runs[name].append(wrk(port, lua, connections, seconds))
            record[f"connections_{connections}"] = {name: middle(found) for name, found in runs.items()}
    one, many = record["connections_1"], record["connections_32"]
    record["summary"] = {
        name: {
            "added_p50_us": round(one[name]["p50_us"]["median"] - one["direct"]["p50_us"]["median"], 1),
            "requests_per_s": many[name]["requests_per_s"]["median"],
        }
        for name in ways
        if name != "direct"
    }
    return record


def middle(runs: list[dict[str, float]]) -> dict[str, Any]:
    return {
        name: {"median": round(median(r[name] for r in runs), 1), "min": min(r[name] for r in runs), "max": max(r[name] for r in runs)}
        for name in runs[0]
    }  # fmt: skip


def whole(folder: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """1 KB completions, zero-delay upstream (nginx static): direct, nginx, a bare proxy and penstock in turn."""
    lua, unlike = folder / "post.lua", folder / "unlike.lua"
    lua.write_text(script(ALIKE))
    unlike.write_text(script(UNLIKE))
    with (
        houses.nginx(folder, "static") as (upstream, _),
        houses.nginx(folder, "proxy", upstream) as (proxy, _),
        houses.bare(folder, upstream) as (limit, _),
        houses.penstock(folder, upstream) as (gateway, pid, _),
    ):
        ways = {
            "direct": upstream,
            "nginx": proxy,
            "bare": limit,
            "penstock": gateway,
            "penstock_unlike": gateway,
        }
        for name, port in ways.items():
            wrk(port, unlike if name == "penstock_unlike" else lua, 32, 2)
        record: dict[str, Any] = {}
        for connections in (1, 32):
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, port in ways.items():
                    before = houses.cpu_s(pid)
                    run = wrk(port, unlike if name == "penstock_unlike" else lua, connections, seconds)
                    if port == gateway:
                        run["gateway_cpu_us_per_request"] = (
                            (houses.cpu_s(pid) - before) / (run["requests_per_s"] * seconds) * 1e6
                        )
                    runs[name].append(run)
            record[f"connections_{connections}"] = {name: middle(found) for name, found in runs.items()}
    one = record["connections_1"]
    added = {
        name: {q: round(one[name][q]["median"] - one["direct"][q]["median"], 1) for q in ("p50_us", "p99_us")}
        for name in ("nginx", "bare", "penstock", "penstock_unlike")
    }
    rate = {name: record["connections_32"][name]["requests_per_s"]["median"] for name in ways}
    record["summary"] = {
        "added_p50_us": {name: added[name]["p50_us"] for name in added},
        "added_p99_us": {name: added[name]["p99_us"] for name in added},
        "added_p50_times_nginx": round(added["penstock"]["p50_us"] / added["nginx"]["p50_us"], 2),
        "requests_per_s": rate,
        "share_of_nginx": round(rate["penstock"] / rate["nginx"], 3),
    }
    return record


def streaming(folder: Path, rounds: int) -> dict[str, Any]:
    """Pass-through streams at 50 events/s: CPU an event, lateness, first events; direct and nginx beside."""
    record: dict[str, Any] = {}
    with (
        houses.stream_upstream(folder) as (upstream, _),
        houses.nginx(folder, "sproxy", upstream) as (proxy, proxy_pid),
        houses.penstock(folder, upstream) as (gateway, pid, _),
    ):
        ways = {"direct": (upstream, None), "nginx": (proxy, proxy_pid), "penstock": (gateway, pid)}
        for count, events, every_us in ((64, 250, 5000), (512, 500, 8000)):
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, (port, watched) in ways.items():
                    before = houses.cpu_s(watched) if watched else 0.0
                    run = streams.run(
                        folder, port, streams=count, events=events, rate=50, every_us=every_us, **ASKED
                    )
                    if watched:
                        run["cpu_us_per_event"] = round(
                            (houses.cpu_s(watched) - before) / run["events"] * 1e6, 2
                        )
                    runs[name].append(run)
            record[f"streams_{count}"] = runs
        record["first_events"] = first_events(folder, ways)
        record["first_events_at_once"] = first_events_at_once(folder, ways)
    late = {
        name: {
            q: median(r["sustained_late_us"][q] for r in record["streams_512"][name]) for q in ("p50", "p99")
        }
        for name in ways
    }
    record["summary"] = {
        **{
            f"cpu_us_per_event_{count}": {
                name: median(r["cpu_us_per_event"] for r in record[f"streams_{count}"][name])
                for name in ("nginx", "penstock")
            }
            for count in (64, 512)
        },
        "first_event_added_us": added(record["first_events"]),
        "first_event_added_us_64_at_once": added(record["first_events_at_once"]),
        "late_us_512": late,
        "whole_512": [r["whole"] for r in record["streams_512"]["penstock"]],
    }
    return record


def added(found: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {
        name: {q: round(found[name][q] - found["direct"][q], 1) for q in ("p50", "p99")}
        for name in ("nginx", "penstock")
    }


def first_events(folder: Path, ways: dict[str, tuple[int, int | None]], rounds: int = 2) -> dict[str, Any]:
    """How late the first events are of streams that come and go while 64 are open: of all rounds together."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (port, _watched) in ways.items():
            seen, _ = streams.call(folder, port, streams=640, events=100, rate=50, every_us=31_250, **ASKED)
            found[name] += streams.firsts(seen)
    return {name: {**streams.spread(late), "streams": len(late)} for name, late in found.items()}


def first_events_at_once(
    folder: Path, ways: dict[str, tuple[int, int | None]], rounds: int = 10
) -> dict[str, Any]:
    """The same for 64 streams that begin in the same moment."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (port, _watched) in ways.items():
            seen, _ = streams.call(folder, port, streams=64, events=10, rate=50, every_us=0, **ASKED)
            found[name] += streams.firsts(seen)
    return {name: {**streams.spread(late), "streams": len(late)} for name, late in found.items()}


def memory(folder: Path) -> dict[str, Any]:
    """1,000 open streams in one process."""
    with (
        houses.stream_upstream(folder) as (upstream, _),
        houses.penstock(folder, upstream) as (gateway, pid, _),
    ):
        idle, peaks, over = houses.rss_mib(pid), [0.0], threading.Event()

        def watch() -> None:
            while not over.wait(0.25):
                peaks.append(houses.rss_mib(pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            run = streams.run(folder, gateway, streams=1000, events=60, rate=5, every_us=2000, **ASKED)
        finally:
            over.set()
            watcher.join()
        return {"rss_idle_mib": round(idle, 1), "rss_1000_streams_mib": round(max(peaks), 1), "run": run}


def start(folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds from start to /ready, and of ``import penstock``; of modules that are compiled, as an installation's are."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    ready: list[float] = []
    for number in range(rounds + 1):
        with houses.penstock(folder, 9, f"start{number}") as (_, _, ready_s):
            ready.append(round(ready_s, 3))
    del ready[0]  # it may have compiled them
    timed = "import time; t = time.perf_counter(); import penstock; print(time.perf_counter() - t)"
    imports = [
        round(float(subprocess.run([sys.executable, "-c", timed], check=True, capture_output=True).stdout), 5)
        for _ in range(rounds)
    ]
    return {
        "ready_s": ready,
        "ready_median_s": median(ready),
        "import_s": imports,
        "import_median_s": median(imports),
    }


def soak(folder: Path, calls: int) -> dict[str, Any]:
    """Resident set over ``calls`` calls at 32 connections: a line is fitted through the second half."""
    lua = folder / "post.lua"
    lua.write_text(script(ALIKE))
    points: list[tuple[int, float]] = []
    with (
        houses.nginx(folder, "static") as (upstream, _),
        houses.penstock(folder, upstream) as (gateway, pid, _),
    ):
        done = 0
        while done < calls:
            run = wrk(gateway, lua, 32, 10)
            done += int(run["requests_per_s"] * 10)
            points.append((done, round(houses.rss_mib(pid), 2)))
    half = points[len(points) // 2 :]
    return {
        "calls": done,
        "rss_mib": points,
        "slope_mib_per_million": _slope(half),
        "second_half_spread_mib": _spread(half),
    }


def _slope(points: list[tuple[int, float]]) -> float:
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    over = sum((x - mean_x) ** 2 for x, _ in points)
    return round(sum((x - mean_x) * (y - mean_y) for x, y in points) / over * 1e6, 3) if over else 0.0


def _spread(points: list[tuple[int, float]]) -> float:
    values = [y for _, y in points]
    return round(max(values) - min(values), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--soak", type=int, default=2_000_000)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the bodies of --only large; 0.01 for a try"
    )
    parser.add_argument("--only", default="whole,streams,memory,start")
    args = parser.parse_args()
    for tool in ("wrk", "nginx"):
        if shutil.which(tool) is None and not os.path.exists(f"/usr/sbin/{tool}"):
            sys.exit(f"{tool} is not installed; on Debian: apt-get install {tool}")
    wanted = args.only.split(",")
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        folder = Path(name)
        parts = {
            "whole": lambda: whole(folder, args.rounds, args.seconds),
            "streams": lambda: streaming(folder, min(args.rounds, 3)),
            "memory": lambda: memory(folder),
            "peers": lambda: peers(folder, min(args.rounds, 3), args.seconds),
            "start": lambda: start(folder, args.rounds),
            "translated": lambda: translated(folder, args.rounds, args.seconds, wrk, script),
            "large": lambda: large(folder, min(args.rounds, 3), args.seconds, args.scale),
            "soak": lambda: soak(folder, args.soak),
        }
        for part in wanted:
            record = {"theme": f"gateway-{part}", **identity(), part: parts[part]()}
            path = write(f"gateway-{part}", record)
            print(path, json.dumps(record[part].get("summary", record[part]), indent=1))


if __name__ == "__main__":
    main()
