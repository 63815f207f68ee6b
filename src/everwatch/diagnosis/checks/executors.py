"""Check of the executors: gone without being asked to, frozen, or slower than the ticks come."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.newest_records import newest_records, results_of
from everwatch.diagnosis.open_ticks import MOST_TARGETS, OpenTicks, open_ticks
from everwatch.diagnosis.presence import ended_unasked, newest_notes
from everwatch.diagnosis.system import System
from everwatch.diagnosis.waiting_partitions import by_owner, numbers_of, stands_still, unowned, waiting
from everwatch.encoding.presence_notes import PresenceNote
from everwatch.kafka.consumer_groups import Member
from everwatch.kafka.process_figures import PartitionLag
from everwatch.model import INLINE_EXECUTOR
from everwatch.schedule.instant import instant_text

# longer than a check may take by default, and than a rebalance after an executor was killed
BEHIND_S = 20.0
# an executor whose newest result is younger than this is at work
ACTIVE_MS = 20_000
RESULTS_LOOKED_AT = 50
# shares of partitions that differ by more are remarked
MOST_UNEVEN = 1.2
_START = "Start one: 'everwatch up' or 'everwatch executor'."


class ExecutorTraces(NamedTuple):
    """Records of executors. ``finished``: when each finished something last, ms; ``notes``: the newest of each.

    ``open_ticks``: those that are late, by client id and topic.
    """

    finished: Mapping[str, int]
    notes: Mapping[str, PresenceNote]
    open_ticks: Mapping[tuple[str, str], OpenTicks] = MappingProxyType({})


def check_executors(system: System) -> Iterator[Finding]:
    """Compare the ticks with what executors have run, and the partitions with their owners."""
    late = open_ticks(system, _late(system.lag.of("executor")), BEHIND_S)
    yield from findings(system, ExecutorTraces(newest_results(system), newest_notes(system), late))


def findings(system: System, traces: ExecutorTraces) -> Iterator[Finding]:
    """Yield the faults of the executors, or one finding without a fault."""
    lag = system.lag
    rows = lag.of("executor")
    members = lag.members["executor"]
    if not members:
        yield fault(
            "executors",
            f"no executor is running: no check runs; {waiting(rows, 'tick')}{_last_seen(traces)}",
            _START,
        )
        return
    present = _names_of(members)
    names = sorted({*present, *traces.finished, *traces.notes})
    stopped = {name: pid for name in names if (pid := _stopped_process(system, name)) is not None}
    waits_for: list[str] = []
    all_well = True
    # not as a list: a later check asks the broker again, and if that fails, earlier faults must be out already
    for found in chain(
        _unclaimed_faults(system, rows),
        (_stopped_fault(name, pid, is_present=name in present) for name, pid in stopped.items()),
        _behind_faults(system, traces, stopped.keys(), waits_for),
        _ended_faults(system, traces, present, stopped.keys()),
    ):
        all_well = False
        yield found
    if all_well:
        ids = ", ".join(f"{member.client_id}{_in_region(system, member)}" for member in members)
        also = "".join(f"; {each}" for each in waits_for)
        gone = _gone(system, traces.finished, present, traces.notes)
        yield well("executors", f"{ids}: {waiting(rows, 'tick')}{gone}{_uneven(rows)}{also}")


def _unclaimed_faults(system: System, rows: Sequence[PartitionLag]) -> Iterator[Finding]:
    """Yield a fault for each region, and for the topics of none, of which no executor claims a partition."""
    for region, alone in _unclaimed(system, rows).items():
        topics = ", ".join(sorted({row.topic for row in alone}))
        if not region:
            yield fault("executors", f"no executor claims partitions {numbers_of(alone)} of {topics}", _START)
            continue
        yield fault(
            "executors",
            f"no executor of region {region} claims partitions {numbers_of(alone)} of {topics}",
            f"Start one with EVERWATCH_REGION={region}: 'everwatch executor'.",
        )


def _stopped_fault(name: str, pid: int, *, is_present: bool) -> Finding:
    work = "it holds its partitions until its session ends" if is_present else "others have its partitions"
    return fault(
        "executors",
        f"everwatch-{name} is frozen: process {pid} of this machine is stopped by a signal; {work}",
        f"Continue it ('kill -CONT {pid}') or end it ('kill -KILL {pid}').",
    )


def _behind_faults(
    system: System, traces: ExecutorTraces, stopped: Collection[str], waits_for: list[str]
) -> Iterator[Finding]:
    """Yield a fault for each executor that is behind; one whose checks may take that long is added to ``waits_for``."""
    for (owner, topic), behind in by_owner(_late(system.lag.of("executor"))).items():
        name = owner.removeprefix("everwatch-")
        if name in stopped:
            continue  # reported already
        opened = traces.open_ticks.get((owner, topic), OpenTicks(0, ()))
        if opened.open and not opened.overdue(BEHIND_S):
            waits_for.append(f"{owner} waits for {_named(opened)}, whose checks may take so long by their timeout")
            continue
        waits = f"{waiting(behind, f'tick of {topic}')} (partitions {numbers_of(behind)})"
        active = system.clock.now_ms() - traces.finished.get(name, 0) < ACTIVE_MS
        if opened.is_of_few_targets:
            yield fault(
                "executors",
                f"{owner} waits for {_named(opened)}: {waits}; ticks of other targets are done",
                "See with 'everwatch results --status failure' what the target answers. Pause its monitors or shorten"
                " their timeout while it is down; if it takes more checks at once, raise EVERWATCH_TARGET_IN_FLIGHT and"
                " EVERWATCH_TARGET_PER_S (docs/executors.md).",
            )
        elif active or not stands_still(system, behind):
            yield fault(
                "executors",
                f"{owner} is slower than ticks come: {waits}",
                "Start another executor or raise EVERWATCH_MAX_IN_FLIGHT; see docs/executors.md.",
            )
        else:
            yield fault(
                "executors",
                f"{owner} ({behind[0].host}) is frozen: it holds its partitions and finishes nothing; {waits}",
                "See its log and its process (stopped? out of memory or CPU?), then restart it.",
            )


def _ended_faults(
    system: System, traces: ExecutorTraces, present: Collection[str], stopped: Collection[str]
) -> Iterator[Finding]:
    """Yield a fault for each executor that ended without being asked to."""
    unasked = ended_unasked(traces.notes, traces.finished, present, system.clock.now_ms())
    # one that joins at this moment is there at the second look
    there = _names_of(system.later_lag.members["executor"]) if unasked else set()
    for name, last in sorted(unasked.items()):
        if name not in there and name not in stopped:
            yield fault(
                "executors",
                f"everwatch-{name} ended without leaving its group, or is frozen or cut off from Kafka: it was at work"
                f" last at {instant_text(last)}; others have its partitions",
                f"See on host {name.rpartition('-')[0]} whether process {name.rpartition('-')[2]} still runs, and in"
                " its log, or the kernel's, why it ended; end it if it hangs, and start another in its place."
                " One that is stopped by SIGTERM, and is given 10 s, is no fault.",
            )


def _late(rows: Iterable[PartitionLag]) -> list[PartitionLag]:
    return [row for row in rows if (row.lag_s or 0) > BEHIND_S and row.client_id]


def _named(opened: OpenTicks) -> str:
    """Return the targets that most ticks wait for, and for how long."""
    named = opened.targets[:MOST_TARGETS]
    more = len(opened.targets) - len(named)
    others = f" and {more} more" if more else ""
    return f"{', '.join(named)}{others} ({max(tick.due_s for tick in opened.open):.0f} s)"


def _in_region(system: System, member: Member) -> str:
    """Return the region whose ticks an executor claims, in words; empty without one."""
    claimed = {topic for topic, _ in member.partitions}
    return next((f" (in {each.region})" for each in system.topics.regions if claimed.intersection(each.names)), "")


def _uneven(rows: Iterable[PartitionLag]) -> str:
    """Return how executors share the partitions of one topic, if one has far more of them than another."""
    topics: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        topics.setdefault((row.group, row.topic), Counter())[row.client_id] += 1
    for (_, topic), shares in topics.items():
        most, least = max(shares.values()), min(shares.values())
        if most <= MOST_UNEVEN * least:
            continue
        told = ", ".join(str(share) for share in sorted(shares.values(), reverse=True))
        executors, partitions = len(shares), sum(shares.values())
        even = executors * -(-max(partitions, 12) // executors)
        return (
            f"; {executors} executors share the {partitions} partitions of {topic} as {told}: {even} partitions would"
            " be shared evenly ('everwatch repartition')"
        )
    return ""


def _names_of(members: Iterable[Member]) -> set[str]:
    """The executors' own names, without the prefix of their client ids."""
    return {member.client_id.removeprefix("everwatch-") for member in members}


def _unclaimed(system: System, rows: Iterable[PartitionLag]) -> dict[str, list[PartitionLag]]:
    """Return the partitions of ticks without an owner, by region.

    Where there are regions, topics without ticks need no executor.
    """
    claimed = {row.group for row in rows if row.client_id}
    found: dict[str, list[PartitionLag]] = {}
    for row in unowned(system, "executor"):
        if row.lag or row.group in claimed or not system.topics.regions:
            region = next((each.region for each in system.topics.regions if row.topic in each.names), "")
            found.setdefault(region, []).append(row)
    return found


def _stopped_process(system: System, name: str) -> int | None:
    """The process id of an executor that is stopped by a signal, if it is one of this machine."""
    host, _, pid = name.rpartition("-")
    return int(pid) if host == system.host and pid.isdigit() and system.is_stopped(int(pid)) else None


def _gone(system: System, seen: Mapping[str, int], present: Collection[str], notes: Mapping[str, PresenceNote]) -> str:
    """Return executors that worked until a short while ago and do not now: stopped on purpose, or of older versions."""
    since = system.clock.now_ms() - system.recent_ms
    told = [
        f"everwatch-{name} (left at {instant_text(note.at)})"
        for name, note in sorted(notes.items())
        if note.left and note.at > since and name not in present
    ]
    text = f"; stopped on purpose: {', '.join(told)}" if told else ""
    # versions without notes: on purpose or not cannot be told
    gone = {name: last for name, last in seen.items() if last > since and name not in present and name not in notes}
    told = [f"everwatch-{name} (last result {instant_text(last)})" for name, last in sorted(gone.items())]
    return text + (f"; not there any more, stopped, killed or frozen: {', '.join(told)}" if told else "")


def newest_results(system: System) -> dict[str, int]:
    """The executors among the newest results, and when each of them finished something last, ms."""
    found: dict[str, int] = {}
    for result in results_of(newest_records(system, system.topics.results, RESULTS_LOOKED_AT)):
        if result.executor and result.executor != INLINE_EXECUTOR:
            ended = result.started_at + int(result.duration_ms)
            found[result.executor] = max(ended, found.get(result.executor, 0))
    return found


def _last_seen(traces: ExecutorTraces) -> str:
    """Return which executor was at work last, if its results are still among the newest, and whether it left."""
    seen, notes = dict(traces.finished), traces.notes
    seen |= {name: max(note.at, seen.get(name, 0)) for name, note in notes.items()}
    if not seen:
        return ""
    name = max(seen, key=lambda executor: seen[executor])
    how = "stopped on purpose" if name in notes and notes[name].left else "stopped, killed or frozen"
    return f"; {name} was the last one, until {instant_text(seen[name])} ({how} since)"
