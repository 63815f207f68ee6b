"""Signals: kept in their monitor's table entry, which the inline evaluator reads when the monitor is due."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from everwatch.core.bounds import MOST_AHEAD_MS
from everwatch.core.clock import Clock
from everwatch.core.cooperative_chunks import cooperative_chunks
from everwatch.core.errors import InvalidInput, RefusalCode
from everwatch.encoding import codec, table_records
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.outbox import Outbox
from everwatch.kinds import registry
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.kinds.protocol import SignalledKind
from everwatch.model import Asker, CommandOutcome, Monitor, Signal, SignalState, SignalType
from everwatch.rules import lifecycle
from streams.outputs.refused_inputs import RefusedInputs
from streams.outputs.replies import Replies
from streams.state.unit_of_work import UnitOfWork, UnitsOfWork

# the record, the table key, when it happened, and the signal itself if it says more than that or asks for a reply
PendingSignal = tuple[Record, bytes, int, Signal | None]


class SignalTaker:
    """Takes batches of signals into state, each batch as one durable unit of work.

    Plain heartbeats, which most signals are, change a few bytes of their monitor's entry and nothing is decoded.
    """

    def __init__(
        self,
        units: UnitsOfWork,
        refused: RefusedInputs,
        replies: Replies,
        outbox: Outbox,
        clock: Clock,
        secrets: ConfigSecrets,
    ) -> None:
        self._units = units
        self._refused = refused
        self._replies = replies
        self._outbox = outbox
        self._clock = clock
        self._secrets = secrets

    async def handle_signals(self, records: Iterable[Record]) -> None:
        """Store the signals; they are durable when this returns."""
        pending: dict[int, list[PendingSignal]] = {}
        async for few in cooperative_chunks(records):
            # a job's clock may be a little ahead of ours; a heartbeat from further in the future would hide silence
            latest = self._clock.now_ms() + MOST_AHEAD_MS
            for record in few:
                try:
                    signal = codec.decode_signal(record.value)
                    at = signal.at or record.timestamp_ms
                    if at > latest:
                        ahead_s = (at - latest + MOST_AHEAD_MS) / 1000
                        raise InvalidInput(f"the signal is {ahead_s:g} s in the future", "$.at")
                except InvalidInput as error:
                    self._refused.refuse(record, error)
                else:
                    key = codec.table_key(signal.user_id, signal.monitor_id)
                    more = None if signal.is_plain and not signal.signal_id else signal
                    pending.setdefault(record.partition, []).append((record, key, at, more))
        async with self._units.begin() as work:
            replies: list[tuple[int, Asker, CommandOutcome]] = []
            for number, some in pending.items():
                await self._take(work, number, some, replies)
            await work.finish()
            # a reply says what is durable
            for each in replies:
                self._replies.send(*each, offset=work.position(each[0]))
        if replies:
            await self._outbox.delivered()

    async def _take(
        self,
        work: UnitOfWork,
        number: int,
        pending: list[PendingSignal],
        replies: list[tuple[int, Asker, CommandOutcome]],
    ) -> None:
        newest: dict[bytes, int] = {}
        # keys of entries that must be decoded, and the entries
        to_decode: dict[bytes, bytes | None] = {}
        for _, key, at, more in pending:
            if more is not None:
                to_decode[key] = None
            elif at > newest.get(key, -1):
                newest[key] = at
        for key in to_decode:
            newest.pop(key, None)
        values = work.read(number, [*newest, *to_decode])
        to_decode = dict(zip(to_decode, values[len(newest) :], strict=True))
        async for few in cooperative_chunks(zip(newest.items(), values[: len(newest)], strict=True)):
            for (key, at), value in few:
                after = None if value is None else table_records.with_signal(value, at)
                if after is None:
                    to_decode[key] = value
                elif after is not value:
                    work.add_value(number, key, after)
        if to_decode:
            await self._fold_decoded(work, number, to_decode, pending, replies)
        work.begin_commit(number)

    async def _fold_decoded(
        self,
        work: UnitOfWork,
        number: int,
        values: Mapping[bytes, bytes | None],
        pending: list[PendingSignal],
        replies: list[tuple[int, Asker, CommandOutcome]],
    ) -> None:
        by_key: dict[bytes, list[PendingSignal]] = {key: [] for key in values}
        for each in pending:
            if each[1] in by_key:
                by_key[each[1]].append(each)
        async for few in cooperative_chunks(by_key.items()):
            for key, some in few:
                value = values[key]
                if value is None:
                    error = _no_monitor(work, number, key)
                    for record, *_ in some:
                        self._refused.refuse(record, error)
                    continue
                after = self._after(key, value, some, replies)
                if after is not None:
                    work.add_value(number, key, after)

    def _after(
        self, key: bytes, value: bytes, pending: list[PendingSignal], replies: list[tuple[int, Asker, CommandOutcome]]
    ) -> bytes | None:
        """Return the monitor's entry after its signals, None if they change nothing.

        Refuses what is wrong, and adds the replies to the others that ask for one.
        """
        try:
            monitor, kind, config = _signalled_monitor(key, value, self._secrets)
        except InvalidInput as error:
            for record, *_ in pending:
                self._refused.refuse(record, error)
            return None
        last_signal, known = monitor.last_signal, monitor.signals
        # all count in the order in which they happened; those of one instant in the order in which they came
        for record, _, at, more in sorted(pending, key=lambda each: each[2]):
            signal = Signal(monitor.user_id, monitor.monitor_id, at) if more is None else replace(more, at=at)
            try:
                signalled_at, folded = last_signal, known
                if signal.type is not SignalType.LOG:
                    signalled_at, folded = kind.take(config, last_signal, known, signal)
                    if type(signalled_at) is not int or not isinstance(folded, SignalState):
                        raise TypeError("it gave no instant and SignalState")
                folded = _with_body(folded, known, signal)
                is_news = (signalled_at, folded) != (last_signal, known)
                last_signal, known = signalled_at, folded
                if signal.signal_id:
                    outcome = CommandOutcome.DONE if is_news else CommandOutcome.UNCHANGED
                    replies.append((record.partition, Asker.of(signal), outcome))
            except InvalidInput as error:
                self._refused.refuse(record, error)
            except Exception as error:  # a kind of another package may fail in any way, and harms only its monitors
                self._refused.refuse(
                    record, InvalidInput(f"the kind {kind.name!r} failed on the signal: {error!r}", "$.monitor_id")
                )
        after = lifecycle.after_signals(monitor, last_signal, known)
        return None if after is monitor else codec.encode_entry(after)


def _with_body(made: SignalState, known: SignalState, signal: Signal) -> SignalState:
    """Return what a kind has made of a signal, with the newest body: a kind knows nothing of bodies."""
    body, at = known.body, known.body_at
    if signal.body and signal.at >= at:
        body, at = signal.body, signal.at
    return made if (made.body, made.body_at) == (body, at) else replace(made, body=body, body_at=at)


def _no_monitor(work: UnitOfWork, number: int, key: bytes) -> InvalidInput:
    """Return the refusal of signals for a monitor that does not exist."""
    user_id, monitor_id = codec.split_key(key)
    reason = f"there is no monitor {monitor_id!r} of user {user_id!r}"
    if work.user(number, user_id) is None:
        where = "on this partition (signals must be produced with the same key and partitioner as signups)"
        reason += f", nor such a user {where}"
    return InvalidInput(reason, "$.monitor_id", RefusalCode.NOT_FOUND)


def _signalled_monitor(key: bytes, value: bytes, secrets: ConfigSecrets) -> tuple[Monitor, SignalledKind, object]:
    """The monitor of a table entry, its kind and its config. Raises InvalidInput if none of it takes signals."""
    monitor = codec.decode_entry(key, value)
    assert isinstance(monitor, Monitor)  # a signal names a monitor
    try:
        kind = registry.kind_named(monitor.spec.kind)
        listening = registry.takes_signals(kind)
        config = registry.parse_config(kind, secrets.decrypted(kind, monitor.spec.config))
    except InvalidInput as error:
        raise InvalidInput(f"the signal cannot be judged: {error.reason}", "$.monitor_id") from None
    if listening is None:
        raise InvalidInput(
            f"monitor {monitor.monitor_id!r} is of kind {monitor.spec.kind}, which takes no signals",
            "$.monitor_id",
            RefusalCode.WRONG_KIND,
        )
    return monitor, listening, config
