"""Rate of durable registrations: the signups wait on the topic, and the changelog acknowledges them.

One monitor each. The clock runs from the last look at which the changelog had grown by nothing to the one at which it
held all users, so no start is measured. Kafka Streams and plain Faust do the same in the same run.
"""

from bench.errors import Unmeasured
from bench.pace import Pace, pace_of
from bench.plan import Plan
from bench.population import Population, Recurring
from bench.producing import Signups
from bench.report import Figure, Outcome, Peer
from bench.rig import Rig, rig
from bench.rivals import FAUST, STREAMS, beside, figure_of, running_peer
from bench.watching import per_million

RATE = "registrations"


def measure(plan: Plan) -> Outcome:
    """The worker first, then the peers, each alone."""
    users, faust_users = (40_000, 2_000) if plan.quick else (600_000, 10_000)
    with rig() as bench:
        bench.say(f"{users:,} signups wait on the topic")
        bench.publish(bench.topics.signups, Signups(_population(users)))
        figures = _worker(bench, users)
        peers = []
        if plan.peers:
            peers = [
                beside(STREAMS, lambda: _peer(bench, STREAMS, plan, bench.topics.signups, users)),
                beside(FAUST, lambda: _peer(bench, FAUST, plan, _backlog(bench, faust_users), faust_users)),
            ]
        for peer in peers:
            if theirs := figure_of(peer, RATE):
                target = ">= 1" if peer.name == STREAMS else ""
                figures.append(Figure(f"against {peer.name}", figures[0].value / theirs, "times theirs", target))
        return Outcome(figures, peers)


def _population(users: int) -> Population:
    return Population((Recurring("tcp", 86_400_000),), users)


def _backlog(bench: Rig, users: int) -> str:
    topic = bench.new_topic("waiting-signups")
    bench.publish(topic, Signups(_population(users)))
    return topic


def _worker(bench: Rig, users: int) -> list[Figure]:
    changelog, signups = bench.topics.monitors_changelog, bench.topics.signups
    worker = bench.start_worker()
    pace = pace_of(
        bench,
        lambda: bench.written(changelog),
        lambda _: bench.taken_in(signups) >= users,
        "changelog",
        2 * users,
    )
    cpu_s, resident_mib = worker.cpu_s(), worker.resident_mib()
    bench.stop_worker(worker)
    found = _monitors(bench, changelog)
    if found != users:
        raise Unmeasured(f"The changelog holds the monitors of {found} users, and {users} signed up.")
    return _figures(pace, users, cpu_s, resident_mib, ">= 60000")


def _monitors(bench: Rig, changelog: str) -> int:
    """Number of monitors in the changelog."""
    keys = {bytes(r.key) for _, r in bench.client.records(changelog, [0] * bench.partitions, bench.ends(changelog))}
    return sum(not key.endswith(b"\0") for key in keys)


def _peer(bench: Rig, name: str, plan: Plan, signups: str, users: int) -> Peer:
    with running_peer(bench, name, plan, signups) as subject:
        pace = pace_of(
            bench, lambda: bench.written(subject.changelog), lambda found: found >= users, f"{name}'s changelog", users
        )
        return Peer(name, _figures(pace, users, subject.watched.cpu_s(), subject.watched.resident_mib(), ""))


def _figures(pace: Pace, users: int, cpu_s: float, resident_mib: float, target: str) -> list[Figure]:
    return [
        Figure(RATE, pace.rate(users), "users/s", target),
        Figure("users", users, "users"),
        Figure("CPU, with the start", per_million(cpu_s, users), "CPU s per million"),
        Figure("resident", resident_mib, "MiB"),
    ]
