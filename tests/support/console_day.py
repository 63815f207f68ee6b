"""A day of the company whose data the console shows: alerts that were sent, refused records, tokens, jobs, silences."""

from collections.abc import Iterable
from itertools import groupby

import orjson
from msgspec.structs import replace

from everwatch.api.job_records import JobErrors, JobRecord, command_id_of, encoded, key_of, page_name
from everwatch.api.job_views import JobItem, JobState
from everwatch.api.permissions import Role
from everwatch.model import Transition
from everwatch.notifier.addresses import Address, EmailAddress
from everwatch.notifier.alerts import Message
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict
from everwatch.store import Partition, Received, SinkBatch
from everwatch.store.letters import StoredLetter
from support.api import START, Api
from support.notifying import Notifying

MINUTE, HOUR = 60_000, 3_600_000
DAY = 24 * HOUR
SILENCED = "mail.cafe-lumen.example"
ACKNOWLEDGED = "/v1/users/kestrel-maps/monitors/certificate/ack"
COMMENTED = "/v1/users/saffron-spice/monitors/checkout"
EDIT = {"policy": {"timeout": "8s", "failures_to_down": 3}}
COMMENTS = (
    "Release 4.18.2 of the checkout went out at 10:36, two minutes before the first failure.",
    "Rolled back to 4.18.1. It still answers 503: the card provider is down, see api.cardpay.example.",
)
_NO_BOX = "mailbox unavailable"


def answer_of(address: Address, message: Message) -> AttemptOutcome:
    """Return what mail servers and webhooks answer: one address is no more, one server is busy."""
    if isinstance(address, EmailAddress):
        if "harbour-cheese" in str(address):
            return AttemptOutcome(Verdict.GONE, f"550 5.1.1 {_NO_BOX}")
        if "paper-crane" in str(address):
            return AttemptOutcome(Verdict.FAILED, "421 4.3.2 try again later", retry_after_ms=HOUR)
        return AttemptOutcome(Verdict.SENT, "250 2.0.0 queued")
    return AttemptOutcome(Verdict.SENT, "status 200")


async def tell_alerts(notifying: Notifying, transitions: Iterable[Transition], end: int) -> None:
    """Let the notifier see changes of state in their order, and send what is due at each quarter of an hour."""
    ordered = sorted(transitions, key=lambda each: each.at)
    for quarter, some in groupby(ordered, key=lambda each: each.at // (15 * MINUTE)):
        at = min(end, (quarter + 1) * 15 * MINUTE)
        if end - at > DAY:
            continue
        notifying.clock.advance(max(0, at - notifying.clock.now_ms()))
        notifying.tell(*some)
        await notifying.work()
    notifying.clock.advance(max(0, end - notifying.clock.now_ms()))
    await notifying.work()


# reason, the same without what it quotes, path, code, topic, minutes ago, user, record
_LETTERS = [
    ("there is no plan 'platinum'", "there is no plan '…'", "$.plan", "unknown_plan", "signups", 14, "nettle-tea",
     {"user_id": "nettle-tea", "plan": "platinum", "attributes": {"name": "Nettle Tea", "city": "Graz"}}),
    ("there is no plan 'platinum'", "there is no plan '…'", "$.plan", "unknown_plan", "signups", 31, "harbour-cheese",
     {"user_id": "harbour-cheese", "plan": "platinum"}),
    ("expected a duration such as 30s or 5m, got 'hourly'", "expected a duration such as …, got '…'",
     "$.monitors[0].schedule.every", "invalid", "signups", 52, "oak-and-ash",
     {"user_id": "oak-and-ash", "plan": "pro", "monitors": [
         {"monitor_id": "front-page", "kind": "http", "config": {"url": "https://oak-and-ash.example/"},
          "schedule": {"every": "hourly"}}]}),
    ("the address 10.0.0.7 is not public", "the address … is not public", "$.monitor.config.url", "blocked_address",
     "commands", 120, "umbra-lighting",
     {"user_id": "umbra-lighting", "command": "put", "monitor": {
         "monitor_id": "till", "kind": "http", "config": {"url": "http://10.0.0.7/"}, "schedule": {"every": "1m"}}}),
    ("there is no monitor 'nightly-bakup'", "there is no monitor '…'", "$.monitor_id", "not_found", "signals", 190,
     "marble-bakery", {"user_id": "marble-bakery", "monitor_id": "nightly-bakup", "signal": "ok"}),
    ("the plan free allows 10 monitors", "the plan free allows … monitors", "$.monitor", "quota", "commands", 260,
     "juniper-soap", {"user_id": "juniper-soap", "command": "put", "monitor": {
         "monitor_id": "labels", "kind": "tcp", "config": {"host": "labels.example", "port": 9100},
         "schedule": {"every": "5m"}}}),
]  # fmt: skip


def _letters() -> list[StoredLetter]:
    return [
        StoredLetter(
            3, number, START - ago * MINUTE, reason, alike, path, code, "worker", topic, number % 8, 4_100 + number,
            START - ago * MINUTE - 40, user, user, "json", orjson.dumps(value).decode(), "",
        )
        for number, (reason, alike, path, code, topic, ago, user, value) in enumerate(reversed(_LETTERS))
    ]  # fmt: skip


async def tell_day(running: Api) -> None:
    """Let people and programs do what the other pages show."""
    place = Partition("dead-letters", 3)
    letters = [Received(place, each.offset, each.refused_at, each) for each in _letters()]
    running.store.apply(SinkBatch(START, {place: len(letters)}, letters=letters))
    # one thing after the other, the last one now: of entries of one instant the order is open
    running.clock.set(START - 21 * MINUTE)
    operator = running.token(Role.OPERATOR, name="Ines Moreau")
    running.token(Role.VIEWER, name="grafana")
    running.token(Role.OPERATOR, name="deploy pipeline", expires_at=START + 30 * DAY)
    running.token(Role.VIEWER, "saffron-spice", name="Saffron Spice, widget")

    colleague = running.token(Role.OPERATOR, name="Jonas Keller")

    async def ask(path: str, body: object = None, *, token: str = operator, after_ms: int = 3 * MINUTE) -> None:
        running.clock.advance(after_ms)
        answer = await running.call("POST", path, token=token, body=body)
        assert answer.status < 300, answer.data

    jobs = [("run_now", {"kind": "tcp", "plan": "pro"}, 8), ("pause", {"kind": "tls"}, 24)]
    for action, which, many in jobs:
        await ask("/v1/jobs", {"action": action, "filter": which, "expect_count": many})
    over, under_way = sorted(running.jobs.all(), key=lambda each: each.total)
    gone = JobItem(
        "velvet-florist", "mail", "not_found", "there is no monitor 'mail'", command_id_of(over.job_id, "", "")
    )
    written: list[JobRecord] = [
        replace(over, state=JobState.DONE, done=7, refused=1, created_at=START - 3 * HOUR, ended_at=START - 2 * HOUR),
        JobErrors(over.job_id, page_name(""), [gone]),
        replace(under_way, done=9, created_at=START - MINUTE),
    ]
    for record in written:
        await running.records.send("jobs", key_of(record), encoded(record))
    for what in ("resume", "pause"):
        await ask(f"/v1/users/paper-crane/monitors/mail/{what}", {}, token=colleague)
    await ask(ACKNOWLEDGED)
    await ask("/v1/silences", {"match": {"target": SILENCED}, "for": "2h", "reason": "New mail server"})
    running.clock.set(START - 4 * MINUTE)
    merge = {"If_Match": "*", "Content_Type": "application/merge-patch+json"}
    edited = await running.call("PATCH", COMMENTED, token=colleague, body=EDIT, **merge)
    assert edited.status == 200, edited.data
    running.clock.set(START - 3 * MINUTE)
    why = (await running.call("GET", f"{COMMENTED}/notifications")).json
    for text, token in zip(COMMENTS, (operator, colleague), strict=True):
        path = f"/v1/incidents/{why['incident']['incident_id']}/comments"
        await ask(path, {"text": text}, token=token, after_ms=MINUTE)
    running.clock.set(START)
