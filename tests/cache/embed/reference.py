"""BERT with mean pooling, forwards, in float32 and numpy alone: what the int8 graph is compared with."""

from math import erf

import numpy as np

_erf = np.vectorize(erf, otypes=[np.float64])


def _normalised(x, weights, name):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def forward(weights, pieces, *, layers=6, heads=12):
    """The unit vector of one text's word pieces."""
    x = weights["embeddings.word_embeddings.weight"][pieces]
    x = x + weights["embeddings.position_embeddings.weight"][: len(pieces)]
    x = _normalised(
        x + weights["embeddings.token_type_embeddings.weight"][0], weights, "embeddings.LayerNorm"
    )
    for number in range(layers):
        name = f"encoder.layer.{number}"

        def dense(x, part, name=name):
            return x @ weights[f"{name}.{part}.weight"].T + weights[f"{name}.{part}.bias"]

        def split(x):
            return x.reshape(len(x), heads, -1).transpose(1, 0, 2)

        query, key, value = (split(dense(x, f"attention.self.{part}")) for part in ("query", "key", "value"))
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        seen = ((shares / shares.sum(-1, keepdims=True)) @ value).transpose(1, 0, 2).reshape(x.shape)
        x = _normalised(
            x + dense(seen, "attention.output.dense"), weights, f"{name}.attention.output.LayerNorm"
        )
        wide = dense(x, "intermediate.dense")
        wide = wide * (1 + _erf(wide / np.sqrt(2))) / 2
        x = _normalised(x + dense(wide, "output.dense"), weights, f"{name}.output.LayerNorm")
    pooled = x.mean(0)
    return (pooled / np.linalg.norm(pooled)).astype(np.float32)
