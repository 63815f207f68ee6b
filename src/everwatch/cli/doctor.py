"""``everwatch doctor``: is everything there, and what to do about what is not."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import orjson
import typer
from confluent_kafka import TopicPartition

from everwatch import __version__, schemas
from everwatch.cli.options import AsJson, Bootstrap, DataDir, broker_of, settings_of
from everwatch.cli.stored import database
from everwatch.clock import Clock, SystemClock
from everwatch.config import Settings
from everwatch.errors import EverwatchError
from everwatch.kafka.clients import new_admin, new_consumer
from everwatch.kafka.offsets import bounds
from everwatch.kafka.topics import Topics, check_topics

MOST_SKEW_MS = 2_000
RECENT_MS = 10 * 60_000


class Finding(NamedTuple):
    """One thing looked at: whether it is well, and what was seen or what to do."""

    name: str
    ok: bool
    says: str


def doctor(data_dir: DataDir = None, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """Check broker, topics, workers' progress, database, schemas and clock; exit status 1 if something is wrong.

    Example: `everwatch doctor --json`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    findings = list(_look(settings, SystemClock()))
    if as_json:
        typer.echo(orjson.dumps([finding._asdict() for finding in findings]).decode())
    else:
        for finding in findings:
            colour = typer.colors.GREEN if finding.ok else typer.colors.RED
            mark = typer.style("ok " if finding.ok else "BAD", fg=colour)
            typer.echo(f"{mark} {finding.name:<10} {finding.says}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _look(settings: Settings, clock: Clock) -> Iterator[Finding]:
    yield Finding("settings", True, f"everwatch {__version__}, data in {settings.data_dir}")
    yield _checked("schemas", lambda: f"{len([schemas.load(name) for name in schemas.NAMES])} schemas load")
    bootstrap = broker_of(settings)
    broker = _checked("broker", lambda: _broker(settings, bootstrap))
    yield broker
    if broker.ok:
        problems = [state.problem for state in check_topics(new_admin(settings, bootstrap), settings) if state.problem]
        yield Finding("topics", not problems, " ".join(problems) or f"all there, {settings.partitions} partitions each")
        if not problems:
            yield _checked("workers", lambda: _progress(settings, bootstrap, clock))
    yield _checked("database", lambda: _database(settings))


def _checked(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look())
    except EverwatchError as error:
        return Finding(name, False, str(error))


def _broker(settings: Settings, bootstrap: str) -> str:
    check_topics(new_admin(settings, bootstrap), settings, timeout_s=5)
    return f"answers at {bootstrap}"


def _progress(settings: Settings, bootstrap: str, clock: Clock) -> str:
    """How far the ticks of every partition are emitted; that also compares the workers' clocks with ours."""
    topic = Topics.of(settings).progress
    consumer = new_consumer(settings, bootstrap, f"{settings.application}-doctor-{settings.instance}")
    behind: dict[int, int] = {}
    try:
        for number in range(settings.partitions):
            held = bounds(consumer, topic, number)
            if not held:
                continue
            consumer.assign([TopicPartition(topic, number, held.stop - 1)])
            for message in consumer.consume(1, 5):
                if message.error() is None:
                    behind[number] = clock.now_ms() - int(message.value() or 0)
    finally:
        consumer.close()
    if not behind:
        raise EverwatchError("no worker has emitted a tick yet: start one with 'everwatch up' or 'everwatch worker'.")
    late = {number: ms for number, ms in behind.items() if ms > RECENT_MS}
    stalled = {number: ms for number, ms in behind.items() if 5_000 < ms <= RECENT_MS}
    ahead = {number: ms for number, ms in behind.items() if ms < -MOST_SKEW_MS}
    if ahead:
        raise EverwatchError(
            f"partitions {sorted(ahead)} are ahead of this machine's clock by {-min(ahead.values()) / 1000:.1f} s: set"
            " the clocks of this machine and the workers by NTP."
        )
    if late or stalled:
        worst = max(behind.values()) / 1000
        raise EverwatchError(
            f"no ticks for {worst:.0f} s on partitions {sorted({**late, **stalled})}: no worker owns them"
            " (start one, or see the workers' logs)."
        )
    return f"ticks are emitted up to {max(behind.values()) / 1000:.1f} s ago on {len(behind)} partitions; clocks agree"


def _database(settings: Settings) -> str:
    with database(settings) as reader:
        counts = reader.counts()
    return f"{counts.users} users, {counts.monitors} monitors, {counts.results} results"
