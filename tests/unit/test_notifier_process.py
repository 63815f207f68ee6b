"""The notifier process, as far as it goes without Kafka."""

from pathlib import Path
from typing import Any

import pytest
from support.notifying import HOUR, START, Notifying, transition

from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.notifier import notifier_process
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


class GoneSource:
    """A source whose topic was deleted."""

    is_member, assigned = True, frozenset[Any]()

    def __init__(self, *_: object) -> None: ...

    def take(self, _: int, __: float) -> Any:
        raise BrokerUnavailable("the topic was deleted")

    def close(self) -> None: ...


async def test_what_keeps_it_from_reading_is_what_it_ends_for_and_not_the_end_of_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_process, "Source", GoneSource)
    clients = MemoryClients(MemoryKafka())
    process = Notifier(Settings(data_dir=tmp_path), "", SettableClock(START), RulesFile(None), clients)
    with pytest.raises(BrokerUnavailable, match="the topic was deleted"):
        await live(process, lambda _: None)
