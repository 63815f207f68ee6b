"""Pages of the audit log, the latest first."""

from typing import Any

from sqlalchemy import Select, select

from everwatch.store.audit_log import AuditPlace, AuditSelection
from everwatch.store.queries.events import equal, latest_first, within
from everwatch.store.selections import When
from everwatch.store.sql_schema import audit_log


def audit_page(which: AuditSelection, when: When, after: AuditPlace | None, limit: int) -> Select[*tuple[Any, ...]]:
    """The latest entries behind a place, with the columns of ``audit_log``."""
    c = audit_log.c
    values = ((c.user_id, which.user_id), (c.monitor_id, which.monitor_id), (c.token_id, which.token_id))
    return latest_first(select(audit_log), [c.at, c.entry_id], [*equal(values), *within(c.at, when)], after, limit)
