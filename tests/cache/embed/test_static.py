"""Static vectors: what they are made of, that they are off until they are there, and who makes them."""

import fcntl
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs penstock[semantic]")

from penstock.base.decisions import Rejected
from penstock.base.errors import OurFault
from penstock.cache.embed import distil, kept, static, weights
from penstock.cache.embed.minilm import MiniLM, open_minilm
from penstock.cache.embed.opening import open_prefilter
from penstock.cache.embed.static import Static
from penstock.config.schema_cache import SemanticCacheConfig
from tests.cache.embed import made
from tests.cache.embed.opened import source
from tests.house.source import ROOT

FORM = weights.Form(layers=1, heads=1, hidden=1, pieces=200, epsilon=0, window=9)
SOURCE = weights.Source(Path(), FORM, "w", "t")
TABLE = np.random.default_rng(3).normal(size=(FORM.pieces, distil.DIMENSIONS)).astype("<f2")
ENVIRON = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "SECRET": "sk-1"}
MAKES = f"""
import os, sys
from pathlib import Path
from penstock.cache.embed import kept
assert "SECRET" not in os.environ and os.environ["OMP_NUM_THREADS"] == "1"
with open(sys.argv[1] + "/times", "a") as file:
    file.write("made\\n")
kept.keep(Path(sys.argv[1]), {distil.build_of(SOURCE)!r}, {distil.SUFFIX!r}, bytes({TABLE.nbytes}))
"""


def pieces(text):
    """A letter a piece, between two marks."""
    return [101, *(ord(letter) for letter in text), 102]


def prefilter(folder, threshold=0.9):
    return Static(SOURCE, pieces, folder, threshold)


def until(true, seconds=40.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def vector(one, text):
    return np.frombuffer(one.embed(text), "<f4")


def test_a_text_is_the_sum_of_its_pieces(tmp_path):
    """Of unit length; a text of no piece is the unknown piece; what was kept is there at once."""
    kept.keep(tmp_path, distil.build_of(SOURCE), distil.SUFFIX, TABLE.tobytes())
    one = prefilter(tmp_path)
    one.start(ENVIRON)
    assert one.ready
    wanted = TABLE[[ord("a"), ord("b"), ord("b")]].astype(np.float64).sum(axis=0)
    assert np.allclose(vector(one, "abb"), wanted / np.linalg.norm(wanted), atol=1e-5)
    assert float(vector(one, "") @ vector(one, chr(100))) > 0.9999
    assert len(one.embed("abc")) == 4 * distil.DIMENSIONS == 4 * one.dimensions


def test_before_it_is_ready_it_says_so(tmp_path):
    """It gives no vector of anything."""
    one = prefilter(tmp_path)
    assert not one.ready
    with pytest.raises(OurFault, match="not ready"):
        one.embed("a")


def test_another_process_makes_it_once(tmp_path, monkeypatch):
    """Two that ask at the same time wait for one; it is told nothing of this process's secrets."""
    monkeypatch.setattr(static, "PROGRAM", (sys.executable, "-c", MAKES))
    monkeypatch.setattr(static, "_LOCK_S", 0.01)
    both = [prefilter(tmp_path), prefilter(tmp_path)]
    for one in both:
        one.start(ENVIRON)
    until(lambda: all(one.ready or one.failed for one in both))
    assert [one.failed for one in both] == ["", ""]
    assert (tmp_path / "times").read_text() == "made\n"
    assert [one.embed("ab") for one in both] == [
        bytes(4 * distil.DIMENSIONS)
    ] * 2  # that program's table has zeros
    for one in both:
        one.close()


def test_who_closes_gives_up_what_is_being_made(tmp_path, monkeypatch):
    """And whoever waits for another's work waits no longer."""
    started = tmp_path / "started"
    endless = f"import time; open({str(started)!r}, 'w').close(); time.sleep(600)"
    monkeypatch.setattr(static, "PROGRAM", (sys.executable, "-c", endless))
    one, other = prefilter(tmp_path), prefilter(tmp_path)
    one.start(ENVIRON)
    until(started.exists)
    other.start(ENVIRON)
    other.close()
    one.close()
    assert not one.ready
    assert not other.ready
    with (tmp_path / ".static.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody holds it any more


def test_what_cannot_be_made_is_told(tmp_path, monkeypatch):
    """The last line of what the program said; or why the folder will not do."""
    monkeypatch.setattr(
        static, "PROGRAM", (sys.executable, "-c", "import sys; sys.exit('first\\nno weights')")
    )
    one = prefilter(tmp_path)
    one.start(ENVIRON)
    until(lambda: one.failed)
    assert one.failed == "no weights"
    (tmp_path / "file").write_text("")
    two = prefilter(tmp_path / "file")
    two.start(ENVIRON)
    until(lambda: two.failed)
    assert "cannot be used" in two.failed


def test_a_table_of_another_size_is_not_taken(tmp_path, monkeypatch):
    """Nor one that was harmed."""
    monkeypatch.setattr(static, "PROGRAM", (sys.executable, "-c", ""))
    path = kept.keep(tmp_path, distil.build_of(SOURCE), distil.SUFFIX, TABLE.tobytes()[:-512])
    assert path is not None
    for _ in range(2):
        one = prefilter(tmp_path)
        one.start(ENVIRON)
        until(lambda one=one: one.failed)
        assert not one.ready
        path.write_bytes(TABLE.tobytes())


def test_a_stricter_threshold_spares_more():
    """``least`` follows what counts as a hit."""
    found = [prefilter(Path(), threshold).least for threshold in (0.0, 0.3, 0.8, 0.87, 0.9, 0.94, 0.99)]
    assert found == sorted(found)
    assert found[0] == 0
    assert found[4] == 0.73
    assert found[-1] == static._LEAST[-1]


def test_frequent_pieces_count_less():
    """Marks nothing at all, "the" less than a rare word, and the unknown piece little, but something."""
    found = distil.weights_of(30_522)
    assert found[0] == found[101] == found[998] == 0
    assert 0 < found[100] < found[1996] < found[5000] < found[30_000] < 1


def test_vectors_are_made_of_the_embedders_own(embedder):
    """Of the first 2,560 pieces alone: a year is nearer to years than to an army; no text is without a vector."""
    table = distil.distil(embedder, 2560).astype(np.float32)
    assert table.shape == (2560, distil.DIMENSIONS)

    def one(word):
        (piece,) = embedder.pieces(word)[1:-1]
        return table[piece] / np.linalg.norm(table[piece])

    for word, near, far in (("year", "years", "army"), ("city", "town", "music"), ("man", "woman", "water")):
        assert float(one(word) @ one(near)) > float(one(word) @ one(far))
    assert np.linalg.norm(table[100]) > 0
    assert not table[:100].any()


def test_the_program_keeps_what_it_made(tmp_path, monkeypatch):
    """Under the name that ``static`` looks for; without weights it says so and ends with 1."""
    known = source()
    monkeypatch.setattr(distil.os, "nice", lambda _: 0)
    monkeypatch.setattr(distil, "distil", lambda embedder, count: np.zeros((count, 1), "<f2"))
    assert distil.main(tmp_path) == 0
    path = kept.find(tmp_path, distil.build_of(known), distil.SUFFIX)
    assert path is not None
    assert path.stat().st_size == 2 * known.form.pieces
    monkeypatch.setattr(distil.weights, "find", lambda: Rejected("x", "No weights."))
    assert distil.main(tmp_path) == 1


def test_it_stops_when_who_started_it_has_gone(embedder, monkeypatch):
    """Before the next batch."""
    parents = iter([10, 10, 1])
    monkeypatch.setattr(distil.os, "getppid", lambda: next(parents))
    with pytest.raises(SystemExit):
        distil.distil(embedder, 1000)


def test_it_is_of_the_builtin_model_alone(tmp_path, embedder, monkeypatch):
    """``least`` is measured for no other; without a folder to keep it in there is none either."""
    other = weights.read(made.folder(tmp_path / "m"))
    assert isinstance(other, weights.Source)
    mine = open_minilm(other, None)
    assert isinstance(mine, MiniLM)
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    for asked, told, code in ((mine, environ, "prefilter-unknown"), (embedder, {}, "prefilter-homeless")):
        refused = open_prefilter(SemanticCacheConfig(), asked, environ=told)
        assert isinstance(refused, Rejected)
        assert refused.code == code
    rows = np.ones((source().form.pieces, distil.DIMENSIONS), "<f2")
    kept.keep(tmp_path / "penstock", distil.build_of(source()), distil.SUFFIX, rows.tobytes())
    taken = open_prefilter(SemanticCacheConfig(), embedder, environ=environ)
    assert isinstance(taken, Static)
    assert taken.ready
    assert math.isclose(float(np.linalg.norm(vector(taken, "hello there"))), 1, rel_tol=1e-5)
