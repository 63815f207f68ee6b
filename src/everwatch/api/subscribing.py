"""Subscriptions of visitors of operators' status pages by mail: a form, a link to confirm, and an end with one click.

Links in mails lead to the domain that the file of pages names, never to a host that a request brought. A link that is
opened changes nothing (mail scanners open them): its page has a button.
"""

from urllib.parse import parse_qs

from everwatch.api.pinging import PingKeys
from everwatch.api.problems import Problem
from everwatch.api.rate_limiting import RateLimiter
from everwatch.api.routing import Answer, Call
from everwatch.api.status_drawing import FORM_PAGE_HEADERS, HTML, said_page
from everwatch.api.token_routes import RecordSender
from everwatch.core.clock import Clock
from everwatch.kinds.protocol import FieldError
from everwatch.notifier.addresses import EmailAddress
from everwatch.notifier.incident_requests import (
    IncidentRequest,
    SubscriptionConfirmed,
    SubscriptionEnded,
    SubscriptionRequest,
    encode_request,
)
from everwatch.notifier.status_file import OperatorPage, StatusPagesFile

SUBSCRIBE, SUBSCRIPTION = "/subscribe", "/subscription/"
LONGEST_FORM = 4_096
PER_MIN = 10
"""Addresses that may be entered from one place in a minute, at each API process."""
PAGE_PER_MIN = 60
"""Addresses that may be entered on one page in a minute: each gets a mail, from whichever visitor."""


class Subscribing:
    """Handlers of subscriptions."""

    def __init__(self, pages: StatusPagesFile, keys: PingKeys, records: RecordSender, topic: str, clock: Clock) -> None:
        self._pages = pages
        self._keys = keys
        self._records = records
        self._topic = topic
        self._clock = clock
        self._limiter = RateLimiter(PER_MIN)
        self._page_limiter = RateLimiter(PAGE_PER_MIN)

    async def subscribe(self, call: Call, body: bytes) -> Answer:
        """Ask for news of the status page whose domain this is."""
        page = self._pages.at(call.headers.get("Host", ""))
        if page is None or not page.subscribe:
            raise _unknown()
        if self._is_too_much(call.address, page):
            return _said(page, "Too many addresses were entered: wait a minute.", status=429)
        try:
            fields = parse_qs(body.decode(), max_num_fields=5)
            email = EmailAddress(to=fields.get("email", [""])[0].strip()).to
        except (ValueError, FieldError):
            return _said(page, "This is not an e-mail address such as ada@example.com.", status=422)
        key = self._keys.subscription_key_of(page.slug, email)
        link = f"https://{page.domain}{SUBSCRIPTION}{key}"
        await self._send(email, SubscriptionRequest(page.slug, email, page.title, link, self._clock.now_ms()))
        # the same for every address: the answer does not reveal who subscribes
        return _said(page, "Look into your mailbox: a link there begins the subscription.")

    def _is_too_much(self, place: str, page: OperatorPage) -> bool:
        now_s = self._clock.monotonic_s()
        # whoever has many addresses is stopped by the page's own limit
        taken = self._limiter.take(place, now_s), self._page_limiter.take(page.slug, now_s)
        return any(each is not None and each.retry_in_s > 0 for each in taken)

    async def show(self, call: Call) -> Answer:
        """Ask whether a subscription is wanted."""
        page, _ = self._named(call)
        return _said(
            page,
            f"News of {page.title} by mail",
            (f"{call.raw_path}/confirm", "Send me news"),
            (f"{call.raw_path}/end", "Send me none"),
        )

    async def confirm(self, call: Call, _: bytes) -> Answer:
        page, email = self._named(call)
        link = f"https://{page.domain}{SUBSCRIPTION}{call.path['key']}"
        await self._send(email, SubscriptionConfirmed(page.slug, email, link))
        return _said(page, "You get mail when something on this page is down, and when it works again.")

    async def end(self, call: Call, _: bytes) -> Answer:
        page, email = self._named(call)
        await self._send(email, SubscriptionEnded(page.slug, email))
        return _said(page, "No more mail is sent to you.")

    async def _send(self, email: str, request: IncidentRequest) -> None:
        await self._records.send(self._topic, email.casefold().encode(), encode_request(request))

    def _named(self, call: Call) -> tuple[OperatorPage, str]:
        found = self._keys.subscription_of(call.path["key"])
        page = self._pages.current.get(found[0]) if found is not None else None
        if found is None or page is None:
            raise _unknown()
        return page, found[1]


def _said(page: OperatorPage, text: str, *buttons: tuple[str, str], status: int = 200) -> Answer:
    return Answer(said_page(page, text, buttons), status, FORM_PAGE_HEADERS, HTML)


def _unknown() -> Problem:
    return Problem(404, "not_found", "There is no such subscription: the link is wrong, or its page has gone.")
