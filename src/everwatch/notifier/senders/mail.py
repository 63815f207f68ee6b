"""Mail, handed to one relay over connections that are kept for some seconds."""

import asyncio
import ssl
from collections import deque
from datetime import UTC, datetime
from email.headerregistry import BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import Policy, default
from email.utils import format_datetime, parseaddr

import aiosmtplib

from everwatch.core.clock import Clock
from everwatch.notifier.addresses import EmailAddress
from everwatch.notifier.alerts import Message
from everwatch.notifier.routes import Relay
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict, said_of
from everwatch.notifier.wording import lines_of, subject_of

TIMEOUT_S = 30.0
# relays close what is idle after a minute or more, and some after a number of mails
_IDLE_S = 20.0
_MOST_MAILS = 100


class MailSender:
    """Sends mail through a relay, which the rules name. Once they name another, the last one gets nothing any more."""

    def __init__(self, clock: Clock, ca_file: str) -> None:
        self._clock = clock
        self._ca_file = ca_file
        self._idle: deque[_Connection] = deque()

    async def send(self, relay: Relay | None, address: EmailAddress, message: Message) -> AttemptOutcome:
        """Make one attempt; never raises for what the relay does."""
        if relay is None:
            return AttemptOutcome(Verdict.FAILED, "no [smtp] says by which server mail is sent", is_servers=True)
        mail = mail_of(relay, address, message)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._send(relay, address, mail)
        except TimeoutError:
            return AttemptOutcome(
                Verdict.FAILED, f"no answer of the mail server within {TIMEOUT_S:g} s", is_servers=True
            )
        except (aiosmtplib.SMTPNotSupported, ValueError) as error:
            if isinstance(error, ValueError) or not address.to.isascii():
                # the address is to blame: mail to others must not wait for it
                return AttemptOutcome(Verdict.FAILED, f"no mail can be sent to this address: {_plain(str(error))}")
            return _judged(error)
        except aiosmtplib.SMTPException as error:
            return _judged(error)
        except OSError as error:
            said = error.strerror or str(error) or type(error).__name__
            return AttemptOutcome(Verdict.FAILED, f"mail server {relay.host}:{relay.port}: {said}", is_servers=True)

    async def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.popleft().client.close()

    async def _send(self, relay: Relay, address: EmailAddress, mail: EmailMessage) -> AttemptOutcome:
        connection = self._kept(relay) or await self._connected(relay)
        try:
            sender = parseaddr(relay.sender)[1]
            await connection.client.send_message(mail, sender=sender, recipients=[address.to])
        except aiosmtplib.SMTPServerDisconnected:
            connection.client.close()
            if not connection.used:
                raise
            # the relay closed a connection that was kept; the mail has a fixed Message-ID, should it have been taken
            connection = await self._connected(relay)
            await connection.client.send_message(mail, sender=sender, recipients=[address.to])
        except aiosmtplib.SMTPResponseException:
            # it answers, so the connection may be used again
            self._keep(connection)
            raise
        except BaseException:
            connection.client.close()
            raise
        self._keep(connection)
        return AttemptOutcome(Verdict.SENT, "the mail server took it")

    def _kept(self, relay: Relay) -> "_Connection | None":
        now_s = self._clock.monotonic_s()
        while self._idle:
            connection = self._idle.pop()
            if connection.relay == relay and now_s - connection.since_s < _IDLE_S and connection.client.is_connected:
                return connection
            connection.client.close()
        return None

    def _keep(self, connection: "_Connection") -> None:
        connection.used += 1
        connection.since_s = self._clock.monotonic_s()
        if connection.used >= _MOST_MAILS or not connection.client.is_connected:
            connection.client.close()
            return
        self._idle.append(connection)

    async def _connected(self, relay: Relay) -> "_Connection":
        client = aiosmtplib.SMTP(
            hostname=relay.host,
            port=relay.port,
            timeout=TIMEOUT_S,
            use_tls=relay.security == "tls",
            start_tls=relay.security == "starttls",
            tls_context=ssl.create_default_context(cafile=self._ca_file or None),
            username=relay.username or None,
            password=relay.password or None,
        )
        await client.connect()
        return _Connection(client, relay)


class _Connection:
    def __init__(self, client: aiosmtplib.SMTP, relay: Relay) -> None:
        self.client = client
        self.relay = relay
        self.used = 0
        self.since_s = 0.0


class _WholeHeader(UnstructuredHeader, BaseHeader):
    """Header that stands in one line, however long: a URL in encoded words is none to mail programs."""

    def fold(self, *, policy: Policy) -> str:
        """Return the header as it is sent."""
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("list-unsubscribe", _WholeHeader)
_LONGEST_LINE = 998
_POLICY = default.clone(header_factory=_HEADERS)


def mail_of(relay: Relay, address: EmailAddress, message: Message) -> EmailMessage:
    """Return the mail: plain text, with an id that is the same at each attempt."""
    mail = EmailMessage(_POLICY)
    mail["From"] = relay.sender
    mail["To"] = address.to
    mail["Subject"] = subject_of(message)
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.created_at / 1000, UTC))
    mail["Message-ID"] = f"<{message.message_id}@{parseaddr(relay.sender)[1].rpartition('@')[2]}>"
    # RFC 3834: no out-of-office replies
    mail["Auto-Submitted"] = "auto-generated"
    text = "\n".join(lines_of(message, with_user=not message.user_id))
    if message.ack_link:
        text += f"\n\nTo acknowledge or snooze: {message.ack_link}"
    if not message.to:
        _set_text(mail, f"{text}\n\n-- \nEverwatch, route {message.route}\n")
        return mail
    if message.link:
        # RFC 8058: mail programs end a subscription with one click
        mail["List-Unsubscribe"] = f"<{message.link}/end>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        text += f"\n\n-- \nTo get no more of these: {message.link}"
    _set_text(mail, f"{text}\n")
    return mail


def _set_text(mail: EmailMessage, text: str) -> None:
    """Set the text unencoded, to keep raw mail readable, unless a line is too long for SMTP (RFC 5321, 4.5.3.1.6)."""
    is_short = all(len(line.encode()) <= _LONGEST_LINE for line in text.splitlines())
    mail.set_content(text, cte="8bit" if is_short else None)


def _judged(error: aiosmtplib.SMTPException) -> AttemptOutcome:
    match error:
        case aiosmtplib.SMTPRecipientsRefused():
            first = error.recipients[0]
            verdict = Verdict.GONE if 500 <= first.code <= 599 else Verdict.FAILED
            return AttemptOutcome(
                verdict, f"the mail server refuses the recipient: {first.code} {_plain(first.message)}"
            )
        case aiosmtplib.SMTPDataError() if 500 <= error.code <= 599:
            return AttemptOutcome(
                Verdict.REFUSED, f"the mail server refuses the mail: {error.code} {_plain(error.message)}"
            )
        case aiosmtplib.SMTPResponseException():
            said = f"{error.code} {_plain(error.message)}"
            return AttemptOutcome(Verdict.FAILED, f"the mail server answers {said}", is_servers=True)
    return AttemptOutcome(Verdict.FAILED, f"the mail server: {_plain(str(error))}", is_servers=True)


def _plain(text: str) -> str:
    return said_of(text)
