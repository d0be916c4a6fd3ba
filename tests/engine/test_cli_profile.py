"""``penstock profile`` of trace files: the JSON's shape, tables, files, money, mistakes; all of it where torch cannot be imported."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.cli.main import run
from penstock.cli.profile import own_stdout
from penstock.engine.lab.document import document, encoded
from penstock.engine_wiring.asked import kind_of, sizes, variants_named
from tests.cli.terminal import Screen
from tests.engine import traces
from tests.engine.made import EVIL, profile
from tests.engine.test_profile_money_and_hops import ledger  # noqa: F401 - a fixture
from tests.engine.test_speedscope import held_to
from tests.house.source import SRC


@pytest.fixture
def screen(capsys, monkeypatch):
    """The command as it looks at a width."""
    return Screen(capsys, monkeypatch)


DEVICE = (
    "name", "kernels", "device_events", "correlated", "span_ms", "busy_share", "host_wait_ms", "kernel_wait_ms",
    "other_wait_ms",
)  # fmt: skip


def shown(capsys, *words):
    """The command's JSON: the whole of stdout."""
    assert run(["profile", *words, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys, *words):
    """What the command says to a mistake; nothing of it on stdout."""
    assert run(["profile", *words]) == 1
    caught = capsys.readouterr()
    assert caught.out == ""
    assert "Traceback" not in caught.err
    return caught.err


@pytest.fixture(scope="session")
def without_torch(tmp_path_factory):
    """An environment in which importing torch, or what stands on it, raises."""
    folder = tmp_path_factory.mktemp("no-torch")
    for name in ("torch", "diffusers", "transformers", "numpy"):
        (folder / f"{name}.py").write_text("raise ImportError('no such thing here')\n")
    return {"PATH": os.environ["PATH"], "PYTHONPATH": f"{folder}:{SRC.parent}", "HOME": str(folder)}


def called(environ, *words, cwd=None):
    """The command as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "penstock", "profile", *words],
        env=environ, capture_output=True, text=True, timeout=50, check=False, cwd=cwd,
    )  # fmt: skip


@pytest.mark.parametrize("name", traces.ALL)
def test_a_trace_file_needs_no_torch(name, without_torch, tmp_path):
    """Its JSON is all of stdout, in the promised shape; progress is on stderr."""
    files = ("--report", "out.html", "--speedscope", "out.json")
    done = called(without_torch, str(traces.path(name)), "--json", *files, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    held_to(json.loads((tmp_path / "out.json").read_text(encoding="utf-8")))
    assert (tmp_path / "out.html").stat().st_size < 4_000_000
    told = json.loads(done.stdout)
    assert list(told)[:4] == ["device", "stages", "kernels", "findings"]
    assert set(DEVICE) <= set(told["device"])
    assert told["kernels"]
    assert all({"name", "count", "total_ms", "op", "module"} <= set(row) for row in told["kernels"])
    for one in told["findings"]:
        assert {"id", "title", "evidence", "saves_ms", "fix"} <= set(one)
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", one["id"])
    saves = [one["saves_ms"] for one in told["findings"]]
    assert saves == sorted(saves, key=lambda ms: (ms is None, -(ms or 0)))
    assert "reading the trace" in done.stderr
    top = [row for row in told["stages"] if not row["parent"]]
    assert abs(sum(row["wall_ms"] for row in top) - told["wall_ms"]) <= 0.03 * told["wall_ms"]
    assert top[-1]["name"] == "unattributed"


def test_what_needs_torch_says_so(without_torch, tmp_path):
    """Not a traceback."""
    (tmp_path / "mine.py").write_text("def build():\n    pass\n")
    done = called(without_torch, "mine.py:build", cwd=tmp_path)
    assert done.returncode == 1
    assert "penstock[engine]" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_tables(screen, tmp_path):
    """Stages with the residual and their cost, kernels with op and module; unreliable attribution is said."""
    code, out = screen.show(
        160, "profile", str(traces.path(traces.H100)), "--usd-per-hour", "2.49", "--top", "3"
    )
    assert code == 0
    for word in (
        "unattributed",
        "exposed host",
        "GPU busy",
        "$0.0000",
        "launched by",
        "aten::addmm",
        "H100",
        "--top N",
    ):
        assert word in out, word
    code, out = screen.show(160, "profile", str(traces.path(traces.REPLAY)))
    assert code == 0
    assert "unreliable" in out


def test_a_narrow_terminal_has_who_launched_a_kernel(screen):
    """In 80 columns it stands below the kernel's name, and no line is longer than the terminal."""
    code, out = screen.show(80, "profile", str(traces.path(traces.H100)), "--top", "3")
    assert code == 0
    assert "by aten::addmm in Linear" in out
    assert "┃ launched by" not in out
    assert "exposed host" in out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80


def test_a_file_that_is_not_there_is_told_before_torch_is_loaded(without_torch, tmp_path):
    """Its import takes seconds."""
    done = called(without_torch, "nowhere.py:build", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("There is no file nowhere.py")


@pytest.mark.parametrize("columns", [160, 100, 60, 40])
def test_money_is_never_cut(screen, columns):
    """However narrow the terminal, the total stands there whole."""
    _, out = screen.show(columns, "profile", str(traces.path(traces.H100)), "--usd-per-hour", "2.49")
    whole = re.search(r"One run costs (\$[\d.]+)\.", " ".join(out.split()))
    assert whole
    assert out.count(whole[1]) >= 2


def test_a_price_of_the_configuration(capsys, tmp_path):
    """``--compute`` is that of penstock.yaml; costs of the stages sum to the run's, to the nano-dollar."""
    config = tmp_path / "penstock.yaml"
    config.write_text(
        "providers: {openai: {keys: [{value: env.K}]}}\ncompute: {h100: {usd_per_hour: 2.49}}\n"
    )
    told = shown(capsys, str(traces.path(traces.H100)), "--config", str(config), "--compute", "h100")
    assert told["cost_nusd"] == round(told["wall_ms"] * 2.49e9 / 3_600_000)
    top = [row for row in told["stages"] if not row["parent"]]
    assert sum(row["cost_nusd"] for row in top) == told["cost_nusd"]
    said = refused(capsys, str(traces.path(traces.H100)), "--config", str(config), "--compute", "h200")
    assert "There is no compute 'h200'. Known: h100." in said
    said = refused(capsys, str(traces.path(traces.H100)), "--usd-per-hour", "cheap")
    assert "no decimal price" in said


def test_the_files(capsys, tmp_path):
    """The report is a page about this trace, the export is lawful; each is said on stderr."""
    report, scope = tmp_path / "out.html", tmp_path / "out.json"
    words = [str(traces.path(traces.H100)), "--report", str(report), "--speedscope", str(scope)]
    told = shown(capsys, *words)
    held_to(json.loads(scope.read_text(encoding="utf-8")))
    text = report.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert told["device"]["name"] in text
    assert told["kernels"][0]["op"] in text


def test_mistakes_are_told(capsys, tmp_path):
    """Each with what to write instead, before anything is run."""
    trace = str(traces.path(traces.H100))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    (tmp_path / "no.json").write_text("{}")
    (tmp_path / "zero.json").write_text("")
    (tmp_path / "cut.json").write_text('{"traceEvents": [{"ph": "X", "name": "a", "ts": 1')
    (tmp_path / "word.json").write_text('{"traceEvents": [{"ph": "X", "na')
    (tmp_path / "comma.json").write_text('{"traceEvents": [{} {}]}')
    (tmp_path / "log").mkdir()
    (tmp_path / "log/worker.1.pt.trace.json").write_text("{}")
    cases = {
        "nothing to profile at 'liner'": ["liner"],
        "Add --generate": [str(tmp_path / "model")],
        "neither a pipeline nor a model": [str(tmp_path)],
        "does not understand 'big'": ["mlp", "--shape", "big"],
        "no dtype 'int9'": ["mlp", "--dtype", "int9"],
        "does not know 'faster'": ["mlp", "--compare", "eager,faster"],
        "--shape changes nothing": [trace, "--shape", "1,2"],
        "--tokens is for a generator": ["mlp", "--tokens", "4"],
        "cannot be written": [trace, "--report", str(tmp_path / "no" / "out.html")],
        "no.json": [str(tmp_path / "no.json")],
        "zero.json is empty": [str(tmp_path / "zero.json")],
        "cut.json is cut short": [str(tmp_path / "cut.json")],
        "word.json is cut short": [str(tmp_path / "word.json")],
        "comma.json is not JSON": [str(tmp_path / "comma.json")],
        "Name one of them: penstock profile": [str(tmp_path / "log")],
        "There is no file nowhere.py. Relative paths start in": ["nowhere.py:build"],
        "There is no ledger": ["--trace", "x", "--db", str(tmp_path / "none.db")],
        "--shapes 0 is too small": ["mlp", "--shapes", "0"],
        "is no name for a trace": ["mlp", "--capture", str(tmp_path / "out.txt")],
    }
    for word, words in cases.items():
        assert word in refused(capsys, *words), word
    assert run(["profile"]) == 2
    assert "name what to profile" in capsys.readouterr().err


def test_targets_are_told_apart(tmp_path):
    """By what they are, not by what they are called."""
    (tmp_path / "pipe").mkdir()
    (tmp_path / "pipe/model_index.json").write_text("{}")
    (tmp_path / "text").mkdir()
    (tmp_path / "text/config.json").write_text("{}")
    (tmp_path / "a.json").write_text("{}")
    assert kind_of("geglu", generate=False) == "tour"
    assert kind_of(str(tmp_path / "pipe"), generate=False) == "pipeline"
    assert kind_of(str(tmp_path / "text"), generate=True) == "generator"
    assert kind_of(str(tmp_path / "a.json"), generate=False) == "trace"
    (tmp_path / "mine.py").write_text("")
    assert kind_of(f"{tmp_path / 'mine.py'}:build", generate=False) == "module"
    assert kind_of("package.mine:build", generate=False) == "module"
    assert sizes("64x128x768") == sizes("64,128,768") == (64, 128, 768)
    assert variants_named("compile,kernels") == ("eager", "compile", "kernels")


def test_the_request_s_waterfall(ledger, capsys, screen):  # noqa: F811 - the fixture
    """``--trace`` alone is the ledger's waterfall; with a capture its stages stand inside."""
    told = shown(capsys, "--trace", "render-1", "--db", ledger)
    names = [hop["name"] for hop in told["hops"] if not hop["parent"]]
    assert names == ["HTTP plan", "text_encoder", "denoise", "vae", "encode", "keep"]
    assert "queue" in [hop["name"] for hop in told["hops"]]
    tops = [hop["cost_nusd"] for hop in told["hops"] if not hop["parent"]]
    assert told["cost_nusd"] == sum(tops)
    code, out = screen.show(140, "profile", "--trace", "render-1", "--db", ledger)
    assert code == 0
    assert all(word in out for word in ("HTTP plan", "  queue", "own/h100", "$0.0010375", "denoise"))
    told = shown(capsys, str(traces.path(traces.H100)), "--trace", "render-1", "--db", ledger)
    inside = [hop for hop in told["hops"] if hop["source"] == "profile"]
    denoise = next(hop for hop in told["hops"] if hop["name"] == "denoise")
    assert {hop["parent"] for hop in inside} == {denoise["key"]}
    assert sum(hop["cost_nusd"] for hop in inside) == denoise["cost_nusd"]
    assert "There is nothing" not in refused(capsys, "--trace", "render-9", "--db", ledger)


def test_the_document_holds_everything_but_the_bars():
    """Every field of the record, numbers short, NaN never."""
    told = document(profile())
    assert "timeline" not in told
    assert told["kernels"][0]["name"] == EVIL
    assert json.loads(encoded(profile())) == told
    assert {"variants", "hops", "roofline", "machine", "timing", "trace_ids"} <= set(told)


def test_what_profiled_code_prints_is_not_on_stdout(capfd):
    """Neither from Python nor from below it; afterwards stdout is stdout again."""
    with own_stdout():
        print("from Python")
        os.write(1, b"from below\n")
    print("the profile")
    caught = capfd.readouterr()
    assert caught.out == "the profile\n"
    assert "from Python" in caught.err
    assert "from below" in caught.err


def test_help_loads_neither_traces_nor_torch():
    """``--help`` answers at once."""
    script = (
        "import sys\nfrom penstock.cli.main import run\n"
        "try:\n    run(['profile', '--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in sys.modules if m in ('torch', 'penstock.engine.measure.trace', 'yaml')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True,
        env={"PYTHONPATH": str(SRC.parent)}, cwd=Path(SRC).parent,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_output_is_written_over_the_input_or_another_output(tmp_path, monkeypatch, capsys):
    """However the path is written; nothing is touched."""
    held = traces.path(traces.ALL[0]).read_bytes()
    name = "o" + "".join(traces.path(traces.ALL[0]).suffixes)
    (tmp_path / name).write_bytes(held)
    (tmp_path / "link.json").symlink_to(tmp_path / name)
    (tmp_path / "m.py").write_text("def build(): ...\n")
    monkeypatch.chdir(tmp_path)
    for words in (
        (name, "--speedscope", name),
        (name, "--report", f"./{name}"),
        (name, "--speedscope", str(tmp_path / "link.json")),
        (name, "--report", "out", "--speedscope", f"../{tmp_path.name}/out"),
        ("m.py:build", "--report", "m.py"),
        ("m.py:build", "--speedscope", "new.json", "--capture", "new.json"),
    ):
        assert "written over" in refused(capsys, *words)
    assert (tmp_path / name).read_bytes() == held
    assert {path.name for path in tmp_path.iterdir()} == {name, "link.json", "m.py"}
