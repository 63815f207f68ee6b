"""The instant to which each partition is backed up, and which records lie before it.

A worker notes on ``progress`` how far the ticks of a partition are emitted together with the place that its table has
in the changelog. So one such note is an exact cut: the changelog up to that place holds what was decided up to that
instant, and no more. From there on a restored worker does as the old one did: it emits the ticks that are due later,
and reads the inputs that are not acknowledged. Ticks and results of later instants are left out, since they come again,
and might be those of monitors that the table does not have yet.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from everwatch.backup.manifest import Cut
from everwatch.core.errors import InvalidInput
from everwatch.encoding.cancellation_records import decode_cancellation
from everwatch.encoding.codec import decode_result, decode_tick
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.progress import Noted
from everwatch.kafka.topics import of_any_region

Keep = Callable[[Record], bool]


class Reached(NamedTuple):
    """Lower bounds of a cut: an instant (ms), and the next offset of the changelog."""

    noted_at: int
    changelog: int


def exact_cut(number: int, noted: Noted | None, reached: Reached, topic_id: str) -> Cut | None:
    """Return the cut that a partition's last note gives.

    None while it lies before the offset that is reached, or gives none.
    """
    owner = noted.owner if noted is not None else None
    if noted is None or owner is None or owner.topic_id != topic_id:
        return None
    if noted.noted_at < reached.noted_at or owner.offset + 1 < reached.changelog:
        return None
    return Cut(number, noted.emitted_to, owner.offset + 1, exact=True, noted_at=noted.noted_at)


def filter_of(name: str, cuts: Mapping[int, Cut]) -> Keep:
    """Return a function that tells whether a record of a topic lies before its partition's cut."""
    kept = _FILTERS.get(of_any_region(name))
    if kept is None:
        return lambda _: True

    def keep(record: Record) -> bool:
        cut = cuts[record.partition]
        return not cut.exact or kept(record, cut)

    return keep


def _tick(record: Record, cut: Cut) -> bool:
    if record.timestamp_ms <= cut.emitted_to:
        return True
    try:
        return decode_tick(record.key, record.value, record.timestamp_ms, record.partition).manual
    except InvalidInput:
        return True  # its next reader refuses it


def _result(record: Record, cut: Cut) -> bool:
    try:
        result = decode_result(record.value)
    except InvalidInput:
        return True  # its next reader refuses it
    # a run that was asked for by command is in no schedule, and its command may be acknowledged
    return result.manual or result.scheduled_at <= cut.emitted_to


def _transition(record: Record, cut: Cut) -> bool:
    # it is acknowledged before the change of its monitor is committed, so those before the cut are older than the note
    return record.timestamp_ms <= cut.noted_at


def _cancellation(record: Record, cut: Cut) -> bool:
    try:
        _, cancellation = decode_cancellation(record.key, record.value)
    except InvalidInput:
        return False
    # one of just this instant may be of a change behind the cut; the ticks that it names were due, and may run
    return cancellation.until < cut.emitted_to


_FILTERS: dict[str, Callable[[Record, Cut], bool]] = {
    "ticks_high": _tick,
    "ticks": _tick,
    "ticks_low": _tick,
    "results": _result,
    "transitions": _transition,
    "cancellations": _cancellation,
}
