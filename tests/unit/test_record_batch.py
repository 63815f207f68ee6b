"""A batch on its way through an agent, and the future for its end."""

import asyncio
import gc

from everwatch.core.bisection import Bisection
from everwatch.kafka.consumed_record import Record
from streams.transport.batch_consumer import RecordBatch


async def test_a_batch_that_fails_after_its_consumer_was_closed_is_no_error_in_the_log() -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    batch = RecordBatch(Bisection(()))
    with batch.handling():
        raise LookupError("the partition went to another worker")
    del batch
    for _ in range(3):  # callbacks of the future, then the future itself
        await asyncio.sleep(0)
    gc.collect()
    assert reported == []


async def test_a_batch_that_was_withdrawn_gives_no_work() -> None:
    batch = RecordBatch(Bisection([Record("signups", 0, 0, 0, b"ann", b"{}")]))
    batch.ended.cancel()
    with batch.handling() as work:
        assert list(work.part) == []
