"""HTTP probes that one executor makes for a second of CPU, beside blackbox_exporter on the same target.

Ticks wait on the topic; each is one probe on a new connection, with timings by phase, and a result on the results
topic, where the reader counts them and looks into each at the end. The target counts connections. The exporter is
scraped as Prometheus would, by as many connections as the executor has checks in flight. Both are counted from the
first tenth of the probes on, so no start is measured.
"""

from collections.abc import Callable
from dataclasses import dataclass

from bench.pace import Pace, pace_of
from bench.peers.blackbox import NAME, blackbox
from bench.plan import Plan
from bench.producing import Records
from bench.report import Figure, Outcome, Peer
from bench.rig import Rig, rig
from bench.rivals import beside, figure_of
from bench.scraping import scraping
from bench.target import Target, target
from bench.watching import Watched
from everwatch.encoding import codec
from everwatch.kinds import registry
from everwatch.model import Result, Status, Tick

PER_CORE = "http probes per core-second"
AT_ONCE = 100
_PHASES = {"connect", "first_byte", "total"}
_TIMEOUT_MS = 10_000


@dataclass(frozen=True)
class Ticks:
    """One tick of each user's http monitor, all of the same ``url``."""

    url: str
    users: int

    def records(self) -> Records:
        """Keys and values of their records."""
        kind = registry.kind_named("http")
        config = registry.canonical_config(kind, registry.parse_config(kind, {"url": self.url}))
        tick = Tick("", "http", 0, "http", config, _TIMEOUT_MS, version=1, partition=0)
        value = codec.encode_tick(tick)
        for number in range(self.users):
            yield b"user-%08d" % number, value


@dataclass
class _Cost:
    """CPU of ``watched`` from the first tenth of ``wanted`` on."""

    watched: Watched
    wanted: int
    began: int = 0
    began_s: float = 0.0
    per_core_s: float = 0.0

    def note(self, ended: int) -> bool:
        """Note how many have ended; whether all have."""
        if not self.began:
            if ended >= self.wanted // 10:
                self.began, self.began_s = ended, self.watched.cpu_s()
        elif ended >= self.wanted:
            self.per_core_s = (ended - self.began) / (self.watched.cpu_s() - self.began_s)
        return ended >= self.wanted


def measure(plan: Plan) -> Outcome:
    """The executor first, then the exporter, each alone."""
    probes = 20_000 if plan.quick else 100_000
    with rig() as bench, target() as probed:
        figures = _executor(bench, probed, probes, plan.processes)
        peers = []
        if plan.peers:
            peers = [beside(NAME, lambda: _exporter(bench, probed, probes))]
        for peer in peers:
            if theirs := figure_of(peer, PER_CORE):
                figures.append(Figure(f"against {peer.name}", figures[0].value / theirs, "times theirs", ">= 2"))
        return Outcome(figures, peers)


def _executor(bench: Rig, probed: Target, probes: int, processes: int) -> list[Figure]:
    bench.say(f"{probes:,} ticks wait on the topic")
    bench.publish(bench.topics.ticks, Ticks(probed.url, probes))
    executor = bench.start_executor(processes, at_once=AT_ONCE)
    results = bench.topics.results
    pace, cost = _paced(bench, executor, lambda: bench.written(results), probes, "results")
    resident_mib = executor.resident_mib()
    bench.stop_worker(executor)
    written = bench.client.records(results, [0] * bench.partitions, bench.ends(results))
    found = [codec.decode_result(bytes(record.value)) for _, record in written]
    distinct = len({result.user_id for result in found})
    unseen = max(0, probes - probed.connections)
    return [
        Figure(PER_CORE, cost.per_core_s, "probes/core-s"),
        Figure("http probes", pace.rate(probes), "probes/s"),
        Figure("processes", processes, "processes"),
        Figure("probes missed", probes - distinct, "probes", "<= 0"),
        Figure("probes twice", len(found) - distinct, "probes", "<= 0"),
        Figure("results without success or timings", sum(not _is_whole(result) for result in found), "results", "<= 0"),
        Figure("connections that the target did not see", unseen, "connections", "<= 0"),
        Figure("resident", resident_mib, "MiB"),
    ]


def _exporter(bench: Rig, probed: Target, probes: int) -> Peer:
    before = probed.connections
    bench.say(f"starting {NAME}")
    with (
        blackbox(bench.folder / "blackbox") as exporter,
        scraping(exporter.probe_url(probed.url), probes, AT_ONCE) as scrapes,
    ):
        pace, cost = _paced(bench, exporter.peer, lambda: scrapes.ended, probes, f"{NAME}'s probes")
        unseen = max(0, before + probes - probed.connections)
        return Peer(
            NAME,
            [
                Figure(PER_CORE, cost.per_core_s, "probes/core-s"),
                Figure("http probes", pace.rate(probes), "probes/s"),
                Figure("probes that failed", probes - scrapes.succeeded, "probes"),
                Figure("connections that the target did not see", unseen, "connections"),
                Figure("resident", exporter.peer.resident_mib(), "MiB"),
            ],
        )


def _paced(bench: Rig, watched: Watched, count: Callable[[], int], probes: int, what: str) -> tuple[Pace, _Cost]:
    cost = _Cost(watched, probes)
    return pace_of(bench, count, cost.note, what, probes), cost


def _is_whole(result: Result) -> bool:
    return result.status is Status.SUCCESS and result.timings.keys() >= _PHASES
