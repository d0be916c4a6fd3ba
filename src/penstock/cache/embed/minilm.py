"""The embedder on this machine: MiniLM, or a model of its form, in int8. One thread, one text at a time.

It is computed by our own code where that can (``native``), else by onnxruntime: two builds, whose vectors are not compared.

Theory
int8 scales are those of a whole batch: two texts together get other vectors than each alone. Whoever compares vectors must
have made them alone, so there is no call here for more than one.

Rules
- A text longer than the window is cut, as sentence-transformers cuts it. Who cares asks ``tokens`` first: two texts whose
  difference is cut away have the same vector.
- One caller at a time: the last text's word pieces are kept between ``tokens`` and ``embed``.
- The built-in model proves itself before it is used: its card's three sentences, whose similarities are known.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from penstock.base.decisions import Rejected
from penstock.base.errors import ConfigFault, OurFault
from penstock.cache.embed import graph, kept
from penstock.cache.embed.native import NATIVE, open_native
from penstock.cache.embed.tensors import read_weights
from penstock.cache.embed.weights import GRAPH_SHA256, WHERE, Source
from penstock.cache.embed.words import Words

SENTENCES = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
SIMILARITIES = (0.6660, 0.1046, 0.1411)
"""Of the first with the second and third, and of these two: sentence-transformers' documentation, float32."""
_FARTHEST = 0.03
"""By how much int8 may miss them. Measured: 0.009."""
_FATAL = 4
_ort: Any = ort


class MiniLM:
    """An ``Embedder`` (cache.ports)."""

    def __init__(self, source: Source, model: Path | bytes) -> None:
        """``model``: the graph's file. Raises ConfigFault for what onnxruntime or the tokenizer does not take."""
        self.source = source
        self.dimensions = source.form.hidden
        self.english_only = source.english_only
        self.window = source.form.window
        self._model = model
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(source.folder / "tokenizer.json"))
            self._native = open_native(model, source.form)
            self.build_id = source.build_id if self._native is None else f"{source.build_id}-{NATIVE}"
            if self._native is None:
                self._session.get_inputs()  # it is loaded now, or refused
        except Exception as error:
            # Both libraries raise bare Exceptions of their own.
            raise ConfigFault(f"{source.folder} cannot be loaded: {error}", path=WHERE) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._words = self._plain_words() if source.builtin else None
        self._last: tuple[str, list[int]] = ("", [])

    def tokens(self, text: str) -> int:
        """Word pieces with both marks, without a limit."""
        return len(self.pieces(text))

    def embed(self, text: str) -> bytes:
        """float32 little-endian, unit length. Of at most ``window`` word pieces."""
        pieces = self.pieces(text)
        if len(pieces) > self.window:
            pieces = [*pieces[: self.window - 1], pieces[-1]]
        if self._native is not None:
            return self._native.embed(pieces)
        return self.vectors(np.array([pieces], np.int64))[0].astype("<f4", copy=False).tobytes()

    def vectors(self, texts: NDArray[np.int64]) -> NDArray[np.float32]:
        """By onnxruntime, of texts of one length, as the tokenizer gave them. More than one is for who compares nothing (``distil``)."""
        try:
            (found,) = self._session.run([graph.OUTPUT], {graph.INPUT: texts})
        except Exception as error:
            # onnxruntime's exceptions have no common ancestor but Exception.
            raise OurFault(f"The embedder failed: {error}") from error
        return found

    @cached_property
    def _session(self) -> Any:
        return _session(self._model)

    def pieces(self, text: str) -> list[int]:
        """Word pieces by number, both marks among them."""
        last, pieces = self._last
        if pieces and last == text:
            return pieces
        found: list[int] | None = None if self._words is None else self._words.pieces(text)
        if found is None:
            found = self._tokenized(text)
        self._last = (text, found)
        return found

    def _tokenized(self, text: str) -> list[int]:
        try:
            return self._tokenizer.encode(text).ids
        except TypeError:  # half a surrogate pair is no text to the library
            return self._tokenizer.encode(text.encode("utf-8", "replace").decode()).ids

    def _plain_words(self) -> Words:
        first, last = self._tokenizer.encode("").ids

        def pieces_of(word: str) -> list[int]:
            return self._tokenizer.encode(word, add_special_tokens=False).ids

        return Words(self._tokenizer.get_vocab(), (first, last), pieces_of)


def graph_of(source: Source, folder: Path | None) -> Path | bytes:
    """The graph's file: kept from an earlier time, or built now (0.6 s) and kept; its bytes where it cannot be kept.

    Raises ConfigFault for other weights than BERT's.
    """
    name = source.build_id
    known = GRAPH_SHA256 if source.builtin else None
    found = kept.find(folder, name, ".onnx", known)
    if found is not None:
        return found
    path = source.folder / "model.safetensors"
    try:
        built = graph.build(read_weights(path), source.form)
    except (KeyError, TypeError, ValueError, msgspec.DecodeError) as error:
        raise ConfigFault(f"{path} has not the weights of a BERT: {error}.", path=WHERE) from error
    return kept.keep(folder, name, ".onnx", built) or built


def open_minilm(source: Source, folder: Path | None) -> MiniLM | Rejected:
    """Loaded and proved (0.5 s). ``folder`` is where graphs are kept; None: nowhere."""
    try:
        embedder = MiniLM(source, graph_of(source, folder))
        why = _disproved(embedder, source)
    except (ConfigFault, OurFault) as error:
        return Rejected("embedder-refused", error.public())
    return Rejected("embedder-refused", why) if why else embedder


def _disproved(embedder: MiniLM, source: Source) -> str:
    """Why its vectors cannot be right; "" where they are."""
    first, second, third = (np.frombuffer(embedder.embed(text), "<f4") for text in SENTENCES)
    if first.shape != (embedder.dimensions,) or not abs(float(first @ first) - 1) < 1e-3:
        return f"The embedder in {source.folder} gives no unit vectors."
    found = (float(first @ second), float(first @ third), float(second @ third))
    far = max(abs(one - other) for one, other in zip(found, SIMILARITIES, strict=True))
    if source.builtin and not far <= _FARTHEST:
        return f"The built-in embedder computes wrongly on this machine: known similarities are missed by {far:.3f}."
    return ""


def _session(model: Path | bytes) -> Any:
    options = _ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    # The graph is written as it is to run: what the optimiser would fuse further was slower.
    options.graph_optimization_level = _ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return _ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
