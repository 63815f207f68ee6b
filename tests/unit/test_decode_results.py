"""Many results decoded together are what each of them is by itself, whatever stands between them."""

from io import BytesIO

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


def one_by_one(values: list[bytes | None]) -> list[object]:
    found: list[object] = []
    for value in values:
        try:
            found.append(codec.decode_result(value))
        except InvalidInput as error:
            found.append((error.reason, error.path))
    return found


def together(values: list[bytes | None]) -> list[object]:
    return [each if isinstance(each, Result) else (each.reason, each.path) for each in codec.decode_results(values)]


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
def test_one_wrong_record_among_many_is_refused_and_the_others_are_what_they_are(wrong: bytes | None) -> None:
    values = [*GOOD[:7], wrong, *GOOD[7:]]
    assert together(values) == one_by_one(values)


@given(st.lists(st.sampled_from([*GOOD[:6], *WRONG[:13]]), max_size=12))
def test_whatever_stands_side_by_side_is_decoded_as_it_is_by_itself(values: list[bytes | None]) -> None:
    assert together(values) == one_by_one(values)


def test_two_wrong_records_that_are_right_together_are_refused_both() -> None:
    """The first ends where the second should begin, and the second holds what is left."""
    whole = result(4)
    for cut in range(LENGTH, len(whole)):
        values: list[bytes | None] = [GOOD[0], whole[:cut], whole[:LENGTH] + whole[cut:], GOOD[1]]
        assert together(values) == one_by_one(values)


def test_results_of_every_schema_that_was_ever_written_are_read_together() -> None:
    names = sorted(each.name for each in (avro_schemas.schema_folder() / "history").iterdir())
    known = codec.decode_result(GOOD[3])
    for name in (each for each in names if each.startswith("result.")):
        schema = orjson.loads((avro_schemas.schema_folder() / "history" / name).read_bytes())
        fields = {field["name"] for field in schema["fields"]}
        record = {key: value for key, value in msgspec.structs.asdict(known).items() if key in fields}
        old = avro_schemas.MAGIC + bytes.fromhex(name.split(".")[1]) + _body(schema, record)
        assert codec.decode_results([old, old]) == [known, known]
        assert codec.decode_results([old, GOOD[1], old]) == [known, codec.decode_result(GOOD[1]), known]


def _body(schema: dict[str, object], record: dict[str, object]) -> bytes:
    buffer = BytesIO()
    schemaless_writer(buffer, avro_schemas._parse(orjson.dumps(schema)), record)
    return buffer.getvalue()


def test_the_reader_of_results_reads_the_schema_as_it_is() -> None:
    assert avro_schemas.header("result") == result_decoder.HEADER
    symbols = next(f["type"]["symbols"] for f in avro_schemas.load("result")["fields"] if f["name"] == "status")
    assert list(result_decoder._STATUSES) == symbols


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
)


@given(RESULTS)
def test_whatever_a_result_says_is_read(one: Result) -> None:
    data = codec.encode_result(one, OutputFormat.AVRO)
    if len(one.timings) < 64:
        assert msgspec.convert(result_decoder.decode(data), type=Result) == one
    assert codec.decode_results([data]) == [one] == [codec.decode_result(data)]


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
    values: list[bytes | None] = [GOOD[0], bytes(data), GOOD[1]]
    assert together(values) == one_by_one(values)


def test_what_is_remembered_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_decoder, "MOST_REMEMBERED", 10)
    values: list[bytes | None] = [result(0, monitor_id=f"m-{n}", scheduled_at=1_795_000_000_000 + n) for n in range(50)]
    assert together(values) == one_by_one(values)
    assert len(result_decoder._texts) <= 10 >= len(result_decoder._instants)
