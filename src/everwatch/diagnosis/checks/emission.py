"""Check of the ticks: how far they are emitted, which is also a view of the workers' clocks."""

from collections.abc import Iterable, Iterator

from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System

MOST_SKEW_MS = 2_000
LATE_MS = 5_000


def check_emission(system: System) -> Iterator[Finding]:
    """Compare each partition's ``emitted_to`` with this machine's clock, before and after it was read."""
    asked_at = system.clock.now_ms()
    emitted_to = system.emitted_to
    if not emitted_to:
        yield fault("ticks", "no worker has emitted a tick yet", "Start one with 'everwatch up' or 'everwatch worker'.")
        return
    # to read it takes seconds where a machine is busy, which are no delay of the workers'
    answered_at = system.clock.now_ms()
    behind = {number: max(0, asked_at - instant) for number, instant in emitted_to.items()}
    if ahead := {
        number: instant - answered_at for number, instant in emitted_to.items() if instant - answered_at > MOST_SKEW_MS
    }:
        yield fault(
            "ticks",
            f"partitions {sorted(ahead)} are ahead of this machine's clock by {max(ahead.values()) / 1000:.1f} s",
            "Set the clocks of this machine and the workers by NTP.",
        )
    late = {number: ms for number, ms in behind.items() if ms > LATE_MS}
    for owner, numbers in _by_owner(system, late).items():
        lasting = f"no ticks for {max(late[number] for number in numbers) / 1000:.0f} s on partitions {numbers}"
        if owner:
            yield fault(
                "ticks",
                f"{lasting}: {owner} owns them and emits nothing, so it is frozen or overloaded",
                "See its log and its process (stopped? out of memory or CPU?), then restart it.",
            )
        else:
            yield fault("ticks", f"{lasting}: no worker owns them", "Start a worker, or see the workers' logs.")
    if not ahead and not late:
        latest = max(behind.values()) / 1000
        yield well("ticks", f"ticks are emitted up to {latest:.1f} s ago on {len(behind)} partitions; clocks agree")


def _by_owner(system: System, numbers: Iterable[int]) -> dict[str, list[int]]:
    """The partitions of each worker, by client id; "" for those that none owns."""
    owners = {row.partition: row.client_id for row in system.lag.of("worker")}
    found: dict[str, list[int]] = {}
    for number in sorted(numbers):
        found.setdefault(owners.get(number, ""), []).append(number)
    return found
