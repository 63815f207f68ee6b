"""Producers whose queue is full: the broker is slower than its client, so the caller waits.

``transactional_producer`` has this loop in its own: a call for each record costs too much there.
"""

from typing import Any

from confluent_kafka import Producer

_POLL_S = 0.05


def produce(producer: Producer, *record: Any, **more: Any) -> None:
    """Queue a record as ``producer.produce`` does; wait while the queue is full, and serve its callbacks meanwhile."""
    while True:
        try:
            producer.produce(*record, **more)
            return
        except BufferError:
            producer.poll(_POLL_S)
