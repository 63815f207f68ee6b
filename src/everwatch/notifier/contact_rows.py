"""Rows of mail addresses that are or are to be verified."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import Dialect, select, update

from everwatch.notifier.rows import Rows, chunks
from everwatch.notifier.tables import alert_contacts
from everwatch.store.bulk_statements import storable, upsert

_contact = alert_contacts.c


class Contact(NamedTuple):
    """An address of a user, as ``tables.alert_contacts``; ``verified_at`` 0: it is not confirmed."""

    contact_id: str
    user_id: str
    shown: str
    code: str
    asked_at: int
    verified_at: int


class ContactStatements:
    """Statements of ``ContactRows`` that are run with many rows, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        self.put = upsert(alert_contacts, dialect)


class ContactRows(Rows):
    """Addresses that are or are to be verified."""

    _contacts: ContactStatements

    def contacts(self, contact_ids: Collection[str]) -> dict[str, Contact]:
        """Return those of these addresses that were sent a code, or are verified."""
        found: dict[str, Contact] = {}
        for some in chunks(contact_ids):
            for row in self._connection.execute(select(*_contact).where(self._is_one_of(_contact.contact_id, some))):
                found[row[0]] = Contact(*row)
        return found

    def contacts_of(self, user_ids: Collection[str]) -> list[Contact]:
        """Return all such addresses of these users."""
        found: list[Contact] = []
        for some in chunks(user_ids):
            statement = (
                select(*_contact)
                .where(self._is_one_of(_contact.user_id, some))
                .order_by(_contact.user_id, _contact.asked_at)
            )
            found += [Contact(*row) for row in self._connection.execute(statement)]
        return found

    def put_contacts(self, contacts: Iterable[Contact]) -> None:
        """Store addresses, in place of earlier values."""
        self._contacts.put.run(self._connection, [tuple(map(storable, each)) for each in sorted(contacts)])

    def verify_contacts(self, contact_ids: Collection[str], now: int) -> None:
        """Note that these addresses are confirmed."""
        for some in chunks(contact_ids):
            self._connection.execute(
                update(alert_contacts)
                .where(self._is_one_of(_contact.contact_id, some))
                .values(verified_at=now, code="")
            )
