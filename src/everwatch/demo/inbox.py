"""Inbox of the demo's alerts: a mail server and a webhook receiver on the loopback address.

``python -m everwatch.demo.inbox MAIL HOOK FILE``, two ports and the file that gets a line of JSON for each arrival. A
webhook that is not signed with the demo's secret is refused. It stops when its stdin ends.
"""

import asyncio
import email
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import policy
from pathlib import Path
from typing import NamedTuple

import orjson
import uvloop
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session
from standardwebhooks import Webhook, WebhookVerificationError

from everwatch.demo.ports import HOST, DemoPorts

ALERT_SECRET = "whsec_YWxlcnRzLW9mLXRoZS1kZW1vLWFycml2ZS1oZXJl"  # noqa: S105  (for a receiver that only the demo talks to)
HOOK_PATH = "/alerts"
_FILE_MODE = 0o600
_MOST_READ_BYTES = 1024 * 1024


class Arrival(NamedTuple):
    """A message that arrived: by ``mail`` or ``webhook``, to whom, and what it says in one line."""

    by: str
    to: str
    summary: str


class Inbox:
    """Keeps what arrives; handler of the mail server, and of the webhook receiver."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _FILE_MODE)

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:
        """Take a mail."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        subject = email.message_from_bytes(content, policy=policy.default)["Subject"]
        for address in envelope.rcpt_tos:
            self._note(Arrival("mail", address, str(subject)))
        return "250 OK"

    async def take_webhook(self, request: web.Request) -> web.Response:
        """Take a webhook that is signed."""
        body = await request.read()
        try:
            told = Webhook(ALERT_SECRET).verify(body, dict(request.headers))
        except WebhookVerificationError:
            return web.Response(status=401, text="not signed with the secret that is known here")
        self._note(Arrival("webhook", told["data"]["route"], told["data"]["summary"]))
        return web.Response(status=204)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _note(self, arrival: Arrival) -> None:
        os.write(self._descriptor, orjson.dumps(arrival._asdict()) + b"\n")


class Arrivals:
    """Reads messages that have arrived since it was opened."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = file.stat().st_size if file.exists() else 0
        self.by: dict[str, int] = {"mail": 0, "webhook": 0}
        self.newest: list[Arrival] = []

    def look(self) -> None:
        """Read new messages."""
        if not self._file.exists():
            return
        with self._file.open("rb") as stream:
            stream.seek(self._at)
            whole, _, _ = stream.read(_MOST_READ_BYTES).rpartition(b"\n")
        self._at += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            arrival = Arrival(**orjson.loads(line))
            self.by[arrival.by] += 1
            self.newest = [*self.newest, arrival][-3:]


def rules_of(ports: DemoPorts) -> str:
    """Return the rules that bring all alerts here: mail to users, a webhook to operators."""
    return f"""# written by everwatch demo at each start
[defaults]
group_wait = "2s"
group_interval = "10s"

[smtp]
host = "{HOST}"
port = {ports.mail}
security = "none"
from = "Everwatch demo <alerts@demo.example>"

[[users]]
name = "mail"
email = {{ to = "{{{{user.attributes.email}}}}" }}

[[operators]]
name = "operators"
webhook = {{ url = "http://{HOST}:{ports.hook}{HOOK_PATH}", secret = "{ALERT_SECRET}" }}
"""


@asynccontextmanager
async def open_inbox(ports: DemoPorts, file: Path) -> AsyncIterator[None]:
    """Take mails and webhooks while the context lasts."""
    loop = asyncio.get_running_loop()
    inbox = Inbox(file)
    app = web.Application()
    app.router.add_post(HOOK_PATH, inbox.take_webhook)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, ports.hook).start()
    server = await loop.create_server(lambda: SMTP(inbox, hostname="demo.example", loop=loop), HOST, ports.mail)
    try:
        yield
    finally:
        server.close()
        await runner.cleanup()
        inbox.close()


async def serve(ports: DemoPorts, file: Path) -> None:
    """Serve until stdin ends."""
    async with open_inbox(ports, file):
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    mail_port, hook_port = map(int, sys.argv[1:3])
    uvloop.run(serve(DemoPorts(0, 0, 0, 0, mail_port, hook_port), Path(sys.argv[3])))
