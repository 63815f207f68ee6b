"""The audit against one that tries every instant against every stretch and every result."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from everwatch.model import Align, At, Cron, Every, Policy, Retries, Schedule, Status
from everwatch.operations.audit import AuditTerms, Label, audit
from everwatch.schedule.every import phase_of
from everwatch.schedule.spread import spread_of
from everwatch.store import Identity, Stretch

START = 1_795_262_400_000  # 2026-11-21T12:00:00Z
STEP = 500
STEPS = 240
MINUTE = 60_000
LATE_AFTER = 1_000
USERS, MONITORS = ["anna", "bert", "carl"], ["blog", "shop"]

moments = st.integers(0, STEPS).map(lambda n: START + n * STEP)
# at odd moments too, where nothing but a task is due
instants = moments | st.integers(START, START + STEPS * STEP)
schedules = (
    st.builds(Every, st.sampled_from([1_000, 2_500, 7_000, 30_000]), st.sampled_from([Align.PHASE, Align.EPOCH]))
    | st.just(Every(MINUTE, Align.MIDNIGHT, "UTC"))
    | st.builds(Cron, st.just("* * * * *"), st.just("UTC"), st.sampled_from([0, 40_000]))
    | st.builds(At, instants)
)


@st.composite
def stretches(draw: st.DrawFn) -> Stretch:
    since = draw(instants | st.just(START - 10 * MINUTE))
    return Stretch(
        user_id=draw(st.sampled_from(USERS)),
        monitor_id=draw(st.sampled_from(MONITORS)),
        version=draw(st.integers(1, 3)),
        since=since,
        until=draw(st.none() | instants),
        kind="http",
        schedule=draw(schedules),
        policy=Policy(retries=Retries(most=draw(st.integers(0, 2)))),
        ends_at=draw(st.just(0) | moments),
    )


@st.composite
def identities(draw: st.DrawFn, likely: list[tuple[str, str, int]]) -> Identity:
    """A result of any instant or, as a rule, of one at which something is due."""
    anything = st.tuples(st.sampled_from(USERS), st.sampled_from(MONITORS), instants)
    user_id, monitor_id, at = draw(st.sampled_from(likely) | anything if likely else anything)
    status = draw(st.sampled_from([Status.SUCCESS, Status.FAILURE, Status.FAILURE, Status.LATE, Status.SKIPPED]))
    is_span = status is Status.SKIPPED or draw(st.integers(0, 9)) == 0
    return Identity(
        user_id=user_id,
        monitor_id=monitor_id,
        scheduled_at=at,
        attempt=draw(st.sampled_from([1, 1, 1, 2, 3])),
        deliveries=draw(st.integers(1, 2)),
        skipped_until=at + draw(st.sampled_from([0, 0, 5_000, 60_000])) if is_span else 0,
        skipped_count=draw(st.integers(1, 8)) if is_span else 0,
        manual=draw(st.integers(0, 9)) == 0,
        status=status.value,
        started_at=at + draw(st.sampled_from([0, LATE_AFTER, LATE_AFTER + 1])),
    )


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Stretch], list[Identity], int, int]:
    history = draw(st.lists(stretches(), max_size=6))
    begin, end = sorted((draw(moments), draw(moments) + 1))
    likely = [(s.user_id, s.monitor_id, t) for s in history for t in candidates(history) if is_due(s, t)]
    drawn = draw(st.lists(identities(likely), max_size=25))
    # as a reader gives them: one of each identity, those within the interval or reaching into it
    found = {(i.user_id, i.scheduled_at, i.monitor_id, i.attempt): i for i in drawn}
    given_out = [found[key] for key in sorted(found) if key[1] < end and max(key[1], found[key].skipped_until) >= begin]
    history.sort(key=lambda s: (s.user_id, s.monitor_id, s.since, s.version))
    return history, given_out, begin, end


def candidates(history: list[Stretch]) -> list[int]:
    odd = {s.schedule.at for s in history if isinstance(s.schedule, At)} | {s.since + 1 for s in history}
    return sorted({START + n * 100 for n in range(STEPS * STEP // 100 + 1)} | odd)


def is_due(stretch: Stretch, instant: int) -> bool:
    """Tell whether a stretch is due at an instant, worked out from that instant alone."""
    if not stretch.since < instant or (stretch.until is not None and instant > stretch.until):
        return False
    if stretch.ends_at and instant > stretch.ends_at:
        return False
    return matches(stretch.schedule, f"{stretch.user_id}\0{stretch.monitor_id}".encode(), stretch.since, instant)


def matches(schedule: Schedule, key: bytes, since: int, instant: int) -> bool:
    match schedule:
        case At(at=at):
            return instant == max(at, since + 1)
        case Every(align=Align.MIDNIGHT):
            return instant % MINUTE == 0
        case Every(interval_ms=interval_ms):
            return instant % interval_ms == phase_of(key, schedule)
        case Cron(spread_ms=spread_ms):
            return (instant - spread_of(key, spread_ms)) % MINUTE == 0


def is_before_history(own: list[Stretch], instant: int) -> bool:
    """Tell whether a version that the history does not hold may have been due, and none that it holds was."""
    if not own or any(is_due(stretch, instant) for stretch in own):
        return False
    begin = min(stretch.since for stretch in own)
    first = next(stretch for stretch in own if stretch.since == begin)
    return first.version > 1 and instant <= begin


def naive(history: list[Stretch], found: list[Identity], begin: int, end: int) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    missed, repeated, manual, seen = set(), Counter(), set(), set()
    for user in USERS:
        for monitor in MONITORS:
            own = [s for s in history if (s.user_id, s.monitor_id) == (user, monitor)]
            results = [i for i in found if (i.user_id, i.monitor_id) == (user, monitor)]
            due = [t for t in candidates(history) if begin <= t < end and any(is_due(s, t) for s in own)]
            if due or any(begin <= i.scheduled_at for i in results):
                seen.add((user, monitor))
            for t in due:
                tried = [i for i in results if i.scheduled_at == t]
                if tried and tried[0].manual:
                    tried = []
                counts[naive_label(t, tried, results, due)] += 1
                if naive_label(t, tried, results, due) == "missed":
                    missed.add((user, monitor, t))
            for i in results:
                if i.scheduled_at < begin:
                    continue
                same = [j for j in results if j.scheduled_at == i.scheduled_at]
                if same[0].manual:
                    manual.add((user, monitor, i.scheduled_at))
                elif is_before_history(own, i.scheduled_at):
                    continue
                elif is_repetition(i, same, [s for s in own if is_due(s, i.scheduled_at)]):
                    repeated[user, monitor, i.scheduled_at] += 1
    return {
        "counts": {**{label.value: counts[label] for label in Label}, "duplicate": repeated.total()},
        "missed": missed,
        "duplicates": repeated,
        "manual": len(manual),
        "redelivered": sum(i.deliveries - 1 for i in found if i.scheduled_at >= begin),
        "monitors": len(seen),
        "users": len({user for user, _ in seen}),
    }


def naive_label(t: int, tried: list[Identity], results: list[Identity], due: list[int]) -> str:
    ran = [i for i in tried if i.status != "skipped"]
    if any(i.attempt == 1 and i.started_at > t + LATE_AFTER for i in ran):
        return "late"
    if any(i.attempt > 1 for i in ran):
        return "retried"
    if ran:
        return "on_time"
    return "skipped" if tried or any(stands_for(i, t, due) for i in results) else "missed"


def stands_for(span: Identity, t: int, due: list[int]) -> bool:
    if span.manual or span.attempt > 1:
        return False
    within = [d for d in due if span.scheduled_at <= d <= span.skipped_until]
    return t in within[: span.skipped_count]


def is_repetition(one: Identity, same: list[Identity], owing: list[Stretch]) -> bool:
    if not owing or one.attempt > 1 + max(s.policy.retries.most for s in owing):
        return True
    before = [j for j in same if j.attempt < one.attempt]
    return bool(before) and before[-1].status in ("success", "late") and before[-1].deliveries == 1


@settings(deadline=None, max_examples=300)
@given(stories())
def test_every_tick_and_result_is_labelled_as_by_trying_all_instants(
    story: tuple[list[Stretch], list[Identity], int, int],
) -> None:
    history, found, begin, end = story
    report = audit(history, found, AuditTerms(begin, end, LATE_AFTER, most_examples=1_000_000))
    assert {
        "counts": {label.value: count for label, count in report.counts.items()},
        "missed": {(f.user_id, f.monitor_id, f.instant) for f in report.missed},
        "duplicates": Counter((f.user_id, f.monitor_id, f.instant) for f in report.duplicates),
        "manual": report.manual,
        "redelivered": report.redelivered,
        "monitors": report.monitors,
        "users": report.users,
    } == naive(history, found, begin, end)
