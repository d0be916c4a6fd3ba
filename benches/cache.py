"""What the cache costs and saves: exact and semantic hits, calls it has no part in, and captions with and without it.

``python -m benches.cache [--rounds 400]`` One connection, one call at a time, ways alternating; loopback only. Bars of the issue:
an exact hit at most 60 us over ``/health`` (p50), a semantic hit at most 4 ms (p50, one thread), a call that the cache has no
part in at most 10 us, hits' p95 beside a simulated caption model of 340 ms.

Rules
- What is a difference is the median of differences within a round, the ways of a round in an order that turns; beside it
  stands the interval in which the true median lies with 95 % (by the sign test, which supposes nothing of the noise).
- A semantic hit of words that were never seen is each time another text; of its time the embedding alone (in this process, of
  the same text, in the same round) and ``/health`` on the same connection are told.
- Beside times stands what the gateway ran (its processor clock): waiting disturbs it less.
"""

import argparse
import json
import os
import random
import socket
import tempfile
import time
from collections.abc import Callable
from itertools import count, cycle
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benches import houses, machine
from penstock.base.decisions import Rejected
from penstock.cache.embed.opening import open_embedder
from penstock.config.schema_cache import SemanticCacheConfig
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
FRAMES = (
    ("how should a {} be cleaned without leaving any marks on it", "{}?"),
    ("write a short caption for a {} on a white table", "please {}"),
    ("which gift would go well together with a {}", "{}, please?"),
    ("describe in two sentences who would buy a {} and why", "{}."),
    ("is a {} a sensible present for somebody who lives alone", "{}?"),
    ("name three rooms of a house in which a {} looks good", "please {}."),
    ("what does it usually cost to have a {} repaired", "{}?"),
    ("tell me where a {} of good quality is made", "{}, please"),
    ("explain how to pack a {} so that it survives the post", "{}, please."),
    ("suggest a name for a shop that sells one {}", "please {}"),
    ("can a {} be left outside over the winter in the rain", "{}?"),
    ("list the materials that a {} is made of", "please {}."),
)
"""Texts, and the same in words that were never asked. So many that none becomes a template (cache.templates)."""
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


Ways = dict[str, Callable[[], float]]
Times = dict[str, list[float]]


def alternating(ways: Ways, rounds: int) -> Times:
    """Each way once a round, another one first each time, after a tenth of the rounds that does not count."""
    times: Times = {name: [] for name in ways}
    order = list(ways.items())
    for number in range(rounds + rounds // 10):
        for name, way in order:
            took_s = way()
            if number >= rounds // 10:
                times[name].append(took_s)
        order.append(order.pop(0))
    return times


def difference(one: list[float], other: list[float]) -> dict[str, Any]:
    """By how much ``one`` takes longer than ``other``, round by round."""
    each = sorted(a - b for a, b in zip(one, other, strict=True))
    half = len(each) / 2
    reach = 0.98 * len(each) ** 0.5  # 1.96 deviations of a binomial with 1/2
    ends = each[max(int(half - reach), 0)], each[min(int(half + reach) + 1, len(each) - 1)]
    return {
        "median_us": round(median(each) * 1e6, 1),
        "within_95_us": [round(end * 1e6, 1) for end in ends],
        "rounds": len(each),
    }


def median_and_interval(name: str, found: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}_us": found["median_us"], f"{name}_within_95_us": found["within_95_us"]}


def ran_s(pid: int) -> float:
    """What a process has run so far, all its threads and to the nanosecond (clock_getcpuclockid)."""
    return time.clock_gettime(~pid << 3 | 2)


def wanted(line: Line, request_: bytes, how: str) -> float:
    took_s, head, _ = line.ask(request_)
    got = said(head)
    if got != how:
        raise RuntimeError(f"{how} was wanted, {got or head!r} came")
    return took_s


def exact_hits(folder: Path, rounds: int) -> dict[str, Any]:
    """Exact hits, whole and streamed, beside /health."""
    prose = "the keeper of the lock writes every litre down " * 16
    with (
        houses.nginx(folder, "static") as (upstream, _),
        houses.penstock(folder, upstream, "exact", CACHED) as (port, _, _),
    ):
        line = Line(port)
        whole, stream = request(f"exact {prose}"), request(f"exact {prose}", stream=True)
        wanted(line, whole, "miss")
        time.sleep(0.2)
        for _ in range(3):
            wanted(line, whole, "hit-exact")
            wanted(line, stream, "hit-exact")
        ways: Ways = {
            "health": lambda: line.ask(HEALTH)[0],
            "exact_whole": lambda: wanted(line, whole, "hit-exact"),
            "exact_stream": lambda: wanted(line, stream, "hit-exact"),
        }
        times = alternating(ways, rounds)
        line.close()
    over = {
        f"{name}_over_health": difference(times[name], times["health"])
        for name in ("exact_whole", "exact_stream")
    }
    return {name: told(found) for name, found in times.items()} | over


def paraphrased() -> tuple[list[str], list[str]]:
    """Texts, and of each another wording."""
    products = [f"{adjective} {noun}" for noun in NOUNS for adjective in ADJECTIVES]
    random.Random(5).shuffle(products)
    frames = [FRAMES[number % len(FRAMES)] for number in range(len(products))]
    texts = [frame.format(product) for (frame, _), product in zip(frames, products, strict=True)]
    return texts, [other.format(text) for (_, other), text in zip(frames, texts, strict=True)]


def semantic_hits(folder: Path) -> dict[str, Any]:
    """Hits by meaning, of words never seen and of words seen before; /health and the embedding alone in the same rounds."""
    embedder = open_embedder(SemanticCacheConfig(enabled=True), environ=os.environ)
    if isinstance(embedder, Rejected):
        raise SystemExit(embedder.reason)

    def embedded(text: str) -> float:
        began_s = time.perf_counter()
        embedder.tokens(text)
        embedder.embed(text)
        return time.perf_counter() - began_s

    texts, others = paraphrased()
    times: Times = {name: [] for name in ("health", "semantic", "embedding", "semantic_again")}
    with (
        houses.nginx(folder, "static") as (upstream, _),
        houses.penstock(folder, upstream, "semantic", SEMANTIC) as (port, pid, _),
    ):
        line = Line(port)
        for text in texts:
            line.ask(request(text))
        time.sleep(1)
        ran = 0.0
        for number, text in enumerate(others):
            health_s = line.ask(HEALTH)[0]
            before_s = ran_s(pid)
            took_s, head, _ = line.ask(request(text))
            ran_now_s = ran_s(pid) - before_s
            again_s = line.ask(request(text))[0]
            alone_s = embedded(text)  # last: it drives what others have at hand out of the caches
            if said(head) == "hit-semantic" and number >= len(others) // 10:
                ran += ran_now_s
                for name, found_s in zip(times, (health_s, took_s, alone_s, again_s), strict=True):
                    times[name].append(found_s)
        line.close()
    counted = len(others) - len(others) // 10
    tokens = median(embedder.tokens(text) for text in others)
    found: dict[str, Any] = {name: told(each) for name, each in times.items()}
    found["asked"] = {"texts": counted, "hits": len(times["semantic"]), "tokens_p50": tokens}
    found["gateway_ran_us_per_hit"] = round(ran / len(times["semantic"]) * 1e6, 1)
    rest = [whole - alone for whole, alone in zip(times["semantic"], times["embedding"], strict=True)]
    found["neither_embedding_nor_health"] = difference(rest, times["health"])
    return found


def ineligible(folder: Path, rounds: int) -> dict[str, Any]:
    """The same calls through a gateway without a cache, and through one whose cache has no part in them; and through a second
    one without, which shows how much two alike differ."""
    with (
        houses.nginx(folder, "beneath") as (upstream, _),
        houses.penstock(folder, upstream, "without", PLAIN) as (plain, plain_pid, _),
        houses.penstock(folder, upstream, "alike", PLAIN) as (alike, alike_pid, _),
        houses.penstock(folder, upstream, "beside", CACHED) as (cached, cached_pid, _),
    ):
        lines = {"without_cache": Line(plain), "alike": Line(alike), "asked_off": Line(cached)}
        pids = {"without_cache": plain_pid, "alike": alike_pid, "asked_off": cached_pid}
        # The same bytes to each: whatever lane they take, they take it without a cache as well.
        off = request("not for the cache", "x-penstock-cache: off", "x-penstock-meta: bench=1")
        ways: Ways = {
            "without_cache": lambda: lines["without_cache"].ask(off)[0],
            "alike": lambda: lines["alike"].ask(off)[0],
            "asked_off": lambda: wanted(lines["asked_off"], off, "bypass"),
        }
        alternating(ways, rounds // 10)
        before = {name: ran_s(pid) for name, pid in pids.items()}
        times = alternating(ways, rounds)
        calls = rounds + rounds // 10
        ran = {name: round((ran_s(pid) - before[name]) / calls * 1e6, 1) for name, pid in pids.items()}
        for line in lines.values():
            line.close()
    found: dict[str, Any] = {name: told(each) for name, each in times.items()}
    found["asked_off_over_without"] = difference(times["asked_off"], times["without_cache"])
    found["alike_over_without"] = difference(times["alike"], times["without_cache"])
    found["gateway_ran_us_per_call"] = ran
    return found


def miss(folder: Path, rounds: int) -> dict[str, Any]:
    """A text that is looked for in both tiers, fetched and kept. Apart: what is kept of a miss is worked on behind its reply."""
    number = count()
    with (
        houses.nginx(folder, "beneath") as (upstream, _),
        houses.penstock(folder, upstream, "without", PLAIN) as (plain, _, _),
        houses.penstock(folder, upstream, "missed", CACHED) as (cached, _, _),
    ):
        before, line = Line(plain), Line(cached)

        def asked() -> bytes:
            return request(f"asked for the first time, number {next(number)} of them")

        times = alternating(
            {"without_cache": lambda: before.ask(asked())[0], "miss": lambda: wanted(line, asked(), "miss")},
            rounds,
        )
        before.close()
        line.close()
    found: dict[str, Any] = {name: told(each) for name, each in times.items()}
    return found | {"miss_over_without": difference(times["miss"], times["without_cache"])}


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
            texts, others = (each[:24] for each in paraphrased())
            for text in texts:
                quick.ask(request(text))
            time.sleep(1)
            near = cycle(
                [each for each in map(request, others) if said(quick.ask(each)[1]) == "hit-semantic"]
            )
            every = cycle(request(text) for text in texts)
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
            "exact": exact_hits(folder, args.rounds * 5),
            "semantic": semantic_hits(folder),
            "ineligible": ineligible(folder, args.rounds * 10),
            "miss": miss(folder, args.rounds),
            "captions": captions(folder, args.rounds),
        }
    exact, meaning, beside = found["exact"], found["semantic"], found["ineligible"]
    summary = {
        **median_and_interval("exact_over_health", exact["exact_whole_over_health"]),
        **median_and_interval("exact_stream_over_health", exact["exact_stream_over_health"]),
        "semantic_hit_ms": round(meaning["semantic"]["p50_us"] / 1000, 3),
        "of_it_embedding_ms": round(meaning["embedding"]["p50_us"] / 1000, 3),
        "of_it_health_ms": round(meaning["health"]["p50_us"] / 1000, 3),
        "semantic_hit_again_ms": round(meaning["semantic_again"]["p50_us"] / 1000, 3),
        **median_and_interval("ineligible", beside["asked_off_over_without"]),
        **median_and_interval("two_alike", beside["alike_over_without"]),
        "gateway_ran_us_per_call": beside["gateway_ran_us_per_call"],
        **median_and_interval("miss", found["miss"]["miss_over_without"]),
        "caption_p95_ms": {name: round(way["p95_us"] / 1000, 2) for name, way in found["captions"].items()},
        "goal": GOAL,
    }
    path = machine.write("cache", {**who, "rounds": args.rounds, "ways": found, "summary": summary})
    print(path, json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
