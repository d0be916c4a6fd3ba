"""A budget under load, in simulated time: calls arrive, stream, and the refused ones ask again every second.

It ends when nothing is reserved and the cheapest waiting call is refused. Run it for the table of
docs/explanation/budgets.md: ``PYTHONPATH=src:. python -m tests.ledger.budget_simulation``.
"""

import random
from collections import Counter
from dataclasses import dataclass, field

from penstock.base.money import Price
from penstock.ledger.budgets import Budget, Budgets, Mode, Node, Refused
from penstock.ledger.quantile import OutputSizes
from penstock.ledger.reserving import Guard, Offer, fit_max_tokens, most_nusd

LIMIT_NUSD = 10_000_000_000
INPUT, OUTPUT = Price(pico_usd=3_000_000), Price(pico_usd=15_000_000)
TICK_S, TOKENS_A_TICK = 0.25, 20
MAX_TOKENS = 4096
WHO = ("chat", "model", "key")
START_S = 1_795_219_200.0 + 8 * 3600


@dataclass
class Call:
    """What a caller wants, and how far it is. ``output`` is what the model would write if nothing stopped it."""

    id: str
    input_tokens: int
    output: int
    produced: int = 0
    cap: int = MAX_TOKENS
    guard: Guard | None = None

    @property
    def cost_nusd(self) -> int:
        return most_nusd(self.input_tokens, INPUT) + most_nusd(self.produced, OUTPUT)


@dataclass
class Run:
    """How it went. ``most_nusd`` is the highest that spent and reserved ever were together."""

    spent_nusd: int = 0
    most_nusd: int = 0
    first_refused_nusd: int | None = None
    counts: Counter[str] = field(default_factory=Counter)


class Simulation:
    """One budget of $10 a day. ``cuttable``: streamed and guarded; else each call holds its maximum."""

    def __init__(
        self, per_s: int, seed: int, *, cuttable: bool = True, mode: Mode = "hard", prior: int | None = None
    ) -> None:
        self.random = random.Random(seed)
        self.per_s = per_s
        self.cuttable = cuttable
        self.prior = prior
        self.budgets = Budgets(
            [Node("org"), Node("key", "org", (Budget("ten", LIMIT_NUSD, "day", "Europe/Berlin", mode, 5),))]
        )
        self.path = self.budgets.path("key")
        self.sizes = OutputSizes()
        self.running: list[Call] = []
        self.waiting: list[tuple[float, Call]] = []
        self.run = Run()

    def play(self) -> Run:
        """Until the end, which must come within two simulated hours."""
        bucket = self.path.at(START_S)[0]
        for tick in range(int(7200 / TICK_S)):
            now_s = START_S + tick * TICK_S
            self.arrive(tick, now_s)
            self.stream(now_s)
            self.run.most_nusd = max(self.run.most_nusd, bucket.committed)
            self.run.spent_nusd = bucket.spent
            if self.run.counts["refused"] and not self.running and self.cheapest_is_refused(now_s):
                return self.run
        raise AssertionError("the simulation did not end")

    def arrive(self, tick: int, now_s: float) -> None:
        again = [call for at_s, call in self.waiting if at_s <= now_s]
        self.waiting = [one for one in self.waiting if one[0] > now_s]
        whole = (tick + 1) * self.per_s * TICK_S
        new = int(whole) - int(tick * self.per_s * TICK_S)
        if len(self.waiting) + len(again) > 400:
            new = 0  # enough are waiting; the end must not wait for more
        for _ in range(new):
            number = self.run.counts["arrived"]
            self.run.counts["arrived"] += 1
            output = min(MAX_TOKENS, max(1, int(self.random.lognormvariate(6.0, 0.8))))
            again.append(Call(str(number), self.random.randint(200, 2000), output))
        for call in again:
            if not self.admit(call, now_s):
                self.waiting.append((now_s + 1.0, call))

    def admit(self, call: Call, now_s: float) -> bool:
        input_nusd = most_nusd(call.input_tokens, INPUT)
        if self.cuttable:
            expected = self.sizes.expect(WHO, MAX_TOKENS, self.prior)
            assert expected is not None
            amount = input_nusd + most_nusd(max(expected, 2 * TOKENS_A_TICK), OUTPUT)
        else:
            offer = fit_max_tokens(self.path, input_nusd, MAX_TOKENS, OUTPUT, now_s, least=64)
            if not isinstance(offer, Offer):
                return self.refused()
            self.run.counts["lowered"] += offer.lowered
            call.cap, amount = offer.max_tokens, offer.amount_nusd
        held = self.budgets.reserve(self.path, call.id, amount, now_s)
        if isinstance(held, Refused):
            return self.refused()
        slack = most_nusd(TOKENS_A_TICK, OUTPUT)
        call.guard = Guard(self.budgets, held, most_nusd(256, OUTPUT), slack) if self.cuttable else None
        self.running.append(call)
        return True

    def refused(self) -> bool:
        self.run.counts["refused"] += 1
        if self.run.first_refused_nusd is None:
            self.run.first_refused_nusd = self.path.at(START_S)[0].spent
        return False

    def stream(self, now_s: float) -> None:
        still: list[Call] = []
        for call in self.running:
            goal = min(call.output, call.cap)
            call.produced = min(goal, call.produced + TOKENS_A_TICK)
            ended = call.produced == goal
            stopped = call.guard is not None and not ended and not call.guard.produced(call.cost_nusd, now_s)
            if not ended and not stopped:
                still.append(call)
                continue
            settled = self.budgets.settle(call.id, call.cost_nusd)
            assert settled is not None
            assert settled.over_nusd == 0
            self.run.counts["cut" if stopped or goal < call.output else "whole"] += 1
            if ended and goal == call.output:
                self.sizes.learn(WHO, call.produced)
        self.running = still

    def cheapest_is_refused(self, now_s: float) -> bool:
        if not self.waiting:
            return False
        call = min((one for _, one in self.waiting), key=lambda one: one.input_tokens)
        if not self.admit(call, now_s):
            return True
        self.waiting = [one for one in self.waiting if one[1] is not call]
        return False


def main() -> None:
    """The page's table: the worst of ten seeds."""
    print(
        "| calls | a second | highest ever | spent at the end, least | cut, most | spent at the first refusal, least |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    for name, more in (
        ("streamed, hard", {}),
        ("streamed, hard, prior 1,000", {"prior": 1000}),
        ("streamed, soft 5 %", {"mode": "soft"}),
        ("cannot be cut, hard", {"cuttable": False}),
    ):
        for per_s in (20, 100):
            runs = [Simulation(per_s, seed, **more).play() for seed in range(10)]
            high = max(run.most_nusd for run in runs) / LIMIT_NUSD
            low = min(run.spent_nusd for run in runs) / LIMIT_NUSD
            cut = max(run.counts["cut"] / (run.counts["cut"] + run.counts["whole"]) for run in runs)
            first = min(run.first_refused_nusd or 0 for run in runs) / LIMIT_NUSD
            print(f"| {name} | {per_s} | {high:.2%} | {low:.2%} | {cut:.1%} | {first:.1%} |")


if __name__ == "__main__":
    main()
