"""The dashboard asks only for metrics and labels that there are."""

import json
import re
from pathlib import Path

import pytest

from penstock.observe.names import METRICS

BOARD = json.loads((Path(__file__).parents[2] / "examples/grafana/penstock.json").read_text(encoding="utf-8"))
HISTOGRAM = ("_bucket", "_sum", "_count")
KNOWN = {metric.name: {*metric.labels} for metric in METRICS if metric.kind != "histogram"} | {
    metric.name + end: {*metric.labels, "le"}
    for metric in METRICS
    if metric.kind == "histogram"
    for end in HISTOGRAM
}
EXPRESSIONS = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]


def asked(expression):
    """Metrics of an expression, and the labels it names."""
    labels = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    for names in re.findall(r"by \(([^)]*)\)", expression):
        labels += [name.strip() for name in names.split(",")]
    return re.findall(r"penstock_\w+", expression), labels


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_query_names_what_there_is(expression):
    """One metric at least, each known, with labels that it has."""
    metrics, labels = asked(expression)
    assert metrics
    assert set(metrics) <= set(KNOWN)
    assert set(labels) <= KNOWN[metrics[0]]


def test_variables_ask_for_what_there_is():
    """The list of currencies comes from the metric's label; what a query uses as a variable is one."""
    by_name = {one["name"]: one for one in BOARD["templating"]["list"]}
    metric, label = re.fullmatch(
        r"label_values\((\w+), (\w+)\)", by_name["currency"]["query"]["query"]
    ).groups()
    assert label in KNOWN[metric]
    used = {name for expression in EXPRESSIONS for name in re.findall(r"\$\{?(\w+)", expression)}
    assert used <= set(by_name)


def test_a_query_for_nothing_is_caught():
    """The test can fail."""
    metrics, labels = asked('sum by (sku) (penstock_cost_per_picture{colour="red"})')
    assert not set(metrics) <= set(KNOWN)
    assert labels == ["colour", "sku"]


def test_panels_do_not_overlap():
    """Each has its own number and its own place on 24 columns."""
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
