"""docs/metrics.md says what the code exports."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / ".ci" / "metrics.py"))
METRICS: list[Any] = [metric for module in SCRIPT["modules"]() for metric in SCRIPT["metrics_of"](module)]


def test_the_page_is_what_the_code_says() -> None:
    assert SCRIPT["PAGE"].read_text() == SCRIPT["page"](), "run: uv run python .ci/metrics.py"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric._name)
def test_names_follow_prometheus_and_no_label_names_who_is_monitored(metric: Any) -> None:
    assert re.fullmatch(r"everwatch(_[a-z]+)+", metric._name)
    # base units only, and nothing by which there would be a series for each user
    assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|mb|percent)$", metric._name)
    assert not {"user", "user_id", "monitor", "monitor_id", "target", "host"} & set(metric._labelnames)
    assert metric._documentation.endswith(".")
