"""A reload changes what is served, and never who may be served; what runs does not wait for it."""

import asyncio
import json
import os
import ssl
import threading

import trustme

from penstock.config.schema import Config, VirtualKeyConfig
from penstock.wiring.governed import Kept, principal_of
from tests.behaviours.gateway import WAIT_S, Gateway, chat, filled, running_gateway
from tests.net.raw_server import RawServer, always

KEYED = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
virtual_keys:
  - {name: caller, key: env.CALLER_KEY}
"""
KEY = {"authorization": "Bearer vk-caller-000000000006"}


def without_keys(config: str) -> str:
    return config.partition("virtual_keys:")[0]


def test_a_reload_may_not_open_a_door_that_the_start_would_have_refused(tmp_path):
    """Others can reach this address: taking the virtual keys away is a fault, and the old keys stay in force."""
    with running_gateway(tmp_path, KEYED) as gateway:
        gateway.running._host = "0.0.0.0"
        faults = gateway.reload(without_keys(KEYED))
        assert len(faults) == 1
        assert "virtual_keys" in faults[0]
        assert gateway.post(chat("openai/gpt-4o-mini")).status == 401
        assert gateway.post(chat("openai/gpt-4o-mini"), headers=KEY).status == 200
        metrics = gateway.get("/metrics").body
        assert b'penstock_config_reloads_total{outcome="refused"} 1' in metrics
        assert b"penstock_build_info{version=" in metrics


def test_on_loopback_a_reload_may_take_the_keys_away(tmp_path):
    """There the start would have allowed it, too."""
    with running_gateway(tmp_path, KEYED) as gateway:
        assert gateway.reload(without_keys(KEYED)) == []
        assert gateway.post(chat("openai/gpt-4o-mini")).status == 200
        assert b'penstock_config_reloads_total{outcome="applied"} 1' in gateway.get("/metrics").body


class Held:
    """The gateway's own reading of its file, held back until it is let go; ``began`` counts how often it started."""

    def __init__(self, gateway: Gateway) -> None:
        self.go = threading.Event()
        self.began = threading.Semaphore(0)
        self.running_now = 0
        self.at_once = 0
        self._read = gateway.running._load
        gateway.running._load = self._load

    def _load(self):
        self.running_now += 1
        self.at_once = max(self.at_once, self.running_now)
        self.began.release()
        assert self.go.wait(WAIT_S)
        try:
            return self._read()
        finally:
            self.running_now -= 1


def begin_reload(gateway: Gateway):
    """A reload that nobody waits for yet."""
    return asyncio.run_coroutine_threadsafe(gateway.running.reload(), gateway.loop)


def test_calls_are_served_while_a_reload_reads_its_file(tmp_path):
    """Whole and streamed, by the old configuration, until the new one is there."""
    with running_gateway(tmp_path, KEYED) as gateway:
        held = Held(gateway)
        gateway.config.write_text(filled(without_keys(KEYED), gateway.urls), encoding="utf-8")
        reload = begin_reload(gateway)
        assert held.began.acquire(timeout=WAIT_S)
        assert gateway.post(chat("openai/gpt-4o-mini"), headers=KEY).status == 200
        assert gateway.post(chat("openai/gpt-4o-mini", stream=True), headers=KEY).done
        assert gateway.post(chat("openai/gpt-4o-mini")).status == 401
        held.go.set()
        assert reload.result(WAIT_S) == []
        assert gateway.post(chat("openai/gpt-4o-mini")).status == 200


def test_reloads_come_one_after_another_and_the_last_word_counts(tmp_path):
    """Asked for at once, by a signal and by the operator: each reads the file anew, none beside another."""
    with running_gateway(tmp_path, KEYED) as gateway:
        held = Held(gateway)
        reloads = [begin_reload(gateway) for _ in range(3)]
        assert held.began.acquire(timeout=WAIT_S)
        gateway.config.write_text(filled(without_keys(KEYED), gateway.urls), encoding="utf-8")
        held.go.set()
        assert [reload.result(WAIT_S) for reload in reloads] == [[], [], []]
        assert held.at_once == 1
        assert held.began.acquire(timeout=0)
        assert held.began.acquire(timeout=0)
        assert gateway.post(chat("openai/gpt-4o-mini")).status == 200
        assert b'penstock_config_reloads_total{outcome="applied"} 3' in gateway.get("/metrics").body


def test_a_reload_that_comes_too_late_is_refused(tmp_path):
    """The gateway began to stop while the file was read: nothing is opened that nobody would close."""
    with running_gateway(tmp_path, KEYED) as gateway:
        held = Held(gateway)
        reload = begin_reload(gateway)
        assert held.began.acquire(timeout=WAIT_S)
        house = gateway.house
        assert asyncio.run_coroutine_threadsafe(gateway.running.stop(), gateway.loop).result(WAIT_S)
        held.go.set()
        assert reload.result(WAIT_S) == ["the gateway is stopping"]
        assert gateway.running.app.house is house


SECURE = """
providers:
  own:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{tls}/v1", ca_file: ca.pem, retry: {max_retries: 0}}
"""
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
COMPLETION = json.dumps({"id": "c", "object": "chat.completion", "model": "m", "choices": [CHOICE]}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(COMPLETION)


def test_a_reload_trusts_what_stands_in_the_ca_file_now(tmp_path):
    """Same path, same date, other certificates: a rotated bundle counts. Unchanged, connections live on."""
    path, authority = tmp_path / "ca.pem", trustme.CA()
    trustme.CA().cert_pem.write_to_path(str(path))
    before = path.stat()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with running_gateway(tmp_path, KEYED) as gateway:

        def on_loop(work):
            return asyncio.run_coroutine_threadsafe(work, gateway.loop).result(WAIT_S)

        server = RawServer(always(ANSWER + COMPLETION), tls=context)
        on_loop(server.__aenter__())
        try:
            gateway.urls["tls"] = server.url
            assert gateway.reload(SECURE) == []
            refused = gateway.post(chat("own/m"))
            assert (refused.status, refused.error["code"]) == (502, "upstream_unreachable")

            authority.cert_pem.write_to_path(str(path))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            assert gateway.reload(SECURE) == []
            assert gateway.post(chat("own/m")).status == 200
            transport = gateway.house.providers["own"].transport
            accepted = server.accepted

            assert gateway.reload(SECURE + "# another word") == []
            assert gateway.post(chat("own/m")).status == 200
            assert gateway.house.providers["own"].transport is transport
            assert server.accepted == accepted
        finally:
            # Told of an error: the handshakes refused on purpose are no failures of the server.
            on_loop(server.__aexit__(None, ssl.SSLError(), None))


def test_a_key_whose_list_names_nothing_spends_on_nothing():
    """A restriction that fits no provider must not become none at all."""
    key = VirtualKeyConfig(name="k", key="env.K", provider_keys=("gone.research",))
    principal = principal_of(Config(), key, Kept({}, {}))
    assert principal.keys_of("openai") == frozenset()
    free = principal_of(Config(), VirtualKeyConfig(name="k", key="env.K"), Kept({}, {}))
    assert free.keys_of("openai") is None
