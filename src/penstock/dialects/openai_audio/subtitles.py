"""Segments as subtitles: SubRip (srt) and WebVTT, as whisper writes them, and how long such a text runs."""

import re

from penstock.base.events import SegmentMade

_TIME = re.compile(rb"--> *(\d+):(\d\d):(\d\d)[.,](\d{3})")


def srt(segments: list[SegmentMade]) -> str:
    """SubRip: numbered from 1, commas before the milliseconds."""
    cues = [
        f"{number}\n{_time(one.start_s, ',')} --> {_time(one.end_s, ',')}\n{_text(one)}\n\n"
        for number, one in enumerate(segments, 1)
    ]
    return "".join(cues)


def vtt(segments: list[SegmentMade]) -> str:
    """WebVTT."""
    cues = [f"{_time(one.start_s, '.')} --> {_time(one.end_s, '.')}\n{_text(one)}\n\n" for one in segments]
    return "WEBVTT\n\n" + "".join(cues)


def ends_s(subtitles: bytes) -> float:
    """When the last cue ends; 0.0 without cues."""
    found = _TIME.findall(subtitles)
    if not found:
        return 0.0
    hours, minutes, seconds, milliseconds = (int(text) for text in found[-1])
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _time(at_s: float, point: str) -> str:
    milliseconds = max(0, round(at_s * 1000))
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"


def _text(one: SegmentMade) -> str:
    """One cue's words: a blank line would end the cue, an arrow would begin another."""
    lines = [line.strip() for line in one.text.strip().splitlines()]
    return "\n".join(line for line in lines if line).replace("-->", "->")
