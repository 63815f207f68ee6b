"""Check of the notifier: gone or behind, servers that take nothing, messages and addresses that were given up."""

from collections.abc import Iterator
from contextlib import closing

from everwatch.core.errors import StoreError
from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System
from everwatch.diagnosis.waiting_partitions import numbers_of, stands_still, unowned, waiting
from everwatch.kafka.consumer_groups import bounds_of
from everwatch.notifier.standing_rows import Standing
from everwatch.notifier.storage import open_existing
from everwatch.schedule.duration import MINUTE_MS, describe_duration

BEHIND_MS = MINUTE_MS
_MOST_NAMED = 5


def check_notifier(system: System) -> Iterator[Finding]:
    """Look at the notifier's group, and ask its database."""
    of_group = list(_of_group(system))
    yield from of_group
    try:
        storage = open_existing(system.settings)
    except StoreError as error:
        if system.lag.of("notifier"):
            if not of_group:
                yield well("notifier", f"{_reading(system)}; its database cannot be read from here")
        elif system.settings.notify_file is not None:
            yield fault(
                "notifier",
                f"EVERWATCH_NOTIFY_FILE names rules, and no alert is sent: {error}",
                "Start one: 'everwatch up' or 'everwatch notifier'.",
            )
        else:
            yield well("notifier", "none has been started: no alert is sent")
        return
    now = system.clock.now_ms()
    with closing(storage), storage.look() as work:
        standing, offsets = work.standing(now - BEHIND_MS, now - system.recent_ms), work.offsets()
    topic = system.topics.transitions
    stored = {(topic, number): 0 for number in range(system.settings.partitions)}
    stored |= {(each.topic, each.number): offset for each, offset in offsets.items() if each.topic == topic}
    ends = bounds_of(system.admin, stored)
    unread = sum(max(0, held.stop - max(stored[position], held.start)) for position, held in ends.items())
    for finding in findings(standing, unread, now, system.recent_ms):
        if not finding.ok:
            yield finding
        elif not of_group:
            yield finding._replace(says=f"{_reading(system)}: {finding.says}") if system.lag.of("notifier") else finding


def _of_group(system: System) -> Iterator[Finding]:
    """Yield the faults of the consumer group; nothing where no notifier has ever been a member of it."""
    rows = system.lag.of("notifier")
    if not rows:
        return
    if not system.lag.members.get("notifier"):
        yield fault(
            "notifier",
            f"no notifier is running: no alert is sent; {waiting(rows, 'record')}",
            "Start one: 'everwatch up' or 'everwatch notifier'. If no alerts are wanted any more, delete its consumer"
            f" group {rows[0].group}.",
        )
        return
    if alone := unowned(system, "notifier"):
        topics = ", ".join(sorted({row.topic for row in alone}))
        yield fault(
            "notifier",
            f"no notifier reads partitions {numbers_of(alone)} of {topics}",
            "See the notifier's log; restart it.",
        )
    late = [row for row in rows if (row.lag_s or 0) * 1000 > BEHIND_MS and row.client_id]
    if late:
        owners = ", ".join(sorted({f"{row.client_id} ({row.host})" for row in late}))
        how = "stands still" if stands_still(system, late) else "is behind"
        yield fault(
            "notifier",
            f"{owners} {how}: {waiting(late, 'record')}",
            "See its log and its process, and whether its database is locked or slow; it goes on where it was.",
        )


def _reading(system: System) -> str:
    names = ", ".join(member.client_id for member in system.lag.members["notifier"])
    return f"{names}, {waiting(system.lag.of('notifier'), 'record')}"


def findings(standing: Standing, unread: int, now: int, recent_ms: int) -> Iterator[Finding]:
    """Yield the faults. ``unread``: transitions that are not in the notifier's database; ``now``: ms."""
    faults = 0
    behind = [
        f"{waiting.amount:,} {what} for {_ago(waiting.since, now)}"
        for waiting, what in ((standing.events, "changes to be judged"), (standing.overdue, "messages to be sent"))
        if waiting.amount
    ]
    if behind:
        faults += 1
        more = f"; {unread:,} transitions are not read yet" if unread else ""
        yield fault(
            "notifier",
            f"it is behind or does not run: there wait {', '.join(behind)}{more}",
            "See whether 'everwatch notifier' runs and what it logs; it goes on where it was.",
        )
    for server in standing.failing[:_MOST_NAMED]:
        faults += 1
        yield fault(
            "notifier",
            f"{server.lane} takes nothing: {server.amount:,} messages wait, the oldest for {_ago(server.since, now)}"
            f" ({server.reason})",
            "See the receiver; they are tried again by themselves. List them with"
            " 'everwatch notify deliveries --state pending'.",
        )
    if standing.dead:
        faults += 1
        yield fault(
            "notifier",
            f"{standing.dead:,} messages were given up in the last {describe_duration(recent_ms)}",
            "See why: 'everwatch notify deliveries --state dead'; 'everwatch notify replay' sends them again.",
        )
    if not faults:
        notes = f", {standing.given_up:,} addresses are given up" if standing.given_up else ""
        yield well("notifier", f"{unread:,} transitions to be read{notes}")


def _ago(since: int, now: int) -> str:
    return describe_duration(max(0, now - since) // 1_000 * 1_000)
