"""Capacity of one worker: ticks a second, raised step by step, and the cost of a tick beside the peers.

Recurring monitors of six intervals, some cron and some delayed ones, twenty monitors a user. A step is held when the
reader sees nothing missing and p99 within 250 ms. The peers get the recurring ones alone, at rates of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import Unmeasured
from bench.plan import Plan
from bench.population import EveryMinute, Item, Once, Population, Recurring
from bench.report import Figure, Outcome, Peer
from bench.rig import Rig, rig
from bench.rivals import FAUST, STREAMS, Subject, beside, figure_of, running_peer, the_worker
from bench.watching import Verdict, Window, cost_figures, judge, per_million, watch

LATE_MS = 250
PEER_LATE_MS = 1_000
# how many of a user's monitors have which interval
SHARES = {1: 5, 2: 4, 5: 4, 10: 3, 30: 2, 60: 1}
RECURRING: tuple[Item, ...] = tuple(
    Recurring(f"every-{interval_s}s-{number}", interval_s * 1000)
    for interval_s, share in SHARES.items()
    for number in range(share)
)
RATE_PER_USER = Population(RECURRING, 1).rate
ONCE_WITHIN_MS = 900_000
COST = "CPU per million ticks"


@dataclass
class Step:
    """One rate that was tried."""

    rate: int
    monitors: int
    window: Window
    verdict: Verdict
    held: bool

    @property
    def cost(self) -> float:
        """CPU seconds per million ticks."""
        return per_million(sum(self.window.cpu_s), self.verdict.ticks)

    @property
    def achieved(self) -> float:
        """Ticks a second that were due and came."""
        return (self.verdict.ticks - self.verdict.duplicates) / self.window.seconds


def measure(plan: Plan) -> Outcome:
    """The worker waits, without users, while the peers are measured."""
    rates = (40_000,) if plan.quick else (100_000, 400_000, 1_020_000, 1_250_000)
    with rig() as bench:
        worker = bench.start_worker()
        peers: list[Peer] = []
        if plan.peers:
            peers.append(beside(STREAMS, lambda: _peer(bench, STREAMS, plan, (15_000,), (50_000, 100_000, 200_000))))
            if not plan.quick:
                peers.append(beside(FAUST, lambda: _peer(bench, FAUST, plan, (500,), (1_000, 2_000, 4_000))))
        steps = climb(bench, the_worker(bench, worker), rates, plan, LATE_MS, mixed=True)
        best = _best(steps)
        target = "" if plan.quick else ">= 1000000"
        figures = [
            Figure("capacity", best.achieved if best.held else 0.0, "ticks/s", target),
            Figure("monitors", best.monitors, "monitors"),
            *verdict_figures(best),
            Figure(COST, best.cost, "CPU s"),
            *cost_figures(best.window, best.verdict),
            *curve(steps),
        ]
        return Outcome([*figures, *against(best, steps, peers, plan)], peers)


def climb(bench: Rig, subject: Subject, rates: Sequence[int], plan: Plan, late_ms: int, *, mixed: bool) -> list[Step]:
    """Add users until the subject no longer holds the rate; a rate that is not held is tried once more."""
    steps: list[Step] = []
    for rate in rates:
        subject.sign_up(bench, *_more_users(bench, subject, rate, mixed))
        for last_try in (False, True):
            bench.say(f"{subject.name}: watching {rate:,} ticks/s")
            seconds = 3 if plan.quick else 30
            window = watch(
                bench,
                subject.ticks,
                seconds,
                [subject.watched],
                settle_s=plan.settle_s,
                over_a_minute=mixed and not plan.quick,
            )
            verdict = judge(window, subject.expected)
            if not verdict.ticks:
                raise Unmeasured(f"No tick of {subject.name} came in {seconds} s; {verdict.due} were due.")
            held = verdict.missed == 0 and verdict.late(0.99) < late_ms
            step = Step(rate, subject.expected.monitors, window, verdict, held)
            bench.say(
                f"  {step.achieved:,.0f} ticks/s, p99 {verdict.late(0.99)} ms, {verdict.missed} missed,"
                f" {step.cost:.3f} CPU s per million{'' if held else ': not held'}"
            )
            if held or last_try or plan.quick:
                break
        steps.append(step)
        if not held:
            break
    return steps


def _more_users(bench: Rig, subject: Subject, rate: int, mixed: bool) -> list[Population]:
    have = sum(population.users for population in subject.expected.populations)
    more = max(2, round((rate - subject.expected.rate) / RATE_PER_USER))
    if not mixed:
        return [Population(RECURRING, more, have)]
    once = Once("once", bench.clock.now_ms() + 30_000, ONCE_WITHIN_MS)
    half = more // 2
    return [
        Population((*RECURRING, EveryMinute("cron")), half, have),
        Population((*RECURRING, once), more - half, have + half),
    ]


def _peer(bench: Rig, name: str, plan: Plan, quick: Sequence[int], full: Sequence[int]) -> Peer:
    with running_peer(bench, name, plan) as subject:
        steps = climb(bench, subject, quick if plan.quick else full, plan, PEER_LATE_MS, mixed=False)
    best = _best(steps)
    held = Figure("holds", best.achieved if best.held else 0.0, "ticks/s")
    resident = Figure("resident", best.window.resident_mib[0], "MiB")
    return Peer(
        name, [held, *verdict_figures(best, PEER_LATE_MS), Figure(COST, best.cost, "CPU s"), resident, *curve(steps)]
    )


def _best(steps: Sequence[Step]) -> Step:
    """The highest rate that was held, or the first where none was."""
    return next((step for step in reversed(steps) if step.held), steps[0])


def verdict_figures(step: Step, late_ms: int = LATE_MS) -> list[Figure]:
    """Arrival of the ticks of a step."""
    verdict = step.verdict
    return [
        Figure("late p50", verdict.late(0.50), "ms"),
        Figure("late p99", verdict.late(0.99), "ms", f"<= {late_ms}"),
        Figure("late max", verdict.worst, "ms"),
        Figure("missed", verdict.missed, "ticks", "<= 0"),
        Figure("duplicates", verdict.duplicates, "ticks", "<= 0"),
    ]


def curve(steps: Sequence[Step]) -> list[Figure]:
    """Cost and lateness against rate."""
    points = []
    for step in steps:
        points.append(Figure(f"CPU at {step.rate:,}/s", step.cost, "CPU s per million"))
        points.append(Figure(f"late p99 at {step.rate:,}/s", step.verdict.late(0.99), "ms"))
    return points


def against(best: Step, steps: Sequence[Step], peers: Sequence[Peer], plan: Plan) -> list[Figure]:
    """The worker's cost as a share of each peer's: each at the rate it holds, and both at the peer's rate."""
    figures = []
    for peer in peers:
        theirs = figure_of(peer, COST)
        if not theirs:
            continue
        target = "<= 0.0333" if peer.name == STREAMS and not plan.quick else ""
        figures.append(Figure(f"CPU per million, against {peer.name}", best.cost / theirs, "of theirs", target))
        for step in steps:
            same = figure_of(peer, f"CPU at {step.rate:,}/s")
            if same:
                name = f"CPU per million, against {peer.name} at {step.rate:,}/s"
                figures.append(Figure(name, step.cost / same, "of theirs"))
    return figures
