"""Kubernetes manifests in tests: the chart rendered, and strict schemas of Kubernetes' own kinds."""

import runpy
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "everwatch"
MATRIX = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
SCRIPT = runpy.run_path(str(ROOT / ".ci" / "chart.py"))
# the oldest that the chart takes, and the newest that there is a schema of
VERSIONS = ("1.30.0", "1.37.0")
# groups of kinds that are not Kubernetes' own
FOREIGN = ("keda.sh/", "monitoring.coreos.com/", "kafka.strimzi.io/")
HELM = SCRIPT["helm"]()
needs_helm = pytest.mark.skipif(
    HELM is None, reason="there is no helm on the path, and its package is for Linux on x86-64 only"
)

Manifest = dict[str, Any]


def values_of(name: str) -> Path:
    """A file of the matrix of values."""
    return CHART / "ci" / f"{name}-values.yaml"


@cache
def rendered(name: str, *more: str) -> tuple[Manifest, ...]:
    """The chart's manifests with values of the matrix; ``more``: further options of helm template."""
    return parsed(SCRIPT["rendered"](values_of(name), *more))


def refusal(name: str, *more: str) -> str:
    """Return what helm says when it refuses to render."""
    with pytest.raises(subprocess.CalledProcessError) as raised:
        SCRIPT["rendered"](values_of(name), *more)
    return str(raised.value.stderr)


def parsed(text: str) -> tuple[Manifest, ...]:
    """The documents of a YAML text. Raises AssertionError for a key that comes twice."""
    return tuple(each for each in yaml.load_all(text, Loader=_NoDuplicates) if each is not None)


def of_kind(manifests: tuple[Manifest, ...], kind: str) -> dict[str, Manifest]:
    """Manifests of a kind, by name."""
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def pods_of(manifests: tuple[Manifest, ...]) -> dict[str, Manifest]:
    """The specs of all pods, by the name of what makes them."""
    found = {}
    for each in manifests:
        spec = each.get("spec", {})
        # of a CronJob: that of its Jobs
        spec = spec.get("jobTemplate", each).get("spec", {})
        if "template" in spec:
            found[f"{each['kind']}/{each['metadata']['name']}"] = spec["template"]["spec"]
    return found


def faults_of(manifest: Manifest, version: str) -> list[str]:
    """Return what the strict schema of a version of Kubernetes finds wrong with a manifest of one of its own kinds."""
    group, _, number = manifest["apiVersion"].rpartition("/")
    name = "-".join(filter(None, (manifest["kind"].lower(), group.partition(".")[0], number)))
    return [f"{error.json_path}: {error.message}" for error in _validator(version, name).iter_errors(manifest)]


@cache
def _validator(version: str, name: str) -> jsonschema.Draft202012Validator:
    schema = schema_contents(f"kubernetes-json-schema/v{version}-local-strict/{name}.json", version)
    registry = Resource.from_contents(schema) @ _definitions(version)
    return jsonschema.Draft202012Validator(schema, registry=registry)


@cache
def _definitions(version: str) -> Registry[Any]:
    contents = schema_contents(f"kubernetes-json-schema/v{version}-local-strict/_definitions.json", version)
    registry: Registry[Any] = Resource.from_contents(contents) @ Registry()
    return registry


class _NoDuplicates(yaml.CSafeLoader):
    """YAML's loader takes the last of two equal keys; a cluster refuses them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key comes twice in {keys}"
        return super().construct_mapping(node, deep)
