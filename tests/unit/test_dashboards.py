"""Grafana's dashboards are as their generator makes them, and show metrics that exist."""

import json
import runpy

import pytest
from support.prometheus import ROOT, named_in

SCRIPT = runpy.run_path(str(ROOT / "deploy/grafana/dashboards.py"))
FILES = SCRIPT["files"]()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dashboard_is_as_its_generator_makes_it(path: object) -> None:
    assert path.read_text() == FILES[path], "run: uv run python deploy/grafana/dashboards.py"


def test_no_dashboard_is_left_over_and_none_shares_its_id() -> None:
    assert set((ROOT / "deploy/grafana/dashboards").glob("*.json")) == set(FILES)
    assert len({json.loads(text)["uid"] for text in FILES.values()}) == len(FILES)


def test_dashboards_show_metrics_that_exist_and_every_one_that_there_is() -> None:
    known = named_in(runpy.run_path(str(ROOT / ".ci" / "metrics.py"))["page"]())
    shown = named_in("\n".join(expression for _, expression in SCRIPT["expressions"]()))
    assert shown - known == set()
    # by alerts or by other panels the same is seen
    assert known - shown <= {
        "everwatch_api_audit_entries_lost",
        "everwatch_api_logins",
        "everwatch_api_requests_in_flight",
        "everwatch_api_slow_clients",
        "everwatch_foreign_changelog_records",
        "everwatch_notifier_alerts",
        "everwatch_notifier_cancelled_alerts",
        "everwatch_notifier_doubts",
        "everwatch_notifier_refused_records",
        "everwatch_notifier_transitions",
        "everwatch_process_answers",
    }


def test_each_panel_says_what_it_means() -> None:
    panels = [panel for dashboard in SCRIPT["DASHBOARDS"].values() for panel in dashboard["panels"]]
    assert [panel["title"] for panel in panels if not panel["meaning"].endswith(".")] == []
