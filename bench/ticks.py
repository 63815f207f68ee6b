"""Ticks of many monitors of one interval, as an independent reader of the ticks topic sees them."""

from collections import Counter

from confluent_kafka import TopicPartition

from bench.report import Figure, percentile
from bench.rig import Rig, rig, user_id
from everwatch import codec
from everwatch.kafka.clients import new_consumer
from everwatch.kafka.offsets import bounds
from everwatch.model import Every
from everwatch.schedule.every import due_between, phase_of

MONITOR = "tcp"
SETTLE_S = 3.0


def measure(quick: bool) -> list[Figure]:
    """All users sign up, then every tick in a window is read and compared with what the schedules alone say."""
    users, interval_s, seconds = (20_000, 10, 15) if quick else (100_000, 30, 120)
    with rig() as bench:
        bench.say(f"signing up {users} users")
        bench.sign_up(users, f"{interval_s}s")
        bench.wait_for_records(bench.topics.monitors_changelog, 2 * users, 600)
        bench.say(f"reading ticks for {seconds} s")
        return _read(bench, users, Every(interval_s * 1000), seconds)


def _read(bench: Rig, users: int, schedule: Every, seconds: float) -> list[Figure]:
    consumer = new_consumer(bench.settings, bench.bootstrap_servers, "bench-reader", **{"fetch.wait.max.ms": 5})
    positions = [TopicPartition(bench.topics.ticks, number) for number in range(bench.settings.partitions)]
    for position in positions:
        position.offset = bounds(consumer, position.topic, position.partition).stop
    consumer.assign(positions)
    lateness: Counter[int] = Counter()
    seen: dict[bytes, list[int]] = {}
    # what was due just before the window may still be on its way while it begins
    after = bench.clock.now_ms() + 1_000
    upto = after + int(seconds * 1000)
    cpu_s = 0.0
    begun = False
    while bench.clock.now_ms() < upto + SETTLE_S * 1000:
        if not begun and bench.clock.now_ms() >= after:
            begun, cpu_s = True, bench.cpu_s()
        messages = consumer.consume(1, 0.05)
        messages += consumer.consume(10_000, 0) if messages else []
        now = bench.clock.now_ms()
        for message in messages:
            at = message.timestamp()[1]
            if message.error() is None and after < at <= upto:
                lateness[max(0, now - at)] += 1
                seen.setdefault(message.key() or b"", []).append(at)
    cpu_s = bench.cpu_s() - cpu_s
    consumer.close()
    missed = duplicates = ticks = 0
    for number in range(users):
        user = user_id(number)
        due = due_between(schedule, phase_of(codec.table_key(user, MONITOR), schedule), after, upto)
        came = seen.get(codec.user_key(user), [])
        ticks += len(came)
        missed += len(set(due) - set(came))
        duplicates += len(came) - len(set(came))
    return [
        Figure("ticks", ticks / seconds, "ticks/s"),
        Figure("late p50", percentile(lateness, 0.50), "ms"),
        Figure("late p99", percentile(lateness, 0.99), "ms", "<= 50"),
        Figure("late max", max(lateness, default=0), "ms"),
        Figure("missed", missed, "ticks", "<= 0"),
        Figure("duplicates", duplicates, "ticks", "<= 0"),
        Figure("worker CPU", cpu_s / max(ticks, 1) * 1e6, "CPU s per million"),
        Figure("worker resident", bench.resident_mib(), "MiB"),
    ]
