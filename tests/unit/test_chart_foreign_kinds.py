"""Resources of KEDA, of the Prometheus operator and of Strimzi, against the definitions of those projects.

The definitions are in ``tests/data/definitions``; EVERWATCH_TEST_CRDS names a folder with those of other versions.
"""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from support.manifests import FOREIGN, MATRIX, Manifest, needs_helm, rendered

pytestmark = needs_helm
DEFINITIONS = Path(__file__).parents[1] / "data" / "definitions"


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
    files = sorted(DEFINITIONS.rglob("*.yaml"))
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
    schema = definitions()[resources[0]["apiVersion"], kind]
    validator = jsonschema.Draft202012Validator(schema)
    faults = [f"{error.json_path}: {error.message}" for each in resources for error in validator.iter_errors(each)]
    assert faults == []
    wrong = json.loads(json.dumps(resources[0]))
    wrong["spec"]["unheardOf"] = 1
    assert [*validator.iter_errors(wrong)]
