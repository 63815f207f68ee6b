"""Bytes of each record on its topic, packed in batches as producers send them: what disks and networks are sized by.

Nothing runs: the records are encoded by the code that sends them. Ids are random UUIDs, each monitor has a URL of its
own, and those of a batch belong to scattered users, which is the worst case for compression.
"""

import random
import uuid
from collections.abc import Callable, Iterator

import orjson
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from bench.plan import Plan
from bench.report import Figure, Outcome
from everwatch.core.config import load_settings
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.encoding.table_records import tick_value
from everwatch.kafka.compression import codec_named
from everwatch.model import Monitor, Result, State, Status, Transition, User
from everwatch.rules.registration_rules import newcomer

NOW_MS = 1_790_000_000_000
MONITORS = 3
IN_A_BATCH = 100
_HEADER_BYTES = 61
_TIMINGS = ("dns", "connect", "tls", "first_byte", "total")
Record = tuple[bytes, bytes]


def measure(plan: Plan) -> Outcome:
    """Encode the records of some users, and pack them."""
    users = 200 if plan.quick else 2_000
    settings = load_settings()
    numbers = random.Random(1)
    signups = [_signup(numbers) for _ in range(users)]
    known = [newcomer(codec.decode_signup(value), NOW_MS, NOW_MS) for _, value in signups]
    monitors = [monitor for _, of_user in known for monitor in of_user]
    # those of one user are due at different instants
    scattered = numbers.sample(monitors, len(monitors))
    kinds: dict[str, Callable[[], Iterator[Record]]] = {
        f"signup with {MONITORS} http monitors": lambda: iter(signups),
        "changelog entry of a user": lambda: (_entry(user) for user, _ in known),
        "changelog entry of an http monitor": lambda: (_entry(monitor) for monitor in monitors),
        "tick": lambda: ((monitor.user_id.encode(), tick_value(monitor)) for monitor in scattered),
        "result of an http check (avro)": lambda: (_result(each, numbers, OutputFormat.AVRO) for each in scattered),
        "result of an http check (json)": lambda: (_result(each, numbers, OutputFormat.JSON) for each in scattered),
        "transition (avro)": lambda: (_transition(each, numbers) for each in scattered),
    }
    figures = []
    for name, records in kinds.items():
        plain, packed = _sizes(list(records()), settings.compression)
        figures += [
            Figure(f"{name}, key and value", plain, "bytes"),
            Figure(f"{name}, of {IN_A_BATCH} in {settings.compression}", packed, "bytes"),
        ]
    return Outcome(figures)


def _sizes(records: list[Record], compression: str) -> tuple[float, float]:
    pack = codec_named(compression).pack
    plain = sum(len(key) + len(value) for key, value in records) / len(records)
    packed = 0
    for begin in range(0, len(records), IN_A_BATCH):
        builder = DefaultRecordBatchBuilder(
            magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
            batch_size=2**24,
        )  # fmt: skip
        for offset, (key, value) in enumerate(records[begin : begin + IN_A_BATCH]):
            builder.append(offset, NOW_MS, key, value, [])
        packed += _HEADER_BYTES + len(pack(bytes(builder.build())[_HEADER_BYTES:]))
    return plain, packed / len(records)


def _id(numbers: random.Random) -> str:
    return str(uuid.UUID(int=numbers.getrandbits(128), version=4))


def _signup(numbers: random.Random) -> Record:
    user_id = _id(numbers)
    monitors = [
        {
            "monitor_id": f"site-{number}",
            "kind": "http",
            "config": {"url": f"https://{_id(numbers)[:13]}.example.com/health"},
            "schedule": {"every": "60s"},
        }
        for number in range(MONITORS)
    ]
    attributes = {"site": f"https://{_id(numbers)[:13]}.example.com"}
    value = orjson.dumps({"user_id": user_id, "plan": "pro", "attributes": attributes, "monitors": monitors})
    return user_id.encode(), value


def _entry(entry: User | Monitor) -> Record:
    monitor_id = entry.monitor_id if isinstance(entry, Monitor) else ""
    return codec.table_key(entry.user_id, monitor_id), codec.encode_entry(entry)


def _result(monitor: Monitor, numbers: random.Random, output_format: OutputFormat) -> Record:
    timings = {name: round(numbers.uniform(1, 200), 3) for name in _TIMINGS}
    result = Result(
        user_id=monitor.user_id,
        monitor_id=monitor.monitor_id,
        scheduled_at=NOW_MS + numbers.randrange(60_000),
        kind=monitor.spec.kind,
        version=1,
        status=Status.SUCCESS,
        reason="",
        started_at=NOW_MS + numbers.randrange(60_000),
        duration_ms=timings["total"],
        timings=timings,
        executor="everwatch-executor-7d9f8b6c5-x2lqk-1",
    )
    return monitor.user_id.encode(), codec.encode_result(result, output_format)


def _transition(monitor: Monitor, numbers: random.Random) -> Record:
    transition = Transition(
        user_id=monitor.user_id,
        monitor_id=monitor.monitor_id,
        at=NOW_MS + numbers.randrange(60_000),
        from_state=State.UP,
        to_state=State.DOWN,
        reason="timed out after 10 s",
        version=1,
        kind=monitor.spec.kind,
        target="shop.example.com",
        plan="pro",
        executor="everwatch-executor-7d9f8b6c5-x2lqk-1",
    )
    return monitor.user_id.encode(), codec.encode_transition(transition, OutputFormat.AVRO)
