"""The notifier process, as far as it goes without Kafka."""

from pathlib import Path
from typing import Any

import pytest
from support.notifying import HOUR, START, Notifying, transition

from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.memory.consumer import MemoryConsumer
from everwatch.notifier.addresses import EmailAddress
from everwatch.notifier.notifier_process import Notifier
from everwatch.notifier.rules_file import RulesFile
from everwatch.processes.running import live


async def test_what_happens_after_the_first_start_and_before_the_first_record_is_told(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    process = Notifier(settings, "localhost:1", SettableClock(START - HOUR), RulesFile(None))
    await process.start()
    await process.stop()
    notifying = Notifying(settings)
    notifying.sign_up()
    notifying.tell(transition("up", "down", -60))
    await notifying.work()
    assert notifying.receiver.summaries(EmailAddress) == ["opened"]
    notifying.close()


class GoneTopics(MemoryConsumer):
    """A consumer whose topics were deleted."""

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Any]:
        raise BrokerUnavailable("the topic was deleted")


class GoneClients(MemoryClients):
    """Clients of a broker whose topics were deleted."""

    def consumer(self, group_id: str, **overrides: object) -> Any:
        return GoneTopics(self.kafka, group_id, overrides)


async def test_what_keeps_it_from_reading_is_what_it_ends_for_and_not_the_end_of_its_parts(
    tmp_path: Path,
) -> None:
    clients = GoneClients(MemoryKafka())
    process = Notifier(Settings(data_dir=tmp_path), "", SettableClock(START), RulesFile(None), clients)
    with pytest.raises(BrokerUnavailable, match="the topic was deleted"):
        await live(process, lambda _: None)
