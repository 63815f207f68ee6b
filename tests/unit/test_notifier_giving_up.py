"""An address that is given up: another address of the same people gets a notice of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.notifying import RULES, Notifying, transition

from everwatch.core.config import Settings
from everwatch.notifier.addresses import EmailAddress, NtfyAddress, WebhookAddress
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict
from everwatch.notifier.wording import lines_of, subject_of

SENT, GONE = AttemptOutcome(Verdict.SENT, "taken"), AttemptOutcome(Verdict.GONE, "550 no such user")
SPARE = """
[[users]]
name = "pager"
pagerduty = { routing_key = "R0123secret" }

[[users]]
name = "same"
email = { to = "{{user.attributes.email}}" }

[[users]]
name = "others"
match = { plan = ["free"] }
ntfy = { url = "https://ntfy.example/others" }

[[users]]
name = "spare"
ntfy = { url = "https://ntfy.example/{{user.id}}" }

[[operators]]
name = "second"
webhook = { url = "https://hooks.example/second" }

[contacts]
"""
RULES_WITH_SPARES = RULES + SPARE


@pytest.fixture
def notifying(tmp_path: Path) -> Iterator[Notifying]:
    made = Notifying(Settings(data_dir=tmp_path), RULES_WITH_SPARES)
    made.sign_up()
    made.receiver.answers = lambda address, _: GONE if isinstance(address, EmailAddress) else SENT
    yield made
    made.close()


async def test_the_owner_is_told_once_at_another_address(notifying: Notifying) -> None:
    notifying.tell(transition("up", "down"))
    await notifying.work()
    notifying.tell(transition("down", "up", 60))
    await notifying.work()
    notices = [(to, told) for to, told in notifying.receiver.got if told.title]
    assert [to for to, _ in notices] == [NtfyAddress("https://ntfy.example/u-1")]
    told = notices[0][1]
    assert subject_of(told) == "Alerts no longer go to u…@example.com"
    assert "550 no such user" in lines_of(told, with_user=False)[0]
    assert next(each.state for each in notifying.deliveries() if each.route == "spare") == "sent"


async def test_operators_are_told_by_their_next_route(notifying: Notifying) -> None:
    notifying.receiver.answers = lambda address, _: GONE if address.shown == "hooks.example:443" else SENT
    notifying.tell(transition("up", "down"))
    await notifying.work()
    notices = [(to, told) for to, told in notifying.receiver.got if told.title]
    # the second one is at another path of the same host, so it fails too, and there is no third one to tell
    assert [to for to, _ in notices] == [WebhookAddress("https://hooks.example/second")]
    assert notices[0][1].user_id == ""


async def test_no_notice_goes_to_an_address_that_is_not_verified(tmp_path: Path) -> None:
    rules = RULES + (
        '\n[[users]]\nname = "spare"\nemail = { to = "{{user.attributes.other}}" }\n\n[contacts]\nverify = true\n'
    )
    notifying = Notifying(Settings(data_dir=tmp_path), rules)
    notifying.sign_up("u-1", email="a@example.com", other="stranger@example.com")
    # it has the code, which is how the first address was verified
    with notifying.storage.begin() as work:
        work.verify_contacts([each.contact_id for each in work.contacts_of(["u-1"]) if each.shown.startswith("a")], 1)
    notifying.receiver.answers = lambda address, _: GONE if isinstance(address, EmailAddress) else SENT
    notifying.tell(transition("up", "down"))
    await notifying.work()
    assert [told for _, told in notifying.receiver.got if told.title] == []
    notifying.close()
