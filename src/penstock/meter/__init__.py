"""The client that a service of your own uses to report what its work costs: two lines, and nothing that can hurt it.

    import penstock
    with penstock.meter("denoise", compute="h100"): ...

Owns: timing a block, its trace and stage, energy where NVML is there, and one daemon thread that posts to
``POST /v1/ledger/entries``. Does not own: prices (the gateway's configuration), or anything else of the gateway: it runs in
somebody else's process, and imports the standard library only.
Invariants: nothing here raises into the block that is metered, or makes it wait for the network; what cannot be sent is
kept up to a bound, then dropped, counted, and said once in the log ``penstock.meter``.
This module can be called itself: ``penstock.meter(...)`` makes a ``Meter``.
"""

import sys
from types import ModuleType

from penstock.meter.block import Meter, Running, current_trace, record
from penstock.meter.reporter import configure, flush, status


class _CallableModule(ModuleType):
    """A call looks at the class: so ``penstock.meter(...)`` and ``penstock.meter.configure(...)`` can both be."""

    __call__ = Meter


sys.modules[__name__].__class__ = _CallableModule

__all__ = ["Meter", "Running", "configure", "current_trace", "flush", "record", "status"]
