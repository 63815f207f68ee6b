"""Check of the workers by the ticks they emit; their progress is also a view of their clocks."""

from collections.abc import Iterator

from confluent_kafka import TopicPartition

from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System
from everwatch.kafka.offsets import bounds

MOST_SKEW_MS = 2_000
LATE_MS = 5_000


def check_emission(system: System) -> Iterator[Finding]:
    """Compare each partition's ``emitted_to`` with this machine's clock."""
    emitted_to = read_emitted_to(system)
    if not emitted_to:
        yield fault(
            "workers", "no worker has emitted a tick yet", "Start one with 'everwatch up' or 'everwatch worker'."
        )
        return
    now = system.clock.now_ms()
    behind = {number: now - instant for number, instant in emitted_to.items()}
    if ahead := {number: -ms for number, ms in behind.items() if ms < -MOST_SKEW_MS}:
        yield fault(
            "workers",
            f"partitions {sorted(ahead)} are ahead of this machine's clock by {max(ahead.values()) / 1000:.1f} s",
            "Set the clocks of this machine and the workers by NTP.",
        )
    if late := {number: ms for number, ms in behind.items() if ms > LATE_MS}:
        yield fault(
            "workers",
            f"no ticks for {max(late.values()) / 1000:.0f} s on partitions {sorted(late)}",
            "Start a worker if none owns them, or see the workers' logs.",
        )
    if not ahead and not late:
        latest = max(behind.values()) / 1000
        yield well("workers", f"ticks are emitted up to {latest:.1f} s ago on {len(behind)} partitions; clocks agree")


def read_emitted_to(system: System) -> dict[int, int]:
    """The instant (ms) up to which each partition's ticks are emitted; a partition without a worker yet is left out."""
    topic = system.topics.progress
    consumer = system.new_consumer()
    found: dict[int, int] = {}
    try:
        for number in range(system.settings.partitions):
            held = bounds(consumer, topic, number)
            if not held:
                continue
            consumer.assign([TopicPartition(topic, number, held.stop - 1)])
            for message in consumer.consume(1, 5):
                if message.error() is None:
                    found[number] = int(message.value() or 0)
    finally:
        consumer.close()
    return found
