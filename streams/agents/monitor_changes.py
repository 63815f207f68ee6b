"""Changes of a known user by one signup or command: table entries, states, and the reply."""

from collections.abc import Iterable

from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput, RefusalCode
from everwatch.encoding import codec
from everwatch.kafka.consumed_record import Record
from everwatch.model import Asker, Command, CommandOutcome, CommandType, Monitor, Signup, User
from everwatch.rules.registration_rules import Changes, carry_out, changed_signup, sign_up
from streams.agents.input_admission import InputAdmission
from streams.agents.manual_runs import ManualRuns
from streams.outputs.all_outputs import Outputs
from streams.outputs.cancellations import cancellations_of
from streams.state.command_deduplication import HandledCommands, remembered_of
from streams.state.quotas import Quotas
from streams.state.unit_of_work import UnitOfWork

PendingReply = tuple[int, Asker, CommandOutcome, int, InvalidInput | None]
"""The partition of a reply, and its arguments."""


class MonitorChanges:
    """Works out what an input changes, and writes it into a unit of work.

    ``begun``: partition and offset of commands for a whole user of which a part is carried out.
    """

    def __init__(self, admission: InputAdmission, outputs: Outputs, manual_runs: ManualRuns, clock: Clock) -> None:
        self._admission = admission
        self._outputs = outputs
        self._manual_runs = manual_runs
        self._clock = clock
        self.begun: set[tuple[int, int]] = set()

    async def apply_input(
        self,
        work: UnitOfWork,
        source: Record,
        wanted: Signup | Command,
        quotas: Quotas | None,
        replies: list[PendingReply],
    ) -> Changes | None:
        """Write the changes of an input into ``work`` and return them; None if there are none. Adds to ``replies``."""
        partition = work.owned(source.partition)
        now = max(self._clock.now_ms(), partition.emitted_to)
        user = work.user(source.partition, wanted.user_id)
        # of each input decoded once: a user may have many
        handled = self._known(work, source, wanted) if wanted.remembered_id else None
        try:
            if handled is not None and wanted.remembered_id in handled.ids:
                replies.append(self._repeated(work, source, wanted, handled))
                return None
            wanted, changes = await self._changes_of(work, source, wanted, user, quotas, now)
        except InvalidInput as error:
            self._outputs.refused.refuse(source, error, has_reply=True)
            replies.append((source.partition, Asker.of(wanted), CommandOutcome.REFUSED, 0, error))
            return None
        self.write(work, source.partition, wanted.user_id, changes, partition.emitted_to)
        if quotas is not None:
            quotas.note(source.partition, wanted.user_id, changes.monitors)
        if changes.run_now is not None:
            self._manual_runs.run(partition, source, wanted, changes.run_now, now)
        self._remember(work, source, wanted, handled, now)
        replies += self._outcome(work, source, wanted, changes, is_new=user is None)
        return changes

    def _repeated(
        self, work: UnitOfWork, source: Record, wanted: Signup | Command, handled: HandledCommands
    ) -> PendingReply:
        """Return the reply to an input that was carried out before. Raises InvalidInput if that one was another."""
        # a purge is not remembered, so this id was that of something else: the user has not ended
        is_purge = isinstance(wanted, Command) and wanted.command is CommandType.PURGE
        if is_purge or handled.is_other(wanted.remembered_id, wanted.request_digest):
            path = "$.command_id" if isinstance(wanted, Command) else "$.signup_id"
            raise InvalidInput("this Idempotency-Key was that of another request", path, RefusalCode.REUSED_KEY)
        version = self._version(work, source.partition, wanted)
        return source.partition, Asker.of(wanted), CommandOutcome.REPEATED, version, None

    async def _changes_of(
        self,
        work: UnitOfWork,
        source: Record,
        wanted: Signup | Command,
        user: User | None,
        quotas: Quotas | None,
        now: int,
    ) -> tuple[Signup | Command, Changes]:
        """Return the input, with what its plan adds, and what it changes. Raises InvalidInput."""
        number, emitted_to = source.partition, work.owned(source.partition).emitted_to
        recognised = self._admission.secrets.recognised
        if isinstance(wanted, Signup):
            named = [spec.monitor_id for spec in wanted.monitors] + list(user.monitor_ids if user else ())
            monitors = self._monitors(work, number, wanted.user_id, named)
            return wanted, sign_up(wanted, user, monitors, now, emitted_to, recognised)
        if wanted.command is CommandType.SET_USER:
            return wanted, self._set_user(work, number, wanted, user, now, emitted_to)
        if is_for_many(wanted):
            monitors = {monitor.monitor_id: monitor for _, monitor in work.monitors_of(number, wanted.user_id)}
        else:
            monitors = self._monitors(work, number, wanted.user_id, [wanted.monitor_id] if wanted.monitor_id else [])
        if quotas is not None:
            await quotas.check(number, wanted, user, monitors.get(wanted.monitor_id))
            wanted = quotas.completed(wanted, user)
        return wanted, carry_out(wanted, user, monitors, now, emitted_to, recognised)

    def _remember(
        self, work: UnitOfWork, source: Record, wanted: Signup | Command, handled: HandledCommands | None, now: int
    ) -> None:
        """Remember the id of the input. Last: when this is durable, all of the input is.

        ``handled``: those of the user before; None if this one is not remembered.
        """
        key = codec.commands_key(wanted.user_id)
        if isinstance(wanted, Command) and wanted.command is CommandType.PURGE:
            # needs not be remembered: carried out once more it changes nothing
            work.delete_value(source.partition, key, at=work.owned(source.partition).emitted_to)
        elif handled is not None:
            known = handled.with_id(wanted.remembered_id, now, wanted.request_digest)
            work.add_value(source.partition, key, known.encoded())

    def _outcome(
        self, work: UnitOfWork, source: Record, wanted: Signup | Command, changes: Changes, *, is_new: bool
    ) -> list[PendingReply]:
        """Return the reply to an input that was carried out, if it asks for one."""
        version = 0
        if isinstance(wanted, Command):
            if not wanted.command_id:
                return []
            begun = (source.partition, source.offset) in self.begun
            outcome = CommandOutcome.DONE if begun or not changes.is_nothing else CommandOutcome.UNCHANGED
            # what is in the unit of work would be decoded anew
            named = [
                each.after for each in changes.monitors if each.after and each.after.monitor_id == wanted.monitor_id
            ]
            version = named[0].version if named else self._version(work, source.partition, wanted)
        elif not wanted.signup_id:
            return []
        elif changes.is_nothing:
            outcome = CommandOutcome.UNCHANGED
        else:
            outcome = CommandOutcome.REGISTERED if is_new else CommandOutcome.UPDATED
        return [(source.partition, Asker.of(wanted), outcome, version, None)]

    def is_repeated(self, work: UnitOfWork, source: Record, wanted: Signup | Command) -> bool:
        """Tell whether an input with this id was carried out before."""
        return bool(wanted.remembered_id) and wanted.remembered_id in self._known(work, source, wanted).ids

    def _known(self, work: UnitOfWork, source: Record, wanted: Signup | Command) -> HandledCommands:
        return remembered_of(work.value(source.partition, codec.commands_key(wanted.user_id)))

    def _set_user(
        self, work: UnitOfWork, number: int, wanted: Command, user: User | None, now: int, emitted_to: int
    ) -> Changes:
        """Return the changes of a ``set_user``: those of a signup that repeats everything else. Raises InvalidInput."""
        plans = self._admission.plans
        before = Signup(wanted.user_id, user.plan, user.attributes) if user else None
        of_plan = plans.ids_of(before) if plans is not None and before is not None else frozenset()
        monitors = self._monitors(work, number, wanted.user_id, user.monitor_ids if user else ())
        signup = changed_signup(wanted, user, monitors, of_plan)
        if plans is not None:
            signup = self._admission.encrypted(plans.expanded(signup))
        named = [spec.monitor_id for spec in signup.monitors]
        monitors |= self._monitors(work, number, wanted.user_id, named)
        return sign_up(signup, user, monitors, now, emitted_to, self._admission.secrets.recognised)

    def _version(self, work: UnitOfWork, number: int, wanted: Signup | Command) -> int:
        if isinstance(wanted, Signup) or not wanted.monitor_id:
            return 0
        monitor = work.monitor(number, wanted.user_id, wanted.monitor_id)
        return monitor.version if monitor else 0

    def _monitors(self, work: UnitOfWork, number: int, user_id: str, monitor_ids: Iterable[str]) -> dict[str, Monitor]:
        found = {monitor_id: work.monitor(number, user_id, monitor_id) for monitor_id in monitor_ids}
        return {monitor_id: monitor for monitor_id, monitor in found.items() if monitor is not None}

    def write(
        self,
        work: UnitOfWork,
        number: int,
        user_id: str,
        changes: Changes,
        emitted_to: int,
        *,
        whole_user: bool = False,
    ) -> None:
        """Write ``changes`` into the unit of work, with the transitions and cancellations that follow from them."""
        for key, value in cancellations_of(user_id, changes, emitted_to, whole_user=whole_user):
            work.add_cancellation(number, key, value)
        # in this order: should only a part become durable, the rest is done when the input is read again
        for change in changes.monitors:
            if change.after is None and change.before is not None:
                work.delete(number, user_id, change.before.monitor_id, at=emitted_to)
        if changes.user is not None:
            work.put(number, changes.user)
        if changes.user_ended:
            work.delete(number, user_id, at=emitted_to)
            work.delete_undecodable(number, user_id, at=emitted_to)
        for change in changes.monitors:
            if change.after is not None:
                work.put(number, change.after)
            if change.after is not None and change.transition is not None:
                user = work.user(number, user_id)
                work.announce(number, self._outputs.transitions.record(change.transition, change.after, user))


_FOR_MANY = frozenset(
    {
        CommandType.DEREGISTER,
        CommandType.PURGE,
        CommandType.PAUSE_USER,
        CommandType.RESUME_USER,
        CommandType.REENCRYPT_USER,
    }
)


def is_for_many(wanted: Signup | Command) -> bool:
    """Tell whether a command concerns all monitors of a user."""
    if not isinstance(wanted, Command):
        return False
    return wanted.command in _FOR_MANY or (wanted.command is CommandType.CANCEL and not wanted.monitor_id)
