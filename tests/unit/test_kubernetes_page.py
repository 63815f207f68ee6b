"""docs/kubernetes.md, word for word: its values render, and what it shows as rendered is what comes out."""

import re
from pathlib import Path

import pytest
from support.manifests import CHART, ROOT, SCRIPT, VERSIONS, faults_of, needs_helm, parsed

from everwatch.core.config import Settings

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
BLOCKS = re.findall(r"^```yaml\n# my-values.yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SHOWN = re.findall(r"^```yaml\n# rendered\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@needs_helm
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_values_of_the_page_render_to_what_kubernetes_takes(number: int, tmp_path: Path) -> None:
    values = tmp_path / "my-values.yaml"
    values.write_text(BLOCKS[number])
    text = SCRIPT["rendered"](values)
    own = [each for each in parsed(text) if re.match(r"(v1|apps|policy|networking\.k8s\.io)\b", each["apiVersion"])]
    assert len(own) > 10
    assert [fault for each in own for fault in faults_of(each, VERSIONS[-1])] == []
    assert all(shown in text for shown in SHOWN)


def test_the_page_has_what_the_tests_look_for() -> None:
    assert (len(BLOCKS), len(SHOWN)) == (7, 1)
    named = set(re.findall(r"EVERWATCH_([A-Z_]+[A-Z])", PAGE))
    assert {name.lower() for name in named} <= set(Settings.__struct_fields__)
    manifests = {f"everwatch-{name}" for name in ("worker", "executor", "sink", "notifier", "api", "settings")}
    assert all(f"`{name}`" in PAGE for name in manifests)


def test_the_chart_says_what_changed_in_each_version() -> None:
    version = re.search(r"^version: (.*)", (CHART / "Chart.yaml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"## {version[1]}" in (CHART / "UPGRADING.md").read_text()
