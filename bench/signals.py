"""Heartbeats into state: a backlog of JSON signals, taken in by a worker that starts on it.

1,000,000 signals of 100,000 monitors (quick: 400,000 of 20,000). The changelog, read at the end, must hold the newest
heartbeat of every monitor.
"""

from dataclasses import dataclass

from bench.pace import pace_of
from bench.plan import Plan
from bench.population import Population, Recurring
from bench.producing import Records, Signups
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.watching import per_million
from everwatch.encoding import codec
from everwatch.model import Monitor

HEARTBEAT = "heartbeat"
DAY_MS = 86_400_000
# no heartbeat may lie in the future
AGE_MS = 60_000


@dataclass(frozen=True)
class Heartbeats:
    """``rounds`` heartbeats of each user's monitor, the last at ``last_at``, a second apart."""

    population: Population
    rounds: int
    last_at: int

    def records(self) -> Records:
        """Keys and JSON values, all users' first heartbeats first."""
        for turn in range(self.rounds):
            at = self.last_at - (self.rounds - 1 - turn) * 1000
            for number in self.population.numbers:
                user = self.population.user_id(number)
                yield user.encode(), b'{"user_id":"%b","monitor_id":"heartbeat","at":%d}' % (user.encode(), at)


def measure(plan: Plan) -> Outcome:
    """Sign up, stop the worker, lay in the backlog, start the worker."""
    users, rounds = (20_000, 20) if plan.quick else (100_000, 10)
    population = Population((Recurring(HEARTBEAT, DAY_MS),), users, kind=HEARTBEAT)
    with rig() as bench:
        topics = bench.topics
        worker = bench.start_worker()
        bench.say(f"signing up {users:,} users with a heartbeat monitor each")
        bench.publish(topics.signups, Signups(population))
        bench.wait_taken_in(topics.signups)
        bench.stop_worker(worker)
        backlog = users * rounds
        bench.say(f"{backlog:,} signals wait on the topic")
        last_at = bench.clock.now_ms() - AGE_MS
        bench.publish(topics.signals, Heartbeats(population, rounds, last_at))
        begin = bench.ends(topics.monitors_changelog)
        worker = bench.start_worker()
        pace = pace_of(
            bench,
            lambda: bench.taken_in(topics.signals),
            lambda taken: taken >= backlog,
            "signals",
            backlog,
        )
        cpu_s = worker.cpu_s()
        wrong = users - _up_to_date(bench, population, begin, last_at)
        refused = bench.written(topics.dead_letters)
        return Outcome(
            [
                Figure("signals into state", pace.rate(backlog), "signals/s", ">= 100000"),
                Figure("signals", backlog, "signals"),
                Figure("monitors without their newest heartbeat", wrong, "monitors", "<= 0"),
                Figure("refused", refused, "signals", "<= 0"),
                Figure("worker CPU, with the start", per_million(cpu_s, backlog), "CPU s per million"),
                Figure("worker resident", worker.resident_mib(), "MiB"),
            ]
        )


def _up_to_date(bench: Rig, population: Population, begin: list[int], last_at: int) -> int:
    """Number of monitors whose newest heartbeat is in the changelog."""
    changelog = bench.topics.monitors_changelog
    newest: dict[bytes, bytes] = {}
    for _, record in bench.client.records(changelog, begin, bench.ends(changelog)):
        newest[bytes(record.key)] = bytes(record.value or b"")
    count = 0
    for number in population.numbers:
        key = codec.table_key(population.user_id(number), HEARTBEAT)
        entry = codec.decode_entry(key, newest[key]) if newest.get(key) else None
        count += isinstance(entry, Monitor) and entry.last_signal == last_at
    return count
