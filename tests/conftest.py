"""For every test: nobody reaches another machine."""

from collections.abc import Iterator

import pytest

from penstock.testing import no_network


@pytest.fixture(scope="session", autouse=True)
def _this_machine_only() -> Iterator[None]:
    """A test that connects anywhere but to loopback fails with NetworkForbidden."""
    with no_network():
        yield
