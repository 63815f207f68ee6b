"""docs/limits.md says what the code does."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import orjson
import pytest

from everwatch.core import bounds
from everwatch.core.bounds import MOST_REGIONS
from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec, contacts, input_models
from everwatch.schedule import instant
from everwatch.schedule.duration import describe_duration
from everwatch.schedule.every import PHASE_STEP_MS
from streams.state import command_deduplication

DOCUMENT = Path(__file__).parents[2] / "docs" / "limits.md"
# said in words: no constant of ours stands behind it
PROSE = {
    "`attributes`: number and length",
    "`config`",
    "characters of ids, plans, kinds, names and labels' values",
    "`value` of a signal",
}


def meta(owner: Any, field: str) -> msgspec.Meta:
    """The bounds of a field."""
    hint = get_type_hints(owner, include_extras=True)[field]
    return next(each for each in _flat(hint) if isinstance(each, msgspec.Meta))


def _flat(hint: Any) -> list[Any]:
    return [hint, *(inner for part in get_args(hint) for inner in _flat(part))]


def characters(owner: Any, field: str) -> str:
    found = meta(owner, field)
    return (
        f"{found.min_length} to {found.max_length} characters"
        if found.min_length
        else (f"up to {found.max_length} characters")
    )


def numbers(owner: Any, field: str) -> str:
    found = meta(owner, field)
    return f"{found.ge:,} to {found.le:,}"


def durations(path: str) -> str:
    """The bounds that the refusal of a duration names; ``path``: where it stands in a monitor."""
    document: Any = {"user_id": "u", "monitors": [{"kind": "noop"}]}
    place = document["monitors"][0]
    *outer, last = path.split(".")
    for name in outer:
        place = place.setdefault(name, {})
    if path == "schedule.spread":
        place["cron"] = "0 9 * * *"
    place[last] = "9999d"
    if path.startswith("policy.retries"):
        place["max"] = 1
    return _bounds_of(document)


def window() -> str:
    return _bounds_of({"user_id": "u", "maintenance": [{"cron": "0 9 * * *", "duration": "9999d"}]})


def _bounds_of(document: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        codec.decode_signup(orjson.dumps(document))
    found = re.search(r"is not between (.*) and (.*)", caught.value.reason)
    assert found is not None, caught.value.reason
    return f"{found[1]} to {found[2]}"


def kib(size: int) -> str:
    return f"{size // 1024} KiB"


def years(first_ms: int, last_ms: int) -> str:
    return f"{instant.format_instant(first_ms)[:4]} to {instant.format_instant(last_ms)[:4]}"


def day(duration_ms: float) -> str:
    return describe_duration(int(duration_ms))


SAID: dict[str, Callable[[], str]] = {
    "a signup, command or signal as a record": lambda: kib(codec.LARGEST_INPUT_BYTES),
    "`user_id`": lambda: (
        characters(input_models.SignupInput, "user_id")
        + ", not "
        + " and not ".join(f"`{u}`" for u in bounds.RESERVED_USERS)
    ),
    "`monitor_id`": lambda: characters(input_models.SignalInput, "monitor_id") + "; left out: the kind's name",
    "`plan`, `kind`": lambda: characters(input_models.SignupInput, "plan"),
    "`command_id`, `signup_id`, `signal_id`": lambda: characters(input_models.CommandInput, "command_id"),
    "`attributes`: whole numbers": lambda: "-2^63 to 2^63 - 1",
    "`contacts` of a user, each value": lambda: f"{contacts.MOST_CONTACTS}, 1 to 2,048 characters",
    "`monitors` of a signup, the plan's included": lambda: f"{input_models.MOST_MONITORS_PER_SIGNUP:,}",
    "`name` of a monitor": lambda: characters(input_models.MonitorInput, "name"),
    "`labels` of a monitor": lambda: str(input_models.MOST_LABELS),
    "a label's key": lambda: "1 to 63 letters, digits, `_`, `.`, `/` and `-`",
    "a label's value": lambda: "up to 128 characters",
    "`payload`": lambda: f"{kib(input_models.LARGEST_PAYLOAD_BYTES)} as JSON",
    "arrays and objects within one another, in `config` and `payload`": lambda: levels(),
    "`schedule.every`": lambda: f"{durations('schedule.every')}, a multiple of {PHASE_STEP_MS} ms",
    "`schedule.in`": lambda: durations("schedule.in"),
    "`schedule.cron`": lambda: characters(input_models.ScheduleInput, "cron"),
    "`schedule.timezone`": lambda: characters(input_models.ScheduleInput, "timezone"),
    "`schedule.spread`": lambda: durations("schedule.spread"),
    "`schedule.at`, `start_at`, `end_at`, `until`, ends of maintenance": lambda: (
        f"the years {years(instant.EARLIEST_MS, bounds.LATEST_MS)}"
    ),
    "`schedule.max_runs`": lambda: numbers(input_models.ScheduleInput, "max_runs"),
    "`schedule.max_runs` by the wall clock (`cron`, `align: midnight`)": lambda: (
        f"{input_models.MOST_RUNS_BY_WALL_CLOCK:,}, and"
        f" {input_models.MOST_RUNS_BY_WALL_CLOCK_PER_SIGNUP:,} in one signup"
    ),
    "`policy.timeout`": lambda: durations("policy.timeout"),
    "`policy.failures_to_down`, `policy.successes_to_up`": lambda: numbers(
        input_models.PolicyInput, "failures_to_down"
    ),
    "`policy.misfire_grace`": lambda: durations("policy.misfire_grace"),
    "`policy.retries.max`": lambda: numbers(input_models.RetriesInput, "max"),
    "`policy.retries.base`": lambda: durations("policy.retries.base"),
    "`policy.retries.cap`": lambda: durations("policy.retries.cap") + "; at least the base",
    "`policy.retries.jitter`": lambda: numbers(input_models.RetriesInput, "jitter"),
    "`policy.remind_every`": lambda: durations("policy.remind_every"),
    "`policy.regions`": lambda: f"{MOST_REGIONS}, of `EVERWATCH_REGIONS`",
    "`maintenance` of a monitor or user": lambda: f"{input_models.MOST_WINDOWS} windows",
    "a repeated window's `duration`": window,
    "`if_version` of a put": lambda: numbers(input_models.CommandInput, "if_version"),
    "command ids that are remembered": lambda: (
        f"the last {command_deduplication.KEPT} of a user, for {day(command_deduplication.KEPT_MS)}"
    ),
    "`at` of a signal": lambda: (
        f"{years(meta(input_models.SignalInput, 'at').ge or 0, bounds.LATEST_MS)}"
        f", and at most {day(bounds.MOST_AHEAD_MS)}"
        " after the worker's clock"
    ),
    "`exit_code` of a signal": lambda: numbers(input_models.SignalInput, "exit_code"),
    "`duration_ms` of a signal": lambda: f"0 to {day(float(meta(input_models.SignalInput, 'duration_ms').le or 0))}",
}


def levels() -> str:
    """So many arrays within one another are taken, and two more are not."""

    def nested(count: int) -> bytes:
        return b'{"user_id":"u","monitors":[{"kind":"noop","payload":%b}]}' % (b"[" * count + b"]" * count)

    taken = 254
    codec.decode_signup(nested(taken))
    with pytest.raises(InvalidInput):
        codec.decode_signup(nested(taken + 2))
    return str(taken)


def test_the_table_of_limits_says_what_the_code_does() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", DOCUMENT.read_text(), re.MULTILINE)
    table = {what: limit for what, limit in rows if what not in ("what", "---")}
    assert table.keys() == SAID.keys() | PROSE
    assert {what: table[what] for what in SAID} == {what: said() for what, said in SAID.items()}
