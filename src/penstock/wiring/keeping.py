"""What a cache's configuration needs of this machine, and lacks: told by ``penstock check`` before anything is built.

A gateway serves without it (what is not kept is fetched again, a tier without its embedder is off), and says so in its log alone:
so whoever checks wants to hear of it. Nothing is made, and no model loaded.
"""

from collections.abc import Iterator

from penstock.base.decisions import Rejected
from penstock.blobs.sqlite_schema import unusable
from penstock.cache.embed.opening import inspect
from penstock.config.cache_meaning import wants_cache, wants_meaning
from penstock.config.fault import Fault
from penstock.config.load import Loaded
from penstock.config.secrets import local_path

MEMORY = "memory"
"""cache.path of a cache that keeps nothing on disk."""


def cache_faults_here(loaded: Loaded) -> list[Fault]:
    """Nothing for a faulty configuration."""
    return [*_path(loaded), *_embedder(loaded)]


def _path(loaded: Loaded) -> Iterator[Fault]:
    config = loaded.config
    if config is None or not wants_cache(config) or config.cache.path in (None, MEMORY):
        return
    path = config.cache.path
    try:
        why = unusable(str(local_path(path, loaded.base)))
    except ValueError as error:
        why = str(error)
    if why is not None:
        yield Fault(
            "$.cache.path",
            f"Nothing can be kept in {path!r}: {why}.",
            "Name a file in a folder that the gateway may write, or write memory.",
        )


def _embedder(loaded: Loaded) -> Iterator[Fault]:
    config = loaded.config
    if config is None or config.semantic_cache is None or not wants_meaning(config):
        return
    found = inspect(config.semantic_cache, base=loaded.base)
    if isinstance(found, Rejected) and found.code != "embedder-of-provider":
        yield Fault(
            "$.semantic_cache.embedder",
            f"The tier would be off. {found.reason}",
            "Mend that, or take semantic_cache out.",
        )
