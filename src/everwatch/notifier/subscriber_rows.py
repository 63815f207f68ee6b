"""Rows of subscribers of operators' status pages, and of the incidents that they got."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import Dialect, and_, delete, func, select

from everwatch.notifier.alerts import derived_id
from everwatch.notifier.rows import Rows, chunks
from everwatch.notifier.tables import status_announced, status_subscribers
from everwatch.store.bulk_statements import storable, upsert

_subscriber = status_subscribers.c
_announced = status_announced.c
NEVER_CONFIRMED, DECLINED = 0, -1
"""``confirmed_at`` of an unconfirmed address, and of one whose owner wants no mail."""


class Subscriber(NamedTuple):
    """An address that asked for news of a page; ``confirmed_at``: see ``NEVER_CONFIRMED``.

    ``unsubscribe``: the page that ends it.
    """

    subscriber_id: str
    slug: str
    email: str
    unsubscribe: str
    asked_at: int
    confirmed_at: int


class Announced(NamedTuple):
    """An incident of a monitor that was sent to subscribers of a page, under this name."""

    slug: str
    incident_id: str
    name: str
    opened_at: int
    user_id: str = ""
    monitor_id: str = ""


class SubscriberStatements:
    """Statements of ``SubscriberRows`` that are run with many rows, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        self.put = upsert(status_subscribers, dialect)
        self.announce = upsert(status_announced, dialect)


class SubscriberRows(Rows):
    """Subscribers and the incidents that they got."""

    _subscribers: SubscriberStatements

    def subscriber(self, subscriber_id: str) -> Subscriber | None:
        """Return a subscriber by its id."""
        row = self._connection.execute(
            select(*_subscriber).where(_subscriber.subscriber_id == subscriber_id)
        ).one_or_none()
        return None if row is None else Subscriber(*row)

    def put_subscriber(self, subscriber: Subscriber) -> None:
        """Store a subscriber in place of an earlier one with the address."""
        self._subscribers.put.run(self._connection, [tuple(map(storable, subscriber))])

    def asked_since(self, slug: str, since: int) -> int:
        """Return how many addresses of a page were asked, or ended it, after an instant."""
        these = select(func.count()).where(_subscriber.slug == slug, _subscriber.asked_at > since)
        return self._connection.execute(these).scalar_one()

    def subscribers(self, slug: str) -> list[Subscriber]:
        """Return the subscribers of a page that are confirmed."""
        statement = select(*_subscriber).where(_subscriber.slug == slug, _subscriber.confirmed_at > 0)
        return [Subscriber(*row) for row in self._connection.execute(statement.order_by(_subscriber.subscriber_id))]

    def trim_subscribers(self, before: int) -> None:
        """Forget addresses that were asked, or declined, before an instant and not confirmed since."""
        never = and_(_subscriber.confirmed_at <= 0, _subscriber.asked_at < before)
        self._connection.execute(delete(status_subscribers).where(never))

    def pages_with_subscribers(self) -> set[str]:
        """Return the pages that have subscribers that are confirmed."""
        statement = select(_subscriber.slug).where(_subscriber.confirmed_at > 0).distinct()
        return set(self._connection.execute(statement).scalars())

    def announced(self, slug: str) -> list[Announced]:
        """Return the incidents whose beginning subscribers of a page got and whose end they did not; locked."""
        statement = select(*_announced).where(_announced.slug == slug).order_by(_announced.incident_id)
        return [Announced(*row) for row in self._connection.execute(statement.with_for_update())]

    def put_announced(self, told: Iterable[Announced]) -> None:
        """Note that incidents were sent to subscribers."""
        self._subscribers.announce.run(self._connection, [tuple(map(storable, each)) for each in sorted(told)])

    def delete_announced(self, slug: str, incident_ids: Collection[str]) -> None:
        """Note that the end of incidents was sent to subscribers."""
        for some in chunks(incident_ids):
            these = and_(_announced.slug == slug, self._is_one_of(_announced.incident_id, some))
            self._connection.execute(delete(status_announced).where(these))


def subscriber_id_of(slug: str, email: str) -> str:
    """Return the id of an address that subscribes to a page."""
    return derived_id("subscriber", slug, email.casefold())
