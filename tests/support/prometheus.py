"""Prometheus' own tools, where they are installed, and the names of metrics in rules and dashboards."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
_NAME = re.compile(r"(?<![:\w])everwatch_\w+")
# what a histogram, a summary or a counter adds to its name
_SUFFIX = re.compile(r"_(?:bucket|count|sum|total|info)$")


def tool(name: str) -> str:
    """Return where a tool is; the test is skipped if it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install prometheus prometheus-alertmanager)")
    return found


def run_tool(name: str, *arguments: object) -> str:
    """Run a tool; its output if it succeeds."""
    done = subprocess.run([tool(name), *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def named_in(text: str) -> set[str]:
    """The metrics that expressions name, without what their types add."""
    return {_SUFFIX.sub("", name) for name in _NAME.findall(text)}


def exported(text: str) -> set[str]:
    """The metrics that a scrape declares, without what their types add."""
    return {_SUFFIX.sub("", family.name) for family in text_string_to_metric_families(text)}
