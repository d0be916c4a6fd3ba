"""The exact tier end to end: what shares an answer, what never does, how it is replayed, and what the ledger says.

Behaviour 39, and the peers' failures of which the exact tier is the place (each named where it is kept from).
"""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from penstock.cli.main import main
from penstock.simulate import Profile, Scenario
from penstock.wire.large import take_apart
from tests.behaviours.gateway import THREE_DIALECTS, Gateway, chat, running_gateway

MODEL = "openai/gpt-4o-mini"
CONFIG = (
    THREE_DIALECTS
    + """
virtual_keys:
  - {name: alice, key: env.CALLER_KEY, models: ["*"], rate_limit: {requests_per_minute: 6000}}
  - {name: bob, key: env.OTHER_CALLER_KEY, models: ["*"]}
fallbacks:
  - {primary: openai/gpt-4o, secondary: backup/gpt-4o}
cache:
  exact: {enabled: true, ttl_seconds: 3600}
"""
)
ALICE = {"authorization": "Bearer vk-caller-000000000006"}
BOB = {"authorization": "Bearer vk-other-000000000007"}


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(
        tmp_path_factory.mktemp("cache"), CONFIG, scenario=Scenario(profiles={"*": Profile(output_tokens=20)})
    ) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _fresh(cached: Gateway) -> None:
    cached.fresh()


def asked(cached: Gateway) -> int:
    """How many requests reached providers."""
    return len(cached.sim.requests)


def said(answer: Any) -> str:
    return answer.headers.get("x-penstock-cache", "")


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_request_is_answered_once(cached: Gateway, stream: bool):
    """The second reply is the first one's words, with an id of its own, at no cost; the third comes by the quick way."""
    body = chat(MODEL, f"the same {stream}", stream=stream)
    first, second, third = (cached.post(body, headers=ALICE) for _ in range(3))
    assert [said(answer) for answer in (first, second, third)] == ["miss", "hit-exact", "hit-exact"]
    assert asked(cached) == 1
    assert first.text() == second.text() == third.text() != ""
    assert len({first.request_id, second.request_id, third.request_id}) == 3
    for hit in (second, third):
        assert hit.headers["x-penstock-cost-usd"] == "0"
        assert hit.headers["x-penstock-cache-entry"].startswith("ce-")
        assert int(hit.headers["x-penstock-cache-age"]) >= 0
        assert hit.request_id.encode() in hit.body
        entry = cached.entry(hit.request_id)
        assert (entry.klass, entry.cost_nusd, entry.provider, entry.model) == (
            "cache_hit",
            0,
            "openai",
            "gpt-4o-mini",
        )
        assert entry.saved_nusd == cached.entry(first.request_id).cost_nusd > 0
        notes = [note for note in cached.story(hit.request_id)["happenings"] if note["what"] == "cache"]
        assert notes[0]["code"] == "hit-exact"
    if stream:
        assert second.done
        assert third.done


def test_a_stream_and_a_whole_reply_share_an_entry(cached: Gateway):
    """Kept once, replayed both ways."""
    first = cached.post(chat(MODEL, "share", stream=True), headers=ALICE)
    whole = cached.post(chat(MODEL, "share"), headers=ALICE)
    again = cached.post(chat(MODEL, "share", stream=True), headers=ALICE)
    assert [said(one) for one in (first, whole, again)] == ["miss", "hit-exact", "hit-exact"]
    assert first.text() == whole.text() == again.text()
    assert whole.json()["usage"]["completion_tokens"] > 0


def test_an_entry_is_replayed_in_any_dialect(cached: Gateway):
    """OpenAI's client asks, Anthropic's gets the same answer in its own words."""
    with (
        openai.OpenAI(api_key="vk-caller-000000000006", base_url=f"{cached.url}/v1", max_retries=0) as one,
        anthropic.Anthropic(api_key="vk-caller-000000000006", base_url=cached.url, max_retries=0) as other,
    ):
        messages: Any = [{"role": "user", "content": "in any dialect"}]
        first = one.chat.completions.create(model=MODEL, messages=messages, max_tokens=100)
        got = other.messages.with_raw_response.create(model=MODEL, messages=messages, max_tokens=100)
        assert got.headers["x-penstock-cache"] == "hit-exact"
        block = got.parse().content[0]
        assert block.type == "text"
        assert block.text == first.choices[0].message.content
        with other.messages.stream(model=MODEL, messages=messages, max_tokens=100) as stream:
            assert stream.get_final_text() == block.text
        assert asked(cached) == 1


def test_tenants_never_see_one_another__litellm_26992_vllm_sr_1448(cached: Gateway):
    """Each key asks for itself."""
    body = chat(MODEL, "my balance is secret")
    assert said(cached.post(body, headers=ALICE)) == "miss"
    assert said(cached.post(body, headers=BOB)) == "miss"
    assert said(cached.post(body, headers=BOB)) == "hit-exact"
    assert asked(cached) == 2


def test_namespaces_are_partitions__litellm_19575(cached: Gateway):
    """What one namespace has, another has not."""
    body = chat(MODEL, "in a namespace")
    red, blue = ({**ALICE, "x-penstock-cache-namespace": name} for name in ("red", "blue"))
    assert [said(cached.post(body, headers=h)) for h in (red, red, blue, ALICE, blue)] == [
        "miss", "hit-exact", "miss", "miss", "hit-exact",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.9},
        {"max_tokens": 7},
        {"seed": 7},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": False},
            }
        },
        {"messages": [{"role": "user", "content": "Ls"}]},
        {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "ls"}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "ls"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                    ],
                }
            ]
        },
        {"model": "openai/gpt-4o"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_the_answer_is_another_entry__kong_litellm_bifrost_portkey(
    cached: Gateway, change: dict[str, Any]
):
    """Temperature, tools, images, the system prompt, upper and lower case."""
    cached.post(chat(MODEL, "ls"), headers=ALICE)
    assert said(cached.post(chat(MODEL, "ls"), headers=ALICE)) == "hit-exact"
    assert said(cached.post(chat(MODEL, "ls") | change, headers=ALICE)) == "miss"


def test_what_changes_nothing_is_the_same_entry__bifrost_2791_3190(cached: Gateway):
    """Order of keys, blanks, who asks through the caller: byte-identical requests always hit."""
    one = b'{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"order"}],"max_tokens":900}'
    two = b'{"max_tokens": 900, "user": "u-1", "messages": [{"content": "order", "role": "user"}], "model": "openai/gpt-4o-mini"}'
    assert said(cached.post(one, headers=ALICE)) == "miss"
    for _ in range(3):
        assert said(cached.post(two, headers=ALICE)) == "hit-exact"
        assert said(cached.post(one, headers=ALICE)) == "hit-exact"
    assert asked(cached) == 1


def test_errors_are_never_kept__vllm_sr_2130(cached: Gateway):
    """A provider's error is not replayed as an answer."""
    cached.faults({"kind": "status", "status": 500})
    assert cached.post(chat(MODEL, "broken"), headers=ALICE).status == 502
    cached.fresh()
    good = cached.post(chat(MODEL, "broken"), headers=ALICE)
    assert (good.status, said(good)) == (200, "miss")


@pytest.mark.parametrize("text", ["FILTER_ANSWER", "REFUSE_ANSWER"])
def test_filtered_and_refused_answers_are_never_kept(cached: Gateway, text: str):
    """Another try may do better."""
    for _ in range(2):
        assert said(cached.post(chat(MODEL, text), headers=ALICE)) == "miss"


def test_truncated_answers_are_never_kept(cached: Gateway):
    """Neither what stopped at its cap, nor a stream that broke off."""
    body = chat(MODEL, "SAY_TOKENS 50", max_tokens=5)
    for _ in range(2):
        answer = cached.post(body, headers=ALICE)
        assert (said(answer), answer.finish()) == ("miss", "length")


def test_an_aborted_stream_is_not_kept(cached: Gateway):
    """Its caller hung up in the middle."""
    body = chat(MODEL, "hung up on")
    cached.faults({"kind": "stall", "after": 3, "forever": True})
    with cached.stream(body, headers=ALICE) as stream:
        stream.until(b"content")
    cached.fresh()
    assert said(cached.post(body | {"stream": True}, headers=ALICE)) == "miss"


def test_an_answer_of_a_fallback_is_not_kept(cached: Gateway):
    """Good enough for now, not for an hour."""
    cached.faults({"kind": "status", "status": 500, "when": {"providers": ["openai"]}})
    body = chat("openai/gpt-4o", "fell back")
    answer = cached.post(body, headers=ALICE)
    assert answer.headers["x-penstock-provider"] == "backup"
    cached.fresh()
    assert said(cached.post(body, headers=ALICE)) == "miss"


def test_a_hit_survives_an_outage(cached: Gateway):
    """The provider is down, the breaker is open: what is kept is served."""
    body = chat(MODEL, "while it is down")
    cached.post(body, headers=ALICE)
    cached.faults({"kind": "status", "status": 500})
    for n in range(6):
        cached.post(chat(MODEL, f"fails {n}"), headers=ALICE)
    answer = cached.post(body, headers=ALICE)
    assert (answer.status, said(answer)) == (200, "hit-exact")


def test_the_caller_may_opt_out(cached: Gateway):
    """off: neither looked up nor kept, and the provider sees nothing of it; the 4 % of the brief."""
    body = chat(MODEL, "opted out")
    off = {**ALICE, "x-penstock-cache": "off"}
    answers = [cached.post(body, headers=off) for _ in range(2)]
    assert [said(answer) for answer in answers] == ["bypass", "bypass"]
    assert said(cached.post(body, headers=ALICE)) == "miss"
    by_body = cached.post(body | {"penstock": {"cache": {"mode": "off"}}}, headers=ALICE)
    assert said(by_body) == "bypass"
    assert asked(cached) == 4
    assert all(b"penstock" not in received.body for received in cached.sim.requests)


def test_refresh_asks_again_and_keeps_the_new_answer(cached: Gateway):
    """And no-store keeps nothing."""
    body = chat(MODEL, "refreshed")
    entries = []
    for mode in ({}, {}, {"x-penstock-cache": "refresh"}, {}):
        answer = cached.post(body, headers={**ALICE, **mode})
        entries.append((said(answer), answer.headers.get("x-penstock-cache-entry")))
    assert [how for how, _ in entries] == ["miss", "hit-exact", "miss", "hit-exact"]
    assert entries[1][1] != entries[3][1]
    secret = chat(MODEL, "not stored")
    for _ in range(2):
        assert said(cached.post(secret, headers={**ALICE, "x-penstock-cache-no-store": "true"})) == "miss"


def test_only_never_asks_a_provider(cached: Gateway):
    """A miss is a 404 that says so."""
    body = chat(MODEL, "only from the cache")
    answer = cached.post(body, headers={**ALICE, "x-penstock-cache": "only"})
    assert (answer.status, answer.error["code"]) == (404, "cache_miss")
    assert asked(cached) == 0
    cached.post(body, headers=ALICE)
    assert said(cached.post(body, headers={**ALICE, "x-penstock-cache": "only"})) == "hit-exact"


def test_a_control_that_means_nothing_is_refused(cached: Gateway):
    """It names the header, and reaches no provider."""
    answer = cached.post(chat(MODEL), headers={**ALICE, "x-penstock-cache": "of"})
    assert answer.status == 400
    assert answer.error["param"] == "x-penstock-cache"
    assert asked(cached) == 0


def test_a_hit_takes_a_request_of_the_rate_and_no_tokens(cached: Gateway):
    """Limits hold for hits as well."""
    body = chat(MODEL, "rates")
    first = cached.post(body, headers=ALICE)
    hits = [cached.post(body, headers=ALICE) for _ in range(2)]
    left = [int(answer.headers["x-ratelimit-remaining-requests"]) for answer in (first, *hits)]
    assert all(number <= 5999 for number in left), "each of them has taken one"


def test_a_life_is_absolute_and_may_be_shortened(cached: Gateway):
    """A caller who wants nothing older than a second gets nothing older."""
    body = chat(MODEL, "a short life")
    now = cached.house.clock.unix_s()
    cached.post(body, headers=ALICE)
    caching = cached.house.caching

    class Later:
        def unix_s(self) -> float:
            return now + 3599

    assert caching is not None
    held, caching.means.clock = caching.means.clock, Later()  # type: ignore[attr-defined] - the cache's own clock
    try:
        tight = {**ALICE, "x-penstock-cache-ttl": "60"}
        assert said(cached.post(body, headers={**tight, "x-penstock-cache": "only"})) == "miss"
        assert said(cached.post(body, headers={**ALICE, "x-penstock-cache": "exact"})) == "hit-exact"
    finally:
        caching.means.clock = held  # type: ignore[attr-defined] - the same


def test_embeddings_are_kept_too(cached: Gateway):
    """The same vectors, for no cost."""
    body = {"model": "openai/text-embedding-3-small", "input": ["one", "two"]}
    first = cached.post(body, "/v1/embeddings", headers=ALICE)
    second = cached.post(body, "/v1/embeddings", headers=ALICE)
    assert [said(first), said(second)] == ["miss", "hit-exact"]
    for one, other in zip(first.json()["data"], second.json()["data"], strict=True):
        assert other["embedding"] == pytest.approx(one["embedding"], abs=1e-6)


def test_counts_are_told(cached: Gateway):
    """Prometheus hears of hits and of what they saved."""
    cached.post(chat(MODEL, "counted"), headers=ALICE)
    cached.post(chat(MODEL, "counted"), headers=ALICE)
    text = cached.get("/metrics").body.decode()
    assert 'penstock_cache_calls_total{result="hit-exact"}' in text
    assert "penstock_cache_saved_nusd_total" in text


def test_nothing_is_cached_unless_it_is_configured(tmp_path):
    """Without the block there is no header, and every call goes out."""
    with running_gateway(tmp_path, THREE_DIALECTS) as gateway:
        answers = [gateway.post(chat(MODEL, "off by default")) for _ in range(2)]
        assert [said(answer) for answer in answers] == ["", ""]
        assert len(gateway.sim.requests) == 2
        assert gateway.house.caching is None


def test_answers_outlive_the_process(tmp_path):
    """They lie in a file beside the ledger."""
    body = chat(MODEL, "kept on disk")
    config = THREE_DIALECTS + "\ncache: {exact: {enabled: true}}\n"
    with running_gateway(tmp_path, config) as gateway:
        first = gateway.post(body)
    with running_gateway(tmp_path, config) as gateway:
        second = gateway.post(body)
        assert said(second) == "hit-exact"
        assert second.text() == first.text() != ""
        assert len(gateway.sim.requests) == 0


def test_a_reload_switches_it_off_and_on(tmp_path):
    """What was kept is there again."""
    config = THREE_DIALECTS + "\ncache: {exact: {enabled: true}}\n"
    body = chat(MODEL, "over a reload")
    with running_gateway(tmp_path, config) as gateway:
        gateway.post(body)
        assert gateway.reload(THREE_DIALECTS) == []
        assert said(gateway.post(body)) == ""
        assert gateway.reload(config) == []
        assert said(gateway.post(body)) == "hit-exact"


def test_a_paced_replay_keeps_the_rhythm(tmp_path):
    """The provider's pauses are there again, cut short: the stream comes in pieces, and is the same."""
    config = THREE_DIALECTS + "\ncache: {exact: {enabled: true}, replay: paced}\n"
    slow = Scenario(profiles={"*": Profile(ttft_ms=20, tokens_per_s=50, output_tokens=12)})
    with running_gateway(tmp_path, config, scenario=slow) as gateway:
        first = gateway.post(chat(MODEL, "in rhythm", stream=True))
        again = gateway.post(chat(MODEL, "in rhythm", stream=True))
        assert said(again) == "hit-exact"
        assert len(again.pieces) > 3
        assert again.text() == first.text()
        assert again.done
        entry = gateway.entry(again.request_id)
        assert (entry.klass, entry.status) == ("cache_hit", 200)


def test_of_a_large_body_every_byte_is_in_the_key(cached: Gateway) -> None:
    """It is taken apart (base.bulk): what stands in its place tells it from any other, and cannot be written by a caller."""
    pdf = base64.b64encode(b"%PDF-1.4\n" + bytes(range(256)) * 4_000).decode()

    def body(data: str) -> dict[str, Any]:
        file = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{data}"}
        return {"model": MODEL, "messages": [{"role": "user", "content": [{"type": "file", "file": file}]}]}

    other = f"{pdf[:500_000]}XX{pdf[500_002:]}"
    said_of = [said(cached.post(body(data), headers=ALICE)) for data in (pdf, pdf, other, pdf, other)]
    assert said_of == ["miss", "hit-exact", "miss", "hit-exact", "hit-exact"]
    apart = take_apart(json.dumps(body(pdf)).encode(), b"messages")
    assert apart is not None
    forged = json.loads(apart.slim)
    assert len(apart.slim) < 10_000
    assert said(cached.post(forged, headers=ALICE)) == "miss"
    assert cached.sent()["messages"] == forged["messages"]


def test_the_bill_says_what_was_saved(cached: Gateway, capsys: pytest.CaptureFixture[str]):
    """``penstock cost`` has a column for it, and programs a field."""
    body = chat(MODEL, "what was saved")
    first, hit = cached.post(body, headers=ALICE), cached.post(body, headers=ALICE)
    cached.stored(hit.request_id)
    db = str(cached.config.parent / "ledger.db")
    with pytest.raises(SystemExit, match="0"):
        main(["cost", "--db", db, "--by", "class", "--json"])
    told = json.loads(capsys.readouterr().out)
    rows = {row["class"]: row for row in (told if isinstance(told, list) else told["rows"])}
    assert rows["cache_hit"]["cost_nusd"] == 0
    assert rows["cache_hit"]["saved_nusd"] >= cached.entry(first.request_id).cost_nusd > 0
    with pytest.raises(SystemExit, match="0"):
        main(["cost", "--db", db, "--by", "class"])
    assert "saved" in capsys.readouterr().out


def test_calls_past_the_cache_keep_their_lane(cached: Gateway):
    """Who opts out is served as fast as without a cache: by express, told and counted all the same."""
    off = {**ALICE, "x-penstock-cache": "off"}
    before = bypassed(cached)
    answers = [cached.post(chat(MODEL, f"past it {n}"), headers=off) for n in range(6)]
    assert [said(answer) for answer in answers] == ["bypass"] * 6
    assert asked(cached) == 6
    for answer in answers:
        first = cached.story(answer.request_id)["happenings"][0]
        assert (first["what"], first["code"]) == ("cache", "asked-off")
    app = cached.running.app
    assert app is not None
    if app.take is not None:  # the native lane is built
        assert cached.inside(lambda: sum(one.calls for key, one in app.tallies.items() if key[3])) > 0
    assert bypassed(cached) - before == 6


def bypassed(cached: Gateway) -> int:
    found = re.search(
        r'penstock_cache_calls_total\{result="bypass"\} (\d+)', cached.get("/metrics").body.decode()
    )
    return 0 if found is None else int(found[1])


def test_only_asks_no_model_where_nothing_is_cached(tmp_path):
    """A reload that switches the cache off must not turn "no model is asked" into spending."""
    with running_gateway(tmp_path, THREE_DIALECTS) as gateway:
        only = gateway.post(chat(MODEL), headers={"x-penstock-cache": "only"})
        assert (only.status, only.error["code"]) == (404, "cache_miss")
        typo = gateway.post(chat(MODEL), headers={"x-penstock-cache": "of"})
        assert (typo.status, typo.error["param"]) == (400, "x-penstock-cache")
        assert len(gateway.sim.requests) == 0
        assert gateway.post(chat(MODEL), headers={"x-penstock-cache": "off"}).status == 200
