"""Fenced blocks of the docs, and a reader who does what a page says: a temp folder, a gateway, simulated providers.

What is changed on the way, and nothing else: the addresses of the docs (127.0.0.1:8080, :9090 and :9099) become the free
ports of this run; a provider without ``base_url`` gets the simulator's; secrets that a page names get made-up values.
"""

import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

from penstock.config.catalogue import Catalogue
from penstock.config.load import _UniqueKeys as Loader
from penstock.config.load import load_text
from penstock.simulate import Scenario, Simulator

ROOT = Path(__file__).parents[2]
EXECUTED = ("bash", "sh", "python", "yaml")
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<lang>\w*) *\n(?P<body>.*?)^(?P=indent)``` *$", re.MULTILINE | re.DOTALL
)
_MARK = re.compile(r"<!-- not-executed: (?P<why>.+?) -->\s*\Z", re.DOTALL)
_SECRET = re.compile(r"env\.([A-Z][A-Z0-9_]*)")
_CURL = 'curl() { command curl --silent --show-error --fail-with-body --max-time 20 "$@"; }\n'
_URL = re.compile(r'"url": ?"([^"]+)"')


@dataclass
class Block:
    """One fenced block. ``why_not`` is the page's own reason for not executing it."""

    page: str
    line: int
    lang: str
    text: str
    why_not: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """The pages whose blocks are executed."""
    return [
        ROOT / "README.md",
        *sorted((ROOT / "docs/how-to").glob("*.md")),
        *sorted((ROOT / "docs/tutorials").glob("*.md")),
    ]


def blocks(page: Path) -> list[Block]:
    """The page's blocks in a language that is executed or loaded."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        if match["lang"] in EXECUTED:
            mark = _MARK.search(text, 0, match.start())
            indent = len(match["indent"])
            body = "".join(
                line[indent:] if line.strip() else line for line in match["body"].splitlines(keepends=True)
            )
            line = text.count("\n", 0, match.start()) + 1
            found.append(
                Block(str(page.relative_to(ROOT)), line, match["lang"], body, mark["why"] if mark else "")
            )
    return found


def secrets_of(text: str) -> dict[str, str]:
    """A made-up value for each ``env.NAME``."""
    return {name: f"made-up-{name.lower().replace('_', '-')}" for name in _SECRET.findall(text)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Reader:
    """Follows one page, block by block."""

    folder: Path
    simulator: Simulator
    config: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    gateway: subprocess.Popen[str] | None = None
    url: str = ""
    outputs: list[str] = field(default_factory=list)
    most_s: float = 50
    """For one block."""
    own_port: int = field(default_factory=_free_port)
    """Where the page's own program listens: 9099 in the docs."""

    def do(self, block: Block) -> None:
        """What a person would do with this block."""
        if block.why_not:
            return
        text = self.local(block.text)
        match block.lang:
            case "yaml":
                self._configure(text, block)
            case "python":
                if self.config:
                    self._serve_if_needed()
                strict = (
                    [] if "torch" in text or "penstock.engine" in text else ["-W", "error"]
                )  # torch warns about itself
                self._run([sys.executable, *strict, "-c", text], block)
            case _:
                self._shell(text, block)

    def local(self, text: str) -> str:
        """The docs' addresses as those of this run."""
        text = text.replace("http://127.0.0.1:9090", self.simulator.url).replace("9099", str(self.own_port))
        return text.replace("http://127.0.0.1:8080", self.url) if self.url else text

    def _configure(self, text: str, block: Block) -> None:
        if text.startswith("# scenario.yaml"):
            msgspec.convert(yaml.safe_load(text), Scenario)
            return
        self.env = secrets_of(text) | self.env
        if "file:vertex-key.json" in text and not (self.folder / "vertex-key.json").exists():
            self.simulator.make_service_account(self.folder, "vertex-key")
        fields = yaml.load(text, Loader=Loader)
        if text.startswith("# add to penstock.yaml"):
            fields = {**self.config, **fields}
        loaded = load_text(yaml.safe_dump(fields), self.folder, self.env, Catalogue.load(), "2026-11-21")
        assert loaded.faults == [], f"{block} does not load: {[str(fault) for fault in loaded.faults]}"
        gone = [str(notice) for notice in loaded.warnings if "was retired" in notice.message]
        assert gone == [], f"{block} names what is retired"
        if text.startswith(("# penstock.yaml", "# add to penstock.yaml")):
            self.config = fields
            pointed = self._pointed(fields)
            (self.folder / "penstock.yaml").write_text(yaml.safe_dump(pointed), encoding="utf-8")

    def _pointed(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The configuration with every real provider's address replaced by the simulator's."""
        catalogue = Catalogue.load()
        providers: dict[str, Any] = {}
        for name, settings in fields.get("providers", {}).items():
            facts = catalogue.provider(name)
            dialect = settings.get("dialect") or (facts.dialect if facts else "openai")
            url = self.simulator.provider_url(name) + ("/v1" if dialect == "openai" else "")
            network = {"base_url": url, **settings.get("network", {})}
            providers[name] = {**settings, "network": network}
        return {**fields, "providers": providers}

    def _shell(self, text: str, block: Block) -> None:
        """All but what runs on in its own terminal: ``penstock serve`` is started, the simulator already runs."""
        rest: list[str] = []
        for line in text.replace("\\\n", " ").splitlines():
            words = line.split()
            if words[:2] == ["penstock", "serve"]:
                self._flush(rest, block)
                self.serve(words[2:])
            elif words[:1] == ["curl"] and "127.0.0.1:8080" in line:
                self._serve_if_needed()
                rest.append(self.local(line))
            elif words[:2] == ["penstock", "simulate"]:
                assert words[2:] in ([], ["--port", "9090"]), (
                    f"{block}: the simulator of this run is a plain one"
                )
            else:
                rest.append(line)
        self._flush(rest, block)

    def _flush(self, lines: list[str], block: Block) -> None:
        if any(line.strip() for line in lines):
            self.env |= {
                "REQUEST_ID": self._last_request(),
                "PENSTOCK_PID": str(self.gateway.pid if self.gateway else ""),
            }
            script = "set -euo pipefail\n" + _CURL + "\n".join(lines)
            self._run(["bash", "-c", script], block)
        lines.clear()

    def _run(self, words: list[str], block: Block) -> None:
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environ(),
            capture_output=True,
            text=True,
            timeout=self.most_s,
            check=False,
        )
        assert done.returncode == 0, f"{block} failed:\n{done.stdout}\n{done.stderr}"
        self.outputs.append(done.stdout)
        if done.stdout.startswith("whsec_"):  # the page says where to put what it has made
            self.env["ALERTS_SECRET"] = done.stdout.strip()

    def environ(self) -> dict[str, str]:
        """What the reader's shell would have."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        here = {"PATH": path, "HOME": str(self.folder), "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100"}
        urls = {"PENSTOCK_URL": self.url, "PENSTOCK_KEY": "anything"} if self.url else {}
        return {**here, **urls, **self.env}

    def _serve_if_needed(self) -> None:
        if self.gateway is None:
            self.serve(["--config", "penstock.yaml"])

    def serve(self, options: list[str]) -> None:
        """Start ``penstock serve`` with these options, on a free port."""
        words = [sys.executable, "-m", "penstock", "serve", *options, "--port", "0", "--json"]
        self.gateway = subprocess.Popen(
            words,
            cwd=self.folder,
            env=self.environ(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        said = ""
        while not (url := _URL.search(said)):
            line = self.gateway.stderr.readline()
            assert line, f"penstock {' '.join(options)} did not start:\n{said}"
            said += line
        self.url = url[1]

    def _last_request(self) -> str:
        """The id of the newest call, as its reply's header said it."""
        path = self.folder / "penstock.db"
        until_s = time.monotonic() + 5
        while path.exists() and time.monotonic() < until_s:
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            try:
                row = connection.execute(
                    "SELECT request_id FROM calls ORDER BY at_ms DESC LIMIT 1"
                ).fetchone()
            finally:
                connection.close()
            if row:
                return str(row[0])
            if self.gateway is None or not self.outputs:
                break
            time.sleep(0.05)
        return ""

    def close(self) -> None:
        """End what was started."""
        if self.gateway is not None:
            self.gateway.terminate()
            self.gateway.communicate(timeout=20)


@contextmanager
def reading(folder: Path, simulator: Simulator):
    """A reader who tidies up."""
    reader = Reader(folder, simulator)
    try:
        yield reader
    finally:
        reader.close()
