"""The newest records of a topic, as checks look at them."""

from collections.abc import Iterable, Iterator
from contextlib import closing

from everwatch.core.errors import InvalidInput
from everwatch.diagnosis.system import System
from everwatch.encoding import codec
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.consumer_groups import bounds_of, first_since
from everwatch.kafka.peek import PEEKING, peek_to_ends
from everwatch.model import Result


def newest_records(
    system: System, topic: str, most: int, *, numbers: Iterable[int] | None = None, since: int | None = None
) -> Iterator[Record]:
    """Yield the newest ``most`` records of each partition (``numbers``; None: all), from ``since`` (ms) on.

    Raises BrokerUnavailable, AccessError.
    """
    positions = [(topic, number) for number in (range(system.settings.partitions) if numbers is None else numbers)]
    begins = dict.fromkeys(positions, 0) if since is None else first_since(system.admin, positions, since)
    held = bounds_of(system.admin, begins)
    wanted = {
        each: range(max(begin, held[each].start, held[each].stop - most), held[each].stop)
        for each, begin in begins.items()
        if held.get(each)
    }
    with closing(system.new_consumer(**PEEKING)) as consumer:
        for seen in peek_to_ends(consumer, wanted).values():
            if seen.denied is not None:
                raise seen.denied
            yield from seen.records


def results_of(records: Iterable[Record]) -> Iterator[Result]:
    """Yield the results among records; invalid ones are passed over."""
    for record in records:
        try:
            yield codec.decode_result(record.value)
        except InvalidInput:
            continue
