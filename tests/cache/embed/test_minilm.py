"""The embedder's vectors are MiniLM's: in float32 to the digit, in int8 within what quantisation costs."""

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs penstock[semantic]")
import onnxruntime as ort

from penstock.base.decisions import Rejected
from penstock.base.errors import OurFault
from penstock.cache.embed import graph, minilm
from penstock.cache.embed.minilm import SENTENCES, SIMILARITIES, MiniLM, graph_of, open_minilm
from penstock.cache.embed.tensors import read_weights
from penstock.cache.embed.weights import GRAPH_SHA256, Source, read
from tests.cache.embed import made
from tests.cache.embed.opened import source
from tests.cache.embed.reference import forward

TEXTS = (
    "How do I reset the password of my mail account?",
    "What is the tallest mountain in South America?",
    "a cat asleep on a red sofa, oil painting",
    "Summarise the plot of Hamlet in two sentences.",
    "hi",
    "Why does bread rise, and what happens to the yeast when it is baked at a high temperature for a long time?",
)


def vector(embedder, text):
    return np.frombuffer(embedder.embed(text), "<f4")


@pytest.fixture(scope="module")
def known():
    return read_weights(source().folder / "model.safetensors")


def three(vectors):
    first, second, third = vectors
    return [float(first @ second), float(first @ third), float(second @ third)]


def test_float32_gives_the_model_cards_similarities(known, embedder):
    """0.6660, 0.1046 and 0.1411: the weights and the tokenizer are read rightly."""
    found = three(forward(known, embedder.pieces(text)) for text in SENTENCES)
    assert [round(one, 4) for one in found] == list(SIMILARITIES)


def test_int8_is_near_float32(known, embedder):
    """The reference measured a mean cosine of 0.992 between the two; ours, of 400 prompts: 0.9928, the least 0.973."""
    same = [float(vector(embedder, text) @ forward(known, embedder.pieces(text))) for text in TEXTS]
    assert min(same) > 0.96
    assert sum(same) / len(same) > 0.985
    found = three([vector(embedder, text) for text in SENTENCES])
    assert max(abs(one - other) for one, other in zip(found, SIMILARITIES, strict=True)) < 0.02


def test_vectors_are_float32_of_unit_length(embedder):
    """384 of them, also of no text at all; the same text gives the same bytes."""
    for text in ("", *TEXTS):
        found = embedder.embed(text)
        assert len(found) == 4 * 384 == 4 * embedder.dimensions
        assert abs(float(np.linalg.norm(np.frombuffer(found, "<f4"))) - 1) < 1e-5
        assert embedder.embed(text) == found


def test_a_batch_would_change_vectors(embedder):
    """Why there is no call for more than one text: int8 scales are the whole batch's. This is a fact, not a wish."""
    loud = embedder._tokenizer.encode("12345 %%% ~~~ 67890 ###").ids
    texts = [embedder._tokenizer.encode(text).ids for text in TEXTS]
    apart = []
    for pieces in texts:
        size = min(len(pieces), len(loud))
        both = np.array([pieces[:size], loud[:size]], np.int64)
        alone = embedder._session.run(None, {graph.INPUT: both[:1]})[0][0]
        beside = embedder._session.run(None, {graph.INPUT: both})[0][0]
        apart.append(1 - float(alone @ beside))
    assert max(apart) > 1e-4


def test_tokens_are_counted_without_a_limit(embedder):
    """Both marks among them. Beyond the window texts with different ends get one vector: who asks must refuse them."""
    assert embedder.tokens("") == 2
    assert embedder.tokens("hello world") == 4
    assert embedder.window == 256
    long = "word " * 300
    assert embedder.tokens(long) == 302
    assert embedder.embed(long + "yes") == embedder.embed(long + "no")
    short = "word " * 200
    assert embedder.tokens(short + "yes") <= embedder.window
    assert embedder.embed(short + "yes") != embedder.embed(short + "no")


def test_half_a_surrogate_pair_is_read(embedder):
    """JSON can carry one. It is some character, not an error."""
    assert embedder.tokens("a \ud800 b") > 2
    assert embedder.embed("a \ud800 b") == embedder.embed("a ? b")


def test_the_graph_is_the_pinned_one():
    """The same bytes on every machine. If this fails you have changed the graph: raise GRAPH_VERSION, and pin the new digest."""
    found = graph_of(source(), None)
    assert isinstance(found, bytes)
    assert minilm.kept.digest(found) == GRAPH_SHA256


def test_a_small_model_agrees_with_its_own_float32(tmp_path):
    """Any form: other sizes, heads and layers than MiniLM's."""
    found = read(made.folder(tmp_path / "m"))
    assert isinstance(found, Source)
    embedder = open_minilm(found, None)
    assert isinstance(embedder, MiniLM)
    assert embedder.dimensions == made.HIDDEN
    assert not embedder.english_only
    weights = made.random_weights()
    for text in ("abc de f", "zzz", "hello there, you", ""):
        pieces = embedder.pieces(text)
        wanted = forward(weights, pieces, layers=made.LAYERS, heads=made.HEADS)
        assert float(vector(embedder, text) @ wanted) > 0.99


def test_half_precision_weights_are_read(tmp_path):
    """Nearly the same vectors, and another build."""
    whole, half = read(made.folder(tmp_path / "a")), read(made.folder(tmp_path / "b", kind="F16"))
    assert isinstance(whole, Source)
    assert isinstance(half, Source)
    one, other = open_minilm(whole, None), open_minilm(half, None)
    assert isinstance(one, MiniLM)
    assert isinstance(other, MiniLM)
    assert one.build_id != other.build_id
    assert float(vector(one, "hello there") @ vector(other, "hello there")) > 0.99


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda w: w.pop("encoder.layer.1.output.dense.bias"), "encoder.layer.1.output.dense.bias"),
        (
            lambda w: w.update({"encoder.layer.0.output.dense.weight": w["embeddings.LayerNorm.bias"]}),
            "weights of a BERT",
        ),
    ],
)
def test_weights_of_something_else_are_refused(tmp_path, harm, said):
    """The sentence names what is missing."""
    weights = made.random_weights()
    harm(weights)
    found = read(made.folder(tmp_path / "m", weights=weights))
    assert isinstance(found, Source)
    refused = open_minilm(found, None)
    assert isinstance(refused, Rejected)
    assert said in refused.reason


def test_files_that_are_no_models_are_refused(tmp_path):
    """Neither weights nor a tokenizer."""
    for name in ("model.safetensors", "tokenizer.json"):
        folder = made.folder(tmp_path / name)
        (folder / name).write_bytes(b"\xff" * 64)
        found = read(folder)
        assert isinstance(found, Source)
        refused = open_minilm(found, None)
        assert isinstance(refused, Rejected)
        assert refused.code == "embedder-refused"


def test_weights_of_another_kind_are_refused_by_name(tmp_path):
    """bfloat16 has no numpy type."""
    folder = made.folder(tmp_path / "m")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data.replace(b'"dtype": "F32"', b'"dtype":"BF16"'))
    found = read(folder)
    assert isinstance(found, Source)
    refused = open_minilm(found, None)
    assert isinstance(refused, Rejected)
    assert "is BF16, and only F32 and F16 are read" in refused.reason


def test_a_piece_that_the_table_lacks_is_our_fault(tmp_path):
    """Not an exception of onnxruntime's own."""
    found = read(made.folder(tmp_path / "m"))
    assert isinstance(found, Source)
    embedder = open_minilm(found, None)
    assert isinstance(embedder, MiniLM)
    with pytest.raises(OurFault, match="The embedder failed"):
        embedder.vectors(np.array([[10_000]]))


def test_a_machine_that_computes_wrongly_is_found_out(monkeypatch, embedder):
    """The built-in model proves itself before it is used."""
    monkeypatch.setattr(minilm, "SIMILARITIES", (0.9, 0.1, 0.1))
    assert "computes wrongly" in minilm._disproved(embedder, source())


def test_it_runs_on_one_thread(embedder):
    """So that a second core is left to calls."""
    options = embedder._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert ort.get_device() == "CPU"
