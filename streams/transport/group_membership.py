"""Membership of a worker in its consumer group: a name that survives the process, a prompt start and an explicit leave.

A worker is a static member (KIP-345). One that is killed and started again over the same folder takes the place of its
dead predecessor at once: the broker gives it the same partitions without a rebalance, and the other members are not
disturbed. One that stays away loses its partitions when its session times out, as every member does. One that stops
cleanly leaves explicitly, since neither Kafka's protocol nor aiokafka makes a static member leave by itself.
"""

import asyncio
import logging
import os
import uuid
from pathlib import Path
from typing import Any

from faust.exceptions import ConsumerNotStarted

logger = logging.getLogger(__name__)
HEARTBEAT_S = 0.5
LEAVE_S = 1.0
_FILE = "member"


def heartbeat_s(session_timeout_ms: int) -> float:
    """Seconds between two heartbeats; short, as a member learns from the answer that a rebalance has begun."""
    return min(HEARTBEAT_S, session_timeout_ms / 3000)


def member_name(folder: Path, worker: str) -> str:
    """The ``group.instance.id`` of the worker whose local state lives in ``folder``: the same after each restart.

    It is made when the folder is first used, and made anew in a copy of the folder: two living members of one name
    would take each other's place forever. The inode of the file tells a copy from the original.
    """
    path = folder / _FILE
    try:
        name, _, inode = path.read_text(encoding="ascii").strip().rpartition(" ")
        if name and int(inode) == path.stat().st_ino:
            return name
    except (FileNotFoundError, ValueError):
        pass
    name = f"{worker}-{uuid.uuid4().hex}"
    new = path.with_suffix(".new")
    with new.open("w", encoding="ascii") as file:
        file.write(f"{name} {os.fstat(file.fileno()).st_ino}\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    return name


async def leave_group(consumer: Any) -> None:
    """Commit acknowledged offsets and leave the group, so that the partitions are reassigned at once.

    ``consumer`` is Faust's. A broker that does not answer within LEAVE_S removes the member when its session times out.
    """
    thread = consumer._thread
    try:
        async with asyncio.timeout(LEAVE_S):
            await consumer.commit()
            await thread.call_thread(_leave, thread._ensure_consumer()._coordinator)
    except ConsumerNotStarted:
        pass  # it was stopped before it could join
    except TimeoutError:
        logger.warning("the broker did not answer; the partitions are reassigned when the session times out")


async def _leave(coordinator: Any) -> None:
    # LeaveGroup by member id makes a static member leave, too; aiokafka only sends it for those without a name
    coordinator._group_instance_id = None
    await coordinator.close()
