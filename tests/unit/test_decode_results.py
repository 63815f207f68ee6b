"""Results of the newest schema have a reader of their own, which reads what the reader of any schema reads."""

from io import BytesIO
from unittest import mock

import msgspec
import orjson
import pytest
from fastavro import schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from everwatch.core.errors import InvalidInput
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import avro_schemas, codec, result_decoder
from everwatch.model import Result, Status

LENGTH = avro_schemas.HEADER_LENGTH


def result(number: int, **changes: object) -> bytes:
    one = Result(
        f"user-{number}", "shop", 60_000 + number, "http", 1, Status.SUCCESS, "x" * number, 60_004, 1.5,
        timings={"dns": 1.5} if number % 2 else {},
    )  # fmt: skip
    return codec.encode_result(msgspec.structs.replace(one, **changes), OutputFormat.AVRO)


def read(value: bytes | None) -> object:
    try:
        return codec.decode_result(value)
    except InvalidInput as error:
        return error.reason, error.path


def read_as_any_schema(value: bytes | None) -> object:
    with mock.patch.object(result_decoder, "HEADERS", (b"of no result",)):
        return read(value)


GOOD = [result(number) for number in range(20)]
INNER = result(3)[LENGTH:]
WRONG: list[bytes | None] = [
    None,
    b"",
    b"no result",
    GOOD[0][:-1],
    GOOD[0][: LENGTH + 3],
    GOOD[0][:LENGTH],
    GOOD[0][:5],
    # two records in one, and one that ends within the next
    GOOD[1] + INNER,
    GOOD[1] + b"\0",
    result(1, detail="x" * 50)[:-20],
    # a string of a length below nothing, and a map of more entries than there are bytes
    GOOD[0][:LENGTH] + b"\x01" + INNER,
    GOOD[0].replace(b"shop", b"\xff\xfe\xff\xfe"),
    GOOD[0][:2] + b"8 other!" + INNER,
    result(0, duration_ms=float("nan")),
    result(0, timings={"dns": float("inf")}),
    result(0, user_id="__everwatch"),
    codec.encode_result(codec.decode_result(GOOD[0]), OutputFormat.JSON),
    b"x" * (codec.LARGEST_RESULT_BYTES + 1),
]


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_a_wrong_record_is_refused_as_by_the_reader_of_any_schema(wrong: bytes | None) -> None:
    assert read(wrong) == read_as_any_schema(wrong)
    assert list(map(read, GOOD)) == list(map(read_as_any_schema, GOOD)), "what was remembered of it is right"


def test_a_record_that_is_cut_or_has_lost_its_beginning_is_refused() -> None:
    whole = result(4, monitor_id="shop" * 15)
    assert isinstance(read(whole), Result)
    for cut in range(LENGTH, len(whole)):
        for part in (whole[:cut], whole[:LENGTH] + whole[cut:]):
            assert read(part) == read_as_any_schema(part)


# says something in each field
TOLD = result(
    3, skipped_until=70_000, skipped_count=2, status=Status.SKIPPED, manual=True, detail="more", unreached=7,
    scheduled_at=1_795_000_000_000, executor="e-1",
)  # fmt: skip


def test_whatever_one_byte_of_a_record_is_it_is_read_as_by_the_reader_of_any_schema() -> None:
    for at in range(LENGTH, len(TOLD)):
        for byte in range(256):
            changed = TOLD[:at] + bytes([byte]) + TOLD[at + 1 :]
            assert read(changed) == read_as_any_schema(changed), (at, byte)


def test_numbers_and_lengths_of_more_bytes_than_they_need_are_read_and_not_remembered() -> None:
    for at in range(LENGTH, len(TOLD)):
        longer = TOLD[:at] + bytes([TOLD[at] | 0x80, 0]) + TOLD[at + 1 :]
        assert read(longer) == read_as_any_schema(longer), at
    assert {raw.decode(): text for raw, text in result_decoder.cached_texts.items() if raw.decode() != text} == {}


def test_results_of_every_schema_that_was_ever_written_are_read() -> None:
    names = sorted(each.name for each in (avro_schemas.schema_folder() / "history").iterdir())
    known = codec.decode_result(GOOD[3])
    for name in (each for each in names if each.startswith("result.")):
        schema = orjson.loads((avro_schemas.schema_folder() / "history" / name).read_bytes())
        fields = {field["name"] for field in schema["fields"]}
        record = {key: value for key, value in msgspec.structs.asdict(known).items() if key in fields}
        old = avro_schemas.MAGIC + bytes.fromhex(name.split(".")[1]) + _body(schema, record)
        assert read(old) == known


def _body(schema: dict[str, object], record: dict[str, object]) -> bytes:
    buffer = BytesIO()
    schemaless_writer(buffer, avro_schemas.parse(orjson.dumps(schema)), record)
    return buffer.getvalue()


def test_the_reader_of_results_reads_the_schema_as_it_is() -> None:
    before = avro_schemas.MAGIC + bytes.fromhex(avro_schemas.BEFORE["result"])
    assert (before, avro_schemas.header("result")) == result_decoder.HEADERS
    symbols = next(f["type"]["symbols"] for f in avro_schemas.load("result")["fields"] if f["name"] == "status")
    assert list(result_decoder.STATUSES) == symbols


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=90)
RESULTS = st.builds(
    Result,
    user_id=TEXTS.map(lambda text: text[:60]),
    monitor_id=TEXTS.map(lambda text: text[:60]),
    scheduled_at=st.integers(0, 2**45) | st.integers(1_790_000_000_000, 1_800_000_000_000),
    kind=st.sampled_from(["http", "noop", "", "k" * 100]),
    version=st.integers(0, 2**31 - 1) | st.integers(0, 90),
    status=st.sampled_from(Status),
    reason=st.sampled_from(["", "200 OK"]) | TEXTS,
    started_at=st.integers(0, 2**45) | st.integers(1_790_000_000_000, 1_800_000_000_000),
    duration_ms=st.floats(0, 10_000),
    attempt=st.integers(0, 200),
    timings=st.dictionaries(st.sampled_from(["dns", "total", "x" * 70]) | TEXTS, st.floats(0, 10_000), max_size=70),
    executor=st.sampled_from(["", "everwatch-executor-1"]) | TEXTS,
    skipped_until=st.just(0) | st.integers(0, 2**45),
    skipped_count=st.just(0) | st.integers(0, 2**40),
    manual=st.booleans(),
    detail=st.just("") | TEXTS,
    unreached=st.just(0) | st.integers(0, 100),
)


@given(RESULTS)
def test_whatever_a_result_says_is_read(one: Result) -> None:
    data = codec.encode_result(one, OutputFormat.AVRO)
    if len(one.timings) < 64:
        assert msgspec.convert(result_decoder.decode(data), type=Result) == one
    assert read(data) == one == read_as_any_schema(data)


@given(
    RESULTS, st.lists(st.tuples(st.integers(LENGTH, 400), st.integers(0, 255)), min_size=1, max_size=3), st.booleans()
)
def test_a_record_whose_bytes_are_changed_is_read_or_refused_as_by_any_reader(
    one: Result, changes: list[tuple[int, int]], cut: bool
) -> None:
    data = bytearray(codec.encode_result(one, OutputFormat.AVRO))
    for at, byte in changes:
        data[at % (len(data) - LENGTH) + LENGTH] = byte
    if cut:
        del data[changes[0][0] % (len(data) - LENGTH) + LENGTH :]
    assert read(bytes(data)) == read_as_any_schema(bytes(data))
    assert read(GOOD[0]) == read_as_any_schema(GOOD[0])


def test_what_is_remembered_has_an_end() -> None:
    most = result_decoder.MOST_REMEMBERED
    texts, instants = result_decoder.cached_texts, result_decoder.cached_instants
    before = texts.copy(), instants.copy()
    try:
        texts.update({b"filler %d" % number: "" for number in range(most - len(texts) - 10)})
        instants.update({b"filler %d" % number: 0 for number in range(most - len(instants) - 10)})
        values = [result(0, monitor_id=f"m-{n}", scheduled_at=1_795_000_000_000 + n) for n in range(50)]
        assert list(map(read, values)) == list(map(read_as_any_schema, values))
        assert len(texts) < most > len(instants)
    finally:
        for cached, contents in ((texts, before[0]), (instants, before[1])):
            cached.clear()
            cached.update(contents)  # type: ignore[arg-type]
