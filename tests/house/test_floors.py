"""A module imports its own room and lower floors; never up, never sideways, never across."""

from tests.house.source import imports, modules

FLOORS: dict[str, int] = {
    "base": 0,
    "observe": 1, "config": 1, "wire": 1, "meter": 1, "blobs": 1,
    "objects": 2, "dialects": 2, "net": 2, "routing": 2, "cache": 2, "ledger": 2,
    "gateway": 3, "registry": 3, "state": 3,
    "server": 4,
    "wiring": 6, "simulate": 6, "testing": 6, "engine_wiring": 6,
    "cli": 7,
    "engine.measure": 2, "engine.kernels": 2, "engine.workloads": 3, "engine.tactics": 4, "engine.lab": 5, "engine.serve": 5,
}  # fmt: skip
ONLY: dict[str, set[str]] = {"simulate": {"base", "wire"}, "meter": set()}
"""Rooms that may know even less than their floor allows."""
COMMON = {"base", "observe", "config", "wire", "meter", "blobs"}
"""The ground floors: all that the engine's wing shares with the gateway's."""
BOTH = {"cli", "engine_wiring", "testing"}
"""Who stands above both wings."""
TORCHLESS = {
    "penstock.engine",
    "penstock.engine.measure.chains",
    "penstock.engine.measure.datasheets",
    "penstock.engine.measure.marks",
    "penstock.engine.lab.from_trace",
    "penstock.engine.measure.attribution",
    "penstock.engine.measure.device_names",
    "penstock.engine.measure.gaps",
    "penstock.engine.measure.intervals",
    "penstock.engine.measure.kernel_names",
    "penstock.engine.measure.ops",
    "penstock.engine.measure.places",
    "penstock.engine.measure.records",
    "penstock.engine.measure.roofline",
    "penstock.engine.measure.shapes",
    "penstock.engine.measure.stage_rows",
    "penstock.engine.measure.timeline",
    "penstock.engine.measure.trace",
    "penstock.engine.workloads.workload",
    "penstock.engine.lab.document",
    "penstock.engine.lab.figures",
    "penstock.engine.lab.hops",
    "penstock.engine.lab.points",
    "penstock.engine.lab.pricing",
    "penstock.engine.lab.report.markup",
    "penstock.engine.lab.report.page",
    "penstock.engine.lab.report.roofline",
    "penstock.engine.lab.report.sections",
    "penstock.engine.lab.report.timeline",
    "penstock.engine.lab.report.treemap",
    "penstock.engine.lab.report.waterfall",
    "penstock.engine.lab.speedscope",
}
"""Engine modules that a trace file needs: torch is not imported by them, and by nothing of ``measure.findings``."""
LONERS = "dialects"
"""Files of this room do not know their neighbours (a sub-package is one dialect)."""
KIN: dict[str, tuple[str, ...]] = {
    "penstock.dialects.openai_audio": (
        "penstock.dialects.openai_chat",
        "the same vendor: errors are read and written by the same words in both APIs",
    ),
    "penstock.dialects.openai_images": (
        "penstock.dialects.openai_chat",
        "the same vendor: errors are read and written by the same words in both APIs",
    ),
    "penstock.dialects.openai_responses": (
        "penstock.dialects.openai_chat",
        "the same vendor: errors, usage, caps and gateway fields are read and written by the same words in both APIs",
    ),
}
"""Dialects that may know one neighbour, with the reason."""
LATE: dict[str, str] = {
    "penstock.blobs.opening": "redis is imported only where one is named",
    "penstock.cli.cost_config": "YAML and the catalogue are loaded only where a configuration is named",
    "penstock.cli.cost_out": "pyarrow is an optional extra, and slow to load",
    "penstock.cli.keys": "--help and --print answer without loading the house",
    "penstock.cache.embed.opening": "onnxruntime and numpy are an extra, imported only where the embedder is opened",
    "penstock.cli.models": "YAML is loaded only where a configuration is to be read",
    "penstock.cli.profile": "--help answers without loading traces, reports or torch",
    "penstock.cli.serve": "--help answers without loading the house",
    "penstock.engine_wiring.profiling": "torch is loaded only where something is run: a trace file needs none",
    "penstock.wiring.caching": "the semantic tier is loaded only where it is on",
    "penstock.wiring.serve": "the cache is loaded only where it is configured",
    "penstock.wiring.meaning": "numpy, onnxruntime and usearch are imported only where the semantic tier is on",
    "penstock.gateway.pictures": "Pillow is an extra, imported only where a picture is given another form",
    "penstock.gateway.structured": "jsonschema is loaded behind the start, or with the first answer in a schema",
    "penstock.ledger.opening": "psycopg is imported only where a PostgreSQL ledger is named",
    "penstock.ledger.postgres.schema": "Alembic and SQLAlchemy are imported only where something is to be migrated",
    "penstock.net.aws_sign": "botocore is an optional extra, imported only where AWS keys are configured",
    "penstock.net.google_token": "google-auth is imported only where a service account is configured",
    "penstock.registry.opening": "psycopg is imported only where a PostgreSQL ledger is named",
    "penstock.wiring.objects": "psycopg is imported only where a PostgreSQL ledger is named",
    "penstock.state.opening": "redis is imported only where a shared state is named",
    "penstock.wiring.detokenizing": "tokenizers is an optional extra, loaded only where a tokenizer is configured",
    "penstock.simulate.oauth": "cryptography only when a service account is simulated",
}
"""Modules that may import inside a function, with the reason."""


def room(module: str) -> str:
    parts = module.split(".")
    if len(parts) > 2 and parts[1] == "engine":
        return f"engine.{parts[2]}"
    return parts[1] if len(parts) > 1 else ""


def engine(place: str) -> bool:
    """A room of the engine's wing."""
    return place.split(".", maxsplit=1)[0] == "engine"


def sins(found: dict[str, list[tuple[str, int, bool]]]) -> list[str]:
    """Readable sentences, one a broken rule."""
    said: list[str] = []
    for name, imported in found.items():
        mine = room(name)
        for target, line, local in imported:
            where = f"{name}:{line}"
            if target.startswith("."):
                said.append(f"{where} imports relatively; write penstock.… in full")
                continue
            if local and name not in LATE:
                said.append(f"{where} imports {target} inside a function; name it in LATE with a reason")
            if target.split(".")[0] == "torch" and (
                not engine(mine) or name in TORCHLESS or name.startswith("penstock.engine.measure.findings")
            ):
                said.append(f"{where} imports torch, which stays in the engine's wing")
            if not target.startswith("penstock.") or not mine or mine == "__main__":
                continue
            theirs = room(target)
            if theirs not in FLOORS or mine == "engine":
                continue
            if engine(mine) != engine(theirs) and theirs not in COMMON and mine not in BOTH:
                said.append(f"{where}: {mine} imports {theirs}, of the other wing")
                continue
            if mine == theirs:
                own, other = name.split(".")[:3], target.split(".")[:3]
                kin = KIN.get(".".join(own), ("", ""))[0] == ".".join(other)
                if mine == LONERS and name.count(".") > 1 and own != other and not kin:
                    said.append(f"{where}: a dialect knows its neighbour {target}")
            elif mine in ONLY and theirs not in ONLY[mine]:
                said.append(f"{where}: {mine} may know only {sorted(ONLY[mine])}, not {theirs}")
            elif FLOORS[theirs] >= FLOORS[mine] and mine != "testing":
                said.append(
                    f"{where}: {mine} (floor {FLOORS[mine]}) imports {theirs} (floor {FLOORS[theirs]})"
                )
    return said


def test_every_room_has_a_floor():
    """A new room is a decision, made here."""
    rooms = {room(name) for name in modules()} - {"", "__main__", "engine"}
    assert rooms <= set(FLOORS), f"rooms without a floor: {rooms - set(FLOORS)}"


def test_imports_go_down_only():
    """The house's one sentence, in code; imports inside functions count."""
    assert sins({name: imports(tree) for name, tree in modules().items()}) == []


def test_planted_sins_are_caught():
    """The test can fail: planted sins, a sentence each."""
    planted = {
        "penstock.base.errors": [("penstock.gateway.call", 1, False)],
        "penstock.ledger.journal": [("penstock.routing.plan", 1, True)],
        "penstock.dialects.gemini": [("penstock.dialects.anthropic", 1, False)],
        "penstock.dialects.openai_chat.usage": [("penstock.dialects.openai_responses.reading", 1, False)],
        "penstock.simulate.server": [("penstock.dialects.gemini", 1, False)],
        "penstock.gateway.call": [("torch", 1, False), ("penstock.engine.measure.records", 1, False)],
        "penstock.engine.measure.trace": [("torch", 1, False)],
        "penstock.engine.measure.findings.waits": [("torch", 1, False)],
        "penstock.engine.lab.run": [("penstock.ledger.entry", 1, False), ("penstock.base.money", 1, False)],
        "penstock.engine.workloads.module": [("penstock.engine.lab.run", 1, False), ("torch", 1, False)],
    }
    said = sins(planted)  # the ledger's sin is two: sideways, and inside a function
    assert len(said) == 12, said
