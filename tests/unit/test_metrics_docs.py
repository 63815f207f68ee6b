"""docs/metrics.md says what the code exports."""

import re
import runpy
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / ".ci" / "metrics.py"))
ROWS = re.findall(r"^\| `(\S+)` \| \w+ \| ([^|]*) \| (.*) \|$", SCRIPT["page"](), re.MULTILINE)


def test_the_page_is_what_the_code_says() -> None:
    assert SCRIPT["PAGE"].read_text() == SCRIPT["page"](), "run: uv run python .ci/metrics.py"
    assert len(ROWS) == sum(len(SCRIPT["metrics_of"](module)) for module in SCRIPT["modules"]())


@pytest.mark.parametrize(("name", "labels", "meaning"), ROWS, ids=[name for name, *_ in ROWS])
def test_names_follow_prometheus_and_no_label_names_who_is_monitored(name: str, labels: str, meaning: str) -> None:
    assert re.fullmatch(r"everwatch(_[a-z]+)+", name)
    # base units only, and nothing by which there would be a series for each user
    assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|mb|percent)(_total)?$", name)
    assert not {"user", "user_id", "monitor", "monitor_id", "target", "host"} & set(re.findall(r"`(\w+)`", labels))
    assert meaning.endswith(".")
