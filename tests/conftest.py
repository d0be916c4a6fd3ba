"""For every test: nobody reaches another machine."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from penstock.cache.ports import Embedder
from penstock.testing import no_network
from tests.cache.embed.opened import opened
from tests.servers import PostgresServer, RedisServer

# Of the person who runs them: commands of the tests would ask that gateway.
os.environ.pop("PENSTOCK_URL", None)

# How long an example takes says how busy the machine is: no test may depend on it.
settings.register_profile("penstock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("penstock")


@pytest.fixture(scope="session", autouse=True)
def _this_machine_only() -> Iterator[None]:
    """A test that connects anywhere but to loopback fails with NetworkForbidden."""
    with no_network():
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL for the whole run. Who stops it starts it again."""
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis, or Valkey, for the whole run. Who stops it starts it again."""
    server = RedisServer()
    yield server
    server.remove()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of an empty database, password and all."""
    return postgres_server.database()


@pytest.fixture(scope="session")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    """The built-in embedder of the semantic cache, loaded once for the whole run."""
    return opened(tmp_path_factory.mktemp("embedder"))
