"""Writes what the docs take from the code: ``docs/reference``, the README's figures, the table of the event law.

python scripts/build_reference.py           write what has changed
python scripts/build_reference.py --check   write nothing; exit 1 and name what is stale
"""

import argparse
import sys
from pathlib import Path

from reference_figures import figures
from reference_pages import law, pages

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "explanation" / "architecture.md"
REFERENCE = ROOT / "docs" / "reference"


def wanted() -> dict[Path, str]:
    """File -> the text it should have."""
    texts = {REFERENCE / name: text for name, text in pages().items()}
    texts[README] = filled(README.read_text(encoding="utf-8"), "figures", figures())
    texts[ARCHITECTURE] = filled(ARCHITECTURE.read_text(encoding="utf-8"), "law", law())
    return texts


def filled(text: str, name: str, block: str) -> str:
    """``text`` with ``block`` between ``<!-- name:start -->`` and ``<!-- name:end -->``."""
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    head, found, rest = text.partition(start)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        sys.exit(f"the marks {start} and {end} are missing")
    return f"{head}{start}\n{block}\n{end}{tail}"


def main() -> int:
    """0, or 1 with the names of stale files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything is stale")
    args = parser.parse_args()
    texts = wanted()
    old = {path for path in REFERENCE.glob("*.md") if path not in texts}
    stale = [
        path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if args.check:
        for path in [*stale, *sorted(old)]:
            print(f"{path.relative_to(ROOT)} is stale: run `make docs`")
        return 1 if stale or old else 0
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for path in stale:
        path.write_text(texts[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    for path in sorted(old):
        path.unlink()
        print(f"removed {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
