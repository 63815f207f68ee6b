"""Records of a batch against a plain list of them, and whole batches against aiokafka's own reader.

Keys and values are as nasty as they can come: user ids and configs are other people's text, and may well hold what
looks like a piece of another record. What no text can hold is a NUL (ids have no control characters, JSON escapes
them), and every value begins with an Avro header; only in numbers at the end of a value is a zero byte possible.
"""

from aiokafka.record.memory_records import MemoryRecords
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from everwatch.encoding.varint import encode as varint
from everwatch.encoding.varint import read as read_varint
from everwatch.kafka.compression import codec_named
from everwatch.kafka.stamped_batch import StampedBatch
from everwatch.timetable import Chunk, record_framing
from everwatch.timetable.record_framing import FramedRecord, framed, unframed

START = 1_800_000_000_000
HEADER = bytes.fromhex("c301") + bytes(range(0xF0, 0xF8))
BORDERS = (0, 1, 63, 64, 65, 127, 128, 129, 8_190, 8_191, 8_192, 8_193)
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

texts = st.text(st.characters(codec="utf-8", min_codepoint=1), min_size=1, max_size=12).map(str.encode)
lengths = st.sampled_from(BORDERS) | st.integers(0, 300)
# a retry goes out long after the tick whose timestamp it carries
deltas = (
    st.sampled_from([0, 0, 0, 1, 63, 64, 100, 127, 128, 8_191, 8_192, 60_000, 2**40])
    | st.sampled_from([-1, -63, -64, -65, -127, -128, -8_192, -8_193, -60_000, -(2**40)])
    | st.integers(-60_000, 60_000)
)
# keys that are the end of other keys, and keys that look like a length and a key
keys = st.sampled_from([b"u", b"uu", b"\x02u", b"\x04\x02u", b"au", b"baba", b"aba", b"ba", b"a"]) | texts
tails = st.sampled_from([b"\x02", b"\x00\x02", b"\x80\x01\x02", b"\x00\x00\x02"])


@st.composite
def values(draw: st.DrawFn, others: tuple[bytes, ...] = ()) -> bytes:
    """The value of a tick: a header, text of any kind, and numbers."""
    text = draw(texts | lengths.map(lambda length: b"x" * length))
    if others:
        # the framed part of a record that is there, as far as text can have it
        text += draw(st.sampled_from(others)).rstrip(b"\0")
    return HEADER + text.replace(b"\0", b"") + draw(tails)


class RecordsMachine(RuleBasedStateMachine):
    """Records come and go; the last one takes the place of one that goes."""

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()
        self.model: list[FramedRecord] = []

    @initialize(
        some=st.lists(st.tuples(keys, st.sampled_from(BORDERS), deltas), max_size=8),
        many=st.sampled_from([0, 0, 62, 64, 130, 290]),
    )
    def begin(self, some: list[tuple[bytes, int, int]], many: int) -> None:
        for key, length, delta in some:
            self._append(key, HEADER + b"x" * length + b"\x02", delta)
        for number in range(many):
            self._append(b"u%d" % (number % 10), HEADER + b"m%d\x02" % number, 100 * (number % 3))

    @rule(key=keys, data=st.data(), delta=deltas)
    def append(self, key: bytes, data: st.DataObject, delta: int) -> None:
        others = tuple(entry.framed for entry in self.model[:4] + self.model[-4:])
        self._append(key, data.draw(values(others) if data.draw(st.booleans()) else values()), delta)

    @rule(key=keys, length=st.sampled_from(BORDERS), delta=deltas)
    def append_one_of_a_length_that_takes_one_byte_more(self, key: bytes, length: int, delta: int) -> None:
        self._append(key, b"x" * max(length - len(key), 0), delta)

    @precondition(lambda self: self.model)
    @rule(place=st.integers(0, 299) | st.sampled_from([-1, 0]))
    def discard(self, place: int) -> None:
        gone = self.model[place % len(self.model)]
        assert record_framing.discard(self.data, len(self.model), *gone)
        place = self.model.index(gone)
        last = self.model.pop()
        if place < len(self.model):
            self.model[place] = last

    @precondition(lambda self: self.model)
    @rule(place=st.integers(0, 299), key=keys, value=values(), delta=deltas)
    def discard_what_is_not_there(self, place: int, key: bytes, value: bytes, delta: int) -> None:
        there = set(self.model)
        other = self.model[place % len(self.model)]
        for absent in (FramedRecord(delta, framed(key, value)), FramedRecord(other.delta + 1, other.framed)):
            if absent not in there:
                before = bytes(self.data)
                assert not record_framing.discard(self.data, len(self.model), *absent)
                assert self.data == before

    def _append(self, key: bytes, value: bytes, delta: int) -> None:
        entry = FramedRecord(delta, framed(key, value))
        # a monitor is in a batch once
        if len(self.model) < 300 and entry.framed not in {other.framed for other in self.model}:
            record_framing.append(self.data, len(self.model), *entry)
            self.model.append(entry)

    @invariant()
    def walking_finds_all_of_them_in_order(self) -> None:
        assert list(record_framing.walk(self.data)) == self.model
        assert list(record_framing.walk(bytes(self.data))) == self.model


RecordsMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestRecords = RecordsMachine.TestCase


def test_a_value_that_ends_like_a_record_is_not_taken_for_the_last_one() -> None:
    # "0", NUL, NUL, 2 says: a record of 24 bytes, no timestamp delta, number 1; so many bytes do follow
    first = FramedRecord(0, framed(b"u", HEADER + b"0\x00\x00\x02"))
    last = FramedRecord(-1, framed(b"u", HEADER + b"0\x02"))
    records = bytearray()
    for index, entry in enumerate((first, last)):
        record_framing.append(records, index, *entry)
    assert record_framing.discard(records, 2, *first)
    assert list(record_framing.walk(records)) == [last]


@given(st.binary(max_size=200) | lengths.map(bytes), st.binary(max_size=200) | lengths.map(bytes))
@example(b"", b"")
def test_key_and_value_come_out_of_a_framed_record_as_they_went_in(key: bytes, value: bytes) -> None:
    assert unframed(framed(key, value)) == (key, value)
    assert framed(key, value).endswith(b"\0")  # no headers


@given(
    st.integers(-(2**62), 2**62)
    | st.sampled_from([edge + by for edge in (64, 8_192, 2**20, 2**27, 2**34) for by in (-1, 0)])
    | st.sampled_from([-edge - by for edge in (64, 8_192, 2**20, 2**27, 2**34) for by in (0, 1)])
)
def test_a_number_takes_as_many_bytes_as_it_needs_and_is_read_back(number: int) -> None:
    encoded = varint(number)
    assert read_varint(b"\xff" + encoded + b"\xff", 1) == (number, 1 + len(encoded))
    zigzag = 2 * number if number >= 0 else -2 * number - 1
    assert len(encoded) == max(1, -(-zigzag.bit_length() // 7))


batches = st.lists(
    st.tuples(st.binary(max_size=20), st.binary(max_size=40) | lengths.map(lambda length: b"v" * length), deltas),
    min_size=1,
    max_size=20,
)


@settings(deadline=None)
@given(
    batches,
    st.sampled_from(CODECS),
    st.integers(2**41, START * 2),
    st.tuples(st.integers(0, 2**62), st.integers(0, 2**15 - 1), st.integers(0, 2**31 - 1)),
)
def test_aiokafka_reads_a_stamped_batch_as_it_was_meant(
    batch: list[tuple[bytes, bytes, int]], compression: str, instant: int, producer: tuple[int, int, int]
) -> None:
    packing = codec_named(compression)
    chunk = Chunk()
    for key, value, delta in batch:
        chunk.add(FramedRecord(delta, framed(key, value)), packing)
    stamped = StampedBatch(chunk.packed(packing), chunk.count, chunk.code, instant, chunk.reach)
    stamped.stamp(*producer)
    built = bytes(stamped.encoded())
    assert bytes(stamped.encoded()) == built  # sent again, it is the same
    assert len(built) == stamped.size()
    assert stamped.record_count() == len(batch)

    read = MemoryRecords(built)
    kafka = read.next_batch()
    assert not read.has_next()
    assert kafka.validate_crc()
    assert kafka.magic == 2
    assert kafka.compression_type == chunk.code
    assert chunk.code in (0, packing.code)
    assert (kafka.base_offset, kafka.last_offset_delta) == (0, len(batch) - 1)
    assert (kafka.producer_id, kafka.producer_epoch, kafka.base_sequence) == producer
    assert not kafka.is_transactional
    assert not kafka.is_control_batch
    assert kafka.timestamp_type == 0  # CreateTime: a tick's instant is its own
    assert (kafka.first_timestamp, kafka.max_timestamp) == (instant, instant + max(delta for *_, delta in batch))
    assert [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in kafka] == [
        (number, instant + delta, key, value, []) for number, (key, value, delta) in enumerate(batch)
    ]


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(CODECS), st.lists(st.integers(0, 59), max_size=70, unique=True), st.sampled_from([60, 300]))
def test_a_batch_that_lost_records_is_still_one_that_aiokafka_reads(
    compression: str, gone: list[int], many: int
) -> None:
    packing, chunk = codec_named(compression), Chunk()
    entries = [FramedRecord(100 * (n % 5), framed(b"user-%d" % n, HEADER + b"config of %d" % n)) for n in range(many)]
    for entry in entries:
        chunk.add(entry, packing)
    for number in gone:
        chunk.packed(packing)
        assert chunk.discard(entries[number], packing)
    built = StampedBatch(chunk.packed(packing), chunk.count, chunk.code, START, chunk.reach).encoded()
    if chunk.count:
        kafka = MemoryRecords(bytes(built)).next_batch()
        assert kafka.validate_crc()
        found = [(r.offset, r.timestamp - START, r.key, r.value) for r in kafka]
        assert [offset for offset, *_ in found] == list(range(many - len(gone)))
        left = {entry for number, entry in enumerate(entries) if number not in gone}
        assert {FramedRecord(delta, framed(key, value)) for _, delta, key, value in found} == left


@given(
    st.sampled_from(CODECS),
    st.binary(min_size=1, max_size=3_000) | st.integers(1, 200).map(lambda times: b"same " * times),
)
def test_what_is_packed_comes_out_again(compression: str, data: bytes) -> None:
    packing = codec_named(compression)
    assert packing.unpack(packing.pack(data)) == data
