"""``notify.toml`` -> rules. Everything that can be judged without a user is judged when the file is read.

All in one file: each table of the file (``rules_input``) has one function here, which makes rules of it.
"""

import logging
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from everwatch.core.errors import EverwatchError, InvalidInput, SettingsError
from everwatch.core.validation_errors import fault_of
from everwatch.kinds.protocol import FieldError
from everwatch.model import Cron
from everwatch.notifier.ack_links import AckLinks
from everwatch.notifier.addresses import TYPES, EmailAddress
from everwatch.notifier.executor_outages import OwnOutage
from everwatch.notifier.rotas import Person, Rota
from everwatch.notifier.rotas_input import check_people, rota_of
from everwatch.notifier.routes import AlertRoute, Audience, ContactRules, Doubt, Relay, Rules, TextLimits
from everwatch.notifier.rules_input import (
    AckLinksInput,
    ContactsInput,
    CorrelationInput,
    FileInput,
    OwnOutageInput,
    QuietInput,
    RelayInput,
    RouteInput,
    SmsInput,
    TextsInput,
    TimedInput,
)
from everwatch.notifier.target_incidents import Correlation
from everwatch.notifier.texts import NO_TEXTS, MessageTexts, check_text
from everwatch.notifier.timing import QuietHours, Timing
from everwatch.plans.placeholders import Object, compiled, is_open
from everwatch.plans.plans_parser import LARGEST_FILE_BYTES, Stamp, read_file
from everwatch.schedule.cron import read_expression, zone_named
from everwatch.schedule.duration import DAY_MS, parse_duration_ms

logger = logging.getLogger(__name__)

_LARGEST_SECRET_BYTES = 4_096
# what stands for a value that only a user gives, where the file is checked
_SAMPLES = {
    "to": "user@example.com",
    "number": "+4915112345678",
    "url": "https://example.com/topic",
    "secret": "whsec_" + "A" * 32,
    "routing_key": "sample",
    "token": "1:sample-token",
    "chat_id": "1",
}
_PORTS = {"none": 25, "starttls": 587, "tls": 465}


class WrongRules(EverwatchError):
    """A file of notification rules is wrong: ``field`` says where ("" if the whole is meant)."""

    exit_code = 2

    def __init__(self, file: str, field: str, reason: str) -> None:
        super().__init__(f"{file}{f', {field}' if field else ''}: {reason}")
        self.field = field
        self.reason = reason


def rules_of(data: bytes, path: Path) -> Rules:
    """Return the rules that a file's bytes mean. Raises WrongRules for the first thing that is wrong."""
    if len(data) > LARGEST_FILE_BYTES:
        raise WrongRules(str(path), "", f"it has more than {LARGEST_FILE_BYTES} bytes")
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise WrongRules(str(path), "", f"not valid TOML: {error}") from None
    try:
        given = _converted(document, FileInput, "")
        if given.defaults.after is not None:
            raise InvalidInput("an escalation is one route, not all of them", "defaults.after")
        texts = _texts(given.defaults.text, "defaults.text") or NO_TEXTS
        defaults = _timing(given.defaults, Timing(), "defaults"), texts
        contacts, ack_links = _contacts(given.contacts), _ack_links(given.acknowledge)
        correlation, own_outage = _correlation(given.correlation), _own_outage(given.own_outage)
        relay = None if given.smtp is None else _relay(_with_files(given.smtp, "smtp", path))
        rotas = _rotas(given)
        provider: dict[str, Any] = {}
        text_limits = TextLimits()
        if given.sms is not None:
            provider, text_limits = _provider(_with_files(given.sms, "sms", path))
        shared = _Shared(rotas, given.people, provider)
        routes = [
            _route(table, f"{audience.value}[{index}]", audience, defaults, path, shared)
            for audience, tables in ((Audience.USERS, given.users), (Audience.OPERATORS, given.operators))
            for index, table in enumerate(tables)
        ]
        names = [route.name for route in routes]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise InvalidInput(f"two routes are called {twice!r}: deliveries are found by the name")
        if relay is None and any(route.sender == "email" for route in routes):
            raise InvalidInput("a route sends e-mail, and no [smtp] says by which server", "smtp")
        if not provider and any(route.sender == "sms" for route in routes):
            raise InvalidInput("a route sends text messages, and no [sms] says by which provider", "sms")
        texts_users = any(route.sender == "sms" and route.audience is Audience.USERS for route in routes)
        if texts_users and not contacts.verify:
            reason = "text messages go to verified numbers only, since each is paid for: [contacts] verify = true"
            raise InvalidInput(reason, "contacts.verify")
    except InvalidInput as error:
        raise WrongRules(str(path), error.path, error.reason) from None
    files = tuple(_files_in(given, path))
    return Rules(
        tuple(routes),
        relay,
        correlation,
        own_outage,
        contacts,
        ack_links,
        files,
        tuple(rotas.values()),
        given.people,
        text_limits,
    )


def read_rules(path: Path) -> Rules:
    """Return the rules of the setting EVERWATCH_NOTIFY_FILE. Raises SettingsError or WrongRules."""
    try:
        data, _ = read_file(path)
    except SettingsError as error:
        raise SettingsError(str(error).replace("The plans file", "The file of notification rules")) from None
    return rules_of(data, path)


class RulesFile:
    """``current`` are the rules of the last state of the file that was right; replaced as a whole, never changed.

    The files that it takes values from are followed, too: secrets are replaced.

    Without a file there is no route. Raises SettingsError if the file is wrong to begin with.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._complaint = ""
        self.current = Rules()
        if path is not None:
            self.current = read_rules(path)
        self._seen = self._stamps()

    def look(self) -> bool:
        """Take the file as it is now, if it changed since the last look; return whether the rules were replaced.

        A fault in it is logged once, and the rules stay as they were. May be called in a thread.
        """
        if self._path is None:
            return False
        stamps = self._stamps()
        if stamps == self._seen and not self._complaint:
            return False
        try:
            rules = read_rules(self._path)
        except EverwatchError as error:
            # what is wrong may be a file that is not known here yet, so it is read until it is right
            if str(error) != self._complaint:
                logger.error("the notification rules stay as they were: %s", error)
            self._complaint = str(error)
            return False
        changed = rules.files != self.current.files
        self._complaint, self.current = "", rules
        # of before they were read: what has changed since is seen the next time
        self._seen = self._stamps() if changed else stamps
        logger.info("notification rules taken from %s: %d routes", self._path, len(rules.routes))
        return True

    def _stamps(self) -> list[Stamp | None]:
        files = [] if self._path is None else [self._path, *self.current.files]
        return [_stamp_of(file) for file in files]


def _stamp_of(file: Path) -> Stamp | None:
    try:
        return Stamp.of(file.stat())
    except OSError:
        return None


def _rotas(given: FileInput) -> dict[str, Rota]:
    check_people(given.people)

    def hours_of(table: Any, timezone: str, place: str) -> QuietHours | None:
        return _quiet(replace(_converted(table, QuietInput, place), timezone=timezone), place)

    found: dict[str, Rota] = {}
    for index, each in enumerate(given.rotas):
        if each.name in found:
            raise InvalidInput(f"two rotas are called {each.name!r}", f"rotas[{index}].name")
        found[each.name] = rota_of(each, f"rotas[{index}]", given.people, parse_duration_ms, hours_of)
    return found


class _Shared(NamedTuple):
    """Parts of the file that routes name: rotas, people, and the provider of text messages."""

    rotas: Mapping[str, Rota]
    people: Mapping[str, Person]
    provider: Mapping[str, Any]


def _route(
    table: dict[str, Any],
    field: str,
    audience: Audience,
    defaults: tuple[Timing, MessageTexts],
    path: Path,
    shared: _Shared,
) -> AlertRoute:
    given = _converted(table, RouteInput, field)
    targets = {name: target for name in TYPES if (target := getattr(given, name)) is not None}
    if len(targets) != 1:
        raise InvalidInput(f"a route has one of {', '.join(TYPES)}, and this has {len(targets)}", field)
    [(sender, target)] = targets.items()
    place = f"{field}.{sender}"
    on_call = {name: value["rota"] for name, value in target.items() if _is_rota(value)}
    if sender == "apprise" and audience is Audience.USERS:
        raise InvalidInput("Apprise is for operators' routes: it reaches any address, and follows redirects", place)
    target = _with_files(target, place, path)
    if sender == "sms":
        if unknown := target.keys() - {"to"}:
            raise InvalidInput(f"unknown field {min(unknown)}: [sms] names the provider", place)
        target |= shared.provider
    for person in _on_call(on_call, audience, shared.rotas, place):
        if sender not in shared.people[person]:
            raise InvalidInput(f"{person} of the rota has no {sender}", f"people.{person}")
        target |= dict.fromkeys(on_call, shared.people[person][sender])
        _converted(target, TYPES[sender], f"people.{person}.{sender}")
    document = compiled(target, place)
    if is_open(document) and audience is Audience.OPERATORS:
        raise InvalidInput("an operators' route names no user's attributes", place)
    _check_target(document, sender, place)
    return AlertRoute(
        given.name,
        audience,
        sender,
        document,
        given.match,
        _timing(given, defaults[0], field),
        given.goes_on,
        given.doubt or (Doubt.SKIP if sender == "sms" else Doubt.RESEND),
        tuple(on_call.items()),
        texts=_texts(given.text, f"{field}.text") or defaults[1],
    )


def _texts(given: TextsInput | None, place: str) -> MessageTexts | None:
    if given is None:
        return None
    check_text(given.subject, f"{place}.subject", is_subject=True)
    check_text(given.line, f"{place}.line", is_subject=False)
    return MessageTexts(given.subject, given.line)


def _is_rota(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"rota"}


def _on_call(on_call: Mapping[str, Any], audience: Audience, rotas: Mapping[str, Rota], place: str) -> list[str]:
    """The people of the rotas that an address names."""
    if on_call and audience is Audience.USERS:
        raise InvalidInput("rotas are for operators' routes", place)
    for name, rota in on_call.items():
        if rota not in rotas:
            raise InvalidInput(f"there is no rota {rota!r}", f"{place}.{name}")
    used = [rotas[rota] for rota in on_call.values()]
    named = {person for rota in used for layer in rota.layers for person in layer.people}
    return sorted(named | {override.person for rota in used for override in rota.overrides})


def _check_target(document: Any, sender: str, place: str) -> None:
    sample = document
    if isinstance(document, Object):
        open_members: dict[str, Any] = {
            name: _SAMPLES.get("number" if sender == "sms" else name, {})
            for name in document.names()
            if document.is_open_at(name)
        }
        sample = document.settled_members() | open_members
    _converted(sample, TYPES[sender], place)


def _relay(given: Mapping[str, Any]) -> Relay:
    smtp = _converted(given, RelayInput, "smtp")
    try:
        EmailAddress(smtp.sender.rpartition("<")[2].rstrip(">"))
    except FieldError as error:
        raise InvalidInput(str(error), "smtp.from") from None
    if any(ord(character) < 32 for character in smtp.sender):
        raise InvalidInput("no control characters", "smtp.from")
    if smtp.password and smtp.security == "none":
        raise InvalidInput("a password is sent over TLS only: security = 'starttls' or 'tls'", "smtp.security")
    port = smtp.port or _PORTS[smtp.security]
    return Relay(smtp.host, port, smtp.security, smtp.sender, smtp.username, smtp.password)


def _provider(given: Mapping[str, Any]) -> tuple[dict[str, Any], TextLimits]:
    """The fields of an address that are the provider's, and how many messages a day it may be asked for."""
    sms = _converted(given, SmsInput, "sms")
    provider = {"account": sms.account, "token": sms.token, "from": sms.sender, "url": sms.url}
    _converted({"to": _SAMPLES["number"], **provider}, TYPES["sms"], "sms")
    return provider, TextLimits(sms.per_number, sms.per_day)


def _correlation(given: CorrelationInput) -> Correlation:
    within_ms = _duration(given.within, "correlation.within")
    return Correlation(given.monitors, given.users, max(1_000, within_ms), given.users_per_second)


def _own_outage(given: OwnOutageInput) -> OwnOutage:
    hold_ms = _duration(given.hold, "own_outage.hold")
    return OwnOutage(given.percent, hold_ms, _duration(given.hold_cut_off, "own_outage.hold_cut_off"))


def _contacts(given: ContactsInput) -> ContactRules:
    if given.link and not (given.link.startswith(("https://", "http://")) and "{code}" in given.link):
        raise InvalidInput("a URL with {code}, and {user} if it is needed", "contacts.link")
    return ContactRules(given.verify, given.link)


def _ack_links(given: AckLinksInput | None) -> AckLinks:
    if given is None:
        return AckLinks()
    valid_ms = _duration(given.valid, "acknowledge.valid")
    if not valid_ms:
        raise InvalidInput("a link is good for some time, such as 7d", "acknowledge.valid")
    return AckLinks(given.url, valid_ms, given.users)


def _duration(text: str, place: str) -> int:
    try:
        duration_ms = parse_duration_ms(text)
    except ValueError as error:
        raise InvalidInput(str(error), place) from None
    if not 0 <= duration_ms <= 7 * DAY_MS:
        raise InvalidInput("at most 7 days", place)
    return duration_ms


def _timing(given: TimedInput, default: Timing, field: str) -> Timing:
    def or_before(name: str, before: int) -> int:
        text = getattr(given, name)
        return before if text is None else _duration(text, f"{field}.{name}")

    if given.digest is not None and given.after is not None:
        raise InvalidInput("a route is a digest or an escalation (after), not both", f"{field}.digest")
    return Timing(
        or_before("group_wait", default.wait_ms),
        or_before("group_interval", default.interval_ms),
        or_before("min_down", default.min_down_ms),
        or_before("after", 0),
        default.quiet if given.quiet_hours is None else _quiet(given.quiet_hours, f"{field}.quiet_hours"),
        default.digest if given.digest is None else _cron(given.digest.cron, given.digest.timezone, f"{field}.digest"),
    )


def _quiet(given: QuietInput, field: str) -> QuietHours | None:
    if given.begin == given.end:
        # so a route may have none where the defaults have some
        return None
    begins, ends = (
        _cron(f"{int(text[3:])} {int(text[:2])} * * {days}", given.timezone, field)
        for text, days in ((given.begin, given.days), (given.end, "*"))
    )
    return QuietHours(begins, ends, frozenset(given.wakes))


def _cron(expression: str, timezone: str, field: str) -> Cron:
    try:
        zone_named(timezone)
        return Cron(read_expression(expression), timezone)
    except ValueError as error:
        raise InvalidInput(str(error), field) from None


def _with_files(table: Mapping[str, Any], place: str, path: Path) -> dict[str, Any]:
    """The table with the contents of files in the place of ``{ file = "…" }``; relative ones are beside the rules."""
    return {name: _from_file(value, f"{place}.{name}", path) for name, value in table.items()}


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"file"} and isinstance(value["file"], str)


def _files_in(given: FileInput, path: Path) -> Iterator[Path]:
    """The files that ``_with_files`` reads."""
    targets = (route.get(sender) for route in (*given.users, *given.operators) for sender in TYPES)
    for table in (given.smtp, given.sms, *targets):
        yield from (path.parent / value["file"] for value in (table or {}).values() if _is_file(value))


def _from_file(value: Any, place: str, path: Path) -> Any:
    if not _is_file(value):
        return value
    file = path.parent / value["file"]
    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST_SECRET_BYTES + 1)
        text = data.decode().strip()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise InvalidInput(f"the file {file} cannot be read: {said}", place) from None
    if len(data) > _LARGEST_SECRET_BYTES:
        raise InvalidInput(f"the file {file} has more than {_LARGEST_SECRET_BYTES} bytes", place)
    return text


def _converted(document: Any, type_: type[Any], place: str) -> Any:
    try:
        return msgspec.convert(document, type=type_)
    except msgspec.ValidationError as error:
        fault = fault_of(error)
        if fault.raised is not None:
            raise InvalidInput(str(fault.raised), f"{place}.{fault.raised.field}") from None
        raise InvalidInput(fault.without_value, f"{place}{fault.path}".removeprefix(".")) from None
