"""Statements that the store runs in bulk for each batch, compiled once for one dialect."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    Integer,
    Table,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal_column,
    select,
    update,
)

from everwatch.store.bulk_statements import Bulk, insert_into, upsert
from everwatch.store.sql_schema import (
    audit_log,
    database_facts,
    dead_letters,
    former_specs,
    monitor_history,
    monitor_labels,
    monitor_search,
    monitors,
    replies,
    tasks,
    transitions,
    user_search,
    users,
)
from everwatch.store.stored_values import TaskStatus


class BatchStatements:
    """The statements by name. Parameters are in the order in which rows give them."""

    def __init__(self, dialect: Dialect) -> None:
        history, own = monitor_history.c, ["b_user_id", "b_monitor_id"]
        user_id: ColumnElement[str] = bindparam("b_user_id")
        monitor_id: ColumnElement[str] = bindparam("b_monitor_id")
        until: ColumnElement[int] = bindparam("b_until", type_=BigInteger)
        cancel = (
            update(tasks)
            .values(status=literal_column(f"'{TaskStatus.CANCELLED}'"), ended_at=until)
            .where(tasks.c.user_id == user_id, tasks.c.status == literal_column(f"'{TaskStatus.PENDING}'"))
        )
        end = update(monitor_history).values(until=until).where(history.user_id == user_id, history.until.is_(None))

        self.users = upsert(users, dialect)
        self.monitors = upsert(monitors, dialect)
        # the newest record decides whether a stretch lasts, so one that was closed may open again
        self.history = upsert(monitor_history, dialect)
        self.former_specs = _keep_former_spec(dialect)
        former = delete(former_specs).where(former_specs.c.user_id == user_id)
        self.delete_former_specs = Bulk(former.where(former_specs.c.monitor_id == monitor_id), own, dialect)
        self.delete_former_specs_of_user = Bulk(former, own[:1], dialect)
        self.new_tasks = upsert(tasks, dialect)
        self.later_tasks = _upsert_later_tasks(dialect)
        self.cancel_task = Bulk(cancel.where(tasks.c.monitor_id == monitor_id), ["b_until", *own], dialect)
        self.cancel_tasks_of_user = Bulk(cancel, ["b_until", "b_user_id"], dialect)
        self.delete_task = Bulk(
            delete(tasks).where(tasks.c.user_id == user_id, tasks.c.monitor_id == monitor_id), own, dialect
        )
        self.begun = Bulk(
            insert_into(database_facts, dialect).on_conflict_do_nothing(), database_facts.c.keys(), dialect
        )
        self.transitions = Bulk(
            insert_into(transitions, dialect).on_conflict_do_nothing(), transitions.c.keys(), dialect
        )
        self.replies = Bulk(insert_into(replies, dialect).on_conflict_do_nothing(), replies.c.keys(), dialect)
        self.audit = Bulk(insert_into(audit_log, dialect).on_conflict_do_nothing(), audit_log.c.keys(), dialect)
        self.letters = Bulk(insert_into(dead_letters, dialect).on_conflict_do_nothing(), dead_letters.c.keys(), dialect)
        self.redrives = _note_redrive(dialect)
        self.end_others = Bulk(
            end.where(
                history.monitor_id == monitor_id,
                # an older version may have been meant to begin later than this one does
                (history.version < bindparam("b_version"))
                | (
                    (history.since <= bindparam("b_since"))
                    & ((history.version != bindparam("b_version")) | (history.since < bindparam("b_since")))
                ),
            ),
            ["b_until", *own, "b_version", "b_since"],
            dialect,
        )
        self.end_own = Bulk(
            end.where(
                history.monitor_id == monitor_id,
                history.version == bindparam("b_version"),
                history.since == bindparam("b_since"),
            ),
            ["b_until", *own, "b_version", "b_since"],
            dialect,
        )
        self.end_of_monitor = Bulk(end.where(history.monitor_id == monitor_id), ["b_until", *own], dialect)
        self.end_of_user = Bulk(end, ["b_until", "b_user_id"], dialect)
        self.delete_monitor = Bulk(
            delete(monitors).where(monitors.c.user_id == user_id, monitors.c.monitor_id == monitor_id), own, dialect
        )
        self.delete_user = Bulk(delete(users).where(users.c.user_id == user_id), own[:1], dialect)
        self.delete_monitors_of_user = Bulk(delete(monitors).where(monitors.c.user_id == user_id), own[:1], dialect)
        self.labels = upsert(monitor_labels, dialect)
        of_user = delete(monitor_labels).where(monitor_labels.c.user_id == user_id)
        self.delete_labels_of_user = Bulk(of_user, own[:1], dialect)
        self.delete_labels = Bulk(of_user.where(monitor_labels.c.monitor_id == monitor_id), own, dialect)
        texts_of_user = delete(monitor_search).where(monitor_search.c.user_id == user_id)
        self.delete_texts_of_user = Bulk(texts_of_user, own[:1], dialect)
        self.delete_text = Bulk(texts_of_user.where(monitor_search.c.monitor_id == monitor_id), own, dialect)
        self.delete_text_of_user = Bulk(delete(user_search).where(user_search.c.user_id == user_id), own[:1], dialect)
        self.texts_of_users = _put_text(user_search, ["user_id"], dialect)
        self.texts_of_monitors = _put_text(monitor_search, ["user_id", "monitor_id"], dialect)


def _put_text(table: Table, key: list[str], dialect: Dialect) -> Bulk:
    """Rows of a table of search texts; one that is as it was is not written."""
    insert = insert_into(table, dialect)
    put = insert.values({name: bindparam(f"b_{name}") for name in (*key, "text")}).on_conflict_do_update(
        index_elements=key, set_={"text": insert.excluded.text}, where=table.c.text != insert.excluded.text
    )
    return Bulk(put, [f"b_{name}" for name in (*key, "text")], dialect)


def _keep_former_spec(dialect: Dialect) -> Bulk:
    """Copy the spec of a stored monitor that is about to be replaced by another version."""
    copied = [column.name for column in former_specs.c if column.name != "replaced_at"]
    at: ColumnElement[int] = cast(bindparam("b_at", type_=BigInteger), BigInteger)
    is_it = and_(monitors.c.user_id == bindparam("b_user_id"), monitors.c.monitor_id == bindparam("b_monitor_id"))
    rows = select(*(monitors.c[name] for name in copied), at).where(is_it)
    insert = insert_into(former_specs, dialect).from_select([*copied, "replaced_at"], rows).on_conflict_do_nothing()
    return Bulk(insert, ["b_at", "b_user_id", "b_monitor_id"], dialect)


def _note_redrive(dialect: Dialect) -> Bulk:
    """Say of a dead letter when it was redriven last, and to where."""
    c, same = dead_letters.c, dead_letters.alias().c
    partition: ColumnElement[int] = bindparam("b_partition", type_=Integer)
    offset: ColumnElement[int] = bindparam("b_offset", type_=BigInteger)
    at: ColumnElement[int] = bindparam("b_at", type_=BigInteger)
    is_it = and_(c.partition == partition, c.letter_offset == offset, c.redriven_at <= at)
    # of two topics, one made after the other, the newer one is meant
    newest = select(func.max(same.refused_at)).where(same.partition == partition, same.letter_offset == offset)
    return Bulk(
        update(dead_letters)
        .values(redriven_at=at, redriven_to=bindparam("b_to"))
        .where(is_it, c.refused_at == newest.scalar_subquery()),
        ["b_at", "b_to", "b_partition", "b_offset"],
        dialect,
    )


def _upsert_later_tasks(dialect: Dialect) -> Bulk:
    """One row for each task, which keeps when it was created: ``everwatch.store.task_records.following`` in SQL."""
    insert = insert_into(tasks, dialect)
    c, new = tasks.c, insert.excluded
    another = and_(c.ended_at > literal_column("0"), new.created_at > c.ended_at, new.version <= c.version)
    changes: dict[str, ColumnElement[Any]] = {column.name: new[column.name] for column in c if not column.primary_key}
    changes["created_at"] = case((another, new.created_at), else_=c.created_at)
    return Bulk(
        insert.on_conflict_do_update(index_elements=list(tasks.primary_key.columns), set_=changes), c.keys(), dialect
    )
