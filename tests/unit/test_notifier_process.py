"""The notifier process, as far as it goes without Kafka."""

from pathlib import Path

from support.notifying import HOUR, START, Notifying, transition

from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.notifier.addresses import EmailAddress
from everwatch.notifier.notifier_process import Notifier
from everwatch.notifier.rules_file import RulesFile


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
