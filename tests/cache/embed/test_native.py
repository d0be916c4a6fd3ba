"""Our own code computes what onnxruntime does: of the same weights, with the same integers, in 32-bit floats between."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs penstock[semantic]")
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from penstock.cache.embed import native, onnx_file
from penstock.cache.embed.minilm import MiniLM, graph_of, open_minilm
from penstock.cache.embed.native import GROUP, STEP, ordered, packed, told
from penstock.cache.embed.tensors import read_weights
from penstock.cache.embed.weights import Source, read
from penstock.cache.semantic.guards import vetoes
from tests.cache.embed import made
from tests.cache.embed.opened import source
from tests.cache.embed.reference import forward
from tests.cache.proof.phrases import SCORING
from tests.cache.proof.sentences import sentences

MANY = [one.text for one in sentences(11, SCORING, 400)]

able = pytest.mark.skipif(
    native.native is None or not native.native.able(),
    reason="our own code is not built, or not for this processor",
)


def vector(embedder, text):
    return np.frombuffer(embedder.embed(text), "<f4")


def theirs(embedder, text):
    return embedder.vectors(np.array([embedder.pieces(text)], np.int64))[0]


def small(folder, *, hidden, heads, wide, weights=None):
    """A model that our own code takes, of random weights."""
    given_weights = made.random_weights(3, hidden, wide) if weights is None else weights
    config = {"hidden_size": hidden, "num_attention_heads": heads}
    found = read(made.folder(folder, weights=given_weights, config=config))
    assert isinstance(found, Source)
    return found


@able
def test_vectors_are_onnxruntimes_but_for_rounding(embedder):
    """Of several hundred sentences nearly all to three digits; what rounding moves further is as near to the truth as before."""
    cosines = np.array([float(vector(embedder, text) @ theirs(embedder, text)) for text in MANY])
    assert len(MANY) >= 300
    assert np.median(cosines) > 0.999999
    assert (cosines >= 0.999).mean() > 0.9
    assert cosines.min() > 0.985


@able
def test_they_are_as_near_to_float32(embedder):
    """Quantisation costs the same."""
    known = read_weights(source().folder / "model.safetensors")
    ours, other = [], []
    for text in MANY[:60]:
        truth = forward(known, embedder.pieces(text))
        ours.append(float(vector(embedder, text) @ truth))
        other.append(float(theirs(embedder, text) @ truth))
    assert np.mean(ours) > np.mean(other) - 0.0005
    assert min(ours) > 0.97


@able
def test_the_same_is_served(embedder):
    """Of a stream whose truth is known: what is nearest, and whether it is near enough."""
    kept, asked = MANY[:200], MANY[200:]
    ours = np.array([vector(embedder, text) for text in MANY])
    other = np.array([theirs(embedder, text) for text in MANY])
    served = []
    for vectors in (ours, other):
        scores = vectors[200:] @ vectors[:200].T
        found = [(int(row.argmax()), float(row.max())) for row in scores]
        served.append(
            [
                (nearest, score >= 0.94 and not vetoes(kept[nearest], text))
                for text, (nearest, score) in zip(asked, found, strict=True)
            ]
        )
    same = sum(one == another for one, another in zip(*served, strict=True))
    assert same >= 0.98 * len(asked)
    assert sum(hit for _, hit in served[0]) > 10


@able
def test_threads_do_not_disturb_each_other(embedder):
    """Working memory is each call's own: the same bytes whoever else embeds, and whatever was embedded before."""
    pieces = [embedder.pieces(text) for text in MANY[:40]]
    alone = [embedder._native.embed(one) for one in pieces]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: [embedder._native.embed(one) for one in pieces], range(8)):
            assert found == alone


@able
@pytest.mark.parametrize(("hidden", "heads", "wide"), [(32, 1, 64), (64, 2, 160), (128, 2, 96)])
def test_other_forms_agree_with_their_own_float32(tmp_path, hidden, heads, wide):
    """Sizes and heads of sixty-four, texts of every length up to the window."""
    weights = made.random_weights(3, hidden, wide)
    embedder = open_minilm(
        small(tmp_path / "m", hidden=hidden, heads=heads, wide=wide, weights=weights), None
    )
    assert isinstance(embedder, MiniLM)
    assert embedder._native is not None
    for size in range(made.PLACES - 2):
        text = "".join("abcdefghij"[at % 10] for at in range(size))
        wanted = forward(weights, embedder.pieces(text), layers=made.LAYERS, heads=heads)
        assert float(vector(embedder, text) @ wanted) > 0.99
        assert float(vector(embedder, text) @ theirs(embedder, text)) > 0.99


@able
def test_weights_at_their_most_do_not_overflow(tmp_path):
    """Columns of one value are 63 throughout in int8: no group of them is safe, and nothing saturates."""
    weights = made.random_weights(3, 64, 128)
    rng = np.random.default_rng(1)
    for name, values in weights.items():
        if name.endswith("dense.weight") or (".attention.self." in name and name.endswith("weight")):
            weights[name] = np.where(rng.random(values.shape) < 0.9, 0.2, -0.2).astype("<f4")
    embedder = open_minilm(small(tmp_path / "m", hidden=64, heads=2, wide=128, weights=weights), None)
    assert isinstance(embedder, MiniLM)
    for text in ("abc de f", "zzz", "hello there, you", ""):
        assert float(vector(embedder, text) @ theirs(embedder, text)) > 0.999


@given(arrays(np.int8, (32, 32), elements=st.integers(-63, 63)))
def test_what_is_called_safe_is(matrix):
    """Every lane of a group that comes first: with the worst bytes its four products stay within 16 bits."""
    order = ordered(matrix)
    whole = packed(matrix, order)
    assert whole.size == matrix.size
    counts, begins = told(order)[:, 0], told(order)[:, 1:]
    for panel in range(2):
        assert sorted(begins[panel]) == [GROUP * at for at in range(4)]
        for place in range(4):
            rows = begins[panel][place] + np.arange(GROUP)
            part = matrix[rows][:, 16 * panel : 16 * panel + 16].astype(int)
            lanes = part.reshape(2, 2, 2, 16)
            most = np.maximum(lanes, 0).sum(axis=(0, 2)) * 255
            least = np.minimum(lanes, 0).sum(axis=(0, 2)) * 255
            fits = most.max() <= 32767 and least.min() >= -32767
            assert fits == (place < counts[panel])
            assert (whole[panel, place] == part.reshape(2, STEP, 16).transpose(0, 2, 1)).all()


@able
def test_what_does_not_fit_is_refused(embedder):
    """Not read beyond its tables."""
    for pieces in ([], [101] * 257, [30_522], [-1]):
        with pytest.raises(ValueError):
            embedder._native.embed(pieces)
    assert len(embedder._native.embed([101, 30_521, 102])) == 4 * 384


def test_without_it_onnxruntime_computes(tmp_path, monkeypatch):
    """Another build: its vectors are not compared with ours."""
    found = small(tmp_path / "m", hidden=64, heads=2, wide=64)
    ours = open_minilm(found, None)
    monkeypatch.setattr(native, "native", None)
    other = open_minilm(found, None)
    assert isinstance(ours, MiniLM)
    assert isinstance(other, MiniLM)
    assert other.build_id == found.build_id
    assert (ours.build_id == other.build_id) is (ours._native is None)
    assert float(vector(ours, "hello there") @ vector(other, "hello there")) > 0.99


def test_constants_are_read_back(tmp_path):
    """Every one of the graph's, to the byte; what is no file of ours is refused."""
    built = graph_of(small(tmp_path / "m", hidden=32, heads=1, wide=64), None)
    assert isinstance(built, bytes)
    found = onnx_file.constants(built)
    again = b"".join(onnx_file.tensor(name, values) for name, values in found.items())
    assert len(found) == 39
    assert all(onnx_file.tensor(name, values) in built for name, values in found.items())
    assert len(again) > 0.5 * len(built)
    for harmed in (built[:-1], b"\xff" * 20, b"\x3a\x05ab"):
        with pytest.raises(ValueError, match="no file of ours"):
            onnx_file.constants(harmed)
