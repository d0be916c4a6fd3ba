"""The ways a call can go in a bench: straight to the upstream, through nginx, through us, through peers if installed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from benches import streams
from benches.upstream import WHOLE

KEY = "psk-bench"
NGINX = """
daemon off; master_process {master}; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.log crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; keepalive_requests 100000000;
  client_max_body_size 200m; tcp_nodelay on;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    {location}
  }}
}}
"""
STATIC = "location / {{ default_type application/json; return 200 '{body}'; }}"
PROXY = "location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off; }"
CONFIG = """
providers:
  openai:
    keys: [{{value: env.BENCH_KEY, weight: 0.7, name: one}}, {{value: env.BENCH_KEY, weight: 0.3, name: two}}]
    network: {{base_url: "http://127.0.0.1:{upstream}/v1", max_connections: 4096}}
virtual_keys:
  - name: bench
    key: env.BENCH_VIRTUAL_KEY
    rate_limit: {{requests_per_minute: 100000000, tokens_per_minute: 1000000000}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def process(*words: str, env: dict[str, str] | None = None, output: Path | None = None):
    """One process, ended by its own id."""
    with open(output or os.devnull, "wb") as sink:
        started = subprocess.Popen(
            words, env={**os.environ, **(env or {})}, stdout=sink, stderr=sink, start_new_session=True
        )
        try:
            yield started
        finally:
            started.send_signal(signal.SIGTERM)
            try:
                started.wait(timeout=15)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


def wait_for(port: int, path: str = "", timeout_s: float = 60.0) -> float:
    """Seconds until the port accepts (and ``path`` answers 200)."""
    start_s = time.monotonic()
    while time.monotonic() - start_s < timeout_s:
        try:
            if path:
                with urlopen(f"http://127.0.0.1:{port}{path}", timeout=1) as answer:
                    if answer.status == 200:
                        return time.monotonic() - start_s
            else:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return time.monotonic() - start_s
        except OSError:
            time.sleep(0.005)
    raise TimeoutError(f"nothing at port {port}")


@contextmanager
def nginx(folder: Path, name: str, upstream: int | None = None, body: bytes = WHOLE):
    """nginx as a static 1 KB upstream that says ``body``, or as a plain reverse proxy to ``upstream``."""
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    port = free_port()
    location = STATIC.format(body=body.decode()) if upstream is None else PROXY
    config = folder / f"{name}.conf"
    config.write_text(
        NGINX.format(
            folder=folder, name=name, port=port, upstream=upstream or 1, location=location, master="off"
        )
    )
    with process(binary, "-c", str(config), "-p", str(folder)) as started:
        wait_for(port)
        yield port, started.pid


@contextmanager
def penstock(folder: Path, upstream: int, name: str = "penstock", text: str = CONFIG):
    """The gateway with virtual key, rate limit, ledger and metrics on; ``text``: another configuration."""
    config = folder / f"{name}.yaml"
    config.write_text(text.format(upstream=upstream))
    port = free_port()
    words = [
        sys.executable, "-m", "penstock", "serve", "--config", str(config), "--port", str(port),
        "--db", str(folder / f"{name}.db"),
    ]  # fmt: skip
    env = {"BENCH_KEY": "sk-bench", "BENCH_VIRTUAL_KEY": KEY}
    with process(*words, env=env, output=folder / f"{name}.log") as started:
        ready_s = wait_for(port, "/ready")
        yield port, started.pid, ready_s


@contextmanager
def bare(folder: Path, upstream: int):
    """The least that a Python gateway costs (benches.bare)."""
    port = free_port()
    words = [sys.executable, "-m", "benches.bare", str(port), str(upstream)]
    with process(*words, output=folder / "bare.log") as started:
        wait_for(port)
        yield port, started.pid


@contextmanager
def stream_upstream(folder: Path):
    """The streaming upstream of streamload.c."""
    port = free_port()
    words = [str(streams.build(folder)), "upstream", str(port)]
    with process(*words, output=folder / "upstream.log") as started:
        wait_for(port)
        yield port, started.pid


def cpu_s(pid: int) -> float:
    """User and system seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Resident set of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


LITELLM = """
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "http://127.0.0.1:{upstream}/v1", api_key: sk-bench}}
general_settings: {{master_key: {key}}}
"""


@contextmanager
def litellm(folder: Path, upstream: int):
    """LiteLLM's proxy, where installed (``LITELLM`` names its binary, else the path is searched)."""
    binary = os.environ.get("LITELLM") or shutil.which("litellm") or ""
    port = free_port()
    config = folder / "litellm.yaml"
    config.write_text(LITELLM.format(upstream=upstream, key="sk-" + KEY))
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}
    words = [binary, "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
    with process(*words, env=env, output=folder / "litellm.log") as started:
        wait_for(port, "/health/liveliness", 120)
        yield port, started.pid


@contextmanager
def portkey(folder: Path, upstream: int):
    """Portkey's gateway, where installed (``PORTKEY`` names its start-server.js)."""
    port = free_port()
    words = ["node", os.environ["PORTKEY"], f"--port={port}", "--headless"]
    with process(*words, output=folder / "portkey.log") as started:
        wait_for(port)
        yield port, started.pid


def peers() -> list[str]:
    """Which peers are installed here."""
    found = []
    if os.environ.get("LITELLM") or shutil.which("litellm"):
        found.append("litellm")
    if os.environ.get("PORTKEY"):
        found.append("portkey")
    return found
