"""Bad input: each malformed record with the exact reason and path that its sender reads on ``dead-letters``."""

import json
import random
from collections.abc import Callable

import pytest

from everwatch import codec, schemas
from everwatch.admission import admit_command, admit_signup
from everwatch.errors import InvalidInput
from everwatch.model import At, Cron, Every, Schedule
from everwatch.schedule.cron import _problem_of, zone_named

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


def refused(admit: Callable[[bytes | None], object], data: bytes | None) -> tuple[str, str]:
    with pytest.raises(InvalidInput) as caught:
        admit(data)
    return caught.value.reason, caught.value.path


def cron(expression: object, *timezone: str) -> bytes:
    return http(schedule={"cron": expression} | ({"timezone": timezone[0]} if timezone else {}))


def at(instant: object) -> bytes:
    return http(schedule={"at": instant})


SCHEDULE = "$.monitors[0].schedule"
EVERY = f"{SCHEDULE}.every"
CRON_FIELDS = "a cron expression has five: minute, hour, day of month, month, day of week"
INSTANTS = "write it like 2026-11-21T09:00:00+01:00 or 2026-11-21T08:00:00Z"
POLICY = "$.monitors[0].policy"
CONFIG = "$.monitors[0].config"

SIGNUPS = {
    "user_id is missing": (b"{}", "this field is missing", "$.user_id"),
    "user_id is empty": (signup(user_id=""), "this must not be empty", "$.user_id"),
    "user_id is null": (signup(user_id=None), "expected text, got null", "$.user_id"),
    "user_id is a number": (signup(user_id=5), "expected text, got a whole number", "$.user_id"),
    "user_id is too long": (signup(user_id="x" * 257), "this must be at most 256 characters long", "$.user_id"),
    "user_id has the separator in it": (signup(user_id="a\0b"), "control characters are not allowed", "$.user_id"),
    "user_id ends in a newline": (signup(user_id="a\n"), "control characters are not allowed", "$.user_id"),
    "unknown field": (signup(mail="a@b.c"), "there is no field 'mail'", "$.mail"),
    "empty plan": (signup(plan=""), "this must not be empty", "$.plan"),
    "monitors are not a list": (signup(monitors={}), "expected a list, got an object", "$.monitors"),
    "a number that no long holds": (
        signup(attributes={"n": 2**63}), "this must be at most 9223372036854775807", "$.attributes[...]"),
    "an attribute that is a list": (
        signup(attributes={"tags": ["a"]}),
        "expected true or false or a whole number or a number or text or null, got a list", "$.attributes[...]"),
    "1001 monitors": (
        signup(*({"kind": "noop", "monitor_id": str(i)} for i in range(1001))),
        "this must be at most 1000 entries long", "$.monitors"),
    "the same monitor_id twice": (
        signup(HTTP | {"monitor_id": "a"}, HTTP | {"monitor_id": "b"}, HTTP | {"monitor_id": "a"}),
        "a second monitor has the id 'a'", "$.monitors[2].monitor_id"),
    "two monitors of one kind without ids": (
        signup(HTTP, HTTP), "a second monitor has the id 'http'", "$.monitors[1].monitor_id"),
    "monitor_id has a control character": (
        http(monitor_id="a\x1b[2J"), "control characters are not allowed", "$.monitors[0].monitor_id"),
    "monitor_id ends in a newline": (
        http(monitor_id="a\n"), "control characters are not allowed", "$.monitors[0].monitor_id"),
    "monitor_id is too long": (
        http(monitor_id="x" * 129), "this must be at most 128 characters long", "$.monitors[0].monitor_id"),
    "unknown field of a monitor": (http(interval="30s"), "there is no field 'interval'", "$.monitors[0].interval"),
    "unknown kind": (
        signup({"kind": "htpp"}), "there is no kind 'htpp'; known kinds: heartbeat, http, noop, tcp",
        "$.monitors[0].kind"),
    "http without url": (signup({"kind": "http"}), "the kind 'http' needs the field 'url'", CONFIG),
    "the second monitor is the wrong one": (
        signup(HTTP, {"kind": "http", "monitor_id": "b"}), "the kind 'http' needs the field 'url'",
        "$.monitors[1].config"),
    "unknown config field": (
        signup({"kind": "tcp", "config": {"host": "h", "port": 1, "tls": True}}),
        "the kind 'tcp' has no field 'tls'; known fields: host, port", f"{CONFIG}.tls"),
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
        http(schedule={"every": "1m", "cron": "* * * * *"}),
        "a schedule is one of every, cron and at, not every and cron", SCHEDULE),
    "three schedules": (
        http(schedule={"every": "1m", "cron": "* * * * *", "at": 1_800_000_000_000}),
        "a schedule is one of every, cron and at, not every and cron and at", SCHEDULE),
    "a time zone without cron": (
        http(schedule={"every": "1m", "timezone": "UTC"}), "only a cron schedule has a timezone",
        f"{SCHEDULE}.timezone"),
    "nothing but a time zone": (
        http(schedule={"timezone": "UTC"}), "only a cron schedule has a timezone", f"{SCHEDULE}.timezone"),
    "cron with seconds": (cron("0 0 9 * * *"), f"'0 0 9 * * *' has 6 fields, but {CRON_FIELDS}", f"{SCHEDULE}.cron"),
    "cron by a nickname": (cron("@daily"), f"'@daily' has 1 fields, but {CRON_FIELDS}", f"{SCHEDULE}.cron"),
    "empty cron": (cron(""), f"'' has 0 fields, but {CRON_FIELDS}", f"{SCHEDULE}.cron"),
    "a wrong minute": (cron("60 * * * *"), "'60' cannot be the minute of a cron expression", f"{SCHEDULE}.cron"),
    "a wrong hour": (cron("0 24 * * *"), "'24' cannot be the hour of a cron expression", f"{SCHEDULE}.cron"),
    "a wrong day of month": (
        cron("0 9 0 * *"), "'0' cannot be the day of month of a cron expression", f"{SCHEDULE}.cron"),
    "a wrong month": (
        cron("0 9 1 JANUARY *"), "'JANUARY' cannot be the month of a cron expression", f"{SCHEDULE}.cron"),
    "a wrong day of week": (
        cron("0 9 * * 1-"), "'1-' cannot be the day of week of a cron expression", f"{SCHEDULE}.cron"),
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
        schemas.MAGIC + bytes(range(8)) + b"\x02u",
        "unknown Avro schema fingerprint 0001020304050607: expected a version of the signup schema", ""),
    "another topic's Avro record": (
        schemas.encode("signal", SIGNAL),
        f"unknown Avro schema fingerprint {schemas.header('signal')[2:].hex()}: expected a version of the signup"
        " schema", ""),
    "Avro with an empty user_id": (schemas.encode("signup", {"user_id": ""}), "this must not be empty", "$.user_id"),
    "Avro with a config that is a list": (
        schemas.encode("signup", {"user_id": "u", "monitors": [{"config": "[]"}]}),
        "expected an object, got a list", CONFIG),
    "Avro with a bad cron expression": (
        schemas.encode("signup", {"user_id": "u", "monitors": [{"kind": "noop", "schedule": {"cron": "* * *"}}]}),
        f"'* * *' has 3 fields, but {CRON_FIELDS}", f"{SCHEDULE}.cron"),
    "Avro with a bad priority": (
        schemas.encode("signup", {"user_id": "u", "monitors": [{"kind": "noop", "policy": {"priority": "urgent"}}]}),
        "'urgent' is not one of high, normal, low", f"{POLICY}.priority"),
}  # fmt: skip

COMMANDS = {
    "no command": (b'{"user_id":"u"}', "this field is missing", "$.command"),
    "no user_id": (b'{"command":"pause","monitor_id":"m"}', "this field is missing", "$.user_id"),
    "unknown command": (
        command("remove"), "'remove' is not one of put, delete, pause, resume, deregister", "$.command"),
    "put without monitor": (command("put", monitor_id="m"), "a put needs the monitor to put", "$.monitor"),
    "put under two names": (
        command("put", monitor_id="a", monitor=HTTP | {"monitor_id": "b"}), "this is 'a', but the monitor says 'b'",
        "$.monitor_id"),
    "put of an unknown kind": (
        command("put", monitor={"kind": "x"}), "there is no kind 'x'; known kinds: heartbeat, http, noop, tcp",
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
    "empty bytes": (b"", "the record is empty: expected a command as JSON or Avro", ""),
    "Avro with a config that is no JSON": (
        schemas.encode("command", {"command": "put", "user_id": "u", "monitor": {"config": "{"}}),
        "not valid JSON: unexpected end of data: line 1 column 2 (char 1)", "$.monitor.config"),
}  # fmt: skip

AVRO_SIGNAL = schemas.encode("signal", SIGNAL | {"at": 5})
SIGNALS = {
    "no monitor_id": (b'{"user_id":"u"}', "this field is missing", "$.monitor_id"),
    "empty monitor_id": (signal(monitor_id=""), "this must not be empty", "$.monitor_id"),
    "negative at": (signal(at=-1), "this must be at least 0", "$.at"),
    "at in microseconds": (signal(at=1_800_000_000_000_000), "this must be at most 253402300799999", "$.at"),
    "at as text": (signal(at="2026-01-01"), "expected a whole number, got text", "$.at"),
    "at with a fraction": (signal(at=1.5), "expected a whole number, got a number", "$.at"),
    "unknown field": (signal(value=1), "there is no field 'value'", "$.value"),
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
        (admit_command, schemas.encode("command", {"command": "put", "user_id": "u", "monitor": {}})),
        (admit_signup, schemas.encode("signup", {"user_id": "u", "attributes": {"a": 1}, "monitors": [{}, {}]})),
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
    assert (monitor.monitor_id, monitor.kind, monitor.schedule.interval_ms) == ("http", "http", 60_000)
    assert monitor.policy.timeout_ms == 10_000


@pytest.mark.parametrize(
    ("every", "interval_ms"),
    [("1s", 1_000), (1, 1_000), ("1.1", 1_100), ("PT30S", 30_000), ("400d", 400 * 86_400_000), (None, 60_000)],
)
def test_intervals_at_the_bounds_are_taken(every: object, interval_ms: int) -> None:
    assert admit_signup(http(schedule={"every": every})).monitors[0].schedule.interval_ms == interval_ms


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
    ],
)
def test_a_schedule_is_what_its_user_wrote(given: dict[str, object], schedule: Schedule) -> None:
    assert admit_signup(http(schedule=given)).monitors[0].schedule == schedule


def test_the_same_cron_expression_a_million_times_over_is_read_once() -> None:
    admit_signup(cron("17 4 * * *", "Asia/Tokyo"))
    before = _problem_of.cache_info().misses, zone_named.cache_info().misses
    for _ in range(50):
        admit_signup(cron("17  4 * * *", "Asia/Tokyo"))
    assert (_problem_of.cache_info().misses, zone_named.cache_info().misses) == before


def test_a_put_names_its_monitor_inside_or_outside() -> None:
    outside = admit_command(command("put", monitor_id="m", monitor=HTTP))
    inside = admit_command(command("put", monitor=HTTP | {"monitor_id": "m"}))
    assert outside == inside
    assert outside.monitor is not None
    assert outside.monitor_id == outside.monitor.monitor_id == "m"
