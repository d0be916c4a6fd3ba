"""Real servers for the tests: PostgreSQL and Redis (or Valkey), each in a temporary folder, ended by their own id.

An installed one is used (``make test`` installs Debian's, scripts/install_servers.sh). Where there is none the tests are
skipped with the reason, or fail: ``PENSTOCK_NEED_SERVERS=1``, for machines that must have them.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import pytest

START_S = 30.0
STOP_S = 15.0
PASSWORD = "s3cret-of-the-ledger"
_DATABASES = count(1)


def missing(what: str) -> NoReturn:
    """Skip, or fail where the servers must be there."""
    reason = f"{what} is not installed: run scripts/install_servers.sh as root"
    if os.environ.get("PENSTOCK_NEED_SERVERS") == "1":
        pytest.fail(f"PENSTOCK_NEED_SERVERS=1, and {reason}", pytrace=False)
    pytest.skip(reason)


def postgres_bin() -> Path | None:
    """The folder of the newest installed PostgreSQL's programs."""
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(on_path).resolve().parent


def redis_program() -> str | None:
    """Redis or Valkey."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


def free_port() -> int:
    """A port of loopback that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: as whom it runs then."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return missing("PostgreSQL (or a user that it may run as)")


class _Server:
    """One server process in a folder of its own."""

    def __init__(self, prefix: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def _run(self, words: list[str], **options: Any) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, **options
            )
        until_s = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError(f"{words[0]} did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """End it, and nothing is left."""
        self._end(signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)


class PostgresServer(_Server):
    """``with``-less: ``start``, ``stop``, ``remove``. TCP asks for the password, as a real one does."""

    def __init__(self, *, durable: bool = False) -> None:
        found = postgres_bin()
        if found is None:
            missing("PostgreSQL")
        super().__init__("penstock-pg-")
        self._bin, self._who = found, _user()
        self._durable = durable
        secret = self.folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        if self._who:
            for path in (self.folder, secret):
                os.chown(path, self._who["user"], self._who["group"])
        subprocess.run(
            [
                str(found / "initdb"), "-D", str(self.folder / "data"), "-U", "penstock", "--encoding=UTF8",
                "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync",
            ],
            check=True, capture_output=True, timeout=60, cwd=self.folder, **self._who,
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start it (again), on the same port."""
        words = [
            str(self._bin / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port),
            "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=50",
        ]  # fmt: skip
        self._run(words if self._durable else [*words, "-c", "fsync=off"], **self._who)

    def stop(self, *, now: bool = False) -> None:
        """Fast shutdown; ``now``: at once, as a crash would."""
        self._end(signal.SIGQUIT if now else signal.SIGINT)

    def _answers(self) -> bool:
        import psycopg  # noqa: PLC0415 - only who tests with a server needs it

        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self, database: str) -> str:
        """Where a database is, password and all."""
        return f"postgresql://penstock:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """A new, empty database: its URL."""
        import psycopg  # noqa: PLC0415 - only who tests with a server needs it

        name = f"ledger{next(_DATABASES)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)


class RedisServer(_Server):
    """A Redis, or a Valkey, that keeps nothing on disk."""

    def __init__(self) -> None:
        program = redis_program()
        if program is None:
            missing("Redis (or Valkey)")
        super().__init__("penstock-redis-")
        self._program = program
        self.start()

    def start(self) -> None:
        """Start it (again), empty, on the same port."""
        words = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        self._run([*words, "--save", "", "--appendonly", "no", "--daemonize", "no"])

    def stop(self, *, now: bool = False) -> None:
        """End it; ``now``: as a crash would."""
        self._end(signal.SIGKILL if now else signal.SIGTERM)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"
