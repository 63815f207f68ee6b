"""``everwatch signal``: what a job has to say of its run, or a value, as one record."""

from math import isfinite
from typing import Annotated, Any

import orjson
import typer

from everwatch.cli.support.options import MonitorArgument, UserArgument, duration_of, instant_of
from everwatch.cli.support.sending import Sending, send_one, with_sending
from everwatch.core.clock import SystemClock
from everwatch.core.errors import SettingsError
from everwatch.kafka.command_client import signal_asked
from everwatch.model import Asker
from everwatch.schedule.instant import Bare


@with_sending
def signal(
    user: UserArgument,
    monitor: MonitorArgument,
    start: Annotated[bool, typer.Option("--start", help="The job begins.")] = False,
    fail: Annotated[bool, typer.Option("--fail", help="The job failed.")] = False,
    exit_code: Annotated[
        int | None,
        typer.Option(
            "--exit-code", metavar="N", help="The job ended with N: well if 0, else failed.", show_default=False
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(help="How long it ran, e.g. 90s; default: since its start.", show_default=False),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Which run it is about, where several may be under way at once.", show_default=False
        ),
    ] = None,
    value: Annotated[
        float | None, typer.Option(metavar="X", help="A value for a monitor of kind threshold.", show_default=False)
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(help="When it was: INSTANT, or a duration ago, e.g. 5m; default: now.", show_default=False),
    ] = None,
    *,
    sending: Sending,
) -> None:
    """Send one signal: a job is alive and well, begins, fails, or has measured something.

    Without --wait it is sent; with it, the worker's answer is printed, and the exit status is 1 if it was refused.

    Examples: `everwatch signal u-1 nightly-backup` · `everwatch signal u-1 nightly-backup --wait` ·
    `everwatch signal u-1 nightly-backup --start; ./backup; everwatch signal u-1 nightly-backup --exit-code $?` ·
    `everwatch signal u-1 import --start --run "$JOB_ID"` · `everwatch signal u-1 queue-length --value 42`
    """
    event = orjson.dumps(_said(user, monitor, start, fail, exit_code, duration, value, at) | _run(run, value))
    signal_id = sending.asked_id or ""
    send_one(
        lambda _: signal_asked(event, signal_id=signal_id, ask=sending.wait),
        Asker("signal", user, monitor, signal_id=signal_id),
        sending,
    )


def _run(run: str | None, value: float | None) -> dict[str, Any]:
    if run is None:
        return {}
    if not run or value is not None:
        raise SettingsError("--run names the run of a job: it must not be empty, and does not go with --value.")
    return {"run": run}


def _said(
    user: str,
    monitor: str,
    start: bool,
    fail: bool,
    exit_code: int | None,
    duration: str | None,
    value: float | None,
    at: str | None,
) -> dict[str, Any]:
    """The signal that these options mean. Raises SettingsError."""
    ended = fail or exit_code is not None or duration is not None
    if start + ended + (value is not None) > 1:
        raise SettingsError("Give one of --start, --value, and how a run ended (--fail, --exit-code, --duration).")
    said: dict[str, Any] = {"user_id": user, "monitor_id": monitor}
    if start or fail:
        said["type"] = "start" if start else "fail"
    if exit_code is not None:
        said["exit_code"] = exit_code
    if duration is not None:
        said["duration_ms"] = duration_of("--duration", duration)
    if value is not None:
        # JSON has no word for what is no number
        if not isfinite(value):
            raise SettingsError(f"--value wants a finite number, not {value}.")
        said["value"] = value
    if at is not None:
        said["at"] = instant_of("--at", at, SystemClock().now_ms(), Bare.PAST)
    return said
