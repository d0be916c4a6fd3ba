"""Fixtures of the behaviours: one gateway with one provider of each dialect per module, fresh for each test."""

from collections.abc import Iterator

import pytest

from tests.behaviours.gateway import Gateway, Scripted, running_gateway


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """The module's gateway: its ``CONFIG`` and ``SCENARIO``, or one provider of each dialect."""
    given = {
        "config": getattr(request.module, "CONFIG", None),
        "scenario": getattr(request.module, "SCENARIO", None),
    }
    script = Scripted()
    try:
        arguments = {name: value for name, value in given.items() if value is not None}
        with running_gateway(tmp_path_factory.mktemp("gateway"), scripted=script.url, **arguments) as gateway:
            gateway.scripted = script
            yield gateway
    finally:
        script.close()


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    """The module's gateway, with healthy providers and nothing remembered."""
    served.fresh()
    return served


@pytest.fixture
def scripted(gateway: Gateway) -> Scripted:
    """The upstream behind ``{scripted}`` in the configuration, whose every byte the test says."""
    script = gateway.scripted
    assert script is not None
    script.bodies.clear()
    script.heads.clear()
    return script
