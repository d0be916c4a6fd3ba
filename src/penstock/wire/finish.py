"""What is done to a picture after its provider has made it: another format, another size. Done in gateway.pictures."""

from msgspec import Struct


class Finish(Struct, frozen=True):
    """What is done to a picture after the provider has made it. "" and 0: nothing of that kind."""

    format: str = ""
    compression: int | None = None
    width: int = 0
    height: int = 0

    @property
    def idle(self) -> bool:
        """Nothing is done."""
        return self == Finish()
