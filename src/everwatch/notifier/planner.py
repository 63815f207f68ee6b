"""From events to messages: judge new events, and compose the messages that are due now.

Each pass is one transaction, so a notifier that is killed in between does it again, or finds it done.
"""

import logging
from collections.abc import Callable, Collection

from everwatch.core.errors import is_retryable
from everwatch.notifier.composing import MOST_GROUPS, compose
from everwatch.notifier.judging import MOST_EVENTS, judge
from everwatch.notifier.metrics import ALERTS
from everwatch.notifier.routes import Rules
from everwatch.notifier.storage import Storage

logger = logging.getLogger(__name__)


class Planner:
    """Judges events and composes messages. ``complain(subject, sentence)`` reports what went wrong.

    After an unexpected error the next pass takes half as many events or groups, down to the one that causes it. That
    one is passed over, so that it stops no other.
    """

    def __init__(self, storage: Storage, topic: str, complain: Callable[[str, str], None]) -> None:
        self._storage = storage
        self._topic = topic
        self._complain = complain
        self._most_events, self._most_groups = MOST_EVENTS, MOST_GROUPS

    def judge(self, rules: Rules, partitions: Collection[int], now: int) -> bool:
        """Judge events; return whether there were any. Raises retryable errors."""
        storage, events = self._storage, 1
        try:
            events, alerts = judge(storage, rules, partitions, self._topic, now, self._most_events)
            ALERTS.inc(alerts)
            self._most_events = min(2 * self._most_events, MOST_EVENTS)
        except Exception as error:
            self._failed("judging", error)
            if self._most_events == 1:
                with storage.begin() as work:
                    work.pass_over(partitions, now, "it could not be judged; see the notifier's log")
            self._most_events = max(1, self._most_events // 2)
        return events > 0

    def compose(self, rules: Rules, now: int) -> bool:
        """Compose messages of groups; return whether there were any. Raises retryable errors."""
        storage, groups = self._storage, 1
        try:
            groups = compose(storage, rules, now, self._most_groups)
            self._most_groups = min(2 * self._most_groups, MOST_GROUPS)
        except Exception as error:
            self._failed("composing", error)
            if self._most_groups == 1:
                with storage.begin() as work:
                    given_up = work.groups_to_flush(now, 1)
                    work.empty_groups([group.group_id for group in given_up])
                    work.put_groups(group._replace(flush_at=0) for group in given_up)
            self._most_groups = max(1, self._most_groups // 2)
        return groups > 0

    def _failed(self, about: str, error: Exception) -> None:
        if is_retryable(error):
            raise error
        self._complain(about, f"{about} failed; the cause will be passed over: {type(error).__name__}: {error}")
        logger.debug("%s failed", about, exc_info=error)
