"""The audit log: every change that is asked for over HTTP goes to the topic ``audit``, and is listed from the
database.

An entry is sent when the answer is known, and the answer waits for its acknowledgement. A process that is killed in
between leaves a change without its entry; so does a Kafka that takes the change and then nothing more for seconds.
"""

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import Protocol

import msgspec

from everwatch.api import metrics, paging
from everwatch.api.database import Database
from everwatch.api.permissions import Principal
from everwatch.api.problems import Problem
from everwatch.api.queries import AuditQuery, when_of
from everwatch.api.routing import Answer, AuditedChange, Call, Route
from everwatch.api.views import OutcomeView
from everwatch.core.clock import Clock
from everwatch.core.errors import EverwatchError
from everwatch.core.output_format import OutputFormat
from everwatch.core.printable import printable
from everwatch.encoding import codec
from everwatch.model import AuditEntry
from everwatch.observability.log_throttle import LogThrottle
from everwatch.store.audit_log import AuditSelection

logger = logging.getLogger(__name__)
NOT_LOGGED = frozenset({400, 401, 405, 413, 415, 429})
"""Statuses of requests that are not logged: no principal could have made the change."""
ACCEPTED, DONE = "accepted", "done"
_SHORT, _LONG = 64, 256
# entries between two turns of the event loop
_AT_ONCE = 100
_BREAKS = str.maketrans({"\n": "\\n", "\t": "\\t"})
ToSend = tuple[str, bytes, bytes | None]


class EntrySender(Protocol):
    """Sender of entries to the broker."""

    async def send_each(self, records: Sequence[ToSend]) -> list[EverwatchError | None]:
        """Send records in this order, and give why each is not acknowledged: None if it is."""
        ...


class Asking(msgspec.Struct, frozen=True):
    """Origin of a change: token, address and request."""

    principal: Principal
    address: str
    forwarded_for: str
    request_id: str


class AuditLog:
    """Writes entries to the topic."""

    def __init__(self, sender: EntrySender, topic: str, clock: Clock, output_format: OutputFormat) -> None:
        self._sender = sender
        self._topic = topic
        self._clock = clock
        self._format = output_format
        self._log_throttle = LogThrottle(clock)

    async def note(self, route: str, asking: Asking, changes: Sequence[AuditedChange]) -> None:
        """Write the request of a route of this name; return once Kafka has it.

        Entries that Kafka does not take are logged and counted.
        """
        now = self._clock.now_ms()
        if len(changes) <= _AT_ONCE:
            failures = await self._sent(route, asking, changes, now)
        else:
            # one wait for the broker, however many there are: to wait for each part takes longer than the changes
            under_way = []
            async with asyncio.TaskGroup() as group:
                for begin in range(0, len(changes), _AT_ONCE):
                    some = changes[begin : begin + _AT_ONCE]
                    under_way.append(group.create_task(self._sent(route, asking, some, now)))
                    await asyncio.sleep(0)
            failures = [failure for each in under_way for failure in each.result()]
        metrics.AUDIT_LOST.inc(len(failures))
        if failures and self._log_throttle.may_log("lost"):
            logger.error("the audit log has no entry for %s: %s", route, failures[0])

    async def _sent(
        self, route: str, asking: Asking, changes: Sequence[AuditedChange], now: int
    ) -> list[EverwatchError]:
        """Send entries in this order; gives why some are not on the topic."""
        ids = random_ids(len(changes))
        records = [self._record(_entry(id_, route, asking, each, now)) for id_, each in zip(ids, changes, strict=True)]
        return [failure for failure in await self._sender.send_each(records) if failure is not None]

    def _record(self, entry: AuditEntry) -> ToSend:
        key = codec.user_key(entry.user_id) if entry.user_id else entry.token_id.encode()
        return self._topic, key, codec.encode_audit_entry(entry, self._format)


class Auditing:
    """Handler of ``/v1/audit``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, call: Call, query: AuditQuery) -> Answer:
        if query.monitor and not query.user:
            raise Problem(400, "invalid_parameter", "A monitor takes its user: ids of monitors are a user's.")
        which, when = AuditSelection(query.user, query.monitor, query.token), when_of(query)
        return await paging.page(
            self._database,
            call,
            query,
            lambda reader, after, limit: reader.audit(which, when=when, after=after, limit=limit),
            lambda entry: entry,
        )


def changes_of(route: Route, call: Call, answer: Answer) -> Sequence[AuditedChange]:
    """Return what the audit log is to say of an answer."""
    if answer.changes is not None:
        return answer.changes
    outcome = answer.body if isinstance(answer.body, OutcomeView) else None
    said = ACCEPTED if answer.status == 202 else DONE
    return [
        AuditedChange(
            route.audited,
            call.path.get("user_id", ""),
            _monitor_of(call) or (outcome.monitor_id if outcome else ""),
            _command_id(route, call),
            answer.status,
            outcome.answer.value if outcome and outcome.answer else said,
            change=answer.change,
        )
    ]


def refused_change(route: Route, call: Call, problem: Problem) -> AuditedChange:
    """Return what the audit log is to say of a request that failed."""
    return AuditedChange(
        route.audited,
        call.path.get("user_id", ""),
        _monitor_of(call),
        _command_id(route, call),
        problem.status,
        problem.code,
    )


def _monitor_of(call: Call) -> str:
    return call.path.get("monitor_id") or call.path.get("task_id") or ""


def _command_id(route: Route, call: Call) -> str:
    """The command's id; of a token its id."""
    return (call.headers.get("Idempotency-Key") or call.new_id) if route.command else call.path.get("token_id", "")


def random_ids(count: int) -> list[str]:
    """Return ids of 128 random bits; the system is asked once for all of them."""
    drawn = os.urandom(16 * count).hex()
    return [drawn[at : at + 32] for at in range(0, 32 * count, 32)]


def _entry(entry_id: str, route: str, asking: Asking, change: AuditedChange, now: int) -> AuditEntry:
    by = change.by or asking.principal
    return AuditEntry(
        entry_id,
        now,
        by.token_id,
        _plain(by.name, _LONG),
        by.role.value if by.scopes else "",
        _plain(asking.address, _SHORT),
        _plain(asking.forwarded_for, _LONG),
        route,
        _plain(change.command, _SHORT),
        _plain(change.user_id, _LONG),
        _plain(change.monitor_id, _LONG),
        change.status,
        _plain(change.outcome, _SHORT),
        _plain(change.command_id, _LONG),
        asking.request_id,
        change.change,
    )


def _plain(text: str, most: int) -> str:
    """Text of a request as records take it: a path may name anything."""
    if text.isascii() and text.isprintable():
        return text[:most]
    return printable(text).translate(_BREAKS)[:most]
