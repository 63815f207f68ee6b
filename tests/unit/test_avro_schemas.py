"""The Avro schemas: documented, fingerprinted as the specification says, and never so changed that old bytes are lost.

``tests/data/golden/<name>.<fingerprint>.bin`` is a record as it was written under that version of the schema;
``<name>-<variant>.<fingerprint>.bin`` is another one, of what an older version could not say.
``uv run python tests/unit/test_avro_schemas.py`` adds the files of the current versions and touches no other.

All in one file: one check for each schema, with its golden bytes.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastavro.schema import to_parsing_canonical_form

from everwatch.core.errors import InvalidInput
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import avro_schemas, codec
from everwatch.model import (
    Agenda,
    Align,
    At,
    AuditEntry,
    Backoff,
    Command,
    CommandOutcome,
    CommandType,
    Cron,
    Every,
    JobRun,
    Maintenance,
    Misfire,
    Monitor,
    MonitorSpec,
    Origin,
    Overlap,
    Policy,
    Priority,
    Quorum,
    RegionalRun,
    RegionOutcome,
    Reply,
    ReplyOn,
    Result,
    Retries,
    Scalar,
    Signal,
    SignalState,
    SignalType,
    Signup,
    State,
    Status,
    Tick,
    Transition,
    User,
)

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
AT = 1_800_000_000_000

SPEC = MonitorSpec(
    monitor_id="größe",
    kind="http",
    config='{"url":"http://a.example/"}',
    schedule=Every(90_000),
    policy=Policy(1_500, 3, 2, Misfire.FIRE_ALL, 300_000, Priority.HIGH),
)
MONITOR_INPUT = {
    "monitor_id": "größe",
    "kind": "http",
    "config": '{"url": "http://a.example/"}',
    "schedule": {"every": "1m30s"},
    "policy": {
        "timeout": "1500ms",
        "failures_to_down": 3,
        "successes_to_up": 2,
        "misfire": "fire_all",
        "misfire_grace": "PT5M",
        "priority": "high",
    },
}
CRON = msgspec.structs.replace(SPEC, schedule=Cron("30 9 * * 1-5", "Europe/Berlin"))
ONCE = msgspec.structs.replace(SPEC, schedule=At(AT))
CRON_INPUT = MONITOR_INPUT | {"schedule": {"cron": "30 9 * * 1-5", "timezone": "Europe/Berlin"}}
ONCE_INPUT = MONITOR_INPUT | {"schedule": {"at": "2027-01-15T09:00:00+01:00"}}
WINDOWS = (
    Maintenance(start=AT, end=AT + 3_600_000),
    Maintenance(cron="0 2 * * 6", timezone="Europe/Berlin", duration_ms=7_200_000),
)
WINDOWS_INPUT = [
    {"start": "2027-01-15T09:00:00+01:00", "end": "2027-01-15T10:00:00+01:00"},
    {"cron": "0 2 * * 6", "timezone": "Europe/Berlin", "duration": "2h"},
]
# all that a monitor can say beside an interval, thresholds and misfires
RARE = MonitorSpec(
    monitor_id="größe",
    kind="http",
    config=SPEC.config,
    schedule=Every(21_600_000, Align.MIDNIGHT, "Europe/Berlin"),
    policy=Policy(
        retries=Retries(3, Backoff.LINEAR, 2_000, 60_000, 0.25),
        overlap=Overlap.ALLOW,
        remind_every_ms=3_600_000,
        maintenance=WINDOWS,
    ),
    payload='{"note":"ü"}',
    start_at=AT,
    end_at=AT + 86_400_000,
    max_runs=3,
)
RARE_INPUT = MONITOR_INPUT | {
    "schedule": {
        "every": "6h",
        "align": "midnight",
        "timezone": "Europe/Berlin",
        "start_at": "2027-01-15T09:00:00+01:00",
        "end_at": "2027-01-16T08:00:00Z",
        "max_runs": 3,
    },
    "policy": {
        "retries": {"max": 3, "backoff": "linear", "base": "2s", "cap": "1m", "jitter": 0.25},
        "overlap": "allow",
        "remind_every": "1h",
        "maintenance": WINDOWS_INPUT,
    },
    "payload": '{"note": "ü"}',
}
EPOCH = msgspec.structs.replace(SPEC, schedule=Every(90_000, Align.EPOCH))
EPOCH_INPUT = MONITOR_INPUT | {"schedule": {"every": "90s", "align": "epoch"}}
SPREAD = msgspec.structs.replace(SPEC, schedule=Cron("30 9 * * 1-5", "Europe/Berlin", 600_000))
SPREAD_INPUT = MONITOR_INPUT | {"schedule": {"cron": "30 9 * * 1-5", "timezone": "Europe/Berlin", "spread": "10m"}}
# a delay stands in the place of the instant until it is known when it was asked for
DELAY = msgspec.structs.replace(SPEC, schedule=At(-5_400_000))
DELAY_INPUT = MONITOR_INPUT | {"schedule": {"in": "1h30m"}}
REGIONS = msgspec.structs.replace(SPEC, policy=Policy(regions=("eu-1", "us"), quorum=Quorum.ALL))
REGIONS_INPUT = MONITOR_INPUT | {"policy": {"regions": ["us", "eu-1", "us"], "quorum": "all"}}
REGIONAL_RUN = RegionalRun(
    AT, 1, AT + 72_000, True, (RegionOutcome("us", Status.FAILURE, "refused", "host-1", 42),), AT + 5, 1.5
)
LABELLED = msgspec.structs.replace(SPEC, name="Der Größte", labels=(("env", "prod"), ("team/owner", "größe")))
LABELLED_INPUT = MONITOR_INPUT | {"name": "Der Größte", "labels": {"team/owner": "größe", "env": "prod"}}
AGENDA = Agenda(2, AT + 9, AT + 8, AT, 2, AT + 7, AT + 6, AT + 5)
ATTRIBUTES: dict[str, Scalar] = {"city": "Bern", "age": 41, "score": 0.5, "vip": True, "note": None}
MONITOR = Monitor("u-1", SPEC, Origin.COMMAND, 7, AT, State.DOWN, AT + 1, "connection refused", 1, AT + 2, AT + 3)
USER = User("u-1", "pro", ATTRIBUTES, ("größe", "b"), AT, AT + 5)
TICK = Tick("u-1", "größe", AT, "http", SPEC.config, 1_500, 7, partition=3, attempt=2)
RESULT = Result(
    "u-1", "größe", AT, "http", 7, Status.SKIPPED, "not run", AT + 40, 12.5, 2, {"dns": 1.5}, "host-1", AT + 90_000, 2
)
TRANSITION = Transition("u-1", "größe", AT, State.UP, State.DOWN, "connection refused", 7)
REPLY = Reply("c-1", "u-1", "größe", "put", CommandOutcome.REFUSED, "this must not be empty", "$.monitor.kind", 7, AT)
REPLY_CODE = msgspec.structs.replace(REPLY, code="version_mismatch")
REPLY_SIGNUP = Reply("", "u-1", "", "signup", CommandOutcome.REGISTERED, "", "", 0, AT, signup_id="s-1")
REPLY_SIGNAL = Reply(
    "", "u-1", "größe", "signal", CommandOutcome.REFUSED, "no", "", 0, AT, "not_found", signal_id="n-1"
)
AUDIT = AuditEntry(
    "e-1", AT, "0123abcd", "ci", "operator", "192.0.2.7", "203.0.113.9",
    "POST /v1/users/{user_id}/monitors/{monitor_id}/pause", "pause", "u-1", "größe", 200, "done", "c-1", "r-1",
)  # fmt: skip

# what a program of a user's own writes, and what it means
INPUTS: dict[str, dict[str, Any]] = {
    "signup": {"user_id": "u-1", "plan": "pro", "attributes": ATTRIBUTES, "monitors": [MONITOR_INPUT]},
    "command": {"command": "put", "user_id": "u-1", "monitor_id": "größe", "monitor": MONITOR_INPUT},
    "signal": {"user_id": "u-1", "monitor_id": "größe", "at": AT},
    "signal-start": {"user_id": "u-1", "monitor_id": "größe", "at": AT, "type": "start"},
    "signal-fail": {"user_id": "u-1", "monitor_id": "größe", "exit_code": 3, "duration_ms": 1250.5},
    "signal-value": {"user_id": "u-1", "monitor_id": "größe", "value": -0.25},
    "signal-log": {"user_id": "u-1", "monitor_id": "größe", "type": "log", "body": "2 Dateien kopiert"},
    "signal-run": {"user_id": "u-1", "monitor_id": "größe", "type": "start", "run": "lauf-7"},
    "signal-asking": {"user_id": "u-1", "monitor_id": "größe", "signal_id": "n-1", "reply": "refused"},
    "signup-asking": {"user_id": "u-1", "signup_id": "s-1", "reply": "refused"},
    "signup-keyed": {"user_id": "u-1", "signup_id": "s-1", "request_digest": "0f"},
    "command-asking": {"command": "cancel", "user_id": "u-1", "command_id": "c-2", "reply": "refused"},
    "signup-cron": {"user_id": "u-1", "monitors": [CRON_INPUT]},
    "signup-at": {"user_id": "u-1", "monitors": [ONCE_INPUT]},
    "command-cron": {"command": "put", "user_id": "u-1", "monitor_id": "größe", "monitor": CRON_INPUT},
    "command-at": {"command": "put", "user_id": "u-1", "monitor_id": "größe", "monitor": ONCE_INPUT},
    "signup-rare": {"user_id": "u-1", "monitors": [RARE_INPUT], "maintenance": WINDOWS_INPUT},
    "signup-epoch": {"user_id": "u-1", "monitors": [EPOCH_INPUT]},
    "signup-spread": {"user_id": "u-1", "monitors": [SPREAD_INPUT]},
    "signup-regions": {"user_id": "u-1", "monitors": [REGIONS_INPUT]},
    "command-regions": {"command": "put", "user_id": "u-1", "monitor_id": "größe", "monitor": REGIONS_INPUT},
    "signup-in": {"user_id": "u-1", "monitors": [DELAY_INPUT]},
    "command-rare": {
        "command": "put",
        "user_id": "u-1",
        "monitor_id": "größe",
        "monitor": RARE_INPUT,
        "command_id": "c-1",
        "if_version": 6,
    },
    "command-pause": {
        "command": "pause",
        "user_id": "u-1",
        "monitor_id": "größe",
        "until": "2027-01-15T09:00:00+01:00",
    },
    "command-why": {
        "command": "pause",
        "user_id": "u-1",
        "monitor_id": "größe",
        "command_id": "c-1",
        "reason": "new disks",
        "request_digest": "0f",
    },
    "command-run": {"command": "run_now", "user_id": "u-1", "monitor_id": "größe", "command_id": "c-1"},
    "command-cancel": {"command": "cancel", "user_id": "u-1", "command_id": "c-2"},
    "signup-labels": {"user_id": "u-1", "monitors": [LABELLED_INPUT]},
    "command-labels": {"command": "put", "user_id": "u-1", "monitor_id": "größe", "monitor": LABELLED_INPUT},
    "command-pauseuser": {"command": "pause_user", "user_id": "u-1", "until": "2027-01-15T09:00:00+01:00"},
    "signup-contacts": {
        "user_id": "u-1",
        "contacts": {"email": "ada@example.com"},
        "monitors": [{**LABELLED_INPUT, "policy": {**MONITOR_INPUT["policy"], "severity": "warning"}}],
    },
    "command-contacts": {"command": "set_user", "user_id": "u-1", "contacts": {"email": "ada@example.com"}},
    "command-setuser": {
        "command": "set_user",
        "user_id": "u-1",
        "plan": "pro",
        "attributes": {"city": "Bern"},
        "remove_attributes": ["age"],
    },
    "command-reencrypt": {"command": "reencrypt_user", "user_id": "u-1", "command_id": "c-3"},
    "command-maintain": {"command": "maintain", "user_id": "u-1", "maintenance": WINDOWS_INPUT},
    "command-purge": {"command": "purge", "user_id": "u-1", "command_id": "c-3"},
}
EXPECTED: dict[str, object] = {
    "command-why": Command(
        CommandType.PAUSE, "u-1", "größe", command_id="c-1", reason="new disks", request_digest="0f"
    ),
    "signup": Signup("u-1", "pro", ATTRIBUTES, (SPEC,)),
    "command": Command(CommandType.PUT, "u-1", "größe", SPEC),
    "signal": Signal("u-1", "größe", AT),
    "signal-start": Signal("u-1", "größe", AT, SignalType.START),
    "signal-fail": Signal("u-1", "größe", 0, SignalType.FAIL, 3, 1250.5),
    "signal-value": Signal("u-1", "größe", value=-0.25),
    "signal-log": Signal("u-1", "größe", type=SignalType.LOG, body="2 Dateien kopiert"),
    "signal-run": Signal("u-1", "größe", type=SignalType.START, run="lauf-7"),
    "signal-asking": Signal("u-1", "größe", signal_id="n-1", reply=ReplyOn.REFUSAL),
    "signup-asking": Signup("u-1", signup_id="s-1", reply=ReplyOn.REFUSAL),
    "signup-keyed": Signup("u-1", signup_id="s-1", request_digest="0f"),
    "command-asking": Command(CommandType.CANCEL, "u-1", command_id="c-2", reply=ReplyOn.REFUSAL),
    "tick": TICK,
    "result": RESULT,
    "transition": TRANSITION,
    "monitor": MONITOR,
    "user": USER,
    "signup-cron": Signup("u-1", monitors=(CRON,)),
    "signup-at": Signup("u-1", monitors=(ONCE,)),
    "command-cron": Command(CommandType.PUT, "u-1", "größe", CRON),
    "command-at": Command(CommandType.PUT, "u-1", "größe", ONCE),
    "monitor-cron": msgspec.structs.replace(MONITOR, spec=CRON),
    "monitor-at": msgspec.structs.replace(MONITOR, spec=ONCE),
    "signup-rare": Signup("u-1", monitors=(RARE,), maintenance=WINDOWS),
    "signup-epoch": Signup("u-1", monitors=(EPOCH,)),
    "signup-spread": Signup("u-1", monitors=(SPREAD,)),
    "signup-regions": Signup("u-1", monitors=(REGIONS,)),
    "command-regions": Command(CommandType.PUT, "u-1", "größe", REGIONS),
    "monitor-regions": msgspec.structs.replace(MONITOR, spec=REGIONS, agenda=Agenda(runs_in_regions=(REGIONAL_RUN,))),
    "signup-in": Signup("u-1", monitors=(DELAY,)),
    "command-rare": Command(CommandType.PUT, "u-1", "größe", RARE, "c-1", 6),
    "command-pause": Command(CommandType.PAUSE, "u-1", "größe", until=AT),
    "command-run": Command(CommandType.RUN_NOW, "u-1", "größe", command_id="c-1"),
    "command-cancel": Command(CommandType.CANCEL, "u-1", command_id="c-2"),
    "command-maintain": Command(CommandType.MAINTAIN, "u-1", maintenance=WINDOWS),
    "command-purge": Command(CommandType.PURGE, "u-1", command_id="c-3"),
    "signup-labels": Signup("u-1", monitors=(LABELLED,)),
    "command-labels": Command(CommandType.PUT, "u-1", "größe", LABELLED),
    "command-pauseuser": Command(CommandType.PAUSE_USER, "u-1", until=AT),
    "signup-contacts": Signup(
        "u-1",
        attributes={"contacts.email": "ada@example.com"},
        monitors=(
            msgspec.structs.replace(LABELLED, labels=tuple(sorted([*LABELLED.labels, ("severity", "warning")]))),
        ),
    ),
    "command-contacts": Command(CommandType.SET_USER, "u-1", attributes={"contacts.email": "ada@example.com"}),
    "command-setuser": Command(
        CommandType.SET_USER, "u-1", plan="pro", attributes={"city": "Bern"}, remove_attributes=("age",)
    ),
    "command-reencrypt": Command(CommandType.REENCRYPT_USER, "u-1", command_id="c-3"),
    "monitor-labels": msgspec.structs.replace(MONITOR, spec=LABELLED),
    "monitor-rare": msgspec.structs.replace(MONITOR, spec=RARE, agenda=AGENDA),
    "monitor-epoch": msgspec.structs.replace(MONITOR, spec=EPOCH),
    "monitor-spread": msgspec.structs.replace(MONITOR, spec=SPREAD),
    "monitor-signals": msgspec.structs.replace(
        MONITOR, signals=SignalState(AT, AT + 1, 3, 1250.5, -0.25, AT + 2, True)
    ),
    "monitor-runs": msgspec.structs.replace(
        MONITOR, signals=SignalState(runs=(JobRun("lauf-7", AT, AT + 1), JobRun("lauf-8", AT + 2)), counted_from=AT)
    ),
    "monitor-done": msgspec.structs.replace(
        MONITOR, state=State.DONE, reason="exit status 3", outcome=Status.FAILURE, agenda=Agenda(forget_at=AT + 5)
    ),
    "user-maintenance": msgspec.structs.replace(USER, attributes={}, maintenance=WINDOWS),
    "tick-behind": msgspec.structs.replace(TICK, misfire=Misfire.SKIP, misfire_grace_ms=300_000, weight=7),
    "tick-manual": msgspec.structs.replace(TICK, attempt=1, may_overlap=True, manual=True, payload='{"note":"ü"}'),
    "result-manual": msgspec.structs.replace(
        RESULT, status=Status.SUCCESS, manual=True, timings={}, skipped_until=0, skipped_count=0
    ),
    "result-unreached": msgspec.structs.replace(RESULT, status=Status.FAILURE, unreached=42),
    "result-region": msgspec.structs.replace(RESULT, status=Status.FAILURE, region="eu-1"),
    "result-detail": msgspec.structs.replace(RESULT, detail="HTTP/1.1 503 Service Unavailable\n\nzu größe"),
    "transition-reminder": msgspec.structs.replace(
        TRANSITION, from_state=State.DOWN, reason="still down after 1 h: connection refused", reminder=True
    ),
    "transition-muted": msgspec.structs.replace(TRANSITION, alert=False),
    "transition-unreached": msgspec.structs.replace(TRANSITION, executor="host-1", unreached=42),
    "transition-region": msgspec.structs.replace(TRANSITION, executor="host-1", region="eu-1"),
    "transition-told": msgspec.structs.replace(
        TRANSITION, kind="http", target="shop.example", plan="pro", labels={"env": "größe"}, lasted_ms=61_000
    ),
    "transition-done": msgspec.structs.replace(
        TRANSITION, to_state=State.DONE, reason="exit status 3", outcome=Status.FAILURE
    ),
    "reply": REPLY,
    "reply-code": REPLY_CODE,
    "reply-signup": REPLY_SIGNUP,
    "reply-position": msgspec.structs.replace(REPLY_CODE, partition=3, offset=1_042),
    "reply-signal": REPLY_SIGNAL,
    "audit": AUDIT,
    "audit-change": msgspec.structs.replace(AUDIT, change='[{"path":"$.name","after":"größe"}]'),
}
READ: dict[str, Callable[[bytes], object]] = {
    "signup": codec.decode_signup,
    "command": codec.decode_command,
    "signal": codec.decode_signal,
    "tick": lambda data: codec.decode_tick(b"u-1", data, AT, 3),
    "result": codec.decode_result,
    "transition": codec.decode_transition,
    "reply": codec.decode_reply,
    "audit": codec.decode_audit_entry,
    "monitor": lambda data: codec.decode_entry(codec.table_key("u-1", "größe"), data),
    "user": lambda data: codec.decode_entry(codec.table_key("u-1"), data),
}


def schema_of(sample: str) -> str:
    """The schema of a sample: ``monitor`` of ``monitor-at``."""
    return sample.split("-")[0]


def read(sample: str, data: bytes) -> object:
    return READ[schema_of(sample)](data)


def written(sample: str) -> bytes:
    """The sample in the current version of its schema."""
    match EXPECTED[sample]:
        case Tick() as tick:
            return codec.encode_tick(tick)
        case Result() as result:
            return codec.encode_result(result, OutputFormat.AVRO)
        case Transition() as transition:
            return codec.encode_transition(transition, OutputFormat.AVRO)
        case Reply() as reply:
            return codec.encode_reply(reply, OutputFormat.AVRO)
        case AuditEntry() as entry:
            return codec.encode_audit_entry(entry, OutputFormat.AVRO)
        case User() | Monitor() as stored:
            return codec.encode_entry(stored)
        case _:
            return avro_schemas.encode(schema_of(sample), INPUTS[sample])


def golden_file(sample: str) -> Path:
    return GOLDEN / f"{sample}.{written(sample)[2:10].hex()}.bin"


def current(name: str) -> str:
    return avro_schemas.header(name)[2:].hex()


def golden_versions(name: str) -> set[str]:
    names = [path.name.split(".") for path in GOLDEN.glob("*.bin")]
    return {fingerprint for sample, fingerprint, _ in names if schema_of(sample) == name}


def complaints(name: str, current: str, golden: set[str], history: set[str]) -> list[str]:
    """Return what still has to be done about a schema that changed, a sentence each."""
    said = [
        f"schemas/{name}.avsc changed: keep what it was (git show HEAD:schemas/{name}.avsc) as"
        f" schemas/history/{name}.{old}.avsc, or records written before cannot be read any more."
        for old in sorted(golden - history - {current})
    ]
    if current not in golden:
        said.append(
            f"schemas/{name}.avsc has a new version, {current}: run `uv run python tests/unit/test_avro_schemas.py` to"
            " keep a record of it in tests/data/golden, and commit that file."
        )
    return said


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A copy of the schemas to change; the code reads it."""
    shutil.copytree(str(avro_schemas.schema_folder()), tmp_path / "schemas")
    with avro_schemas.schemas_of(tmp_path / "schemas"):
        yield tmp_path / "schemas"


def with_another_field(path: Path, **field: object) -> None:
    schema = json.loads(path.read_text())
    schema["fields"].append({"name": "source", "type": "string", "doc": "Where from."} | field)
    path.write_text(json.dumps(schema))


def test_every_schema_in_the_folder_is_known() -> None:
    found = {
        entry.name.removesuffix(".avsc") for entry in avro_schemas.schema_folder().iterdir() if ".avsc" in entry.name
    }
    assert found == set(avro_schemas.NAMES) == set(map(schema_of, EXPECTED))


@pytest.mark.parametrize("name", avro_schemas.NAMES)
def test_every_record_enum_and_field_is_documented(name: str) -> None:
    def look(node: Any, path: str) -> Iterator[str]:
        if isinstance(node, list):
            for item in node:
                yield from look(item, path)
        elif isinstance(node, dict):
            path = f"{path}.{node.get('name', '')}".rstrip(".")
            if "name" in node and not str(node.get("doc", "")).endswith("."):
                yield path
            for part in ("fields", "type", "items", "values"):
                yield from look(node.get(part), path)

    text = (avro_schemas.schema_folder() / f"{name}.avsc").read_bytes()
    assert list(look(json.loads(text), "")) == []


@pytest.mark.parametrize("name", avro_schemas.NAMES)
def test_fingerprints_are_those_of_the_avro_specification(name: str) -> None:
    assert crc_64_avro(b'"int"') == 0x7275D51A3F395C8F  # the specification's own example
    canonical = to_parsing_canonical_form(avro_schemas.load(name)).encode()
    assert avro_schemas.header(name) == b"\xc3\x01" + crc_64_avro(canonical).to_bytes(8, "little")


@pytest.mark.parametrize("name", avro_schemas.NAMES)
def test_a_changed_schema_is_kept_in_history_and_as_golden_bytes(name: str) -> None:
    history = avro_schemas.schema_folder() / "history"
    kept = {entry.name.split(".")[1] for entry in history.iterdir()} if history.is_dir() else set()
    told = complaints(name, current(name), golden_versions(name), kept)
    assert not told, " ".join(told)


def test_a_changed_schema_without_history_is_told_what_to_do(folder: Path) -> None:
    old = current("signal")
    with_another_field(folder / "signal.avsc", default="")
    avro_schemas.forget()
    assert current("signal") != old
    keep, write = complaints("signal", current("signal"), {old}, set())
    assert f"as schemas/history/signal.{old}.avsc" in keep
    assert "run `uv run python tests/unit/test_avro_schemas.py`" in write
    assert complaints("signal", current("signal"), {old, current("signal")}, {old}) == []


def test_every_file_of_history_is_called_after_its_fingerprint() -> None:
    history = avro_schemas.schema_folder() / "history"
    for entry in history.iterdir() if history.is_dir() else []:
        assert entry.name.split(".")[1] == avro_schemas.fingerprint_of(entry.read_bytes()).hex()


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.bin")), ids=lambda path: path.stem)
def test_a_record_written_by_an_older_version_is_still_read(path: Path) -> None:
    sample, fingerprint, _ = path.name.split(".")
    data = path.read_bytes()
    assert data[2:10].hex() == fingerprint
    assert read(sample, data) == EXPECTED[sample]


@pytest.mark.parametrize("name", avro_schemas.BEFORE)
def test_a_record_that_says_nothing_new_is_written_for_readers_of_the_version_before(name: str) -> None:
    samples = [sample for sample in EXPECTED if schema_of(sample) == name]
    fingerprints = {sample: written(sample)[2:10].hex() for sample in samples}
    assert fingerprints[name] == avro_schemas.BEFORE[name]
    assert set(fingerprints.values()) == {avro_schemas.BEFORE[name], current(name)}


@pytest.mark.parametrize("sample", EXPECTED)
def test_a_record_is_written_today_as_it_was_when_its_version_was_new(sample: str) -> None:
    if sample in ("signup", "user"):  # a map's order is nobody's promise, the others have one way to be written
        assert read(sample, written(sample)) == EXPECTED[sample]
    else:
        assert written(sample) == golden_file(sample).read_bytes()


FORMER = {
    "that knew only intervals": {
        "signup": "df15c2eba94e6eee",
        "command": "1ef164f2ba7590c5",
        "monitor": "00226e8f37c01695",
    },
    "without retries, reminders and maintenance": {
        "signup": "af68f3510a4f4675",
        "command": "d188d7435f16b941",
        "tick": "f7592eef553e90a3",
        "result": "72854fa14b6dda9f",
        "transition": "c7c2be6ccce82206",
        "monitor": "9d6b5b45f8b94bf4",
        "user": "070e58b68cca3a30",
    },
    "without the detail of failures": {"result": "227e94b33e3f10cc"},
}


@pytest.mark.parametrize(("name", "old"), [pair for versions in FORMER.values() for pair in versions.items()], ids=str)
def test_the_versions_that_knew_less_are_among_those_still_read(name: str, old: str) -> None:
    assert old != current(name)
    assert READ[name]((GOLDEN / f"{name}.{old}.bin").read_bytes()) == EXPECTED[name]


def test_a_record_of_a_version_in_history_is_read_with_the_new_fields_default(folder: Path) -> None:
    old_bytes, old = avro_schemas.encode("signal", INPUTS["signal"]), current("signal")
    (folder / "history").mkdir(exist_ok=True)
    shutil.copy(folder / "signal.avsc", folder / "history" / f"signal.{old}.avsc")
    with_another_field(folder / "signal.avsc", default="unknown")
    avro_schemas.forget()
    read = avro_schemas.decode("signal", old_bytes)
    assert read.pop("source") == "unknown"
    assert read.items() >= INPUTS["signal"].items()


def test_a_record_of_a_version_nobody_kept_is_refused(folder: Path) -> None:
    old_bytes = avro_schemas.encode("signal", INPUTS["signal"])
    with_another_field(folder / "signal.avsc", default="unknown")
    avro_schemas.forget()
    with pytest.raises(InvalidInput, match="unknown Avro schema fingerprint"):
        avro_schemas.decode("signal", old_bytes)


def as_json(record: Mapping[str, Any]) -> bytes:
    """The same input as JSON, where a config is an object and a payload a value, and not text."""
    plain = json.loads(json.dumps(record))
    for monitor in [plain.get("monitor"), *plain.get("monitors", [])]:
        if monitor:
            monitor["config"] = json.loads(monitor["config"])
            if monitor.get("payload"):
                monitor["payload"] = json.loads(monitor["payload"])
    return json.dumps(plain).encode()


@pytest.mark.parametrize("sample", INPUTS)
def test_json_and_avro_of_one_input_mean_the_same(sample: str) -> None:
    assert read(sample, as_json(INPUTS[sample])) == read(sample, written(sample)) == EXPECTED[sample]


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("signup", {"user_id": "u", "monitors": [{"config": "{}"}]}),
        ("command", {"command": "put", "user_id": "u", "monitor": {"config": "{}"}}),
        ("command", {"command": "deregister", "user_id": "u"}),
        ("command", {"command": "cancel", "user_id": "u"}),
        ("command", {"command": "maintain", "user_id": "u"}),
        ("command", {"command": "run_now", "user_id": "u", "monitor_id": "m"}),
        ("signup", {"user_id": "u", "monitors": [{"config": "{}", "policy": {"retries": {"max": 2}}}]}),
        ("signup", {"user_id": "u", "maintenance": [{"cron": "0 2 * * 6", "duration": "2h"}]}),
        ("signal", {"user_id": "u", "monitor_id": "m"}),
    ],
)
def test_what_is_left_out_means_the_same_in_json_and_avro(name: str, least: dict[str, Any]) -> None:
    assert READ[name](as_json(least)) == READ[name](avro_schemas.encode(name, least))


def crc_64_avro(data: bytes) -> int:
    """The Rabin fingerprint of the Avro specification, written down from there bit by bit."""
    empty = 0xC15D213AA4D7A795
    value = empty
    for byte in data:
        mixed = (value ^ byte) & 0xFF
        for _ in range(8):
            mixed = (mixed >> 1) ^ (empty if mixed & 1 else 0)
        value = (value >> 8) ^ mixed
    return value


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for each in EXPECTED:
        if not golden_file(each).exists():
            golden_file(each).write_bytes(written(each))
