"""``/admin/cache`` and ``penstock cache``, at a gateway whose audits are real and whose model is a fake."""

import asyncio
import contextlib
import io
import json
import os
import sys
from typing import NamedTuple
from unittest import mock

import pytest
from rich.console import Console

from penstock.base.errors import BadRequest
from penstock.base.events import fold
from penstock.blobs.blob import Stats
from penstock.cache.semantic.binomial import lower, upper
from penstock.cli import cache_stats
from penstock.cli.main import run
from penstock.gateway.caching.office import CacheOffice, Figures
from tests.behaviours.gateway import SECRETS, THREE_DIALECTS, WAIT_S, Gateway, chat, running_gateway
from tests.cache.test_audits_auditor import CENT, Clock, Desk, FakeModel, a_hit
from tests.server.process import command

ADMIN = {"authorization": f"Bearer {SECRETS['ADMIN_KEY']}"}
CONFIG = (
    THREE_DIALECTS
    + """
server: {admin_key: env.ADMIN_KEY}
virtual_keys: [{name: website, key: env.CALLER_KEY}]
"""
)


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Kept:
    """What an office does to stores, written down."""

    def __init__(self):
        self.purged = []
        self.filled = []

    async def purge(self, **what):
        self.purged.append({name: value for name, value in what.items() if value is not None})
        return 3

    async def fill(self, inbound, principal, events, namespace):
        text = fold(list(events)).text
        if not text:
            raise BadRequest("An empty answer is not kept.")
        self.filled.append((json.loads(inbound.body), principal.name, text, namespace))
        return f"ce-{len(self.filled)}"


class Place:
    """A gateway, and what stands behind its office."""

    def __init__(self, gateway: Gateway, folder):
        self.gateway = gateway
        self.folder = folder
        self.kept = Kept()
        self.desk: Desk | None = None

    def do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.gateway.loop).result(WAIT_S)

    def begin(self, *answers, hits=1, **options):
        """Hits that were audited: each fresh answer in turn."""

        async def made():
            desk = self.desk = Desk(FakeModel(*answers), path=self.folder / f"a{id(answers)}", **options)
            await desk.auditor.start()
            for n in range(hits):
                desk.auditor.served(a_hit(n))
                await desk.auditor.idle()
            self.gateway.running.app.cache = CacheOffice(
                clock=Clock(),
                stores=lambda: [Stats("memory", 7, 4096, 2)],
                figures=lambda: Figures({"hit-exact": 30, "hit-semantic": 10, "miss": 60}, 12 * CENT, 1),
                purge=self.kept.purge,
                evict=desk._evict,
                auditor=desk.auditor,
                fill=self.kept.fill,
                lower=lower,
                upper=upper,
            )

        self.do(made())

    def end(self):
        self.gateway.running.app.cache = None
        if self.desk is not None:
            self.do(self.desk.auditor.aclose())
            self.desk = None

    def get(self, path):
        return self.gateway.get(f"/admin/cache/{path}", ADMIN)

    def post(self, path, body):
        return self.gateway.post(body, f"/admin/cache/{path}", ADMIN)

    def command(self, *words, told=""):
        """``penstock cache WORDS`` against this gateway."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, {"PENSTOCK_ADMIN_KEY": SECRETS["ADMIN_KEY"]}),
            mock.patch.object(sys, "stdin", io.StringIO(told)),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            status = run(["cache", *words, "--url", self.gateway.url])
        return Ended(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with running_gateway(tmp_path_factory.mktemp("pages"), CONFIG) as gateway:
        yield gateway


@pytest.fixture
def place(running, tmp_path):
    made = Place(running, tmp_path)
    with contextlib.ExitStack() as stack:
        stack.callback(made.end)
        yield made


def test_without_a_cache_it_says_so(place):
    for path in ("stats", "report", "audits", "audits/au-1"):
        answer = place.get(path)
        assert (answer.status, answer.error["code"]) == (404, "cache_off")
    env = {"PENSTOCK_ADMIN_KEY": SECRETS["ADMIN_KEY"]}
    ended = command("cache", "stats", "--url", place.gateway.url, env=env)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "keeps no answers" in ended.stderr


@pytest.mark.parametrize("path", ["stats", "report", "audits", "audits/au-1"])
def test_reading_needs_the_admin_key(place, path):
    assert place.gateway.get(f"/admin/cache/{path}").status == 401
    assert (
        place.gateway.get(f"/admin/cache/{path}", {"authorization": "Bearer vk-caller-000000000006"}).status
        == 403
    )


@pytest.mark.parametrize("path", ["audits/au-1", "purge", "warm"])
def test_changing_needs_the_admin_key(place, path):
    place.begin("Call us.")
    key = {"authorization": "Bearer vk-caller-000000000006"}
    assert place.gateway.post({"all": True}, f"/admin/cache/{path}").status == 401
    assert place.gateway.post({"all": True}, f"/admin/cache/{path}", key).status == 403
    assert (place.kept.purged, place.kept.filled) == ([], [])


def test_stats(place):
    place.begin("Call us.", "Use the app.", hits=2)
    stats = place.get("stats").json()
    assert stats["tiers"] == [{"tier": "memory", "entries": 7, "bytes": 4096, "evicted": 2}]
    assert (stats["answers"]["miss"], stats["saved_usd"], stats["faults"]) == (60, "0.12", 1)
    (klass,) = stats["classes"]
    assert (klass["class"], klass["looks"], klass["hits"], klass["hit_rate"], klass["threshold"]) == (
        "support",
        2,
        2,
        1.0,
        0.94,
    )
    audits = stats["audits"]
    assert (audits["open"], audits["audited"], audits["right"], audits["spent_today_usd"]) == (
        1,
        2,
        1,
        "0.02",
    )
    said = place.command("stats").stdout
    assert "hit-exact: 30 (30.00 %)" in said
    assert "0.9400, configured" in said
    assert "1 open, $0.02 spent today of $1.00" in said


def test_a_verdict_by_the_api(place):
    place.begin("Use the app.")
    (audit,) = place.get("audits").json()["data"]
    assert (audit["state"], audit["cached_answer"], audit["fresh_answer"]) == (
        "open",
        "Call us.",
        "Use the app.",
    )
    judged = place.gateway.post(
        {"verdict": "wrong"}, f"/admin/cache/audits/{audit['id']}", {**ADMIN, "x-penstock-operator": "ann"}
    )
    assert (judged.json()["state"], judged.json()["by"]) == ("wrong", "ann (admin key)")
    assert place.desk.evicted == ["ce-1"]
    assert place.get("audits").json()["data"] == []
    assert [one["id"] for one in place.get("audits?state=wrong").json()["data"]] == [audit["id"]]
    one = place.get(f"audits/{audit['id']}").json()
    assert [hit["request_id"] for hit in one["served_to"]] == ["gen-0"]


@pytest.mark.parametrize("body", [{"verdict": "maybe"}, {}, {"verdict": "right", "x": 1}, b"{"])
def test_a_verdict_that_is_none(place, body):
    place.begin("Use the app.")
    (audit,) = place.get("audits").json()["data"]
    assert place.post(f"audits/{audit['id']}", body).status == 400
    assert place.get("audits").json()["data"][0]["state"] == "open"


@pytest.mark.parametrize("query", ["state=x", "limit=0", "limit=501", "limit=x", "before=-1", "before="])
def test_a_question_that_makes_no_sense(place, query):
    place.begin("Call us.")
    assert place.get(f"audits?{query}").status == 400
    assert place.get("report?days=99").status == 400


def test_an_audit_that_is_not_there(place):
    place.begin("Call us.")
    answer = place.post("audits/au-none", {"verdict": "right"})
    assert (answer.status, answer.error["code"]) == (404, "no_such_audit")
    ended = place.command("audit", "--verdict", "au-none=right")
    assert ended.returncode == 1
    assert "There is no audit 'au-none'." in ended.stderr


def test_a_person_judges_side_by_side(place):
    """right, wrong, skip, and what is no answer is asked again; words on stderr, the sum on stdout."""
    place.begin("Use the app.", hits=3)
    ended = place.command("audit", told="x\nr\nw\ns\n")
    assert ended.returncode == 0, ended.stderr
    assert "1 right, 1 wrong, 1 skipped." in ended.stdout
    assert ended.stderr.count("[r]ight") == 4
    for words in ("How do I cancel my card?", "How can I cancel a card?", "Call us.", "Use the app.", "slot"):
        assert words in ended.stdout
    states = [one["state"] for one in place.get("audits?state=all").json()["data"]]
    assert sorted(states) == ["open", "right", "wrong"]


def test_quitting_leaves_the_rest_open(place):
    place.begin("Use the app.", hits=3)
    assert place.command("audit", told="q\n").returncode == 0
    assert len(place.get("audits").json()["data"]) == 3


def test_where_nobody_can_be_asked_all_is_shown(place):
    place.begin("Use the app.", hits=2)
    ended = place.command("audit")
    assert ended.returncode == 0
    assert ended.stdout.count("How do I cancel my card?") == 2
    assert len(place.get("audits").json()["data"]) == 2


def test_programs_list_and_judge(place):
    place.begin("Use the app.", hits=2)
    rows = json.loads(place.command("audit", "--json").stdout)
    assert [row["state"] for row in rows] == ["open", "open"]
    words = [f"--verdict={rows[0]['id']}=wrong", f"--verdict={rows[1]['id']}=right"]
    judged = json.loads(place.command("audit", *words, "--json").stdout)
    assert [one["state"] for one in judged] == ["wrong", "right"]
    for wrong in ("au-1", "au-1=maybe", "=right"):
        ended = place.command("audit", "--verdict", wrong)
        assert ended.returncode == 1
        assert "--verdict takes" in ended.stderr


def test_the_report_has_exact_bounds(place):
    """Ten audits, one wrong and one open: right in the lower bound, wrong in the upper one."""
    place.begin(*["Call us."] * 8, "Use the app.", "Use the app.", hits=10)
    audits = place.get("audits").json()["data"]
    place.post(f"audits/{audits[0]['id']}", {"verdict": "wrong"})
    (row,) = place.get("report").json()["classes"]
    assert (row["audited"], row["right"], row["wrong"], row["open"], row["hits"]) == (10, 8, 1, 1, 10)
    assert row["wrong_rate"] == pytest.approx(1 / 9)
    assert row["low"] == pytest.approx(lower(1, 10, 0.025))
    assert row["high"] == pytest.approx(upper(2, 10, 0.025))
    said = place.command("audit", "--report").stdout
    assert "11.11 %" in said
    assert f"{lower(1, 10, 0.025) * 100:.2f} % to {upper(2, 10, 0.025) * 100:.2f} %" in said
    assert json.loads(place.command("audit", "--report", "--json").stdout)["days"] == 7


def test_a_report_of_nothing(place):
    place.begin(hits=0)
    assert place.get("report").json()["classes"] == []
    assert "Nothing was looked up." in place.command("audit", "--report").stdout


def test_purging_what_is_named(place):
    place.begin("Call us.")
    assert place.post("purge", {"tenant": "website", "tag": "v1"}).json() == {
        "object": "cache.purge",
        "purged": 3,
    }
    assert place.post("purge", {"all": True}).json()["purged"] == 3
    assert place.kept.purged == [{"tenant": "website", "tag": "v1"}, {}]
    place.post("purge", {"entry": "ce-1"})
    assert place.desk.evicted == ["ce-1"]
    ended = place.command("purge", "--model", "openai/gpt-4o-mini")
    assert ended.stdout == "3 answers were dropped.\n"
    assert place.kept.purged[-1] == {"model": "openai/gpt-4o-mini"}


@pytest.mark.parametrize(
    "body", [{}, {"all": True, "tag": "x"}, {"entry": "ce-1", "tag": "x"}, {"tenants": "x"}]
)
def test_a_purge_that_says_not_what(place, body):
    place.begin("Call us.")
    assert place.post("purge", body).status == 400
    assert place.kept.purged == []


@pytest.mark.parametrize("words", [[], ["--all", "--tag", "x"]])
def test_the_command_asks_what_to_purge(place, words):
    ended = place.command("purge", *words)
    assert ended.returncode == 1
    assert "--all" in ended.stderr


def test_warming_with_answers_and_without(place, tmp_path):
    """Given answers are filled in; a request without one is made, for the key and at its charge."""
    place.begin("Call us.")
    lines = [
        {"request": chat("openai/gpt-4o-mini", "where?"), "answer": "In Bonn."},
        {"request": chat("openai/gpt-4o-mini", "when?")},
        {"request": chat("openai/gpt-4o-mini", "who?"), "answer": ""},
        {"request": chat("nobody/nothing", "why?")},
    ]
    file = tmp_path / "q.jsonl"
    file.write_text("\n\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    ended = place.command("warm", str(file), "--key", "website", "--namespace", "n1")
    assert ended.returncode == 1
    assert ended.stdout == "2 of 4 are kept.\n"
    assert "line 5: An empty answer is not kept." in ended.stderr
    assert "line 7:" in ended.stderr
    ((body, who, text, namespace),) = place.kept.filled
    assert (body, who, text, namespace) == (lines[0]["request"], "website", "In Bonn.", "n1")
    (sent,) = place.gateway.sim.requests
    assert json.loads(sent.body)["messages"] == lines[1]["request"]["messages"]


def test_warming_for_a_key_that_is_none_is_said(place, tmp_path):
    """The virtual key is at fault, not the admin key."""
    place.begin("Call us.")
    file = tmp_path / "q.jsonl"
    file.write_text(json.dumps({"request": chat("openai/gpt-4o-mini", "where?")}), encoding="utf-8")
    said = place.command("warm", str(file), "--key", "nobody").stderr
    assert "There is no virtual key 'nobody'" in said
    assert "Name another with --key." in said
    assert "admin-key" not in said
    assert "(--key)" in place.command("warm", str(file)).stderr


@pytest.mark.parametrize("line", ["{", "[]", '{"answer": "x"}', '{"request": []}'])
def test_a_file_that_cannot_be_used_names_its_line(place, line):
    ended = place.command("warm", "-", told=f"\n{line}\n")
    assert ended.returncode == 1
    assert "line 2" in ended.stderr


@pytest.mark.parametrize("body", [{"calls": []}, {"calls": [{}]}, {}, {"calls": [{"request": {}, "x": 1}]}])
def test_warming_with_nothing(place, body):
    place.begin("Call us.")
    assert place.post("warm", {"key": "website", **body}).status == 400


def test_warming_for_nobody(place):
    place.begin("Call us.")
    answer = place.post("warm", {"key": "gone", "calls": [{"request": chat("openai/gpt-4o-mini")}]})
    assert (answer.status, answer.error["code"]) == (403, "key_expired")
    answer = place.post("warm", {"calls": [{"request": chat("openai/gpt-4o-mini")}]})
    assert (answer.status, answer.error["param"]) == (400, "key")


BAD = [
    "{",
    '{"request": []}',
    '{"request": {}, "anwser": "x"}',
    '{"request": {}, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}',
]
BAD += [
    '{"request": {}, "answer": "x", "usage": {"prompt_tokens": -1, "completion_tokens": 1}}',
    '{"request": {}, "answer": 3}',
]


def test_all_bad_lines_are_told_and_nothing_is_sent(place):
    """Each with its number and why, before anything is done; a misspelt field is one."""
    place.begin("Call us.")
    good = json.dumps({"request": chat("openai/gpt-4o-mini", "where?"), "answer": "In Bonn."})
    file = "\n".join([good, *BAD, good])
    ended = place.command("warm", "-", "--key", "website", told=file)
    assert ended.returncode == 1
    told = [line.partition(":") for line in ended.stderr.splitlines() if line.startswith("line ")]
    assert [number for number, _, _ in told] == [f"line {n}" for n in range(2, 8)]
    assert all(why.strip() for _, _, why in told)
    assert "anwser" in told[2][2]
    assert "--skip-bad" in ended.stderr
    assert place.kept.filled == []


def test_the_good_lines_are_kept_where_that_is_asked_for(place):
    place.begin("Call us.")
    lines = [
        json.dumps({"request": chat("openai/gpt-4o-mini", f"{n}?"), "answer": "In Bonn."}) for n in range(2)
    ]
    words = ("warm", "-", "--key", "website", "--skip-bad")
    ended = place.command(*words, told="\n".join([lines[0], *BAD, lines[1]]))
    assert (ended.returncode, ended.stdout) == (1, "2 of 8 are kept.\n")
    assert ended.stderr.count("line ") >= 6
    assert len(place.kept.filled) == 2
    rows = json.loads(place.command(*words, "--json", told="\n".join([BAD[0], lines[0]])).stdout)
    assert [(row["line"], row["error"] is None) for row in rows] == [(1, False), (2, True)]


def test_the_gateway_is_named_by_the_environment_too(place, monkeypatch):
    """As the meter's is: PENSTOCK_URL, unless --url says otherwise."""
    place.begin("Call us.")
    monkeypatch.setenv("PENSTOCK_ADMIN_KEY", SECRETS["ADMIN_KEY"])
    monkeypatch.setenv("PENSTOCK_URL", place.gateway.url)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run(["cache", "purge", "--all"]) == 0
    assert "dropped" in out.getvalue()
    monkeypatch.setenv("PENSTOCK_URL", "http://127.0.0.1:1")
    assert place.command("purge", "--all").returncode == 0, "--url wins"


def test_long_names_of_classes_break_nothing(place):
    """Each stands whole on a line of its own, in a narrow window, too."""
    long = (
        "key:website|"
        + "a-very-long-namespace-" * 8
        + "|openai/gpt-4o-mini|minilm-l6-int8-v1-0123456789abcdef"
    )
    place.begin("Call us.")
    stats = place.get("stats").json()
    (row,) = stats["classes"]
    stats["classes"] = [{**row, "class": long}, row]
    console = Console(width=60, force_terminal=True, color_system=None)
    with console.capture() as seen:
        cache_stats._classes(console, stats)
    lines = seen.get().splitlines()
    assert [line.strip() for line in lines].count(long) == 1
    others = [line for line in lines if long not in line]
    assert others
    assert max(map(len, others)) <= 60
    assert "serves from 0.9400, configured" in " ".join(" ".join(others).split())
