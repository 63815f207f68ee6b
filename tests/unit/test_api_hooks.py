"""Webhooks in, a user's metrics, messages sent again and addresses confirmed over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.api import Answered, Api, api
from support.notifying import HOUR, MAIL, MAIL_AT_ONCE, MINUTE, RULES, Notifying, transition

from everwatch.api.notifier_requests import TESTS_PER_MIN
from everwatch.api.permissions import Role
from everwatch.core.config import Settings
from everwatch.notifier.judging import ask_contacts
from everwatch.notifier.route_rows import listed_routes
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict

NOOP = {"kind": "noop", "schedule": {"every": "1m"}}


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        await running.call("PUT", "/v1/users/ann", body={"monitors": [{"monitor_id": "site", "name": "Shop", **NOOP}]})
        yield running


def signals(server: Api) -> list[dict[str, Any]]:
    found = [orjson.loads(each.value) for each in server.worker.inputs if each.asker.command == "signal"]
    return [{name: value for name, value in each.items() if name != "at"} for each in found]


async def hook(server: Api) -> str:
    return str((await server.call("GET", "/v1/users/ann/hook")).json["path"])


async def test_alerts_of_alertmanager_become_signals_of_the_monitors_that_they_name(server: Api) -> None:
    path = await hook(server)
    body = {
        "version": "4", "status": "firing", "receiver": "everwatch", "groupLabels": {"a": "b"}, "alerts": [
            {"status": "firing", "labels": {"alertname": "DiskFull", "instance": "a"}, "startsAt": "x"},
            {"status": "resolved", "labels": {"alertname": "DiskFull", "instance": "b"}},
            {"status": "resolved", "labels": {"alertname": "Any", "everwatch_monitor": "queue"}},
            {"status": "firing", "labels": {"severity": "page"}},
        ],
    }  # fmt: skip
    taken = await server.call("POST", path, token=None, body=body)
    assert (taken.status, taken.json) == (202, {"accepted": 2})
    assert signals(server) == [
        {"monitor_id": "DiskFull", "type": "fail", "user_id": "ann"},
        {"monitor_id": "queue", "type": "success", "user_id": "ann"},
    ]


async def test_a_webhook_in_our_own_words_is_taken_whole_or_not_at_all(server: Api) -> None:
    path = await hook(server)
    sent = {"signals": [{"monitor_id": "temperature", "value": 21.5, "sensor": "x"}, {"monitor_id": "job"}]}
    assert (await server.call("POST", path, token=None, body=sent)).json == {"accepted": 2}
    assert signals(server)[0] == {"monitor_id": "temperature", "type": "success", "value": 21.5, "user_id": "ann"}
    wrong = {"signals": [{"monitor_id": "job"}, {"monitor_id": "a\nb"}]}
    for body in (wrong, {"signals": []}, {}, {"alerts": [{"status": "on", "labels": {}}]}, {"alerts": 1}):
        assert (await server.call("POST", path, token=None, body=body)).status == 422, body
    assert (await server.call("POST", path, token=None, body=b"{")).code == "malformed"
    nameless = {"alerts": [{"status": "firing", "labels": {}}]}
    assert (await server.call("POST", path, token=None, body=nameless)).status == 422
    assert len(signals(server)) == 2


async def test_the_key_of_a_webhook_is_no_ping_key_and_none_can_be_guessed(server: Api) -> None:
    path = await hook(server)
    ping = (await server.call("GET", "/v1/users/ann/ping-key")).json["key"]
    body = {"signals": [{"monitor_id": "job"}]}
    for wrong in (f"/hooks/{ping}", f"{path}x", "/hooks/x"):
        assert (await server.call("POST", wrong, token=None, body=body)).code == "not_found"
    key = path.removeprefix("/hooks/")
    assert (await server.call("GET", f"/ping/{key}/job", token=None)).status == 404
    viewer = server.token(Role.VIEWER, "ann")
    assert (await server.call("GET", "/v1/users/ann/hook", token=viewer)).status == 403


async def test_a_users_monitors_are_scraped_with_a_token_of_that_user_alone(server: Api) -> None:
    await server.call("PUT", "/v1/users/bob", body={"monitors": [{"monitor_id": "his", **NOOP}]})
    await server.call("POST", "/v1/users/ann/monitors/site/pause", body={})
    hers = server.token(Role.VIEWER, "ann")
    scraped = await server.call("GET", "/v1/users/ann/metrics", token=hers)
    text = scraped.data.decode()
    assert scraped.headers["Content-Type"].startswith("text/plain")
    assert 'everwatch_user_monitor_state{kind="noop",monitor_id="site",name="Shop",state="paused"} 1.0' in text
    assert "everwatch_user_monitor_up{" not in text, "it is neither up nor down"
    assert "his" not in text
    assert (await server.call("GET", "/v1/users/bob/metrics", token=hers)).status == 403
    assert (await server.call("GET", "/v1/users/none/metrics")).code == "not_found"


@pytest.fixture
async def notified(tmp_path: Path) -> AsyncIterator[tuple[Api, Notifying]]:
    notifying = Notifying(Settings(data_dir=tmp_path), rules=RULES + "[contacts]\nverify = true\n")
    async with api() as running:
        running.stand_beside(notifying)
        yield running, notifying
    notifying.close()


async def test_what_was_given_up_is_sent_again_on_request(notified: tuple[Api, Notifying]) -> None:
    server, notifying = notified
    notifying.sign_up("ann")
    notifying.receiver.answers = lambda *_: AttemptOutcome(Verdict.GONE, "410")
    notifying.tell(transition("new", "up", 1, "ann", alert=False), transition("up", "down", 2, "ann"))
    await notifying.later(MINUTE)
    dead = notifying.deliveries("dead")
    assert dead
    body: dict[str, object] = {"since": dead[0].created_at}
    planned = await server.call("POST", "/v1/deliveries/replay", body=body | {"dry_run": True})
    assert (planned.status, planned.json, notifying.deliveries("pending")) == (200, {"messages": len(dead)}, [])
    for limited in ({"since": dead[-1].created_at + HOUR}, body | {"route": "other"}, body | {"state": "sent"}):
        assert (await server.call("POST", "/v1/deliveries/replay", body=limited)).json == {"messages": 0}
    hers = server.token(Role.OPERATOR, "bob")
    assert (await server.call("POST", "/v1/deliveries/replay", body=body, token=hers)).json == {"messages": 0}
    asked = await server.call("POST", "/v1/deliveries/replay", body=body)
    assert (asked.status, asked.json) == (202, {"messages": len(dead)})
    assert {each.delivery_id for each in notifying.deliveries("pending")} == {each.delivery_id for each in dead}
    viewer = server.token(Role.VIEWER)
    assert (await server.call("POST", "/v1/deliveries/replay", body=body, token=viewer)).status == 403
    assert server.audit.entries[-1].command == "replay"


async def test_an_address_is_confirmed_with_its_code_and_no_other(notified: tuple[Api, Notifying]) -> None:
    server, notifying = notified
    notifying.sign_up("ann")
    assert ask_contacts(notifying.storage, notifying.rules, ["ann"], notifying.clock.now_ms()) == 1
    await notifying.work()
    [code] = [m.code for a, m in notifying.receiver.got if isinstance(a, MAIL)]
    [held] = (await server.call("GET", "/v1/users/ann/contacts")).json["items"]
    assert held["verified_at"] == 0
    assert code not in orjson.dumps(held).decode()
    path = "/v1/users/ann/contacts/verify"
    for wrong in ("", "AAAAAAAA", "x" * 65):
        assert (await server.call("POST", path, body={"code": wrong})).status == 422
    done = await server.call("POST", path, body={"code": code.lower()})
    assert (done.status, done.json["items"][0]["verified_at"]) == (200, notifying.clock.now_ms())
    assert (await server.call("POST", path, body={"code": code})).status == 422, "a code is used once"
    assert code not in server.audit.entries[-1].outcome


def paths(refused: Answered) -> list[str]:
    return [each["path"] for each in refused.json["errors"]]


async def test_the_routes_of_the_rules_are_listed_without_addresses(notified: tuple[Api, Notifying]) -> None:
    server, notifying = notified
    assert (await server.call("GET", "/v1/routes")).json["items"] == []
    for _ in range(2):
        with notifying.storage.begin() as work:
            work.put_routes(listed_routes(notifying.rules))
    listed = await server.call("GET", "/v1/routes")
    assert [(each["route"], each["for"], each["sender"]) for each in listed.json["items"]] == [
        ("mail", "users", "email"), ("hook", "operators", "webhook"),
    ]  # fmt: skip
    assert b"hooks.example" not in listed.data
    assert [(each["belongs_to"], each["needs"]) for each in listed.json["items"]] == [
        ("user", ["email"]), ("operator", []),
    ]  # fmt: skip


async def test_a_route_says_whether_it_reaches_a_user_and_why_not(notified: tuple[Api, Notifying]) -> None:
    server, notifying = notified
    with notifying.storage.begin() as work:
        work.put_routes(listed_routes(notifying.rules))

    async def reach(token: str | None = "") -> list[tuple[str, bool, str]]:
        items = (await server.call("GET", "/v1/routes?user=ann", token=token)).json["items"]
        return [(each["route"], each["reaches"], each["problem"]) for each in items]

    operators = ("hook", False, "it is for operators")
    assert (await reach())[0] == ("mail", False, "the notifier does not know the user")
    notifying.sign_up("ann")
    assert await reach() == [("mail", False, "not verified"), operators]
    trusted = await server.call("POST", "/v1/users/ann/contacts/ask", body={"trust": True})
    assert trusted.status == 202
    assert await reach() == [("mail", True, ""), operators]
    # a user's own token sees what concerns the user, whatever it asks for
    hers = server.token(Role.OPERATOR, "ann")
    assert await reach(hers) == [("mail", True, "")]
    own = await server.call("GET", "/v1/routes", token=hers)
    assert [each["route"] for each in own.json["items"]] == ["mail"]
    assert (await server.call("GET", "/v1/routes?user=bob", token=hers)).status == 403
    # nobody takes an address of their own as verified
    assert (await server.call("POST", "/v1/users/ann/contacts/ask", body={}, token=hers)).status == 403


SHOP = """[[users]]
name = "shop"
match = { label = { team = "shop" } }
email = { to = "{{user.attributes.email}}" }

"""
OF_MONITORS = (
    MAIL_AT_ONCE.replace("[[users]]", f"{SHOP}[[users]]")
    + """
[[operators]]
name = "page"
after = "10m"
match = { severity = ["critical"] }
webhook = { url = "https://hooks.example/page" }

[[operators]]
name = "all"
continue = true
webhook = { url = "https://hooks.example/all" }

[[operators]]
name = "bob"
match = { user = ["bob"], target = ["*.example"] }
webhook = { url = "https://hooks.example/bob" }
"""
)


async def test_a_route_says_whether_it_takes_the_alert_of_a_monitor_and_why_not(tmp_path: Path) -> None:
    notifying = Notifying(Settings(data_dir=tmp_path), rules=OF_MONITORS)
    async with api() as server:
        server.storage = notifying.storage
        with notifying.storage.begin() as work:
            work.put_routes(listed_routes(notifying.rules))
        http = {"kind": "http", "schedule": {"every": "1m"}, "config": {"url": "https://shop.example/"}}
        monitors = [
            {"monitor_id": "site", "labels": {"team": "shop"}, **http},
            {"monitor_id": "blog", "policy": {"severity": "warning"}, **http},
        ]
        await server.call("PUT", "/v1/users/ann", body={"monitors": monitors})
        notifying.sign_up("ann")

        async def decided(monitor: str, token: str | None = "") -> dict[str, tuple[bool, str]]:
            answer = await server.call("GET", f"/v1/routes?user=ann&monitor={monitor}", token=token)
            return {each["route"]: (each["takes"], each["reason"]) for each in answer.json["items"]}

        assert await decided("site") == {
            "shop": (True, "and ends the search"),
            "mail": (False, "route shop takes it and does not continue"),
            "page": (True, "once the incident has lasted 600 s and nobody has acknowledged it"),
            "all": (True, "and lets it go on"),
            "bob": (False, "user is ann, and the route takes bob"),
        }
        blog = await decided("blog")
        assert blog["shop"] == (False, "label team is not given, and the route takes shop")
        assert blog["mail"] == (True, "and ends the search")
        assert blog["page"] == (False, "severity is warning, and the route takes critical")
        # a user's own token is shown no routes of operators
        assert set(await decided("blog", server.token(Role.VIEWER, "ann"))) == {"shop", "mail"}
        assert (await server.call("GET", "/v1/routes?user=ann&monitor=none")).code == "not_found"
        assert (await server.call("GET", "/v1/routes?monitor=site")).status == 422
    notifying.close()


async def test_codes_are_sent_anew_and_the_one_before_is_void(notified: tuple[Api, Notifying]) -> None:
    server, notifying = notified
    path = "/v1/users/ann/contacts/ask"
    assert (await server.call("POST", path, body={})).code == "not_found"
    notifying.sign_up("ann")
    with notifying.storage.begin() as work:
        work.put_routes(listed_routes(notifying.rules))
    for _ in range(2):
        assert (await server.call("POST", path, body={})).status == 202
        await notifying.later(MINUTE)
    first, second = [m.code for a, m in notifying.receiver.got if isinstance(a, MAIL)]
    verify = "/v1/users/ann/contacts/verify"
    assert (await server.call("POST", verify, body={"code": first})).status == 422
    assert (await server.call("POST", verify, body={"code": second})).status == 200


async def test_operators_are_sent_a_test_and_a_message_is_shown_with_its_lines(
    notified: tuple[Api, Notifying],
) -> None:
    server, notifying = notified
    with notifying.storage.begin() as work:
        work.put_routes(listed_routes(notifying.rules))
    path = "/v1/routes/test"
    assert paths(await server.call("POST", path, body={"route": "mail"})) == ["$.route"], "that is for users"
    asked = await server.call("POST", path, body={}, Idempotency_Key="t-1", Prefer="respond-async")
    assert (asked.status, [each["route"] for each in asked.json["items"]]) == (202, ["hook"])
    await notifying.work()
    again = await server.call("POST", path, body={}, Idempotency_Key="t-1")
    [sent] = again.json["items"]
    assert (again.status, sent["state"], sent["user_id"]) == (200, "sent", "")
    shown = await server.call("GET", f"/v1/deliveries/{sent['delivery_id']}")
    assert (shown.json["summary"], len(shown.json["lines"])) == (sent["summary"], 1)
    hers = server.token(Role.OPERATOR, "ann")
    assert (await server.call("GET", f"/v1/deliveries/{sent['delivery_id']}", token=hers)).code == "not_found"
    assert (await server.call("POST", path, body={}, token=hers)).status == 403


async def test_a_test_message_goes_to_a_user_once_and_to_no_address_that_is_not_verified(
    notified: tuple[Api, Notifying],
) -> None:
    server, notifying = notified
    path = "/v1/users/ann/contacts/test"
    assert (await server.call("POST", path, body={})).code == "not_found"
    notifying.sign_up("ann")
    assert paths(await server.call("POST", path, body={})) == ["$.route"], "there are no rules yet"
    with notifying.storage.begin() as work:
        work.put_routes(listed_routes(notifying.rules))
    refused = await server.call("POST", path, body={"route": "hook"})
    assert (refused.status, paths(refused)) == (422, ["$.route"]), "that is for operators"
    [skipped] = (await server.call("POST", path, body={"route": "mail"})).json["items"]
    assert (skipped["state"], skipped["reason"]) == ("skipped", "the address is not verified")
    assert ask_contacts(notifying.storage, notifying.rules, ["ann"], notifying.clock.now_ms()) == 1
    await notifying.work()
    [code] = [m.code for a, m in notifying.receiver.got if isinstance(a, MAIL)]
    assert (await server.call("POST", "/v1/users/ann/contacts/verify", body={"code": code})).status == 200
    asked = await server.call("POST", path, body={}, Idempotency_Key="t-1", Prefer="respond-async")
    assert (asked.status, [each["state"] for each in asked.json["items"]]) == (202, ["pending"])
    await notifying.work()
    again = await server.call("POST", path, body={}, Idempotency_Key="t-1")
    assert (again.status, [each["state"] for each in again.json["items"]]) == (200, ["sent"])
    await notifying.work()
    tests = [message for _, message in notifying.receiver.got if message.is_test]
    assert [(message.user_id, message.route) for message in tests] == [("ann", "mail")]
    assert server.audit.entries[-1].command == "test_contact"


async def test_nobody_has_a_mailbox_filled_with_tests(notified: tuple[Api, Notifying]) -> None:
    server, notifying = notified
    notifying.sign_up("ann")
    with notifying.storage.begin() as work:
        work.put_routes(listed_routes(notifying.rules))
    path = "/v1/users/ann/contacts/test"
    answers = [await server.call("POST", path, body={}, Prefer="respond-async") for _ in range(TESTS_PER_MIN + 1)]
    assert [each.status for each in answers[-2:]] == [200, 429]
    assert answers[-1].headers["Retry-After"]
