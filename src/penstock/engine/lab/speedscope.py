"""A profile's timeline as a file for speedscope (https://www.speedscope.app): one evented profile per lane.

Theory: speedscope wants every frame that opens to close, in order of time, each inside the one that opened before it. Slices
of a lane may overlap without nesting (two GPU streams in one lane, clocks of two sources): a slice that outlives the one it
began in is cut at that one's end. Nothing else is changed.

The format: https://github.com/jlfwong/speedscope/blob/main/src/lib/file-format-spec.ts
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from penstock.engine.lab.figures import shown_name
from penstock.engine.measure.records import Profile, Slice

SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def speedscope(profile: Profile, *, exporter: str = "penstock") -> dict[str, Any]:
    """The file's document. Times are microseconds from the start of the run."""
    frames: dict[str, int] = {}
    lanes: dict[str, list[Slice]] = {}
    for one in profile.timeline:
        lanes.setdefault(one.lane, []).append(one)
    profiles = [_lane(name, slices, frames) for name, slices in lanes.items()]
    if not profiles:
        profiles = [_profile(profile.target, 0.0, [])]
    return {
        "$schema": SCHEMA,
        "shared": {"frames": [{"name": name} for name in frames]},
        "profiles": profiles,
        "name": profile.target,
        "activeProfileIndex": 0,
        "exporter": exporter,
    }


def speedscope_bytes(profile: Profile, *, exporter: str = "penstock") -> bytes:
    """The same as JSON."""
    return msgspec.json.encode(speedscope(profile, exporter=exporter))


def _lane(name: str, slices: Iterable[Slice], frames: dict[str, int]) -> dict[str, Any]:
    events: list[dict[str, Any]] = []
    open_until: list[tuple[float, int]] = []
    """Ends of the frames that are open, outermost first: never rising."""

    def close_until(at: float) -> None:
        while open_until and open_until[-1][0] <= at:
            end, frame = open_until.pop()
            events.append({"type": "C", "frame": frame, "at": end})

    for one in sorted(slices, key=lambda one: (one.start_us, -one.dur_us, one.depth)):
        start = max(0.0, one.start_us)
        close_until(start)
        end = max(start, one.start_us + one.dur_us)
        if open_until:
            end = min(end, open_until[-1][0])
        frame = frames.setdefault(shown_name(one.name), len(frames))
        events.append({"type": "O", "frame": frame, "at": start})
        open_until.append((end, frame))
    close_until(float("inf"))
    return _profile(name, events[-1]["at"] if events else 0.0, events)


def _profile(name: str, end: float, events: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "evented",
        "name": name,
        "unit": "microseconds",
        "startValue": 0,
        "endValue": end,
        "events": events,
    }
