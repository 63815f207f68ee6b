"""How fast new users are registered, durably: their signups wait on the topic, the changelog acknowledges them.

One monitor each. The clock runs from the last look at which the changelog had grown by nothing to the one at which it
held everybody, so a start counts for nobody. Kafka Streams, with a thread for each of two cores, and plain Faust do the
same in the same run. So do two workers with half of the partitions each; they are halted while the signups are laid in.
"""

from bench.errors import Unmeasured
from bench.pace import Pace, pace_of
from bench.plan import Plan
from bench.population import Population, Recurring
from bench.producing import Signups
from bench.report import Figure, Outcome, Peer
from bench.rig import Rig, rig
from bench.rivals import FAUST, STREAMS, beside, figure_of, running_peer, wait_spread
from bench.watching import per_million

RATE = "registrations"
BY_TWO = "registrations by two workers"


def measure(plan: Plan) -> Outcome:
    """The worker first, then the peers, each alone; two workers at last."""
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
        figures += _against(figures[0], peers, ">= 1")
        if not plan.quick:
            by_two = _two_workers(bench, users)
            figures += [by_two, *_against(by_two, peers, "")]
        return Outcome(figures, peers)


def _against(rate: Figure, peers: list[Peer], target: str) -> list[Figure]:
    figures = []
    for peer in peers:
        if theirs := figure_of(peer, RATE):
            wanted = target if peer.name == STREAMS else ""
            figures.append(Figure(f"{rate.name}, against {peer.name}", rate.value / theirs, "times theirs", wanted))
    return figures


def _population(users: int, first: int = 0) -> Population:
    return Population((Recurring("tcp", 86_400_000),), users, first)


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


def _two_workers(bench: Rig, users: int) -> Figure:
    """Two workers, who find as many more users waiting."""
    changelog, signups = bench.topics.monitors_changelog, bench.topics.signups
    for name in ("1", "2"):
        bench.start_worker(name)
    wait_spread(bench, 2)
    bench.wait_on_time()
    bench.say(f"two workers are halted, while {users:,} more signups are laid in")
    for worker in bench.workers:
        worker.halt()
    bench.publish(signups, Signups(_population(users, users)))
    for worker in bench.workers:
        worker.go_on()
    before, wanted = bench.written(changelog), bench.written(signups)
    pace = pace_of(
        bench,
        lambda: bench.written(changelog) - before,
        lambda _: bench.taken_in(signups) >= wanted,
        "changelog",
        2 * users,
    )
    return Figure(BY_TWO, pace.rate(users), "users/s")


def _monitors(bench: Rig, changelog: str) -> int:
    """How many monitors the changelog knows."""
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
