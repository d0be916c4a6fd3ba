"""Signatures that botocore makes for us pass a check that is written apart from it; nothing of the secret shows."""

import builtins
import sys
from calendar import timegm
from time import strptime
from typing import Any

import pytest

from penstock.base.endpoint import parse_base_url
from penstock.base.errors import ConfigFault
from penstock.net.aws_sign import AwsSigner
from penstock.simulate.aws_signature import check_signature
from penstock.simulate.reply import NO_QUIRKS, Call, Refused
from penstock.simulate.scenario import Profile, ProviderSettings
from penstock.wire.http import WireRequest

PAIR = "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PATH = b"/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Fx.y-v1%3A0/converse"


def request(path: bytes = PATH, body: bytes = b'{"a":1}') -> WireRequest:
    headers = [(b"content-type", b"application/json"), (b"accept", b"application/json")]
    return WireRequest(b"POST", path, headers, body, ("x-dropped",))


def received(wire: WireRequest, base: str, accepted: tuple[str, ...], **more: Any) -> Call:
    endpoint = parse_base_url(base)
    stamp = dict(wire.headers).get(b"x-amz-date", b"20260101T000000Z").decode()

    given: dict[str, Any] = {
        "headers": [(b"host", endpoint.authority), *wire.headers],
        "body": wire.body,
        "target": (endpoint.base_path + wire.path).decode(),
        "unix_s": timegm(strptime(stamp, "%Y%m%dT%H%M%SZ")),
    }
    given |= more
    return Call(
        method="POST", path="", query={}, dialect="bedrock", provider="b", json=None, model="m", key="k", stream=False,
        serial=1, settings=ProviderSettings(), profile=Profile(), quirks=NO_QUIRKS, prompts_seen={},
        known_token=lambda _: True, accepted=accepted, **given,
    )  # fmt: skip


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:8000/p/alpha", "https://bedrock-runtime.eu-west-1.amazonaws.com"]
)
@pytest.mark.parametrize("pair", [PAIR, f"{PAIR}:IQoJb3JpZ2lu/session+token=="])
def test_a_signature_fits_the_request_and_nothing_else(base: str, pair: str) -> None:
    """Path, body, host, time and token are covered; a change of any is refused."""
    signer = AwsSigner(parse_base_url(base), "eu-west-1", "$.keys")
    wire = signer.sign(request(), pair)
    assert wire.adjusted == ("x-dropped",)
    assert (wire.method, wire.path, wire.body) == (b"POST", PATH, b'{"a":1}')
    check_signature(received(wire, base, (pair,)))
    changed: list[dict[str, Any]] = [
        {"body": b'{"a":2}'},
        {"target": "/model/other/converse"},
        {"unix_s": 0},
        {"headers": [(b"host", b"elsewhere"), *wire.headers]},
        {"accepted": (pair.replace("EXAMPLEKEY", "OTHERKEY"),)},
    ]
    for change in changed:
        call = received(wire, base, (pair,))
        for name, value in change.items():
            setattr(call, name, value)
        with pytest.raises(Refused) as refused:
            check_signature(call)
        assert refused.value.status == 403


def test_nothing_of_the_secret_shows() -> None:
    """Not in headers, not in a repr; an API key is left alone."""
    signer = AwsSigner(parse_base_url("https://h"), "us-east-1", "$.keys")
    wire = signer.sign(request(), PAIR)
    secret = PAIR.partition(":")[2]
    assert secret.encode() not in b"".join(value for _, value in wire.headers)
    assert secret not in repr(signer) + repr(wire)
    bearer = request()
    bearer.headers.append((b"authorization", b"Bearer ABSK"))
    assert signer.sign(bearer, "ABSK") is bearer


def test_without_botocore_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration fault, at the keys."""
    for name in [name for name in sys.modules if name.startswith("botocore.")]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("botocore"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigFault) as fault:
        AwsSigner(parse_base_url("https://h"), "us-east-1", "$.providers.bedrock.keys")
    assert fault.value.path == "$.providers.bedrock.keys"
    assert "penstock[bedrock]" in fault.value.public()
