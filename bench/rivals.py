"""The product and its peers as the same thing to a bench: topics, a process to count the cost of, users taken in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

import psutil
from confluent_kafka import KafkaException

from bench.errors import Unmeasured
from bench.expectation import Expectation
from bench.peers import PeerError, faust_peer, streams_peer
from bench.plan import Plan
from bench.population import PORT, Population
from bench.producing import Signups
from bench.report import Peer
from bench.rig import Rig
from bench.watching import Watched, judge, watch
from bench.worker import Worker
from everwatch.core.errors import EverwatchError

STREAMS, FAUST = "Kafka Streams", "Faust"
_PEERS = {STREAMS: streams_peer, FAUST: faust_peer}
# Java compiles, and RocksDB settles, while the first laps go by
_SETTLE_S = 15.0
_SETTLE_QUICK_S = 2.0
_STEADY_MS = 400
_STEADY_WITHIN_S = 180.0


@dataclass
class Subject:
    """A measured system. ``wait`` returns when all monitors of ``expected`` are registered and tick."""

    name: str
    signups: str
    ticks: str
    changelog: str
    watched: Watched
    expected: Expectation
    wait: Callable[[], None]

    def sign_up(self, rig: Rig, *populations: Population, port: int = PORT) -> None:
        """Register more users, whose monitors probe ``port``, and wait until they tick."""
        users = sum(population.users for population in populations)
        rig.say(f"{self.name}: signing up {users:,} users, {sum(p.monitors for p in populations):,} monitors")
        rig.publish(self.signups, Signups(*populations, port=port))
        for population in populations:
            self.expected.add(population)
        self.wait()


def the_worker(rig: Rig, worker: Worker) -> Subject:
    """Everwatch's one worker."""
    topics = rig.topics

    def wait() -> None:
        rig.wait_taken_in(topics.signups)
        rig.wait_on_time()

    expected = Expectation(rig.partitions)
    return Subject("worker", topics.signups, topics.ticks, topics.monitors_changelog, worker, expected, wait)


def wait_steady(rig: Rig, subject: Subject) -> None:
    """Wait until a look at the ticks themselves finds all of them, on time. Raises Unmeasured if it takes too long."""

    def steady() -> bool:
        verdict = judge(watch(rig, subject.ticks, 1.0, [], settle_s=0.5), subject.expected)
        return verdict.missed == 0 and verdict.worst < _STEADY_MS

    rig.wait_until(steady, "all ticks come on time", _STEADY_WITHIN_S)


@contextmanager
def running_peer(rig: Rig, name: str, plan: Plan, signups: str = "") -> Iterator[Subject]:
    """Run a peer on topics of its own; ``signups`` may have been filled before."""
    slug = name.lower().replace(" ", "-")
    signups = signups or rig.new_topic(f"{slug}-signups")
    ticks = rig.new_topic(f"{slug}-ticks")
    rig.say(f"starting {name}")
    with _PEERS[name](
        rig.settings,
        rig.bootstrap_servers,
        rig.folder / slug,
        signups=signups,
        ticks=ticks,
        partitions=rig.partitions,
    ) as peer:
        expected = Expectation(rig.partitions)

        def wait() -> None:
            # Faust's table has a record for each user, the others one for each monitor
            users = sum(population.users for population in expected.populations)
            records = users if name == FAUST else expected.monitors
            rig.wait_for_count(lambda: rig.written(peer.changelog), records, f"{name}'s changelog")
            Event().wait(_SETTLE_QUICK_S if plan.quick else _SETTLE_S)

        yield Subject(name, signups, ticks, peer.changelog, peer, expected, wait)


def beside(name: str, measure: Callable[[], Peer]) -> Peer:
    """Figures of a peer, or a sentence that says why it has none."""
    try:
        return measure()
    except (PeerError, EverwatchError, Unmeasured, KafkaException, psutil.Error, OSError) as error:
        return Peer(name, problem=f"{name} was not measured: {str(error).splitlines()[0]}")


def figure_of(peer: Peer, name: str) -> float:
    """The value of a peer's figure, 0 where it has none."""
    return next((figure.value for figure in peer.figures if figure.name == name), 0.0)
