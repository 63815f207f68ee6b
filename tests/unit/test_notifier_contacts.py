"""Mail addresses that nobody has confirmed get a code, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.notifying import MINUTE, RULES, SECOND, Notifying, transition

from everwatch.core.config import Settings
from everwatch.notifier.addresses import EmailAddress, WebhookAddress
from everwatch.notifier.contacts import link_of
from everwatch.notifier.judging import ask_contacts
from everwatch.notifier.rules_file import WrongRules, rules_of
from everwatch.notifier.wording import lines_of, subject_of

VERIFYING = RULES + "[contacts]\nverify = true\n"


@pytest.fixture
def notifying(tmp_path: Path) -> Iterator[Notifying]:
    made = Notifying(Settings(data_dir=tmp_path), VERIFYING)
    made.sign_up()
    yield made
    made.close()


async def come(notifying: Notifying, *users: str) -> int:
    """Do what the process does when it has taken users in."""
    asked = ask_contacts(notifying.storage, notifying.rules, users, notifying.clock.now_ms())
    await notifying.work()
    return asked


def subjects(notifying: Notifying, sender: type = EmailAddress) -> list[str]:
    return [subject_of(message) for address, message in notifying.receiver.got if isinstance(address, sender)]


def code_of(notifying: Notifying) -> str:
    return [message.code for address, message in notifying.receiver.got if message.code][-1]


def confirm(notifying: Notifying, user_id: str = "u-1") -> None:
    with notifying.storage.begin() as work:
        found = [each for each in work.contacts_of([user_id]) if each.code == code_of(notifying)]
        work.verify_contacts([each.contact_id for each in found], notifying.clock.now_ms())


async def test_an_address_gets_one_code_and_alerts_once_it_is_confirmed(notifying: Notifying) -> None:
    assert await come(notifying, "u-1") == 1
    assert await come(notifying, "u-1") == 0
    assert subjects(notifying) == ["Confirm this address for alerts"]
    [line, how] = lines_of(notifying.receiver.got[0][1], with_user=False)
    assert line == "This address was entered for alerts of u-1."
    assert how == f"Its code is {code_of(notifying)}. Without that nothing more is sent to it."
    notifying.tell(transition("up", "down"))
    await notifying.later(MINUTE)
    assert subjects(notifying) == ["Confirm this address for alerts"]
    # what has no contact is told as ever
    assert subjects(notifying, WebhookAddress) == ["DOWN: shop"]
    confirm(notifying)
    notifying.tell(transition("down", "up", 60))
    await notifying.later(MINUTE)
    assert subjects(notifying)[1:] == ["Recovered: shop (after 60 s)"]


async def test_another_address_of_the_user_is_confirmed_by_itself(notifying: Notifying) -> None:
    await come(notifying, "u-1")
    confirm(notifying)
    notifying.tell(transition("up", "down"))
    notifying.plan()
    # it changes while a message waits: that must not go to whom nobody asked
    notifying.sign_up("u-1", email="stranger@example.com")
    await notifying.send()
    assert subjects(notifying)[1:] == []
    assert [each.reason for each in notifying.deliveries("dead")] == ["the address s…@example.com is not verified"]
    assert await come(notifying, "u-1") == 1
    assert notifying.receiver.got[-1][0] == EmailAddress("stranger@example.com")
    # the same one in other letters is no other
    notifying.sign_up("u-1", email="U-1@Example.com")
    assert await come(notifying, "u-1") == 0


async def test_a_user_that_came_before_addresses_were_verified_is_asked_with_the_first_alert(
    notifying: Notifying,
) -> None:
    notifying.tell(transition("up", "down"))
    await notifying.work()
    await notifying.later(SECOND)
    assert subjects(notifying) == ["Confirm this address for alerts"]
    assert notifying.verdicts() == ["told: hook"]


async def test_contacts_go_with_their_user(notifying: Notifying) -> None:
    await come(notifying, "u-1")
    notifying.delete("u-1")
    with notifying.storage.look() as work:
        assert work.contacts_of(["u-1"]) == []


def test_a_link_says_whose_code_it_is() -> None:
    link = "https://shop.example/confirm?user={user}&code={code}"
    assert link_of(link, "a b&c", "7K2MPQ4R") == "https://shop.example/confirm?user=a%20b%26c&code=7K2MPQ4R"
    given = rules_of(f'[contacts]\nverify = true\nlink = "{link}"\n'.encode(), Path("n.toml"))
    assert given.contacts.link == link
    with pytest.raises(WrongRules, match=r"contacts\.link"):
        rules_of(b'[contacts]\nlink = "https://shop.example/"\n', Path("n.toml"))
