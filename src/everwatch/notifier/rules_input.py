"""Tables of ``notify.toml`` as the file has them."""

from typing import Annotated, Any, Literal

import msgspec

from everwatch.notifier.addresses import TWILIO_URL
from everwatch.notifier.alerts import Severity
from everwatch.notifier.executor_outages import OwnOutage
from everwatch.notifier.rotas_input import Name, RotaInput
from everwatch.notifier.routes import Doubt, Match, TextLimits
from everwatch.notifier.target_incidents import Correlation

TimeOfDay = Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class QuietInput(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"begin": "from", "end": "to"}
):
    """``quiet_hours`` of a route."""

    begin: TimeOfDay
    end: TimeOfDay
    timezone: str = "UTC"
    days: str = "*"
    wakes: list[Severity] = []


class DigestInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``digest`` of a route."""

    cron: str
    timezone: str = "UTC"


class TextsInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``text`` of a route."""

    subject: Annotated[str, msgspec.Meta(max_length=500)] = ""
    line: Annotated[str, msgspec.Meta(max_length=1_000)] = ""


class TimedInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Times and texts of a route, or of ``[defaults]``."""

    group_wait: str | None = None
    group_interval: str | None = None
    min_down: str | None = None
    after: str | None = None
    quiet_hours: QuietInput | None = None
    digest: DigestInput | None = None
    text: TextsInput | None = None


class RouteInput(TimedInput, frozen=True, kw_only=True, rename={"goes_on": "continue"}):
    """A route of ``[[users]]`` or ``[[operators]]``."""

    name: Name
    match: Match = Match()
    goes_on: bool = False
    doubt: Doubt | None = None
    email: dict[str, Any] | None = None
    webhook: dict[str, Any] | None = None
    slack: dict[str, Any] | None = None
    discord: dict[str, Any] | None = None
    telegram: dict[str, Any] | None = None
    ntfy: dict[str, Any] | None = None
    pagerduty: dict[str, Any] | None = None
    alertmanager: dict[str, Any] | None = None
    sms: dict[str, Any] | None = None
    apprise: dict[str, Any] | None = None


class RelayInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"sender": "from"}):
    """``[smtp]``, with its secrets read."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    sender: Annotated[str, msgspec.Meta(min_length=3, max_length=320)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] | None = None
    security: Literal["none", "starttls", "tls"] = "starttls"
    username: Annotated[str, msgspec.Meta(max_length=256)] = ""
    password: Annotated[str, msgspec.Meta(max_length=1024)] = ""


class SmsInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"sender": "from"}):
    """``[sms]``, with its secrets read."""

    account: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]{1,64}$")]
    token: Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,256}$")]
    sender: Annotated[str, msgspec.Meta(min_length=1, max_length=34)]
    url: str = TWILIO_URL
    per_number: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = TextLimits().per_number
    per_day: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = TextLimits().per_day


class CorrelationInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[correlation]``."""

    monitors: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = Correlation().monitors
    users: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = Correlation().users
    within: str = "1m"
    users_per_second: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = Correlation().per_s


class OwnOutageInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[own_outage]``."""

    percent: Annotated[int, msgspec.Meta(ge=1, le=100)] = OwnOutage().percent
    hold: str = "5m"
    hold_cut_off: str = "1h"


class ContactsInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[contacts]``."""

    verify: bool = False
    link: Annotated[str, msgspec.Meta(max_length=1_024)] = ""


class AckLinksInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[acknowledge]``."""

    url: Annotated[str, msgspec.Meta(max_length=500, pattern=r"^https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~/-]*)?\Z")]
    valid: str = "7d"
    users: bool = False


class FileInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All tables of the file."""

    defaults: TimedInput = TimedInput()
    smtp: dict[str, Any] | None = None
    sms: dict[str, Any] | None = None
    correlation: CorrelationInput = CorrelationInput()
    own_outage: OwnOutageInput = OwnOutageInput()
    contacts: ContactsInput = ContactsInput()
    acknowledge: AckLinksInput | None = None
    people: dict[Name, dict[str, str]] = {}
    rotas: list[RotaInput] = []
    users: list[dict[str, Any]] = []
    operators: list[dict[str, Any]] = []
