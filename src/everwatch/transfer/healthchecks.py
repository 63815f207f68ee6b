"""An export of checks from Healthchecks (what its API answers to ``GET /api/v3/checks/``) as heartbeats.

Fields as ``Check.to_dict`` of Healthchecks writes them; ``timeout`` and ``grace`` are seconds.
"""

from collections.abc import Iterator
from typing import Any

from everwatch.core.errors import InvalidInput
from everwatch.schedule.cron import read_expression
from everwatch.transfer.foreign_source import Found, Lost, number_of, seconds, text_of

_PING = "its job must report by a signal (everwatch signal, or the topic signals) in place of its ping URL"
_FILTERS = ("subject", "subject_fail", "success_kw", "failure_kw", "start_kw")


def monitors_of(document: Any, lost: list[Lost]) -> Iterator[Found]:
    """The heartbeats of an export. Raises InvalidInput if it is none."""
    listed = document.get("checks") if isinstance(document, dict) else document
    if not isinstance(listed, list):
        raise InvalidInput("this is no export of Healthchecks: it has no list of checks")
    for given in listed:
        if isinstance(given, dict):
            yield _found(given)
        else:
            lost.append(Lost("", "an entry of checks is no object", is_left_out=True))


def _found(given: dict[str, Any]) -> Found:
    unique = text_of(given, "ping_url").rpartition("/")[2] or text_of(given, "unique_key")
    found = Found(text_of(given, "slug") or text_of(given, "name") or unique or "check")
    if text_of(given, "status") == "paused":
        found.lost.append("it is paused there, and a signup cannot say so: put it and pause it by command")
        return found
    expected = _expected(given)
    if expected is None:
        found.lost.append("it has neither timeout nor schedule (a read-only key exports them too)")
        return found
    if isinstance(expected, str):
        found.lost.append(expected)
        return found
    grace = number_of(given, "grace")
    # a run that has begun is down there when it has not ended within the grace
    config = expected | {"grace": seconds(grace), "max_duration": seconds(max(1.0, grace))}
    found.monitor = {"kind": "heartbeat", "config": config}
    found.lost.append(_PING)
    if given.get("channels"):
        found.lost.append("its integrations are not kept")
    if text_of(given, "tags"):
        found.lost.append("its tags are not kept")
    if text_of(given, "methods"):
        found.lost.append(f"that only {given['methods']} counts as a ping has no counterpart")
    if given.get("manual_resume"):
        found.lost.append("manual resuming has no counterpart")
    if any(given.get(name) for name in _FILTERS):
        found.lost.append("filtering pings by keywords has no counterpart")
    return found


def _expected(given: dict[str, Any]) -> dict[str, str] | str | None:
    """Return a check's schedule as a heartbeat's; a sentence if there is none such, None if the export has none."""
    schedule = text_of(given, "schedule")
    if not schedule:
        period = number_of(given, "timeout")
        return {"period": seconds(period)} if period else None
    # the other kind of schedule there is systemd's OnCalendar
    try:
        read_expression(schedule)
    except ValueError as error:
        return f"it is expected by the schedule {schedule!r}, which is no cron expression of five fields: {error}"
    return {"cron": schedule, "timezone": text_of(given, "tz") or "UTC"}
