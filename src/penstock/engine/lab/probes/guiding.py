"""Two denoiser calls against one with both conditions, on the inputs of a real step. On request only."""

from collections.abc import Mapping
from typing import Any

import torch

from penstock.engine.lab.probes.stopwatch import Stopwatch
from penstock.engine.measure.seen import GuidedPair


def both_ways(
    denoiser: Any, pair: GuidedPair, given: tuple[Mapping[str, Any], Mapping[str, Any]], watch: Stopwatch
) -> tuple[float, float]:
    """Milliseconds of two calls after each other, and of one with both."""
    one, other = given
    both = dict(other)
    for name in (*pair.same, *pair.differing):
        both[name] = torch.cat([one[name], other[name]])
    for name in pair.dicts:
        both[name] = {key: torch.cat([one[name][key], other[name][key]]) for key in one[name]}

    def twice() -> None:
        with torch.no_grad():
            denoiser(**one)
            denoiser(**other)

    def once() -> None:
        with torch.no_grad():
            denoiser(**both)

    timed = watch.turns({"twice": twice, "once": once})
    return timed["twice"].median_ms, timed["once"].median_ms
