"""What the cache costs and saves: exact and semantic hits, calls it has no part in, and captions with and without it.

``python -m benches.cache [--rounds 400]`` One connection, one call at a time, ways alternating; loopback only. Bars of the issue:
an exact hit at most 60 us over ``/health`` (p50), a semantic hit at most 4 ms (p50, one thread), a call that the cache has no
part in at most 10 us, hits' p95 beside a simulated caption model of 340 ms.
"""

import argparse
import json
import socket
import tempfile
import time
from collections.abc import Callable
from itertools import count, cycle
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benches import houses, machine
from penstock.simulate import simulator_process

CHAT = "/v1/chat/completions"
PLAIN = houses.CONFIG
CACHED = (
    PLAIN
    + """
cache: {{exact: {{enabled: true}}, coalesce: true, path: memory}}
semantic_cache: {{enabled: true, similarity_threshold: 0.9, audit: {{rate: 0, first: 0, shadow_rate: 0}}}}
"""
)
SEMANTIC = (
    PLAIN
    + """
cache: {{path: memory}}
semantic_cache: {{enabled: true, similarity_threshold: 0.9, max_queue_ms: 1000, audit: {{rate: 0, first: 0, shadow_rate: 0}}}}
"""
)
SCENARIO = {"profiles": {"*": {"ttft_ms": 340, "tokens_per_s": 1000000, "output_tokens": 40}}}
PRODUCTS = (
    "red leather handbag",
    "blue ceramic mug",
    "oak writing desk",
    "silver wrist watch",
    "green wool scarf",
)
SAME = (
    "Write a short caption for a {} on a white table",
    "Write a short caption for a {} on a white table.",
    "write a short caption for the {} on a white table",
    "Please write a short caption for a {} on a white table",
)
ADJECTIVES = (
    "amber",
    "beige",
    "black",
    "blue",
    "bronze",
    "brown",
    "copper",
    "coral",
    "crimson",
    "cream",
    "golden",
    "green",
    "grey",
    "indigo",
    "ivory",
    "olive",
    "orange",
    "pink",
    "purple",
    "red",
    "silver",
    "teal",
    "violet",
    "white",
    "yellow",
)
NOUNS = (
    "armchair",
    "backpack",
    "blanket",
    "bookcase",
    "bracelet",
    "candle",
    "carpet",
    "clock",
    "cushion",
    "handbag",
    "jacket",
    "kettle",
    "lamp",
    "mirror",
    "mug",
    "necklace",
    "notebook",
    "pillow",
    "scarf",
    "suitcase",
    "teapot",
    "umbrella",
    "vase",
    "wallet",
    "watch",
)
GOAL = {"exact_over_health_us": 60, "semantic_hit_ms": 4, "ineligible_us": 10}


class Line:
    """One connection that is kept open."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def close(self) -> None:
        self._socket.close()

    def ask(self, request: bytes) -> tuple[float, bytes, bytes]:
        """Seconds, head, body."""
        began_s = time.perf_counter()
        self._socket.sendall(request)
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        lower = head.lower()
        if b"content-length: " in lower:
            size = int(lower.split(b"content-length: ")[1].split(b"\r\n")[0])
            while len(rest) < size:
                self._buffer = rest
                self._more()
                rest = self._buffer
            self._buffer = rest[size:]
            return time.perf_counter() - began_s, lower, rest[:size]
        while not rest.endswith(b"0\r\n\r\n"):
            self._buffer = rest
            self._more()
            rest = self._buffer
        self._buffer = b""
        return time.perf_counter() - began_s, lower, rest

    def _more(self) -> None:
        data = self._socket.recv(262144)
        if not data:
            raise EOFError
        self._buffer += data


def request(text: str, *more: str, stream: bool = False) -> bytes:
    """A chat call of some 900 bytes."""
    body = {"model": "openai/gpt-4o-mini", "max_tokens": 512, "messages": [{"role": "user", "content": text}]}
    if stream:
        body["stream"] = True
    payload = json.dumps(body).encode()
    lines = [f"POST {CHAT} HTTP/1.1", "host: gateway", f"authorization: Bearer {houses.KEY}",
             "content-type: application/json", f"content-length: {len(payload)}", *more]  # fmt: skip
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + payload


HEALTH = b"GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n"


def said(head: bytes) -> str:
    return (
        head.split(b"x-penstock-cache: ")[1].split(b"\r\n")[0].decode()
        if b"x-penstock-cache: " in head
        else ""
    )


def told(times_s: list[float]) -> dict[str, float]:
    cuts = quantiles(times_s, n=100)
    return {
        "p50_us": round(median(times_s) * 1e6, 1),
        "p95_us": round(cuts[94] * 1e6, 1),
        "p99_us": round(cuts[98] * 1e6, 1),
    }


def alternating(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each way once a round, after a tenth of the rounds that does not count."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + rounds // 10):
        for name, way in ways.items():
            took_s = way()
            if number >= rounds // 10:
                times[name].append(took_s)
    return times


def wanted(line: Line, request_: bytes, how: str) -> float:
    took_s, head, _ = line.ask(request_)
    got = said(head)
    if got != how:
        raise RuntimeError(f"{how} was wanted, {got or head!r} came")
    return took_s


def hits(folder: Path, rounds: int) -> dict[str, Any]:
    """Exact hits, whole and streamed, beside /health; semantic hits of texts that were asked before, and of such as never were."""
    prose = "the keeper of the lock writes every litre down " * 16
    with (
        houses.nginx(folder, "static") as (upstream, _),
        houses.penstock(folder, upstream, "exact", CACHED) as (port, _, _),
        houses.penstock(folder, upstream, "semantic", SEMANTIC) as (other, _, _),
    ):
        line, meaning = Line(port), Line(other)
        whole, stream = request(f"exact {prose}"), request(f"exact {prose}", stream=True)
        wanted(line, whole, "miss")
        time.sleep(0.2)
        for _ in range(3):
            wanted(line, whole, "hit-exact")
            wanted(line, stream, "hit-exact")
        texts = [request(text.format(product)) for product in PRODUCTS for text in SAME]
        for text in texts:
            meaning.ask(text)
        products = [f"{adjective} {noun}" for noun in NOUNS for adjective in ADJECTIVES]
        for product in products:
            meaning.ask(request(SAME[0].format(product)))
        time.sleep(1)
        fresh: list[float] = []
        for number, product in enumerate(products):  # each in words that were never embedded before
            took_s, head, _ = meaning.ask(request(SAME[1 + number % 3].format(product)))
            if said(head) == "hit-semantic":
                fresh.append(took_s)
        turns = cycle([text for text in texts if said(meaning.ask(text)[1]) == "hit-semantic"])
        ways = {
            "health": lambda: line.ask(HEALTH)[0],
            "exact_whole": lambda: wanted(line, whole, "hit-exact"),
            "exact_stream": lambda: wanted(line, stream, "hit-exact"),
            "health_other": lambda: meaning.ask(HEALTH)[0],
            "semantic_again": lambda: wanted(meaning, next(turns), "hit-semantic"),
        }
        times = alternating(ways, rounds)
        line.close()
        meaning.close()
    asked = {"semantic_fresh_asked": {"texts": len(products), "hits": len(fresh)}}
    return {name: told(found) for name, found in (times | {"semantic": fresh}).items()} | asked


def ineligible(folder: Path, rounds: int) -> dict[str, Any]:
    """The same calls through a gateway without a cache, and through one whose cache has no part in them."""
    with (
        houses.nginx(folder, "beneath") as (upstream, _),
        houses.penstock(folder, upstream, "without", PLAIN) as (plain, _, _),
        houses.penstock(folder, upstream, "beside", CACHED) as (cached, _, _),
    ):
        lines = {"without_cache": Line(plain), "asked_off": Line(cached)}
        # A field that keeps a call off the express lane, which knows neither the header nor the cache, on both sides.
        off = request("not for the cache", "x-penstock-cache: off", "x-penstock-meta: bench=1")
        times = alternating(
            {
                "without_cache": lambda: lines["without_cache"].ask(off)[0],
                "asked_off": lambda: wanted(lines["asked_off"], off, "bypass"),
            },
            rounds * 4,
        )
        # Apart from the others: what is kept of a miss is worked on behind its reply.
        number = count()
        times |= alternating(
            {
                "miss": lambda: wanted(
                    lines["asked_off"],
                    request(f"asked for the first time, number {next(number)} of them"),
                    "miss",
                )
            },
            rounds,
        )
        for line in lines.values():
            line.close()
    return {name: told(found) for name, found in times.items()}


def captions(folder: Path, rounds: int) -> dict[str, Any]:
    """A caption model of 340 ms, asked by a gateway without a cache, and hits of one with it."""
    scenario = folder / "scenario.json"
    scenario.write_text(json.dumps(SCENARIO))
    with simulator_process("--scenario", str(scenario)) as sim:
        base = f"{sim}/p/openai/v1"
        plain, cached = (text.replace("http://127.0.0.1:{upstream}/v1", base) for text in (PLAIN, SEMANTIC))
        with (
            houses.penstock(folder, 1, "slow", plain) as (before, _, _),
            houses.penstock(folder, 1, "quick", cached) as (after, _, _),
        ):
            slow, quick = Line(before), Line(after)
            texts = [request(text.format(product)) for product in PRODUCTS for text in SAME]
            for text in texts:
                quick.ask(text)
            near = cycle([text for text in texts if said(quick.ask(text)[1]) == "hit-semantic"])
            every = cycle(texts)
            times = alternating(
                {
                    "without_cache": lambda: slow.ask(next(every))[0],
                    "hit": lambda: wanted(quick, next(near), "hit-semantic"),
                },
                max(40, rounds // 8),
            )
            slow.close()
            quick.close()
    return {name: told(found) for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    args = parser.parse_args()
    who = machine.identity()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {
            "hits": hits(folder, args.rounds),
            "ineligible": ineligible(folder, args.rounds),
            "captions": captions(folder, args.rounds),
        }
    one = found["hits"]
    summary = {
        "exact_over_health_us": round(one["exact_whole"]["p50_us"] - one["health"]["p50_us"], 1),
        "exact_stream_over_health_us": round(one["exact_stream"]["p50_us"] - one["health"]["p50_us"], 1),
        "semantic_hit_ms": round(one["semantic"]["p50_us"] / 1000, 3),
        "semantic_hit_again_ms": round(one["semantic_again"]["p50_us"] / 1000, 3),
        "ineligible_us": round(
            found["ineligible"]["asked_off"]["p50_us"] - found["ineligible"]["without_cache"]["p50_us"], 1
        ),
        "miss_us": round(
            found["ineligible"]["miss"]["p50_us"] - found["ineligible"]["without_cache"]["p50_us"], 1
        ),
        "caption_p95_ms": {name: round(way["p95_us"] / 1000, 2) for name, way in found["captions"].items()},
        "goal": GOAL,
    }
    path = machine.write("cache", {**who, "rounds": args.rounds, "ways": found, "summary": summary})
    print(path, json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
