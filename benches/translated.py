"""Calls that are translated beside calls that go through as they are, alternating in one run at 32 connections.

Three ways, each with bodies alike (nothing but the conversation differs) and unlike: OpenAI in and out, Anthropic in and
OpenAI out, Anthropic in and out. Alike, the first two go by express and the third by the short lane; unlike, all by the short
lane. Upstreams are nginx with fixed replies of 1 KB. The issue's goal: a translated call's throughput is at least 60 % of the
pass-through call's. Each share says which lanes it compares; the least favourable is a translated call by the short lane
against a pass-through by express.
"""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benches import houses

CONNECTIONS = 32
CONVERSATIONS = 64
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
GOAL = 0.6
CONFIG = houses.CONFIG.replace(
    "virtual_keys:",
    """  anthropic:
    keys: [{{value: env.BENCH_KEY, name: three}}]
    network: {{base_url: "http://127.0.0.1:{anthropic}", max_connections: 4096}}
virtual_keys:""",
)
MESSAGE = json.dumps(
    {
        "id": "msg_bench", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "x" * 700}], "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 200, "output_tokens": 150},
    }
).encode()  # fmt: skip
WAYS = {
    "pass_through": (CHAT, "openai/gpt-4o-mini"),
    "translated": (MESSAGES, "openai/gpt-4o-mini"),
    "messages_pass_through": (MESSAGES, "anthropic/claude-haiku-4-5"),
}

Wrk = Callable[..., dict[str, float]]


def body(path: str, model: str, number: int, *, alike: bool) -> str:
    """One of the bodies that take turns: no two conversations are the same, nor of one length; 900 bytes on average."""
    words = f"question {number}: " + "x" * (868 + number)
    asked: dict[str, Any] = {
        "model": model,
        "max_tokens": 512,
        "messages": [{"role": "user", "content": words}],
    }
    if not alike:
        asked |= {"user": f"u-{number}"} if path == CHAT else {"metadata": {"user_id": f"u-{number}"}}
    return json.dumps(asked)


def translated(
    folder: Path, rounds: int, seconds: float, wrk: Wrk, script: Callable[..., str]
) -> dict[str, Any]:
    """Requests per second of each way, and the ratio of their medians."""
    ways: dict[str, tuple[str, Path]] = {}
    for name, (path, model) in WAYS.items():
        for alike in (True, False):
            full = name if alike else f"{name}_unlike"
            lua = folder / f"{full}.lua"
            bodies = [body(path, model, number, alike=alike) for number in range(CONVERSATIONS)]
            lua.write_text(script(bodies) + 'wrk.headers["anthropic-version"] = "2023-06-01"\n')
            ways[full] = (path, lua)
    with (
        houses.nginx(folder, "static") as (upstream, _),
        houses.nginx(folder, "messages", body=MESSAGE) as (anthropic, _),
        houses.penstock(folder, upstream, "translated", CONFIG.replace("{anthropic}", str(anthropic))) as (
            gateway,
            pid,
            _,
        ),
    ):
        for path, lua in ways.values():
            wrk(gateway, lua, CONNECTIONS, min(2, seconds), path)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, (path, lua) in ways.items():
                before_s = houses.cpu_s(pid)
                run = wrk(gateway, lua, CONNECTIONS, seconds, path)
                calls = run["requests_per_s"] * seconds
                run["gateway_cpu_us_per_request"] = (houses.cpu_s(pid) - before_s) / calls * 1e6
                runs[name].append(run)
    rate = {name: round(median(run["requests_per_s"] for run in found), 1) for name, found in runs.items()}
    return {
        "runs": runs,
        "summary": {
            "requests_per_s": rate,
            "share_of_pass_through": round(rate["translated"] / rate["pass_through"], 3),
            "share_of_pass_through_unlike": round(rate["translated_unlike"] / rate["pass_through_unlike"], 3),
            "share_unlike_of_pass_through_alike": round(rate["translated_unlike"] / rate["pass_through"], 3),
            "share_of_messages": round(rate["translated"] / rate["messages_pass_through"], 3),
            "share_of_messages_unlike": round(
                rate["translated_unlike"] / rate["messages_pass_through_unlike"], 3
            ),
            "goal": GOAL,
        },
    }
