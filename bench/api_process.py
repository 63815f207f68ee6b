"""Processes of the HTTP API and the sink for a bench, and single requests to them."""

import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

import orjson

from bench.errors import Unmeasured
from bench.rig import Rig
from bench.worker import Worker

TOKEN = "a token of the bench, long enough to be one"
SERVES_WITHIN_S = 180.0
_ANSWER_WITHIN_S = 60.0


@dataclass(frozen=True)
class ApiProcess:
    """A process of the API that serves."""

    worker: Worker
    url: str


def start_api(bench: Rig, name: str, **more: str) -> ApiProcess:
    """Start a process of the API; returns once it serves."""
    process = _process(bench, name, ("api", "--port", "0"), **more)
    bench.workers.append(process)
    return ApiProcess(process, _address(bench, process))


def start_sink(bench: Rig) -> None:
    """Start a sink, which creates the database."""
    bench.workers.append(_process(bench, "sink", ("sink",)))


def cpu_of_each(bench: Rig) -> dict[str, float]:
    """Return the CPU seconds of each process so far: which of them bounds the others on cores that all share."""
    times = bench.broker.cpu_times()
    names = {"1": "worker"}
    found = {names.get(each.name, each.name): each.cpu_s() for each in bench.workers}
    return found | {"broker": times.user + times.system, "client": time.process_time()}


def call(api: ApiProcess, method: str, path: str, body: object = None) -> Any:
    """Return the answer to one request. Raises Unmeasured for an error."""
    data = None if body is None else orjson.dumps(body)
    headers = {"Authorization": f"Bearer {TOKEN}"} | ({"Content-Type": "application/json"} if data else {})
    request = urllib.request.Request(api.url + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_WITHIN_S) as answer:
            return orjson.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise Unmeasured(f"{method} {path} was answered with {error.code}: {error.read(300)!r}") from None


def _process(bench: Rig, name: str, command: tuple[str, ...], **more: str) -> Worker:
    variables = {
        "EVERWATCH_PARTITIONS": str(bench.partitions),
        "EVERWATCH_API_ADMIN_TOKEN": TOKEN,
        "EVERWATCH_API_REQUESTS_PER_MIN": "0",
    }
    return Worker(name, bench.folder, bench.bootstrap_servers, command, variables | more)


def _address(bench: Rig, process: Worker) -> str:
    found: list[str] = []

    def serves() -> bool:
        found[:] = re.findall(r"^API: (\S+)$", process.log.read_text(errors="replace"), re.MULTILINE)
        return bool(found)

    bench.wait_until(serves, f"{process.name} serves", SERVES_WITHIN_S)
    return found[0]
