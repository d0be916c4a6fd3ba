"""A sentence embedder's BERT as a graph that onnxruntime runs in int8: text's word pieces in, a unit vector out.

Theory
- Matrices are int8, a scale a column; what they are multiplied with is quantised as it comes, a scale a tensor. So the
  vector of a text depends on what stands beside it in a batch (cosine 0.987 to 0.993 against alone): a batch has one text.
- The table of word pieces is int8, a scale a row: of 47 MB remain 12. Positions stay float32, with the first segment added.
- Weights use seven of the eight bits. Processors without VNNI add two products of a byte and a byte in sixteen bits, which 255 x 127 x 2
  overflows and 255 x 63 x 2 does not. Processors then differ by rounding alone, and nodes may share vectors.
- One product makes query, key and value, so that their source is quantised once. Sums are normalised by two nodes:
  onnxruntime's fused one took 38 us where the two take 23 (12 word pieces).
- The building is elementwise arithmetic in a fixed order: the same weights give the same bytes everywhere, whose digest
  ``weights.GRAPH_SHA256`` pins for the built-in model. Other bytes are another ``GRAPH_VERSION``.
"""

import numpy as np
from numpy.typing import NDArray

from penstock.cache.embed import onnx_file
from penstock.cache.embed.tensors import Weights
from penstock.cache.embed.weights import Form

INPUT, OUTPUT = "pieces", "vector"
_OPSETS = {"": 20, "com.microsoft": 1}
_MICROSOFT = "com.microsoft"
_MOST = 63
_MOST_TABLE = 127


class _Graph:
    """Nodes and constants, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[bytes] = []
        self.constants: list[bytes] = []

    def add(
        self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: onnx_file.Attribute
    ) -> str:
        self.nodes.append(onnx_file.node(kind, inputs, [output], domain, **attributes))
        return output

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        self.constants.append(onnx_file.tensor(name, values))
        return name

    def product(self, source: str, name: str, matrix: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        """``source`` x ``matrix`` + ``bias``, the matrix in int8."""
        scale = np.abs(matrix).max(axis=0) / np.float32(_MOST)
        whole = np.rint(matrix / scale).astype(np.int8)
        inputs = [
            source,
            self.constant(f"{name}.weight", whole),
            self.constant(f"{name}.scale", scale),
            "",
            self.constant(f"{name}.bias", bias),
        ]
        return self.add("DynamicQuantizeMatMul", inputs, f"{name}.out", _MICROSOFT)


def build(weights: Weights, form: Form) -> bytes:
    """The ONNX file. Raises KeyError for a weight that is missing."""
    graph = _Graph()
    current = _embedded(graph, weights, form)
    for number in range(form.layers):
        current = _layer(graph, weights, form, number, current)
    axis = graph.constant("axis", np.array([1], np.int64))
    pooled = graph.add("ReduceMean", [current, axis], "pooled", keepdims=0)
    graph.add("LpNormalization", [pooled], OUTPUT, axis=-1, p=2)
    return onnx_file.model(
        graph.nodes,
        graph.constants,
        inputs=[onnx_file.value(INPUT, onnx_file.INT64, ["texts", "pieces"])],
        outputs=[onnx_file.value(OUTPUT, onnx_file.FLOAT, ["texts", form.hidden])],
        opsets=_OPSETS,
    )


def _embedded(graph: _Graph, weights: Weights, form: Form) -> str:
    """Word piece + position + segment, normalised."""
    words = weights["embeddings.word_embeddings.weight"]
    places = weights["embeddings.position_embeddings.weight"][: form.window]
    segment = weights["embeddings.token_type_embeddings.weight"][0]
    scale = np.maximum(np.abs(words).max(axis=1, keepdims=True), np.float32(1e-12)) / np.float32(_MOST_TABLE)
    table = graph.constant("words", np.rint(words / scale).astype(np.int8))
    scales = graph.constant("words.scale", scale)
    graph.add("Gather", [table, INPUT], "words.int8")
    graph.add("Gather", [scales, INPUT], "words.factor")
    graph.add("Cast", ["words.int8"], "words.float", to=onnx_file.FLOAT)
    graph.add("Mul", ["words.float", "words.factor"], "words.out")
    graph.add("Shape", [INPUT], "length", start=1, end=2)
    table = graph.constant("places", (places + segment).astype(np.float32))
    graph.add("Slice", [table, graph.constant("zero", np.array([0], np.int64)), "length"], "places.out")
    graph.add("Add", ["words.out", "places.out"], "sum")
    return _normalised(graph, weights, form, "sum", "embeddings.LayerNorm")


def _normalised(graph: _Graph, weights: Weights, form: Form, source: str, name: str) -> str:
    parts = [
        graph.constant(f"{name}.{part}", np.array(weights[f"{name}.{part}"])) for part in ("weight", "bias")
    ]
    return graph.add("LayerNormalization", [source, *parts], f"{name}.out", epsilon=form.epsilon)


def _layer(graph: _Graph, weights: Weights, form: Form, number: int, source: str) -> str:
    """Attention, then two products with GELU between; each added to what it was made of, and normalised."""
    name = f"encoder.layer.{number}"

    def dense(source: str, *parts: str) -> str:
        matrices = [weights[f"{name}.{part}.weight"].T for part in parts]
        biases = [weights[f"{name}.{part}.bias"] for part in parts]
        return graph.product(
            source, f"{name}.{parts[-1]}", np.concatenate(matrices, axis=1), np.concatenate(biases)
        )

    def added(one: str, other: str, part: str) -> str:
        total = graph.add("Add", [one, other], f"{name}.{part}.sum")
        return _normalised(graph, weights, form, total, f"{name}.{part}.LayerNorm")

    joined = dense(source, "attention.self.query", "attention.self.key", "attention.self.value")
    three = [f"{name}.{part}" for part in ("query", "key", "value")]
    graph.nodes.append(onnx_file.node("Split", [joined], three, axis=-1, num_outputs=3))
    attended = graph.add("MultiHeadAttention", three, f"{name}.attended", _MICROSOFT, num_heads=form.heads)
    source = added(source, dense(attended, "attention.output.dense"), "attention.output")
    wide = graph.add("Gelu", [dense(source, "intermediate.dense")], f"{name}.wide", _MICROSOFT)
    return added(source, dense(wide, "output.dense"), "output")
