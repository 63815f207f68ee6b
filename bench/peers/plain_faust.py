"""Per-user monitors as a plain Faust app, written as Faust's documentation teaches: an agent, a table, a timer.

Started by ``faust_peer``: ``python -m bench.peers.plain_faust BOOTSTRAP_SERVERS FOLDER SIGNUPS TICKS PARTITIONS``.
Each send is awaited, not its delivery report: what was
due while the process was away is not made up for, which would need progress of its own.
"""

import sys
from pathlib import Path
from typing import Any

import faust
import orjson

from bench.peers.due import Due, DueIndex
from bench.peers.faust_peer import APPLICATION, READY, TABLE
from everwatch.core.clock import SystemClock
from everwatch.encoding import codec
from everwatch.model import Every
from everwatch.schedule.duration import parse_duration_ms

_SWEEP_S = 0.1
_KIB, _MIB = 1024, 1024 * 1024


class Monitor(faust.Record):
    """One monitor as the signup has it; without an id it is called after its kind."""

    kind: str
    schedule: dict[str, Any]
    config: dict[str, Any]
    monitor_id: str = ""


class Signup(faust.Record, serializer="json"):
    """Input: from now on the user has these monitors and no others."""

    user_id: str
    monitors: list[Monitor]


class User(faust.Record, serializer="json", include_metadata=False):
    """An entry of the table. A tick goes to the partition that the signup came from, so that is remembered."""

    user_id: str
    partition: int
    monitors: list[Monitor]

    def due_entries(self) -> list[Due]:
        """Entries of the due index of this user."""
        entries = []
        for monitor in self.monitors:
            monitor_id = monitor.monitor_id or monitor.kind
            spec = {"monitor_id": monitor_id, "kind": monitor.kind, "config": monitor.config}
            entries.append(
                Due(
                    codec.table_key(self.user_id, monitor_id),
                    codec.user_key(self.user_id),
                    self.partition,
                    Every(parse_duration_ms(monitor.schedule["every"])),
                    orjson.dumps(spec),
                )
            )
        return entries


def create_app(bootstrap_servers: str, folder: Path, signups: str, ticks: str, partitions: int) -> faust.App:
    """The app. ``folder`` exists already, and so do both topics; the changelog is Faust's own to create."""
    app = faust.App(
        APPLICATION,
        broker=[f"kafka://{server}" for server in bootstrap_servers.split(",")],
        store="rocksdb://",
        datadir=folder,
        topic_partitions=partitions,
        topic_replication_factor=1,
        topic_disable_leader=True,
        table_standby_replicas=0,
        key_serializer="raw",
        broker_session_timeout=8.0,
        broker_heartbeat_interval=2.6,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        producer_compression_type="lz4",
        producer_linger=0.01,
        producer_max_batch_size=256 * _KIB,
        web_enabled=False,
    )
    clock = SystemClock()
    index = DueIndex(clock.now_ms())
    incoming = app.topic(signups, key_type=bytes, value_type=Signup)
    outgoing = app.topic(ticks, key_type=bytes, value_type=bytes, value_serializer="raw")
    options = {"driver": "rocksdict", "block_cache_size": 32 * _MIB, "write_buffer_size": 16 * _MIB}
    users = app.Table(TABLE, key_type=bytes, value_type=User, partitions=partitions, options=options)

    @app.agent(incoming)
    async def register(stream: Any) -> None:
        async for event in stream.events():
            signup = event.value
            user = User(signup.user_id, event.message.partition, signup.monitors)
            users[codec.user_key(signup.user_id)] = user
            index.put(codec.user_key(signup.user_id), user.due_entries(), clock.now_ms())

    @users.on_recover
    async def build_index() -> None:
        index.clear()
        for key, user in users.items():
            index.put(key, user.due_entries(), 0)
        assigned = {tp.partition for tp in app.assignor.assigned_actives() if tp.topic == signups}
        sys.stdout.write(READY.format(len(assigned)) + "\n")
        sys.stdout.flush()

    @app.timer(interval=_SWEEP_S)  # type: ignore[untyped-decorator]
    async def sweep() -> None:
        for due, scheduled_at in index.due_upto(clock.now_ms()):
            # half a ms more, because Faust makes a float of seconds whole ms again by cutting it off
            timestamp = (scheduled_at + 0.5) / 1000
            await outgoing.send(key=due.user_key, value=due.spec, partition=due.partition, timestamp=timestamp)

    return app


def main() -> None:
    bootstrap_servers, folder, signups, ticks, partitions = sys.argv[1:]
    app = create_app(bootstrap_servers, Path(folder), signups, ticks, int(partitions))
    sys.argv[1:] = ["--loop", "uvloop", "worker", "--without-web", "--loglevel", "warn"]
    app.main()


if __name__ == "__main__":
    main()
