"""The container files start what the README starts: checked without an engine, by linters and by reading them.

``hadolint`` reads the Containerfile, ``check-jsonschema`` holds compose.yaml to the compose specification's schema
(which it carries). What no linter knows (that the command is a real one, that both files agree) is read here.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from penstock.cli.main import COMMANDS
from tests.house.source import ROOT

CONTAINERFILE = ROOT / "Containerfile"
COMPOSE = ROOT / "compose.yaml"
KNOWN = {
    "FROM", "WORKDIR", "COPY", "RUN", "ENV", "VOLUME", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT",
    "CMD", "LABEL", "ARG",
}  # fmt: skip
REGISTRY_HOST = re.compile(r"\b[\w-]+(\.[\w-]+)+(:\d+)?/\S+")


def tool(name: str) -> str | None:
    """A program beside this Python, or on the path."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def instructions(text: str) -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments) in order; comments gone, continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (word.upper(), rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines())
    ]


def last_stage(text: str) -> list[tuple[str, str]]:
    """What the image is made of: everything after the last FROM."""
    found = instructions(text)
    start = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def one(stage: list[tuple[str, str]], word: str) -> str:
    """The arguments of an instruction that stands once."""
    (arguments,) = [rest for name, rest in stage if name == word]
    return arguments


def sins(text: str) -> list[str]:
    """What is wrong with a Containerfile, in sentences."""
    said: list[str] = []
    found, stage = instructions(text), last_stage(text)
    words = [word for word, _ in found]
    said += [f"{word} is no instruction" for word in words if word not in KNOWN]
    said += [
        f"{rest} names a registry" for word, rest in found if word == "FROM" and REGISTRY_HOST.search(rest)
    ]
    said += [f"{rest} has no tag" for word, rest in found if word == "FROM" and ":" not in rest.split()[0]]
    for word in ("USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"):
        if [name for name, _ in stage].count(word) != 1:
            said.append(f"{word} must stand once in the last stage")
    if said:
        return said
    if one(stage, "USER").split(":")[0] in ("root", "0"):
        said.append("the process must not be root")
    order = [name for name, _ in stage]
    if order.index("USER") < max(index for index, name in enumerate(order) if name == "RUN"):
        said.append("RUN after USER would not install")
    if one(stage, "EXPOSE") != "8080":
        said.append("the README says 8080")
    if "/health" not in one(stage, "HEALTHCHECK") or ":8080" not in one(stage, "HEALTHCHECK"):
        said.append("HEALTHCHECK must ask /health at 8080")
    return said


def command() -> list[str]:
    """What the container runs."""
    stage = last_stage(CONTAINERFILE.read_text(encoding="utf-8"))
    return [*json.loads(one(stage, "ENTRYPOINT")), *json.loads(one(stage, "CMD"))]


def test_the_containerfile_is_sound():
    """Known instructions, base image by name and tag only, not root, one port, a health check."""
    assert sins(CONTAINERFILE.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("USER 10001", "USER root", "must not be root"),
        ("USER 10001\n", "", "USER must stand once"),
        ("EXPOSE 8080", "EXPOSE 80", "the README says 8080"),
        ("8080/health'", "8080/status'", "HEALTHCHECK"),
        ("FROM python:3.11-slim\n", "FROM registry.example.com/python:3.11-slim\n", "names a registry"),
        ("WORKDIR /var", "WORKDIRR /var", "is no instruction"),
    ],
)
def test_planted_sins_are_caught(old, new, said):
    """The test can fail."""
    text = CONTAINERFILE.read_text(encoding="utf-8")
    assert old in text
    assert any(said in sin for sin in sins(text.replace(old, new)))


def test_the_command_is_one_that_penstock_takes():
    """``penstock serve`` with options that its parser knows; it listens for others, so it needs virtual keys."""
    words = command()
    assert words[:2] == ["penstock", "serve"]
    assert words[1] in COMMANDS
    said = subprocess.run(
        [sys.executable, "-m", "penstock", "serve", "--help"],
        env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=30, check=True,
    ).stdout  # fmt: skip
    assert [word for word in words if word.startswith("--") and word not in said] == []
    assert words[words.index("--config") + 1] == "/etc/penstock/penstock.yaml"
    assert words[words.index("--host") + 1] == "0.0.0.0"
    assert "--open" not in words


def test_the_command_refuses_to_be_open_to_all(tmp_path):
    """Run as the container runs it, a configuration without virtual keys does not start, and says what to do."""
    config = tmp_path / "penstock.yaml"
    config.write_text("providers: {openai: {keys: [{value: env.OPENAI_KEY}]}}\n", encoding="utf-8")
    replaced = {
        "/etc/penstock/penstock.yaml": str(config),
        "/var/lib/penstock/penstock.db": str(tmp_path / "p.db"),
    }
    words = [replaced.get(word, word) for word in command()[1:]]
    done = subprocess.run(
        [sys.executable, "-m", "penstock", *words],
        env={"PYTHONPATH": str(ROOT / "src"), "OPENAI_KEY": "sk-made-up"},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "virtual_keys" in done.stderr
    assert "--open" in done.stderr


def test_everything_that_is_copied_is_there():
    """And is let through by .dockerignore, which lets nothing else through."""
    let_through = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line[:1] == "!"
    }
    copied: set[str] = set()
    for word, rest in instructions(CONTAINERFILE.read_text(encoding="utf-8")):
        if word == "COPY" and not rest.startswith("--from"):
            copied |= set(rest.split()[:-1])
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'readme = "README.md"' in project


def test_compose_starts_the_same_thing():
    """The same file, port, volume and configuration; nothing of the command is said twice."""
    service = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]["penstock"]
    stage = last_stage(CONTAINERFILE.read_text(encoding="utf-8"))
    assert service["build"]["dockerfile"] == CONTAINERFILE.name
    assert "command" not in service
    assert "entrypoint" not in service
    assert [port.rpartition(":")[2] for port in service["ports"]] == [one(stage, "EXPOSE")]
    mounted = {volume.split(":")[1] for volume in service["volumes"]}
    assert mounted == {"/etc/penstock/penstock.yaml", one(stage, "VOLUME")}
    assert all(value is None for value in service["environment"].values()), "secrets come from the shell"
    assert int(service["stop_grace_period"].rstrip("s")) > 30, "longer than server.drain_timeout_ms"
    assert not REGISTRY_HOST.search(service["image"])


def test_hadolint_finds_nothing():
    """The linter of Containerfiles."""
    hadolint = tool("hadolint")
    if hadolint is None:
        pytest.skip("hadolint has no build for this machine; the structural tests stand")
    done = subprocess.run(
        [hadolint, str(CONTAINERFILE)], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_is_of_the_specification(tmp_path):
    """Held to the compose specification's own schema, which can say no."""
    checker = tool("check-jsonschema")
    assert checker is not None, "check-jsonschema belongs to the test extra"
    words = [checker, "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*words, str(COMPOSE)], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(
        COMPOSE.read_text(encoding="utf-8").replace("read_only: true", "read_onyl: true"), encoding="utf-8"
    )
    done = subprocess.run([*words, str(wrong)], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 1
