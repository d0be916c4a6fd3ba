"""Folders with small models of the embedder's form, made here: two layers, random weights, a vocabulary of letters."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
PIECES = [*MARKS, *"abcdefghijklmnopqrstuvwxyz", *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]
HIDDEN, WIDE, LAYERS, HEADS, PLACES = 32, 64, 2, 4, 24


def random_weights(seed=0, hidden=HIDDEN, wide=WIDE):
    rng = np.random.default_rng(seed)

    def some(*shape):
        return rng.normal(0, 0.3, shape).astype("<f4")

    weights = {
        "embeddings.word_embeddings.weight": some(len(PIECES), hidden),
        "embeddings.position_embeddings.weight": some(PLACES, hidden),
        "embeddings.token_type_embeddings.weight": some(2, hidden),
        "embeddings.LayerNorm.weight": 1 + some(hidden),
        "embeddings.LayerNorm.bias": some(hidden),
    }
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        for part, out, into in (
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", wide, hidden),
            ("output.dense", hidden, wide),
        ):
            weights[f"{name}.{part}.weight"] = some(out, into)
            weights[f"{name}.{part}.bias"] = some(out)
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            weights[f"{name}.{part}.weight"] = 1 + some(hidden)
            weights[f"{name}.{part}.bias"] = some(hidden)
    return weights


def safetensors(weights, kind="F32"):
    """The file's bytes."""
    head, data = {"__metadata__": {"format": "pt"}}, b""
    for name, values in weights.items():
        raw = values.astype("<f2" if kind == "F16" else "<f4").tobytes()
        head[name] = {
            "dtype": kind,
            "shape": list(values.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    told = json.dumps(head).encode()
    return len(told).to_bytes(8, "little") + told + data


def tokenizer():
    made = Tokenizer(
        models.WordPiece({piece: number for number, piece in enumerate(PIECES)}, unk_token="[UNK]")
    )
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


def folder(path: Path, *, weights=None, config=None, pooling=None, modules=None, kind="F32") -> Path:
    """A model as sentence-transformers lays it out; what is given replaces or adds."""
    facts = {
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "max_position_embeddings": PLACES, "vocab_size": len(PIECES), "layer_norm_eps": 1e-12,
    }  # fmt: skip
    listed = modules or ["Transformer", "Pooling", "Normalize"]
    paths = {"Transformer": "", "Pooling": "1_Pooling"}
    (path / "1_Pooling").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(safetensors(weights or random_weights(), kind))
    (path / "config.json").write_text(json.dumps(facts | (config or {})))
    (path / "1_Pooling/config.json").write_text(json.dumps(pooling or {"pooling_mode_mean_tokens": True}))
    (path / "modules.json").write_text(
        json.dumps(
            [
                {"type": f"sentence_transformers.models.{one}", "path": paths.get(one, f"2_{one}")}
                for one in listed
            ]
        )
    )
    tokenizer().save(str(path / "tokenizer.json"))
    return path
