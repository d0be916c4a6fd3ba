"""For the engine's tests: one thread, no hub, the third parties' own warnings named one by one, and tiny models."""

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

THEIRS = (
    # importing Inductor under Python 3.11: torch.utils.mkldnn still scripts a method
    "ignore:.*torch.jit.script_method. is deprecated:DeprecationWarning",
    # diffusers' DPM++ schedulers hand a tensor to numpy.array
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
)
"""Warnings of third parties about themselves. One line each, with its origin."""


def pytest_configure(config: pytest.Config) -> None:
    """Named here and not in pyproject.toml, because they are of the engine's tests only."""
    for line in THEIRS:
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture(scope="session", autouse=True)
def _compiled_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What Inductor compiles is shared by the tests of one run, and by no two runs: nothing is right from yesterday."""
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path_factory.mktemp("inductor"))
    yield
    if before is None:
        del os.environ["TORCHINDUCTOR_CACHE_DIR"]
    else:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = before


@pytest.fixture(scope="session")
def tiny_sdxl_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that ``save_pretrained`` wrote: a tiny StableDiffusionXLPipeline. Shared: read it, do not write to it."""
    from tests.engine import tiny  # noqa: PLC0415 - seconds that tests without torch do not pay

    return tiny.save_sdxl(tmp_path_factory.mktemp("tiny") / "sdxl")


@pytest.fixture(scope="session")
def loaded_sdxl(tiny_sdxl_dir: Path) -> Any:
    from diffusers import DiffusionPipeline  # noqa: PLC0415 - seconds that tests without torch do not pay

    pipe = DiffusionPipeline.from_pretrained(tiny_sdxl_dir, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def tiny_sdxl(loaded_sdxl: Any) -> Any:
    """The pipeline of that directory, loaded; each test's own copy, to change as it likes."""
    return copy.deepcopy(loaded_sdxl)


@pytest.fixture(scope="session")
def tiny_generator_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that ``save_pretrained`` wrote: a two-layer Llama and its tokenizer. Shared: read it, do not write to it."""
    from tests.engine import tiny  # noqa: PLC0415 - seconds that tests without torch do not pay

    return tiny.save_generator(tmp_path_factory.mktemp("tiny") / "generator")
