"""Addresses of messages, validated; one type for each kind of receiver. Their reprs show no secret."""

import re
from functools import lru_cache
from typing import Annotated, Any, Protocol

import msgspec

from everwatch.core.printable import CONTROL, HIDDEN
from everwatch.kinds.protocol import FieldError
from everwatch.kinds.shared.http_config import HeaderValue, check_headers, check_url
from everwatch.kinds.webhook import check_secret
from everwatch.network.error_texts import address_of
from everwatch.network.host_names import parse_url

PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
TELEGRAM_URL = "https://api.telegram.org"
TWILIO_URL = "https://api.twilio.com"

# what every server takes, and nothing that could end a header or name a second recipient; nor an encoded word
# (RFC 2047), which may stand for either
_ATOM = rf"[^\s@<>,;:\"()\[\]\\{HIDDEN}]"
_MAILBOX = re.compile(rf"(?!.*=\?){_ATOM}{{1,64}}@{_ATOM}{{1,255}}")
_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_BOT_TOKEN = re.compile(r"\d{1,20}:[A-Za-z0-9_-]{10,100}")
# E.164
_NUMBER = re.compile(r"\+[1-9]\d{6,14}")
# a number, a name that some countries allow, or a service of the provider
_SMS_SENDER = re.compile(r"\+[1-9]\d{6,14}|[A-Za-z0-9 ]{1,34}")
# no process can be given NUL or half a character
_NOT_GIVEN = rf"{CONTROL}\ud800-\udfff"
_APPRISE_URL = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]{{0,30}}://[^\s,{_NOT_GIVEN}]{{1,2000}}")
_PROGRAM = re.compile(rf"[^-{_NOT_GIVEN}][^{_NOT_GIVEN}]*")
_CHAT = re.compile(r"-?\d{1,20}|@[A-Za-z0-9_]{1,64}")

Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]


class _Shown(Protocol):
    @property
    def shown(self) -> str:
        """Return the address as people may see it."""
        ...


class _Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    def __repr__(self: _Shown) -> str:
        return f"{type(self).__name__}({self.shown})"

    def __rich_repr__(self: _Shown) -> Any:
        yield self.shown


class _OverHttp(_Address, frozen=True):
    url: Url

    def __post_init__(self) -> None:
        check_url(self.url)

    @property
    def shown(self) -> str:
        """Return the host alone: paths and queries of hooks are secrets."""
        return host_of(self.url)


class EmailAddress(_Address, frozen=True):
    """A mailbox."""

    to: Annotated[str, msgspec.Meta(max_length=320)]

    def __post_init__(self) -> None:
        if not _MAILBOX.fullmatch(self.to):
            raise FieldError("to", "not an e-mail address such as ada@example.com")

    @property
    def shown(self) -> str:
        """Return the address with its first letter alone before the @."""
        name, _, domain = self.to.rpartition("@")
        return f"{name[:1]}…@{domain}"


class WebhookAddress(_OverHttp, frozen=True):
    """An endpoint that takes Standard Webhooks; ``secret``: one that signs, or several while the receiver moves."""

    secret: str | Annotated[list[str], msgspec.Meta(min_length=1, max_length=4)] = ""
    headers: dict[str, HeaderValue] = {}

    def __post_init__(self) -> None:
        check_url(self.url)
        check_headers(self.headers, {})
        for secret in self.secrets:
            check_secret(secret, "secret")

    @property
    def secrets(self) -> list[str]:
        """The secrets to sign with; none: no signature."""
        if isinstance(self.secret, str):
            return [self.secret] if self.secret else []
        return self.secret


class SlackAddress(_OverHttp, frozen=True):
    """An incoming webhook of Slack, or of what takes the same (Mattermost, Rocket.Chat)."""


class PagerDutyAddress(_Address, frozen=True):
    """A service of PagerDuty, or of what takes its Events API v2; ``url``: where that is."""

    routing_key: str
    url: Url = PAGERDUTY_URL

    def __post_init__(self) -> None:
        check_url(self.url)
        if not _KEY.fullmatch(self.routing_key):
            raise FieldError("routing_key", "not an integration key: up to 128 characters without spaces")

    @property
    def shown(self) -> str:
        """Return the host and the beginning of the key."""
        return f"{host_of(self.url)} key {self.routing_key[:4]}…"


class AlertmanagerAddress(_OverHttp, frozen=True):
    """Alertmanager; ``url`` is what its API lies under, such as http://alertmanager:9093."""

    headers: dict[str, HeaderValue] = {}

    def __post_init__(self) -> None:
        check_url(self.url)
        check_headers(self.headers, {})


class DiscordAddress(_OverHttp, frozen=True):
    """A webhook of a Discord channel."""


class TelegramAddress(_Address, frozen=True):
    """A chat that a Telegram bot writes to; ``url``: where the Bot API is."""

    token: str
    chat_id: str
    url: Url = TELEGRAM_URL

    def __post_init__(self) -> None:
        check_url(self.url)
        if not _BOT_TOKEN.fullmatch(self.token):
            raise FieldError("token", "not a bot's token such as 123456789:AAE…")
        if not _CHAT.fullmatch(self.chat_id):
            raise FieldError("chat_id", "not a chat: a number, or @channel")

    @property
    def shown(self) -> str:
        """Return the host and the beginning of the chat's id."""
        return f"{host_of(self.url)} chat {self.chat_id[:4]}…"


class NtfyAddress(_OverHttp, frozen=True):
    """A topic of ntfy, such as https://ntfy.sh/my-alerts; ``token``: an access token."""

    token: str = ""

    def __post_init__(self) -> None:
        check_url(self.url)
        if not parse_url(self.url).path.strip("/"):
            raise FieldError("url", "it names no topic, such as https://ntfy.sh/my-alerts")
        if self.token and not _KEY.fullmatch(self.token):
            raise FieldError("token", "not an access token: up to 128 characters without spaces")


class SmsAddress(_Address, frozen=True, rename={"sender": "from"}):
    """A mobile number; the rest is of the provider, which ``[sms]`` names."""

    to: str
    account: str = ""
    token: str = ""
    sender: str = ""
    url: Url = TWILIO_URL

    def __post_init__(self) -> None:
        check_url(self.url)
        if not _NUMBER.fullmatch(self.to):
            raise FieldError("to", "not a number such as +4915112345678")
        if self.sender and not _SMS_SENDER.fullmatch(self.sender):
            raise FieldError("from", "not a number such as +4915112345678, nor a name or a messaging service")

    @property
    def shown(self) -> str:
        """Return the beginning and the end of the number."""
        return f"{self.to[:3]}…{self.to[-2:]}"


class AppriseAddress(_Address, frozen=True):
    """URLs of Apprise, as a list or as one text; ``program``: what sends to them."""

    urls: str | Annotated[list[str], msgspec.Meta(min_length=1, max_length=50)]
    program: Annotated[str, msgspec.Meta(min_length=1, max_length=500)] = "apprise"

    def __post_init__(self) -> None:
        if not self.all_urls or not all(_APPRISE_URL.fullmatch(url) for url in self.all_urls):
            raise FieldError("urls", "not URLs of Apprise such as tgram://BOT/CHAT")
        if not _PROGRAM.fullmatch(self.program):
            raise FieldError("program", "not a program")

    @property
    def all_urls(self) -> list[str]:
        """The URLs one by one."""
        return self.urls.split() if isinstance(self.urls, str) else self.urls

    @property
    def shown(self) -> str:
        """Return the services alone: the rest of the URLs holds tokens."""
        return ", ".join(dict.fromkeys(url.partition("://")[0] for url in self.all_urls))


Address = (
    EmailAddress
    | WebhookAddress
    | SlackAddress
    | DiscordAddress
    | TelegramAddress
    | NtfyAddress
    | PagerDutyAddress
    | AlertmanagerAddress
    | SmsAddress
    | AppriseAddress
)

TYPES: dict[str, type[Address]] = {
    "email": EmailAddress,
    "webhook": WebhookAddress,
    "slack": SlackAddress,
    "discord": DiscordAddress,
    "telegram": TelegramAddress,
    "ntfy": NtfyAddress,
    "pagerduty": PagerDutyAddress,
    "alertmanager": AlertmanagerAddress,
    "sms": SmsAddress,
    "apprise": AppriseAddress,
}
"""The address of each sender, by the sender's name."""


@lru_cache(maxsize=4_096)
def host_of(url: str) -> str:
    """Return host and port of a URL that was checked."""
    parsed = parse_url(url)
    return address_of(parsed.host or "", parsed.port)
