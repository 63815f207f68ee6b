"""Dead letters and replies <-> rows, column by column as in ``sql_schema``."""

from collections.abc import Sequence
from typing import Any

from everwatch.model import CommandOutcome, Reply
from everwatch.store.bulk_statements import Row
from everwatch.store.letters import StoredLetter

_AT_CUT = StoredLetter.__struct_fields__.index("cut")


def letter_row(letter: StoredLetter) -> Row:
    """A row of ``dead_letters``."""
    return (
        letter.partition,
        letter.offset,
        letter.refused_at,
        letter.reason,
        letter.alike,
        letter.path,
        letter.code,
        letter.refused_by,
        letter.source_topic,
        letter.source_partition,
        letter.source_offset,
        letter.source_ms,
        letter.user_id,
        letter.key,
        letter.encoding,
        letter.value,
        letter.problem,
        ",".join(letter.cut),
        letter.redriven_at,
        letter.redriven_to,
    )


def letter(row: Sequence[Any]) -> StoredLetter:
    """The dead letter of a row of ``dead_letters``."""
    values = list(row)
    values[_AT_CUT] = tuple(row[_AT_CUT].split(",")) if row[_AT_CUT] else ()
    return StoredLetter(*values)


def reply_row(reply: Reply) -> Row:
    """A row of ``replies``."""
    return (
        reply.user_id,
        *asked_of(reply),
        reply.at,
        reply.answer.value,
        reply.monitor_id,
        reply.command,
        reply.reason,
        reply.path,
        reply.code,
        reply.version,
        reply.partition,
        reply.offset,
    )


def reply(row: Sequence[Any]) -> Reply:
    """The reply of a row of ``replies``."""
    user_id, asked_id, asked, at, answer, monitor_id, command, reason, path, code, version, partition, offset = row
    return Reply(
        command_id=asked_id if asked == "command" else "",
        user_id=user_id,
        monitor_id=monitor_id,
        command=command,
        answer=CommandOutcome(answer),
        reason=reason,
        path=path,
        version=version,
        at=at,
        code=code,
        signup_id=asked_id if asked == "signup" else "",
        signal_id=asked_id if asked == "signal" else "",
        partition=partition,
        offset=offset,
    )


def asked_of(reply: Reply) -> tuple[str, str]:
    """Return the id of the input that a reply answers, and what that was: command, signup or signal."""
    if reply.signup_id:
        return reply.signup_id, "signup"
    return (reply.signal_id, "signal") if reply.signal_id else (reply.command_id, "command")
