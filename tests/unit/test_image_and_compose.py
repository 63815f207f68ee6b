"""deploy/Dockerfile and docker-compose.yml: commands and settings that exist, and pinned packages and images."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from everwatch.cli.main import COMMANDS
from everwatch.core.config import load_settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
WITH_CLIENT = (ROOT / "deploy" / "Dockerfile.backup").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "everwatch"}
GIVEN = {"POSTGRES_PASSWORD": "p" * 32, "EVERWATCH_API_ADMIN_TOKEN": "t" * 64}


def filled_in(text: str) -> str:
    """A value as compose fills it in from the variables that it asks for."""
    return re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: GIVEN[found[1]], text)


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.backup"])
def test_hadolint_finds_nothing(name: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "deploy" / name], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_for_backups_adds_the_client_to_the_one_of_all_and_runs_as_it_does() -> None:
    assert re.findall(r"^FROM (\S+)", WITH_CLIENT, re.MULTILINE) == ["${EVERWATCH}"]
    assert re.findall(r"^USER (.*)", WITH_CLIENT, re.MULTILINE)[-1] == "10001:10001"
    assert not re.search("^(ENTRYPOINT|CMD|COPY|ADD)", WITH_CLIENT, re.MULTILINE)


def test_the_image_runs_as_a_number_and_is_built_from_pinned_packages_alone() -> None:
    assert re.findall(r"^USER (.*)", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert re.search(r"^ARG BASE=python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]
    for line in re.findall(r"pip install .*", DOCKERFILE):
        assert "--require-hashes" in line or "--no-deps --no-index" in line
    lock = (ROOT / "deploy" / "image" / "build.lock").read_text()
    assert "hatchling==" in lock
    assert all("--hash=sha256:" in entry for entry in re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE)[1:])
    assert re.search(r"^HEALTHCHECK .*\\\n.*/healthz", DOCKERFILE, re.MULTILINE)


def test_what_the_build_copies_is_let_through() -> None:
    let_through = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for source in line.split():
            assert f"!{source}" in let_through
            assert (ROOT / source).exists()


def test_every_variable_of_the_image_is_a_setting() -> None:
    given = dict(re.findall(r"EVERWATCH_(\w+)=(\S+)", DOCKERFILE))
    assert load_settings(**{name.lower(): value for name, value in given.items()}).metrics_port == 9464


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_starts_a_command_with_settings_that_are_taken(name: str) -> None:
    service = OURS[name]
    assert service["command"][0] in {listed.name for listed in COMMANDS}
    variables = {key: filled_in(value) for key, value in service["environment"].items()}
    assert all(key.startswith("EVERWATCH_") for key in variables)
    settings = load_settings(**{key.removeprefix("EVERWATCH_").lower(): value for key, value in variables.items()})
    assert settings.bootstrap_servers == "kafka:9092"
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert {"sink", "notifier", "api"} & {name} == ({name} if settings.database else set())
    # the image has its own healthcheck
    assert "healthcheck" not in service


def test_every_process_has_a_service() -> None:
    assert set(OURS) == {"worker", "executor", "sink", "notifier", "api"}
    assert set(SERVICES) - set(OURS) == {"kafka", "postgres", "prometheus", "alertmanager"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(OURS)))
def test_a_service_of_others_is_pinned_and_has_a_healthcheck(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[\w/]+:v?\d+\.\d+(\.\d+)?", service["image"])
    assert service["healthcheck"]["test"][0] == "CMD"


def test_prometheus_scrapes_every_process_where_its_metrics_are() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "compose" / "prometheus.yml").read_text())
    found = next(each for each in config["scrape_configs"] if each["job_name"] == "everwatch")["dns_sd_configs"][0]
    assert set(found["names"]) == set(OURS)
    assert f"EVERWATCH_METRICS_PORT={found['port']}" in DOCKERFILE
    assert [each["static_configs"][0]["targets"] for each in config["alerting"]["alertmanagers"]] == [
        ["alertmanager:9093"]
    ]


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_names_is_there(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], volume
    # nothing is offered to other machines
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
