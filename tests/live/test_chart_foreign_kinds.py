"""Resources of KEDA, of the Prometheus operator and of Strimzi, against the definitions of those projects.

KEDA's and the operator's come from their Go modules. Strimzi publishes no package of its definitions: those of topics
and users are in ``tests/data/strimzi``; EVERWATCH_TEST_CRDS names a folder with others (``install/cluster-operator``).
"""

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from support.manifests import FOREIGN, MATRIX, Manifest, needs_helm, rendered

pytestmark = [pytest.mark.live, needs_helm]
STRIMZI = Path(__file__).parents[1] / "data" / "strimzi"
OPERATOR = "example/prometheus-operator-crd/monitoring.coreos.com_"
MODULES = {
    "github.com/kedacore/keda/v2@v2.21.0": ("config/crd/bases/keda.sh_*.yaml",),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        f"{OPERATOR}servicemonitors.yaml",
        f"{OPERATOR}prometheusrules.yaml",
    ),
}


def closed(schema: Any) -> Any:
    """The schema with no properties but those that it lists: a cluster drops others, with a warning at most."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and not is_open:
        result["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
    return result


@cache
def definitions() -> dict[tuple[str, str], Any]:
    """The schema of each kind that there is a definition of, by its apiVersion and kind."""
    files: list[Path] = []
    if shutil.which("go"):
        for module, patterns in MODULES.items():
            command = ["go", "mod", "download", "-json", module]
            done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
            folder = Path(json.loads(done.stdout).get("Dir", "/nowhere")) if done.stdout else Path("/nowhere")
            files += [file for pattern in patterns for file in folder.glob(pattern)]
    files += STRIMZI.glob("*.yaml")
    # those that come later take their place
    if named := os.environ.get("EVERWATCH_TEST_CRDS"):
        files += Path(named).rglob("*.yaml")
    found = {}
    for file in files:
        for crd in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader):
            if crd and crd["kind"] == "CustomResourceDefinition":
                for version in crd["spec"]["versions"]:
                    schema = closed(version["schema"]["openAPIV3Schema"])
                    schema["properties"]["metadata"] = {"type": "object"}
                    name = f"{crd['spec']['group']}/{version['name']}"
                    found[name, crd["spec"]["names"]["kind"]] = schema
    return found


def foreign_ones() -> list[Manifest]:
    """Resources of other projects' kinds over the matrix of values."""
    return [each for name in MATRIX for each in rendered(name) if each["apiVersion"].startswith(FOREIGN)]


@pytest.mark.parametrize(
    "kind", ["ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PrometheusRule", "KafkaTopic", "KafkaUser"]
)
def test_the_definition_of_a_kind_takes_what_the_chart_renders(kind: str) -> None:
    resources = [each for each in foreign_ones() if each["kind"] == kind]
    assert resources
    schema = definitions().get((resources[0]["apiVersion"], kind))
    if schema is None:
        pytest.skip(f"there is no definition of {resources[0]['apiVersion']} {kind} here")
    validator = jsonschema.Draft202012Validator(schema)
    faults = [f"{error.json_path}: {error.message}" for each in resources for error in validator.iter_errors(each)]
    assert faults == []
    wrong = json.loads(json.dumps(resources[0]))
    wrong["spec"]["unheardOf"] = 1
    assert [*validator.iter_errors(wrong)]
