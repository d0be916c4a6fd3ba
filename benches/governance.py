"""What governance costs: the gateway with one rate limit, and the same with an organisation, a team, budgets, places and users.

The same calls to both in turn, 32 connections, zero-delay upstream. ``python -m benches.governance [--rounds 7] [--seconds 4]``
Needs wrk and nginx. Loopback only.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benches import houses
from benches.gateway import ALIKE, middle, script, wrk
from benches.machine import identity, write

BUDGETS = "[{{limit_usd: 100000, period: day}}, {{limit_usd: 1000000, period: month, mode: soft, overdraft_percent: 5}}]"
RATES = "{{requests_per_minute: 100000000, tokens_per_minute: 1000000000}}"
GOVERNED = f"""
organisations:
  - {{{{name: acme, budgets: {BUDGETS}}}}}
teams:
  - {{{{name: search, organisation: acme, budgets: {BUDGETS}, rate_limit: {RATES}}}}}
virtual_keys:
  - name: bench
    key: env.BENCH_VIRTUAL_KEY
    team: search
    budgets: {BUDGETS}
    max_concurrent: 1000
    models: ["openai/*", "!openai/o1-pro"]
    tags: {{{{cost-centre: "12"}}}}
    rate_limit: {RATES}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4)
    args = parser.parse_args()
    providers = houses.CONFIG.partition("virtual_keys:")[0]
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        folder = Path(name)
        lua = folder / "post.lua"
        lua.write_text(script(ALIKE))
        with (
            houses.nginx(folder, "static") as (upstream, _),
            houses.penstock(folder, upstream, "plain") as (plain, plain_pid, _),
            houses.penstock(folder, upstream, "governed", providers + GOVERNED) as (
                governed,
                governed_pid,
                _,
            ),
        ):
            ways = {"plain": (plain, plain_pid), "governed": (governed, governed_pid)}
            for port, _ in ways.values():
                wrk(port, lua, 32, 2)
            runs: dict[str, list[dict[str, float]]] = {one: [] for one in ways}
            for turn in range(args.rounds):
                for one in list(ways)[:: 1 if turn % 2 else -1]:
                    port, pid = ways[one]
                    before = houses.cpu_s(pid)
                    run = wrk(port, lua, 32, args.seconds)
                    run["cpu_us_per_request"] = (
                        (houses.cpu_s(pid) - before) / (run["requests_per_s"] * args.seconds) * 1e6
                    )
                    runs[one].append(run)
        record: dict[str, Any] = {"theme": "governance-cost", **identity()}
        record["connections_32"] = {one: middle(found) for one, found in runs.items()}
        pairs = zip(runs["governed"], runs["plain"], strict=True)
        record["summary"] = {
            "requests_per_s": {
                one: record["connections_32"][one]["requests_per_s"]["median"] for one in ways
            },
            "governed_share_of_plain": round(
                median(a["requests_per_s"] / b["requests_per_s"] for a, b in pairs), 3
            ),
        }
        print(write("governance-cost", record), json.dumps(record["summary"], indent=1))


if __name__ == "__main__":
    main()
