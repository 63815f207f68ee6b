"""The admin client: it knows why it gets no answer, so callers do not wait for a broker that refuses them."""

import logging
from collections import deque
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from everwatch.core.clock import Clock, SystemClock
from everwatch.core.config import Settings
from everwatch.kafka.access_errors import refused_connection

SLICE_S = 0.25
# a broker that is far away or busy takes longer to answer than the first requests wait
LONGEST_SLICE_S = 4.0
# another broker of the list may let us in, and one that starts may refuse for a moment
GRACE_S = 2.5
_KEPT = 50


class Admin(AdminClient):
    """A client that creates and describes topics, groups and rights."""

    def __init__(
        self, config: dict[str, Any], settings: Settings, bootstrap_servers: str, clock: Clock | None = None
    ) -> None:
        self._settings = settings
        self._bootstrap_servers = bootstrap_servers
        self._clock = clock or SystemClock()
        self._complaints = _Complaints(config["logger"])
        heard = {"error_cb": self._complaints.hear, "logger": self._complaints.logger}
        super().__init__(config | heard)

    @property
    def settings(self) -> Settings:
        """Return the settings that it was made with."""
        return self._settings

    def list_topics(self, topic: str | None = None, timeout: float = 10.0) -> Any:
        """Return the broker's metadata of its topics.

        Raises AccessError if it refuses to talk, KafkaException when it does not answer in time.
        """
        deadline_s = self._clock.monotonic_s() + timeout
        patience_s: float | None = None
        slice_s = SLICE_S
        while True:
            left_s = deadline_s - self._clock.monotonic_s()
            try:
                return super().list_topics(topic, timeout=max(0.01, min(slice_s, left_s)))
            except KafkaException:
                if left_s <= slice_s:
                    self._raise_refusal()
                    raise
            self.poll(0)
            slice_s = min(2 * slice_s, LONGEST_SLICE_S) if patience_s is None else SLICE_S
            if patience_s is None and self._refusal() is not None:
                patience_s = self._clock.monotonic_s() + GRACE_S
            elif patience_s is not None and self._clock.monotonic_s() > patience_s:
                self._raise_refusal()

    def _refusal(self) -> Exception | None:
        return refused_connection(self._complaints.lines, self._settings, self._bootstrap_servers)

    def _raise_refusal(self) -> None:
        refusal = self._refusal()
        if refusal is not None:
            raise refusal


class _Complaints(logging.Handler):
    """Errors and log lines of librdkafka; some refusals are in the log alone."""

    def __init__(self, parent: logging.Logger) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=_KEPT)
        # a logger of its own, whatever level the others have: what it says is kept, and shown only where theirs is
        self.logger = logging.Logger("librdkafka.admin", logging.INFO)
        self.logger.addHandler(self)
        self._parent = parent

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if self._parent.isEnabledFor(record.levelno):
            self._parent.handle(record)

    def hear(self, error: KafkaError) -> None:
        self.lines.append(error.str())
