"""What the reference reads from the source itself: error codes, refusals and words of adjustment, by syntax tree."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "penstock"
_WORD = re.compile(
    r"[\w.…]+(-[a-z]+)*-(dropped|stripped|ignored|approximated|adjusted|clamped|lowered|raised|moved|added|padded"
    r"|synthesised|stubbed|replaced|skipped|filtered|merged|trimmed|as-[a-z…-]+)"
)
_NO_ERRORS = ("simulate", "cli")
"""Rooms whose words no caller of the gateway sees."""


_SHARED = {"preferences.py": ("every chat caller's",), "turns.py": ("anthropic", "bedrock")}
"""Files of ``wire`` that say words for dialects."""
_REFUSING = ("Rejected", "_no", "_fault")


class Raised(NamedTuple):
    """An error code that stands at the place where it is raised, not on its class."""

    code: str
    error: str
    status: str
    sentence: str
    module: str


class Refusal(NamedTuple):
    """A ``Rejected``: its stable code and its sentence."""

    code: str
    sentence: str
    module: str


def raised_codes() -> list[Raised]:
    """Every ``SomeError(..., code="...")``."""
    found: dict[tuple[str, str, str], Raised] = {}
    for module, node in _calls():
        named = {one.arg: one.value for one in node.keywords if one.arg}
        code = _text(named.get("code"))
        if not code or "…" in code or not isinstance(node.func, ast.Name) or node.func.id == "Rejected":
            continue
        if node.func.id[0].islower() or node.func.id in ("Check", "Happening", "Entry", "Call"):
            continue
        status = named.get("status")
        text = str(status.value) if isinstance(status, ast.Constant) else ""
        sentence = _text(node.args[0]) if node.args else ""
        found.setdefault((code, node.func.id, text), Raised(code, node.func.id, text, sentence, module))
    for one in _own_codes():
        found.setdefault((one.code, one.error, one.status), one)
    return sorted(found.values())


@cache
def _nodes(path: Path) -> tuple[ast.AST, ...]:
    """All of a file's syntax tree: read once, asked often."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def _own_codes() -> list[Raised]:
    """Of error classes outside ``base.errors`` that give their class a code: ``super().__init__(..., code="...")``."""
    found: list[Raised] = []
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        if parts[0] in _NO_ERRORS:
            continue
        classes = [node for node in _nodes(path) if isinstance(node, ast.ClassDef)]
        for kind in classes:
            for node in ast.walk(kind):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                code = _text(next((one.value for one in node.keywords if one.arg == "code"), None))
                if node.func.attr == "__init__" and code and "…" not in code:
                    sentence = _text(node.args[0]) if node.args else ""
                    found.append(Raised(code, kind.name, "", sentence, ".".join(parts)))
    return found


def refusals() -> list[Refusal]:
    """Every ``Rejected("code", "sentence")``, written out or through a dialect's own short form of it."""
    found: dict[str, Refusal] = {}
    for module, node in _calls():
        if not isinstance(node.func, ast.Name) or node.func.id not in _REFUSING or not node.args:
            continue
        texts = [_text(one) for one in node.args]
        short = node.func.id != "Rejected" and "-" not in texts[0]
        if re.fullmatch(r"[a-z_…]+(-[a-z_…]+)*", texts[0]) and not short and module != "config.secrets":
            sentence = next((text for text in texts[1:] if " " in text), "")
            found.setdefault(texts[0], Refusal(texts[0], sentence, module))
    return sorted(found.values())


def adjustments() -> dict[str, list[str]]:
    """Words of ``x-penstock-adjusted`` -> dialects that say them; … stands for a field's or a part's name."""
    found: dict[str, set[str]] = {}
    shared = {SRC / "wire" / file: speakers for file, speakers in _SHARED.items()}
    for path in (*sorted((SRC / "dialects").rglob("*.py")), *shared):
        speakers = shared.get(path) or (_dialect(path),)
        nodes = _nodes(path)
        docs = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        inside = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in nodes:
            if id(node) in docs or id(node) in inside:
                continue
            word = _text(node) if isinstance(node, ast.Constant | ast.JoinedStr) else ""
            if _WORD.fullmatch(word):
                found.setdefault(word, set()).update(speakers)
    return {word: sorted(found[word]) for word in sorted(found)}


def _dialect(path: Path) -> str:
    """Whose file it is: a package's or a single file's, by its name."""
    return path.relative_to(SRC / "dialects").parts[0].removesuffix(".py")


_HEADER = re.compile(
    r"(?:\A|\n|%b)(x-[a-z-]+[a-z]|authorization|traceparent|retry-after(?:-ms)?|server-timing)(?:: |\Z)"
)


def header_names(*files: str) -> set[str]:
    """Names of HTTP headers that stand in these files' byte strings, alone or as the beginning of a line."""
    names: set[str] = set()
    for file in files:
        for node in _nodes(SRC / file):
            if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
                names.update(_HEADER.findall(node.value.decode("latin-1")))
    return names


def _calls() -> list[tuple[str, ast.Call]]:
    found: list[tuple[str, ast.Call]] = []
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        if parts[0] in _NO_ERRORS:
            continue
        found += [(".".join(parts), node) for node in _nodes(path) if isinstance(node, ast.Call)]
    return found


def _text(node: ast.AST | None) -> str:
    """A string as written; … where a value is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return ""
