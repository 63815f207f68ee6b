"""News of operators' status pages by mail, to confirmed addresses.

An address that was entered gets one mail with a link, and nothing else until the link's page was sent back. What
subscribers get is what a page shows: which of its monitors is down, since when, and that it is over.
"""

from collections.abc import Mapping, Sequence

from everwatch.model import State
from everwatch.notifier.addresses import EmailAddress
from everwatch.notifier.alerts import Message, derived_id
from everwatch.notifier.composing import new_delivery
from everwatch.notifier.delivery_rows import Delivery
from everwatch.notifier.incident_requests import SubscriptionConfirmed, SubscriptionEnded, SubscriptionRequest
from everwatch.notifier.incidents import Incident, Phase
from everwatch.notifier.routes import AlertRoute, Audience, Doubt, Match, channel_id_of
from everwatch.notifier.status_file import OperatorPage
from everwatch.notifier.storage import Storage, Work
from everwatch.notifier.subscriber_rows import DECLINED, NEVER_CONFIRMED, Announced, Subscriber, subscriber_id_of
from everwatch.notifier.timing import Timing
from everwatch.notifier.wording import instant
from everwatch.plans.placeholders import PlaceholderUser
from everwatch.schedule.duration import DAY_MS, HOUR_MS, MINUTE_MS

PREFIX = "status:"
"""How the routes of pages are called; those of the rules have no colon."""
OPEN_FOR_MS = 2 * MINUTE_MS
"""What is over sooner is no news."""
ASK_AGAIN_MS = HOUR_MS
MAIL_WITHIN_MS = HOUR_MS
"""For how long a request is answered with a mail: a notifier without its offsets reads those of a week again."""
PER_HOUR = 500
"""Addresses of a page that get a request in an hour: any visitor may enter any address."""
KEPT_UNCONFIRMED_MS = 7 * DAY_MS
"""How long an unconfirmed or declined address is kept; one that declined is not asked again before."""
MOST_LINES = 30
_PAGE = 1_000
_HIDDEN = ("status", "hidden")
Shown = tuple[Incident, str]
"""An incident, and what its monitor is called on pages."""


def news_route(name: str, email: str) -> AlertRoute:
    """Return the route by which a page's mail goes to one address."""
    target = {"to": email}
    return AlertRoute(
        name, Audience.OPERATORS, "email", target, Match(), Timing(0, 0, 0, 0, None, None), False, Doubt.RESEND
    )


def take_subscription(
    work: Work, request: SubscriptionRequest | SubscriptionConfirmed | SubscriptionEnded, now: int
) -> None:
    """Do what a visitor of a page asked for."""
    subscriber_id = subscriber_id_of(request.slug, request.email)
    held = work.subscriber(subscriber_id)
    match request:
        case SubscriptionEnded():
            # an address that ended its subscription may come back; one that declined is not asked for a week
            state = NEVER_CONFIRMED if held is not None and held.confirmed_at > 0 else DECLINED
            work.put_subscriber(Subscriber(subscriber_id, request.slug, request.email, "", now, state))
        case SubscriptionConfirmed():
            if held is None or held.confirmed_at <= 0:
                asked_at = held.asked_at if held is not None else now
                work.put_subscriber(Subscriber(subscriber_id, request.slug, request.email, request.link, asked_at, now))
        case SubscriptionRequest():
            if now - request.at > MAIL_WITHIN_MS:
                return
            if held is not None and (held.confirmed_at or now - held.asked_at < ASK_AGAIN_MS):
                return  # an address is asked once an hour, however often it is entered
            if work.asked_since(request.slug, now - HOUR_MS) >= PER_HOUR:
                return
            work.put_subscriber(Subscriber(subscriber_id, request.slug, request.email, "", now, NEVER_CONFIRMED))
            lines = (
                f"This address was entered for news of {request.title}.",
                f"To get them, open {request.link}. Without that nothing more is sent to it.",
            )
            message = Message(
                derived_id("subscription", subscriber_id, now),
                PREFIX + request.slug,
                "",
                now,
                (),
                to=request.email,
                title=f"Confirm your subscription: {request.title}",
                lines=lines,
            )
            work.put_deliveries([_delivery(message, now)])


def tell_subscribers(storage: Storage, pages: Mapping[str, OperatorPage], now: int) -> None:
    """Queue mails to subscribers of pages: monitors that are down now, and incidents that ended.

    A transaction for each page.
    """
    with storage.look() as work:
        read = work.pages_with_subscribers()
        # all pages by one look: in an outage there are many incidents
        down = _open(work, [page for page in pages.values() if page.slug in read])
    for page in pages.values():
        with storage.begin() as work:
            _tell(work, page, down.get(page.slug, []), now)


def forget_unconfirmed(storage: Storage, now: int) -> None:
    """Forget addresses that were never confirmed, or that want no mail."""
    with storage.begin() as work:
        work.trim_subscribers(now - KEPT_UNCONFIRMED_MS)


def _tell(work: Work, page: OperatorPage, down: Sequence[Shown], now: int) -> None:
    subscribers = work.subscribers(page.slug)
    told = {each.incident_id: each for each in work.announced(page.slug)}
    if not subscribers:
        # a later subscriber gets no end of an incident whose beginning was not sent
        work.delete_announced(page.slug, list(told))
        return
    begun, is_open = [], set()
    for incident, name in down:
        is_open.add(incident.incident_id)
        if incident.incident_id not in told and _is_news(incident, now):
            key = incident.user_id, incident.monitor_id
            begun.append(Announced(page.slug, incident.incident_id, name, incident.opened_at, *key))
    left = [each for key, each in told.items() if key not in is_open]
    if not begun and not left:
        return
    over, dropped = _ended(work, page, left)
    work.delete_announced(page.slug, dropped)
    if not begun and not over:
        return
    lines = [f"{each.name} is down since {instant(each.opened_at)}." for each in begun]
    lines += [f"{each.name} works again; it was down since {instant(each.opened_at)}." for each in over]
    more = len(lines) - MOST_LINES
    title = lines[0].partition(" since ")[0].partition(";")[0] if len(lines) == 1 else _counted(len(begun), len(over))
    shown = (*lines[:MOST_LINES], *((f"… and {more} more",) if more > 0 else ()), f"https://{page.domain}/")
    of = derived_id(*sorted(each.incident_id for each in begun), "over", *sorted(each.incident_id for each in over))
    given_up, mails = work.disabled_channels([""]), []
    for each in subscribers:
        address = EmailAddress(to=each.email)
        if channel_id_of(news_route(PREFIX + page.slug, each.email), None, address) in given_up:
            continue
        message = Message(
            derived_id("news", each.subscriber_id, of),
            PREFIX + page.slug,
            "",
            now,
            (),
            to=each.email,
            title=f"{page.title}: {title}",
            lines=shown,
            link=each.unsubscribe,
        )
        mails.append(_delivery(message, now))
    work.put_deliveries(mails)
    work.put_announced(begun)
    work.delete_announced(page.slug, [each.incident_id for each in over])


def _ended(work: Work, page: OperatorPage, left: Sequence[Announced]) -> tuple[list[Announced], list[str]]:
    """Return those of these incidents whose monitors work again, and the ids of those of which nothing is sent.

    A monitor that was paused or deleted, or that the page shows no more, has not recovered.
    """
    found = work.incidents({(each.user_id, each.monitor_id) for each in left})
    users = work.users({each.user_id for each in left})
    over, dropped = [], []
    for each in left:
        incident, given = found.get((each.user_id, each.monitor_id)), users.get(each.user_id)
        if incident is None or not _is_on(page, incident, given):
            dropped.append(each.incident_id)
        elif incident.is_open and incident.incident_id == each.incident_id:
            continue  # it opened a moment ago: another notifier has sent it
        elif incident.is_open or incident.state != State.UP:
            dropped.append(each.incident_id)
        else:
            over.append(each)
    return over, dropped


def _is_on(page: OperatorPage, incident: Incident, given: PlaceholderUser | None) -> bool:
    plan = given.plan if given is not None else ""
    return page.match.matches(incident.user_id, plan, incident.monitor_kind, incident.target, incident.labels)


def _open(work: Work, pages: Sequence[OperatorPage]) -> Mapping[str, Sequence[Shown]]:
    """Return the open incidents of each page's monitors, with their names there."""
    shown: dict[str, list[Shown]] = {page.slug: [] for page in pages}
    if not pages:
        return shown
    after = "", ""
    while found := work.open_incidents_after(after, _PAGE):
        after = found[-1][1].user_id, found[-1][1].monitor_id
        users = work.users({each.user_id for _, each in found})
        for _, each in found:
            given = users.get(each.user_id)
            for page in pages:
                if _is_on(page, each, given):
                    shown[page.slug].append((each, _name(each, given)))
    return shown


def _is_news(incident: Incident, now: int) -> bool:
    is_shown = incident.labels.get(_HIDDEN[0]) != _HIDDEN[1]
    return incident.phase is Phase.OPEN and incident.told and is_shown and now - incident.opened_at >= OPEN_FOR_MS


def _name(incident: Incident, given: PlaceholderUser | None) -> str:
    """Return what a page calls a monitor, as far as the notifier knows it: its group, else its user, and its id."""
    user = given.attributes.get("name") if given is not None else None
    return f"{incident.labels.get('group') or user or incident.user_id}: {incident.monitor_id}"


def _counted(begun: int, over: int) -> str:
    words = [f"{begun} down"] if begun else []
    return ", ".join([*words, f"{over} work again"] if over else words)


def _delivery(message: Message, now: int) -> Delivery:
    route = news_route(message.route, message.to)
    return new_delivery(route, f"{message.route}\x1f{subscriber_id_of(message.route, message.to)}", None, message, now)
