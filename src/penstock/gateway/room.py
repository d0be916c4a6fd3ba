"""How much one virtual key may leave with us: looked at before more is taken. What was paid for is kept all the same.

Rule: a sum over many rows is remembered for a minute where there is much room; what several calls at once, or several
processes, bring together may be over.
"""

from msgspec import Struct

from penstock.base.errors import Forbidden
from penstock.objects.keeper import Keeper


class Room(Struct, frozen=True):
    """What is limited by which knob, and what makes room."""

    what: str
    knob: str
    hint: str


FILES = Room("files", "files.max_total_bytes", "Delete files that are not needed any more.")
JOBS = Room("jobs", "jobs.max_total_bytes", "Delete jobs that have ended.")
RESPONSES = Room(
    "kept responses",
    "responses.max_total_bytes",
    "Delete responses that are not needed any more, or send store: false.",
)
PICTURES = Room(
    "linked pictures", "images.max_total_bytes", "Wait until links end, or ask for response_format: b64_json."
)


async def check_room(keeper: Keeper, kind: str, owner: str, most: int, room: Room, size: int = 0) -> None:
    """Raises Forbidden where ``size`` bytes more would be more than ``most``."""
    used = await keeper.used_about(kind, owner, near=most // 10 * 9 - size)
    if used + size > most or used >= most:
        raise Forbidden(
            f"This key's {room.what} have {used} bytes already; at most {most} are kept ({room.knob}).",
            code="storage_full",
            hint=room.hint,
        )
