"""Batches that go to a provider's own batch service: through the official clients, with the simulator as the provider."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from penstock.cli.main import run
from penstock.simulate import Scenario, running_simulator
from tests.behaviours.gateway import MODELS, SECRETS, Gateway, at, running_gateway
from tests.later.test_files_batches import begun, client_of, ended, jsonl, line, results

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
  gemini:
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{sim}/p/gemini", retry: {max_retries: 0}}
  other:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/other/v1", retry: {max_retries: 0}}
virtual_keys:
  - {name: alice, key: env.CALLER_KEY}
  - {name: poor, key: env.OTHER_CALLER_KEY, budgets: [{name: day, limit_usd: 0.02, period: day}]}
batches: {resubmit_after_s: 1, native: auto}
"""
CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages/batches"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(
        tmp_path_factory.mktemp("native"), CONFIG, scenario=Scenario(batch_delay_s=0.4)
    ) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with client_of(gateway) as made:
        yield made


def asked(gateway: Gateway, path: str, method: str = "POST") -> list[Any]:
    """What a provider was asked at this path."""
    return [one for one in gateway.sim.requests if one.path.endswith(path) and one.method == method]


def same(model: str, count: int) -> list[dict[str, Any]]:
    return [line(f"c{n}", model, f"say {n}", max_tokens=40) for n in range(count)]


def messages_done(client: anthropic.Anthropic, name: str) -> Any:
    until_s = time.monotonic() + 15
    while (done := client.messages.batches.retrieve(name)).processing_status != "ended":
        assert time.monotonic() < until_s, done
        time.sleep(0.03)
    return done


def test_the_simulators_batches_satisfy_the_official_clients():
    """Straight at it: a file, a batch, its results; and Anthropic's."""
    with running_simulator(Scenario(batch_delay_s=0.2)) as sim:
        with openai.OpenAI(base_url=f"{sim.url}/v1", api_key="any", max_retries=0) as client:
            batch = begun(client, [line("a", "gpt-4o-mini"), line("b", "gpt-4o-mini", nonsense=1)])
            assert (batch.status, batch.request_counts.total) == ("in_progress", 2)
            done = ended(client, batch.id)
            assert (done.request_counts.completed, done.request_counts.failed) == (1, 1)
            assert results(client, done.output_file_id)[0]["custom_id"] == "a"
            assert results(client, done.error_file_id)[0]["response"]["status_code"] == 400
            assert ended(client, begun(client, [line("a", "x"), line("b", "y")]).id).status == "failed"
            cut = client.batches.cancel(begun(client, same("gpt-4o-mini", 4)).id)
            assert len(results(client, ended(client, cut.id).output_file_id)) == 2
        with anthropic.Anthropic(base_url=sim.url, api_key="any", max_retries=0) as client:
            requests: Any = [
                {
                    "custom_id": f"m{n}",
                    "params": {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
                }
                for n in range(3)
            ]  # fmt: skip
            batch = client.messages.batches.create(requests=requests)
            done = messages_done(client, batch.id)
            assert done.request_counts.succeeded == 3
            assert {one.custom_id for one in client.messages.batches.results(batch.id)} == {"m0", "m1", "m2"}


def test_a_batch_of_one_model_goes_to_the_provider_at_half_price(gateway: Gateway, client: openai.OpenAI):
    """One upload, one creation, no call; each line is an entry, priced as the batch tier is."""
    lines = [*same(MODELS["openai"], 6), line("bad", MODELS["openai"], nonsense=1)]
    batch = begun(client, lines, metadata={"of": "test"})
    done = ended(client, batch.id)
    assert (done.status, done.penstock_road, done.penstock_provider) == ("completed", "native", "openai")
    assert done.metadata == {"of": "test"}
    assert (done.request_counts.completed, done.request_counts.failed) == (6, 1)
    assert (len(asked(gateway, "/files")), len(asked(gateway, "/batches"))) == (1, 1)
    assert asked(gateway, "/chat/completions") == []
    good = results(client, done.output_file_id)
    assert [one["custom_id"] for one in good] == [f"c{n}" for n in range(6)]
    for one in good:
        body = one["response"]["body"]
        assert body["model"] == MODELS["openai"]
        entry = gateway.entry(one["response"]["request_id"])
        assert (entry.service_tier, entry.klass, entry.trace_id) == ("batch", "delivered", batch.id)
        # gpt-4o-mini in batches: $0.075 and $0.30 per million (catalogue, 2026-11-21).
        usage = body["usage"]
        assert entry.cost_nusd == usage["prompt_tokens"] * 75 + usage["completion_tokens"] * 300
    bad = results(client, done.error_file_id)
    assert bad[0]["custom_id"] == "bad"
    assert bad[0]["response"]["status_code"] == 400
    record = gateway.ledger(bad[0]["response"]["request_id"])
    assert (record.entries[0].klass, record.entries[0].cost_nusd) == ("failed", 0)


def test_why_a_batch_is_run_here_is_said(gateway: Gateway, client: openai.OpenAI):
    """Several models, several providers, no service, no batch price, the caller's wish, a refusal of the provider's."""
    chat = MODELS["openai"]

    def why(lines: list[Any], **more: Any) -> str:
        done = ended(client, begun(client, lines, **more).id)
        assert (done.status, done.penstock_road) == ("completed", "own")
        assert done.request_counts.completed == len(lines)
        return done.penstock_reason

    assert "one model" in why([line("a", chat), line("b", "openai/gpt-4o")])
    assert "several providers" in why([line("a", chat), line("b", MODELS["anthropic"])])
    assert "no batch service" in why([line("a", "other/some-model")])
    assert "own was asked for" in why([line("a", chat)], extra_headers={"x-penstock-batch": "own"})
    assert "completion_window" in why([line("a", chat)], window="1h")
    assert asked(gateway, "/batches") == []
    assert "token_limit_exceeded" in why([line("a", chat, "FAIL_BATCH")])
    assert len(asked(gateway, "/batches")) == 1
    gateway.faults(at("openai", "status", status=403, count=1))
    assert "does not take it" in why([line("a", chat)])
    done = ended(client, begun(client, [line("a", chat), line("b", "no/such")]).id)
    assert "line 2" in done.penstock_reason
    with pytest.raises(openai.BadRequestError, match="x-penstock-batch"):
        begun(client, [line("a", chat)], extra_headers={"x-penstock-batch": "mine"})


def test_a_native_batch_is_cancelled_and_keeps_what_was_answered(gateway: Gateway, client: openai.OpenAI):
    """The provider is told once; its half is kept and paid, the rest is said to be cancelled."""
    batch = begun(client, same(MODELS["openai"], 8))
    until_s = time.monotonic() + 10
    while not asked(gateway, "/batches"):
        assert time.monotonic() < until_s
        time.sleep(0.01)
    client.batches.cancel(batch.id)
    done = ended(client, batch.id)
    assert done.status == "cancelled"
    good, bad = results(client, done.output_file_id), results(client, done.error_file_id)
    assert (len(good), len(bad)) == (4, 4)
    assert {one["error"]["code"] for one in bad} == {"batch_cancelled"}
    assert len(asked(gateway, "/cancel")) == 1
    assert gateway.entry(good[0]["response"]["request_id"]).service_tier == "batch"


def test_a_provider_that_fails_between_is_asked_again_and_given_nothing_twice(
    gateway: Gateway, client: openai.OpenAI
):
    """A creation whose answer was lost is looked for by our name."""
    batch = begun(client, same(MODELS["openai"], 3))
    until_s = time.monotonic() + 10
    while not asked(gateway, "/batches"):
        assert time.monotonic() < until_s
        time.sleep(0.002)
    gateway.faults(at("openai", "status", status=503, count=2))
    done = ended(client, batch.id)
    assert (done.status, done.request_counts.completed) == ("completed", 3)
    assert (len(asked(gateway, "/batches")), len(asked(gateway, "/files"))) == (1, 1)


def test_money_is_held_for_all_lines_and_settled_by_each(gateway: Gateway):
    """What cannot be held at once is run line by line; what can is paid at the batch price."""
    with client_of(gateway, "OTHER_CALLER_KEY") as poor:
        dear = [line(f"c{n}", MODELS["openai"], max_tokens=16_000) for n in range(10)]
        done = ended(poor, begun(poor, dear).id)
        assert done.penstock_road == "own"
        assert "cannot be held at once" in done.penstock_reason
        done = ended(poor, begun(poor, same(MODELS["openai"], 5)).id)
        assert done.penstock_road == "native"
        names = [one["response"]["request_id"] for one in results(poor, done.output_file_id)]
        assert len(names) == 5
        cost = sum(gateway.entry(name).cost_nusd or 0 for name in names)
        assert cost > 0
        principal = gateway.house.doors.named("poor")
        assert principal is not None
        assert principal.allowance is not None
        assert principal.allowance.purse is not None
        account = principal.allowance.purse.path.accounts[0]
        bucket = gateway.inside(lambda: principal.allowance.purse.path.at(time.time())[0])  # type: ignore[union-attr]
        assert account.spec.limit_nusd == 20_000_000
        assert bucket.committed == bucket.spent  # nothing is held any more
        assert bucket.spent >= cost


def test_anthropics_batches_take_both_kinds(gateway: Gateway, client: openai.OpenAI):
    """Messages as they are, chat lines translated; in the order of the input, at the batch price."""
    model = MODELS["anthropic"]
    with anthropic.Anthropic(base_url=gateway.url, api_key=SECRETS["CALLER_KEY"], max_retries=0) as messages:
        requests: Any = [
            {
                "custom_id": f"m {n}",
                "params": {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": f"say {n}"}]},
            }
            for n in range(5)
        ]  # fmt: skip
        batch = messages.messages.batches.create(requests=requests)
        done = messages_done(messages, batch.id)
        assert (done.request_counts.succeeded, done.penstock_road) == (5, "native")  # type: ignore[attr-defined]
        found = list(messages.messages.batches.results(batch.id))
        assert [one.custom_id for one in found] == [f"m {n}" for n in range(5)]
        assert all(one.result.type == "succeeded" and one.result.message.model == model for one in found)
        cut = messages.messages.batches.create(requests=requests)
        until_s = time.monotonic() + 10
        while len(asked(gateway, MESSAGES)) < 2:
            assert time.monotonic() < until_s
            time.sleep(0.01)
        messages.messages.batches.cancel(cut.id)
        counts = messages_done(messages, cut.id).request_counts
        assert (counts.succeeded, counts.canceled) == (2, 3)
    done = ended(client, begun(client, same(model, 4)).id)
    assert (done.penstock_road, done.penstock_provider, done.request_counts.completed) == (
        "native",
        "anthropic",
        4,
    )
    assert len(asked(gateway, MESSAGES)) == 3
    assert [one for one in gateway.sim.requests if one.path.endswith("/v1/messages")] == []
    for one in results(client, done.output_file_id):
        body = one["response"]["body"]
        assert body["choices"][0]["message"]["content"]
        entry = gateway.entry(one["response"]["request_id"])
        # claude-haiku-4-5 in batches: $0.50 and $2.50 per million (catalogue, 2026-11-21).
        usage = body["usage"]
        assert entry.cost_nusd == usage["prompt_tokens"] * 500 + usage["completion_tokens"] * 2500


def test_geminis_batches_are_files_of_lines(gateway: Gateway, client: openai.OpenAI):
    """Translated lines and one that fails; by their keys, as the results come in another order; at the batch price."""
    model = MODELS["gemini"]
    lines = [*same(model, 5), line("bad", model, "x", temperature=9)]
    done = ended(client, begun(client, lines).id)
    assert (done.status, done.penstock_road, done.penstock_provider) == ("completed", "native", "gemini")
    assert (done.request_counts.completed, done.request_counts.failed) == (5, 1)
    uploads, made = asked(gateway, "/files?uploadType=multipart"), asked(gateway, ":batchGenerateContent")
    assert (len(uploads), len(made)) == (1, 1)
    assert json.loads(made[0].body)["batch"]["displayName"] == done.id
    assert asked(gateway, ":generateContent") == []
    good = results(client, done.output_file_id)
    assert [one["custom_id"] for one in good] == [f"c{n}" for n in range(5)]
    for one in good:
        body = one["response"]["body"]
        assert body["model"] == model
        assert body["choices"][0]["message"]["content"]
        entry = gateway.entry(one["response"]["request_id"])
        # gemini-2.5-flash in batches: $0.15 and $1.25 per million (catalogue, 2026-11-21).
        usage = body["usage"]
        assert entry.service_tier == "batch"
        assert entry.cost_nusd == usage["prompt_tokens"] * 150 + usage["completion_tokens"] * 1250
    bad = results(client, done.error_file_id)
    assert (bad[0]["custom_id"], bad[0]["response"]["status_code"]) == ("bad", 400)


def test_geminis_batches_are_cancelled_refused_and_for_one_model(gateway: Gateway, client: openai.OpenAI):
    """A cancelled one gives nothing; a refused one is run here."""
    model = MODELS["gemini"]
    batch = begun(client, same(model, 4))
    until_s = time.monotonic() + 10
    while not asked(gateway, ":batchGenerateContent"):
        assert time.monotonic() < until_s
        time.sleep(0.01)
    client.batches.cancel(batch.id)
    done = ended(client, batch.id)
    assert (done.status, done.request_counts.completed) == ("cancelled", 0)
    bad = results(client, done.error_file_id)
    assert {one["error"]["code"] for one in bad} == {"batch_cancelled"}
    done = ended(client, begun(client, [line("a", model, "FAIL_BATCH")]).id)
    assert (done.penstock_road, done.request_counts.completed) == ("own", 1)
    assert "refused the batch" in done.penstock_reason
    done = ended(client, begun(client, [line("a", model), line("b", "gemini/gemini-2.5-pro")]).id)
    assert "one model" in done.penstock_reason


def left_of(batch: Any) -> str:
    return batch.penstock_provider_files or ""


def test_what_is_left_at_a_provider_is_removed_once_all_is_kept(gateway: Gateway, client: openai.OpenAI):
    """Files of OpenAI's and Gemini's, batches of Anthropic's and Gemini's; after the last look at them."""
    for name, gone in (("openai", 3), ("gemini", 3), ("anthropic", 1)):
        gateway.fresh()
        lines = [
            *same(MODELS[name], 2),
            *([line("bad", MODELS[name], nonsense=1)] if name == "openai" else []),
        ]
        batch = begun(client, lines)
        until_s = time.monotonic() + 10
        while left_of(done := client.batches.retrieve(batch.id)) != "removed":
            assert time.monotonic() < until_s, done
            time.sleep(0.02)
        assert (done.status, done.request_counts and done.request_counts.completed) == ("completed", 2)
        deletes = [one for one in gateway.sim.requests if one.method == "DELETE"]
        assert [one.status for one in deletes] == [200] * gone
        read = [n for n, one in enumerate(gateway.sim.requests) if one.method == "GET"]
        assert max(read) < min(n for n, one in enumerate(gateway.sim.requests) if one.method == "DELETE")


def test_what_cannot_be_removed_is_tried_again_and_shown(
    gateway: Gateway,
    client: openai.OpenAI,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    """A provider that fails meanwhile holds up no result."""
    batch = begun(client, same(MODELS["openai"], 2))
    until_s = time.monotonic() + 10
    while not [one for one in gateway.sim.requests if one.path.endswith("/content")]:
        assert time.monotonic() < until_s
        time.sleep(0.002)
    gateway.faults(at("openai", "status", status=503))
    done = ended(client, batch.id)
    assert done.status == "completed"
    while "503" not in (shown := left_of(client.batches.retrieve(batch.id))):
        assert time.monotonic() < until_s, shown
        time.sleep(0.02)
    assert "to be removed" in shown
    monkeypatch.setenv("THE_KEY", SECRETS["CALLER_KEY"])
    assert run(["batches", "--url", gateway.url, "--key", "env.THE_KEY", batch.id]) == 0
    assert "At the provider: file-" in capsys.readouterr().out
    gateway.faults()
    while left_of(client.batches.retrieve(batch.id)) != "removed":
        assert time.monotonic() < until_s + 10
        time.sleep(0.02)


@pytest.mark.parametrize("wish", ["own", "native"])
def test_embeddings_and_moderations_are_lines_too(gateway: Gateway, client: openai.OpenAI, wish: str):
    """By our own runner, and by the provider's: moderations have no batch price, and go there where that is asked for."""
    for endpoint, model in (
        ("/v1/embeddings", "openai/text-embedding-3-small"),
        ("/v1/moderations", "openai/omni-moderation-latest"),
        ("/v1/embeddings", "gemini/gemini-embedding-001"),
    ):
        lines = [
            {"custom_id": f"e{n}", "method": "POST", "url": endpoint, "body": {"model": model, "input": f"words {n}"}}
            for n in range(4)
        ]  # fmt: skip
        file = client.files.create(file=("lines.jsonl", jsonl(lines)), purpose="batch")
        asked_for: Any = endpoint
        batch = client.batches.create(
            input_file_id=file.id,
            endpoint=asked_for,
            completion_window="24h",
            extra_headers={"x-penstock-batch": wish},
        )
        done = ended(client, batch.id)
        assert (done.status, done.request_counts.completed, done.penstock_road) == ("completed", 4, wish)  # type: ignore[attr-defined]
        rows = results(client, done.output_file_id)
        assert [one["custom_id"] for one in rows] == [f"e{n}" for n in range(4)]
        for one in rows:
            body = one["response"]["body"]
            assert body["data"][0]["embedding"] if "data" in body else body["results"][0]["categories"]
            entry = gateway.entry(one["response"]["request_id"])
            assert entry.service_tier == ("batch" if wish == "native" else "") or entry.service_tier is None


def test_a_batch_that_is_deleted_here_is_removed_there_first(gateway: Gateway):
    """Also where removing had failed before."""
    with anthropic.Anthropic(base_url=gateway.url, api_key=SECRETS["CALLER_KEY"], max_retries=0) as client:
        requests: Any = [
            {
                "custom_id": "m",
                "params": {"model": MODELS["anthropic"], "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
            }
        ]  # fmt: skip
        batch = client.messages.batches.create(requests=requests)
        until_s = time.monotonic() + 10
        while not [one for one in gateway.sim.requests if one.path.endswith("/results")]:
            assert time.monotonic() < until_s
            time.sleep(0.002)
        gateway.faults(at("anthropic", "status", status=500))
        while "500" not in left_of(client.messages.batches.retrieve(batch.id)):
            assert time.monotonic() < until_s
            time.sleep(0.02)
        gateway.faults()
        client.messages.batches.delete(batch.id)
        deleted = [one for one in gateway.sim.requests if one.method == "DELETE" and one.status == 200]
        assert len(deleted) == 1
        with pytest.raises(anthropic.NotFoundError):
            client.messages.batches.retrieve(batch.id)


def test_vertex_batches_need_a_bucket_and_are_run_here(tmp_path: Path):
    """With the reason; also where they are wished for."""
    with running_gateway(tmp_path, CONFIG) as gateway, client_of(gateway) as client:
        account = gateway.sim.make_service_account(tmp_path)
        vertex = f"""
  vertex:
    project: simulated-project
    location: global
    credentials: file:{account}
    network: {{base_url: "{gateway.sim.url}/p/vertex", retry: {{max_retries: 0}}}}
virtual_keys:"""
        assert gateway.reload(CONFIG.replace("\nvirtual_keys:", vertex)) == []
        lines = [line("a", "vertex/gemini-2.5-flash")]
        done = ended(client, begun(client, lines, extra_headers={"x-penstock-batch": "native"}).id)
        assert (done.status, done.penstock_road, done.request_counts.completed) == ("completed", "own", 1)
        assert "bucket" in done.penstock_reason
        assert done.penstock_provider_files is None


def test_never_is_never(tmp_path: Path):
    """The operator's word stands above the caller's."""
    with (
        running_gateway(tmp_path, CONFIG.replace("native: auto", "native: never")) as gateway,
        client_of(gateway) as client,
    ):
        batch = begun(client, [line("a", MODELS["openai"])], extra_headers={"x-penstock-batch": "native"})
        done = ended(client, batch.id)
        assert (done.penstock_road, done.penstock_reason) == ("own", "batches.native is never")
        assert asked(gateway, "/batches") == []
        assert json.loads(gateway.sim.requests[-1].body)["model"] == "gpt-4o-mini"


def test_the_command_shows_batches(
    gateway: Gateway,
    client: openai.OpenAI,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    """All of a key, one with its reason, as JSON; and what is wrong."""
    own = ended(
        client, begun(client, [line("a", MODELS["openai"])], extra_headers={"x-penstock-batch": "own"}).id
    )
    ended(client, begun(client, same(MODELS["openai"], 2)).id)
    monkeypatch.setenv("THE_KEY", SECRETS["CALLER_KEY"])
    where = ["batches", "--url", gateway.url, "--key", "env.THE_KEY"]
    assert run([*where, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(one["penstock_road"], one["request_counts"]["completed"]) for one in rows[:2]] == [
        ("native", 2),
        ("own", 1),
    ]
    assert run([*where, own.id]) == 0
    shown = capsys.readouterr().out
    assert "own was asked for" in shown
    assert "the gateway" in shown
    assert run(["batches", "--url", gateway.url]) == 1
    assert "--key" in capsys.readouterr().err
