"""Alerts: Prometheus reads them, each fires when it must and not otherwise, and each has a page that helps."""

import re
import runpy
from typing import Any

import pytest
import yaml
from support.prometheus import ROOT, RULES, named_in, run_tool

PROMETHEUS, ALERTMANAGER = ROOT / "deploy/prometheus", ROOT / "deploy/alertmanager/alertmanager.yml"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for path in RULES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


def test_prometheus_takes_the_rules_and_the_example() -> None:
    run_tool("promtool", "check", "rules", *RULES)
    run_tool("promtool", "check", "config", PROMETHEUS / "prometheus.yml")


def test_alerts_fire_when_they_must_and_not_otherwise() -> None:
    assert "SUCCESS" in run_tool("promtool", "test", "rules", *TESTS)


def test_each_alert_is_tested_both_ways() -> None:
    checks = [
        (check["alertname"], bool(check["exp_alerts"]))
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for check in test["alert_rule_test"]
    ]
    fires, stays_quiet = ({name for name, does in checks if does is wanted} for wanted in (True, False))
    assert fires == set(ALERTS)
    assert stays_quiet == set(ALERTS) - {"Watchdog"}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_urgent_it_is_and_links_a_page_that_names_it(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"page", "ticket", "none"}
    assert alert["annotations"]["summary"].endswith(".")
    page = (ROOT / alert["annotations"]["runbook_url"]).read_text()
    urgency = {"none": "always firing"}.get(alert["labels"]["severity"], alert["labels"]["severity"])
    assert f"{name}, {urgency}" in page
    assert {"## Look", "## Do", "## It ends"} <= set(page.splitlines())


def test_no_page_is_left_over() -> None:
    linked = {alert["annotations"]["runbook_url"] for alert in ALERTS.values()}
    assert {f"docs/runbooks/{path.name}" for path in (ROOT / "docs/runbooks").glob("*.md")} == linked


def test_the_list_of_alerts_for_operators_is_complete() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    assert set(re.findall(r"^\| \[(\w+)\]\(runbooks/", page, re.MULTILINE)) == set(ALERTS)


def test_rules_and_pages_name_metrics_that_exist() -> None:
    known = named_in(runpy.run_path(str(ROOT / ".ci" / "metrics.py"))["page"]())
    pages = (ROOT / "docs/runbooks").glob("*.md")
    assert named_in("\n".join(path.read_text() for path in [*RULES, *pages])) - known == set()


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "Watchdog", "severity": "none"}, "dead-mans-switch"),
        ({"alertname": "EverwatchPartitionBehind", "severity": "page"}, "pager"),
        ({"alertname": "EverwatchDiskFull", "severity": "ticket"}, "tickets"),
    ],
)
def test_alertmanager_takes_the_example_and_sends_alerts_where_they_belong(
    labels: dict[str, str], receiver: str
) -> None:
    run_tool("amtool", "check-config", ALERTMANAGER)
    given = [f"{name}={value}" for name, value in labels.items()]
    run_tool(
        "amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", f"--verify.receivers={receiver}", *given
    )
