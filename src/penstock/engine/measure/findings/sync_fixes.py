"""What to write in place of a line that makes the host wait: made from the line itself, where it can be parsed."""

import ast
import textwrap

from penstock.engine.measure.places import in_library

NUMBERS = ("int", "float", "bool")

SHAPED = "A result whose size the values decide must be counted by the host. Keep the size fixed."
REMEDIES = {
    "item": ("Keep the value on the device, a tensor; read it once, after the loop.", ""),
    "nonzero": (SHAPED, "y = torch.where(mask, x, 0)"),
    "mask": (SHAPED, "y = torch.where(mask, x, 0)"),
    "masked_select": (SHAPED, "y = torch.where(mask, x, 0)"),
    "unique": (
        "How many different values there are is counted by the host. Do it once, outside the loop.",
        "",
    ),
    "equal": ("Compare on the device, and read the answer once, after the loop.", "same = (a == b).all()"),
    "copy to host": (
        "Copy once, after the loop; or do not wait for it.",
        'host = x.to("cpu", non_blocking=True)',
    ),
    "copy from pageable memory": (
        "Make it on the device; or pin it, and do not wait.",
        "x = host.pin_memory().to(device, non_blocking=True)",
    ),
}
"""By what ``measure.syncs`` calls them: for lines of which nothing better is known."""


OF_OPS = {
    "_local_scalar_dense": "item",
    "nonzero": "nonzero",
    "masked_select": "masked_select",
    "equal": "equal",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique",
}
"""Ops as a trace names them (``ops.SYNCING``) -> what they are called here."""


def remedy(op: str, where: str, line: str) -> tuple[str, str]:
    """A sentence and code, possibly empty.

    Args:
        op: ``item``, ``copy to host``.
        where: ``path/file.py:12 in step``.
        line: the source there; empty where it is not known.
    """
    if in_library(where):
        return (
            "The line is a library's, not yours: look for an argument of it that avoids the read, or call it less often.",
            "",
        )
    for statement in _statements(line):
        made = _item(statement) if op == "item" else _copy(statement) if op == "copy to host" else None
        if made is not None:
            return made
    return REMEDIES.get(op, ("Do it once, outside the loop.", ""))


def _statements(line: str) -> list[ast.stmt]:
    """The statements of one line; none where it is a part of a longer one."""
    text = textwrap.dedent(line).strip()
    if not text:
        return []
    try:
        return ast.parse(f"{text}\n    pass" if text.endswith(":") else text).body
    except SyntaxError:
        return []


def _item(statement: ast.stmt) -> tuple[str, str] | None:
    if isinstance(statement, ast.If):
        condition = ast.unparse(_Unread().visit(statement.test))
        return (
            "The branch reads a tensor's value. Compute both sides and choose on the device.",
            f"y = torch.where({condition}, when_true, when_false)",
        )
    unread = _Unread()
    if isinstance(statement, ast.AugAssign):
        statement.value = unread.visit(statement.value)
        if unread.found:
            return "Accumulate a tensor; read it once, after the loop.", ast.unparse(statement)
    elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
        statement.value = unread.visit(statement.value)
        if unread.found:
            return (
                "Keep it a tensor, and compute on with it on the device; read it once, after the loop.",
                ast.unparse(statement),
            )
    return None


class _Unread(ast.NodeTransformer):
    """``x.item()`` and ``int(x.sum())`` become what they read."""

    def __init__(self) -> None:
        self.found = False

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr == "item" and not node.args:
            self.found = True
            return called.value
        if isinstance(called, ast.Name) and called.id in NUMBERS and len(node.args) == 1:
            self.found = True
            return node.args[0]
        return node


def _copy(statement: ast.stmt) -> tuple[str, str] | None:
    """The tensor that is copied, by its own name."""
    target = (
        ast.unparse(statement.targets[0])
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        else "host"
    )
    for node in ast.walk(statement):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("cpu", "to")
        ):
            return (
                "Copy once, after the loop; or do not wait here, but before the copy is used.",
                "\n".join(
                    [
                        f'{target} = {ast.unparse(node.func.value)}.to("cpu", non_blocking=True)',
                        f"torch.cuda.synchronize()  # before {target} is read",
                    ]
                ),
            )
    return None
