"""A terminal for the commands."""

import pytest

from tests.cli.terminal import Screen


@pytest.fixture
def screen(capsys, monkeypatch) -> Screen:
    """Commands as they look at a width, or in a pipe."""
    return Screen(capsys, monkeypatch)
