"""Loads configurations in tests: one catalogue, one day, an environment in which every name is set."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from penstock.config.catalogue import Catalogue
from penstock.config.load import Loaded, load, load_text
from penstock.config.schema import Config

TODAY = "2026-11-20"
FIXTURES = Path(__file__).parent / "fixtures"
NOWHERE = Path("/nonexistent")


@cache
def catalogue() -> Catalogue:
    return Catalogue.load()


class EveryName(Mapping[str, str]):
    """An environment where each variable holds a key of its own."""

    def __getitem__(self, name: str) -> str:
        return f"value-of-{name}"

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self):
        return iter(())

    def __len__(self) -> int:
        return 0


EVERY = EveryName()


def loaded(text: str, environ: Mapping[str, str] = EVERY, base: Path = NOWHERE, today: str = TODAY) -> Loaded:
    return load_text(text, base, environ, catalogue(), today)


def sound(text: str, environ: Mapping[str, str] = EVERY, base: Path = NOWHERE) -> Config:
    """A configuration that must have no faults."""
    found = loaded(text, environ, base)
    assert found.faults == []
    assert found.config is not None
    return found.config


def faults(text: str, environ: Mapping[str, str] = EVERY, base: Path = NOWHERE) -> dict[str, str]:
    """Path -> the fault's sentences, for a configuration that must be refused."""
    found = loaded(text, environ, base)
    assert found.config is None
    return {fault.path: f"{fault.message} {fault.remedy}" for fault in found.faults}


def fixture(name: str, environ: Mapping[str, str] = EVERY) -> Loaded:
    return load(FIXTURES / name, environ, catalogue(), TODAY)
