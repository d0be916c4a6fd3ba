"""No failure is swallowed: a broad except must contain a raise, or stand here with its reason."""

import ast

from tests.house.source import modules

SHIELDS: dict[str, str] = {
    "penstock.engine.lab.compare:tried": "keeps the reason, which the profile shows: a variant that cannot run ends no comparison",
    "penstock.engine.lab.probes.sequence:_attempt": "keeps the reason, which the profile shows: a probe that cannot run ends no profile",
    "penstock.engine.lab.session:__exit__": "logs, keeps the reason: what is profiled must not fail by being profiled, nor lose its own error",
    "penstock.engine.lab.session:_sampled": "as __exit__: the function then runs bare",
    "penstock.gateway.books:flush": "logs: one record that cannot be written up does not take its batch with it",
    "penstock.gateway.caching.aside:__call__": "hands it to who awaits it, where it is raised",
    "penstock.gateway.caching.aside:_run": "counts it: an entry that cannot be taken up is a miss (issue 6), and others wait behind it",
    "penstock.gateway.caching.caching:_learn": "logs: the answer has left, and its audit is not its caller's business",
    "penstock.gateway.caching.fetching:_complete": "logs: the answer has left; whoever means the same is answered anew",
    "penstock.gateway.caching.fetching:_keep": "logs: the answer has left; the next call like it is answered anew",
    "penstock.gateway.caching.finding:by_meaning": "logs: what fails in the cache is a miss (issue 6)",
    "penstock.gateway.caching.finding:exact": "logs: what fails in the cache is a miss (issue 6)",
    "penstock.gateway.caching.flights:_tell": "hands it to the follower, whose call raises it: the leader's goes on",
    "penstock.gateway.lane:over": "hands it to the long way, which settles, logs and answers 500: no task could raise it here",
    "penstock.gateway.lane:begin": "hands it to the long way, as over does: the call is charged by then, and must be settled",
    "penstock.meter.block:__enter__": "logs once: what is metered must not fail by being metered",
    "penstock.meter.block:__exit__": "logs once: what is metered must not fail by being metered",
    "penstock.meter.energy:open": "logs: whatever a GPU's driver does, joules are then not known",
    "penstock.meter.reporter:_run": "logs, counts what was lost: the one thread goes on with the next batch",
    "penstock.server.app:_carry_on": "answers 500 and logs, as _shield does, for calls that left the short lane",
    "penstock.server.app:quick": "logs, and leaves the call to the long way: nothing of it was begun",
    "penstock.server.app:served": "logs: the call has been answered, and learning from it is not its business",
    "penstock.server.later:_do": "logs, and gives the work back: it is due again a little later",
    "penstock.server.app:_shield": "answers 500 and logs: no request ends without an answer",
}


def broad_and_silent(name: str, tree: ast.Module) -> list[str]:
    """Names of functions with a broad except that never raises."""
    found: list[str] = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            silent = not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            if isinstance(node, ast.ExceptHandler) and _broad(node.type) and silent:
                found.append(f"{name}:{function.name}")
    return found


def _broad(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(isinstance(k, ast.Name) and k.id in ("Exception", "BaseException") for k in kinds)


def test_nothing_is_swallowed():
    """Every broad except raises, or is a shield named above."""
    found = {sin for name, tree in modules().items() for sin in broad_and_silent(name, tree)}
    assert found - set(SHIELDS) == set()


def test_shields_still_stand():
    """The list names only what exists."""
    found = {sin for name, tree in modules().items() for sin in broad_and_silent(name, tree)}
    assert set(SHIELDS) - found == set()


def test_a_planted_swallow_is_caught():
    """The test can fail."""
    tree = ast.parse("def f():\n    try:\n        g()\n    except Exception:\n        pass\n")
    assert broad_and_silent("m", tree) == ["m:f"]


READS_ITSELF = {"penstock.meter.reporter": "runs in somebody else's process, without our configuration"}


def test_the_environment_has_one_reader():
    """Only the loader is handed os.environ, by the command line; no other module of the gateway reads it."""
    readers = [
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv")
        and not name.startswith("penstock.cli")
    ]
    assert set(readers) == set(READS_ITSELF)
