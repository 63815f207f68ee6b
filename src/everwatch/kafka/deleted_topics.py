"""Topics that were deleted, or made anew, while a consumer read them: noticed by what librdkafka reports.

librdkafka says so by its error callback, in the words "TOPIC [PARTITION]: why", and may never read the topic again when
it is made anew. A reader asks here after each ``consume``, and begins with a new consumer, or ends.
"""

import re
from collections.abc import Container

from confluent_kafka import KafkaError

_CODES = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
_OF_A_PARTITION = re.compile(r"(\S+) \[\d+\]")


class DeletedTopics:
    """Topics of one consumer that were deleted since this was asked last."""

    def __init__(self) -> None:
        self._said: dict[str, KafkaError] = {}

    def note(self, error: KafkaError) -> None:
        """Take in an error of the consumer. For ``error_cb``, whatever the error is."""
        if error.code() in _CODES and (found := _OF_A_PARTITION.match(error.str())):
            self._said[found[1]] = error

    def take(self, read: Container[str]) -> dict[str, KafkaError]:
        """Return the messages about topics among those that are ``read``, and forget them all."""
        found = {topic: error for topic, error in self._said.items() if topic in read}
        self._said.clear()
        return found
