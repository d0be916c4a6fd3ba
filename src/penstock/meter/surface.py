"""What ``penstock.meter`` looks like to a type checker, which cannot see that a module may be called. Never loaded."""

from penstock.meter import block, reporter


class Surface:
    """``penstock.meter(...)`` and the functions beside it."""

    __call__ = block.Meter
    Meter = block.Meter
    Running = block.Running
    current_trace = staticmethod(block.current_trace)
    configure = staticmethod(reporter.configure)
    flush = staticmethod(reporter.flush)
    record = staticmethod(block.record)
    status = staticmethod(reporter.status)


meter = Surface()
