"""The gateway of this folder, started once."""

from collections.abc import Iterator

import pytest

from tests.behaviours.gateway import Gateway
from tests.pairs.world import world


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with world(tmp_path_factory.mktemp("pairs")) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served
