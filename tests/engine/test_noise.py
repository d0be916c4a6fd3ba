"""What libraries say of nothing while they load is not on the user's screen; whatever else they say is."""

import logging
from typing import Any

import pytest
import torch
from msgspec import structs
from torch import nn

from penstock.cli.profile_tables import show
from penstock.engine.lab.report.page import page
from penstock.engine.workloads import module, noise
from tests.engine.made import profile


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    found = [(record.name, record.levelno) for record in caplog.records]
    caplog.clear()
    return found


def test_only_what_is_known_is_silenced_and_told_at_debug(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    torchao, pytree = logging.getLogger("torchao"), logging.getLogger("torch.utils._pytree")
    with noise.without_noise():
        torchao.warning("Failed to load /a/_C.so: not for this Python")
        pytree.warning(
            "%s is an Enum subclass and is now natively supported by torch.compile as an opaque value type.",
            "X",
        )
        assert said(caplog) == [("penstock.engine", logging.DEBUG)] * 2
        torchao.warning("the weights are not what they seem")
        pytree.warning("%s is registered twice", "X")
        assert said(caplog) == [(one.name, logging.WARNING) for one in (torchao, pytree)]
    torchao.warning("Failed to load /a/_C.so: not for this Python")
    assert said(caplog) == [("torchao", logging.WARNING)]


@pytest.mark.parametrize("name", noise.BARS)
def test_bars_are_off_while_loading_and_as_they_were_after(name: str):
    told: Any = pytest.importorskip(f"{name}.utils.logging")
    before = told.is_progress_bar_enabled()
    try:
        for shown in (True, False):
            (told.enable_progress_bar if shown else told.disable_progress_bar)()
            with noise.without_bars():
                assert not told.is_progress_bar_enabled()
            assert told.is_progress_bar_enabled() is shown
    finally:
        (told.enable_progress_bar if before else told.disable_progress_bar)()


def test_evaluation_mode_is_said_where_it_changes_something(capsys: pytest.CaptureFixture[str]):
    """In the terminal and in the report, also where nothing was compared."""
    x = torch.ones(1, 2)
    assert module.ModuleWorkload("mine", nn.Dropout().eval(), (x,)).notes == ()
    notes = module.ModuleWorkload("mine", nn.Sequential(nn.Linear(2, 2), nn.Dropout()), (x,)).notes
    assert notes == (module.TRAINING,)
    for made in (profile(notes=notes), structs.replace(profile(notes=notes), variants=())):
        show(made)
        assert "in training mode" in " ".join(capsys.readouterr().out.split())
        assert page(made).count("in training mode") == 1
