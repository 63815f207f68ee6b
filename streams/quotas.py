"""What the plans of users allow, held against the table where a command puts a monitor."""

from collections.abc import Iterable, Mapping
from itertools import islice

from everwatch.catalogue import Change, is_pending_task
from everwatch.errors import InvalidInput
from everwatch.model import At, Command, Monitor, Signup, State, User
from everwatch.plans.plan import USUAL_PLAN, Plans
from streams.tables import Writing

# tasks that are over stay in the table for a while, and are passed over one by one
MOST_LOOKED_AT = 10_000


class Quotas:
    """The quotas within one unit of work: a user's monitors are counted once, and only where a quota asks for it."""

    def __init__(self, work: Writing, plans: Plans) -> None:
        self._work = work
        self._plans = plans
        # by partition and user; None: more than the quota, and nobody knows how many
        self._counted: dict[tuple[int, str], int | None] = {}

    def check(
        self, partition: int, wanted: Signup | Command, user: User | None, named: Mapping[str, Monitor], settled: int
    ) -> None:
        """Raises InvalidInput for a put that the user's plan does not allow. ``named``: the monitor, if it is there."""
        if not isinstance(wanted, Command) or wanted.monitor is None:
            return
        limits = self._plans.limits_of(user.plan if user else USUAL_PLAN)
        if limits is None:
            return
        limits.check_schedule(wanted.monitor, "$.monitor")
        old = named.get(wanted.monitor_id)
        if limits.max_monitors is not None and (old is None or not _counts(old, settled)):
            count = self._count(partition, wanted.user_id, limits.plan, limits.max_monitors, settled)
            limits.check_another(limits.max_monitors + 1 if count is None else count)

    def note(self, partition: int, user_id: str, changes: Iterable[Change], settled: int) -> None:
        """Something was changed in this unit of work."""
        key = partition, user_id
        if key not in self._counted:
            return
        more = sum(_counts(change.after, settled) - _counts(change.before, settled) for change in changes)
        count = self._counted[key]
        if count is not None:
            self._counted[key] = count + more
        elif more < 0:
            # perhaps it is not too many any more
            del self._counted[key]

    def _count(self, partition: int, user_id: str, plan: str, most: int, settled: int) -> int | None:
        key = partition, user_id
        if key not in self._counted:
            count = looked_at = 0
            for _, monitor in islice(self._work.monitors_of(partition, user_id), MOST_LOOKED_AT):
                looked_at += 1
                count += _counts(monitor, settled)
                if count > most:
                    break
            if looked_at == MOST_LOOKED_AT and count <= most:
                raise InvalidInput(
                    f"the plan {plan!r} has a quota, and this user has too many tasks that are over to be counted:"
                    " put it again later",
                    "$.monitor_id",
                )
            self._counted[key] = None if count > most else count
        return self._counted[key]


def _counts(monitor: Monitor | None, settled: int) -> bool:
    """Whether a monitor counts: whatever recurs and is not over, and what is still to come."""
    if monitor is None or monitor.state is State.DONE:
        return False
    return not isinstance(monitor.spec.schedule, At) or is_pending_task(monitor, settled)
