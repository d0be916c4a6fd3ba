"""Who ran, on what, with which versions: the identity of a recorded run."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]


def identity() -> dict[str, Any]:
    """Machine, versions, commit, time."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "kernel": platform.release(),
            "load_before": os.getloadavg(),
            "nice": os.nice(0),
            "tcp_congestion_control": _congestion_control(),
        },
        "versions": {
            "python": platform.python_version(),
            "penstock": _version("penstock"),
            **{name: _version(name) for name in ("uvloop", "httptools", "msgspec", "litellm")},
            "nginx": _said("nginx", "-v"),
            "wrk": _said("wrk", "-v").splitlines()[0] if _said("wrk", "-v") else "",
        },
        "commit": _said("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "dirty": bool(_said("git", "-C", str(ROOT), "status", "--porcelain", "--", "src")),
    }


def write(theme: str, record: dict[str, Any]) -> Path:
    """``<theme>_<cores>cores_<date>.json``; a later run of the same day replaces it."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{theme}_{os.cpu_count()}cores_{datetime.now(UTC).date().isoformat()}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _congestion_control() -> str:
    """It decides over tails: BBR paces a connection whose last replies were small."""
    try:
        return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _said(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip()
