"""Write what the Helm chart knows from the code: `uv run python .ci/chart.py`. A test compares them.

``files/kafka.json``: the topics and the least rights of each process; ``files/rules``: the alerts of deploy/prometheus;
``files/dashboards``: those of deploy/grafana;
``values.schema.json``: the names of settings.
With ``helm``, which the tests' dependencies bring on Linux, also deploy/kustomize/base, which is the chart rendered.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

from msgspec.structs import replace

from everwatch.core.config import Secret, Settings
from everwatch.kafka.acl import Resource, Right
from everwatch.kafka.process_rights import ProcessRole, rights_of
from everwatch.kafka.topics import Topics, plan_topics

DEPLOY = Path(__file__).parents[1] / "deploy"
CHART = DEPLOY / "helm" / "everwatch"
BASE = DEPLOY / "kustomize" / "base"
KUBERNETES = "1.37"
PREFIX, APP, RETENTION, REGION = "@PREFIX@", "@APP@", "@RESULTS_RETENTION_MS@", "@REGION@"
# what the chart sets itself, from values of other names
OF_THE_CHART = frozenset(
    {
        *("data_dir", "cache_dir", "database", "bootstrap_servers", "security_protocol", "sasl_mechanism"),
        *("sasl_username", "sasl_password", "ssl_ca_file", "ssl_certificate_file", "ssl_key_file", "ssl_key_password"),
        *("topic_prefix", "partitions", "replication_factor", "results_retention_hours", "app_id", "worker_id"),
        *("plans_file", "notify_file", "metrics_port", "metrics_host", "secrets_key", "proxy", "kafka_port"),
        *("kafka_heap_mb", "maven_repository", "api_url", "api_token", "api_host", "api_port", "api_admin_token"),
        *("blocked_addresses", "schema_registry_password", "metrics_socket", "timezone", "oidc_client_secret"),
        *("regions", "region"),
    }
)
_TYPES = {Resource.TOPIC: "topic", Resource.GROUP: "group", Resource.TRANSACTIONAL_ID: "transactionalId"}


def kafka_file() -> str:
    """Topics and rights, with placeholders for the prefix, the app id and how long results are kept."""
    settings = Settings(topic_prefix=PREFIX, app_id=APP)
    longer = Settings(topic_prefix=PREFIX, app_id=APP, results_retention_hours=settings.results_retention_hours + 1)
    names = {name: short for short, name in topic_names(settings)}
    topics = []
    for plan, other in zip(plan_topics(settings), plan_topics(longer), strict=True):
        # the chart computes what depends on the number of replicas
        config = {key: value for key, value in plan.config.items() if key != "min.insync.replicas"}
        config |= {key: RETENTION for key, value in config.items() if other.config[key] != value}
        topics.append({"topic": names[plan.name], "name": plan.name, "config": config})
    rights = {role.value: rights_in_the_words_of_strimzi(rights_of(role, settings)) for role in ProcessRole}
    regional = replace(settings, regions=(REGION,), region=REGION)
    region = {
        "topics": topics_of_a_region(settings),
        "rights": rights_of_a_region(settings),
        "executor": rights_in_the_words_of_strimzi(rights_of(ProcessRole.EXECUTOR, regional)),
    }
    return json.dumps({"topics": topics, "rights": rights, "region": region}, indent=2) + "\n"


def topics_of_a_region(settings: Settings) -> list[dict[str, object]]:
    """The topics that a region adds."""
    known = {plan.name for plan in plan_topics(settings)}
    return [
        {"topic": plan.name.removeprefix(PREFIX), "name": plan.name}
        | {"config": {key: value for key, value in plan.config.items() if key != "min.insync.replicas"}}
        for plan in plan_topics(replace(settings, regions=(REGION,)))
        if plan.name not in known
    ]


def rights_of_a_region(settings: Settings) -> dict[str, list[dict[str, object]]]:
    """The rights that a region adds to those of each process that is not an executor of it."""
    found = {}
    for role in ProcessRole:
        known = rights_of(role, settings)
        others = rights_of(role, replace(settings, regions=(REGION,)))
        found[role.value] = rights_in_the_words_of_strimzi([right for right in others if right not in known])
    return found


def topic_names(settings: Settings) -> list[tuple[str, str]]:
    """Each topic's name without prefix and app id, and with them."""
    plain = Topics.of(Settings(app_id="everwatch"))
    return [
        (short.removeprefix("everwatch-"), name) for short, name in zip(plain.all, Topics.of(settings).all, strict=True)
    ]


def rights_in_the_words_of_strimzi(rights: list[Right]) -> list[dict[str, object]]:
    """One entry for each resource, with all operations on it."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for right in rights:
        key = (_TYPES[right.resource], right.name, "prefix" if right.is_prefix else "literal")
        found.setdefault(key, []).append(right.operation.value)
    return [
        {"type": kind, "name": name, "patternType": pattern, "operations": operations}
        for (kind, name, pattern), operations in found.items()
    ]


def rules_files() -> dict[str, str]:
    """The files of alerts, by name: Helm reads none from outside of a chart."""
    return {file.name: file.read_text() for file in sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))}


def dashboard_files() -> dict[str, str]:
    """Grafana's dashboards, by name of the file."""
    return {file.name: file.read_text() for file in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))}


def secret_settings() -> set[str]:
    """Settings that hold a secret: they come from Secrets, never from values."""
    hints = get_type_hints(Settings)
    return {name for name, kind in hints.items() if kind is Secret}


def schema_file() -> str:
    """The schema of values as it is, with the names of all settings that may be given."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    names = sorted(name for name in Settings.__struct_fields__ if name not in OF_THE_CHART)
    schema["definitions"]["settings"]["propertyNames"]["enum"] = [f"EVERWATCH_{name.upper()}" for name in names]
    return json.dumps(schema, indent=2) + "\n"


def helm() -> str | None:
    """The path of helm, or None."""
    return shutil.which("helm")


def rendered(values: Path, *more: str) -> str:
    """The chart as manifests. Raises CalledProcessError, with helm's words."""
    program = helm()
    if program is None:
        raise FileNotFoundError("helm")
    command = [program, "template", "everwatch", str(CHART), "--namespace", "everwatch", "--values", str(values)]
    # a helm that is built by `go install` takes the cluster for Kubernetes 1.20
    command += ["--kube-version", KUBERNETES, *more]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603


def base_file() -> str:
    """The manifests of deploy/kustomize/base."""
    text = rendered(BASE / "values.yaml")
    kept = [line for line in text.splitlines() if "helm.sh/chart" not in line and "managed-by: Helm" not in line]
    return "# Written by .ci/chart.py from the Helm chart with values.yaml.\n" + "\n".join(kept) + "\n"


if __name__ == "__main__":
    (CHART / "files" / "kafka.json").write_text(kafka_file())
    (CHART / "values.schema.json").write_text(schema_file())
    for folder, files in (("rules", rules_files()), ("dashboards", dashboard_files())):
        (CHART / "files" / folder).mkdir(exist_ok=True)
        for name, text in files.items():
            (CHART / "files" / folder / name).write_text(text)
    if helm() is None:
        sys.exit("deploy/kustomize/base is left as it is: there is no helm on the path")
    (BASE / "everwatch.yaml").write_text(base_file())
