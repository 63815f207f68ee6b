"""Metrics and health of several processes of one machine on one port.

Each process serves its own on a Unix socket. A request asks all of them: samples get the label ``process`` (and
``replica`` where several are alike), and a probe's answer is the worst of all.
"""

import http.client
import socket
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from everwatch.processes.health import Report
from everwatch.processes.metrics import PROCESS_ANSWERS
from everwatch.processes.serving import application

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

ANSWER_WITHIN_S = 3.0
"""A process that takes longer has no answer; less than a scrape every 5 s may take."""
_MOST_AT_ONCE = 16


class SharedPortMember(NamedTuple):
    """A process of this machine: its name, its number among processes alike (0: it is the only one), its socket."""

    process: str
    replica: int
    path: Path

    @property
    def labels(self) -> dict[str, str]:
        """Labels of its samples."""
        return {"process": self.process} | ({"replica": str(self.replica)} if self.replica else {})


class CombinedProcesses(Collector):
    """Metrics and health of the members. ``members`` may grow while it is served.

    A member has ``answer_within_s`` for an answer.
    """

    def __init__(self, answer_within_s: float = ANSWER_WITHIN_S) -> None:
        self._within_s = answer_within_s
        self.members: list[SharedPortMember] = []

    def application(self) -> "WSGIApplication":
        """Return the WSGI application that answers for all members."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return application(make_wsgi_app(registry), {"/healthz": self.alive, "/readyz": self.ready})

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all members, each sample with its member's labels."""
        found: dict[str, Metric] = {}
        for member, answer in self._ask("/metrics"):
            PROCESS_ANSWERS.labels(member.process, member.replica or "").set(answer is not None)
            for family in text_string_to_metric_families(answer.text if answer else ""):
                merged = found.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                merged.samples += (sample._replace(labels=sample.labels | member.labels) for sample in family.samples)
        yield from found.values()
        yield from PROCESS_ANSWERS.collect()

    def alive(self) -> Report:
        """Report whether every event loop turns. One that is not there is being started again: no reason to restart."""
        return self._report("alive", "/healthz", absent_is_well=True)

    def ready(self) -> Report:
        """Report whether every member is ready."""
        return self._report("ready", "/readyz", absent_is_well=False)

    def _report(self, quality: str, path: str, *, absent_is_well: bool) -> Report:
        processes, reasons = [], []
        for member, answer in self._ask(path):
            if answer is None:
                is_absent = not _listens(member.path, self._within_s)
                reason = "it is not running" if is_absent else f"it has not answered within {self._within_s:g} s"
                if not (is_absent and absent_is_well):
                    reasons.append({**member.labels, "part": "process", "reason": reason})
                continue
            body: Mapping[str, Any] = orjson.loads(answer.text)
            processes.append(body)
            reasons += [{**member.labels, **each} for each in body["reasons"]]
        status = f"not {quality}" if reasons else quality
        return Report(not reasons, {"status": status, "reasons": reasons, "processes": processes})

    def _ask(self, path: str) -> Iterable[tuple[SharedPortMember, "_Answer | None"]]:
        """Ask all members at the same time; None for one that has no answer."""
        members = list(self.members)
        if not members:
            return []
        with ThreadPoolExecutor(min(len(members), _MOST_AT_ONCE), "asking") as threads:
            return zip(
                members, list(threads.map(lambda member: _get(member.path, path, self._within_s), members)), strict=True
            )


class _Answer(NamedTuple):
    status: int
    text: str


class _SocketConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _get(socket_path: Path, path: str, within_s: float) -> _Answer | None:
    connection = _SocketConnection(socket_path, within_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return _Answer(response.status, response.read().decode())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _listens(path: Path, within_s: float) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(within_s)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True
    return True
