"""Confluent wire format by a schema registry: a stand-in, and (marked live) Apicurio's application."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from support.apicurio import Apicurio, Unavailable
from support.authority import Authority
from support.schema_registry import StandInRegistry

from everwatch.core.clock import SettableClock
from everwatch.core.config import Secret, Settings
from everwatch.core.errors import InvalidInput, RegistryUnavailable, SettingsError
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import avro_schemas, codec, registered_schemas
from everwatch.encoding.registered_schemas import RegisteredSchemas
from everwatch.kafka.schema_registry import SchemaRegistry, use_registry, write_by_registry
from everwatch.model import Result, State, Status, Transition

NOW = 1_795_262_400_000
RESULT = Result("anna", "shop", NOW, "http", 1, Status.SUCCESS, "200 OK", NOW + 5, 12.5)
TRANSITION = Transition("anna", "shop", NOW, State.UP, State.DOWN, "500", 1)
# of a shop that knows no more of us than this
FOREIGN = {
    "type": "record",
    "name": "Signal",
    "namespace": "shop",
    "fields": [
        {"name": "mood", "type": "string", "default": ""},
        {"name": "monitor_id", "type": "string"},
        {"name": "user_id", "type": "string"},
    ],
}
JSON_SCHEMA = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}


@pytest.fixture(params=["stand-in", pytest.param("apicurio", marks=pytest.mark.live)])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a registry that speaks Confluent's API."""
    if request.param == "stand-in":
        with StandInRegistry() as registry:
            yield registry.url
        return
    yield request.getfixturevalue("apicurio").url


@pytest.fixture(scope="module")
def apicurio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apicurio]:
    """Apicurio's application, with its schemas in memory."""
    try:
        with Apicurio(tmp_path_factory.mktemp("apicurio")) as running:
            yield running
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def no_registry() -> Iterator[None]:
    yield
    registered_schemas.use(None)


def settings_of(url: str, folder: Path, prefix: str = "") -> Settings:
    return Settings(data_dir=folder, schema_registry_url=url, output_format=OutputFormat.CONFLUENT, topic_prefix=prefix)


def connect(settings: Settings) -> None:
    use_registry(settings, SettableClock(NOW))
    write_by_registry(settings)


def registered(url: str, subject: str, schema: dict[str, object], type_: str = "AVRO") -> int:
    text = orjson.dumps(schema).decode()
    return int(SchemaRegistryClient({"url": url}).register_schema(subject, Schema(text, type_)))


def wire(number: int, body: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + body


def test_what_is_written_names_its_schema_and_is_read_back(url: str, tmp_path: Path) -> None:
    connect(settings_of(url, tmp_path, "own."))
    client = SchemaRegistryClient({"url": url})
    for name, value, encode, decode in (
        ("result", RESULT, codec.encode_result, codec.decode_result),
        ("transition", TRANSITION, codec.encode_transition, codec.decode_transition),
    ):
        data = encode(value, OutputFormat.CONFLUENT)  # type: ignore[operator]
        assert data[:1] == b"\0"
        text = client.get_schema(int.from_bytes(data[1:5], "big")).schema_str
        assert text is not None
        assert avro_schemas.fingerprint_of(text.encode()) == avro_schemas.header(name)[2:]
        assert decode(data) == value  # type: ignore[operator]


def test_a_signal_of_another_writers_schema_is_read_by_the_names_of_its_fields(url: str, tmp_path: Path) -> None:
    connect(settings_of(url, tmp_path, "foreign."))
    number = registered(url, "foreign.signals-value", FOREIGN)
    signal = codec.decode_signal(wire(number, b"\x08fine\x08shop\x08anna"))
    assert (signal.user_id, signal.monitor_id, signal.at) == ("anna", "shop", 0)
    # as JSON, of a schema of that type
    number = registered(url, "json.signals-value", JSON_SCHEMA, "JSON")
    signal = codec.decode_signal(wire(number, b'{"user_id": "anna", "monitor_id": "shop"}'))
    assert signal.user_id == "anna"


def test_what_cannot_be_read_is_refused_with_its_reason(url: str, tmp_path: Path) -> None:
    connect(settings_of(url, tmp_path, "refused."))
    number = registered(url, "refused.signals-value", FOREIGN)
    other = registered(url, "refused.others-value", {"type": "record", "name": "Other", "fields": []})
    for data, reason in (
        (wire(987_654_321, b"{}"), "the schema registry has no schema 987654321"),
        (b"\0\0\0", "ends before the schema's id"),
        (wire(number, b"\x08fine\x08shop"), "the Avro body does not hold a signal"),
        (wire(other, b""), "the Avro body does not hold a signal"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            codec.decode_signal(data)


def test_a_subject_of_something_else_is_not_taken_over(url: str, tmp_path: Path) -> None:
    client = SchemaRegistryClient({"url": url})
    client.set_compatibility(subject_name="taken.results-value", level="BACKWARD")
    taken = {"type": "record", "name": "Pizza", "fields": [{"name": "cheese", "type": "string"}]}
    registered(url, "taken.results-value", taken)
    with pytest.raises(RegistryUnavailable, match=r"incompatible with subject taken\.results-value"):
        connect(settings_of(url, tmp_path, "taken."))


# --- what only a stand-in does --------------------------------------------------------------------------------------


def test_ids_are_looked_up_once_and_outlive_the_process(tmp_path: Path) -> None:
    with StandInRegistry() as registry:
        settings = settings_of(registry.url, tmp_path)
        connect(settings)
        assert registry.compatibility == {
            f"{topic}-value": "BACKWARD" for topic in ("results", "transitions", "replies", "audit")
        }
        number = registered(registry.url, "signals-value", FOREIGN)
        asked = registry.requests.total()
        for _ in range(1_000):
            codec.decode_signal(wire(number, b"\x08fine\x08shop\x08anna"))
            assert codec.decode_result(codec.encode_result(RESULT, OutputFormat.CONFLUENT)) == RESULT
        # one for each id
        assert registry.requests.total() == asked + 2
        registry.away = True
        # another process over the same folder
        connect(settings)
        assert codec.decode_signal(wire(number, b"\x08fine\x08shop\x08anna")).user_id == "anna"
        assert codec.decode_result(codec.encode_result(RESULT, OutputFormat.CONFLUENT)) == RESULT
        with pytest.raises(RegistryUnavailable, match="is it running"):
            codec.decode_signal(wire(number + 100, b""))


def test_an_id_that_is_unknown_is_asked_for_again_after_a_while(tmp_path: Path) -> None:
    clock = SettableClock(NOW)
    with StandInRegistry() as registry:
        schemas = RegisteredSchemas(SchemaRegistry(settings_of(registry.url, tmp_path)).fetch, clock)
        for _ in range(3):
            with pytest.raises(InvalidInput):
                schemas.plain(wire(1, b""))
        assert registry.requests.total() == 1
        registered(registry.url, "signals-value", FOREIGN)
        clock.advance(31_000)
        assert schemas.plain(wire(1, b"x")).endswith(b"x")


def test_a_wrong_password_and_a_wrong_address_are_told_apart(tmp_path: Path) -> None:
    with StandInRegistry("anna:right") as registry:
        wrong = Settings(
            data_dir=tmp_path,
            schema_registry_url=registry.url,
            schema_registry_user="anna",
            schema_registry_password=Secret("wrong"),
        )
        with pytest.raises(RegistryUnavailable, match="HTTP 401") as refused:
            SchemaRegistry(wrong).fetch(1)
        assert "wrong" not in str(refused.value)
        right = Settings(
            data_dir=tmp_path,
            schema_registry_url=registry.url,
            schema_registry_user="anna",
            schema_registry_password=Secret("right"),
        )
        assert SchemaRegistry(right).fetch(1) is None
    with pytest.raises(RegistryUnavailable, match="is it running"):
        SchemaRegistry(settings_of("http://127.0.0.1:1", tmp_path)).fetch(1)


def test_a_registry_behind_tls_is_trusted_by_its_authority_alone(tmp_path: Path, authority: Authority) -> None:
    with StandInRegistry(tls=authority.certificate("IP:127.0.0.1")) as registry:
        trusting = Settings(data_dir=tmp_path, schema_registry_url=registry.url, schema_registry_ca_file=authority.path)
        assert SchemaRegistry(trusting).fetch(1) is None
        with pytest.raises(RegistryUnavailable, match="ConnectError"):
            SchemaRegistry(settings_of(registry.url, tmp_path)).fetch(1)
        missing = Settings(data_dir=tmp_path, schema_registry_url=registry.url, schema_registry_ca_file=tmp_path / "no")
        with pytest.raises(SettingsError, match="schema registry are wrong"):
            SchemaRegistry(missing).fetch(1)
