"""Makes the static vectors of the built-in embedder: a program of its own, which ``static`` starts once, at the lowest priority.

Theory
Each word piece is embedded alone by MiniLM; the principal 256 of 384 dimensions keep 95 % of the variance. A piece weighs as in
smooth inverse frequency (Arora et al., ICLR 2017): a / (a + its probability), the probability by Zipf's law from its place in
the vocabulary, which is ordered by frequency. a = 5e-5 was the best of seven between 1e-5 and 1e-3. What is fitted to what is
told in ``static``.

A program, not a thread: a thread of low priority can be put aside while it holds the interpreter's lock, and every call with it.
It takes 20 s and 250 MB on one core, and stops when who started it has gone.

``python -m penstock.cache.embed.distil FOLDER`` keeps the vectors in the folder.
"""

import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penstock.base.decisions import Rejected
from penstock.cache.embed import kept, weights
from penstock.cache.embed.minilm import MiniLM, open_minilm

DIMENSIONS = 256
VERSION = 1
"""Rises with every change that could change a vector."""
SUFFIX = ".static"
_A = 5e-5
_FIRST = 999
"""The first piece of text: before it are marks and places that nothing uses."""
_UNKNOWN, _START, _END = 100, 101, 102
_BATCH = 64
"""Together they disturb each other's int8 a little (cosine 0.987 to alone): measured, the prefilter is no worse for it, and made
in a third of the time."""


def build_of(source: weights.Source) -> str:
    """Of the static vectors made of this model."""
    return f"{source.build_id}-static-v{VERSION}"


def distil(embedder: MiniLM, pieces: int) -> NDArray[np.float16]:
    """A row a piece; marks have zeros, but for the unknown piece, so that no text has no vector."""
    vectors = np.empty((pieces, embedder.dimensions), np.float32)
    texts = np.full((pieces, 3), _START, np.int64)
    texts[:, 1], texts[:, 2] = np.arange(pieces), _END
    parent = os.getppid()
    for start in range(0, pieces, _BATCH):
        if os.getppid() != parent:
            raise SystemExit(1)
        vectors[start : start + _BATCH] = embedder.vectors(texts[start : start + _BATCH])
    vectors -= vectors[_FIRST:].mean(axis=0)
    spread = vectors[_FIRST:].T @ vectors[_FIRST:]
    axes: NDArray[np.float32] = np.linalg.eigh(spread.astype(np.float64))[1].astype(np.float32)
    table = (vectors @ axes[:, ::-1][:, :DIMENSIONS]) * weights_of(pieces)[:, None]
    return table.astype("<f2")


def weights_of(pieces: int) -> NDArray[np.float32]:
    """What a piece counts."""
    rank = np.maximum(np.arange(pieces) - _FIRST + 1, 1)
    weight = _A / (_A + 1 / (rank * np.log(pieces)))
    weight[:_FIRST] = 0
    weight[_UNKNOWN] = weight[_FIRST]
    return weight.astype(np.float32)


def main(folder: Path) -> int:
    """0 when the vectors lie in the folder."""
    os.nice(19)
    source = weights.find()
    if isinstance(source, Rejected):
        sys.stderr.write(f"{source.reason}\n")
        return 1
    embedder = open_minilm(source, folder)
    if isinstance(embedder, Rejected):
        sys.stderr.write(f"{embedder.reason}\n")
        return 1
    table = distil(embedder, source.form.pieces)
    return 0 if kept.keep(folder, build_of(source), SUFFIX, table.tobytes()) else 1


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
