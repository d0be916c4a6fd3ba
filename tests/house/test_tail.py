"""The tail is legislated, the median is not: long files, long functions, wide signatures, fat classes."""

import ast
import re
from itertools import pairwise

from tests.house.source import ROOT, modules, path_of

MAX_FILE, MAX_FUNCTION, MAX_PARAMETERS, MAX_METHODS, MAX_CALL = 500, 60, 8, 20, 250
_NATIVE_DEF = re.compile(r"\s*(cdef class |(cdef|cpdef|def) [^=]*\()|include ")
GIANTS: dict[str, int] = {}
"""Name -> measured size. A number here may only fall."""


def sizes() -> dict[str, tuple[int, int]]:
    """Every file, function, signature and class over nothing: name -> (size, limit)."""
    found: dict[str, tuple[int, int]] = {}
    for name, tree in modules().items():
        lines = len(path_of(name).read_text(encoding="utf-8").splitlines())
        found[name] = (lines, MAX_CALL if name == "penstock.gateway.call" else MAX_FILE)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                key = f"{name}:{node.name}"
                found[key] = (max(found.get(key, (0, 0))[0], _length(node)), MAX_FUNCTION)
                widest = max(found.get(f"{key}()", (0, 0))[0], _parameters(node))
                found[f"{key}()"] = (widest, MAX_PARAMETERS)
            elif isinstance(node, ast.ClassDef):
                methods = sum(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) for n in node.body)
                found[f"{name}:{node.name} methods"] = (methods, MAX_METHODS)
    return found


def native_sizes() -> dict[str, tuple[int, int]]:
    """The same of native sources: files, and functions from one ``def`` to the next."""
    found: dict[str, tuple[int, int]] = {}
    for path in sorted((ROOT / "src").rglob("*.p[yx][xi]")):
        if path.suffix not in (".pyx", ".pxi"):
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        found[path.name] = (len(lines), MAX_FILE)
        starts = [i for i, line in enumerate(lines) if _NATIVE_DEF.match(line)] + [len(lines)]
        for start, end in pairwise(starts):
            body = [line for line in lines[start:end] if line.strip()]
            found[f"{path.name}:{lines[start].strip()}"] = (len(body), MAX_FUNCTION)
    return found


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    start, end = node.lineno, node.end_lineno or node.lineno
    doc = node.body[0] if ast.get_docstring(node) is not None else None
    return end - start + 1 - (0 if doc is None else (doc.end_lineno or 0) - doc.lineno + 1)


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Positional ones: keyword-only parameters name themselves at the call."""
    arguments = node.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    return len([n for n in names if n not in ("self", "cls")])


def test_no_new_giants():
    """Nothing grows past the limits but what is listed, and that only shrinks."""
    every = sizes() | native_sizes()
    over = {key: size for key, (size, limit) in every.items() if size > GIANTS.get(key, limit)}
    assert over == {}


def test_the_list_of_giants_is_honest():
    """A giant that has shrunk gets its new number; one that is none leaves the list."""
    now = sizes()
    stale = {key: now.get(key) for key, size in GIANTS.items() if key not in now or now[key][0] != size}
    assert stale == {}


def test_no_utils():
    """A file is named for what it owns."""
    assert [name for name in modules() if "util" in name.rsplit(".", 1)[-1]] == []


def test_every_module_says_what_it_is_for():
    """A room says at its door what it is for."""
    silent = [name for name, tree in modules().items() if not ast.get_docstring(tree)]
    assert silent == []
