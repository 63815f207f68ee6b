"""Rate of durable registrations: the signups wait on the topic, and the changelog acknowledges them.

One monitor each (``--monitors``: more, then without peers). Two rates: from the start of the process to the look at
which the changelog held all users, and from the last look at which it had grown by nothing, without the start. Kafka
Streams and plain Faust do the same in the same run; with ``--fencing-turns`` a worker without transactions takes their
place.
"""

from bench.errors import Unmeasured
from bench.fencing import in_turns, loss, surcharge
from bench.pace import Pace, pace_of
from bench.plan import Plan
from bench.population import Population, Recurring
from bench.producing import Signups
from bench.report import Figure, Outcome, Peer
from bench.rig import Rig, rig
from bench.rivals import FAUST, STREAMS, beside, figure_of, running_peer
from bench.watching import Watched, per_million

RATE = "registrations"
COST = "CPU, with the start"
FROM_START = "registrations, from the start of the process"


def measure(plan: Plan) -> Outcome:
    """The worker first, then the peers, each alone."""
    users, faust_users = (40_000, 2_000) if plan.quick else (600_000, 10_000)
    users = plan.users or users
    with rig() as bench:
        if plan.fencing_turns:
            found = in_turns(
                bench, plan.fencing_turns, lambda each, is_fenced: _alone(each, users, plan.monitors, is_fenced)
            )
            figures = [*found.figures, loss(found, RATE), surcharge(found, COST)]
            return Outcome(figures, found.peers)
        figures = _alone(bench, users, plan.monitors)
        peers = []
        if plan.peers and plan.monitors == 1:
            peers = [
                beside(STREAMS, lambda: _peer(bench, STREAMS, plan, bench.topics.signups, users)),
                beside(FAUST, lambda: _peer(bench, FAUST, plan, _backlog(bench, faust_users), faust_users)),
            ]
        for peer in peers:
            for place, name in enumerate((RATE, FROM_START)):
                if theirs := figure_of(peer, name):
                    target = ">= 1" if peer.name == STREAMS else ""
                    what = f"against {peer.name}" + name.removeprefix(RATE)
                    figures.append(Figure(what, figures[place].value / theirs, "times theirs", target))
        return Outcome(figures, peers)


def _population(users: int, monitors: int = 1) -> Population:
    names = ["tcp", *(f"tcp-{number}" for number in range(2, monitors + 1))]
    return Population(tuple(Recurring(name, 86_400_000) for name in names), users)


def _backlog(bench: Rig, users: int) -> str:
    topic = bench.new_topic("waiting-signups")
    bench.publish(topic, Signups(_population(users)))
    return topic


def _alone(bench: Rig, users: int, monitors: int, is_fenced: bool = True) -> list[Figure]:
    bench.say(f"{users:,} signups wait on the topic")
    bench.publish(bench.topics.signups, Signups(_population(users, monitors)))
    return _worker(bench, users, monitors, is_fenced)


def _worker(bench: Rig, users: int, monitors: int, is_fenced: bool) -> list[Figure]:
    changelog, signups = bench.topics.monitors_changelog, bench.topics.signups
    worker = bench.start_worker(is_fenced=is_fenced)
    pace = pace_of(
        bench,
        lambda: bench.written(changelog),
        lambda _: bench.taken_in(signups) >= users,
        "changelog",
        (1 + monitors) * users,
    )
    began_s = _began_s(bench, worker)
    cpu_s, resident_mib = worker.cpu_s(), worker.resident_mib()
    bench.stop_worker(worker)
    found = _monitors(bench, changelog)
    if found != users * monitors:
        raise Unmeasured(f"The changelog holds {found} monitors, and {users * monitors} signed up.")
    return _figures(pace, began_s, users, cpu_s, resident_mib, ">= 60000")


def _monitors(bench: Rig, changelog: str) -> int:
    """Number of monitors in the changelog."""
    keys = {bytes(r.key) for _, r in bench.client.records(changelog, [0] * bench.partitions, bench.ends(changelog))}
    return sum(not key.endswith(b"\0") for key in keys)


def _peer(bench: Rig, name: str, plan: Plan, signups: str, users: int) -> Peer:
    with running_peer(bench, name, plan, signups) as subject:
        pace = pace_of(
            bench, lambda: bench.written(subject.changelog), lambda found: found >= users, f"{name}'s changelog", users
        )
        return Peer(
            name,
            _figures(
                pace,
                _began_s(bench, subject.watched),
                users,
                subject.watched.cpu_s(),
                subject.watched.resident_mib(),
                "",
            ),
        )


def _began_s(bench: Rig, watched: Watched) -> float:
    """Return the start of its process, by the bench's monotonic clock."""
    return bench.clock.monotonic_s() - bench.clock.now_ms() / 1000 + float(watched.process.create_time())


def _figures(pace: Pace, began_s: float, users: int, cpu_s: float, resident_mib: float, target: str) -> list[Figure]:
    return [
        Figure(RATE, pace.rate(users), "users/s", target),
        Figure(FROM_START, users / (pace.seen[-1][0] - began_s), "users/s"),
        Figure("users", users, "users"),
        Figure(COST, per_million(cpu_s, users), "CPU s per million"),
        Figure("resident", resident_mib, "MiB"),
    ]
