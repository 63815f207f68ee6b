"""Apprise, as a program of its own: its library blocks, waits and follows redirects within one pool of threads."""

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from typing import Protocol

from everwatch.core.config import environment_of_callables
from everwatch.notifier.addresses import Address, AppriseAddress
from everwatch.notifier.alerts import Message
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict
from everwatch.notifier.wording import lines_of, subject_of

TIMEOUT_S = 60.0
# https://github.com/caronc/apprise/wiki/CLI_Usage: read where no argument is a URL; every user of a machine sees those
_URLS = "APPRISE_URLS"


class SendsToOthers(Protocol):
    """Sends to all receivers but Apprise; ``over_http.HttpSender``."""

    async def send(self, address: Address, message: Message, *, from_user: bool, whose: str = "") -> AttemptOutcome:
        """Make one attempt."""
        ...


class AppriseSender:
    """Sends to Apprise by its program, and to all other receivers by ``http``."""

    def __init__(self, http: SendsToOthers, timeout_s: float = TIMEOUT_S) -> None:
        self._http = http
        self._timeout_s = timeout_s

    async def send(self, address: Address, message: Message, *, from_user: bool, whose: str = "") -> AttemptOutcome:
        """Make one attempt; never raises for what the receiver does."""
        if not isinstance(address, AppriseAddress):
            return await self._http.send(address, message, from_user=from_user, whose=whose)
        program = shutil.which(address.program)
        if program is None:
            return _failed(f"there is no program {address.program}: install Apprise, or name it as program")
        text = "\n".join(lines_of(message, with_user=not message.user_id))
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                f"--title={subject_of(message)}",
                stdin=PIPE,
                # what it says may hold tokens
                stdout=DEVNULL,
                stderr=DEVNULL,
                env=environment_of_callables() | {_URLS: " ".join(address.all_urls)},
                # a group of its own: what it starts ends with it
                start_new_session=True,
            )
        except OSError as error:
            return _failed(f"{address.program} cannot be run: {error.strerror}")
        try:
            async with asyncio.timeout(self._timeout_s):
                await process.communicate(text.encode())
        except TimeoutError:
            return _failed(f"Apprise did not end within {self._timeout_s:g} s")
        finally:
            await _ended(process)
        if process.returncode:
            return _failed(f"Apprise ended with status {process.returncode}: not all of its services took it")
        return AttemptOutcome(Verdict.SENT, "Apprise's services took it")


async def _ended(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _failed(reason: str) -> AttemptOutcome:
    # another route's program or services may work
    return AttemptOutcome(Verdict.FAILED, reason)
