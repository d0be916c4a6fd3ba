"""Joules of a GPU, by the energy counter that NVML keeps, where a module ``pynvml`` can be imported.

Opening NVML takes tens of milliseconds: the reporter's thread does it. Blocks that began before have no figure, and ``None``
is what is said then, as where there is no counter (cards before Volta), or several cards and none was named.
A counter is the card's: what other processes used on it meanwhile is in it.
"""

import logging
from importlib import import_module
from typing import Any

_log = logging.getLogger("penstock.meter")
_MILLIJOULES = 1000.0


class Energy:
    """The cards of this machine; none until ``open`` has found some."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        self._opened = False

    def open(self) -> None:
        """Find the cards, once. In the reporter's thread."""
        if self._opened:
            return
        self._opened = True
        try:
            nvml = import_module("pynvml")
            nvml.nvmlInit()
            handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        except Exception as error:  # noqa: BLE001 - a shield: named in tests/house/test_swallow.py
            _log.debug("joules are not known: %s", error)
            return
        self._nvml, self._handles = nvml, handles

    def device(self, asked: int | None) -> int | None:
        """Which card a block is measured on; None: none."""
        if asked is None:
            return 0 if len(self._handles) == 1 else None
        return asked if 0 <= asked < len(self._handles) else None

    def joules(self, device: int) -> float | None:
        """The card's counter, from some moment on."""
        nvml, handles = self._nvml, self._handles
        if device >= len(handles):
            return None
        try:
            return nvml.nvmlDeviceGetTotalEnergyConsumption(handles[device]) / _MILLIJOULES
        except nvml.NVMLError as error:
            _log.debug("joules are not known: %s", error)
            self._handles = []
            return None


energy = Energy()
