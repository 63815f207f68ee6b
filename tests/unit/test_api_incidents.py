"""Acknowledging and snoozing over HTTP: who may, what follows in the notifier, and what everybody sees at once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.api import Api, api
from support.notifying import HOUR, MAIL, MINUTE, RULES, Notifying, transition
from typer.testing import CliRunner

from everwatch.api.alerting import NotifierDatabase
from everwatch.api.permissions import Role
from everwatch.cli.commands import notify
from everwatch.client import ApiError, AsyncClient
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.consumed_record import Record
from everwatch.notifier.judging import end_snoozes

SHOP = "/v1/users/ann/monitors/shop"
ESCALATION = """
[[operators]]
name = "second"
after = "15m"
webhook = { url = "https://hooks.example/second" }
"""


@pytest.fixture
async def notifying(tmp_path: Path) -> AsyncIterator[Notifying]:
    made = Notifying(Settings(data_dir=tmp_path), rules=RULES + ESCALATION)
    await made.go_down("ann", "bob")
    yield made
    made.close()


@pytest.fixture
async def server(notifying: Notifying) -> AsyncIterator[Api]:
    """The API beside a notifier that reads its requests at once."""
    async with api() as running:
        running.stand_beside(notifying)
        yield running


async def test_an_acknowledged_incident_is_shown_with_who_did_it_and_makes_no_reminder(
    server: Api, notifying: Notifying
) -> None:
    ada = server.token(Role.OPERATOR)
    seen = await server.call("POST", f"{SHOP}/ack", token=ada)
    assert (seen.status, seen.json["ack"]["acked_by"]) == (200, "test")
    [mine, others] = (await server.call("GET", "/v1/incidents")).json["items"]
    assert (mine["user_id"], mine["ack"], others["ack"]) == ("ann", seen.json["ack"], None)
    assert (await server.call("GET", f"{SHOP}/notifications")).json["incident"]["ack"] == seen.json["ack"]
    before = len(notifying.receiver.summaries(MAIL))
    for user in ("ann", "bob"):
        notifying.tell(transition("down", "down", 3_000, user, reminder=True))
    await notifying.later(HOUR)
    assert notifying.receiver.summaries(MAIL)[before:] == ["reminder"], "of bob alone"


async def test_a_withdrawn_acknowledgement_lets_reminders_go_on(server: Api, notifying: Notifying) -> None:
    assert (await server.call("DELETE", f"{SHOP}/ack")).json["ack"] is None, "there is none"
    await server.call("POST", f"{SHOP}/ack")
    server.clock.advance(1_000)
    withdrawn = await server.call("DELETE", f"{SHOP}/ack")
    assert (withdrawn.status, withdrawn.json["ack"]) == (200, None)
    notifying.tell(transition("down", "down", 3_000, "ann", reminder=True))
    await notifying.later(HOUR)
    assert notifying.receiver.summaries(MAIL)[-1] == "reminder"


async def test_a_snoozed_incident_is_quiet_until_its_time_and_then_a_reminder(
    server: Api, notifying: Notifying
) -> None:
    until = server.clock.now_ms() + 2 * HOUR
    snoozed = await server.call("POST", f"{SHOP}/snooze", body={"for": "2h"})
    assert (snoozed.status, snoozed.json["ack"]["snoozed_until"]) == (200, until)
    before = len(notifying.receiver.summaries(MAIL))
    await notifying.later(HOUR)
    assert notifying.receiver.summaries(MAIL)[before:] == []
    notifying.clock.advance(HOUR + MINUTE)
    assert end_snoozes(notifying.storage, notifying.rules, notifying.clock.now_ms()) == 1
    await notifying.work()
    assert notifying.receiver.summaries(MAIL)[before:] == ["reminder"]
    again = await server.call("POST", f"{SHOP}/snooze", body={"until": until + HOUR})
    assert again.json["ack"]["snoozed_until"] == until + HOUR


@pytest.mark.parametrize("body", [{}, {"for": "1h", "until": 1_900_000_000_000}, {"for": "soon"}, {"for": "31d"}])
async def test_a_snooze_that_makes_no_sense_says_why(server: Api, body: dict[str, object]) -> None:
    refused = await server.call("POST", f"{SHOP}/snooze", body=body)
    assert (refused.status, refused.code) == (422, "invalid")
    assert refused.json["errors"]


async def test_what_is_not_open_cannot_be_acknowledged(server: Api, notifying: Notifying) -> None:
    assert (await server.call("POST", "/v1/users/ann/monitors/other/ack")).code == "not_found"
    notifying.tell(transition("down", "up", 100, "ann"))
    await notifying.later(MINUTE)
    assert (await server.call("POST", f"{SHOP}/ack")).code == "not_found"
    # a request for an incident that ended meanwhile is for no other
    notifying.tell(transition("up", "down", 700, "ann"))
    await notifying.later(HOUR)
    assert (await server.call("GET", f"{SHOP}/notifications")).json["incident"]["ack"] is None


async def test_a_request_for_an_incident_that_has_ended_acknowledges_no_later_one(
    server: Api, notifying: Notifying
) -> None:
    held: list[Record] = []
    server.take_incidents = held.extend
    kept = await server.call("POST", f"{SHOP}/ack", Prefer="wait=0")
    assert (kept.status, kept.json["ack"]) == (202, None)
    notifying.tell(transition("down", "up", 100, "ann"), transition("up", "down", 3_000, "ann"))
    await notifying.later(2 * HOUR)
    notifying.ask(held)
    assert (await server.call("GET", f"{SHOP}/notifications")).json["incident"]["phase"] == "open"
    assert (await server.call("GET", f"{SHOP}/notifications")).json["incident"]["ack"] is None


async def test_it_takes_an_operator_and_ones_own_monitor_and_is_in_the_audit_log(server: Api) -> None:
    assert (await server.call("POST", f"{SHOP}/ack", token=server.token(Role.VIEWER))).status == 403
    assert (await server.call("POST", f"{SHOP}/ack", token=server.token(Role.OPERATOR, "bob"))).status == 403
    assert (await server.call("POST", f"{SHOP}/snooze", body={"for": "1h"})).status == 200
    last = server.audit.entries[-1]
    assert (last.command, last.user_id, last.monitor_id, last.status) == ("snooze", "ann", "shop", 200)


async def test_without_a_notifier_or_kafka_it_says_what_is_missing(server: Api) -> None:
    async def away(*_: object) -> None:
        raise BrokerUnavailable("No broker answers.")

    server.records.send = away  # type: ignore[method-assign]
    assert (await server.call("POST", f"{SHOP}/ack")).code == "kafka_unavailable"
    assert (await server.call("GET", f"{SHOP}/notifications")).json["incident"]["ack"] is None


async def test_who_waits_for_the_notifier_asks_its_database_ever_less_often(notifying: Notifying) -> None:
    asked: list[int] = []
    database = NotifierDatabase(lambda: notifying.storage, SystemClock())
    found, is_settled = await database.settled(lambda work: asked.append(1), lambda _: False, 0.8)
    assert (found, is_settled) == (None, False)
    assert len(asked) <= 8, "after 20, 40, 80, … ms, not each 20 ms"


async def test_no_notifier_is_said() -> None:
    async with api() as running:
        assert (await running.call("POST", f"{SHOP}/ack")).code == "no_notifier"
        assert (await running.call("GET", "/v1/incidents/shared")).json["available"] is False


async def test_a_poisonous_request_harms_only_itself(server: Api, notifying: Notifying) -> None:
    for value in (None, b"{", b"{}", b'{"type": "ack", "ack": {}}', b"\xff"):
        notifying.ask([Record("incidents", 0, 0, 0, b"ann", value)])
    assert (await server.call("POST", f"{SHOP}/ack")).status == 200


async def test_incidents_of_many_monitors_are_listed(server: Api, notifying: Notifying) -> None:
    for n in range(40):
        notifying.sign_up(f"u-{n}")
        notifying.tell(transition("up", "down", 20 + n / 10, f"u-{n}"))
    await notifying.later(MINUTE)
    shared = (await server.call("GET", "/v1/incidents/shared")).json
    assert [(each["target"], each["failing"]) for each in shared["targets"]] == [("shop.example", 42)]
    assert (shared["available"], shared["executors"]) == (True, [])
    assert (await server.call("GET", "/v1/incidents/shared", token=server.token(Role.ADMIN, "ann"))).status == 403


async def test_the_client_acknowledges_snoozes_and_takes_it_back(server: Api) -> None:
    async with AsyncClient(server.url, server.texts[Role.ADMIN]) as client:
        acked = await client.acknowledge("ann", "shop")
        assert acked.ack is not None
        assert acked.ack.acked_by == "test"
        server.clock.advance(1)
        snoozed = await client.snooze("ann", "shop", "2h")
        assert snoozed.ack is not None
        assert snoozed.ack.snoozed_until == server.clock.now_ms() + 2 * HOUR
        server.clock.advance(1)
        assert (await client.withdraw_ack("ann", "shop")).ack is None
        assert [each.ack for each in (await client.incidents("ann")).items] == [None]
        assert (await client.shared_incidents()).targets == []
        with pytest.raises(ApiError, match="open incident"):
            await client.acknowledge("ann", "nothing")
        written = await client.comment_incident(acked.incident_id, "on it")
        assert (await client.incident(acked.incident_id)).comments == (written,)
        resolved = await client.resolve_incident(acked.incident_id, wait_s=0)
        assert resolved.incident_id == acked.incident_id


async def test_a_laptop_lists_acknowledges_and_silences_through_the_api(
    server: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"EVERWATCH_API_URL": server.url, "EVERWATCH_API_TOKEN": server.texts[Role.ADMIN], "COLUMNS": "200"}

    async def said(*arguments: str) -> str:
        found = await asyncio.to_thread(CliRunner().invoke, notify.app, list(arguments), env=environment)
        return str(found.exception) if found.exception is not None else found.output

    assert (await said("ack", "ann", "shop")).startswith("acknowledged: ann/shop, down since")
    listed = (await said("incidents")).splitlines()
    assert ["acknowledged by test" in line for line in listed] == [True, False]
    server.clock.advance(1)
    assert "snoozed until" in await said("snooze", "bob", "shop", "--for", "2h")
    server.clock.advance(1)
    assert await said("ack", "ann", "shop", "--undo") == "not acknowledged any more: ann/shop\n"
    assert "the API notes the name of the token" in await said("ack", "ann", "shop", "--by", "ada")
    made = await said("silence", "--target", "shop.example", "--for", "1h")
    assert await said("silences") == made
    server.clock.advance(1)
    await said("unsilence", made.split()[0])
    assert await said("silences") == "no silences\n"


async def incident_of(server: Api, user: str = "ann") -> str:
    [found] = [each for each in (await server.call("GET", "/v1/incidents")).json["items"] if each["user_id"] == user]
    return f"/v1/incidents/{found['incident_id']}"


async def test_an_incident_is_shown_acknowledged_snoozed_and_withdrawn_by_its_id(server: Api) -> None:
    path = await incident_of(server)
    shown = await server.call("GET", path)
    assert (shown.status, shown.json["monitor_id"], shown.json["ack"], shown.json["comments"]) == (
        200,
        "shop",
        None,
        [],
    )
    seen = await server.call("POST", f"{path}/ack")
    assert (seen.status, seen.json["ack"]["user_id"]) == (200, "ann")
    last = server.audit.entries[-1]
    assert (last.command, last.user_id, last.monitor_id, last.outcome) == ("ack", "ann", "shop", "done")
    server.clock.advance(1_000)
    snoozed = await server.call("POST", f"{path}/snooze", body={"for": "2h"})
    assert snoozed.json["ack"]["snoozed_until"] == server.clock.now_ms() + 2 * HOUR
    assert (await server.call("GET", f"{SHOP}/notifications")).json["incident"]["ack"] == snoozed.json["ack"]
    server.clock.advance(1_000)
    assert (await server.call("DELETE", f"{path}/ack")).json["ack"] is None


async def test_a_comment_is_kept_once_and_shown_with_its_incident_open_or_over(
    server: Api, notifying: Notifying
) -> None:
    path, ada = await incident_of(server), server.token(Role.OPERATOR)
    text = "the disk is full\nfreeing some"
    first = await server.call("POST", f"{path}/comments", body={"text": text}, token=ada, Idempotency_Key="c-1")
    assert (first.status, first.json["text"], first.json["by"]) == (201, text, "test")
    again = await server.call("POST", f"{path}/comments", body={"text": text}, token=ada, Idempotency_Key="c-1")
    assert (again.status, again.json) == (201, first.json)
    notifying.tell(transition("down", "up", 100, "ann"))
    await notifying.later(MINUTE)
    server.clock.advance(MINUTE)
    assert (await server.call("POST", f"{path}/comments", body={"text": "done"})).status == 201
    shown = (await server.call("GET", path)).json
    assert (shown["phase"], [each["text"] for each in shown["comments"]]) == ("closed", [text, "done"])
    assert (await server.call("POST", f"{path}/ack")).code == "not_open"
    for wrong in ({"text": " \n"}, {"text": ""}, {"text": "a\u202eb"}, {"text": "x" * 2_001}, {}):
        assert (await server.call("POST", f"{path}/comments", body=wrong)).status == 422
    notifying.delete("ann")
    with notifying.storage.look() as work:
        assert work.comments(first.json["incident_id"]) == [], "they go with their user"


async def test_an_incident_that_is_resolved_by_hand_tells_nothing_more_until_its_monitor_fails_again(
    server: Api, notifying: Notifying
) -> None:
    def at_once(records: list[Record]) -> None:
        notifying.ask(records)
        notifying.plan()

    server.take_incidents = at_once
    path = await incident_of(server)
    resolved = await server.call("POST", f"{path}/resolve")
    assert (resolved.status, resolved.json["phase"], resolved.json["state"]) == (200, "closed", "down")
    assert resolved.json["reason"] == "resolved by test"
    assert (await server.call("POST", f"{path}/resolve")).status == 200, "it is over already"
    await notifying.send()
    before = len(notifying.receiver.summaries(MAIL))
    notifying.tell(transition("down", "down", 3_000, "ann", reminder=True), transition("down", "up", 3_100, "ann"))
    await notifying.later(2 * HOUR)
    assert notifying.receiver.summaries(MAIL)[before:] == []
    notifying.tell(transition("up", "down", 8_000, "ann"))
    await notifying.later(2 * HOUR)
    assert notifying.receiver.summaries(MAIL)[before:] == ["opened"]


async def test_an_incident_of_another_user_is_none(server: Api) -> None:
    path = await incident_of(server, "bob")
    hers = server.token(Role.OPERATOR, "ann")
    none = path[:-12] + "0" * 12
    for method, more in (("GET", ""), ("POST", "/ack"), ("DELETE", "/ack"), ("POST", "/resolve")):
        for each in (path, none):
            refused = await server.call(method, each + more, token=hers)
            assert (refused.status, refused.code) == (404, "not_found"), (method, more)
    refused = await server.call("POST", f"{path}/comments", body={"text": "hers"}, token=hers)
    assert refused.status == 404
    mine = await incident_of(server, "ann")
    assert (await server.call("POST", f"{mine}/ack", token=hers)).status == 200
    assert (await server.call("POST", f"{mine}/ack", token=server.token(Role.VIEWER))).status == 403
