"""Prometheus and its tools, where they are installed, and what rules and dashboards ask of it."""

import json
import re
import runpy
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from support.ports import free_ports
from support.waiting import wait_until

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


class Prometheus:
    """A Prometheus with a configuration of its own, on the loopback address. Skips the test where there is none."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        """``folder`` takes its data and its log."""
        self._program = tool("prometheus")
        self._folder = folder
        self._config = config
        [self._port] = free_ports(1)

    def __enter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        config = self._folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._config))
        command = [self._program, f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{self._port}"]
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, expression: str, at_s: float | None = None) -> list[Any]:
        """Return what it answers, as of an instant; [] if it does not. Raises AssertionError if it refuses it."""
        asked = {"query": expression} | ({} if at_s is None else {"time": str(at_s)})
        return list(self._get(f"query?{urllib.parse.urlencode(asked)}").get("result", []))

    def unhealthy_rules(self) -> list[str]:
        """Return the rules that it could not evaluate, with the reason."""
        groups: list[Any] = []
        wait_until("Prometheus names its rules", lambda: groups.extend(self._get("rules").get("groups", [])) or groups)
        assert groups
        rules = [rule for group in groups for rule in group["rules"]]
        return [f"{rule['name']}: {rule.get('lastError', rule['health'])}" for rule in rules if rule["health"] != "ok"]

    def _get(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}", timeout=30) as answer:
                said = json.loads(answer.read())
        except urllib.error.HTTPError as refusal:
            raise AssertionError(f"{path}: {refusal.read().decode()}") from None
        except OSError:  # it is not ready yet, or slow
            return {}
        assert said["status"] == "success"
        return dict(said["data"])

    def panels_without_an_answer(self, rate_interval: str, at_s: Sequence[float | None] = (None,)) -> set[str]:
        """Ask what each panel of each dashboard asks, and return those where a line has no answer at any instant."""
        expressions = list(runpy.run_path(str(ROOT / "deploy/grafana/dashboards.py"))["expressions"]())
        assert expressions
        filled_in = (
            (place, expression.replace("$namespace", ".*").replace("$__rate_interval", rate_interval))
            for place, expression in expressions
        )
        return {place for place, expression in filled_in if not any(self.ask(expression, at) for at in at_s)}
