"""What is built is kept whole or not at all, and read back only unharmed."""

import os

import pytest

from penstock.cache.embed import kept


def test_what_was_kept_is_found(tmp_path):
    """In a folder that nobody but its owner reads, with nothing else in it."""
    folder = tmp_path / "a" / "b"
    assert kept.find(folder, "graph", ".onnx") is None
    path = kept.keep(folder, "graph", ".onnx", b"data")
    assert path is not None
    assert path.read_bytes() == b"data"
    assert kept.find(folder, "graph", ".onnx") == path
    assert kept.find(folder, "graph", ".onnx", kept.digest(b"data")) == path
    assert kept.find(folder, "grap", ".onnx") is None
    assert os.listdir(folder) == [path.name]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_harm_is_found_out(tmp_path):
    """A byte flipped, a file cut short, another digest than the known one; kept again, it is whole again."""
    path = kept.keep(tmp_path, "graph", ".onnx", b"data")
    assert path is not None
    for harm in (b"dada", b"dat", b""):
        path.write_bytes(harm)
        assert kept.find(tmp_path, "graph", ".onnx") is None
        assert kept.keep(tmp_path, "graph", ".onnx", b"data") == path
        assert kept.find(tmp_path, "graph", ".onnx") == path
    assert kept.find(tmp_path, "graph", ".onnx", kept.digest(b"other")) is None


@pytest.mark.parametrize("where", ["file", "under-a-file"])
def test_a_folder_that_cannot_be_used_costs_nothing_but_time(tmp_path, where):
    """No error, and nothing kept."""
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" if where == "file" else tmp_path / "file" / "folder"
    assert kept.keep(folder, "graph", ".onnx", b"data") is None
    assert kept.find(folder, "graph", ".onnx") is None


def test_a_full_disk_leaves_no_piece_behind(tmp_path, monkeypatch):
    """What was begun is taken away."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert kept.keep(tmp_path, "graph", ".onnx", b"data") is None
    assert os.listdir(tmp_path) == []


def test_without_a_folder_nothing_is_kept():
    assert kept.keep(None, "graph", ".onnx", b"data") is None
    assert kept.find(None, "graph", ".onnx") is None
