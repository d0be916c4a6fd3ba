"""What pictures are charged by, where the provider counts no tokens: the unit that the catalogue prices them in.

Rules
- One unit for one picture, the most particular that has a price: quality and size, size, quality, resolution, pixels,
  the picture, or seconds of the machine that made it. To name two of them would charge twice.
- Where nothing has a price the picture itself is named: the ledger shows it, and that its price is not known.
"""

from math import ceil

from penstock.base.models import PriceRow

_RESOLUTIONS = ((768, "0.5k"), (1536, "1k"), (3072, "2k"))
"""The longer side up to which a picture is called so (fal's and Google's steps)."""


def picture_fees(
    row: PriceRow | None,
    pictures: int,
    *,
    width: int = 0,
    height: int = 0,
    quality: str = "",
    seconds: float = 0.0,
) -> tuple[tuple[str, int], ...]:
    """``Usage.fees`` for ``pictures`` of one kind. ``seconds``: how long they were computed, all together."""
    units = {} if row is None else row.units
    if pictures > 0:
        size, longer = f"{width}x{height}", max(width, height)
        step = next((name for side, name in _RESOLUTIONS if longer <= side), "4k")
        kinds = (f"image:{quality}:{size}", f"image:{size}", f"image:{quality}", f"image:{step}")
        for kind in kinds if longer else kinds[2:3]:
            if kind in units:
                return ((kind, pictures),)
        if "pixel" in units and longer:
            return (("pixel", pictures * width * height),)
        if "image" in units:
            return (("image", pictures),)
    if "second" in units and seconds > 0:
        return (("second", ceil(seconds)),)
    return (("image", pictures),) if pictures > 0 else ()


def fees_of_all(
    row: PriceRow | None, sizes: list[tuple[int, int]], *, quality: str = "", seconds: float = 0.0
) -> tuple[tuple[str, int], ...]:
    """For pictures of these sizes, made in ``seconds`` all together."""
    units = {} if row is None else row.units
    found: dict[str, int] = {}
    for width, height in sizes:
        for unit, quantity in picture_fees(row, 1, width=width, height=height, quality=quality):
            found[unit] = found.get(unit, 0) + quantity
    if seconds > 0 and "second" in units and not any(unit in units for unit in found):
        return (("second", ceil(seconds)),)
    return tuple(found.items())
