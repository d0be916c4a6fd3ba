"""A stopwatch that tests move by hand: nothing that is decided with it depends on the machine."""


class Scripted:
    """A ``measure.ports.Watch`` whose time is ``now_s``; whoever is timed moves it."""

    clock = "wall"

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def mark(self) -> float:
        return self.now_s

    def wait(self) -> None:
        pass

    def between_ms(self, first: float, last: float) -> float:
        return (last - first) * 1e3

    def wall_s(self) -> float:
        return self.now_s

    def cpu_s(self) -> float | None:
        return None
