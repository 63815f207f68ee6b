"""``everwatch signup``: one user from options, or many from a file."""

import sys
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import orjson
import typer

from everwatch.cli.support.input_file import Made, send_file
from everwatch.cli.support.input_way import SendingOptions
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import pairs_of, plans_of
from everwatch.cli.support.schedule_options import NOT_GIVEN, ScheduleOptions, schedule_of, with_schedule
from everwatch.cli.support.sending import Sending, delivery_of, send_one, with_sending
from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.kafka.command_client import Asked, signup_asked
from everwatch.model import Asker
from everwatch.rules.admission import SignupPlans
from everwatch.transfer.import_rows import Row, RowReading
from everwatch.transfer.row_files import STDIN, FileSource, format_of
from everwatch.transfer.shorthand import monitors_of


class CheckOptions(NamedTuple):
    """Options that are a monitor each."""

    http: Annotated[list[str] | None, typer.Option(help="URL to check; repeatable.", show_default=False)] = None
    tcp: Annotated[list[str] | None, typer.Option(help="HOST:PORT to connect to; repeatable.")] = None
    heartbeat: Annotated[str | None, typer.Option(help="Period in which a heartbeat is expected, e.g. 1h.")] = None


class AboutOptions(NamedTuple):
    """Options of the user itself."""

    plan: Annotated[str, typer.Option(help="The user's plan.", show_default="default")] = ""
    attribute: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeatable.")] = None
    contact: Annotated[
        list[str] | None, typer.Option(help="NAME=ADDRESS, such as email=ada@example.com; repeatable.")
    ] = None


@with_sending
@with_schedule
@with_options(checks=CheckOptions, about=AboutOptions)
def signup(
    user: Annotated[str | None, typer.Argument(help="The user's id.", show_default=False)] = None,
    file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="JSON lines, one signup a line, or CSV with a header; also .gz; - is stdin.",
        ),
    ] = None,
    *,
    checks: CheckOptions,
    schedule: ScheduleOptions = NOT_GIVEN,
    about: AboutOptions,
    sending: Sending,
) -> None:
    """Sign users up; signing up again changes the registration.

    A CSV file has a column user_id and may have plan, http, tcp and every; any other column is an attribute.

    Without --wait it is sent; with it, the worker's answer is printed, and the exit status is 1 if it was refused.

    Examples: `everwatch signup u-1 --plan pro --attribute site=example.com --wait` ·
    `everwatch signup u-1 --http https://example.com --every 30s` ·
    `everwatch signup u-2 --http https://example.com --cron "0 9 * * 1-5" --timezone Europe/Berlin` ·
    `everwatch signup u-3 --http https://example.com --in 90m` ·
    `everwatch signup u-4 --http https://example.com --every 6h --align midnight --timezone Europe/Berlin` ·
    `everwatch signup --file users.jsonl --wait --json`
    """
    if user is not None and file is None:
        _sign_up_user(user, checks, schedule, about, sending)
    elif file is not None and user is None:
        if any(each not in (None, []) for each in checks) or about.attribute or about.contact or schedule != NOT_GIVEN:
            raise SettingsError(
                "With --file omit the options of one user, which are in the rows (--plan is for rows without one)."
            )
        _sign_up_file(file, about.plan, sending)
    else:
        raise SettingsError("Give either a USER or --file FILE (see 'everwatch signup --help').")


def _sign_up_file(file: str, plan: str, sending: Sending) -> None:
    if sending.asked_id is not None:
        raise SettingsError("With --file each signup gets an id of its own: omit --id.")
    reading = RowReading(plan=plan, has_shorthand=True)
    source = FileSource(file, format_of(file), reading, stdin=sys.stdin.buffer if file == STDIN else None)
    delivery = delivery_of(sending)
    signups = _signups_of(source.rows(), plans_of(delivery.settings), delivery.wait)
    send_file(source, signups, delivery, "Signing up")


def _sign_up_user(
    user: str, checks: CheckOptions, schedule: ScheduleOptions, about: AboutOptions, sending: Sending
) -> None:
    (http, tcp, heartbeat), (plan, attribute, contact) = checks, about
    if heartbeat == "":
        raise SettingsError("--heartbeat wants a period, e.g. 1h.")
    attributes = pairs_of("--attribute", "NAME=VALUE", attribute or [], empty=True)
    if schedule != NOT_GIVEN and not (http or tcp or heartbeat):
        raise SettingsError("A schedule needs a monitor: give --http, --tcp or --heartbeat, or omit the schedule.")
    try:
        monitors = monitors_of(http or [], tcp or [], heartbeat, schedule_of(schedule))
    except InvalidInput as error:
        raise SettingsError(f"--tcp: {error.reason}.") from None
    wanted = {"user_id": user, "plan": plan or "default", "attributes": attributes, "monitors": monitors}
    if contact:
        wanted["contacts"] = pairs_of("--contact", "NAME=ADDRESS", contact)
    signup_id = sending.asked_id or ""

    def make(delivery: SendingOptions) -> Asked:
        plans = plans_of(delivery.settings)
        return signup_asked(orjson.dumps(wanted), plans, signup_id=signup_id, ask=delivery.wait)

    send_one(make, Asker("signup", user, signup_id=signup_id), sending)


def _signups_of(rows: Iterator[Row], plans: SignupPlans | None, wait: bool) -> Iterator[Made]:
    """The signups of a file's rows, and why some are none."""
    for row in rows:
        try:
            if row.problem:
                raise InvalidInput(row.problem)
            if row.monitor_id:
                raise InvalidInput("this is a monitor and no signup: use everwatch import", "$.monitor")
            yield row.line, signup_asked(row.value, plans, ask=wait, line=row.line)
        except InvalidInput as error:
            yield row.line, error
