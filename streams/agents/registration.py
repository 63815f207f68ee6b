"""Signups and commands: what they change in the table, the timetable and the states of monitors."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from itertools import islice
from operator import is_
from typing import TypeVar
from zlib import crc32

import msgspec

from everwatch.core.bounds import BROKER_AHEAD_MS
from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput, RefusalCode
from everwatch.encoding import codec, table_records
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.topics import Topics
from everwatch.kinds import registry
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.model import Answer, Asker, At, Command, CommandType, Monitor, MonitorSpec, ReplyOn, Signup, User
from everwatch.plans.plan import Plans
from everwatch.plans.plans_file import PlansFile
from everwatch.rules.admission import admit_command, admit_signup
from everwatch.rules.registration_rules import (
    Change,
    Changes,
    carry_out,
    changed_signup,
    changed_with_user,
    is_pending_task,
    newcomer,
    sign_up,
)
from everwatch.schedule.every import PHASE_STEP_MS
from everwatch.timetable import NEVER, Planned
from streams.outputs.cancellations import cancellations_of
from streams.outputs.dead_letters import Refusals
from streams.outputs.replies import Replies
from streams.outputs.transitions import Transitions
from streams.state.command_deduplication import remembered_of
from streams.state.owned_partitions import Partition, Partitions, Planner
from streams.state.quotas import Quotas
from streams.state.unit_of_work import Writer, Writing, all_or_rebuilt
from streams.transport.batch_consumer import in_turns

# long enough for a unit of work to become durable, as a rule
BEGIN_AFTER_MS = 500
# table entries in one unit of work; while monitors change, the sweeps of their partitions stand still
ENTRIES_AT_ONCE = 20_000
CHANGED_AT_ONCE = 2_000
CHANGED_WITH_USER_AT_ONCE = 1_000
W = TypeVar("W", bound=Signup | Command)
Admitted = tuple[Record, W, list[bytes]]
JudgeNow = Callable[[Partition, Monitor, int, int], None]
_Answered = tuple[int, Asker, Answer, int, InvalidInput | None]


class Registration:
    """Carries out signups and commands, a batch as one durable unit of work."""

    def __init__(
        self,
        partitions: Partitions,
        planner: Planner,
        writer: Writer,
        outbox: Outbox,
        transitions: Transitions,
        refusals: Refusals,
        replies: Replies,
        topics: Topics,
        clock: Clock,
        judge_now: JudgeNow,
        secrets: ConfigSecrets,
        plans: PlansFile | None = None,
    ) -> None:
        self._partitions = partitions
        self._planner = planner
        self._writer = writer
        self._outbox = outbox
        self._transitions = transitions
        self._refusals = refusals
        self._replies = replies
        self._topics = topics
        self._clock = clock
        self._judge_now = judge_now
        self._secrets = secrets
        self._encrypted_last: tuple[tuple[MonitorSpec, ...], tuple[MonitorSpec, ...]] = (), ()
        self._plans = plans
        # partition and offset of commands for many of which a part is carried out
        self._begun: set[tuple[int, int]] = set()

    async def sign_up(self, records: Iterable[Record]) -> None:
        """Register users; when this returns, all of it is durable and in the timetable."""
        admit = partial(admit_signup, plans=self._plans.current if self._plans else None)
        for some in _slices(await self._admitted(records, admit), ENTRIES_AT_ONCE):
            async with self._writer.writing() as work:
                newcomers, others = await self._sort_out(work, some)
                await self._register(work, newcomers)
            for few in _slices(others, CHANGED_AT_ONCE):
                await self._carry_out(few)
        # what was answered is durable before it is acknowledged
        await self._outbox.delivered()

    async def command(self, records: Iterable[Record]) -> None:
        """Carry out commands; when this returns, all of it is durable and in the timetable."""
        plans = self._plans.current if self._plans else None
        some: list[Admitted[Signup | Command]] = []
        for each in await self._admitted(records, admit_command):
            if _is_for_many(each[1]):
                # in order, and not in one go: there may be a million of them
                await self._carry_out(some, plans)
                some = []
                await self._change_many(each)
            some.append(each)
            if len(some) >= CHANGED_AT_ONCE:
                await self._carry_out(some, plans)
                some = []
        await self._carry_out(some, plans)
        self._begun.clear()
        # what was answered is durable before it is acknowledged
        await self._outbox.delivered()

    async def _admitted(self, records: Iterable[Record], admit: Callable[[bytes | None, int], W]) -> list[Admitted[W]]:
        admitted: list[Admitted[W]] = []
        async for some in in_turns(records):
            for source in some:
                try:
                    wanted = self._encrypted(admit(source.value, self._produced_at(source)))
                    user_key = codec.user_key(wanted.user_id)
                    if source.key is not None and source.key != user_key:
                        raise InvalidInput(
                            "the record's key is not the user_id: key records by user_id, or the user's records lose"
                            " their order",
                            "$.user_id",
                            RefusalCode.WRONG_KEY,
                        )
                except InvalidInput as error:
                    self._refusals.refuse(source, error)
                else:
                    admitted.append((source, wanted, _keys_of(wanted, user_key + codec.SEPARATOR)))
        return admitted

    def _encrypted(self, wanted: W) -> W:
        """An input with the secrets of its monitors as they are stored."""
        if isinstance(wanted, Signup):
            given, encrypted = self._encrypted_last
            if wanted.monitors is not given:
                encrypted = tuple([self._secrets.encrypted(spec) for spec in wanted.monitors])
                # alike signups have the very same monitors, see ``admission``
                self._encrypted_last = wanted.monitors, encrypted
            if all(map(is_, encrypted, wanted.monitors)):
                return wanted
            return msgspec.structs.replace(wanted, monitors=encrypted)
        if wanted.monitor is None:
            return wanted
        return msgspec.structs.replace(wanted, monitor=self._secrets.encrypted(wanted.monitor))

    def _produced_at(self, source: Record) -> int:
        """When an input was produced, ms: what its delays and a run by hand are counted from.

        A producer may write any timestamp; one that is not to be believed counts as now.
        """
        now = self._clock.now_ms()
        return source.timestamp_ms if 0 < source.timestamp_ms <= now + BROKER_AHEAD_MS else now

    async def _sort_out(
        self, work: Writing, admitted: list[Admitted[Signup]]
    ) -> tuple[dict[int, list[Admitted[Signup]]], list[Admitted[Signup]]]:
        """Newcomers, by partition, and the others: who is known already, comes twice, or has something due at once."""
        now = self._clock.now_ms()
        known: dict[int, set[bytes]] = {}
        for number, some in _by_partition(admitted).items():
            # nobody has monitors who is not known as a user
            users = [keys[0] for _, _, keys in some]
            values = work.read(number, users)
            known[number] = {user for user, value in zip(users, values, strict=True) if value is not None}
            await asyncio.sleep(0)
        newcomers: dict[int, list[Admitted[Signup]]] = {}
        others: list[Admitted[Signup]] = []
        for each in admitted:
            source, signup, keys = each
            taken = known[source.partition]
            if keys[0] not in taken and not _is_due_soon(signup, now):
                newcomers.setdefault(source.partition, []).append(each)
            else:
                others.append(each)
            taken.add(keys[0])
        return newcomers, others

    async def _register(self, work: Writing, newcomers: dict[int, list[Admitted[Signup]]]) -> None:
        """Register users of whom nothing is known.

        They begin a little later than now, so that sweeps can go on while all this becomes durable.
        """
        planned: list[tuple[Partition, list[Planned]]] = []
        asked: list[tuple[int, Signup]] = []
        with ExitStack() as stack:
            for number, some in newcomers.items():
                partition = work.owned(number)
                now = max(self._clock.now_ms(), partition.reaching_for)
                stack.enter_context(partition.held(now + BEGIN_AFTER_MS))
                plans: list[Planned] = []
                async for few in in_turns(some):
                    for source, signup, keys in few:
                        try:
                            user, monitors = newcomer(signup, now, now + BEGIN_AFTER_MS)
                        except InvalidInput as error:
                            self._refusals.refuse(source, error)
                            continue
                        if signup.signup_id and signup.reply is ReplyOn.EVERY_OUTCOME:
                            asked.append((number, signup))
                        work.add(number, keys[0], user)
                        for key, monitor in zip(keys[1:], monitors, strict=True):
                            work.add(number, key, monitor)
                            awake = self._planner.planned(monitor, key)
                            if awake is not None:
                                plans.append(awake)
                planned.append((partition, plans))
                # the broker is at work while the next partition's users are
                work.send(number)
            await work.finish()
            for number, signup in asked:
                self._replies.answer(number, Asker.of(signup), Answer.REGISTERED, offset=work.position(number))
            with all_or_rebuilt():
                # in one go: what is loaded from the index meanwhile would come twice
                for partition, plans in planned:
                    for plan in plans:
                        if _is_dated(plan):
                            partition.timetable.put(plan)
                for partition, plans in planned:
                    async for recurring in in_turns(plans):
                        for plan in recurring:
                            if not _is_dated(plan):
                                partition.timetable.put(plan)

    async def _carry_out(self, admitted: Sequence[Admitted[Signup | Command]], plans: Plans | None = None) -> None:
        """Change what may be known already. ``plans``: whose quotas commands are held to.

        Sweeps of the partitions concerned stand still meanwhile: ``emitted_to`` is the instant between a monitor's old
        and its new spec.
        """
        if not admitted:
            return
        async with self._writer.writing() as work, AsyncExitStack() as standstill:
            parts = sorted(_by_partition(admitted).items())
            for number, some in parts:
                work.look_up(number, [key for _, _, keys in some for key in keys])
            quotas = Quotas(work, plans) if plans is not None else None
            if quotas is not None:
                async for few in in_turns(admitted):
                    for source, wanted, _ in few:
                        if isinstance(wanted, Command):
                            await quotas.count_ahead(source.partition, wanted)
            for number, _ in parts:
                await standstill.enter_async_context(work.owned(number).turn)
            done: list[tuple[int, Changes]] = []
            answers: list[_Answered] = []
            async for few in in_turns(admitted):
                for source, wanted, _ in few:
                    changes = await self._changes(work, source, wanted, quotas, answers)
                    if changes is not None:
                        done.append((source.partition, changes))
            await work.finish()
            # an answer says what is durable
            for each in answers:
                self._replies.answer(*each, offset=work.position(each[0]))
            with all_or_rebuilt():
                for number, changes in done:
                    for change in changes.monitors:
                        self._planner.plan(work.owned(number), change.before, change.after)

    async def _change_many(self, each: Admitted[Signup | Command]) -> None:
        """Carry out most of what a command for a whole user concerns in slices; the command itself ends it.

        Killed in between, the command is read again: what is changed already stays as it is.
        """
        source, wanted, _ = each
        assert isinstance(wanted, Command)
        number, behind = source.partition, b""
        while True:
            async with self._writer.writing() as work:
                partition = work.owned(number)
                if self._is_repeated(work, source, wanted):
                    return
                async with partition.turn:
                    changes: list[Change] = []
                    of_user = islice(work.monitors_of(number, wanted.user_id, behind), CHANGED_WITH_USER_AT_ONCE)
                    now = max(self._clock.now_ms(), partition.emitted_to)
                    seen = 0
                    async for few in in_turns(of_user):
                        for key, monitor in few:
                            seen, behind = seen + 1, key
                            try:
                                after = self._changed_with_user(wanted, monitor, now, partition.emitted_to)
                            except InvalidInput:
                                return  # refused as a whole, where it is carried out
                            if after is not monitor:
                                changes.append(Change(monitor, after))
                    if seen < CHANGED_WITH_USER_AT_ONCE:
                        # few enough for one unit of work together with the command itself
                        return
                    whole_user = wanted.command is CommandType.DEREGISTER
                    some = Changes(monitors=changes)
                    self._write(work, number, wanted.user_id, some, partition.emitted_to, whole_user=whole_user)
                    await work.finish()
                    with all_or_rebuilt():
                        for change in changes:
                            self._planner.plan(partition, change.before, change.after)
            if changes:
                self._begun.add((number, source.offset))

    def _changed_with_user(self, wanted: Command, monitor: Monitor, now: int, settled: int) -> Monitor | None:
        """The monitor after a command for a whole user: None if it goes, itself if it stays. Raises InvalidInput."""
        match wanted.command:
            case CommandType.DEREGISTER | CommandType.PURGE:
                return None
            case CommandType.CANCEL:
                return None if is_pending_task(monitor, settled) else monitor
            case _:
                return changed_with_user(wanted, monitor, now, settled, self._secrets.recognised)

    def _is_repeated(self, work: Writing, source: Record, wanted: Signup | Command) -> bool:
        if not isinstance(wanted, Command) or not wanted.command_id:
            return False
        known = remembered_of(work.value(source.partition, codec.commands_key(wanted.user_id)))
        return wanted.command_id in known.ids

    async def _changes(
        self,
        work: Writing,
        source: Record,
        wanted: Signup | Command,
        quotas: Quotas | None,
        answers: list[_Answered],
    ) -> Changes | None:
        """What an input changes, written into ``work``; None if nothing. Its answer is added to ``answers``."""
        partition = work.owned(source.partition)
        settled = partition.emitted_to
        now = max(self._clock.now_ms(), settled)
        user = work.user(source.partition, wanted.user_id)
        if isinstance(wanted, Command) and self._is_repeated(work, source, wanted):
            version = self._version(work, source.partition, wanted)
            answers.append((source.partition, Asker.of(wanted), Answer.REPEATED, version, None))
            return None
        try:
            if isinstance(wanted, Command) and wanted.command is CommandType.SET_USER:
                changes = self._set_user(work, source.partition, wanted, user, now, settled)
            elif isinstance(wanted, Signup):
                named = [spec.monitor_id for spec in wanted.monitors] + list(user.monitor_ids if user else ())
                monitors = self._monitors(work, source.partition, wanted.user_id, named)
                changes = sign_up(wanted, user, monitors, now, settled, self._secrets.recognised)
            else:
                if _is_for_many(wanted):
                    of_user = work.monitors_of(source.partition, wanted.user_id)
                    monitors = {monitor.monitor_id: monitor for _, monitor in of_user}
                else:
                    named = [wanted.monitor_id] if wanted.monitor_id else []
                    monitors = self._monitors(work, source.partition, wanted.user_id, named)
                if quotas is not None:
                    await quotas.check(source.partition, wanted, user, monitors.get(wanted.monitor_id))
                    wanted = quotas.weighted(wanted, user)
                changes = carry_out(wanted, user, monitors, now, settled, self._secrets.recognised)
        except InvalidInput as error:
            self._refusals.refuse(source, error, answered=True)
            answers.append((source.partition, Asker.of(wanted), Answer.REFUSED, 0, error))
            return None
        self._write(work, source.partition, wanted.user_id, changes, settled)
        if quotas is not None:
            quotas.note(source.partition, wanted.user_id, changes.monitors)
        if changes.run_now is not None:
            self._run_now(partition, source, wanted, changes.run_now, now)
        if isinstance(wanted, Command) and wanted.command is CommandType.PURGE:
            # needs not be remembered: carried out once more it changes nothing
            work.delete_value(source.partition, codec.commands_key(wanted.user_id), at=settled)
        elif isinstance(wanted, Command) and wanted.command_id:
            # last: when this is durable, all of it is
            key = codec.commands_key(wanted.user_id)
            known = remembered_of(work.value(source.partition, key))
            work.add_value(source.partition, key, known.with_id(wanted.command_id, now).encoded())
        if isinstance(wanted, Command) and wanted.command_id:
            begun = (source.partition, source.offset) in self._begun
            answer = Answer.DONE if begun or not changes.is_nothing else Answer.UNCHANGED
            version = self._version(work, source.partition, wanted)
            answers.append((source.partition, Asker.of(wanted), answer, version, None))
        elif isinstance(wanted, Signup) and wanted.signup_id:
            answer = Answer.REGISTERED if user is None else Answer.UPDATED
            answer = Answer.UNCHANGED if changes.is_nothing else answer
            answers.append((source.partition, Asker.of(wanted), answer, 0, None))
        return changes

    def _set_user(
        self, work: Writing, partition: int, wanted: Command, user: User | None, now: int, settled: int
    ) -> Changes:
        """What a ``set_user`` changes: as a signup would that says everything else as it is. Raises InvalidInput."""
        plans = self._plans.current if self._plans else None
        before = Signup(wanted.user_id, user.plan, user.attributes) if user else None
        of_plan = plans.ids_of(before) if plans is not None and before is not None else frozenset()
        monitors = self._monitors(work, partition, wanted.user_id, user.monitor_ids if user else ())
        signup = changed_signup(wanted, user, monitors, of_plan)
        if plans is not None:
            signup = self._encrypted(plans.expanded(signup))
        named = [spec.monitor_id for spec in signup.monitors]
        monitors |= self._monitors(work, partition, wanted.user_id, named)
        return sign_up(signup, user, monitors, now, settled, self._secrets.recognised)

    def _version(self, work: Writing, partition: int, command: Command) -> int:
        monitor = work.monitor(partition, command.user_id, command.monitor_id) if command.monitor_id else None
        return monitor.version if monitor else 0

    def _run_now(
        self, partition: Partition, source: Record, wanted: Signup | Command, monitor: Monitor, now: int
    ) -> None:
        """Let a monitor run once beside its schedule.

        The tick has the instant of the command, so that the command read again gives the same tick; it is no whole
        step, as scheduled ones are.
        """
        name = wanted.command_id.encode() if isinstance(wanted, Command) else b""
        number = crc32(name) if name else source.offset
        # one that only begins later runs now all the same, beside its state; the broker takes no tick from far ahead
        begun = monitor.since if monitor.since < now + BROKER_AHEAD_MS // 2 else 0
        instant = min(max(self._produced_at(source), begun + PHASE_STEP_MS), now + BROKER_AHEAD_MS // 2)
        scheduled_at = instant - instant % PHASE_STEP_MS + 1 + number % (PHASE_STEP_MS - 1)
        if registry.is_inline(monitor.spec.kind):
            self._judge_now(partition, monitor, scheduled_at, now)
            return
        self._outbox.send(
            self._topics.ticks_for(monitor.spec.policy.priority),
            partition=partition.number,
            key=codec.user_key(monitor.user_id),
            value=table_records.tick_value(monitor, manual=True),
            timestamp_ms=scheduled_at,
        )

    def _monitors(self, work: Writing, partition: int, user_id: str, monitor_ids: Iterable[str]) -> dict[str, Monitor]:
        found = {monitor_id: work.monitor(partition, user_id, monitor_id) for monitor_id in monitor_ids}
        return {monitor_id: monitor for monitor_id, monitor in found.items() if monitor is not None}

    def _write(
        self,
        work: Writing,
        partition: int,
        user_id: str,
        changes: Changes,
        settled: int,
        *,
        whole_user: bool = False,
    ) -> None:
        for key, value in cancellations_of(user_id, changes, settled, whole_user=whole_user):
            work.cancel(partition, key, value)
        # in this order: should only a part become durable, the rest is done when the input is read again
        for change in changes.monitors:
            if change.after is None and change.before is not None:
                work.delete(partition, user_id, change.before.monitor_id, at=settled)
        if changes.user is not None:
            work.put(partition, changes.user)
        if changes.user_ended:
            work.delete(partition, user_id, at=settled)
            work.delete_undecodable(partition, user_id, at=settled)
        for change in changes.monitors:
            if change.after is not None:
                work.put(partition, change.after)
            if change.after is not None and change.transition is not None:
                user = work.user(partition, user_id)
                self._transitions.tell(partition, change.transition, change.after, user)


_FOR_MANY = frozenset(
    {
        CommandType.DEREGISTER,
        CommandType.PURGE,
        CommandType.PAUSE_USER,
        CommandType.RESUME_USER,
        CommandType.REENCRYPT_USER,
    }
)


def _is_for_many(wanted: Signup | Command) -> bool:
    """Whether a command concerns all monitors of a user."""
    if not isinstance(wanted, Command):
        return False
    return wanted.command in _FOR_MANY or (wanted.command is CommandType.CANCEL and not wanted.monitor_id)


def _is_dated(plan: Planned) -> bool:
    """Whether the index knows of it too."""
    return isinstance(plan.schedule, At) or plan.held_back or plan.until < NEVER


def _keys_of(wanted: Signup | Command, user_key: bytes) -> list[bytes]:
    """The table keys of the user and of the monitors that are named."""
    if isinstance(wanted, Signup):
        return [user_key, *(user_key + spec.monitor_id.encode() for spec in wanted.monitors)]
    keys = [user_key, user_key + wanted.monitor_id.encode()]
    return [*keys, codec.commands_key(wanted.user_id)] if wanted.command_id else keys


def _slices(admitted: list[Admitted[W]], most: int) -> Iterator[list[Admitted[W]]]:
    """The signups in order, so many at a time that they concern about ``most`` entries."""
    some: list[Admitted[W]] = []
    entries = 0
    for each in admitted:
        some.append(each)
        entries += len(each[2])
        if entries >= most:
            yield some
            some, entries = [], 0
    if some:
        yield some


def _by_partition(admitted: Iterable[Admitted[W]]) -> dict[int, list[Admitted[W]]]:
    parts: dict[int, list[Admitted[W]]] = {}
    for each in admitted:
        parts.setdefault(each[0].partition, []).append(each)
    return parts


def _is_due_soon(wanted: Signup, now: int) -> bool:
    soon = now + 2 * BEGIN_AFTER_MS
    for spec in wanted.monitors:
        if isinstance(spec.schedule, At):
            at = spec.schedule.at
            # a delay of a plan is counted from the registration, which is about now
            if (at if at > 0 else now - at) <= soon:
                return True
    return False
