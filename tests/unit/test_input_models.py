"""Bad input: each malformed record with the exact reason and path that its sender reads on ``dead-letters``.

All in one file: one table of malformed records.
"""

import json
import random
from collections.abc import Callable

import pytest

from everwatch.core.bounds import REGION_RULE
from everwatch.core.errors import InvalidInput
from everwatch.encoding import avro_schemas, codec
from everwatch.encoding.askers import asker_of
from everwatch.kinds.registry import known_kinds
from everwatch.model import (
    Align,
    Asker,
    At,
    Backoff,
    Command,
    CommandType,
    Cron,
    Every,
    Maintenance,
    MonitorSpec,
    Overlap,
    Policy,
    Retries,
    Schedule,
    Signup,
)
from everwatch.rules.admission import admit_command, admit_signup
from everwatch.schedule.cron import problem_of, zone_named

BY_CRON = {"kind": "noop", "schedule": {"cron": "3 4 29 2 *", "max_runs": 1_000}}
FROM_MIDNIGHT = {"kind": "noop", "schedule": {"every": "1h", "align": "midnight", "max_runs": 1}}
HTTP = {"kind": "http", "config": {"url": "http://a.example/"}}
DURATIONS = "write it like 30s, 5m, 1h30m, 500ms, PT30S or a number of seconds"
SIGNAL = {"user_id": "u", "monitor_id": "m"}


def signup(*monitors: object, **fields: object) -> bytes:
    return json.dumps({"user_id": "u", "monitors": monitors} | fields).encode()


def http(**fields: object) -> bytes:
    return signup(HTTP | fields)


def command(command: str, **fields: object) -> bytes:
    return json.dumps({"command": command, "user_id": "u"} | fields).encode()


def signal(**fields: object) -> bytes:
    return json.dumps(SIGNAL | fields).encode()


def nested(depth: int) -> bytes:
    return b'{"user_id":"u","monitors":[{"kind":"noop","config":{"a":%s}}]}' % (b"[" * depth + b"]" * depth)


def only(given: Signup) -> MonitorSpec:
    (monitor,) = given.monitors
    return monitor


def refused(admit: Callable[[bytes | None], object], data: bytes | None) -> tuple[str, str]:
    with pytest.raises(InvalidInput) as caught:
        admit(data)
    return caught.value.reason, caught.value.path


def cron(expression: object, *timezone: str) -> bytes:
    return http(schedule={"cron": expression} | ({"timezone": timezone[0]} if timezone else {}))


def at(instant: object) -> bytes:
    return http(schedule={"at": instant})


def retries(**fields: object) -> bytes:
    return http(policy={"retries": fields})


def window(**fields: object) -> bytes:
    return http(policy={"maintenance": [fields]})


SCHEDULE = "$.monitors[0].schedule"
EVERY = f"{SCHEDULE}.every"
CRON_FIELDS = "a cron expression has five: minute, hour, day of month, month, day of week"
INSTANTS = "write it like 2026-11-21T09:00:00+01:00 or 2026-11-21T08:00:00Z"
POLICY = "$.monitors[0].policy"
CONFIG = "$.monitors[0].config"
PAYLOAD = "$.monitors[0].payload"
RETRIES = f"{POLICY}.retries"
WINDOW = f"{POLICY}.maintenance[0]"
ONE_OF = "a schedule is one of every, cron, at and in, not"
TIMEZONE = "a timezone goes with cron, or with every aligned to midnight"
KINDS = ", ".join(known_kinds())
HIDDEN = "control, direction and invisible characters are not allowed"
SATURDAY = {"cron": "0 2 * * 6", "duration": "2h"}


def wrong_field(written: str, field: str, allowed: str) -> str:
    return f"{written!r} cannot be the {field} of a cron expression: {allowed}"


SIGNUPS = {
    "user_id is missing": (b"{}", "this field is missing", "$.user_id"),
    "user_id is empty": (signup(user_id=""), "this must not be empty", "$.user_id"),
    "user_id is null": (signup(user_id=None), "expected text, got null", "$.user_id"),
    "user_id is a number": (signup(user_id=5), "expected text, got a whole number", "$.user_id"),
    "user_id is too long": (signup(user_id="x" * 257), "this must be at most 256 characters long", "$.user_id"),
    "user_id has the separator in it": (signup(user_id="a\0b"), HIDDEN, "$.user_id"),
    "user_id ends in a newline": (signup(user_id="a\n"), HIDDEN, "$.user_id"),
    "user_id turns the direction of text": (signup(user_id="u\u202e1"), HIDDEN, "$.user_id"),
    "user_id has a character of no width": (signup(user_id="u\u200b1"), HIDDEN, "$.user_id"),
    "user_id has a C1 control character": (signup(user_id="u\x9b2J"), HIDDEN, "$.user_id"),
    "a plan that cannot be seen": (signup(plan="\u3164"), HIDDEN, "$.plan"),
    "unknown field": (signup(mail="a@b.c"), "there is no field 'mail'", "$.mail"),
    "empty plan": (signup(plan=""), "this must not be empty", "$.plan"),
    "monitors are not a list": (signup(monitors={}), "expected a list, got an object", "$.monitors"),
    "a number that no long holds": (
        signup(attributes={"n": 2**63}), "this must be at most 9223372036854775807", "$.attributes[...]"),
    "an attribute that is a list": (
        signup(attributes={"tags": ["a"]}),
        "expected true or false or a whole number or a number or text or null, got a list", "$.attributes[...]"),
    "a region that is no name of one": (
        signup(HTTP | {"policy": {"regions": ["eu", "US"]}}), REGION_RULE, f"{POLICY}.regions[1]"),
    "1001 monitors": (
        signup(*({"kind": "noop", "monitor_id": str(i)} for i in range(1001))),
        "this must be at most 1000 entries long", "$.monitors"),
    "the same monitor_id twice": (
        signup(HTTP | {"monitor_id": "a"}, HTTP | {"monitor_id": "b"}, HTTP | {"monitor_id": "a"}),
        "a second monitor has the id 'a'", "$.monitors[2].monitor_id"),
    "two monitors of one kind without ids": (
        signup(HTTP, HTTP), "a second monitor has the id 'http'", "$.monitors[1].monitor_id"),
    "monitor_id has a control character": (
        http(monitor_id="a\x1b[2J"), HIDDEN, "$.monitors[0].monitor_id"),
    "monitor_id ends in a newline": (
        http(monitor_id="a\n"), HIDDEN, "$.monitors[0].monitor_id"),
    "monitor_id is too long": (
        http(monitor_id="x" * 129), "this must be at most 128 characters long", "$.monitors[0].monitor_id"),
    "unknown field of a monitor": (http(interval="30s"), "there is no field 'interval'", "$.monitors[0].interval"),
    "unknown kind": (
        signup({"kind": "htpp"}), f"there is no kind 'htpp'; known kinds: {KINDS}",
        "$.monitors[0].kind"),
    "http without url": (signup({"kind": "http"}), "the kind 'http' needs the field 'url'", CONFIG),
    "the second monitor is the wrong one": (
        signup(HTTP, {"kind": "http", "monitor_id": "b"}), "the kind 'http' needs the field 'url'",
        "$.monitors[1].config"),
    "unknown config field": (
        signup({"kind": "heartbeat", "config": {"period": "5m", "host": "h"}}),
        "the kind 'heartbeat' has no field 'host'; known fields: period, grace, max_duration, min_duration,"
        " cron, timezone, within", f"{CONFIG}.host"),
    "a config that is a list": (signup({"kind": "noop", "config": []}), "expected an object, got a list", CONFIG),
    "a config with a number beyond 64 bits": (
        signup({"kind": "noop", "config": {"n": 10**30}}),
        "this cannot be kept as JSON: integer exceeds 64-bit range", CONFIG),
    "a config nested 300 deep": (nested(300), "this cannot be kept as JSON: recursion limit reached", CONFIG),
    "a config nested 100,000 deep": (nested(100_000), "arrays and objects are nested too deeply", ""),
    "bad duration": (http(schedule={"every": "soon"}), f"'soon' is not a duration: {DURATIONS}", EVERY),
    "months as a duration": (
        http(schedule={"every": "P1M"}), "'P1M' has years or months, whose length varies: write days instead", EVERY),
    "interval below a second": (http(schedule={"every": "999ms"}), "'999ms' is not between 1 s and 400 d", EVERY),
    "interval above 400 days": (http(schedule={"every": "401d"}), "'401d' is not between 1 s and 400 d", EVERY),
    "interval of nothing": (http(schedule={"every": 0}), "0 is not between 1 s and 400 d", EVERY),
    "negative interval": (http(schedule={"every": -5}), "-5 is negative, and no duration is", EVERY),
    "interval between the steps": (
        http(schedule={"every": "1050ms"}), "an interval is a whole multiple of 100 ms", EVERY),
    "unknown field of a schedule": (
        http(schedule={"daily": True}), "there is no field 'daily'", f"{SCHEDULE}.daily"),
    "an interval and a cron expression": (
        http(schedule={"every": "1m", "cron": "* * * * *"}), f"{ONE_OF} every and cron", SCHEDULE),
    "an interval and an instant": (
        http(schedule={"every": "1m", "at": 1_800_000_000_000}), f"{ONE_OF} every and at", SCHEDULE),
    "an interval and a delay": (http(schedule={"every": "1m", "in": "1m"}), f"{ONE_OF} every and in", SCHEDULE),
    "a cron expression and an instant": (
        http(schedule={"cron": "* * * * *", "at": 1_800_000_000_000}), f"{ONE_OF} cron and at", SCHEDULE),
    "a cron expression and a delay": (
        http(schedule={"cron": "* * * * *", "in": "1m"}), f"{ONE_OF} cron and in", SCHEDULE),
    "an instant and a delay": (
        http(schedule={"at": 1_800_000_000_000, "in": "1m"}), f"{ONE_OF} at and in", SCHEDULE),
    "all four schedules": (
        http(schedule={"every": "1m", "cron": "* * * * *", "at": 1_800_000_000_000, "in": 0}),
        f"{ONE_OF} every and cron and at and in", SCHEDULE),
    "a time zone with a plain interval": (
        http(schedule={"every": "1m", "timezone": "UTC"}), TIMEZONE, f"{SCHEDULE}.timezone"),
    "a time zone with an interval aligned to the epoch": (
        http(schedule={"every": "1m", "align": "epoch", "timezone": "UTC"}), TIMEZONE, f"{SCHEDULE}.timezone"),
    "a time zone with an instant": (
        http(schedule={"at": 1_800_000_000_000, "timezone": "UTC"}), TIMEZONE, f"{SCHEDULE}.timezone"),
    "nothing but a time zone": (http(schedule={"timezone": "UTC"}), TIMEZONE, f"{SCHEDULE}.timezone"),
    "nothing but an alignment": (
        http(schedule={"align": "midnight"}), "only an interval (every) can be aligned", f"{SCHEDULE}.align"),
    "a cron expression that is aligned": (
        http(schedule={"cron": "* * * * *", "align": "epoch"}), "only an interval (every) can be aligned",
        f"{SCHEDULE}.align"),
    "an unknown alignment": (
        http(schedule={"every": "1h", "align": "noon"}), "'noon' is not one of phase, epoch, midnight",
        f"{SCHEDULE}.align"),
    "an interval from midnight that does not fit into a day": (
        http(schedule={"every": "7h", "align": "midnight"}),
        "7 h neither divides 24 hours nor is a whole number of days, so it cannot be counted from midnight", EVERY),
    "midnight of an unknown time zone": (
        http(schedule={"every": "1h", "align": "midnight", "timezone": "Berlin"}),
        "there is no time zone 'Berlin': did you mean Europe/Berlin?", f"{SCHEDULE}.timezone"),
    "midnight of an empty time zone": (
        http(schedule={"every": "1h", "align": "midnight", "timezone": ""}),
        "there is no time zone '': write it like Europe/Berlin", f"{SCHEDULE}.timezone"),
    "an interval that is spread": (
        http(schedule={"every": "1h", "spread": "5m"}), "only a cron schedule can be spread", f"{SCHEDULE}.spread"),
    "a spread of more than a day": (
        http(schedule={"cron": "0 9 * * *", "spread": "25h"}), "'25h' is not between 0 s and 1 d",
        f"{SCHEDULE}.spread"),
    "a spread in words": (
        http(schedule={"cron": "0 9 * * *", "spread": "a bit"}), f"'a bit' is not a duration: {DURATIONS}",
        f"{SCHEDULE}.spread"),
    "a negative delay": (
        http(schedule={"in": -1}), "-1 is negative, and no duration is", f"{SCHEDULE}.in"),
    "a delay of more than 400 days": (
        http(schedule={"in": "401d"}), "'401d' is not between 0 s and 400 d", f"{SCHEDULE}.in"),
    "an end before the start": (
        http(schedule={"every": "1m", "start_at": 1_800_000_000_001, "end_at": 1_800_000_000_000}),
        "the end lies before the start", f"{SCHEDULE}.end_at"),
    "a start in words": (
        http(schedule={"every": "1m", "start_at": "soon"}), f"'soon' is not an instant: {INSTANTS}",
        f"{SCHEDULE}.start_at"),
    "an end without offset": (
        http(schedule={"every": "1m", "end_at": "2026-11-21T09:00:00"}),
        f"'2026-11-21T09:00:00' does not say in which time zone, by an offset from UTC: {INSTANTS}",
        f"{SCHEDULE}.end_at"),
    "no runs at all": (
        http(schedule={"every": "1m", "max_runs": 0}), "this must be at least 1", f"{SCHEDULE}.max_runs"),
    "more runs than can be counted": (
        http(schedule={"every": "1m", "max_runs": 1_000_000_001}), "this must be at most 1000000000",
        f"{SCHEDULE}.max_runs"),
    "more runs by cron than are looked for": (
        http(schedule={"cron": "* * * * *", "max_runs": 1_001}), "by the wall clock this must be at most 1000",
        f"{SCHEDULE}.max_runs"),
    "more runs from midnight than are looked for": (
        http(schedule={"every": "1h", "align": "midnight", "max_runs": 1_001}),
        "by the wall clock this must be at most 1000", f"{SCHEDULE}.max_runs"),
    "more runs by the wall clock than are looked for in one signup": (
        signup(*[BY_CRON | {"monitor_id": f"m-{n}"} for n in range(10)], FROM_MIDNIGHT),
        "by the wall clock the max_runs of a signup must be at most 10000 together, and these are 10001",
        "$.monitors"),
    "cron with seconds": (cron("0 0 9 * * *"), f"'0 0 9 * * *' has 6 fields, but {CRON_FIELDS}", f"{SCHEDULE}.cron"),
    "cron by an unknown nickname": (
        cron("@fortnightly"),
        "'@fortnightly' is none of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly",
        f"{SCHEDULE}.cron"),
    "empty cron": (cron(""), f"'' has 0 fields, but {CRON_FIELDS}", f"{SCHEDULE}.cron"),
    "a wrong minute": (cron("60 * * * *"), wrong_field("60", "minute", "0 to 59"), f"{SCHEDULE}.cron"),
    "a wrong hour": (cron("0 24 * * *"), wrong_field("24", "hour", "0 to 23"), f"{SCHEDULE}.cron"),
    "a wrong day of month": (
        cron("0 9 0 * *"), wrong_field("0", "day of month", "1 to 31, L or LW"), f"{SCHEDULE}.cron"),
    "a wrong month": (
        cron("0 9 1 JANUARY *"), wrong_field("JANUARY", "month", "1 to 12 or JAN to DEC"), f"{SCHEDULE}.cron"),
    "a wrong day of week": (
        cron("0 9 * * 1-"), wrong_field(
            "1-", "day of week", "0 to 7 (0 and 7 are Sunday), SUN to SAT, 5L or FRI#2"), f"{SCHEDULE}.cron"),
    "30 February": (cron("0 0 30 2 *"), "'0 0 30 2 *' never comes true", f"{SCHEDULE}.cron"),
    "a fifth Monday in February": (
        cron("0 0 * 2 MON#5"), "'0 0 * 2 MON#5' does not come true within five years", f"{SCHEDULE}.cron"),
    "cron without end": (
        cron("1," * 200 + "1 * * * *"), "this must be at most 256 characters long", f"{SCHEDULE}.cron"),
    "cron as a number": (cron(5), "expected text or null, got a whole number", f"{SCHEDULE}.cron"),
    "unknown time zone": (
        cron("0 9 * * *", "Europe/Berln"), "there is no time zone 'Europe/Berln': did you mean Europe/Berlin?",
        f"{SCHEDULE}.timezone"),
    "a time zone in lower case": (
        cron("0 9 * * *", "utc"), "there is no time zone 'utc': did you mean UTC?", f"{SCHEDULE}.timezone"),
    "a city for a time zone": (
        cron("0 9 * * *", "Berlin"), "there is no time zone 'Berlin': did you mean Europe/Berlin?",
        f"{SCHEDULE}.timezone"),
    "an abbreviation that is no time zone": (
        cron("0 9 * * *", "PST"), "there is no time zone 'PST': write it like Europe/Berlin",
        f"{SCHEDULE}.timezone"),
    "a time zone that is a path": (
        cron("0 9 * * *", "../../etc/passwd"),
        "there is no time zone '../../etc/passwd': write it like Europe/Berlin", f"{SCHEDULE}.timezone"),
    "a time zone that is a folder": (
        cron("0 9 * * *", "America"), "there is no time zone 'America': write it like Europe/Berlin",
        f"{SCHEDULE}.timezone"),
    "empty time zone": (
        cron("0 9 * * *", ""), "there is no time zone '': write it like Europe/Berlin", f"{SCHEDULE}.timezone"),
    "an instant in words": (at("tomorrow"), f"'tomorrow' is not an instant: {INSTANTS}", f"{SCHEDULE}.at"),
    "an instant that no calendar has": (
        at("2026-02-30T09:00:00Z"), f"'2026-02-30T09:00:00Z' is not an instant: {INSTANTS}", f"{SCHEDULE}.at"),
    "an instant without offset": (
        at("2026-11-21T09:00:00"),
        f"'2026-11-21T09:00:00' does not say in which time zone, by an offset from UTC: {INSTANTS}",
        f"{SCHEDULE}.at"),
    "an instant in seconds": (
        at(1_800_000_000),
        "1800000000 is not between the years 2000 and 9999 (a number means milliseconds since 1970)",
        f"{SCHEDULE}.at"),
    "an instant in microseconds": (
        at(1_800_000_000_000_000),
        "1800000000000000 is not between the years 2000 and 9999 (a number means milliseconds since 1970)",
        f"{SCHEDULE}.at"),
    "an instant of last century": (
        at("1999-12-31T23:59:59Z"), "'1999-12-31T23:59:59Z' is not between the years 2000 and 9999",
        f"{SCHEDULE}.at"),
    "an instant with a fraction": (
        at(1_800_000_000_000.5), "expected a whole number or text or null, got a number", f"{SCHEDULE}.at"),
    "timeout 0": (http(policy={"timeout": 0}), "0 is not between 0.001 s and 10 min", f"{POLICY}.timeout"),
    "timeout above 10 minutes": (
        http(policy={"timeout": "11m"}), "'11m' is not between 0.001 s and 10 min", f"{POLICY}.timeout"),
    "grace below 5 s": (
        http(policy={"misfire_grace": "1s"}), "'1s' is not between 5 s and 1 d", f"{POLICY}.misfire_grace"),
    "bad priority": (
        http(policy={"priority": "urgent"}), "'urgent' is not one of high, normal, low", f"{POLICY}.priority"),
    "bad misfire": (
        http(policy={"misfire": "once"}), "'once' is not one of fire_all, fire_last, skip", f"{POLICY}.misfire"),
    "threshold 0": (http(policy={"failures_to_down": 0}), "this must be at least 1", f"{POLICY}.failures_to_down"),
    "threshold 101": (http(policy={"successes_to_up": 101}), "this must be at most 100", f"{POLICY}.successes_to_up"),
    "threshold as text": (
        http(policy={"failures_to_down": "3"}), "expected a whole number, got text", f"{POLICY}.failures_to_down"),
    "negative retries": (retries(max=-1), "this must be at least 0", f"{RETRIES}.max"),
    "21 retries": (retries(max=21), "this must be at most 20", f"{RETRIES}.max"),
    "retries as a number": (
        http(policy={"retries": 3}), "expected an object or null, got a whole number", RETRIES),
    "an unknown backoff": (
        retries(max=1, backoff="random"), "'random' is not one of fixed, linear, exponential", f"{RETRIES}.backoff"),
    "a first delay below a second": (
        retries(max=1, base="999ms"), "'999ms' is not between 1 s and 1 d", f"{RETRIES}.base"),
    "a first delay above a day": (
        retries(max=1, base="25h"), "'25h' is not between 1 s and 1 d", f"{RETRIES}.base"),
    "a longest delay below a second": (
        retries(max=1, cap=0.5), "0.5 is not between 1 s and 7 d", f"{RETRIES}.cap"),
    "a longest delay above a week": (
        retries(max=1, cap="8d"), "'8d' is not between 1 s and 7 d", f"{RETRIES}.cap"),
    "negative jitter": (retries(max=1, jitter=-0.1), "this must be at least 0", f"{RETRIES}.jitter"),
    "more jitter than delay": (retries(max=1, jitter=1.5), "this must be at most 1", f"{RETRIES}.jitter"),
    "an unknown field of retries": (
        retries(max=1, delay="1s"), "there is no field 'delay'", f"{RETRIES}.delay"),
    "an unknown overlap": (
        http(policy={"overlap": "queue"}), "'queue' is not one of skip, allow", f"{POLICY}.overlap"),
    "reminders every half a minute": (
        http(policy={"remind_every": "30s"}), "'30s' is not between 60 s and 30 d", f"{POLICY}.remind_every"),
    "reminders every other month": (
        http(policy={"remind_every": "60d"}), "'60d' is not between 60 s and 30 d", f"{POLICY}.remind_every"),
    "an empty window": (window(), "a window needs start and end, or cron and duration", WINDOW),
    "a window without end": (
        window(start=1_800_000_000_000), "a window needs start and end, or cron and duration", WINDOW),
    "a window without start": (
        window(end=1_800_000_000_000), "a window needs start and end, or cron and duration", WINDOW),
    "a window that ends where it starts": (
        window(start=1_800_000_000_000, end=1_800_000_000_000), "the end does not lie after the start",
        f"{WINDOW}.end"),
    "a window that starts in words": (
        window(start="soon", end=1_800_000_000_000), f"'soon' is not an instant: {INSTANTS}", f"{WINDOW}.start"),
    "a window that ends last century": (
        window(start=1_800_000_000_000, end="1999-12-31T23:59:59Z"),
        "'1999-12-31T23:59:59Z' is not between the years 2000 and 9999", f"{WINDOW}.end"),
    "a single window with a duration": (
        window(start=1_800_000_000_000, duration="1h"), "timezone and duration go with cron", WINDOW),
    "a single window in a time zone": (
        window(start=1_800_000_000_000, end=1_800_000_000_001, timezone="UTC"),
        "timezone and duration go with cron", WINDOW),
    "a repeated window that starts": (
        window(cron="0 2 * * 6", duration="1h", start=1_800_000_000_000),
        "a window is start and end, or cron and duration, not both", WINDOW),
    "a repeated window that ends": (
        window(cron="0 2 * * 6", duration="1h", end=1_800_000_000_000),
        "a window is start and end, or cron and duration, not both", WINDOW),
    "a repeated window without duration": (
        window(cron="0 2 * * 6"), "a repeated window needs its duration", f"{WINDOW}.duration"),
    "a repeated window of a second": (
        window(cron="0 2 * * 6", duration="1s"), "'1s' is not between 60 s and 30 d", f"{WINDOW}.duration"),
    "a repeated window of a season": (
        window(cron="0 2 * * 6", duration="90d"), "'90d' is not between 60 s and 30 d", f"{WINDOW}.duration"),
    "a repeated window by a wrong hour": (
        window(cron="0 24 * * *", duration="1h"), wrong_field("24", "hour", "0 to 23"), f"{WINDOW}.cron"),
    "a repeated window in an unknown time zone": (
        window(cron="0 2 * * 6", duration="1h", timezone="utc"), "there is no time zone 'utc': did you mean UTC?",
        f"{WINDOW}.timezone"),
    "a repeated window in an empty time zone": (
        window(cron="0 2 * * 6", duration="1h", timezone=""),
        "there is no time zone '': write it like Europe/Berlin", f"{WINDOW}.timezone"),
    "an unknown field of a window": (window(begin=5), "there is no field 'begin'", f"{WINDOW}.begin"),
    "the second window of a user": (
        signup(maintenance=[SATURDAY, {"start": 5}]), "a window needs start and end, or cron and duration",
        "$.maintenance[1]"),
    "21 windows of a user": (
        signup(maintenance=[SATURDAY] * 21), "this must be at most 20 entries long", "$.maintenance"),
    "21 windows of a monitor": (
        http(policy={"maintenance": [SATURDAY] * 21}), "this must be at most 20 entries long",
        f"{POLICY}.maintenance"),
    "a payload of a byte too many": (
        http(payload="x" * (64 * 1024 - 1)), "a payload may have at most 65536 bytes as JSON", PAYLOAD),
    "a payload that is too large in UTF-8 only": (
        http(payload="é" * 32 * 1024), "a payload may have at most 65536 bytes as JSON", PAYLOAD),
    "a payload with a number beyond 64 bits": (
        http(payload=[10**30]), "this cannot be kept as JSON: integer exceeds 64-bit range", PAYLOAD),
    "Avro with a payload that is no JSON": (
        avro_schemas.encode("signup", {"user_id": "u", "monitors": [{"kind": "noop", "payload": "{"}]}),
        "not valid JSON: unexpected end of data: line 1 column 2 (char 1)", PAYLOAD),
    "Avro with a bad alignment": (
        avro_schemas.encode("signup", {"user_id": "u", "monitors": [{"schedule": {"every": "1h", "align": "noon"}}]}),
        "'noon' is not one of phase, epoch, midnight", f"{SCHEDULE}.align"),
    "Avro with a window without end": (
        avro_schemas.encode("signup", {"user_id": "u", "maintenance": [{"start": "2026-11-21T08:00:00Z"}]}),
        "a window needs start and end, or cron and duration", "$.maintenance[0]"),
    "nothing at all": (None, "the record is empty: expected a signup as JSON or Avro", ""),
    "empty bytes": (b"", "the record is empty: expected a signup as JSON or Avro", ""),
    "not JSON": (
        b"hello",
        "neither JSON (starts with '{') nor Avro single-object encoding (starts with C3 01):"
        " it starts with 68 65 6c 6c", ""),
    "a JSON array": (
        b'[{"user_id":"u"}]',
        "neither JSON (starts with '{') nor Avro single-object encoding (starts with C3 01):"
        " it starts with 5b 7b 22 75", ""),
    "JSON cut off": (b'{"user_id":"u"', "not valid JSON: Input data was truncated", ""),
    "JSON with something behind it": (
        b'{"user_id":"u"} x', "not valid JSON: JSON is malformed: trailing characters (byte 17)", ""),
    "Confluent wire format": (
        b"\0\0\0\0\x07\x02u", "the record is in Confluent wire format, but no schema registry is configured", ""),
    "unknown fingerprint": (
        avro_schemas.MAGIC + bytes(range(8)) + b"\x02u",
        "unknown Avro schema fingerprint 0001020304050607: expected a version of the signup schema", ""),
    "another topic's Avro record": (
        avro_schemas.encode("signal", SIGNAL),
        f"unknown Avro schema fingerprint {avro_schemas.header('signal')[2:].hex()}: expected a version of the signup"
        " schema", ""),
    "Avro with an empty user_id": (
        avro_schemas.encode("signup", {"user_id": ""}), "this must not be empty", "$.user_id"),
    "Avro with a config that is a list": (
        avro_schemas.encode("signup", {"user_id": "u", "monitors": [{"config": "[]"}]}),
        "expected an object, got a list", CONFIG),
    "Avro with a bad cron expression": (
        avro_schemas.encode("signup", {"user_id": "u", "monitors": [{"kind": "noop", "schedule": {"cron": "* * *"}}]}),
        f"'* * *' has 3 fields, but {CRON_FIELDS}", f"{SCHEDULE}.cron"),
    "Avro with a bad priority": (
        avro_schemas.encode("signup", {"user_id": "u", "monitors": [
            {"kind": "noop", "policy": {"priority": "urgent"}}]}),
        "'urgent' is not one of high, normal, low", f"{POLICY}.priority"),
}  # fmt: skip

COMMANDS = {
    "no command": (b'{"user_id":"u"}', "this field is missing", "$.command"),
    "no user_id": (b'{"command":"pause","monitor_id":"m"}', "this field is missing", "$.user_id"),
    "unknown command": (
        command("remove"), f"'remove' is not one of {', '.join(CommandType)}", "$.command"),
    "put without monitor": (command("put", monitor_id="m"), "a put needs the monitor to put", "$.monitor"),
    "put under two names": (
        command("put", monitor_id="a", monitor=HTTP | {"monitor_id": "b"}), "this is 'a', but the monitor says 'b'",
        "$.monitor_id"),
    "put of an unknown kind": (
        command("put", monitor={"kind": "x"}), f"there is no kind 'x'; known kinds: {KINDS}",
        "$.monitor.kind"),
    "put of a bad interval": (
        command("put", monitor=HTTP | {"schedule": {"every": "0.5s"}}), "'0.5s' is not between 1 s and 400 d",
        "$.monitor.schedule.every"),
    "put of a bad cron expression": (
        command("put", monitor=HTTP | {"schedule": {"cron": "0 0 30 2 *"}}), "'0 0 30 2 *' never comes true",
        "$.monitor.schedule.cron"),
    "put of a bad config": (
        command("put", monitor={"kind": "tcp", "config": {"port": 1}}), "the kind 'tcp' needs the field 'host'",
        "$.monitor.config"),
    "delete without monitor_id": (command("delete"), "a delete needs the monitor_id", "$.monitor_id"),
    "pause without monitor_id": (command("pause"), "a pause needs the monitor_id", "$.monitor_id"),
    "resume with a monitor": (
        command("resume", monitor_id="http", monitor=HTTP), "a resume takes no monitor", "$.monitor"),
    "deregister with monitor_id": (
        command("deregister", monitor_id="m"), "a deregister ends the whole user and takes no monitor_id",
        "$.monitor_id"),
    "run_now without monitor_id": (command("run_now"), "a run_now needs the monitor_id", "$.monitor_id"),
    "cancel with a monitor": (command("cancel", monitor=HTTP), "a cancel takes no monitor", "$.monitor"),
    "pause_user with monitor_id": (
        command("pause_user", monitor_id="m"), "a pause_user is for the whole user and takes no monitor_id",
        "$.monitor_id"),
    "maintain of a monitor with windows": (
        command("maintain", monitor_id="m", maintenance=[SATURDAY]),
        "a maintain of one monitor takes until in place of windows", "$.maintenance"),
    "maintain until": (
        command("maintain", until=1_800_000_000_000), "a maintain takes no until", "$.until"),
    "maintain with a wrong window": (
        command("maintain", maintenance=[SATURDAY, {"cron": "0 2 * * 6"}]), "a repeated window needs its duration",
        "$.maintenance[1].duration"),
    "maintain with 21 windows": (
        command("maintain", maintenance=[SATURDAY] * 21), "this must be at most 20 entries long", "$.maintenance"),
    "delete of a version": (
        command("delete", monitor_id="m", if_version=3), "a delete takes no if_version", "$.if_version"),
    "pause of version 0": (
        command("pause", monitor_id="m", if_version=0), "a pause takes no if_version", "$.if_version"),
    "put at a negative version": (
        command("put", monitor=HTTP, if_version=-1), "this must be at least 0", "$.if_version"),
    "put at a version that no monitor reaches": (
        command("put", monitor=HTTP, if_version=2**31), "this must be at most 2147483647", "$.if_version"),
    "put at a version in words": (
        command("put", monitor=HTTP, if_version="new"), "expected a whole number or null, got text", "$.if_version"),
    "resume until": (
        command("resume", monitor_id="m", until=1_800_000_000_000), "a resume takes no until", "$.until"),
    "run_now until": (
        command("run_now", monitor_id="m", until=1_800_000_000_000), "a run_now takes no until", "$.until"),
    "pause until in words": (
        command("pause", monitor_id="m", until="tomorrow"), f"'tomorrow' is not an instant: {INSTANTS}", "$.until"),
    "pause until an instant in seconds": (
        command("pause", monitor_id="m", until=1_800_000_000),
        "1800000000 is not between the years 2000 and 9999 (a number means milliseconds since 1970)", "$.until"),
    "pause for maintenance": (
        command("pause", monitor_id="m", maintenance=[SATURDAY]), "a pause takes no maintenance", "$.maintenance"),
    "put with maintenance of the user": (
        command("put", monitor=HTTP, maintenance=[SATURDAY]), "a put takes no maintenance", "$.maintenance"),
    "put of a bad payload": (
        command("put", monitor=HTTP | {"payload": "x" * 65_536}), "a payload may have at most 65536 bytes as JSON",
        "$.monitor.payload"),
    "command_id has the separator in it": (
        command("cancel", command_id="a\0b"), HIDDEN, "$.command_id"),
    "command_id ends in a newline": (
        command("cancel", command_id="a\n"), HIDDEN, "$.command_id"),
    "command_id is too long": (
        command("cancel", command_id="x" * 129), "this must be at most 128 characters long", "$.command_id"),
    "command_id is a number": (
        command("cancel", command_id=7), "expected text, got a whole number", "$.command_id"),
    "empty bytes": (b"", "the record is empty: expected a command as JSON or Avro", ""),
    "Avro with a payload that is no JSON": (
        avro_schemas.encode("command", {"command": "put", "user_id": "u", "monitor": {"kind": "noop", "payload": "{"}}),
        "not valid JSON: unexpected end of data: line 1 column 2 (char 1)", "$.monitor.payload"),
    "Avro with a config that is no JSON": (
        avro_schemas.encode("command", {"command": "put", "user_id": "u", "monitor": {"config": "{"}}),
        "not valid JSON: unexpected end of data: line 1 column 2 (char 1)", "$.monitor.config"),
}  # fmt: skip

AVRO_SIGNAL = avro_schemas.encode("signal", SIGNAL | {"at": 5})
SIGNALS = {
    "no monitor_id": (b'{"user_id":"u"}', "this field is missing", "$.monitor_id"),
    "empty monitor_id": (signal(monitor_id=""), "this must not be empty", "$.monitor_id"),
    "negative at": (signal(at=-1), "this must be at least 0", "$.at"),
    "at in microseconds": (signal(at=1_800_000_000_000_000), "this must be at most 253402300799999", "$.at"),
    "at as text": (signal(at="2026-01-01"), "expected a whole number, got text", "$.at"),
    "at with a fraction": (signal(at=1.5), "expected a whole number, got a number", "$.at"),
    "unknown field": (signal(colour=1), "there is no field 'colour'", "$.colour"),
    "unknown type": (signal(type="stop"), "'stop' is not one of success, start, fail, log", "$.type"),
    "exit code in words": (signal(exit_code="oom"), "expected a whole number or null, got text", "$.exit_code"),
    "exit code of no system": (signal(exit_code=2**31), "this must be at most 2147483647", "$.exit_code"),
    "negative duration": (signal(duration_ms=-1), "this must be at least 0", "$.duration_ms"),
    "value in words": (signal(value="7"), "expected a number or null, got text", "$.value"),
    "value beyond all numbers": (b'{"user_id":"u","monitor_id":"m","value":1e999}', "number out of range", "$.value"),
    "value is NaN": (
        b'{"user_id":"u","monitor_id":"m","value":NaN}',
        "not valid JSON: JSON is malformed: invalid character (byte 40)", ""),
    "Avro value is NaN": (
        avro_schemas.encode("signal", SIGNAL | {"value": float("nan")}), "not a finite number", "$.value"),
    "Avro value is infinite": (
        avro_schemas.encode("signal", SIGNAL | {"value": float("-inf")}), "not a finite number", "$.value"),
    "Avro duration is NaN": (
        avro_schemas.encode("signal", SIGNAL | {"duration_ms": float("nan")}),
        "this must be at least 0", "$.duration_ms"),
    "value of a start": (
        signal(value=1, type="start"), "a signal is a value or says how a job's run went, not both", "$.type"),
    "value with an exit code": (
        signal(value=1, exit_code=0), "a signal is a value or says how a job's run went, not both", "$.exit_code"),
    "value with a duration": (
        signal(value=1, duration_ms=5), "a signal is a value or says how a job's run went, not both", "$.duration_ms"),
    "run of a value": (
        signal(value=1, run="7"), "a signal is a value or says how a job's run went, not both", "$.run"),
    "run with too long an id": (signal(run="x" * 65), "this must be at most 64 characters long", "$.run"),
    "run with an invisible character": (
        signal(run="a\u200b"), "control, direction and invisible characters are not allowed", "$.run"),
    "exit code of a start": (
        signal(type="start", exit_code=0), "a run that has only begun has none", "$.exit_code"),
    "duration of a start": (
        signal(type="start", duration_ms=0), "a run that has only begun has none", "$.duration_ms"),
    "trailing bytes": (
        AVRO_SIGNAL + b"xx", "the Avro body of the signal is followed by 2 unexpected bytes", ""),
}  # fmt: skip


@pytest.mark.parametrize(("data", "reason", "path"), SIGNUPS.values(), ids=SIGNUPS.keys())
def test_a_malformed_signup_is_refused_with_its_reason_and_path(data: bytes | None, reason: str, path: str) -> None:
    assert refused(admit_signup, data) == (reason, path)


@pytest.mark.parametrize(("data", "reason", "path"), COMMANDS.values(), ids=COMMANDS.keys())
def test_a_malformed_command_is_refused_with_its_reason_and_path(data: bytes, reason: str, path: str) -> None:
    assert refused(admit_command, data) == (reason, path)


@pytest.mark.parametrize(("data", "reason", "path"), SIGNALS.values(), ids=SIGNALS.keys())
def test_a_malformed_signal_is_refused_with_its_reason_and_path(data: bytes, reason: str, path: str) -> None:
    assert refused(codec.decode_signal, data) == (reason, path)


@pytest.mark.parametrize("length", range(10, len(AVRO_SIGNAL)))
def test_an_avro_body_cut_off_anywhere_is_refused(length: int) -> None:
    reason, path = refused(codec.decode_signal, AVRO_SIGNAL[:length])
    assert reason.startswith("the Avro body does not hold a signal: ")
    assert path == ""


def test_the_refusal_as_one_line_names_the_field() -> None:
    with pytest.raises(InvalidInput) as caught:
        admit_signup(signup(user_id=""))
    assert str(caught.value) == "this must not be empty (at $.user_id)"


@pytest.mark.parametrize(
    ("decode", "sample"),
    [
        (codec.decode_signal, AVRO_SIGNAL),
        (admit_command, avro_schemas.encode("command", {"command": "put", "user_id": "u", "monitor": {}})),
        (admit_signup, avro_schemas.encode("signup", {"user_id": "u", "attributes": {"a": 1}, "monitors": [{}, {}]})),
    ],
    ids=["signal", "command", "signup"],
)
def test_mangled_avro_is_refused_or_read_and_never_anything_else(
    decode: Callable[[bytes], object], sample: bytes
) -> None:
    dice = random.Random(7)
    for _ in range(3_000):
        mangled = bytearray(sample)
        for _ in range(dice.randint(1, 4)):
            mangled[dice.randrange(10, len(mangled))] = dice.randrange(256)
        try:
            decode(bytes(mangled))
        except InvalidInput as error:
            assert error.reason  # noqa: PT017  (both outcomes are fine; any other exception is not)


def test_the_least_that_a_user_may_write_is_enough() -> None:
    given = admit_signup(b' {"user_id":"u","monitors":[{"config":{"url":"http://a.example/"}}]}')
    (monitor,) = given.monitors
    assert (monitor.monitor_id, monitor.kind, monitor.schedule) == ("http", "http", Every(60_000))
    assert monitor == MonitorSpec("http", "http", '{"url":"http://a.example/"}', Every(60_000), Policy())


@pytest.mark.parametrize(
    ("every", "interval_ms"),
    [("1s", 1_000), (1, 1_000), ("1.1", 1_100), ("PT30S", 30_000), ("400d", 400 * 86_400_000), (None, 60_000)],
)
def test_intervals_at_the_bounds_are_taken(every: object, interval_ms: int) -> None:
    assert only(admit_signup(http(schedule={"every": every}))).schedule == Every(interval_ms)


@pytest.mark.parametrize(
    ("given", "schedule"),
    [
        ({"cron": "0 9 * * 1-5"}, Cron("0 9 * * 1-5", "UTC")),
        ({"cron": " 0  9 *\t* MON-FRI\n", "timezone": "Europe/Berlin"}, Cron("0 9 * * MON-FRI", "Europe/Berlin")),
        ({"cron": "0 0 29 2 *"}, Cron("0 0 29 2 *", "UTC")),
        ({"cron": "0 0 L * *", "every": None, "at": None}, Cron("0 0 L * *", "UTC")),
        ({"at": "2026-11-21T09:00:00+01:00"}, At(1_795_248_000_000)),
        ({"at": "2026-11-21T08:00:00.0019Z"}, At(1_795_248_000_001)),
        ({"at": 1_795_248_000_000}, At(1_795_248_000_000)),
        ({"at": "2000-01-01T00:00:00Z"}, At(946_684_800_000)),
        ({"at": "9999-12-31T23:59:59.999Z"}, At(253_402_300_799_999)),
        ({}, Every(60_000)),
        ({"cron": None, "timezone": None, "at": None}, Every(60_000)),
        ({"every": "1h", "align": "phase"}, Every(3_600_000)),
        ({"every": "1h", "align": "epoch"}, Every(3_600_000, Align.EPOCH)),
        ({"every": "7h", "align": "epoch"}, Every(25_200_000, Align.EPOCH)),
        ({"every": "8h", "align": "midnight"}, Every(28_800_000, Align.MIDNIGHT, "UTC")),
        (
            {"every": "2d", "align": "midnight", "timezone": "Europe/Berlin"},
            Every(172_800_000, Align.MIDNIGHT, "Europe/Berlin"),
        ),
        ({"cron": "0 9 * * *", "spread": "10m"}, Cron("0 9 * * *", "UTC", 600_000)),
        ({"cron": "0 9 * * *", "spread": "1d"}, Cron("0 9 * * *", "UTC", 86_400_000)),
        ({"cron": "0 9 * * *", "spread": 0}, Cron("0 9 * * *", "UTC")),
    ],
)
def test_a_schedule_is_what_its_user_wrote(given: dict[str, object], schedule: Schedule) -> None:
    assert only(admit_signup(http(schedule=given))).schedule == schedule


@pytest.mark.parametrize(
    ("given", "bounds"),
    [
        ({"start_at": "2026-11-21T09:00:00+01:00"}, (1_795_248_000_000, 0, 0)),
        ({"end_at": 1_795_248_000_000, "max_runs": 1}, (0, 1_795_248_000_000, 1)),
        ({"start_at": 1_795_248_000_000, "end_at": 1_795_248_000_000}, (1_795_248_000_000, 1_795_248_000_000, 0)),
        ({"every": "1m", "max_runs": 1_000_000_000}, (0, 0, 1_000_000_000)),
        ({"cron": "* * * * *", "max_runs": 1_000}, (0, 0, 1_000)),
        ({"every": "1h", "align": "midnight", "max_runs": 1_000}, (0, 0, 1_000)),
        ({"every": "1h", "align": "epoch", "max_runs": 1_001}, (0, 0, 1_001)),
        ({"start_at": None, "end_at": None, "max_runs": None}, (0, 0, 0)),
    ],
)
def test_beginning_end_and_number_of_runs_are_what_the_user_wrote(
    given: dict[str, object], bounds: tuple[int, int, int]
) -> None:
    spec = only(admit_signup(http(schedule=given)))
    assert (spec.start_at, spec.end_at, spec.max_runs) == bounds


def test_a_signup_may_have_ten_thousand_runs_by_the_wall_clock_and_any_number_of_others() -> None:
    others = {"kind": "noop", "schedule": {"every": "1m", "max_runs": 1_000_000}}
    own = [BY_CRON | {"monitor_id": f"m-{n}"} for n in range(10)]
    assert len(admit_signup(signup(*own, others)).monitors) == 11


ASKED_AT = 1_795_248_000_123
LATE_TEXT = "x" * 3_000  # longer than the text of monitors that is remembered


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(http(schedule={"in": "90m"}), id="JSON"),
        pytest.param(http(schedule={"in": "90m"}, payload=LATE_TEXT), id="long JSON"),
        pytest.param(
            avro_schemas.encode(
                "signup",
                {
                    "user_id": "u",
                    "monitors": [{"config": json.dumps(HTTP["config"]), "schedule": {"in": "90m"}}],
                },
            ),
            id="Avro",
        ),
    ],
)
def test_a_delay_counts_from_when_its_record_was_produced_each_time_anew(data: bytes) -> None:
    for asked_at in (ASKED_AT, ASKED_AT + 5, ASKED_AT):
        assert only(admit_signup(data, asked_at)).schedule == At(asked_at + 90 * 60_000)


def test_a_delay_beside_other_schedules_changes_nothing_about_those() -> None:
    given = admit_signup(
        signup(
            HTTP | {"monitor_id": "in", "schedule": {"in": 0}},
            HTTP | {"monitor_id": "at", "schedule": {"at": ASKED_AT + 1}},
            HTTP | {"monitor_id": "every", "schedule": {"every": "1m"}},
        ),
        ASKED_AT,
    )
    assert [spec.schedule for spec in given.monitors] == [At(ASKED_AT), At(ASKED_AT + 1), Every(60_000)]


def test_a_put_of_a_delay_counts_from_when_the_command_was_produced() -> None:
    asked = admit_command(command("put", monitor=HTTP | {"schedule": {"in": "400d"}}), ASKED_AT)
    assert asked.monitor is not None
    assert asked.monitor.schedule == At(ASKED_AT + 400 * 86_400_000)


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ({}, Policy()),
        (
            {"retries": {"max": 3, "backoff": "linear", "base": "2s", "cap": "1h", "jitter": 0}},
            Policy(retries=Retries(3, Backoff.LINEAR, 2_000, 3_600_000, 0.0)),
        ),
        ({"retries": {"max": 20}}, Policy(retries=Retries(20, Backoff.EXPONENTIAL, 5_000, 300_000, 0.1))),
        # the longest delay is no shorter than the first
        (
            {"retries": {"max": 1, "base": "1d", "cap": "1m", "jitter": 1}},
            Policy(retries=Retries(1, Backoff.EXPONENTIAL, 86_400_000, 86_400_000, 1.0)),
        ),
        # whoever wants no retries need not say how long to wait for them
        ({"retries": {"max": 0, "backoff": "fixed", "base": "1m"}}, Policy()),
        ({"retries": None}, Policy()),
        ({"overlap": "allow", "remind_every": "1h"}, Policy(overlap=Overlap.ALLOW, remind_every_ms=3_600_000)),
        ({"remind_every": None}, Policy()),
        (
            {"maintenance": [SATURDAY, {"start": "2026-11-21T08:00:00Z", "end": "2026-11-21T09:00:00Z"}]},
            Policy(
                maintenance=(
                    Maintenance(cron="0 2 * * 6", timezone="UTC", duration_ms=7_200_000),
                    Maintenance(start=1_795_248_000_000, end=1_795_251_600_000),
                )
            ),
        ),
        (
            {"maintenance": [{"cron": " 0  2 * * 6", "timezone": "Europe/Berlin", "duration": "30d"}]},
            Policy(maintenance=(Maintenance(0, 0, "0 2 * * 6", "Europe/Berlin", 30 * 86_400_000),)),
        ),
    ],
)
def test_a_policy_is_what_its_user_wrote(given: dict[str, object], policy: Policy) -> None:
    assert only(admit_signup(http(policy=given))).policy == policy


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (None, ""),
        ({"b": [1, None], "a": "ü"}, '{"a":"ü","b":[1,null]}'),
        ("", '""'),
        (False, "false"),
        (0, "0"),
        ([], "[]"),
        ("x" * (64 * 1024 - 2), '"' + "x" * (64 * 1024 - 2) + '"'),
    ],
)
def test_a_payload_may_be_anything_that_json_can_say_up_to_64_kib(payload: object, text: str) -> None:
    assert only(admit_signup(http(payload=payload))).payload == text


def test_the_windows_of_a_user_come_with_the_signup() -> None:
    meant = (Maintenance(cron="0 2 * * 6", duration_ms=7_200_000),)
    assert admit_signup(signup(HTTP, maintenance=[SATURDAY])).maintenance == meant
    assert admit_signup(signup(HTTP | {"payload": LATE_TEXT}, maintenance=[SATURDAY])).maintenance == meant


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (command("cancel"), Command(CommandType.CANCEL, "u")),
        (command("cancel", monitor_id="m"), Command(CommandType.CANCEL, "u", "m")),
        (command("run_now", monitor_id="m", command_id=""), Command(CommandType.RUN_NOW, "u", "m")),
        (
            command("run_now", monitor_id="m", command_id="x" * 128),
            Command(CommandType.RUN_NOW, "u", "m", command_id="x" * 128),
        ),
        (command("maintain"), Command(CommandType.MAINTAIN, "u")),
        (
            command("maintain", maintenance=[SATURDAY]),
            Command(CommandType.MAINTAIN, "u", maintenance=(Maintenance(cron="0 2 * * 6", duration_ms=7_200_000),)),
        ),
        (
            command("pause", monitor_id="m", until="2026-11-21T09:00:00+01:00"),
            Command(CommandType.PAUSE, "u", "m", until=1_795_248_000_000),
        ),
        (command("resume", monitor_id="m", until=None, maintenance=[]), Command(CommandType.RESUME, "u", "m")),
    ],
)
def test_a_command_is_what_its_sender_wrote(given: bytes, meant: Command) -> None:
    assert admit_command(given) == meant


@pytest.mark.parametrize(("given", "expected"), [({}, None), ({"if_version": 0}, 0), ({"if_version": 7}, 7)])
def test_a_put_that_expects_that_there_is_no_monitor_is_told_from_one_that_expects_nothing(
    given: dict[str, object], expected: int | None
) -> None:
    assert admit_command(command("put", monitor=HTTP, **given)).if_version == expected


@pytest.mark.parametrize(
    ("data", "asks"),
    [
        pytest.param(
            command("pause", monitor_id="m", command_id="c-1", until="tomorrow"),
            Asker("pause", "u", "m", "c-1"),
            id="a wrong field",
        ),
        pytest.param(
            command("put", command_id="c-1", monitor={"kind": "htpp"}, more=[{}]),
            Asker("put", "u", command_id="c-1"),
            id="a wrong monitor and an unknown field",
        ),
        pytest.param(
            avro_schemas.encode(
                "command", {"command": "pause_user", "user_id": "u", "monitor_id": "m", "command_id": "c-1"}
            ),
            Asker("pause_user", "u", "m", "c-1"),
            id="Avro",
        ),
        pytest.param(command("pause", until="tomorrow"), None, id="no id"),
        pytest.param(command("pause", command_id=""), None, id="an empty id"),
        pytest.param(command("pause", command_id="a\n"), None, id="an id that could not be told"),
        pytest.param(command("explode", command_id="c-1"), None, id="an unknown command"),
        pytest.param(command("pause", command_id="c-1", user_id=""), None, id="no user"),
        pytest.param(command("pause", command_id="c-1")[:-1], None, id="JSON cut off"),
        pytest.param(avro_schemas.encode("signal", SIGNAL), None, id="another topic's Avro record"),
        pytest.param(avro_schemas.header("command") + b"\xff", None, id="mangled Avro"),
        pytest.param(b'{"command_id":' + b"[" * 100_000, None, id="nested too deeply"),
        pytest.param(b"\xff\xfe", None, id="no text"),
        pytest.param(b"", None, id="empty bytes"),
    ],
)
def test_who_waits_for_an_answer_to_a_refused_command_is_found_in_it(data: bytes, asks: Asker | None) -> None:
    refused(admit_command, data)
    assert asker_of("command", data) == asks


@pytest.mark.parametrize(
    ("name", "given", "asks"),
    [
        ("signup", {"user_id": "u", "signup_id": "s-1", "monitors": 7}, Asker("signup", "u", signup_id="s-1")),
        ("signup", {"user_id": "u", "command_id": "s-1", "monitors": 7}, None),
        ("signal", {"user_id": "u", "signal_id": "n-1"}, Asker("signal", "u", signal_id="n-1")),
        (
            "signal",
            {"user_id": "u", "monitor_id": "m", "signal_id": "n-1", "value": "x"},
            Asker("signal", "u", "m", signal_id="n-1"),
        ),
        ("signal", {"monitor_id": "m", "signal_id": "n-1"}, None),
    ],
)
def test_who_waits_for_an_answer_to_a_refused_signup_or_signal_is_found_in_it(
    name: str, given: dict[str, object], asks: Asker | None
) -> None:
    assert asker_of(name, json.dumps(given).encode()) == asks
    if asks is not None and set(given) <= {"user_id", "signup_id", "signal_id"}:
        assert asker_of(name, avro_schemas.encode(name, {"monitor_id": ""} | given)) == asks


def test_the_same_cron_expression_a_million_times_over_is_read_once() -> None:
    admit_signup(cron("17 4 * * *", "Asia/Tokyo"))
    before = problem_of.cache_info().misses, zone_named.cache_info().misses
    for _ in range(50):
        admit_signup(cron("17  4 * * *", "Asia/Tokyo"))
    assert (problem_of.cache_info().misses, zone_named.cache_info().misses) == before


def test_a_put_names_its_monitor_inside_or_outside() -> None:
    outside = admit_command(command("put", monitor_id="m", monitor=HTTP))
    inside = admit_command(command("put", monitor=HTTP | {"monitor_id": "m"}))
    assert outside == inside
    assert outside.monitor is not None
    assert outside.monitor_id == outside.monitor.monitor_id == "m"
