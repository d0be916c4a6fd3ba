"""The package's source as the house tests see it: modules, their trees, their imports."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "penstock"


@cache
def modules() -> dict[str, ast.Module]:
    """Dotted name -> syntax tree, for every module of the package."""
    found: dict[str, ast.Module] = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return found


def path_of(name: str) -> Path:
    """The file of a module."""
    base = SRC.parent / Path(*name.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def imports(tree: ast.Module) -> list[tuple[str, int, bool]]:
    """(module, line, inside a function) for each import, whichever way it is written."""
    found: list[tuple[str, int, bool]] = []

    def walk(node: ast.AST, local: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend((alias.name, child.lineno, local) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                found.append(("." * child.level + (child.module or ""), child.lineno, local))
            walk(child, local or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    walk(tree, local=False)
    return found
