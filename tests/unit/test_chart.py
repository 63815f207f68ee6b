"""The Helm chart and kustomize's base: valid for Kubernetes, restricted, and of the same mind as the code.

All in one file: one chart, rendered for each set of values.
"""

import ipaddress
import json
import re
import shutil
import subprocess

import msgspec
import pytest
import yaml
from support.manifests import (
    CHART,
    FOREIGN,
    MATRIX,
    ROOT,
    SCRIPT,
    VERSIONS,
    Manifest,
    faults_of,
    needs_helm,
    of_kind,
    parsed,
    pods_of,
    refusal,
    rendered,
    values_of,
)

from everwatch.cli.main import COMMANDS
from everwatch.core.config import Settings, SettingsError, load_settings
from everwatch.kafka.consumer_groups import executors_group
from everwatch.kafka.process_rights import ProcessRole, rights_of
from everwatch.kafka.topics import plan_topics

PARTS = ("worker", "executor", "sink", "notifier", "api")


def settings_of_the_pods(name: str) -> Settings:
    """The settings that the chart gives to every process."""
    data = next(iter(of_kind(rendered(name), "ConfigMap").values()))["data"]
    given = {key.removeprefix("EVERWATCH_").lower(): value for key, value in data.items()}
    # each pod has its own from a Secret
    return load_settings(**given, sasl_username="user", sasl_password="password")


def test_what_the_chart_knows_from_the_code_is_up_to_date() -> None:
    assert (CHART / "files" / "kafka.json").read_text() == SCRIPT["kafka_file"](), "run: uv run python .ci/chart.py"
    assert (CHART / "values.schema.json").read_text() == SCRIPT["schema_file"](), "run: uv run python .ci/chart.py"
    rules = {path.name: path.read_text() for path in (CHART / "files" / "rules").iterdir()}
    assert rules == SCRIPT["rules_files"](), "run: uv run python .ci/chart.py"
    dashboards = {path.name: path.read_text() for path in (CHART / "files" / "dashboards").iterdir()}
    assert dashboards == SCRIPT["dashboard_files"](), "run: uv run python .ci/chart.py"
    assert SCRIPT["OF_THE_CHART"] < set(Settings.__struct_fields__)


def test_secrets_cannot_be_given_as_values() -> None:
    assert SCRIPT["secret_settings"]() - SCRIPT["OF_THE_CHART"] == set()


def test_the_chart_has_the_version_of_the_package() -> None:
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert version is not None
    assert chart["appVersion"] == version[1]


@needs_helm
def test_kustomize_has_what_the_chart_renders() -> None:
    base = ROOT / "deploy" / "kustomize" / "base" / "everwatch.yaml"
    assert base.read_text() == SCRIPT["base_file"](), "run: uv run python .ci/chart.py"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl, which has kustomize in it")
@pytest.mark.parametrize("folder", ["base", "overlays/production"])
def test_kustomize_builds_manifests_that_kubernetes_takes(folder: str) -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", str(ROOT / "deploy" / "kustomize" / folder)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    manifests = parsed(built)
    assert len(of_kind(manifests, "Deployment")) == 4
    assert [fault for each in manifests for version in VERSIONS for fault in faults_of(each, version)] == []


@needs_helm
@pytest.mark.parametrize("name", MATRIX)
def test_kubernetes_takes_what_the_chart_renders(name: str) -> None:
    own = [each for each in rendered(name) if not each["apiVersion"].startswith(FOREIGN)]
    assert len(own) > 6
    faults = [
        f"{each['kind']} {each['metadata']['name']}, {version}: {fault}"
        for each in own
        for version in VERSIONS
        for fault in faults_of(each, version)
    ]
    assert faults == []


@needs_helm
@pytest.mark.parametrize("name", MATRIX)
def test_helm_lint_finds_nothing(name: str) -> None:
    helm = SCRIPT["helm"]()
    done = subprocess.run(
        [helm, "lint", "--strict", str(CHART), "--values", str(values_of(name))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "0 chart(s) failed" in done.stdout


@needs_helm
@pytest.mark.parametrize("name", MATRIX)
def test_every_pod_is_as_restricted_as_the_standard_asks(name: str) -> None:
    for pod in pods_of(rendered(name)).values():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert {security[key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {10001}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        # a Service named everwatch-api would otherwise set EVERWATCH_API_PORT
        assert (pod["enableServiceLinks"], pod["automountServiceAccountToken"]) == (False, False)
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
        kinds = {kind for volume in pod["volumes"] for kind in set(volume) - {"name"}}
        assert kinds <= {"emptyDir", "configMap", "secret", "persistentVolumeClaim"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert container["args"][0] in {listed.name for listed in COMMANDS}


@needs_helm
@pytest.mark.parametrize("name", MATRIX)
def test_every_variable_is_a_setting_and_every_volume_is_there(name: str) -> None:
    assert settings_of_the_pods(name).partitions
    claims = {
        f"StatefulSet/{key}": {each["metadata"]["name"] for each in found["spec"]["volumeClaimTemplates"]}
        for key, found in of_kind(rendered(name), "StatefulSet").items()
    }
    for owner, pod in pods_of(rendered(name)).items():
        volumes = {volume["name"] for volume in pod["volumes"]} | claims.get(owner, set())
        for container in pod["containers"]:
            variables = [each["name"] for each in container.get("env", []) if each["name"].startswith("EVERWATCH_")]
            assert len(variables) == len(set(variables))
            assert {each.removeprefix("EVERWATCH_").lower() for each in variables} <= set(Settings.__struct_fields__)
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= volumes
            folders = [mount["mountPath"] for mount in container["volumeMounts"]]
            files = [
                each["value"] for each in container.get("env", []) if str(each.get("value", "")).startswith("/etc/")
            ]
            assert all(any(file.startswith(f"{folder}/") for folder in folders) for file in files)


@needs_helm
@pytest.mark.parametrize("name", MATRIX)
def test_probes_ask_what_the_docs_say_and_a_stop_has_its_time(name: str) -> None:
    for owner, pod in pods_of(rendered(name)).items():
        if owner.startswith(("Job/", "CronJob/")):
            continue
        # 10 s to stop, and of an api 5 s before it
        assert pod["terminationGracePeriodSeconds"] >= 30
        ports = [port["containerPort"] for each in pod["containers"] for port in each["ports"]]
        assert len(ports) == len(set(ports))
        for container in pod["containers"]:
            paths = {
                kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")
            }
            assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
            named = {port["name"] for port in container["ports"]}
            assert {container[f"{kind}Probe"]["httpGet"]["port"] for kind in paths} <= named
            startup = container["startupProbe"]
            assert startup["periodSeconds"] * startup["failureThreshold"] >= 300


@needs_helm
def test_workers_have_stable_names_and_volumes_and_are_never_scaled() -> None:
    worker = of_kind(rendered("strimzi"), "StatefulSet")["watch-worker"]["spec"]
    assert (worker["podManagementPolicy"], worker["replicas"], worker["minReadySeconds"]) == ("Parallel", 8, 10)
    assert worker["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "50Gi"
    variables = {each["name"]: each for each in worker["template"]["spec"]["containers"][0]["env"]}
    assert variables["EVERWATCH_WORKER_ID"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    keys = [each["topologyKey"] for each in worker["template"]["spec"]["topologySpreadConstraints"]]
    assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    scaled = [each["spec"]["scaleTargetRef"]["name"] for each in of_kind(rendered("strimzi"), "ScaledObject").values()]
    assert scaled == ["watch-executor"]


@needs_helm
def test_budgets_of_disruptions_are_there_only_where_one_pod_may_go() -> None:
    assert set(of_kind(rendered("smallest"), "PodDisruptionBudget")) == set()
    budgets = of_kind(rendered("default"), "PodDisruptionBudget")
    assert set(budgets) == {f"everwatch-{part}" for part in PARTS if part != "notifier"}
    assert {each["spec"]["maxUnavailable"] for each in budgets.values()} == {1}


@needs_helm
def test_with_sqlite_one_pod_holds_all_that_open_the_database() -> None:
    manifests = rendered("sqlite")
    assert set(of_kind(manifests, "Deployment")) == {"everwatch-executor"}
    sink = of_kind(manifests, "StatefulSet")["everwatch-sink"]["spec"]
    assert sink["replicas"] == 1
    assert [each["name"] for each in sink["template"]["spec"]["containers"]] == ["sink", "notifier", "api"]
    # what the Services lead to is in that pod
    for name, service in of_kind(manifests, "Service").items():
        wanted = "sink" if re.search("sink|notifier|api", name) else name.split("-")[1]
        assert service["spec"]["selector"]["app.kubernetes.io/component"] == wanted


@needs_helm
def test_secrets_reach_only_the_processes_that_use_them() -> None:
    found: dict[str, set[str]] = {}
    for owner, pod in pods_of(rendered("strimzi")).items():
        for each in pod["containers"][0]["env"]:
            if "secretKeyRef" in each.get("valueFrom", {}):
                found.setdefault(each["name"], set()).add(owner.rpartition("-")[2])
    api = {each["name"]: each for each in pods_of(rendered("strimzi"))["Deployment/watch-api"]["containers"][0]["env"]}
    reader = {"name": "everwatch-reader", "key": "uri"}
    assert api["EVERWATCH_DATABASE"]["valueFrom"]["secretKeyRef"] == reader
    assert found.pop("EVERWATCH_SASL_PASSWORD") == set(PARTS)
    assert found == {
        "EVERWATCH_DATABASE": {"sink", "notifier", "api"},
        "EVERWATCH_SECRETS_KEY": {"worker", "executor", "api"},
        "EVERWATCH_API_ADMIN_TOKEN": {"api"},
        "EVERWATCH_PROXY": {"executor"},
        "EVERWATCH_SCHEMA_REGISTRY_PASSWORD": set(PARTS),
    }


@needs_helm
def test_a_cron_job_backs_up_into_the_volume_that_the_api_watches() -> None:
    pods = pods_of(rendered("client-certificates"))
    [container] = pods["CronJob/everwatch-backup"]["containers"]
    assert container["args"] == ["backup", "--keep", "7"]
    assert container["image"].startswith("registry.example.com/everwatch-backup:")
    variables = {each["name"]: each for each in container["env"]}
    assert variables["EVERWATCH_DATABASE"]["valueFrom"]["secretKeyRef"] == {"name": "everwatch-database", "key": "uri"}
    # its own Kafka user, which may read all topics
    secrets = {each["name"]: each.get("secret") for each in pods["CronJob/everwatch-backup"]["volumes"]}
    assert secrets["kafka-backup"]["secretName"] == "kafka-reader"
    for owner in ("CronJob/everwatch-backup", "Deployment/everwatch-api"):
        [volume] = [each for each in pods[owner]["volumes"] if each["name"] == "backups"]
        assert volume["persistentVolumeClaim"]["claimName"] == "backups"
        given = {each["name"]: each.get("value") for each in pods[owner]["containers"][0]["env"]}
        folders = {each["name"]: each["mountPath"] for each in pods[owner]["containers"][0]["volumeMounts"]}
        assert given["EVERWATCH_BACKUP_DIR"] == folders["backups"]


@needs_helm
@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
def test_topics_of_strimzi_are_those_of_the_code(replicas: int) -> None:
    settings = msgspec.structs.replace(settings_of_the_pods("strimzi"), replication_factor=replicas)
    manifests = rendered("strimzi", "--set", f"kafka.replicationFactor={replicas}")
    made = {each["spec"]["topicName"]: each["spec"] for each in of_kind(manifests, "KafkaTopic").values()}
    assert set(made) == {plan.name for plan in plan_topics(settings)}
    for plan in plan_topics(settings):
        spec = made[plan.name]
        assert (spec["partitions"], spec["replicas"]) == (plan.partitions, plan.replication_factor)
        assert {key: str(value) for key, value in spec["config"].items()} == plan.config


@needs_helm
def test_users_of_strimzi_have_the_rights_of_the_code_and_no_others() -> None:
    settings = load_settings(topic_prefix="Prod.", app_id="watch", publish_topics=("orders", "reminders"))
    backup = "backup.enabled=true,backup.claimName=backups"
    users = of_kind(rendered("strimzi", "--set", backup), "KafkaUser")
    assert set(users) == {f"watch-{role}" for role in ProcessRole}
    assert "watch-backup" not in of_kind(rendered("strimzi"), "KafkaUser")
    types = {"topic": "topic", "group": "consumer group", "transactionalId": "transactional id"}
    for role in ProcessRole:
        spec = users[f"watch-{role}"]["spec"]
        assert spec["authentication"] == {"type": "scram-sha-512"}
        allowed = {
            (operation, types[acl["resource"]["type"]], acl["resource"]["name"], acl["resource"]["patternType"])
            for acl in spec["authorization"]["acls"]
            for operation in acl["operations"]
        }
        wanted = {
            (right.operation, right.resource, right.name, "prefix" if right.is_prefix else "literal")
            for right in rights_of(role, settings)
        }
        assert allowed == wanted, role


@needs_helm
def test_each_process_logs_in_as_its_own_user_of_strimzi() -> None:
    backup = "backup.enabled=true,backup.claimName=backups"
    for owner, pod in pods_of(rendered("strimzi", "--set", backup)).items():
        user = f"watch-{owner.rpartition('-')[2]}"
        variables = {each["name"]: each for each in pod["containers"][0]["env"]}
        assert variables["EVERWATCH_SASL_USERNAME"]["value"] == user
        assert variables["EVERWATCH_SASL_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": user, "key": "password"}
        authority = next(each for each in pod["volumes"] if each["name"] == "kafka-ca")
        assert authority["secret"]["secretName"] == "events-cluster-ca-cert"


@needs_helm
def test_executors_scale_on_each_topic_of_ticks_and_on_saturation() -> None:
    spec = of_kind(rendered("strimzi"), "ScaledObject")["watch-executor"]["spec"]
    topics = [each["metadata"].get("topic") for each in spec["triggers"]]
    assert topics == ["Prod.ticks.high", "Prod.ticks", "Prod.ticks.low", None]
    assert "everwatch_executor_slots" in spec["triggers"][-1]["metadata"]["query"]
    assert "replicas" not in of_kind(rendered("strimzi"), "Deployment")["watch-executor"]["spec"]


@needs_helm
def test_alerts_are_those_of_prometheus_with_their_own_templates() -> None:
    groups = of_kind(rendered("strimzi"), "PrometheusRule")["watch"]["spec"]["groups"]
    texts = SCRIPT["rules_files"]().values()
    assert groups == [group for text in texts for group in yaml.safe_load(text)["groups"]]
    assert "{{ $labels." in str(groups)
    base = "https://git.example.com/everwatch/blob/main/"
    linked = rendered("strimzi", "--set", f"metrics.prometheusRule.runbookBaseUrl={base}")
    rules = [rule for group in of_kind(linked, "PrometheusRule")["watch"]["spec"]["groups"] for rule in group["rules"]]
    pages = [rule["annotations"]["runbook_url"] for rule in rules if "alert" in rule]
    assert all(page.startswith(f"{base}docs/runbooks/") for page in pages)


@needs_helm
def test_each_dashboard_is_a_config_map_that_grafanas_sidecar_loads() -> None:
    maps = of_kind(rendered("strimzi"), "ConfigMap")
    loaded = [each for each in maps.values() if each["metadata"]["labels"].get("grafana_dashboard") == "1"]
    assert {each["metadata"]["annotations"]["grafana_folder"] for each in loaded} == {"Everwatch"}
    texts = [text for each in loaded for text in each["data"].values()]
    assert sorted(json.loads(text)["uid"] for text in texts) == sorted(
        json.loads(text)["uid"] for text in SCRIPT["dashboard_files"]().values()
    )
    # `{{partition}}` in a legend is Grafana's, not Helm's
    assert all(json.loads(text) in map(json.loads, SCRIPT["dashboard_files"]().values()) for text in texts)
    assert all(len(text) < 1 << 20 for text in texts)
    assert not [name for name in of_kind(rendered("default"), "ConfigMap") if "dashboard" in name]


@needs_helm
def test_doctor_in_an_executors_pod_tries_whether_the_policy_is_enforced() -> None:
    for name, tried in (("default", "kubernetes.default.svc:443,169.254.169.254:80"), ("smallest", None)):
        pod = pods_of(rendered(name))["Deployment/everwatch-executor"]
        variables = {each["name"]: each["value"] for each in pod["containers"][0].get("env", []) if "value" in each}
        assert variables.get("EVERWATCH_BLOCKED_ADDRESSES") == tried
    assert len(load_settings(blocked_addresses="kubernetes.default.svc:443,[fd00:ec2::254]:80").blocked_addresses) == 2


@needs_helm
def test_executors_reach_no_private_address_but_those_that_are_named() -> None:
    policy = of_kind(rendered("default"), "NetworkPolicy")["everwatch-executor"]["spec"]
    blocks = [each["ipBlock"] for rule in policy["egress"] for each in rule.get("to", []) if "ipBlock" in each]
    excepted = []
    for block in blocks:
        whole = ipaddress.ip_network(block["cidr"])
        inside = [ipaddress.ip_network(each) for each in block["except"]]
        # a cluster refuses exceptions that are not within the block, and takes ::ffff:0:0/96 for IPv4
        assert all(each.version == whole.version and each.subnet_of(whole) for each in inside)  # type: ignore[arg-type]
        assert not any(each.version == 6 and each.network_address.ipv4_mapped for each in inside)
        excepted += inside
    for address in (
        *("10.1.2.3", "172.20.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.0.0.1", "0.0.0.0"),
        *("fd00::1", "fe80::1", "64:ff9b::a00:1", "2002:a00:1::"),
    ):
        assert any(ipaddress.ip_address(address) in network for network in excepted), address
    for address in ("93.184.216.34", "2606:2800:220:1::1"):
        assert not any(ipaddress.ip_address(address) in network for network in excepted)


@needs_helm
@pytest.mark.parametrize(
    ("values", "option", "said"),
    [
        ("default", "kafka.bootstrapServers=", "kafka.bootstrapServers: host:port"),
        ("default", "worker.replicas=13", "13 workers, but only 12 partitions"),
        ("default", "worker.settings.EVERWATCH_SWEEPMS=100", "EVERWATCH_SWEEPMS"),
        ("default", "settings.EVERWATCH_DATABASE=x", "EVERWATCH_DATABASE"),
        ("default", "worker.terminationGracePeriodSeconds=5", "30"),
        ("default", "workers.replicas=2", "workers"),
        ("default", "database.urlSecret.name=", "database.urlSecret.name"),
        ("default", "secrets.apiAdminToken.name=", "everwatch api-token create"),
        ("default", "kafka.securityProtocol=SASL_SSL", "needs a user"),
        ("default", "kafka.securityProtocol=TLS", "securityProtocol"),
        ("default", "strimzi.enabled=true", "cluster"),
        ("client-certificates", "executor.autoscaling.lag.enabled=false", "no trigger is left"),
        ("client-certificates", "executor.autoscaling.maxReplicas=1", "minReplicas is larger"),
        ("strimzi", "api.ingress.hosts=null", "needs a host"),
        ("default", "backup.enabled=true", "backup.claimName"),
        ("sqlite", "backup.enabled=true", "run everwatch backup there"),
        ("sqlite", "sink.enabled=false", "run in the sink's pod"),
        ("default", "metrics.prometheusRule.runbookBaseUrl=git.example.com", "runbookBaseUrl"),
        (
            "strimzi",
            "strimzi.users=false,kafka.user.username=x,kafka.user.passwordSecret.name=,backup.enabled=true,backup.claimName=x",
            "passwordSecret.name",
        ),
        ("regions", "regions.executors.mars.replicas=1", "mars is not one of regions.names"),
        ("regions", "regions.executors.us.autoscaling.maxReplicas=1", "executor-us.autoscaling: minReplicas is larger"),
        (
            "regions",
            "fullnameOverride=a-name-that-is-long-enough-for-no-more,nameOverride=x,regions.names={a-region-of-32-characters-or-so},regions.executors.a-region-of-32-characters-or-so.replicas=1,regions.executors.eu=null,regions.executors.us=null",
            "more than 63 characters",
        ),
    ],
)
def test_values_that_cannot_work_are_refused_with_what_to_do(values: str, option: str, said: str) -> None:
    assert said in refusal(values, "--set", option)


@needs_helm
def test_the_settings_of_the_pods_are_taken_by_the_code() -> None:
    with pytest.raises(SettingsError, match="EVERWATCH_PARTITIONS"):
        load_settings(partitions="0")
    assert settings_of_the_pods("strimzi").keep_tasks_days == 36_500
    assert settings_of_the_pods("strimzi").log_level == "WARNING"


@needs_helm
def test_each_region_has_executors_topics_and_rights_of_its_own() -> None:
    manifests = rendered("regions")
    found = of_kind(manifests, "Deployment")
    env = found["everwatch-executor-eu"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "EVERWATCH_REGION", "value": "eu"} in env
    assert found["everwatch-executor-eu"]["spec"]["replicas"] == 3
    assert "everwatch-executor-ap" not in found
    selectors = [tuple(sorted(each["spec"]["selector"]["matchLabels"].items())) for each in found.values()]
    assert len(set(selectors)) == len(selectors)
    topics = {each["spec"]["topicName"] for each in of_kind(manifests, "KafkaTopic").values()}
    assert {"ticks.ap", "ticks.eu.high", "ticks.us.low"} <= topics


@needs_helm
def test_each_region_has_a_kafka_user_with_exactly_its_rights() -> None:
    names = ("ap", "eu", "us")
    users = of_kind(rendered("regions", "--set", "backup.enabled=true,backup.claimName=backups"), "KafkaUser")
    assert set(users) == {f"everwatch-{role}" for role in ProcessRole} | {
        f"everwatch-executor-{each}" for each in names
    }
    for region in ("", *names):
        published = ("orders",) if region == "eu" else ()
        settings = load_settings(regions=names, region=region, publish_topics=published)
        name = f"everwatch-executor-{region}" if region else "everwatch-executor"
        wanted = {(right.operation, right.name) for right in rights_of(ProcessRole.EXECUTOR, settings)}
        assert rights_granted(users[name]) == wanted, region
    for role in set(ProcessRole) - {ProcessRole.EXECUTOR}:
        wanted = {(right.operation, right.name) for right in rights_of(role, load_settings(regions=names))}
        assert rights_granted(users[f"everwatch-{role}"]) == wanted, role
    for region in ("eu", "us"):
        pod = pods_of(rendered("regions"))[f"Deployment/everwatch-executor-{region}"]
        variables = {each["name"]: each for each in pod["containers"][0]["env"]}
        user = f"everwatch-executor-{region}"
        assert variables["EVERWATCH_SASL_USERNAME"]["value"] == user
        assert variables["EVERWATCH_SASL_PASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == user


def rights_granted(user: Manifest) -> set[tuple[str, str]]:
    return {
        (operation, acl["resource"]["name"])
        for acl in user["spec"]["authorization"]["acls"]
        for operation in acl["operations"]
    }


@needs_helm
def test_without_strimzi_executors_of_a_region_have_their_user_or_share_that_of_all() -> None:
    more = (
        "--set", "regions.names={eu,us},regions.executors.eu.replicas=2,regions.executors.us.replicas=2",
        "--set", "kafka.users.executor-eu.certificateSecret.name=of-eu",
    )  # fmt: skip
    pods = pods_of(rendered("client-certificates", *more))
    for region, of_all in (("eu", "of-eu"), ("us", secret_of(pods["Deployment/everwatch-executor"]))):
        assert secret_of(pods[f"Deployment/everwatch-executor-{region}"]) == of_all
    assert secret_of(pods["Deployment/everwatch-executor"]) != "of-eu"


def secret_of(pod: Manifest) -> str:
    """The Secret with the client certificate of an executor's pod."""
    found: str = next(each for each in pod["volumes"] if each["name"] == "kafka-executor")["secret"]["secretName"]
    return found


@needs_helm
def test_a_release_may_be_the_executors_of_one_region_and_nothing_else() -> None:
    # no process is left that opens the database
    nothing = [f"{process}.enabled=false" for process in PARTS]
    nothing += ["database.urlSecret.name=", "secrets.apiAdminToken.name="]
    one = ("regions.names={ap,eu}", "regions.executors.eu.replicas=2")
    manifests = rendered("default", "--set", ",".join((*nothing, *one)))
    assert {name: len(pod["containers"]) for name, pod in pods_of(manifests).items()} == {
        "Deployment/everwatch-executor-eu": 1
    }
    assert list(of_kind(manifests, "Service")) == ["everwatch-executor-eu-metrics"]
    [policy] = of_kind(manifests, "NetworkPolicy").values()
    assert policy["spec"]["podSelector"]["matchExpressions"][0]["values"] == ["executor-eu"]
    none = rendered("default", "--set", ",".join(nothing))
    assert of_kind(none, "NetworkPolicy") == pods_of(none) == {}


@needs_helm
def test_executors_reach_kafka_on_the_ports_of_its_addresses() -> None:
    for option, wanted in (
        ("kafka.bootstrapServers=a.example.com:9094\\,b.example.com:19092\\,c.example.com:9094", [9094, 19092]),
        ("networkPolicy.kafka.ports={9095}", [9095]),
    ):
        [policy] = of_kind(rendered("default", "--set", option), "NetworkPolicy").values()
        assert [each["port"] for each in policy["spec"]["egress"][1]["ports"]] == wanted


@needs_helm
def test_executors_of_a_region_scale_on_its_topics_by_themselves() -> None:
    manifests = rendered("regions")
    [(name, scaled)] = of_kind(manifests, "ScaledObject").items()
    assert name == scaled["spec"]["scaleTargetRef"]["name"] == "everwatch-executor-us"
    *lags, saturation = (each["metadata"] for each in scaled["spec"]["triggers"])
    assert [each["topic"] for each in lags] == ["ticks.us.high", "ticks.us", "ticks.us.low"]
    assert {each["consumerGroup"] for each in lags} == {executors_group(Settings(), "us")}
    assert saturation["query"].count('service="everwatch-executor-us-metrics"') == 2
    assert "everwatch-executor-us-metrics" in of_kind(manifests, "Service")
    assert "replicas" not in of_kind(manifests, "Deployment")["everwatch-executor-us"]["spec"]
    assert {"everwatch-executor-eu", "everwatch-executor-us"} <= set(of_kind(manifests, "PodDisruptionBudget"))
    # what holds for all executors holds for those of regions, unless they say otherwise
    everywhere = rendered("regions", "--set", "executor.autoscaling.enabled=true")
    assert set(of_kind(everywhere, "ScaledObject")) == {f"everwatch-executor{each}" for each in ("", "-eu", "-us")}
