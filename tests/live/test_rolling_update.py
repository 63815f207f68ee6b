"""A rolling update of three workers, as a StatefulSet does it by the rendered manifests, misses no tick.

Processes take the place of pods: the same signals, grace periods, probes and order (`deploy/kustomize/base`, which is
the chart rendered). A liveness probe for which a kubelet would restart a pod fails the test.
"""

import urllib.request
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

import pytest
from conftest import NewPipeline
from support.account import skipped_ticks
from support.manifests import ROOT, of_kind, parsed
from support.pipeline import PARTITIONS, Pipeline, Process, beside, every
from support.ports import free_ports
from support.target import Target
from support.waiting import now_ms, wait_until

pytestmark = pytest.mark.live
USERS = 40


class Pod:
    """One worker: its name, its volume, and the probes that its kubelet makes."""

    def __init__(self, name: str, pipeline: Pipeline, spec: dict[str, Any]) -> None:
        self.name = name
        self._pipeline = pipeline
        self._container = spec["containers"][0]
        self._grace_s = spec["terminationGracePeriodSeconds"]
        (self._port,) = free_ports(1)
        self._environment = pipeline.environment | {
            "EVERWATCH_DATA_DIR": str(pipeline.settings.data_dir / "volumes" / name),
            "EVERWATCH_WORKER_ID": name,
            "EVERWATCH_METRICS_PORT": str(self._port),
        }
        self._alive_at = 0
        self._failed = 0
        self.forced = False

    @property
    def process(self) -> Process:
        return self._pipeline.processes[self.name]

    def start(self) -> None:
        log: Path = self._pipeline.settings.data_dir / f"{self.name}.log"
        self._pipeline.processes[self.name] = Process("worker", self._environment, log)

    def wait_until_started(self) -> None:
        probe = self._container["startupProbe"]
        within_s = probe["periodSeconds"] * probe["failureThreshold"]
        wait_until(f"{self.name} has started", lambda: self.passes("startupProbe"), within_s, probe["periodSeconds"])

    def is_ready(self) -> bool:
        return self.passes("readinessProbe")

    def look_after(self) -> None:
        """Probe liveness when that is due. Raises AssertionError where a kubelet would restart the process."""
        probe = self._container["livenessProbe"]
        if now_ms() - self._alive_at < probe["periodSeconds"] * 1_000:
            return
        self._alive_at = now_ms()
        self._failed = 0 if self.passes("livenessProbe") else self._failed + 1
        assert self._failed < probe["failureThreshold"], f"{self.name} would have been restarted"

    def terminate(self) -> None:
        """Stop it as a kubelet does: SIGTERM, and SIGKILL at the end of its grace period."""
        try:
            self.process.stop(self._grace_s)
        except TimeoutExpired:
            self.forced = True
            self.process.kill()

    def passes(self, kind: str) -> bool:
        probe = self._container[kind]
        url = f"http://127.0.0.1:{self._port}{probe['httpGet']['path']}"
        try:
            with urllib.request.urlopen(url, timeout=probe["timeoutSeconds"]) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def test_rolling_update_of_three_workers_misses_no_tick(new_pipeline: NewPipeline, target: Target) -> None:
    manifests = parsed((ROOT / "deploy" / "kustomize" / "base" / "everwatch.yaml").read_text())
    workers = of_kind(manifests, "StatefulSet")["everwatch-worker"]["spec"]
    pod_spec = workers["template"]["spec"]
    pipeline = new_pipeline(session_timeout_ms=8_000)
    pods = [Pod(f"everwatch-worker-{number}", pipeline, pod_spec) for number in range(workers["replicas"])]
    assert len(pods) == 3 < PARTITIONS
    for pod in pods:  # podManagementPolicy: Parallel
        pod.start()
    pipeline.ensure("executor", "sink")
    for pod in pods:
        pod.wait_until_started()
    wait_until("all pods are ready", lambda: all(pod.is_ready() for pod in pods), 120)
    wait_until("the sink has made the database", pipeline.has_database, 60)
    for number in range(USERS):
        user = f"user-{number:02d}"
        quick = every("quick", "http", "2s", url=target.url(f"/ok/{user}"))
        pipeline.sign_up(user, every("nothing", "noop"), beside(quick), partition=number % PARTITIONS)

    def all_up() -> bool:
        counts = pipeline.reader.counts()
        return counts.by_state == {"up": 2 * USERS}

    wait_until("every monitor is up", all_up, 60)
    began, unready_since = now_ms(), 0
    for pod in reversed(pods):  # a StatefulSet begins with the largest ordinal
        others = [each for each in pods if each is not pod]
        pod.terminate()
        pod.start()
        pod.wait_until_started()

        def available(pod: Pod = pod, others: list[Pod] = others) -> bool:
            nonlocal unready_since
            for each in (*others, pod):
                each.look_after()
            if not pod.is_ready():
                unready_since = now_ms()
            return now_ms() - unready_since >= workers["minReadySeconds"] * 1_000

        unready_since = now_ms()
        period_s = pod_spec["containers"][0]["readinessProbe"]["periodSeconds"]
        wait_until(f"{pod.name} has been ready for minReadySeconds", available, 120, period_s)
    upto = now_ms() + 2_000
    pipeline.wait_for_time(upto)
    account = pipeline.wait_for_balance(began, upto, 60)
    skipped = skipped_ticks(pipeline.reader, began, upto)
    assert account.balanced, account
    assert account.due >= USERS * 1.4 * ((upto - began) // 1_000)
    assert not skipped
    assert not any(pod.forced for pod in pods), "a worker did not stop within its grace period"
    wait_until("all pods are ready", lambda: all(pod.is_ready() for pod in pods), 60)
