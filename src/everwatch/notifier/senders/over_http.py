"""Messages that go as one HTTP request: what each kind of receiver wants, and sending it through the SSRF guard."""

import asyncio

import msgspec

from everwatch.core.clock import Clock
from everwatch.kinds.webhook import signature_headers
from everwatch.network.http_client import HttpClient
from everwatch.network.http_request import Request, RequestFailed, RequestForbidden
from everwatch.network.http_response import HttpResponse
from everwatch.notifier.addresses import (
    Address,
    AlertmanagerAddress,
    DiscordAddress,
    NtfyAddress,
    PagerDutyAddress,
    SlackAddress,
    SmsAddress,
    TelegramAddress,
    WebhookAddress,
)
from everwatch.notifier.alerts import RESOLVING, Alert, AlertKind, Message
from everwatch.notifier.senders import lane_of
from everwatch.notifier.senders.chats import chat_post_of
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict, judged, said_of
from everwatch.notifier.senders.post import Post
from everwatch.notifier.senders.sms import sms_outcome, sms_post_of
from everwatch.notifier.wording import headline_of, iso, lines_of, subject_of
from everwatch.schedule.duration import DAY_MS

TIMEOUT_S = 15.0
_BODY_LIMIT = 2_048
_LONGEST_SUMMARY = 1_024
_LONGEST_SLACK = 39_000
# Alertmanager takes an alert without an end for resolved when it is not sent again within minutes
_FIRES_FOR_MS = 30 * DAY_MS
_ONCE_FOR_MS = 3_600_000
_json = msgspec.json.encode


class HttpSender:
    """Sends to all receivers that speak HTTP. ``guarded``: for addresses that users give; ``free``: for operators'."""

    def __init__(self, clock: Clock, guarded: HttpClient, free: HttpClient, timeout_s: float = TIMEOUT_S) -> None:
        self.timeout_s = timeout_s
        self._clock = clock
        self._guarded = guarded
        self._free = free

    async def send(self, address: Address, message: Message, *, from_user: bool, whose: str = "") -> AttemptOutcome:
        """Make one attempt; never raises for what the receiver does.

        ``from_user``: it is sent for a user. ``whose``: the user who has chosen the address, "" for the rules alone.
        """
        post = post_of(address, message, self._clock.now_ms())
        # operators choose the provider, though the number is a user's
        is_guarded = from_user and not isinstance(address, SmsAddress)
        client = self._guarded if is_guarded else self._free
        request = Request(
            "POST",
            post.url,
            {"Content-Type": "application/json", **post.headers},
            post.body,
            body_limit=_BODY_LIMIT,
            is_enough=_is_enough,
        )
        # Connections are kept to receivers that the rules name, never to an address that a user chose: no user reads
        # another's answer. A text message has its own: a request over a kept connection that breaks is sent again, and
        # the provider recognises no repetition.
        owner = None if isinstance(address, SmsAddress) or (is_guarded and whose) else lane_of(address)
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await client.send(request, client.new_probe(), owner)
        except TimeoutError:
            return AttemptOutcome(Verdict.FAILED, f"no answer within {self.timeout_s:g} s", is_servers=True)
        except RequestForbidden as error:
            # it says nothing of the server, which operators may send to: a user must not keep them from it
            return AttemptOutcome(Verdict.FAILED, str(error))
        except RequestFailed as error:
            return AttemptOutcome(Verdict.FAILED, error.sentence(said_of), is_servers=True)
        outcome = judged(answer, self._clock.now_ms(), lambda _: post.is_final)
        return sms_outcome(answer, outcome) if isinstance(address, SmsAddress) else outcome


def post_of(address: Address, message: Message, now: int) -> Post:
    """Return the request that hands ``message`` to a receiver."""
    match address:
        case WebhookAddress():
            return _webhook(address, message, now)
        case SlackAddress():
            return _slack(address, message)
        case DiscordAddress() | TelegramAddress() | NtfyAddress():
            return chat_post_of(address, message)
        case SmsAddress():
            return sms_post_of(address, message)
        case PagerDutyAddress():
            return _pagerduty(address, message)
        case AlertmanagerAddress():
            return _alertmanager(address, message)
    raise TypeError(f"not sent over HTTP: {address}")


def _webhook(address: WebhookAddress, message: Message, now: int) -> Post:
    # https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    data: dict[str, object] = {
        "route": message.route,
        "user_id": message.user_id or None,
        "summary": subject_of(message),
        "test": message.is_test,
        "alerts": [_told(alert) for alert in message.alerts],
        "more": message.more,
        "acknowledge": message.ack_link or None,
    }
    if message.lines:
        data["lines"] = message.lines
    body = _json({"type": "everwatch.alerts", "timestamp": iso(message.created_at), "data": data})
    headers = address.headers | signature_headers(address.secrets, message.message_id, now // 1000, body.decode())
    return Post(address.url, headers, body, is_final=False)


def _told(alert: Alert) -> dict[str, object]:
    return {
        "kind": alert.kind.value,
        "incident_id": alert.incident_id,
        "user_id": alert.user_id,
        "monitor_id": alert.monitor_id,
        "monitor_kind": alert.monitor_kind,
        "target": alert.target,
        "labels": alert.labels,
        "state": alert.state,
        "severity": alert.severity.value,
        "reason": alert.reason,
        "at": iso(alert.at),
        "opened_at": iso(alert.opened_at),
        "headline": headline_of(alert),
        "subject": alert.subject,
        "monitors": alert.monitors,
    }


def _slack(address: SlackAddress, message: Message) -> Post:
    lines = [f"*{_escaped(subject_of(message))}*"]
    lines += [f"• {_escaped(line)}" for line in lines_of(message, with_user=not message.user_id)]
    text = "\n".join(lines)[:_LONGEST_SLACK]
    if message.ack_link:
        text += f"\n<{message.ack_link}|Acknowledge or snooze>"
    return Post(address.url, {}, _json({"text": text}), is_final=True)


def _escaped(text: str) -> str:
    # https://api.slack.com/reference/surfaces/formatting#escaping
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _pagerduty(address: PagerDutyAddress, message: Message) -> Post:
    # https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
    alert = message.alerts[0]
    event: dict[str, object] = {
        "routing_key": address.routing_key,
        "event_action": "resolve" if alert.kind in RESOLVING else "trigger",
        "dedup_key": alert.incident_id,
    }
    if alert.kind not in RESOLVING:
        event["client"] = "Everwatch"
        event["payload"] = {
            "summary": subject_of(message)[:_LONGEST_SUMMARY],
            "source": alert.target or f"{alert.user_id}/{alert.monitor_id}",
            "severity": alert.severity.value,
            "timestamp": iso(alert.opened_at),
            "component": alert.monitor_id or alert.subject,
            "group": alert.user_id,
            "class": alert.monitor_kind,
            "custom_details": {"reason": alert.reason, **alert.labels},
        }
    return Post(address.url, {}, _json(event), is_final=True)


def _alertmanager(address: AlertmanagerAddress, message: Message) -> Post:
    # https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml: postableAlerts
    # in their order: an incident that begins must not be replaced by the end of the one before, whose labels it has
    alerts = sorted(message.alerts, key=lambda alert: (alert.opened_at, alert.at))
    posted = [_posted(alert, message) for alert in alerts]
    return Post(f"{address.url.rstrip('/')}/api/v2/alerts", address.headers, _json(posted), is_final=True)


def _posted(alert: Alert, message: Message) -> dict[str, object]:
    lasts_ms = _ONCE_FOR_MS if alert.kind is AlertKind.FAILED or message.is_test else _FIRES_FOR_MS
    ends_at = alert.at if alert.kind in RESOLVING else alert.at + lasts_ms
    own = {
        "alertname": "EverwatchIncident" if alert.subject else "EverwatchMonitor",
        "subject": alert.subject,
        "user_id": alert.user_id,
        "monitor_id": alert.monitor_id,
        "kind": alert.monitor_kind,
        "target": alert.target,
        # of its beginning: Alertmanager takes what has another label for another alert
        "severity": alert.opened_severity.value,
    }
    return {
        "labels": {key: value for key, value in (alert.labels | own).items() if value},
        "annotations": {"summary": headline_of(alert), "description": alert.reason, "state": alert.state},
        "startsAt": iso(alert.opened_at),
        "endsAt": iso(ends_at),
    }


def _is_enough(answer: HttpResponse) -> bool:
    # what a receiver says is of interest where it does not take the message
    return 200 <= answer.status <= 299 or answer.is_whole
