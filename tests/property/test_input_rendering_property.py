"""Round trips of a spec: its rendering means the same spec, whichever way it is read."""

import re
from typing import Any

import msgspec
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from everwatch.core.bounds import LATEST_MS
from everwatch.core.printable import HIDDEN
from everwatch.encoding import codec, input_conversion, input_models
from everwatch.encoding.input_rendering import monitor_form, signup_form
from everwatch.model import (
    Align,
    At,
    Backoff,
    Cron,
    Every,
    Maintenance,
    Misfire,
    MonitorSpec,
    Overlap,
    Policy,
    Priority,
    Retries,
    Signup,
)
from everwatch.rules.admission import admit_command, admit_signup
from everwatch.schedule.instant import EARLIEST_MS, format_instant, parse_instant_ms

MINUTE, DAY = 60_000, 86_400_000
zones = st.sampled_from(["UTC", "Europe/Berlin"])
crons = st.sampled_from(["0 9 * * 1-5", "*/5 * * * *"])
instants = st.integers(EARLIEST_MS, LATEST_MS)
ids = st.text(st.characters(codec="utf-8").filter(re.compile(f"[^{HIDDEN}]").fullmatch), min_size=1, max_size=12)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def text_of(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


every = st.integers(10, 400 * 864_000).map(lambda tenths: tenths * 100)
recurring = st.one_of(
    st.builds(Every, every),
    st.builds(Every, every, st.just(Align.EPOCH)),
    st.builds(Every, st.sampled_from([6 * 3_600_000, DAY]), st.just(Align.MIDNIGHT), zones),
)
# at and in: a delay that is not resolved yet stands as a negative instant
schedules = (
    recurring | st.builds(Cron, crons, zones, st.integers(0, DAY)) | st.builds(At, instants | st.integers(-DAY, 0))
)
windows = st.lists(
    st.tuples(instants, instants).filter(lambda pair: pair[0] < pair[1]).map(lambda pair: Maintenance(*pair))
    | st.builds(Maintenance, st.just(0), st.just(0), crons, zones, st.integers(MINUTE, 30 * DAY)),
    max_size=3,
).map(tuple)
retries = st.just(Retries()) | st.builds(
    lambda most, backoff, base, more, jitter: Retries(most, backoff, base, min(base + more, 7 * DAY), jitter),
    st.integers(1, 20),
    st.sampled_from(Backoff),
    st.integers(1_000, DAY),
    st.integers(0, 6 * DAY),
    st.floats(0, 1),
)
policies = st.builds(
    Policy,
    st.integers(1, 10 * MINUTE),
    st.integers(1, 100),
    st.integers(1, 100),
    st.sampled_from(Misfire),
    st.integers(5_000, DAY),
    st.sampled_from(Priority),
    retries,
    st.sampled_from(Overlap),
    st.just(0) | st.integers(MINUTE, 30 * DAY),
    windows,
)
specs = st.builds(
    MonitorSpec,
    ids,
    st.just("noop"),
    st.dictionaries(st.text(), json_values, max_size=3).map(text_of),
    schedules,
    st.just(Policy()) | policies,
    st.just("") | json_values.map(text_of),
    st.just(0) | st.integers(EARLIEST_MS, EARLIEST_MS + DAY),
    st.just(0) | st.integers(EARLIEST_MS + DAY, LATEST_MS),
    st.integers(0, 1_000),
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
signups = st.builds(
    Signup,
    ids,
    ids,
    st.dictionaries(st.text(), scalars, max_size=4),
    st.lists(specs, max_size=3, unique_by=lambda spec: spec.monitor_id).map(tuple),
    windows,
)


@given(specs)
def test_a_written_spec_read_again_is_that_spec(spec: MonitorSpec) -> None:
    said = msgspec.json.decode(orjson.dumps(monitor_form(spec)), type=input_models.MonitorInput)
    assert input_conversion.monitor_of(said, "$") == spec


@given(signups)
@settings(max_examples=50)
def test_a_written_signup_read_again_is_that_signup(signup: Signup) -> None:
    assert codec.decode_signup(orjson.dumps(signup_form(signup))) == signup


@given(instants)
def test_a_written_instant_read_again_is_that_instant(instant: int) -> None:
    assert parse_instant_ms(format_instant(instant)) == instant


ADMITTED = {
    "http": {"url": "https://example.com", "headers": {"authorization": "Bearer x"}, "method": "POST"},
    "tcp": {"host": "example.com", "port": 443},
    "dns": {"name": "example.com", "type": "A"},
    "tls": {"host": "example.com"},
    "heartbeat": {"period": "1h"},
    "webhook": {"url": "https://example.com/hook"},
    "publish": {"topic": "orders"},
    "noop": {},
}


def test_what_was_admitted_of_each_kind_is_admitted_again_and_the_same() -> None:
    monitors = [{"monitor_id": kind, "kind": kind, "config": config} for kind, config in ADMITTED.items()]
    first = admit_signup(orjson.dumps({"user_id": "u", "monitors": monitors}))
    assert admit_signup(orjson.dumps(signup_form(first))) == first
    for spec in first.monitors:
        put = orjson.dumps({"command": "put", "user_id": "u", "monitor": monitor_form(spec)})
        assert admit_command(put).monitor == spec
