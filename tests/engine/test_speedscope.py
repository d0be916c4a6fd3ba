"""The export for speedscope: what its schema wants, whatever the slices."""

import json

import jsonschema
from hypothesis import given

from penstock.engine.lab.speedscope import speedscope, speedscope_bytes
from tests.engine.made import profile, slices

SCHEMA = {
    "type": "object",
    "required": ["$schema", "shared", "profiles"],
    "properties": {
        "$schema": {"const": "https://www.speedscope.app/file-format-schema.json"},
        "name": {"type": "string"},
        "exporter": {"type": "string"},
        "activeProfileIndex": {"type": "number"},
        "shared": {
            "type": "object",
            "required": ["frames"],
            "properties": {
                "frames": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}},
                    },
                }
            },
        },
        "profiles": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["type", "name", "unit", "startValue", "endValue", "events"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "evented"},
                    "name": {"type": "string"},
                    "unit": {
                        "enum": ["none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"]
                    },
                    "startValue": {"type": "number"},
                    "endValue": {"type": "number"},
                    "events": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["type", "frame", "at"],
                            "additionalProperties": False,
                            "properties": {
                                "type": {"enum": ["O", "C"]},
                                "frame": {"type": "integer", "minimum": 0},
                                "at": {"type": "number"},
                            },
                        },
                    },
                },
            },
        },
    },
}
"""speedscope's file-format-spec.ts, as a schema."""


def held_to(document):
    """The schema, and what its comments promise: events in order, each frame closed inside the one it began in."""
    jsonschema.validate(document, SCHEMA)
    frames = document["shared"]["frames"]
    for one in document["profiles"]:
        at, opened = one["startValue"], []
        for event in one["events"]:
            assert event["at"] >= at
            at = event["at"]
            assert event["frame"] < len(frames)
            if event["type"] == "O":
                opened.append(event["frame"])
            else:
                assert opened.pop() == event["frame"]
        assert opened == []
        assert one["endValue"] >= at


@given(slices)
def test_any_slices_make_a_lawful_file(found):
    """Overlapping, empty, of one name: the file is lawful, and every slice opens once."""
    document = json.loads(speedscope_bytes(profile(timeline=tuple(found))))
    held_to(document)
    opened = sum(event["type"] == "O" for one in document["profiles"] for event in one["events"])
    assert opened == len(found)


def test_lanes_are_profiles():
    """One for each lane, in the order of the timeline, microseconds."""
    document = speedscope(profile())
    held_to(document)
    assert [one["name"] for one in document["profiles"]] == ["thread 1", "stream 7"]
    first = document["profiles"][0]["events"]
    assert [(e["type"], e["at"]) for e in first[:4]] == [("O", 1200), ("O", 1300), ("C", 1350), ("C", 4200)]


def test_a_slice_that_outlives_its_parent_is_cut():
    """On stream 7 the second kernel goes on behind the first, whose end cuts it."""
    lane = speedscope(profile())["profiles"][1]
    assert [(e["type"], e["at"]) for e in lane["events"]] == [
        ("O", 1400),
        ("O", 1500),
        ("C", 2300),
        ("C", 2300),
    ]


def test_the_check_can_fail():
    """A file whose frames do not nest is refused by the test's own check."""
    document = speedscope(profile())
    document["profiles"][0]["events"].reverse()
    try:
        held_to(document)
    except (AssertionError, IndexError):
        return
    raise AssertionError("an unlawful file was taken")
