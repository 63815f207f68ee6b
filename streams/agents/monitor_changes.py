"""Changes of a known user by one signup or command: table entries, states, and the reply."""

from collections.abc import Iterable

from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput, RefusalCode
from everwatch.encoding import codec
from everwatch.kafka.consumed_record import Record
from everwatch.model import Asker, Command, CommandOutcome, CommandType, Monitor, Signup, User
from everwatch.rules.registration_rules import (
    Changes,
    carry_out,
    changed_signup,
    sign_up,
)
from streams.agents.input_admission import InputAdmission
from streams.agents.manual_runs import ManualRuns
from streams.outputs.all_outputs import Outputs
from streams.outputs.cancellations import cancellations_of
from streams.state.command_deduplication import HandledCommands, remembered_of
from streams.state.quotas import Quotas
from streams.state.unit_of_work import UnitOfWork

Answered = tuple[int, Asker, CommandOutcome, int, InvalidInput | None]
"""The partition of an answer, and its arguments."""


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

    async def of(
        self,
        work: UnitOfWork,
        source: Record,
        wanted: Signup | Command,
        quotas: Quotas | None,
        answers: list[Answered],
    ) -> Changes | None:
        """Write the changes of an input into ``work`` and return them; None if there are none. Adds to ``answers``."""
        partition = work.owned(source.partition)
        emitted_to = partition.emitted_to
        now = max(self._clock.now_ms(), emitted_to)
        user = work.user(source.partition, wanted.user_id)
        if self.is_repeated(work, source, wanted):
            if self._known(work, source, wanted).is_other(wanted.remembered_id, wanted.request_digest):
                path = "$.command_id" if isinstance(wanted, Command) else "$.signup_id"
                error = InvalidInput("this Idempotency-Key was that of another request", path, RefusalCode.REUSED_KEY)
                self._outputs.rejected.refuse(source, error, answered=True)
                answers.append((source.partition, Asker.of(wanted), CommandOutcome.REFUSED, 0, error))
                return None
            version = self._version(work, source.partition, wanted)
            answers.append((source.partition, Asker.of(wanted), CommandOutcome.REPEATED, version, None))
            return None
        try:
            if isinstance(wanted, Command) and wanted.command is CommandType.SET_USER:
                changes = self._set_user(work, source.partition, wanted, user, now, emitted_to)
            elif isinstance(wanted, Signup):
                named = [spec.monitor_id for spec in wanted.monitors] + list(user.monitor_ids if user else ())
                monitors = self._monitors(work, source.partition, wanted.user_id, named)
                changes = sign_up(wanted, user, monitors, now, emitted_to, self._admission.secrets.recognised)
            else:
                if is_for_many(wanted):
                    of_user = work.monitors_of(source.partition, wanted.user_id)
                    monitors = {monitor.monitor_id: monitor for _, monitor in of_user}
                else:
                    named = [wanted.monitor_id] if wanted.monitor_id else []
                    monitors = self._monitors(work, source.partition, wanted.user_id, named)
                if quotas is not None:
                    await quotas.check(source.partition, wanted, user, monitors.get(wanted.monitor_id))
                    wanted = quotas.weighted(wanted, user)
                changes = carry_out(wanted, user, monitors, now, emitted_to, self._admission.secrets.recognised)
        except InvalidInput as error:
            self._outputs.rejected.refuse(source, error, answered=True)
            answers.append((source.partition, Asker.of(wanted), CommandOutcome.REFUSED, 0, error))
            return None
        self.write(work, source.partition, wanted.user_id, changes, emitted_to)
        if quotas is not None:
            quotas.note(source.partition, wanted.user_id, changes.monitors)
        if changes.run_now is not None:
            self._manual_runs.run(partition, source, wanted, changes.run_now, now)
        if isinstance(wanted, Command) and wanted.command is CommandType.PURGE:
            # needs not be remembered: carried out once more it changes nothing
            work.delete_value(source.partition, codec.commands_key(wanted.user_id), at=emitted_to)
        elif wanted.remembered_id:
            # last: when this is durable, all of it is
            key = codec.commands_key(wanted.user_id)
            known = self._known(work, source, wanted).with_id(wanted.remembered_id, now, wanted.request_digest)
            work.add_value(source.partition, key, known.encoded())
        if isinstance(wanted, Command) and wanted.command_id:
            begun = (source.partition, source.offset) in self.begun
            answer = CommandOutcome.DONE if begun or not changes.is_nothing else CommandOutcome.UNCHANGED
            version = self._version(work, source.partition, wanted)
            answers.append((source.partition, Asker.of(wanted), answer, version, None))
        elif isinstance(wanted, Signup) and wanted.signup_id:
            answer = CommandOutcome.REGISTERED if user is None else CommandOutcome.UPDATED
            answer = CommandOutcome.UNCHANGED if changes.is_nothing else answer
            answers.append((source.partition, Asker.of(wanted), answer, 0, None))
        return changes

    def is_repeated(self, work: UnitOfWork, source: Record, wanted: Signup | Command) -> bool:
        """Tell whether an input with this id was carried out before."""
        return bool(wanted.remembered_id) and wanted.remembered_id in self._known(work, source, wanted).ids

    def _known(self, work: UnitOfWork, source: Record, wanted: Signup | Command) -> HandledCommands:
        return remembered_of(work.value(source.partition, codec.commands_key(wanted.user_id)))

    def _set_user(
        self, work: UnitOfWork, partition: int, wanted: Command, user: User | None, now: int, emitted_to: int
    ) -> Changes:
        """Return the changes of a ``set_user``: those of a signup that repeats everything else. Raises InvalidInput."""
        plans = self._admission.plans
        before = Signup(wanted.user_id, user.plan, user.attributes) if user else None
        of_plan = plans.ids_of(before) if plans is not None and before is not None else frozenset()
        monitors = self._monitors(work, partition, wanted.user_id, user.monitor_ids if user else ())
        signup = changed_signup(wanted, user, monitors, of_plan)
        if plans is not None:
            signup = self._admission.encrypted(plans.expanded(signup))
        named = [spec.monitor_id for spec in signup.monitors]
        monitors |= self._monitors(work, partition, wanted.user_id, named)
        return sign_up(signup, user, monitors, now, emitted_to, self._admission.secrets.recognised)

    def _version(self, work: UnitOfWork, partition: int, wanted: Signup | Command) -> int:
        if isinstance(wanted, Signup) or not wanted.monitor_id:
            return 0
        monitor = work.monitor(partition, wanted.user_id, wanted.monitor_id)
        return monitor.version if monitor else 0

    def _monitors(
        self, work: UnitOfWork, partition: int, user_id: str, monitor_ids: Iterable[str]
    ) -> dict[str, Monitor]:
        found = {monitor_id: work.monitor(partition, user_id, monitor_id) for monitor_id in monitor_ids}
        return {monitor_id: monitor for monitor_id, monitor in found.items() if monitor is not None}

    def write(
        self,
        work: UnitOfWork,
        partition: int,
        user_id: str,
        changes: Changes,
        emitted_to: int,
        *,
        whole_user: bool = False,
    ) -> None:
        """Write ``changes`` into the unit of work, with the transitions and cancellations that follow from them."""
        for key, value in cancellations_of(user_id, changes, emitted_to, whole_user=whole_user):
            work.cancel(partition, key, value)
        # in this order: should only a part become durable, the rest is done when the input is read again
        for change in changes.monitors:
            if change.after is None and change.before is not None:
                work.delete(partition, user_id, change.before.monitor_id, at=emitted_to)
        if changes.user is not None:
            work.put(partition, changes.user)
        if changes.user_ended:
            work.delete(partition, user_id, at=emitted_to)
            work.delete_undecodable(partition, user_id, at=emitted_to)
        for change in changes.monitors:
            if change.after is not None:
                work.put(partition, change.after)
            if change.after is not None and change.transition is not None:
                user = work.user(partition, user_id)
                self._outputs.transitions.send(partition, change.transition, change.after, user)


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
