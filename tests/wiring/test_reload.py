"""A reload changes what is served, and never who may be served."""

from penstock.config.schema import Config, VirtualKeyConfig
from penstock.wiring import build as building
from tests.behaviours.gateway import chat, running_gateway

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


def test_a_key_whose_list_names_nothing_spends_on_nothing():
    """A restriction that fits no provider must not become none at all."""
    key = VirtualKeyConfig(name="k", key="env.K", provider_keys=("gone.research",))
    principal = building._principal(key, Config(), shared=None)
    assert principal.keys_of("openai") == frozenset()
    free = building._principal(VirtualKeyConfig(name="k", key="env.K"), Config(), shared=None)
    assert free.keys_of("openai") is None
