"""What Bedrock's tests share: frames, targets, and botocore's own judgement of a request."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import botocore
import msgspec
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from penstock.base.models import ModelFacts, Target
from penstock.wire.eventstream import event_frame
from penstock.wire.http import WireRequest

HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
_DATA = Path(botocore.__file__).parent / "data/bedrock-runtime/2023-09-30/service-2.json.gz"
SERVICE = ServiceModel(json.loads(gzip.decompress(_DATA.read_bytes())))
SHAPE = SERVICE.operation_model("Converse").input_shape


def target(model: str = HAIKU, **facts: Any) -> Target:
    return Target("bedrock", model, "bedrock", ModelFacts("bedrock", model, **facts))


def event(name: str, value: dict[str, Any]) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return event_frame(headers, json.dumps(value).encode())


def exception(name: str, message: str) -> bytes:
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return event_frame(headers, json.dumps({"message": message}).encode())


def delta(index: int, **said: Any) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": said, "p": "abcd"})


def stream(*events: bytes, why: str = "end_turn", usage: dict[str, Any] | None = None) -> bytes:
    counted = usage or {"inputTokens": 5, "outputTokens": 3, "totalTokens": 8}
    return b"".join(
        (
            event("messageStart", {"role": "assistant"}),
            *events,
            event("messageStop", {"stopReason": why}),
            event("metadata", {"usage": counted, "metrics": {"latencyMs": 5}}),
        )
    )


def _unblobbed(value: Any, shape: Any) -> Any:
    """JSON as botocore's caller would have written it: blobs as bytes."""
    match shape.type_name:
        case "blob":
            return base64.b64decode(value, validate=True)
        case "structure" if not getattr(shape, "is_document_type", False):
            assert set(value) <= set(shape.members), (shape.name, sorted(set(value) - set(shape.members)))
            return {name: _unblobbed(one, shape.members[name]) for name, one in value.items()}
        case "list":
            return [_unblobbed(one, shape.member) for one in value]
        case _:
            return value


def check_shape(wire: WireRequest) -> dict[str, Any]:
    """The body; it must be valid input of Converse by botocore's own model (names, types, enums, lengths)."""
    body: dict[str, Any] = msgspec.json.decode(wire.body)
    given = {"modelId": "any", **_unblobbed(body, SHAPE)}
    report = ParamValidator().validate(given, SHAPE)
    assert not report.has_errors(), report.generate_report()
    return body
