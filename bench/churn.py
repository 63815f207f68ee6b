"""The cost of ticks while 1 % of the monitors change each minute: their users sign up again with another config.

1,000,000 monitors every 10 s (quick: 30,000 every second), the same for Kafka Streams in the same run; with
``--fencing-turns`` for a worker without transactions in its place.
"""

from bench.fencing import in_turns, surcharge
from bench.plan import Plan
from bench.population import PORT, Population, Recurring
from bench.producing import Signups, publishing
from bench.report import Figure, Outcome, Peer
from bench.rig import Rig, rig
from bench.rivals import STREAMS, Subject, beside, figure_of, running_peer, the_worker
from bench.watching import cost_figures, judge, per_million, watch

CHANGING_A_MINUTE = 0.01
COST = "CPU per million ticks"
CALM = "CPU per million ticks, nothing changing"


def measure(plan: Plan) -> Outcome:
    """First the peer, then the worker, each calm and then with changes."""
    users, interval_s = (30_000, 1) if plan.quick else (1_000_000, 10)
    population = Population((Recurring("tcp", interval_s * 1000),), users)
    with rig() as bench:
        if plan.fencing_turns:
            found = in_turns(
                bench, plan.fencing_turns, lambda each, is_fenced: _alone(each, population, plan, is_fenced)
            )
            return Outcome([*found.figures, surcharge(found, COST)], found.peers)
        worker = bench.start_worker()
        peers = [beside(STREAMS, lambda: _peer(bench, population, plan))] if plan.peers else []
        figures = _watched(bench, the_worker(bench, worker), population, plan)
        cost = next(figure.value for figure in figures if figure.name == COST)
        for peer in peers:
            if theirs := figure_of(peer, COST):
                name = f"CPU per million with churn, against {peer.name}"
                figures.append(Figure(name, cost / theirs, "of theirs", "<= 0.2"))
        return Outcome(figures, peers)


def _alone(bench: Rig, population: Population, plan: Plan, is_fenced: bool) -> list[Figure]:
    worker = bench.start_worker(is_fenced=is_fenced)
    figures = _watched(bench, the_worker(bench, worker), population, plan)
    bench.stop_worker(worker)
    return figures


def _peer(bench: Rig, population: Population, plan: Plan) -> Peer:
    with running_peer(bench, STREAMS, plan) as subject:
        return Peer(STREAMS, _watched(bench, subject, population, plan))


def _watched(bench: Rig, subject: Subject, population: Population, plan: Plan) -> list[Figure]:
    subject.sign_up(bench, population)
    seconds = 4 if plan.quick else 60
    a_second = population.monitors * CHANGING_A_MINUTE / 60
    figures = [Figure("monitors", population.monitors, "monitors"), Figure("changes", a_second, "monitors/s")]
    if not plan.quick:
        bench.say(f"{subject.name}: watching, nothing changing")
        calm = watch(bench, subject.ticks, seconds, [subject.watched])
        figures.append(Figure(CALM, per_million(sum(calm.cpu_s), judge(calm, subject.expected).ticks), "CPU s"))
    bench.say(f"{subject.name}: watching while {a_second:.0f} monitors change each second")
    before = bench.written(subject.changelog)
    again = Signups(population, port=PORT + 1)
    with publishing(bench.bootstrap_servers, subject.signups, again, a_second=a_second):
        bench.wait_until(lambda: bench.written(subject.changelog) > before, "the first change is taken in", 30)
        window = watch(bench, subject.ticks, seconds, [subject.watched], settle_s=plan.settle_s)
    changed = bench.written(subject.changelog) - before
    verdict = judge(window, subject.expected)
    return [
        *figures,
        Figure("ticks", verdict.ticks / window.seconds, "ticks/s"),
        Figure("changelog records meanwhile", changed, "records"),
        Figure("late p50", verdict.late(0.50), "ms"),
        Figure("late p99", verdict.late(0.99), "ms"),
        Figure("late max", verdict.worst, "ms"),
        Figure("missed", verdict.missed, "ticks", "<= 0"),
        Figure("duplicates", verdict.duplicates, "ticks", "<= 0"),
        Figure(COST, per_million(sum(window.cpu_s), verdict.ticks), "CPU s"),
        *cost_figures(window, verdict, subject.name),
    ]
