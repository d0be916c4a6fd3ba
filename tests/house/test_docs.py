"""The docs agree with the code: fresh, whole, linked, and with figures that were measured."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from typing import get_args

import pytest

import penstock
from penstock.base import errors
from penstock.base.events import LAW
from penstock.cli.main import COMMANDS
from penstock.dialects import CALLERS, UPSTREAMS
from penstock.ledger.entry import EntryClass
from penstock.observe.names import METRICS
from tests.house.reference import (
    build_reference,
    first_cells,
    page,
    reference_coverage,
    reference_figures,
    reference_pages,
    reference_source,
    reference_tables,
)
from tests.house.source import ROOT, SRC
from tests.house.test_floors import FLOORS

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<to>[^)\s]+)\)")
EXTRAS = re.compile(r"(?:['\"]\.|\bpenstock)\[(?P<extras>[a-z, ]+)\]")
"""Of an installation from a clone, or by name."""
DECISIONS = ROOT / "docs/explanation/decisions"
OUR_HEADERS = (
    "gateway/heads.py",
    "gateway/caching/hits.py",
    "server/respond.py",
    "server/asgi.py",
    "routing/limits.py",
    "server/http1.py",
)
"""Files that write a reply's headers."""
READ_HEADERS = (
    "gateway/principal.py",
    "gateway/heads.py",
    "gateway/caching/quick.py",
    "server/admin.py",
    "server/jobs.py",
    "server/batches_pages.py",
)
"""Files that read a caller's."""


def test_every_extra_that_the_pages_install_exists():
    """``pip install '.[engine]'``, ``'penstock[postgres,redis]'``: a misspelt extra installs nothing and only warns."""
    known = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = {
        extra.strip()
        for page in PAGES
        for found in EXTRAS.finditer(page.read_text())
        for extra in found["extras"].split(",")
    }
    assert {"engine", "diffusion", "postgres"} <= named
    assert named <= known


def test_the_reference_is_fresh():
    """``make docs`` would change nothing."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/build_reference.py"), "--check"],
        env={"PYTHONPATH": str(SRC.parent)}, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_staleness_is_noticed(tmp_path, monkeypatch, capsys):
    """``--check`` can fail: a changed page is named."""
    monkeypatch.setattr(build_reference, "ROOT", tmp_path)
    monkeypatch.setattr(build_reference, "REFERENCE", tmp_path / "reference")
    monkeypatch.setattr(build_reference, "wanted", lambda: {tmp_path / "reference" / "cli.md": "new"})
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "cli.md").write_text("old", encoding="utf-8")
    (tmp_path / "reference" / "gone.md").write_text("old", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["build_reference.py", "--check"])
    assert build_reference.main() == 1
    said = capsys.readouterr().out
    assert "cli.md is stale" in said
    assert "gone.md is stale" in said


def test_every_command_has_its_section():
    """With each of its options."""
    text = page("cli.md")
    for name, (module, summary) in COMMANDS.items():
        assert f"\n## penstock {name}\n\n{summary}\n" in text
        section = text.split(f"\n## penstock {name}\n")[1].split("\n## ")[0]
        source = (SRC.parent / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        assert "SUPPRESS" not in section
        told = source.split("def add_arguments")[1].split("\ndef ")[0]
        told = re.sub(r'"--[a-z-]+"[^\n]*help=argparse\.SUPPRESS', "", told)  # what is not for people
        for option in re.findall(r'"(--[a-z-]+)"', told):
            assert f"`{option}" in section, f"penstock {name} {option}"
        assert import_module(module).__doc__


def test_every_metric_has_its_row():
    """By its full name."""
    assert {metric.name for metric in METRICS} <= first_cells("metrics.md")


def test_every_error_and_code_has_its_row():
    """Classes, their codes, codes given where an error is raised, and reasons of refusal."""
    rows, text = first_cells("errors.md"), page("errors.md")
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.PenstockError):
            assert name in rows
            assert f"`{kind.default_code}`" in text
    assert {one.code for one in reference_source.raised_codes()} <= rows
    assert {one.code for one in reference_source.refusals()} <= rows
    assert {f"upstream_timeout_{phase}" for phase in get_args(errors.TimeoutPhase)} <= rows


def test_the_source_is_read_for_codes():
    """The scan finds what is known to be there: it has not gone blind."""
    assert {"ledger_full", "key_expired", "missing_api_key"} <= {
        one.code for one in reference_source.raised_codes()
    }
    assert {"keys-cooling", "n-unsupported", "open"} <= {one.code for one in reference_source.refusals()}
    words = reference_source.adjustments()
    assert {"strict-dropped", "temperature-clamped", "user-turn-added"} <= set(words)
    assert all(word in page("dialects.md") for word in words)


def test_headers_are_those_of_the_code():
    """Nothing is read or sent that the page does not name, and the page names nothing else."""
    sent = reference_source.header_names(*OUR_HEADERS)
    read = reference_source.header_names(*READ_HEADERS)
    named = set(reference_tables.REQUEST_HEADERS) | set(reference_tables.RESPONSE_HEADERS)
    assert sent | read <= named
    assert {"x-ratelimit-limit-requests", "x-request-id", "x-penstock-cost-usd"} <= sent
    source = "".join((SRC / file).read_text(encoding="utf-8") for file in (*OUR_HEADERS, *READ_HEADERS))
    assert [name for name in named if name not in source] == []


def test_every_path_is_documented():
    """Each served path has its meaning, and each meaning its path."""
    assert set(reference_pages.api_paths()) == set(reference_tables.API_PATHS)


def test_a_path_is_named_once():
    """A page that is served by two routes is one page."""
    for name, paths in reference_pages.api_paths().items():
        also = reference_pages._also(name, paths).split(", ")
        assert len(also) == len(set(also)), name


def test_who_says_a_word_is_a_dialect():
    """By its name, not by its file's."""
    said = {who for all_who in reference_source.adjustments().values() for who in all_who}
    assert {"fal", "stability", "bedrock"} <= said
    assert [who for who in said if who.endswith(".py")] == []


def test_every_how_to_page_is_linked_from_the_readme():
    """Whoever looks for a task finds it."""
    linked = {link["to"] for link in LINK.finditer((ROOT / "README.md").read_text(encoding="utf-8"))}
    pages = {f"docs/how-to/{one.name}" for one in (ROOT / "docs/how-to").glob("*.md")}
    assert len(pages) > 30
    assert pages - linked == set()


def test_every_dialect_is_in_the_table():
    """Callers' and providers'; a new one must be tried out, too."""
    assert set(CALLERS) | set(UPSTREAMS) <= first_cells("dialects.md")
    assert set(UPSTREAMS) == set(reference_coverage.MODELS)


def test_every_class_of_an_entry_is_explained():
    """The ledger's classes and no others."""
    assert set(get_args(EntryClass)) == set(reference_tables.CLASSES)


def test_the_architecture_shows_the_rooms_and_floors():
    """Its table has every room, on the floor that the floors' test gives it."""
    text = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    shown = {room: int(floor) for floor, room in re.findall(r"^\| (\d) \| `([\w.]+)`", text, re.MULTILINE)}
    rooms = {path.name for path in SRC.iterdir() if (path / "__init__.py").exists()} - {"engine"}
    rooms |= {f"engine.{path.name}" for path in (SRC / "engine").iterdir() if (path / "__init__.py").exists()}
    assert set(shown) == rooms
    assert {room: FLOORS[room] for room in shown} == shown


def test_the_architecture_shows_the_law():
    """The table between its marks is ``base.events.LAW``, state by state."""
    rows = [line.split(" | ") for line in reference_pages.law().splitlines()]
    kinds = [cell.strip("| ") for cell in rows[0][1:]]
    drawn = {
        row[0].strip("| `"): dict(zip(kinds, (c.strip("| ") for c in row[1:]), strict=True))
        for row in rows[2:]
    }
    lawful = {state: {kind.__name__: to for kind, to in moves.items()} for state, moves in LAW.items()}
    assert {s: {k: to for k, to in row.items() if to != "-"} for s, row in drawn.items()} == lawful


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    """Every relative link has its file; every anchor its heading."""
    dead = []
    for link in LINK.finditer(path.read_text(encoding="utf-8")):
        to, _, anchor = link["to"].partition("#")
        if to.startswith(("http://", "https://", "mailto:")):
            continue
        target = (path.parent / to).resolve() if to else path
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append(link["to"])
    assert dead == []


def _anchors(path):
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_page_can_be_found():
    """No page of docs is linked from nowhere (decisions are found through their folder)."""
    linked = {
        (path.parent / link["to"].partition("#")[0]).resolve()
        for path in PAGES
        for link in LINK.finditer(path.read_text(encoding="utf-8"))
    }
    assert [
        str(path)
        for path in PAGES
        if path.relative_to(ROOT).parts[0] == "docs" and path not in linked and path.parent != DECISIONS
    ] == []


def test_files_named_in_the_source_exist():
    """A docstring that sends to docs/… or scripts/… sends to something."""
    named = {
        (path.name, found)
        for path in SRC.rglob("*.py")
        for found in re.findall(
            r"\b(?:docs|scripts|tests)/[\w/.-]+\.(?:md|py)", path.read_text(encoding="utf-8")
        )
    }
    assert [(where, what) for where, what in named if not (ROOT / what).exists()] == []


def test_decisions_are_numbered_dated_and_priced():
    """Each has its date, status, place, price, and how we would know that it was wrong."""
    paths = sorted(DECISIONS.glob("*.md"))
    assert [int(path.name[:3]) for path in paths] == list(range(1, len(paths) + 1))
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert re.search(r"^- Date: \d{4}-\d\d-\d\d$", text, re.MULTILINE), path.name
        for part in (
            "- Status: ",
            "- Where: ",
            "## Context",
            "## Decision",
            "## Price",
            "## How we would know it was wrong",
        ):
            assert part in text, f"{path.name} lacks {part}"
        where = next(line for line in text.splitlines() if line.startswith("- Where: "))
        first = re.findall(r"`(src/[^`]+)`", where)
        assert first, path.name
        assert all((ROOT / one).exists() for one in first), path.name


def test_version_and_changelog_agree():
    """The newest released section is the package's version, in code and in pyproject."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert released[0] == penstock.__version__
    assert f'version = "{penstock.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text


def test_the_readmes_figures_come_from_recorded_runs():
    """The block between the marks is what the newest records say; a figure without a file cannot stand there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.split("<!-- figures:start -->\n")[1].split("\n<!-- figures:end -->")[0]
    assert block == reference_figures.figures()
    for name in re.findall(r"benches/results/([^)]+\.json)", block):
        assert (ROOT / "benches/results" / name).exists()


def test_figures_are_of_the_newest_run(tmp_path):
    """Of two runs the later one is shown, with what ran beside it; of none it is said that there is none."""
    assert reference_figures.figures(tmp_path) == reference_figures.NONE
    for day, added in (("20", 90.0), ("21", 70.5)):
        record = {
            "theme": "gateway-whole",
            "at": f"2026-11-{day}T10:00:00+00:00",
            "machine": {"cpu": "Some CPU", "cores": 2, "load_before": [0.1, 0.1, 0.1]},
            "versions": {"python": "3.11.7"},
            "commit": f"abc{day}",
            "whole": {"summary": {"added_p50_us": {"nginx": 29.0, "penstock": added}}},
        }
        name = f"gateway-whole_2cores_2026-11-{day}.json"
        (tmp_path / name).write_text(json.dumps(record), encoding="utf-8")
    said = reference_figures.figures(tmp_path)
    assert "70.5 µs (in the same run: nginx 29.0)" in said
    assert "90.0" not in said
    assert "commit abc21" in said


def test_ci_runs_what_the_readme_names():
    """The two commands of the README are in use by ``.ci/run``, and are targets of the Makefile."""
    ci = ROOT / ".ci/run"
    lines = ci.read_text(encoding="utf-8").splitlines()
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert ci.stat().st_mode & 0o111
    made = {word for line in lines if line.startswith("make ") for word in line.split()}
    for name in ("demo", "check", "test"):
        assert name in made
        assert name in targets
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "```bash\nmake demo\nmake test\n```" in readme
