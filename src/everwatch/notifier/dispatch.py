"""Sending: claim due messages, hand them over, and store the outcomes.

The order of each message: 1. ``sending`` is committed, with the attempt's number, 2. it is sent, 3. the outcome is
committed. A notifier that is killed between 1 and 3 leaves a message in doubt: it is sent once more where the receiver
recognises it by its id, or where the route says ``doubt = "resend"``, else it is skipped; either is counted.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple, Protocol

from everwatch.core.clock import Clock
from everwatch.notifier.addresses import Address, EmailAddress, SmsAddress
from everwatch.notifier.alerts import Message
from everwatch.notifier.contacts import contact_id_of
from everwatch.notifier.delivery_rows import Delivery
from everwatch.notifier.due_messages import Passed, ServerLoads, choose
from everwatch.notifier.giving_up import FailedAttempt, note_failures
from everwatch.notifier.metrics import count_attempt
from everwatch.notifier.outcome_rows import SettledDelivery
from everwatch.notifier.retrying import Circuits, retry_at
from everwatch.notifier.routes import AlertRoute, Audience, NoAddress, Relay, Rules, channel_id_of
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict
from everwatch.notifier.storage import Storage, Work
from everwatch.notifier.subscriptions import news_route
from everwatch.notifier.text_limits import beyond_limits
from everwatch.observability.logs import labelled
from everwatch.plans.placeholders import PlaceholderUser

logger = logging.getLogger(__name__)

# longer than any attempt takes, with the time that its outcome waits for a busy database
LEASE_MS = 120_000
_LOOK_EVERY_S = 0.5
_SETTLE_EVERY_S = 0.02
_MOST_LOOKS = 8


class OverHttp(Protocol):
    """Sends to receivers that speak HTTP; ``senders.over_http.HttpSender``."""

    async def send(self, address: Address, message: Message, *, from_user: bool, whose: str = "") -> AttemptOutcome:
        """Make one attempt. ``whose``: the user that the address belongs to, "" for the rules alone."""
        ...


class OverMail(Protocol):
    """Sends mail; ``senders.mail.MailSender``."""

    async def send(self, relay: Relay | None, address: EmailAddress, message: Message) -> AttemptOutcome:
        """Make one attempt."""
        ...


class Limits(NamedTuple):
    """Limits of messages that are under way at once: in all, and to one server."""

    in_flight: int
    per_lane: int


class _Begun(NamedTuple):
    delivery: Delivery
    route: AlertRoute
    given: PlaceholderUser | None
    address: Address


class _Done(NamedTuple):
    begun: _Begun
    outcome: AttemptOutcome


class Senders(NamedTuple):
    """Senders of messages, by HTTP and by mail."""

    http: OverHttp
    mail: OverMail


class Dispatcher:
    """Sends due messages. One server that hangs takes ``per_lane`` of the slots at most, and the others go on."""

    def __init__(
        self,
        storage: Storage,
        rules: Callable[[], Rules],
        senders: Senders,
        clock: Clock,
        limits: Limits,
        in_thread: Callable[[Callable[[], int]], Awaitable[int]],
    ) -> None:
        self._storage = storage
        self._rules = rules
        self._http, self._mail = senders
        self._clock = clock
        self._limits = limits
        self._in_thread = in_thread
        self._circuits = Circuits()
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._lanes: Counter[str] = Counter()
        self._done: list[_Done] = []
        self._wake = asyncio.Event()
        self._stopping = False
        self._passed = Passed()

    def wake(self) -> None:
        """Look at once: there is something new."""
        self._wake.set()

    @property
    def is_busy(self) -> bool:
        """Tell whether attempts are under way, or their outcomes are not stored yet."""
        return bool(self._under_way)

    def stop(self) -> None:
        """Begin nothing any more; ``run`` returns."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Send until ``stop``; ``finish`` then lets attempts under way end."""
        while not self._stopping:
            if not await self.turn():
                try:
                    async with asyncio.timeout(_LOOK_EVERY_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass
            self._wake.clear()
            if self._under_way or self._done:
                # a moment more, and outcomes and attempts share a commit
                await asyncio.sleep(_SETTLE_EVERY_S)

    async def turn(self) -> int:
        """Store ended attempts and begin due ones, in one transaction; return how many were begun."""
        done, self._done = self._done, []
        begun: list[_Begun] = []
        passed = self._passed

        def step() -> int:
            nonlocal begun, passed
            now = self._clock.now_ms()
            # made again if the database was busy
            with self._storage.begin() as work:
                self._settle(work, done, now)
                begun, passed = self._claim(work, now)
            return len(begun)

        try:
            await self._in_thread(step)
        except BaseException:
            # not stored: once more, in the next turn
            self._done = done + self._done
            raise
        self._passed = passed
        for each in begun:
            task = asyncio.create_task(self._attempt(each))
            self._under_way[task] = each.delivery.lane
            self._lanes[each.delivery.lane] += 1
            task.add_done_callback(self._ended)
        return len(begun)

    async def finish(self, within_s: float) -> None:
        """Wait for attempts under way and store their outcomes; those that take longer are in doubt."""
        if self._under_way:
            await asyncio.wait(list(self._under_way), timeout=within_s)
        for task in list(self._under_way):
            task.cancel()
        done, self._done = self._done, []

        def settle() -> int:
            with self._storage.begin() as work:
                self._settle(work, done, self._clock.now_ms())
            return 0

        if done:
            await self._in_thread(settle)

    def _ended(self, task: asyncio.Task[None]) -> None:
        lane = self._under_way.pop(task)
        self._lanes[lane] -= 1
        if not self._lanes[lane]:
            del self._lanes[lane]
        if not task.cancelled() and task.exception() is not None:
            logger.error("an attempt failed unexpectedly", exc_info=task.exception())
        self._wake.set()

    # --- within a transaction -----------------------------------------------------------------------------------------

    def _claim(self, work: Work, now: int) -> tuple[list["_Begun"], Passed]:
        """Begin due attempts; return them, and the messages that the next look need not go through."""
        rules, passed = self._rules(), self._passed
        claimed: list[_Begun] = []
        for _ in range(_MOST_LOOKS):
            room = self._limits.in_flight - len(self._under_way) - len(claimed)
            if room <= 0:
                break
            lanes = self._lanes + Counter(each.delivery.lane for each in claimed)
            servers = ServerLoads(lanes, self._limit_of, lambda lane: self._circuits.closed_until(lane, now))
            found = choose(work, passed, now, room, servers)
            passed = found.passed
            begun = _begin(work, rules, found.delivery_ids, now)
            work.claim([each.delivery.delivery_id for each in begun], now + LEASE_MS)
            claimed += begun
            if len(begun) == len(found.delivery_ids):
                # else there is room again: some have no address any more
                break
        return claimed, passed

    def _limit_of(self, lane: str) -> int:
        return 1 if self._circuits.is_probed(lane) else self._limits.per_lane

    def _settle(self, work: Work, done: list[_Done], now: int) -> None:
        rows: list[tuple[str, int, int, str, str]] = []
        outcomes: list[SettledDelivery] = []
        worked: list[_Begun] = []
        failed: list[FailedAttempt] = []
        alone: dict[str, int] = {}
        standing = work.under_way([each.begun.delivery.delivery_id for each in done]) if done else ()
        for each in done:
            (delivery, route, given, address), outcome = each
            if outcome.verdict is Verdict.SENT:
                self._circuits.answered(delivery.lane)
            if outcome.is_servers:
                until = self._circuits.failed(delivery.lane, now, outcome.retry_after_ms)
                if until:
                    alone[delivery.lane] = max(until, alone.get(delivery.lane, 0))
            if delivery.delivery_id not in standing:
                # its user is purged, with all that is known of the address; or another notifier has decided on it
                continue
            state, due = _state_after(delivery, outcome, now)
            rows.append((state, due or now, 0 if state == "pending" else now, outcome.reason, delivery.delivery_id))
            outcomes.append(SettledDelivery(delivery, state, outcome.reason, due or 0))
            if outcome.verdict is Verdict.SENT:
                worked.append(each.begun)
            elif not (outcome.is_servers and delivery.sender == "email"):
                # a failure of the relay is no fault of the address
                channel_id = channel_id_of(route, given, address)
                failed.append(FailedAttempt(channel_id, route, delivery.user_id, address.shown, given, outcome))
        # once for each server, as it moves all that waits for it
        for lane, until in alone.items():
            work.postpone(lane, until)
        work.settle(rows)
        work.put_outcomes(outcomes, now)
        if worked and work.has_channels():
            work.delete_channels({channel_id_of(each.route, each.given, each.address) for each in worked})
        if failed:
            note_failures(work, self._rules(), failed, now)

    # --- one attempt --------------------------------------------------------------------------------------------------

    async def _attempt(self, begun: _Begun) -> None:
        delivery, route, _, address = begun
        try:
            if isinstance(address, EmailAddress):
                outcome = await self._mail.send(self._rules().relay, address, delivery.message)
            else:
                from_user = route.audience is Audience.USERS
                whose = delivery.user_id if route.is_open else ""
                outcome = await self._http.send(address, delivery.message, from_user=from_user, whose=whose)
        except Exception as error:
            # a sender that fails must not stop the others, nor this message
            logger.exception(
                "sending %s by route %s failed",
                delivery.delivery_id,
                route.name,
                extra=labelled(route=route.name, user=delivery.user_id),
            )
            outcome = AttemptOutcome(Verdict.FAILED, f"{type(error).__name__} within Everwatch; see the notifier's log")
        now = self._clock.now_ms()
        state = _state_after(delivery, outcome, now)[0]
        count_attempt(delivery.sender, outcome.verdict.value, state, now - delivery.created_at)
        self._done.append(_Done(begun, outcome))


def _verified(work: Work, rules: Rules, users: Collection[str]) -> set[str]:
    if not rules.contacts.verify:
        return set()
    return {each.contact_id for each in work.contacts_of(users) if each.verified_at}


def _begin(work: Work, rules: Rules, delivery_ids: list[str], now: int) -> list[_Begun]:
    """The attempts that begin at these messages."""
    known = work.deliveries(delivery_ids)
    users = work.users({each.user_id for each in known.values() if each.user_id})
    verified = _verified(work, rules, users)
    attempts = (
        _begun(work, delivery, rules, users.get(delivery.user_id), verified, now)
        for delivery_id in delivery_ids
        if (delivery := known.get(delivery_id)) is not None
    )
    begun = [each for each in attempts if each is not None]
    # a retry is the same message
    texts = [
        (each.delivery.delivery_id, each.address, each.route.audience is Audience.USERS)
        for each in begun
        if isinstance(each.address, SmsAddress) and each.delivery.attempt == 1
    ]
    if not texts:
        return begun
    refused = beyond_limits(work, rules.text_limits, texts, now)
    for each in begun:
        if reason := refused.get(each.delivery.delivery_id):
            _give_up(work, each.delivery, reason, now)
    return [each for each in begun if each.delivery.delivery_id not in refused]


def _give_up(work: Work, delivery: Delivery, reason: str, now: int) -> None:
    """Let a message be dead before an attempt at it begins."""
    work.claim([delivery.delivery_id], 0)
    work.settle([("dead", now, now, reason, delivery.delivery_id)])
    work.put_outcomes([SettledDelivery(delivery, "dead", reason)], now)


def _begun(
    work: Work, delivery: Delivery, rules: Rules, given: PlaceholderUser | None, verified: set[str], now: int
) -> _Begun | None:
    """The attempt that begins, or None for a message that has no address any more, which is dead then."""
    # as ``claim`` numbers it
    delivery = delivery._replace(attempt=delivery.attempt + 1)
    if to := delivery.message.to:
        subscriber, by = EmailAddress(to=to), news_route(delivery.route, to)
        return _Begun(delivery, by, None, subscriber)
    route = rules.named(delivery.route)
    try:
        if route is None or route.sender != delivery.sender:
            raise NoAddress(f"the route {delivery.route} is not in the rules any more")
        address = route.address(given)
        contact_id = contact_id_of(route, rules, given)
        if contact_id and contact_id not in verified and not delivery.message.code:
            raise NoAddress(f"the address {address.shown} is not verified")
    except NoAddress as error:
        _give_up(work, delivery, str(error), now)
        return None
    return _Begun(delivery, route, given, address)


def _state_after(delivery: Delivery, outcome: AttemptOutcome, now: int) -> tuple[str, int | None]:
    match outcome.verdict:
        case Verdict.SENT:
            return "sent", None
        case Verdict.REFUSED | Verdict.GONE:
            return "dead", None
    due = retry_at(delivery.sender, delivery.attempt, delivery.created_at, now, outcome.retry_after_ms)
    if due is None or delivery.message.is_test:
        return "dead", None
    return "pending", due
