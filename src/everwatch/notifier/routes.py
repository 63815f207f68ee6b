"""Routes: which alerts go to which receiver, when and how. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from everwatch.core.errors import InvalidInput
from everwatch.core.validation_errors import fault_of
from everwatch.notifier.ack_links import AckLinks
from everwatch.notifier.addresses import TYPES, Address
from everwatch.notifier.alerts import Alert, Severity, derived_id
from everwatch.notifier.executor_outages import OwnOutage
from everwatch.notifier.rotas import Person, Rota
from everwatch.notifier.silences import is_host
from everwatch.notifier.target_incidents import Correlation
from everwatch.notifier.texts import NO_TEXTS, MessageTexts
from everwatch.notifier.timing import Timing
from everwatch.plans.placeholders import PlaceholderUser, is_open

KEEP_INCIDENTS = frozenset({"pagerduty", "alertmanager"})
"""Senders whose receivers open and resolve incidents by an id that we give: each monitor is a group of its own."""

VERIFIED_SENDERS = frozenset({"email", "sms"})
"""Senders whose addresses of users a code confirms, where ``[contacts]`` asks for it."""


class Audience(StrEnum):
    """Audience of a route: each user, for their own alerts, or the operators, for all."""

    USERS = "users"
    OPERATORS = "operators"


class Doubt(StrEnum):
    """Handling of a message that was being sent when the notifier was killed: sent again, or not."""

    RESEND = "resend"
    SKIP = "skip"


class NoAddress(Exception):
    """A route has no address for this user; the text says why."""


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Selection of alerts by a route: all given conditions must apply; of several values one is enough.

    ``target``: a host, or ``*.example.com`` for all below a domain.
    """

    plan: list[str] = []
    user: list[str] = []
    kind: list[str] = []
    target: list[str] = []
    severity: list[Severity] = []
    label: dict[str, str] = {}

    def is_for(self, user_id: str, plan: str) -> bool:
        """Tell whether an alert of this user, of some monitor, may be taken."""
        return (not self.plan or plan in self.plan) and (not self.user or user_id in self.user)

    def takes(self, alert: Alert, plan: str) -> bool:
        """Tell whether an alert of a user with this plan is taken."""
        return not self.unmet(alert, plan)

    def unmet(self, alert: Alert, plan: str) -> str:
        """Return the name of the first condition that an alert does not meet ("label KEY" for a label); "" for none."""
        if self.plan and plan not in self.plan:
            return "plan"
        if self.user and alert.user_id not in self.user:
            return "user"
        if self.kind and alert.monitor_kind not in self.kind:
            return "kind"
        if self.target and not any(is_host(alert.target, pattern) for pattern in self.target):
            return "target"
        if self.severity and alert.severity not in self.severity:
            return "severity"
        return next((f"label {key}" for key, value in self.label.items() if alert.labels.get(key) != value), "")


@dataclass(frozen=True)
class AlertRoute:
    """One route of ``notify.toml``. ``target``: the address, with names of the user's to be filled in.

    ``goes_on``: an alert that it takes is offered to the next routes, too. ``on_call``: fields of the address that are
    of who is on call, and by which rota. ``nobody``: why it has no address now. ``texts``: templates of its messages.
    """

    name: str
    audience: Audience
    sender: str
    target: Any
    match: Match
    timing: Timing
    goes_on: bool
    doubt: Doubt
    on_call: tuple[tuple[str, str], ...] = ()
    nobody: str = ""
    texts: MessageTexts = NO_TEXTS

    @property
    def keeps_incidents(self) -> bool:
        """Tell whether its receiver opens and resolves incidents."""
        return self.sender in KEEP_INCIDENTS

    @property
    def is_escalation(self) -> bool:
        """Tell whether it is an escalation: it sends only incidents without acknowledgement after a while."""
        return self.timing.after_ms > 0

    @property
    def takes_one_alert(self) -> bool:
        """Tell whether a message to this receiver can hold one alert only."""
        return self.sender == "pagerduty"

    @cached_property
    def is_open(self) -> bool:
        """Tell whether its address has parts that each user chooses."""
        return is_open(self.target)

    @cached_property
    def _same_for_all(self) -> Address:
        return msgspec.convert(self.target, type=TYPES[self.sender])

    def address(self, given: PlaceholderUser | None) -> Address:
        """Return where it sends to, for a user or (None) for operators. Raises NoAddress."""
        if self.nobody:
            raise NoAddress(self.nobody)
        try:
            if not self.is_open:
                return self._same_for_all
            if given is None:
                raise NoAddress("the user is not known")
            return msgspec.convert(self.target.filled(given), type=TYPES[self.sender])
        except InvalidInput as error:
            raise NoAddress(str(error)) from None
        except msgspec.ValidationError as error:
            raised = fault_of(error).raised
            raise NoAddress(str(error) if raised is None else f"{raised.field}: {raised}") from None

    def group_id(self, alert: Alert) -> str:
        """Return the group of an alert: one for each user (or one for operators), or one for each monitor.

        Each monitor has its own where the receiver keeps incidents, or where they can be acknowledged.
        """
        parts = [self.audience.value, self.name]
        if self.audience is Audience.USERS:
            parts.append(alert.user_id)
        if self.keeps_incidents or self.is_escalation:
            parts += [alert.user_id, alert.monitor_id or alert.subject]
        return "\0".join(parts).replace("\0", "\x1f")


@dataclass(frozen=True)
class Relay:
    """The mail server that mail is handed to. ``security``: ``none``, ``starttls`` or ``tls``."""

    host: str
    port: int
    security: str
    sender: str
    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Relay({self.host}:{self.port})"


@dataclass(frozen=True)
class TextLimits:
    """Most text messages within a day (UTC): to one number, and to all users together; 0 for any number."""

    per_number: int = 50
    per_day: int = 1_000


@dataclass(frozen=True)
class ContactRules:
    """Verification of users' mail addresses and numbers. ``link``: what confirms one, with {user} and {code}."""

    verify: bool = False
    link: str = ""


@dataclass(frozen=True)
class Rules:
    """All that ``notify.toml`` says; routes in the order in which they are tried.

    ``files``: those that it takes values from. ``people``: by name, those whom ``rotas`` name.
    """

    routes: tuple[AlertRoute, ...] = ()
    relay: Relay | None = None
    correlation: Correlation = field(default_factory=Correlation)
    own_outage: OwnOutage = field(default_factory=OwnOutage)
    contacts: ContactRules = ContactRules()
    ack_links: AckLinks = field(default_factory=AckLinks)
    files: tuple[Path, ...] = ()

    rotas: tuple[Rota, ...] = ()
    people: Mapping[str, Person] = field(default_factory=dict)
    text_limits: TextLimits = TextLimits()

    def at(self, now: int) -> "Rules":
        """Return the rules with the addresses of the people on call at an instant."""
        if not any(route.on_call for route in self.routes):
            return self
        on_call = {rota.name: rota.on_call_at(now) for rota in self.rotas}
        return replace(self, routes=tuple(self._manned(route, on_call) for route in self.routes))

    def _manned(self, route: AlertRoute, on_call: Mapping[str, str]) -> AlertRoute:
        found: dict[str, str] = {}
        for name, rota in route.on_call:
            person = on_call[rota]
            if not person:
                return replace(route, nobody=f"nobody is on call by the rota {rota}")
            if route.sender not in self.people[person]:
                return replace(route, nobody=f"{person}, who is on call, has no address for {route.sender}")
            found[name] = self.people[person][route.sender]
        return replace(route, target=route.target | found) if found else route

    def named(self, name: str) -> AlertRoute | None:
        """Return the route called ``name``."""
        return next((route for route in self.routes if route.name == name), None)

    def routes_of(self, alert: Alert, plan: str, reaches: Callable[[AlertRoute], bool]) -> Iterator[AlertRoute]:
        """Yield the routes that an alert takes: of each audience the first that matches, and on where it says so.

        Escalations take it besides. One of which ``reaches`` says no is passed over.
        """
        done: set[Audience] = set()
        for route in self.routes:
            is_open = route.is_escalation or route.audience not in done
            if is_open and route.match.takes(alert, plan) and reaches(route):
                yield route
                if not route.goes_on and not route.is_escalation:
                    done.add(route.audience)


def channel_id_of(route: AlertRoute, given: PlaceholderUser | None, address: Address) -> str:
    """Return the id of one address of one route; another address of the same user is another channel."""
    whose = given.user_id if given is not None and route.audience is Audience.USERS else ""
    names = address.__struct_fields__
    return derived_id("channel", route.name, whose, *names, *(getattr(address, name) for name in names))
