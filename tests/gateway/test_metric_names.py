"""Which names of callers and of the operator become labels in the metrics of a house."""

import asyncio
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from tests.gateway.inside import Inside, chat, inside, whole

from penstock.testing import ScriptedReply

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI}]
    network: {retry: {max_retries: 0}}
    models: {quick: gpt-nobody-lists}
routes: [{id: answer, primary: openai/gpt-nobody-lists-either}]
"""
GONE = ScriptedReply(
    (b'{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}',), 404
)
BUSY = ScriptedReply((b'{"error":{"message":"busy","type":"server_error","code":null}}',), 503)


def labels(house: Inside) -> set[tuple[str, str]]:
    """(route, model) of all requests counted."""
    house.house.books.flush()
    families = text_string_to_metric_families(house.house.metrics.render().decode())
    requests = next(family for family in families if family.name == "penstock_requests")
    return {(sample.labels["route"], sample.labels["model"]) for sample in requests.samples}


def test_names_that_only_a_caller_knows_are_no_labels_until_they_work(tmp_path: Path) -> None:
    """The provider does not know them: one label for all. Then it does: its own."""
    with inside(tmp_path, CONFIG, openai=[GONE, GONE, whole()]) as house:
        for number in range(2):
            asyncio.run(house.refused(chat(model=f"openai/made-up-{number}")))
        assert labels(house) == {("other", "other")}
        assert b"made-up" not in house.house.metrics.render()
        asyncio.run(house.call(chat(model="openai/new-here")))
        assert labels(house) == {("other", "other"), ("openai/new-here", "new-here")}


def test_the_configuration_s_names_and_the_catalogue_s_are_labels_from_the_first_failure(
    tmp_path: Path,
) -> None:
    """A route, an alias and a known model are seen to fail, although nothing was ever delivered under them."""
    with inside(tmp_path, CONFIG, openai=[BUSY] * 4) as house:
        for model in ("answer", "quick", "openai/gpt-4o-mini", "gpt-4o"):
            asyncio.run(house.refused(chat(model=model)))
        assert labels(house) == {
            ("answer", "gpt-nobody-lists-either"),
            ("quick", "gpt-nobody-lists"),
            ("openai/gpt-4o-mini", "gpt-4o-mini"),
            ("gpt-4o", "gpt-4o"),
        }
