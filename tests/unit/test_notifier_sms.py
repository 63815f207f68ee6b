"""Text messages: what the provider gets, which numbers are gone, and who may be sent any."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from support.notifying import HOUR, MAIL_AT_ONCE, MINUTE, START, Notifying, open_http_sender, transition
from support.raw_http import RawServer, answer, open_raw_server

from everwatch.core.config import Settings
from everwatch.notifier.addresses import EmailAddress, SmsAddress
from everwatch.notifier.housekeeping import chores
from everwatch.notifier.judging import ask_contacts
from everwatch.notifier.route_rows import listed_routes
from everwatch.notifier.routes import Doubt
from everwatch.notifier.rules_file import WrongRules, rules_of
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict
from everwatch.notifier.senders.over_http import HttpSender, post_of
from everwatch.notifier.senders.sms import sms_text_of

NUMBER = "+4915112345678"
PROVIDER = """
[sms]
account = "AC123"
token = "secret-token"
from = "+4930123456"
"""
TO_USERS = """
[[users]]
name = "text"
sms = { to = "{{user.contacts.phone}}" }
"""
TO_OPERATORS = f"""
[[operators]]
name = "text"
sms = {{ to = "{NUMBER}" }}
"""
VERIFYING = "[contacts]\nverify = true\n"
RULES = MAIL_AT_ONCE.replace("[[users]]", f"{PROVIDER}{VERIFYING}{TO_USERS}[[users]]")
PATH = "/2010-04-01/Accounts/AC123/Messages.json"


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    async with open_http_sender() as made:
        yield made


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with open_raw_server() as raw:
        yield raw


@pytest.fixture
def notifying(tmp_path: Path) -> Notifying:
    made = Notifying(Settings(data_dir=tmp_path), RULES)
    made.sign_up(**{"contacts.phone": NUMBER, "email": "ada@example.com"})
    return made


def texts(notifying: Notifying) -> list[str]:
    return [sms_text_of(message) for address, message in notifying.receiver.got if isinstance(address, SmsAddress)]


def confirm_all(notifying: Notifying) -> None:
    with notifying.storage.begin() as work:
        work.verify_contacts([each.contact_id for each in work.contacts_of(["u-1"])], notifying.clock.now_ms())


def be_verified(notifying: Notifying) -> None:
    ask_contacts(notifying.storage, notifying.rules, ["u-1"], notifying.clock.now_ms())
    confirm_all(notifying)


def address_at(url: str) -> SmsAddress:
    return SmsAddress(to=NUMBER, account="AC123", token="secret-token", sender="+4930123456", url=url)


async def test_the_provider_gets_a_form_and_the_operators_login(
    sender: HttpSender, server: RawServer, notifying: Notifying
) -> None:
    be_verified(notifying)
    notifying.tell(transition("up", "down"))
    await notifying.work()
    [message] = [message for address, message in notifying.receiver.got if not message.code]
    server.answers[PATH] = answer(b'{"sid": "SM1"}', status="201 Created")
    # the number is of a user, the provider's address is not: no guard keeps it from an internal gateway
    outcome = await sender.send(address_at(server.url("")), message, from_user=True)
    assert outcome == AttemptOutcome(Verdict.SENT, "status 201")
    [request] = server.requests
    assert "Authorization: Basic QUMxMjM6c2VjcmV0LXRva2Vu" in request
    form = parse_qs(post_of(address_at(server.url("")), message, 0).body.decode())
    assert form == {"To": [NUMBER], "From": ["+4930123456"], "Body": [sms_text_of(message)]}


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        ("400 Bad Request", 21211, Verdict.GONE),
        ("400 Bad Request", 21610, Verdict.GONE),
        ("400 Bad Request", 21617, Verdict.REFUSED),
        # the account may send nothing to the region, or its own number sends no texts
        ("403 Forbidden", 21408, Verdict.REFUSED),
        ("400 Bad Request", 21407, Verdict.REFUSED),
        ("429 Too Many Requests", 20429, Verdict.FAILED),
        ("500 Internal Server Error", 20500, Verdict.FAILED),
    ],
)
async def test_a_number_that_takes_no_texts_is_given_up(
    sender: HttpSender, server: RawServer, notifying: Notifying, status: str, code: int, verdict: Verdict
) -> None:
    be_verified(notifying)
    notifying.tell(transition("up", "down"))
    await notifying.work()
    message = notifying.receiver.got[-1][1]
    server.answers[PATH] = answer(json.dumps({"code": code, "message": "no"}).encode(), status=status)
    assert (await sender.send(address_at(server.url("")), message, from_user=True)).verdict is verdict


async def test_a_number_gets_its_code_alone_until_it_is_confirmed(notifying: Notifying) -> None:
    ask_contacts(notifying.storage, notifying.rules, ["u-1"], notifying.clock.now_ms())
    notifying.tell(transition("up", "down"))
    await notifying.work()
    [code] = [message.code for address, message in notifying.receiver.got if isinstance(address, SmsAddress)]
    assert texts(notifying) == [f"Alerts of u-1: to confirm this number, code {code}"]
    confirm_all(notifying)
    notifying.tell(transition("down", "up", 60))
    await notifying.later(MINUTE)
    notifying.tell(transition("up", "down", 120))
    await notifying.later(MINUTE)
    assert texts(notifying)[-1] == "DOWN: shop (http, shop.example): status 500 - since 2027-01-15 08:02:00 UTC"


async def test_the_api_knows_which_attribute_is_the_number_and_nothing_of_the_provider(notifying: Notifying) -> None:
    listed = listed_routes(notifying.rules)[0]
    assert (listed.verifies, listed.mailbox, listed.needs) == (True, "contacts.phone", ["contacts.phone"])
    assert "secret-token" not in str(listed)


async def test_a_text_in_doubt_is_not_sent_again(notifying: Notifying) -> None:
    be_verified(notifying)
    assert [route.doubt for route in notifying.rules.routes] == [Doubt.SKIP, Doubt.RESEND]
    await notifying.send()
    sent = len(texts(notifying))
    notifying.tell(transition("up", "down"))
    notifying.plan()
    with notifying.storage.begin() as work:
        work.claim([each.delivery_id for each in notifying.deliveries("pending")], notifying.clock.now_ms())
    notifying.resolve_doubts()
    await notifying.later(MINUTE)
    assert len(texts(notifying)) == sent


async def test_who_wants_no_texts_gets_mail(notifying: Notifying) -> None:
    be_verified(notifying)
    notifying.receiver.answers = lambda address, _: (
        AttemptOutcome(Verdict.GONE, "status 400")
        if isinstance(address, SmsAddress)
        else AttemptOutcome(Verdict.SENT, "taken")
    )
    notifying.tell(transition("up", "down"))
    await notifying.work()
    notifying.tell(transition("down", "up", 60))
    await notifying.later(MINUTE)
    mails = [message for address, message in notifying.receiver.got if isinstance(address, EmailAddress)]
    assert "Alerts no longer go to +49…78" in [message.title for message in mails]
    assert "closed" in notifying.receiver.summaries(EmailAddress)


async def test_a_long_message_is_one_short_text(notifying: Notifying) -> None:
    be_verified(notifying)
    notifying.tell(*(transition("up", "down", monitor_id=f"shop-{number}") for number in range(40)))
    await notifying.work()
    text = texts(notifying)[-1]
    assert text.startswith("40 down; ")
    assert len(text) == 134
    assert text.endswith("...")


async def test_a_text_is_not_in_unicode_for_a_dash_or_an_ellipsis(notifying: Notifying) -> None:
    be_verified(notifying)
    notifying.tell(transition("up", "down", reason="status 500 … — later"))
    await notifying.work()
    text = texts(notifying)[-1]
    assert "status 500 ... - later - since" in text
    assert text.isascii()


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (TO_OPERATORS, "no \\[sms\\] says by which provider"),
        (PROVIDER + TO_USERS, "verified numbers only"),
        (PROVIDER + TO_OPERATORS.replace(NUMBER, "0151 123"), "not a number such as"),
        (PROVIDER + TO_OPERATORS.replace(" }", ', token = "x" }'), "\\[sms\\] names the provider"),
        (PROVIDER.replace("+4930123456", "a\\u0007b") + TO_OPERATORS, "from: not a number"),
        (PROVIDER.replace("AC123", "../AC") + TO_OPERATORS, "account"),
    ],
)
def test_rules_that_cannot_be_right_are_refused(rules: str, reason: str) -> None:
    with pytest.raises(WrongRules, match=reason):
        rules_of(rules.encode(), Path("notify.toml"))


def test_neither_the_number_nor_the_token_is_shown() -> None:
    rules = rules_of((PROVIDER + TO_OPERATORS).encode(), Path("notify.toml"))
    address = rules.routes[0].address(None)
    assert (address.shown, repr(address)) == ("+49…78", "SmsAddress(+49…78)")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("MG0123456789abcdef0123456789ABCDEF", "MessagingServiceSid"),
        ("MG Motors", "From"),
        ("MG0123456789abcdef0123456789ABCDE", "From"),
    ],
)
async def test_the_form_names_a_service_as_one(notifying: Notifying, name: str, field: str) -> None:
    be_verified(notifying)
    notifying.tell(transition("up", "down"))
    await notifying.work()
    address = SmsAddress(to=NUMBER, account="AC123", token="t", sender=name)
    post = post_of(address, notifying.receiver.got[-1][1], 0)
    assert post.url == f"https://api.twilio.com{PATH}"
    form = parse_qs(post.body.decode())
    assert form[field] == [name]
    assert form.keys() == {"To", field, "Body"}


async def test_texts_have_limits_within_a_day_for_a_number_and_for_all_users(tmp_path: Path) -> None:
    both = MAIL_AT_ONCE.replace(
        "[[users]]",
        PROVIDER
        + "per_number = 3\nper_day = 4\n"
        + VERIFYING
        + TO_USERS
        + TO_OPERATORS.replace('name = "text"', 'name = "pager"').replace(NUMBER, "+493055500")
        + "[[users]]",
    )
    limited = Notifying(Settings(data_dir=tmp_path), both)
    for n in (1, 2):
        limited.sign_up(f"u-{n}", **{"contacts.phone": f"+49151123456{n}", "email": "ada@example.com"})
    ask_contacts(limited.storage, limited.rules, ["u-1", "u-2"], limited.clock.now_ms())
    with limited.storage.begin() as work:
        work.verify_contacts([each.contact_id for each in work.contacts_of(["u-1", "u-2"])], limited.clock.now_ms())

    async def change(*users: str) -> list[str]:
        """Let a monitor of these users fail; return whom texts went to."""
        limited.receiver.got.clear()
        at = limited.clock.now_ms() - START
        limited.tell(*(transition("up", "down", at / 1000, user, f"m-{at}") for user in users))
        await limited.work()
        limited.clock.advance(MINUTE)
        return sorted(address.to for address, _ in limited.receiver.got if isinstance(address, SmsAddress))

    own, other, pager = "+491511234561", "+491511234562", "+493055500"
    # both codes are texts, too
    assert await change("u-1") == sorted([own, own, other, pager])
    assert await change("u-1") == sorted([own, pager])
    assert await change("u-1") == [pager], "the number has had its three"
    assert await change("u-2") == [], "all users have had their four, and the pager its three"
    refused = [(each.user_id, each.reason) for each in limited.deliveries("dead")]
    of_number = "this number has had the 3 text messages of a day ([sms] per_number)"
    of_users = "users have had the 4 text messages of a day ([sms] per_day)"
    assert sorted(refused) == [("", of_number), ("u-1", of_number), ("u-2", of_users)]
    limited.clock.advance(24 * HOUR)
    for _, chore in chores(limited.storage, limited.rules, limited.clock.now_ms(), 0):
        chore()
    assert await change("u-1") == sorted([own, pager])
