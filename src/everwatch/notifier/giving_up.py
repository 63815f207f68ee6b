"""Addresses that are given up after failures, and the notice of it to another address of the same people."""

import logging
from collections.abc import Collection, Mapping
from typing import NamedTuple

from everwatch.notifier.alerts import Message, derived_id
from everwatch.notifier.composing import new_delivery
from everwatch.notifier.contacts import contact_id_of
from everwatch.notifier.delivery_rows import Channel
from everwatch.notifier.retrying import GONE_AFTER_FAILURES, GONE_AFTER_MS
from everwatch.notifier.routes import AlertRoute, Audience, NoAddress, Rules, channel_id_of
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict
from everwatch.notifier.storage import Work
from everwatch.observability.logs import labelled
from everwatch.plans.placeholders import PlaceholderUser

logger = logging.getLogger(__name__)


class FailedAttempt(NamedTuple):
    """A failure at one address. ``user_id``: whose message, "" for operators'."""

    channel_id: str
    route: AlertRoute
    user_id: str
    shown: str
    given: PlaceholderUser | None
    outcome: AttemptOutcome


def note_failures(work: Work, rules: Rules, failed: Collection[FailedAttempt], now: int) -> None:
    """Count failures at their addresses, give up those that fail for good, and send a notice of each of these."""
    known = work.channels([each.channel_id for each in failed])
    given_up: dict[str, FailedAttempt] = {}
    for each in failed:
        before = known.get(each.channel_id) or Channel(
            each.channel_id, each.route.name, each.user_id, each.shown, 0, now, 0, ""
        )
        after = _after_failure(before, each, now)
        if after.disabled_at and not before.disabled_at:
            given_up[each.channel_id] = each
            logger.warning(
                "route %s gives up the address %s: %s",
                each.route.name,
                each.shown,
                each.outcome.reason,
                extra=labelled(route=each.route.name, user=each.user_id),
            )
        known[each.channel_id] = after
    work.put_channels(known.values())
    if given_up:
        _put_notices(work, rules, given_up, now)


def _after_failure(before: Channel, failed: FailedAttempt, now: int) -> Channel:
    failures = before.failures + 1
    gone = failed.outcome.verdict is Verdict.GONE or (
        # a user's address may be wrong for good; an operator's is looked after
        failed.route.audience is Audience.USERS
        and failures >= GONE_AFTER_FAILURES
        and now - before.failing_since >= GONE_AFTER_MS
    )
    disabled_at = before.disabled_at or (now if gone else 0)
    return before._replace(failures=failures, disabled_at=disabled_at, reason=failed.outcome.reason)


def _put_notices(work: Work, rules: Rules, given_up: Mapping[str, FailedAttempt], now: int) -> None:
    users = {each.user_id for each in given_up.values()}
    disabled = work.disabled_channels(users)
    verified = {each.contact_id for each in work.contacts_of(users) if each.verified_at}
    notices = []
    for channel_id, failed in given_up.items():
        if (route := _other_route(rules, failed, disabled, verified)) is None:
            continue
        message = Message(
            derived_id("given up", channel_id, now),
            route.name,
            failed.user_id,
            now,
            (),
            title=f"Alerts no longer go to {failed.shown}",
            lines=(
                f"The address {failed.shown} of route {failed.route.name} gets no alerts any more: "
                f"{failed.outcome.reason}",
                "The next route that matches takes its alerts. The address is used again once a test has reached it.",
            ),
        )
        notices.append(new_delivery(route, f"given up\x1f{channel_id}", failed.given, message, now))
    work.put_deliveries(notices)


def _other_route(
    rules: Rules, failed: FailedAttempt, disabled: Collection[str], verified: Collection[str]
) -> AlertRoute | None:
    """Return the first route of the same people with another address that works, as far as is known."""
    own = rules.named(failed.route.name)
    if own is None:
        # a subscription, or a route that was taken out of the file
        return None
    try:
        failing = own.address(failed.given)
    except NoAddress:
        failing = None
    plan = failed.given.plan if failed.given is not None else ""
    for route in rules.routes:
        # one that keeps incidents has no place for a notice
        if route.audience is not own.audience or route.name == own.name or route.keeps_incidents:
            continue
        if not route.match.is_for(failed.user_id, plan):
            continue
        try:
            address = route.address(failed.given)
            contact_id = contact_id_of(route, rules, failed.given)
        except NoAddress:
            continue
        if address == failing or (contact_id and contact_id not in verified):
            continue
        if channel_id_of(route, failed.given, address) not in disabled:
            return route
    return None
