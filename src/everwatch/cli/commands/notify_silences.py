"""``everwatch notify``: silences, by the API or in the notifier's database."""

from collections.abc import Iterable
from contextlib import closing
from typing import Annotated, NamedTuple
from uuid import uuid4

import msgspec
import typer
from msgspec.structs import replace

from everwatch.api.incident_views import SilenceBody
from everwatch.cli.commands.notify_incidents import ByOption, check_no_name
from everwatch.cli.support.api_connection import api_client
from everwatch.cli.support.notifier_reading import reading_notifier
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import AsJson, DataDir, LocalOptions, duration_of, instant_of, pairs_of, settings_of
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.time_display import time_text
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.notifier.silences import LONGEST_SILENCE_MS, AlertSilence, Selector
from everwatch.notifier.storage import open_storage
from everwatch.schedule.duration import DAY_MS
from everwatch.schedule.instant import Bare


class SelectorOptions(NamedTuple):
    """Options that select the monitors of a silence."""

    user: Annotated[str, typer.Option("--user", help="Only this user's monitors.")] = ""
    plan: Annotated[str, typer.Option("--plan", help="Only of users with this plan.")] = ""
    kind: Annotated[str, typer.Option("--kind", help="Only this kind.")] = ""
    target: Annotated[str, typer.Option("--target", help="Only this host, or *.example.com below a domain.")] = ""
    label: Annotated[
        list[str] | None, typer.Option("--label", help="Only with KEY=VALUE; repeatable.", show_default=False)
    ] = None


@with_options(chosen=SelectorOptions, common=LocalOptions)
def silence(
    duration: Annotated[str, typer.Option("--for", help="Duration, such as 2h.", show_default=False)],
    chosen: SelectorOptions,
    at: Annotated[str | None, typer.Option("--at", help="Begin at INSTANT, or a duration from now.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Reason, shown to others.")] = "",
    by: ByOption = "",
    *,
    common: LocalOptions,
) -> None:
    """Send no alerts of the monitors that a selector matches, for a while; checks still run.

    The end of an incident whose alert was sent before is still sent. When the silence ends, alerts go out for what is
    still down.

    Examples: `everwatch notify silence --target db.example --for 2h --reason "new disks"`
    · `everwatch notify silence --label team=shop --at 2026-12-01T22:00:00Z --for 4h`
    """
    fields = chosen._asdict() | {"label": pairs_of("--label", "KEY=VALUE", chosen.label or [])}
    try:
        match = msgspec.convert(fields, type=Selector)
    except msgspec.ValidationError as error:
        raise SettingsError(f"The selector is wrong: {error}.") from None
    if match.is_empty:
        raise SettingsError("Name what to silence: --user, --plan, --kind, --target or --label.")
    length_ms = duration_of("--for", duration)
    if not 1_000 <= length_ms <= LONGEST_SILENCE_MS:
        raise SettingsError(f"--for is between 1 s and {LONGEST_SILENCE_MS // DAY_MS} days.")
    settings, now = settings_of(common.data_dir), now_ms()
    begin = now if at is None else instant_of("--at", at, now, Bare.FUTURE)
    made = AlertSilence(uuid4().hex[:16], match, begin, begin + length_ms, reason, by, now)
    if settings.api_url:
        check_no_name(by)
        with api_client(settings) as client:
            made = client.create_silence(
                SilenceBody(match, None if at is None else begin, for_=duration, reason=reason)
            )
    else:
        with closing(open_storage(settings)) as storage, storage.begin() as work:
            work.put_silence(made)
    _print([made], common.as_json)


def silences(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List silences that are on or ahead, the first to end first.

    Example: `everwatch notify silences`
    """
    settings = settings_of(data_dir)
    if settings.api_url:
        with api_client(settings) as client:
            listed = client.silences()
        if not listed.available:
            raise EverwatchError(f"Silences are not known: {listed.reason}")
        found = listed.items
    else:
        with reading_notifier(settings) as storage, storage.look() as work:
            found = work.silences(now_ms())
    if not found and not as_json:
        typer.echo("no silences")
    _print(found, as_json)


def unsilence(
    silence_id: Annotated[str, typer.Argument(metavar="ID", help="As listed.", show_default=False)],
    data_dir: DataDir = None,
) -> None:
    """End a silence now; alerts go out for monitors that are still down.

    Example: `everwatch notify unsilence 3f9c2a7be1d04458`
    """
    settings, now = settings_of(data_dir), now_ms()
    if settings.api_url:
        with api_client(settings) as client:
            client.end_silence(silence_id)
    else:
        with closing(open_storage(settings)) as storage, storage.begin() as work:
            held = next((each for each in work.silences(now) if each.silence_id == silence_id), None)
            if held is None:
                raise EverwatchError(f"There is no silence {silence_id!r}: 'everwatch notify silences' lists them.")
            work.put_silence(replace(held, ends_at=now))
    typer.echo(f"over: {silence_id}")


def _print(found: Iterable[AlertSilence], as_json: bool) -> None:
    for each in found:
        typer.echo(msgspec.json.encode(each).decode() if as_json else _line(each))


def _line(silence: AlertSilence) -> str:
    said = msgspec.to_builtins(silence.match)
    labels = [f"{key}={value}" for key, value in said.pop("label", {}).items()]
    what = " ".join([*(f"{name} {value}" for name, value in said.items()), *(f"label {each}" for each in labels)])
    by = f"  by {silence.by}" if silence.by else ""
    reason = f"  {silence.reason}" if silence.reason else ""
    span = f"{time_text(silence.starts_at)} to {time_text(silence.ends_at)}"
    return f"{silence.silence_id}  {span}  {what}{by}{reason}"
