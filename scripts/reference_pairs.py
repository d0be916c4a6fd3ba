"""What becomes of each feature between each inlet and each provider's dialect: read from what the tests measured.

``tests/pairs`` runs every cell through a gateway and looks at what the simulated provider received; the result lies in
``tests/golden/pairs.json`` (``PYTHONPATH=src python -m tests.pairs.matrix`` writes it). Here it only becomes a page.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parent.parent / "tests" / "golden" / "pairs.json"
INLETS = {
    "openai": "OpenAI chat",
    "openrouter": "OpenRouter",
    "responses": "OpenAI Responses",
    "completions": "OpenAI completions",
    "anthropic": "Anthropic Messages",
    "gemini": "Gemini",
}
Cell = dict[str, Any]


def pairs(table: Callable[[tuple[str, ...], Any], str]) -> list[str]:
    """The page's parts. ``table`` writes one."""
    measured: dict[str, dict[str, dict[str, Cell]]] = json.loads(MEASURED.read_text(encoding="utf-8"))
    cells = [cell for rows in measured.values() for row in rows.values() for cell in row.values()]
    count = {
        kind: sum(cell["verdict"] == kind for cell in cells) for kind in {cell["verdict"] for cell in cells}
    }
    parts = [
        (
            "Each cell was run: the inlet's own bytes over a socket, and what the simulated provider received was looked at. "
            "*yes*: it arrived. *served*: the gateway itself does it, and its record of the call has it. A word in `code` "
            "stands in the reply's `x-penstock-adjusted` (see [dialects](dialects.md)). *refused*: with the code in brackets, "
            "before a provider is asked; *provider refuses*: it goes through, and the provider's own error comes back. A row "
            "that a format has no word for is not in its table."
        ),
        (
            f"Of {len(cells)} cells {count['lossless']} arrive as asked, {count.get('served', 0)} are served by the gateway, "
            f"{count['approximated']} are approximated or dropped and say so, {count['refused']} are refused. None is lost "
            "without a word. Whether a *model* takes pictures, sound or tools is a fact of the catalogue: "
            "a refusal `lacks-…` is the model's (gpt-4o-mini, claude-haiku-4-5, gemini-2.5-flash, command-a-plus; gpt-5-mini "
            "where thinking is asked for). `url-unreachable` stands where the gateway fetches a file that the provider cannot: "
            "the address that is tried leads nowhere."
        ),
    ]
    for inlet, rows in measured.items():
        doors = next(iter(rows.values()))
        parts.append(f"## {INLETS[inlet]}")
        body = [(name, *(shown(row[door]) for door in doors)) for name, row in rows.items()]
        parts.append(table(("feature", *doors), body))
    parts.append("## Why it is refused")
    why: dict[str, str] = {}
    for cell in cells:
        if cell["verdict"] == "refused" and cell["by"] == "gateway":
            why.setdefault(cell["code"], cell["reason"])
    parts.append("The first sentence met for each code; MODEL stands for the target.")
    parts.append(table(("code", "sentence"), [(f"`{code}`", why[code]) for code in sorted(why)]))
    return parts


def shown(cell: Cell) -> str:
    """A cell as text."""
    match cell["verdict"]:
        case "lossless":
            return "yes"
        case "served":
            return "served"
        case "approximated":
            return ", ".join(f"`{word}`" for word in cell["words"])
        case "refused" if cell["by"] == "provider":
            return "provider refuses"
        case "refused":
            return f"refused (`{cell['code']}`)"
        case other:
            return f"**{other}**"
