"""docs/kubernetes.md, word for word: its values render, and what it shows as rendered is what comes out.

So do the values and the pod that other pages have.
"""

import re
from pathlib import Path

import pytest
import yaml
from support.manifests import CHART, ROOT, SCRIPT, VERSIONS, faults_of, needs_helm, of_kind, parsed, pods_of, rendered

from everwatch.core.config import Settings

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
REGIONS = (ROOT / "docs" / "regions.md").read_text()
VALUES = re.compile(r"^```yaml\n# my-values.yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
OF_REGIONS = VALUES.findall(REGIONS)
BLOCKS = VALUES.findall(PAGE) + OF_REGIONS
SHOWN = re.findall(r"^```yaml\n# rendered\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@needs_helm
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_values_of_the_page_render_to_what_kubernetes_takes(number: int, tmp_path: Path) -> None:
    values = tmp_path / "my-values.yaml"
    values.write_text(BLOCKS[number])
    text = SCRIPT["rendered"](values)
    own = [each for each in parsed(text) if re.match(r"(v1|apps|policy|networking\.k8s\.io)\b", each["apiVersion"])]
    if BLOCKS[number] in OF_REGIONS:
        # executors of the region alone
        assert list(pods_of(own)) == ["Deployment/everwatch-executor-ap"]
        [deployment] = of_kind(own, "Deployment").values()
        assert deployment["spec"]["replicas"] == 2
    else:
        assert len(own) > 10
    assert [fault for each in own for fault in faults_of(each, VERSIONS[-1])] == []
    assert all(shown in text for shown in SHOWN)


@needs_helm
def test_the_pod_for_commands_fits_the_release_and_the_strictest_standard(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "kubernetes-commands.md").read_text()
    found = re.search(r"^```yaml\n# everwatch-command.yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    [pod] = parsed(found[1])
    assert faults_of(pod, VERSIONS[-1]) == []
    values = tmp_path / "my-values.yaml"
    values.write_text(BLOCKS[0])
    nothing = ("--set", ",".join(re.findall(r"\w+\.enabled=false", page)), "--set", "regions.executors=null")
    manifests = parsed(SCRIPT["rendered"](values, *nothing))
    # nothing runs, and the settings are there
    assert pods_of(manifests) == pods_of(rendered("regions", *nothing)) == {}
    assert list(of_kind(manifests, "ConfigMap")) == [pod["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"]]
    sink = pods_of(parsed(SCRIPT["rendered"](values)))["Deployment/everwatch-sink"]
    assert pod["spec"]["securityContext"].items() <= sink["securityContext"].items()
    for name in ("automountServiceAccountToken", "enableServiceLinks"):
        assert pod["spec"][name] == sink[name]
    [container], [model] = pod["spec"]["containers"], sink["containers"]
    assert container["securityContext"] == model["securityContext"]
    assert container["env"][0] in model["env"]
    # with a secured Kafka
    [more] = [
        yaml.safe_load(block) for block in re.findall(r"^# additions[^\n]*\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    ]
    pod["spec"]["volumes"] += more["spec"]["volumes"]
    for name in ("env", "volumeMounts"):
        container[name] += more["spec"]["containers"][0][name]
    assert faults_of(pod, VERSIONS[-1]) == []
    secured = pods_of(rendered("strimzi"))["Deployment/watch-sink"]
    [volume] = [each for each in secured["volumes"] if each["name"] == "kafka-ca"]
    assert more["spec"]["volumes"][0]["secret"].keys() == volume["secret"].keys()
    named = {each["name"] for each in secured["containers"][0]["env"]}
    assert {each["name"] for each in container["env"]} <= named


def test_the_page_has_what_the_tests_look_for() -> None:
    assert (len(BLOCKS), len(OF_REGIONS), len(SHOWN)) == (7, 1, 1)
    named = set(re.findall(r"EVERWATCH_([A-Z_]+[A-Z])", PAGE))
    assert {name.lower() for name in named} <= set(Settings.__struct_fields__)
    manifests = {f"everwatch-{name}" for name in ("worker", "executor", "sink", "notifier", "api", "settings")}
    assert all(f"`{name}`" in PAGE for name in manifests)


def test_the_chart_says_what_changed_in_each_version() -> None:
    version = re.search(r"^version: (.*)", (CHART / "Chart.yaml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"## {version[1]}" in (CHART / "UPGRADING.md").read_text()
