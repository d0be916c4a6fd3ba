"""The scripts that write the reference, as the house tests use them."""

import sys

from tests.house.source import ROOT

SCRIPTS = str(ROOT / "scripts")
if SCRIPTS not in sys.path:
    sys.path.append(SCRIPTS)

import build_reference  # noqa: E402 - scripts are found only now
import reference_coverage  # noqa: E402
import reference_figures  # noqa: E402
import reference_knobs  # noqa: E402
import reference_pages  # noqa: E402
import reference_source  # noqa: E402
import reference_tables  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"


def page(name: str) -> str:
    """A page of the reference as it lies there."""
    return (REFERENCE / name).read_text(encoding="utf-8")


def first_cells(name: str) -> set[str]:
    """The first cell of every row of a page's tables, without its backquotes."""
    rows = [line for line in page(name).splitlines() if line.startswith("| ")]
    return {row.split(" | ")[0].removeprefix("| ").strip("` |") for row in rows}


__all__ = [
    "REFERENCE",
    "build_reference",
    "first_cells",
    "page",
    "reference_coverage",
    "reference_figures",
    "reference_knobs",
    "reference_pages",
    "reference_source",
    "reference_tables",
]
