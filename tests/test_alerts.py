"""Alerts, dashboards and pages: they name what exists, and every alert has its page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.xds.admin import pages
from mesh.xds.load import LoadReports
from mesh.xds.measured import Measurements
from mesh.xds.publisher import Publisher
from mesh.xds.registry import Registry
from observability import metrics, slo
from observability.instruments import Histogram
from services.__main__ import BANK

ROOT = Path(__file__).parents[1]
OBSERVABILITY = ROOT / "observability"
DASHBOARDS = sorted((OBSERVABILITY / "grafana" / "dashboards").glob("*.json"))
RULES = sorted((OBSERVABILITY / "prometheus").glob("[os]*.yml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGES = [
    *sorted(RUNBOOKS.glob("*.md")),
    OBSERVABILITY / "README.md",
    OBSERVABILITY / "slo.yaml",
    ROOT / "docs" / "deploy.md",
    ROOT / "docs" / "failures.md",
]
NAME = re.compile(r"\b(?:bank|mesh|rpc|http|db|messaging|process|target)_[a-z0-9_]+\b")
# Labels of Prometheus and of the scrape, and tables that pages tell to look into.
LABELS = {"service_version"}
FILES = {"mesh_database_url", "mesh_nats_url", "mesh_xds_nats_url"}


def family(instrument: Any) -> set[str]:
    """The names under which Prometheus has an instrument."""
    name = instrument.exposed
    if isinstance(instrument, Histogram):
        return {name, *(f"{name}_{part}" for part in ("bucket", "sum", "count"))}
    return {name}


def recorded() -> Iterator[Any]:
    """The instruments that something records; the others exist in name only."""
    code = "\n".join(
        file.read_text()
        for top in ("mesh", "services", "observability")
        for file in (ROOT / top).rglob("*.py")
        if "tests" not in file.parts
    )
    for constant, instrument in vars(metrics).items():
        if instrument in metrics.INSTRUMENTS and re.search(
            rf"\b{constant}\.(bind|add|set|record|observe|raise_to)\b|\bdrift={constant}\b", code
        ):
            yield instrument


@pytest.fixture(scope="module")
def known() -> set[str]:
    """All that may be named."""
    names = {"target_info", *LABELS, *FILES}
    names |= set(re.findall(r"^# TYPE (process_\w+)", metrics.render().decode(), re.MULTILINE))
    publisher = Publisher(1.0)
    content = pages(
        publisher, Registry(publisher, 1.0, Measurements()), LoadReports(), lambda: True
    )
    names |= set(re.findall(r"^# TYPE (\w+)", str(content["/metrics"]()), re.MULTILINE))
    for instrument in recorded():
        names |= family(instrument)
        names |= {attribute.replace(".", "_") for attribute in instrument.attributes}
    return names


def queries(dashboard: dict[str, Any]) -> Iterator[str]:
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for variable in dashboard["templating"]["list"]:
        yield variable["query"]["query"]


def alerts() -> Iterator[dict[str, Any]]:
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from (rule for rule in group["rules"] if "alert" in rule)


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_names_what_is_recorded(file: Path, known: set[str]) -> None:
    dashboard = json.loads(file.read_text())
    found = {name for query in queries(dashboard) for name in NAME.findall(query)}

    assert dashboard["uid"] == file.stem
    assert found
    assert found <= known


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_rules_name_what_is_recorded(file: Path, known: set[str]) -> None:
    rules = [
        rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]
    ]
    found = {name for rule in rules for name in NAME.findall(rule["expr"])}

    assert found
    assert found <= known


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_a_page_names_what_is_recorded(file: Path, known: set[str]) -> None:
    assert set(NAME.findall(file.read_text())) <= known


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    named = {rule["alert"]: rule["annotations"]["runbook"] for rule in alerts()}
    listed = (RUNBOOKS / "README.md").read_text()

    assert {file.stem for file in RUNBOOKS.glob("*.md")} == {*named, "README"}
    for alert, page in named.items():
        assert page == f"docs/runbooks/{alert}.md"
        text = (ROOT / page).read_text()
        assert text.startswith(f"# {alert}\n")
        assert "**Customers see**" in text
        assert "## Look first" in text
        assert f"[{alert}]({alert}.md)" in listed


def test_links_between_pages_lead_somewhere() -> None:
    for file in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)\)", file.read_text()):
            assert (file.parent / link).exists(), f"{file}: {link}"


def test_every_service_is_scraped_and_missed_when_it_is_gone() -> None:
    configuration = yaml.safe_load((OBSERVABILITY / "prometheus" / "prometheus.yml").read_text())
    scraped = configuration["scrape_configs"][0]["dns_sd_configs"][0]["names"]
    missed = next(rule["expr"] for rule in alerts() if rule["alert"] == "ServiceGone")

    assert set(scraped) == {*BANK.services, "control-plane"}
    assert set(re.findall(r'up\{service="([\w-]+)"', missed)) == set(BANK.services)


def test_what_jaeger_links_to_is_there() -> None:
    ui = json.loads((OBSERVABILITY / "jaeger" / "ui.json").read_text())
    links = [each["url"] for each in (*ui["linkPatterns"], *ui["menu"][0]["items"])]
    boards = {found[1] for url in links if (found := re.search(r"/d/(\w+)", url))}

    assert boards <= {file.stem for file in DASHBOARDS}


def test_a_latency_is_asked_of_a_bound_that_its_histogram_has() -> None:
    bounds = {each.exposed: each.bounds for each in recorded() if isinstance(each, Histogram)}
    for objective in slo.read():
        if objective.slower_than_s is not None:
            assert objective.slower_than_s in bounds[objective.requests], objective.name
