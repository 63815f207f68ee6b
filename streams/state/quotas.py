"""Quotas of plans, checked against the table when a command puts a monitor."""

from collections.abc import Iterator, Sequence

import msgspec

from everwatch.core.cooperative_chunks import cooperative_chunks
from everwatch.core.errors import InvalidInput, RefusalCode
from everwatch.model import At, Command, Monitor, State, User
from everwatch.plans.plan import USUAL_PLAN, PlanQuotas, Plans
from everwatch.rules.registration_rules import Change, is_pending_task
from streams.state.unit_of_work import UnitOfWork

# tasks that are over stay in the table for a while, and are passed over one by one
MOST_PASSED_OVER = 10_000


class Quotas:
    """The quotas within one unit of work: a user's monitors are counted once, and only where a quota asks for it.

    Monitors are counted as of the partition's ``emitted_to`` when it was first asked for. ``most_passed_over``: tasks
    that are over and may be met while a user's monitors are counted.
    """

    def __init__(self, work: UnitOfWork, plans: Plans, most_passed_over: int = MOST_PASSED_OVER) -> None:
        self._work = work
        self._most_passed_over = most_passed_over
        self._plans = plans
        self._emitted_to: dict[int, int] = {}
        # by partition and user: how many, and whether these are all of them
        self._counted: dict[tuple[int, str], tuple[int, bool]] = {}

    async def count_ahead(self, number: int, command: Command) -> None:
        """Count a user's monitors ahead of ``check``, while sweeps still go on: there may be very many."""
        if command.monitor is None:
            return
        limits = self._limits_of(self._work.user(number, command.user_id))
        old = self._work.monitor(number, command.user_id, command.monitor_id)
        if limits is not None and limits.max_monitors is not None and not self._is_counted_in(number, old):
            await self._count(number, command.user_id, limits.max_monitors)

    async def check(self, number: int, command: Command, user: User | None, old: Monitor | None) -> None:
        """Check a put against the user's plan. ``old``: the monitor, if there is one. Raises InvalidInput."""
        if command.monitor is None:
            return
        limits = self._limits_of(user)
        if limits is None:
            return
        limits.check_schedule(command.monitor, "$.monitor")
        if limits.max_monitors is None or self._is_counted_in(number, old):
            return
        count, are_all = await self._count(number, command.user_id, limits.max_monitors)
        if not are_all and count <= limits.max_monitors:
            raise InvalidInput(
                f"the plan {limits.plan!r} has a quota, and this user has too many tasks that are over to be counted:"
                " put it again later",
                "$.monitor_id",
                RefusalCode.QUOTA,
            )
        limits.check_another(count)

    def completed(self, command: Command, user: User | None) -> Command:
        """The command with the weight and the regions of the user's plan in what it puts."""
        limits = self._limits_of(user)
        if command.monitor is None or limits is None or not limits.completes:
            return command
        return msgspec.structs.replace(command, monitor=limits.completed(command.monitor))

    def note(self, number: int, user_id: str, changes: Sequence[Change]) -> None:
        """Correct the count of a user's monitors by changes of this unit of work."""
        key = number, user_id
        if key not in self._counted:
            return
        more = sum(
            self._is_counted_in(number, change.after) - self._is_counted_in(number, change.before) for change in changes
        )
        count, are_all = self._counted[key]
        if are_all:
            self._counted[key] = count + more, True
        elif more < 0 or any(change.after is None for change in changes):
            # the user may be below the quota again: count anew
            del self._counted[key]

    def _limits_of(self, user: User | None) -> PlanQuotas | None:
        return self._plans.limits_of(user.plan if user else USUAL_PLAN)

    def _is_counted_in(self, number: int, monitor: Monitor | None) -> bool:
        if number not in self._emitted_to:
            self._emitted_to[number] = self._work.owned(number).emitted_to
        return _counts(monitor, self._emitted_to[number])

    async def _count(self, number: int, user_id: str, most: int) -> tuple[int, bool]:
        """Count a user's monitors up to a little more than ``most``; gives the number, and whether these are all."""
        key = number, user_id
        if key not in self._counted:
            count = over = 0
            async for few in cooperative_chunks(self._counting(number, user_id, most)):
                count, over = few[-1]
            self._counted[key] = count, count <= most and over < self._most_passed_over
        return self._counted[key]

    def _counting(self, number: int, user_id: str, most: int) -> Iterator[tuple[int, int]]:
        """Yield the numbers of monitors that count and that do not, after each one, until one is too large."""
        count = over = 0
        for _, monitor in self._work.monitors_of(number, user_id):
            if self._is_counted_in(number, monitor):
                count += 1
            else:
                over += 1
            yield count, over
            if count > most or over == self._most_passed_over:
                return


def _counts(monitor: Monitor | None, emitted_to: int) -> bool:
    """Tell whether a monitor counts: one that recurs and is not over, or a task that is still to come."""
    if monitor is None or monitor.state is State.DONE:
        return False
    return not isinstance(monitor.spec.schedule, At) or is_pending_task(monitor, emitted_to)
