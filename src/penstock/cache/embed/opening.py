"""Which embedder a configuration asks for, and is it there? Nothing of the extra ``penstock[semantic]`` is imported before it must be."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from penstock.base.decisions import Rejected
from penstock.cache.embed import weights
from penstock.cache.ports import Embedder
from penstock.config.schema_cache import SemanticCacheConfig
from penstock.config.secrets import local_path

if TYPE_CHECKING:
    from penstock.cache.embed.static import Static

BUILTIN = "builtin"
LIBRARIES = ("numpy", "onnxruntime", "tokenizers", "usearch")
_NOBODY: Mapping[str, str] = MappingProxyType({})


def open_embedder(
    settings: SemanticCacheConfig, *, base: Path = Path(), environ: Mapping[str, str] = _NOBODY
) -> Embedder | Rejected:
    """Loaded, checked and proved, in half a second; the first time one more. Blocking: for start-up.

    ``base``: the configuration's folder. ``environ`` says where this user keeps caches, if the configuration does not; without either nothing
    is kept.
    """
    source = inspect(settings, base=base)
    if isinstance(source, Rejected):
        return source
    from penstock.cache.embed.minilm import open_minilm  # noqa: PLC0415

    return open_minilm(source, cache_folder(settings, base, environ))


def open_prefilter(
    settings: SemanticCacheConfig, embedder: Embedder, *, base: Path = Path(), environ: Mapping[str, str]
) -> "Static | Rejected":
    """Static vectors before the built-in embedder, as soon as they are ``ready``. Whoever opens them closes them."""
    from penstock.cache.embed.minilm import MiniLM  # noqa: PLC0415
    from penstock.cache.embed.static import Static  # noqa: PLC0415

    folder = cache_folder(settings, base, environ)
    if not isinstance(embedder, MiniLM) or not embedder.source.builtin:
        return Rejected("prefilter-unknown", "Static vectors are measured for the built-in embedder only.")
    if folder is None:
        return Rejected(
            "prefilter-homeless",
            "Nothing says where to keep static vectors: semantic_cache.embedder_cache, XDG_CACHE_HOME or HOME.",
        )
    static = Static(embedder.source, embedder.pieces, folder, _compared_from(settings))
    static.start(environ)
    return static


def _compared_from(settings: SemanticCacheConfig) -> float:
    """From which score on a neighbour matters: somewhat below the loosest threshold it is compared, too, for labels."""
    value = settings.similarity_threshold or (0.94 if settings.max_error_rate is None else 0.80)
    return max(0.0, value - 0.05)


def inspect(settings: SemanticCacheConfig, *, base: Path = Path()) -> weights.Source | Rejected:
    """Would it open? The libraries are looked for, and the model's files read; neither is loaded."""
    folder = folder_of(settings.embedder, base)
    if folder is None and settings.embedder != BUILTIN:
        return Rejected(
            "embedder-of-provider", f"The embedder {settings.embedder} is a provider's, not this machine's."
        )
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        what = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
        return Rejected(
            "embedder-not-installed", f"The semantic cache's embedder needs more: {what}: {weights.INSTALL}."
        )
    return weights.find(folder)


def folder_of(named: str, base: Path) -> Path | None:
    """The folder that is meant; None for the built-in embedder and for a provider's model."""
    if named == BUILTIN:
        return None
    path = _path(named, base)
    return path if named.startswith((".", "/", "~")) or path.is_dir() else None


def cache_folder(settings: SemanticCacheConfig, base: Path, environ: Mapping[str, str]) -> Path | None:
    """The configured folder, or where this user keeps what can be made again (XDG Base Directory 0.8: a relative path counts
    as none); None: nowhere."""
    if settings.embedder_cache is not None:
        return _path(settings.embedder_cache, base)
    told, home = Path(environ.get("XDG_CACHE_HOME", "")), Path(environ.get("HOME", ""))
    if told.is_absolute():
        return told / "penstock"
    return home / ".cache" / "penstock" if home.is_absolute() else None


def _path(named: str, base: Path) -> Path:
    """``~`` is home; "~somebody" who is not known is taken as it stands, and is then not found."""
    try:
        return local_path(named, base)
    except ValueError:
        return base / named
