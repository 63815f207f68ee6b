"""Status of the notifier: messages that wait, that fail, and that were given up."""

from typing import NamedTuple

from sqlalchemy import func, select

from everwatch.notifier.rows import Rows
from everwatch.notifier.tables import alert_channels, alert_events, deliveries

_MOST_LANES = 20
_event = alert_events.c
_delivery = deliveries.c
_channel = alert_channels.c


class Waiting(NamedTuple):
    """Number of waiting items, and since when the oldest waits, ms; 0 if there is none."""

    amount: int
    since: int


class FailingServer(NamedTuple):
    """A server to which attempts failed. ``amount``: of messages that wait; ``reason``: of one of them."""

    lane: str
    amount: int
    since: int
    reason: str


class Standing(NamedTuple):
    """Status of the notifier.

    ``events``: that wait to be judged. ``overdue``: messages whose time came long ago. ``dead``: messages that were
    given up lately. ``given_up``: addresses that get nothing any more.
    """

    events: Waiting
    overdue: Waiting
    failing: list[FailingServer]
    dead: int
    given_up: int


class StandingRows(Rows):
    """Counts over the notifier's tables."""

    def standing(self, late: int, since: int) -> Standing:
        """Return the notifier's figures.

        ``late``: a message that was due before is overdue; ``since``: from when on dead ones count.
        """
        run = self._connection.execute
        events = run(select(func.count(), func.min(_event.taken_at)).where(_event.judge_at <= late)).one()
        pending = _delivery.state == "pending"
        overdue = run(select(func.count(), func.min(_delivery.due_at)).where(pending, _delivery.due_at < late)).one()
        failing = run(
            select(_delivery.lane, func.count(), func.min(_delivery.created_at), func.max(_delivery.reason))
            .where(pending, _delivery.attempt > 0)
            .group_by(_delivery.lane)
            .order_by(func.count().desc())
            .limit(_MOST_LANES)
        )
        dead = run(select(func.count()).where(_delivery.state == "dead", _delivery.created_at >= since)).scalar_one()
        given_up = run(select(func.count()).select_from(alert_channels).where(_channel.disabled_at > 0)).scalar_one()
        return Standing(
            Waiting(events[0], events[1] or 0),
            Waiting(overdue[0], overdue[1] or 0),
            [FailingServer(*row) for row in failing],
            dead,
            given_up,
        )
