"""``everwatch notify``: what it prints and sends, over a database that a notifier has filled.

All in one file: one database of messages, which all commands read.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from support.notifying import RULES, Notifying, transition
from typer.testing import CliRunner, Result

from everwatch.cli.commands import notify
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError
from everwatch.notifier.addresses import Address
from everwatch.notifier.alerts import Message
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict

PAGER = RULES + '\n[[operators]]\nname = "pager"\npagerduty = { routing_key = "R0123secret" }\n'
Run = Callable[..., Result]


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "notify.toml"
    path.write_text(RULES)
    monkeypatch.setenv("EVERWATCH_NOTIFY_FILE", str(path))
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))
    return path


@pytest.fixture
def notifying(rules: Path) -> Iterator[Notifying]:
    made = Notifying(Settings(data_dir=rules.parent))
    made.sign_up()
    yield made
    made.close()


def run(*arguments: str, status: int = 0) -> str:
    found = CliRunner().invoke(notify.app, list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1"})
    if isinstance(found.exception, EverwatchError):
        assert found.exception.exit_code == status, found.exception
        return str(found.exception)
    assert found.exit_code == status, found.output
    return found.output


async def test_what_was_told_is_listed_shown_and_explained(notifying: Notifying) -> None:
    refused = AttemptOutcome(Verdict.REFUSED, "554 spam")
    notifying.receiver.answers = lambda address, _: (
        refused if "example.com" in address.shown else AttemptOutcome(Verdict.SENT, "status 204")
    )
    notifying.tell(transition("up", "down"))
    await notifying.work()
    [dead] = [orjson.loads(line) for line in run("deliveries", "--state", "dead", "--json").splitlines()]
    assert (dead["user_id"], dead["target"], dead["reason"]) == ("u-1", "u…@example.com", "554 spam")
    assert dead["summary"] == "DOWN: shop"
    assert len(run("deliveries").splitlines()) == 2
    shown = run("show", dead["delivery_id"])
    assert "dead (attempt 1)  554 spam" in shown
    assert "DOWN: shop (http, shop.example): status 500" in shown
    explained = run("explain", "u-1", "shop")
    assert "open, down by 'status 500'" in explained
    assert "up → down  told: mail, hook" in explained


RULES_OF_MANY = """
[smtp]
host = "127.0.0.1"
from = "alerts@example.com"

[[users]]
name = "vip"
match = { plan = ["enterprise"] }
email = { to = "{{user.attributes.email}}" }

[[users]]
name = "phone"
ntfy = { url = "{{user.attributes.phone}}" }

[[users]]
name = "mail"
email = { to = "{{user.attributes.email}}" }

[[users]]
name = "second"
webhook = { url = "https://hooks.example/second" }

[[operators]]
name = "db-team"
match = { target = ["*.db.example"] }
webhook = { url = "https://hooks.example/db" }

[[operators]]
name = "minor"
match = { severity = ["warning"] }
webhook = { url = "https://hooks.example/minor" }

[[operators]]
name = "shop-team"
match = { label = { team = "shop" } }
webhook = { url = "https://hooks.example/shop" }

[[operators]]
name = "all"
continue = true
webhook = { url = "https://hooks.example/all" }

[[operators]]
name = "late"
after = "15m"
webhook = { url = "https://hooks.example/late" }
"""


def write(file: Path, text: str) -> None:
    """Replace the rules."""
    file.write_text(text)


async def test_of_each_rule_that_does_not_match_the_first_condition_that_failed_is_named(
    notifying: Notifying, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifying.tell(transition("up", "down"))
    await notifying.work()
    write(rules, RULES_OF_MANY)
    found = orjson.loads(run("explain", "u-1", "shop", "--json"))["routes"]
    assert [(each["route"], each["takes"], each["reason"]) for each in found] == [
        ("vip", False, "plan is pro, and the route takes enterprise"),
        ("phone", False, "users[1].ntfy.url needs this attribute, and the signup has none (at $.attributes.phone)"),
        ("mail", True, "and ends the search"),
        ("second", False, "route mail takes it and does not continue"),
        ("db-team", False, "target is shop.example, and the route takes *.db.example"),
        ("minor", False, "severity is critical, and the route takes warning"),
        ("shop-team", False, "label team is not given, and the route takes shop"),
        ("all", True, "and lets it go on"),
        ("late", True, "once the incident has lasted 900 s and nobody has acknowledged it"),
    ]
    assert "db-team    no" in run("explain", "u-1", "shop")
    monkeypatch.delenv("EVERWATCH_NOTIFY_FILE")
    assert run("explain", "u-1", "shop").endswith("so what each of them decides is not shown.\n")


def test_what_is_not_there_says_what_to_do(notifying: Notifying) -> None:
    assert run("deliveries") == "no such messages\n"
    assert run("deliveries", "--state", "lost", status=2).startswith("--state is one of pending, ")
    assert "'everwatch notify deliveries' lists them" in run("show", "x", status=1)
    assert "knows no user 'u-9'" in run("routes", "u-9", status=1)
    assert "knows no incident of u-1/shop" in run("explain", "u-1", "shop")


def test_without_a_notifier_or_rules_a_sentence_says_so(rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "it is made when one starts" in run("deliveries", status=6)
    monkeypatch.delenv("EVERWATCH_NOTIFY_FILE")
    assert "EVERWATCH_NOTIFY_FILE names no file" in run("routes", status=2)


def test_routes_are_listed_and_a_user_is_told_which_reach_them(notifying: Notifying, rules: Path) -> None:
    rules.write_text(PAGER.replace('name = "mail"', 'name = "mail"\nmatch = { plan = ["pro"] }'))
    listed = run("check", str(rules))
    assert listed == run("routes")
    assert [line.split()[:3] for line in listed.splitlines()[1:]] == [
        ["mail", "users", "email"],
        ["hook", "operators", "webhook"],
        ["pager", "operators", "pagerduty"],
    ]
    assert "secret" not in listed
    assert orjson.loads(run("routes", "u-1", "--json")) == [
        {"route": "mail", "sender": "email", "address": "u…@example.com", "problem": None}
    ]
    notifying.sign_up("u-2", plan="free")
    notifying.sign_up("u-3", phone="1")
    assert "not for plan free" in run("routes", "u-2")
    assert "needs this attribute" in run("routes", "u-3")
    rules.write_text("[[users]]")
    assert run("check", str(rules), status=2).endswith("users[0]: Object missing required field name")


def test_check_says_when_a_route_sends(rules: Path) -> None:
    timed = """
[[operators]]
name = "{name}"
slack = {{ url = "https://hooks.example/x" }}
{when}
"""
    wanted = {
        "plain": ("", "-"),
        "second-line": ('after = "15m"', "not acknowledged after 15m"),
        "long": ('min_down = "5m"', "down for 5m"),
        "daily": ('digest = { cron = "0 8 * * *" }', "digest 0 8 * * * UTC"),
        "day": ('quiet_hours = { from = "22:30", to = "07:00" }', "not from 22:30 to 07:00 UTC"),
    }
    rules.write_text("".join(timed.format(name=name, when=when) for name, (when, _) in wanted.items()))
    header, *lines = run("check", str(rules)).splitlines()
    start, end = header.index("when"), header.index("group_wait")
    assert {line.split()[0]: line[start:end].strip() for line in lines} == {
        name: said for name, (_, said) in wanted.items()
    }


def sending(notifying: Notifying) -> threading.Thread:
    """A notifier beside the command, as it would be in a process of its own."""

    async def send() -> None:
        while not notifying.receiver.got or notifying.deliveries("pending"):
            # messages are due by the machine's clock
            notifying.clock.advance(10**12)
            await notifying.send()
            notifying.clock.advance(-(10**12))
            await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(send()))
    thread.start()
    return thread


def test_a_test_goes_the_way_that_alerts_go(notifying: Notifying) -> None:
    thread = sending(notifying)
    told = run("test", "u-1")
    thread.join()
    assert "sent (attempt 1)  taken" in told
    [(address, message)] = notifying.receiver.got
    assert (address.shown, message.is_test) == ("u…@example.com", True)


def test_a_test_that_is_not_taken_fails(notifying: Notifying) -> None:
    def answer(_: Address, __: Message) -> AttemptOutcome:
        return AttemptOutcome(Verdict.FAILED, "status 500")

    notifying.receiver.answers = answer
    thread = sending(notifying)
    assert "dead (attempt 1)  status 500" in run("test", "--route", "hook", status=1)
    thread.join()


def test_a_test_of_what_keeps_incidents_ends_what_it_opens_and_a_dry_run_sends_nothing(
    notifying: Notifying, rules: Path
) -> None:
    rules.write_text(PAGER)
    told = run("test", "--dry-run", "--route", "pager")
    assert told == "would send by pager (pagerduty) to events.pagerduty.com:443 key R012…\n" * 2
    assert notifying.deliveries() == []
    assert "There is no route 'none' for operators." in run("test", "--route", "none", status=2)


def test_a_dry_run_makes_no_database(tmp_path: Path, rules: Path) -> None:
    assert "it is made when one starts" in run("test", "--dry-run", "--data-dir", str(tmp_path / "new"), status=6)
    assert not (tmp_path / "new" / "everwatch-notifier.db").exists()


def test_a_test_without_a_notifier_says_so(notifying: Notifying) -> None:
    assert "is 'everwatch notifier' running?" in run("test", "u-1", "--within", "1", status=1)


async def test_open_incidents_are_listed_acknowledged_and_snoozed(notifying: Notifying) -> None:
    assert run("incidents") == "no open incidents\n"
    assert "u-1/shop has no open incident." in run("ack", "u-1", "shop", status=1)
    notifying.tell(transition("up", "down"))
    await notifying.work()
    assert "acknowledged: u-1/shop, down since" in run("ack", "u-1", "shop", "--by", "ada")
    assert "acknowledged by ada" in run("incidents")
    assert "acknowledged by ada at " in run("explain", "u-1", "shop")
    assert run("ack", "u-1", "shop", "--undo") == "not acknowledged any more: u-1/shop\n"
    assert "snoozed until " in run("snooze", "u-1", "shop", "--for", "2h")
    listed = orjson.loads(run("incidents", "--json"))
    assert (listed["executors"], listed["targets"]) == ([], [])
    assert listed["monitors"][0]["ack"]["snoozed_until"] > 0
    assert "--for: " in run("snooze", "u-1", "shop", "--for", "soon", status=2)


def test_silences_are_made_listed_and_ended(notifying: Notifying) -> None:
    assert run("silences") == "no silences\n"
    made = run("silence", "--target", "db.example", "--label", "team=shop", "--for", "2h", "--reason", "new disks")
    silence_id = made.split()[0]
    assert made.rstrip().endswith("target db.example label team=shop  new disks")
    assert run("silences") == made
    assert orjson.loads(run("silences", "--json"))["match"] == {"target": "db.example", "label": {"team": "shop"}}
    assert run("unsilence", silence_id) == f"over: {silence_id}\n"
    assert run("silences") == "no silences\n"
    assert "lists them" in run("unsilence", silence_id, status=1)
    assert "Name what to silence" in run("silence", "--for", "2h", status=2)
    assert "The selector is wrong" in run("silence", "--label", "a b=c", "--for", "1h", status=2)
    assert "90 days" in run("silence", "--user", "u", "--for", "100d", status=2)


async def test_targets_and_executors_with_incidents_are_listed(notifying: Notifying) -> None:
    for n in range(40):
        notifying.sign_up(f"u-{n}")
        notifying.tell(transition("up", "down", n / 10, f"u-{n}", executor="e-1"))
    notifying.tell(transition("up", "down", 5, "u-1", "own", executor="e-2", unreached=80))
    notifying.plan()
    listed = run("incidents", "--limit", "2").splitlines()
    assert [line.split("  ", 1)[1] for line in listed[:2]] == [
        "executor e-2  in doubt: 80 % of its targets out of reach, 1 monitors",
        "target shop.example  40 monitors",
    ]
    assert len(listed) == 4


async def test_messages_that_were_given_up_are_sent_again_under_their_ids(notifying: Notifying) -> None:
    notifying.receiver.answers = lambda address, _: (
        AttemptOutcome(Verdict.REFUSED, "554 spam")
        if "example.com" in address.shown
        else AttemptOutcome(Verdict.SENT, "status 204")
    )
    notifying.tell(transition("up", "down"))
    await notifying.work()
    notifying.receiver.answers = lambda *_: AttemptOutcome(Verdict.SENT, "taken")
    assert run("replay", "--since", "2020-01-01T00:00:00Z", "--route", "hook") == "0 messages will be sent again\n"
    assert run("replay", "--since", "2020-01-01T00:00:00Z") == "1 message will be sent again\n"
    # it is due by the machine's clock
    await notifying.later(10**12)
    assert [each.state for each in notifying.deliveries()] == ["sent"] * 2
    mails = [message.message_id for address, message in notifying.receiver.got if "example.com" in address.shown]
    assert len(mails) == 2
    assert len(set(mails)) == 1
    assert "--state is one of dead, skipped, sent" in run("replay", "--since", "1h", "--state", "all", status=2)


async def test_addresses_that_were_given_up_are_listed(notifying: Notifying) -> None:
    assert run("dead").splitlines() == ["user  route  address  given up  failures  reason"]
    notifying.sign_up("u-2")
    notifying.receiver.answers = lambda address, _: AttemptOutcome(
        Verdict.GONE if "u-2" in str(getattr(address, "to", "")) else Verdict.SENT, "550 no such user"
    )
    notifying.tell(transition("up", "down", user_id="u-1"), transition("up", "down", user_id="u-2"))
    await notifying.work()
    [line] = run("dead").splitlines()[1:]
    assert line.split()[:3] == ["u-2", "mail", "u…@example.com"]
    assert line.endswith("550 no such user")
    assert run("dead", "u-1").splitlines()[1:] == []
    [told] = orjson.loads(run("dead", "u-2", "--json"))
    assert (told["user_id"], told["route"], told["failures"]) == ("u-2", "mail", 1)


def test_addresses_are_listed_and_verified_by_code_or_by_trust(notifying: Notifying, rules: Path) -> None:
    rules.write_text(RULES + "[contacts]\nverify = true\n")
    assert "not verified" in run("routes", "u-1")
    assert run("verify", "u-1", "--resend") == "a new code is sent to u…@example.com\n"
    [waiting] = orjson.loads(run("contacts", "u-1", "--json"))
    assert (waiting["address"], waiting["verified_at"]) == ("u…@example.com", 0)
    assert "has no address that waits for this code" in run("verify", "u-1", "WRONG", status=1)
    with notifying.storage.look() as work:
        [contact] = work.contacts_of(["u-1"])
    # a code proves nothing while commands show it
    assert contact.code not in run("show", notifying.deliveries()[0].delivery_id)
    assert run("verify", "u-1", contact.code.lower()) == "verified: u…@example.com\n"
    assert "ok" in run("routes", "u-1")
    assert run("verify", "u-1", "--trust") == "u-1 has no address that is not verified\n"
    notifying.sign_up("u-2")
    assert run("verify", "u-2", "--trust") == "verified: u…@example.com\n"
    assert "Give a code, or --trust, or --resend." in run("verify", "u-1", status=2)
