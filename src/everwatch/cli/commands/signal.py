"""``everwatch signal``: report a run of a job, or a value, as one record."""

from math import isfinite
from typing import Annotated, Any, NamedTuple

import orjson
import typer

from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import MonitorArgument, UserArgument, duration_of, instant_of
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.sending import Sending, send_one, with_sending
from everwatch.core.errors import SettingsError
from everwatch.kafka.command_client import signal_asked
from everwatch.model import Asker
from everwatch.schedule.instant import Bare


class SignalOptions(NamedTuple):
    """Options that say what the signal reports."""

    start: Annotated[bool, typer.Option("--start", help="The job begins.")] = False
    fail: Annotated[bool, typer.Option("--fail", help="The job failed.")] = False
    exit_code: Annotated[
        int | None,
        typer.Option(
            "--exit-code", metavar="N", help="The job ended with N: well if 0, else failed.", show_default=False
        ),
    ] = None
    duration: Annotated[
        str | None,
        typer.Option(help="Duration of the run, e.g. 90s; default: since its start.", show_default=False),
    ] = None
    run: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Id of the run, where several may be under way at once.", show_default=False),
    ] = None
    value: Annotated[
        float | None, typer.Option(metavar="X", help="A value for a monitor of kind threshold.", show_default=False)
    ] = None
    at: Annotated[
        str | None,
        typer.Option(
            help="Instant of the signal: INSTANT, or a duration ago, e.g. 5m; default: now.", show_default=False
        ),
    ] = None


@with_sending
@with_options(options=SignalOptions)
def signal(
    user: UserArgument,
    monitor: MonitorArgument,
    options: SignalOptions,
    *,
    sending: Sending,
) -> None:
    """Send one signal: a job is alive and well, begins, fails, or has measured something.

    Without --wait it is sent; with it, the worker's answer is printed, and the exit status is 1 if it was refused.

    Examples: `everwatch signal u-1 nightly-backup` · `everwatch signal u-1 nightly-backup --wait` ·
    `everwatch signal u-1 nightly-backup --start; ./backup; everwatch signal u-1 nightly-backup --exit-code $?` ·
    `everwatch signal u-1 import --start --run "$JOB_ID"` · `everwatch signal u-1 queue-length --value 42`
    """
    event = orjson.dumps(_event(user, monitor, options))
    signal_id = sending.asked_id or ""
    send_one(
        lambda _: signal_asked(event, signal_id=signal_id, ask=sending.wait),
        Asker("signal", user, monitor, signal_id=signal_id),
        sending,
    )


def _event(user: str, monitor: str, options: SignalOptions) -> dict[str, Any]:
    """Return the signal that these options mean. Raises SettingsError."""
    has_ended = options.fail or options.exit_code is not None or options.duration is not None
    if options.start + has_ended + (options.value is not None) > 1:
        raise SettingsError("Give one of --start, --value, and how a run ended (--fail, --exit-code, --duration).")
    event: dict[str, Any] = {"user_id": user, "monitor_id": monitor}
    if options.start or options.fail:
        event["type"] = "start" if options.start else "fail"
    if options.exit_code is not None:
        event["exit_code"] = options.exit_code
    if options.duration is not None:
        event["duration_ms"] = duration_of("--duration", options.duration)
    if options.value is not None:
        # JSON cannot express NaN and infinity
        if not isfinite(options.value):
            raise SettingsError(f"--value wants a finite number, not {options.value}.")
        event["value"] = options.value
    if options.at is not None:
        event["at"] = instant_of("--at", options.at, now_ms(), Bare.PAST)
    if options.run is not None:
        if not options.run or options.value is not None:
            raise SettingsError("--run names the run of a job: it must not be empty, and does not go with --value.")
        event["run"] = options.run
    return event
