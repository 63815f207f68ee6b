"""Silences: what they keep quiet, what is told when one ends, and how they are made over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.api import Api, api
from support.notifying import HOUR, MAIL, MINUTE, RULES, Notifying, transition

from everwatch.api.permissions import Role
from everwatch.api.silences import MOST_OF_LIMITED, MOST_SILENCES
from everwatch.client import AsyncClient
from everwatch.core.config import Settings
from everwatch.notifier.acknowledging import Acknowledgement
from everwatch.notifier.judging import end_snoozes
from everwatch.notifier.silences import AlertSilence, Selector
from everwatch.notifier.silencing import end_silences

DATABASE = {"target": "db.example", "labels": {"team": "shop"}}


@pytest.fixture
async def notifying(tmp_path: Path) -> AsyncIterator[Notifying]:
    made = Notifying.of_users(Settings(data_dir=tmp_path), RULES, ("ann", "bob"))
    yield made
    made.close()


@pytest.fixture
async def server(notifying: Notifying) -> AsyncIterator[Api]:
    async with api() as running:
        running.stand_beside(notifying)
        body = {"monitors": [{"monitor_id": "shop", "kind": "noop", "labels": {"team": "shop"}}]}
        for user in ("ann", "bob"):
            await running.call("PUT", f"/v1/users/{user}", body=body)
        yield running


def silence(notifying: Notifying, match: Selector, ms: int, silence_id: str = "s") -> None:
    now = notifying.clock.now_ms()
    with notifying.storage.begin() as work:
        work.put_silence(AlertSilence(silence_id, match, now, now + ms, "move", "ada", now))


@pytest.mark.parametrize(
    ("match", "taken"),
    [
        (Selector(user="ann"), True),
        (Selector(user="bob"), False),
        (Selector(plan="pro", kind="http"), True),
        (Selector(plan="free"), False),
        (Selector(target="db.example"), True),
        (Selector(target="*.example"), True),
        (Selector(target="*.db.example"), False),
        (Selector(label={"team": "shop"}), True),
        (Selector(label={"team": "shop", "env": "prod"}), False),
    ],
)
def test_a_selector_takes_that_to_which_all_of_it_applies(match: Selector, taken: bool) -> None:
    assert match.matches("ann", "pro", "http", "db.example", {"team": "shop", "city": "Bern"}) is taken


async def test_what_is_silenced_is_not_told_and_says_why(notifying: Notifying) -> None:
    silence(notifying, Selector(target="db.example"), HOUR)
    notifying.tell(transition("up", "down", 1, "ann", **DATABASE), transition("up", "down", 1, "bob"))
    await notifying.later(10_000)
    assert notifying.receiver.summaries(MAIL) == ["opened"], "of bob, whose monitor is of another target"
    assert notifying.verdicts("ann") == ["not told: silenced by ada (move)"]
    notifying.tell(transition("down", "up", 60, "ann", **DATABASE), transition("down", "up", 60, "bob"))
    await notifying.later(HOUR)
    assert notifying.receiver.summaries(MAIL) == ["opened", "closed"], "nor that it is over"


async def test_what_was_told_before_a_silence_is_told_to_be_over(notifying: Notifying) -> None:
    notifying.tell(transition("up", "down", 1, "ann"))
    await notifying.later(10_000)
    silence(notifying, Selector(user="ann"), HOUR)
    notifying.tell(transition("down", "down", 600, "ann", reminder=True), transition("down", "up", 700, "ann"))
    await notifying.later(20 * MINUTE)
    assert notifying.receiver.summaries(MAIL) == ["opened", "closed"]


async def test_what_goes_on_when_a_silence_ends_is_told_once(notifying: Notifying) -> None:
    silence(notifying, Selector(label={"team": "shop"}), HOUR)
    silence(notifying, Selector(user="bob"), 2 * HOUR, "of-bob")
    for user in ("ann", "bob"):
        notifying.tell(transition("up", "down", 1, user, **DATABASE))
    # down within maintenance, which the worker reminds of itself
    notifying.tell(transition("up", "down", 1, "ann", "kept", alert=False, **DATABASE))
    await notifying.later(MINUTE)
    now = notifying.clock.now_ms
    assert end_silences(notifying.storage, now()) == 0
    await notifying.later(HOUR)
    assert end_silences(notifying.storage, now()) == 1
    await notifying.work()
    assert notifying.receiver.summaries(MAIL) == ["opened"], "of ann's shop alone: another silence has bob's"
    assert end_silences(notifying.storage, now()) == 0
    await notifying.later(HOUR)
    assert end_silences(notifying.storage, now()) == 1
    await notifying.work()
    assert notifying.receiver.summaries(MAIL) == ["opened", "opened"]
    notifying.tell(transition("down", "up", 9_000, "ann", **DATABASE))
    await notifying.later(HOUR)
    assert notifying.receiver.summaries(MAIL)[-1] == "closed"


async def test_a_snooze_that_ends_within_a_silence_is_told_when_the_silence_ends(notifying: Notifying) -> None:
    notifying.tell(transition("up", "down", 1, "ann"))
    await notifying.later(10_000)
    now = notifying.clock.now_ms
    with notifying.storage.begin() as work:
        [incident] = work.open_incidents()
        work.put_ack(Acknowledgement(incident.incident_id, "ann", "shop", now(), "ada", now() + HOUR))
    silence(notifying, Selector(user="ann"), 2 * HOUR)
    notifying.clock.advance(HOUR)
    assert end_snoozes(notifying.storage, notifying.rules, now()) == 1
    await notifying.work()
    assert notifying.receiver.summaries(MAIL) == ["opened"]
    assert notifying.verdicts("ann")[-1] == "not told: silenced by ada (move)"
    notifying.clock.advance(HOUR)
    assert end_silences(notifying.storage, now()) == 1
    await notifying.work()
    assert notifying.receiver.summaries(MAIL) == ["opened", "reminder"]
    silence(notifying, Selector(user="ann"), HOUR)
    notifying.clock.advance(HOUR)
    assert end_silences(notifying.storage, now()) == 1
    await notifying.work()
    assert notifying.receiver.summaries(MAIL) == ["opened", "reminder"], "that silence kept nothing back"


async def test_flapping_that_settles_down_within_a_silence_is_told_when_it_ends(notifying: Notifying) -> None:
    for n in range(9):
        states = ("up", "down") if n % 2 == 0 else ("down", "up")
        notifying.tell(transition(*states, 1 + 10 * n, "ann"))
    await notifying.later(2 * MINUTE)
    told = " ".join(notifying.receiver.summaries(MAIL)).split()
    assert "flapping" in told
    silence(notifying, Selector(user="ann"), HOUR)
    await notifying.later(20 * MINUTE)
    assert " ".join(notifying.receiver.summaries(MAIL)).split() == told
    notifying.clock.advance(HOUR)
    assert end_silences(notifying.storage, notifying.clock.now_ms()) == 1
    await notifying.work()
    assert " ".join(notifying.receiver.summaries(MAIL)).split() == [*told, "reminder"]


async def test_a_silence_is_previewed_made_listed_and_ended_over_http(server: Api, notifying: Notifying) -> None:
    notifying.tell(transition("up", "down", 1, "ann", **DATABASE))
    await notifying.later(10_000)
    match = {"label": {"team": "shop"}}
    seen = (await server.call("POST", "/v1/silences/preview", body={"match": match})).json
    assert (seen["monitors"], seen["incidents"]) == (2, 1)
    assert [each["user_id"] for each in seen["open"]] == ["ann"]
    made = await server.call("POST", "/v1/silences", body={"match": match, "for": "2h", "reason": "move"})
    assert (made.status, made.json["ends_at"] - made.json["starts_at"]) == (201, 2 * HOUR)
    assert (await server.call("GET", "/v1/silences")).json["items"] == [made.json]
    server.clock.advance(1_000)
    ended = await server.call("DELETE", f"/v1/silences/{made.json['silence_id']}")
    assert (ended.status, ended.json["ends_at"]) == (200, server.clock.now_ms())
    assert (await server.call("GET", "/v1/silences")).json["items"] == []
    assert [each.command for each in server.audit.entries[-2:]] == ["silence", "end_silence"]
    assert (await server.call("DELETE", "/v1/silences/none")).code == "not_found"


async def test_a_silence_sent_twice_is_one_and_may_begin_later(server: Api) -> None:
    begin = server.clock.now_ms() + HOUR
    body = {"match": {"kind": "noop"}, "starts_at": begin, "until": begin + HOUR}
    made = [await server.call("POST", "/v1/silences", body=body, Idempotency_Key="k") for _ in range(2)]
    assert [each.json["silence_id"] for each in made] == [made[0].json["silence_id"]] * 2
    assert len((await server.call("GET", "/v1/silences")).json["items"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"match": {}, "for": "1h"},
        {"match": {"user": "ann"}},
        {"match": {"user": "ann"}, "for": "100d"},
        {"match": {"user": "ann"}, "starts_at": 1_700_000_000_000, "for": "1h"},
        {"match": {"user": "ann"}, "starts_at": "soon", "for": "1h"},
        {"match": {"nobody": "ann"}, "for": "1h"},
    ],
)
async def test_a_silence_that_makes_no_sense_is_refused(server: Api, body: dict[str, object]) -> None:
    refused = await server.call("POST", "/v1/silences", body=body)
    assert refused.status in (400, 422)
    assert refused.json["detail"]


async def test_a_token_of_one_user_silences_that_users_monitors_alone(server: Api) -> None:
    hers = server.token(Role.OPERATOR, "ann")
    body = {"match": {"kind": "noop"}, "for": "1h"}
    assert (await server.call("POST", "/v1/silences", body=body, token=hers)).json["match"]["user"] == "ann"
    other = await server.call("POST", "/v1/silences", body={"match": {"user": "bob"}, "for": "1h"})
    assert len((await server.call("GET", "/v1/silences", token=hers)).json["items"]) == 1
    refused = await server.call("DELETE", f"/v1/silences/{other.json['silence_id']}", token=hers)
    assert refused.code == "not_found"
    assert (await server.call("POST", "/v1/silences", body={"match": {"user": "bob"}}, token=hers)).status in (403, 422)
    assert (await server.call("POST", "/v1/silences", body=body, token=server.token(Role.VIEWER))).status == 403


async def test_silences_of_one_user_keep_nobody_else_from_silencing(server: Api, notifying: Notifying) -> None:
    for n in range(MOST_SILENCES):
        silence(notifying, Selector(user="ann", target=f"t-{n}"), HOUR, f"s-{n}")
    hers, his = server.token(Role.OPERATOR, "ann"), server.token(Role.OPERATOR, "bob")
    body = {"match": {"kind": "noop"}, "for": "1h"}
    assert (await server.call("POST", "/v1/silences", body=body, token=hers)).code == "too_many_silences"
    assert (await server.call("POST", "/v1/silences", body=body)).status == 201
    assert (await server.call("POST", "/v1/silences", body=body, token=his)).status == 201
    for n in range(MOST_OF_LIMITED - 1):
        silence(notifying, Selector(user="bob", target=f"t-{n}"), HOUR, f"b-{n}")
    assert (await server.call("POST", "/v1/silences", body=body, token=his)).code == "too_many_silences"


async def test_the_client_makes_and_ends_silences(server: Api) -> None:
    from everwatch.api.incident_views import SilenceBody

    async with AsyncClient(server.url, server.texts[Role.ADMIN]) as client:
        preview = await client.preview_silence(Selector(user="ann"))
        assert (preview.monitors, preview.incidents) == (1, 0)
        made = await client.create_silence(SilenceBody(Selector(user="ann"), for_="1h"))
        assert (await client.silences()).items == [made]
        server.clock.advance(1)
        await client.end_silence(made.silence_id)
        assert (await client.silences()).items == []
