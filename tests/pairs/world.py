"""One gateway with a provider of each chat dialect, for every test of this folder."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.simulate import Simulator
from tests.behaviours.gateway import SECRETS, Answer, Gateway, running_gateway

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  responses:
    dialect: responses
    keys: [{value: env.SECOND_KEY}]
    network: {base_url: "{sim}/p/responses/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
  gemini:
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{sim}/p/gemini", retry: {max_retries: 0}}
  vertex:
    project: simulated-project
    location: us-east5
    credentials: "file:{account}"
    network: {base_url: "{sim}/p/vertex", retry: {max_retries: 0}}
  bedrock:
    location: eu-central-1
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/bedrock", retry: {max_retries: 0}}
  cohere:
    keys: [{value: env.OTHER_CALLER_KEY}]
    network: {base_url: "{sim}/p/cohere", retry: {max_retries: 0}}
"""
_CLAUDE = "bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0"
PLAIN = {
    "openai": "openai/gpt-4o-mini",
    "responses": "responses/gpt-4o-mini",
    "anthropic": "anthropic/claude-haiku-4-5",
    "gemini": "gemini/gemini-2.5-flash",
    "vertex": "vertex/gemini-2.5-flash",
    "bedrock": _CLAUDE,
    "cohere": "cohere/command-a-plus-05-2026",
}
"""A model of each upstream dialect."""
THINKERS = {**PLAIN, "openai": "openai/gpt-5-mini", "responses": "responses/gpt-5-mini"}
"""The same, of those that think."""
SIGNERS = {**THINKERS, "gemini": "gemini/gemini-3-flash", "vertex": "vertex/gemini-3-flash"}
"""The same, of those whose maker insists on its signatures most."""
INLETS = ("openai", "openrouter", "responses", "completions", "anthropic", "gemini")


@contextmanager
def world(folder: Path) -> Generator[Gateway]:
    """All of it, running."""

    def prepare(sim: Simulator) -> dict[str, str]:
        return {"account": str(sim.make_service_account(folder))}

    with running_gateway(folder, CONFIG, secrets=SECRETS, prepare=prepare) as gateway:
        yield gateway


def path_of(inlet: str, model: str, *, stream: bool = False) -> str:
    """Where an inlet is asked for a model."""
    if inlet == "gemini":
        return f"/v1beta/models/{model}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")
    return {
        "openai": "/v1/chat/completions",
        "openrouter": "/api/v1/chat/completions",
        "responses": "/v1/responses",
        "completions": "/v1/completions",
        "anthropic": "/v1/messages",
    }[inlet]


def ask(gateway: Gateway, inlet: str, model: str, body: dict[str, Any], *, stream: bool = False) -> Answer:
    """One call, as that inlet's client would make it."""
    if inlet != "gemini":
        body = {"model": model, **body, **({"stream": True} if stream else {})}
    if inlet == "openrouter":  # whose names of models are served by whoever has them
        body = {**body, "provider": {"only": [model.partition("/")[0]]}}
    headers = {"anthropic-version": "2023-06-01"} if inlet == "anthropic" else None
    return gateway.post(json.dumps(body).encode(), path_of(inlet, model, stream=stream), headers)
