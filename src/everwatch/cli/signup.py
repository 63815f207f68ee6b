"""``everwatch signup``: one user from options, or many from a file."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import orjson
import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, TimeRemainingColumn

from everwatch.admission import admit_signup
from everwatch.cli.options import AsJson, Bootstrap, DataDir, broker_of, pairs_of, settings_of
from everwatch.cli.progress import MOST_REASONS_SHOWN, progress_bar, tell_refused
from everwatch.cli.publishing import Publisher
from everwatch.cli.schedules import (
    AlignOption,
    AtOption,
    CronOption,
    EndAtOption,
    EveryOption,
    InOption,
    MaxRunsOption,
    ScheduleOptions,
    SpreadOption,
    StartAtOption,
    TimezoneOption,
    schedule_of,
)
from everwatch.config import Settings
from everwatch.errors import InvalidInput, SettingsError
from everwatch.kafka.clients import new_admin
from everwatch.kafka.topics import Topics, expect_topic


class Line(NamedTuple):
    """One line of a file of users: where it stands and the signup it holds, or why it holds none."""

    number: int
    value: bytes
    problem: str = ""


def signup(
    user: Annotated[str | None, typer.Argument(help="The user's id.", show_default=False)] = None,
    file: Annotated[
        Path | None, typer.Option(help="JSON lines (.jsonl, one signup a line) or CSV (.csv, with a header).")
    ] = None,
    plan: Annotated[str, typer.Option(help="The user's plan.")] = "default",
    http: Annotated[list[str] | None, typer.Option(help="URL to check; repeatable.", show_default=False)] = None,
    tcp: Annotated[list[str] | None, typer.Option(help="HOST:PORT to connect to; repeatable.")] = None,
    heartbeat: Annotated[str | None, typer.Option(help="Expect a heartbeat each PERIOD, e.g. 1h.")] = None,
    every: EveryOption = None,
    cron: CronOption = None,
    timezone: TimezoneOption = None,
    at: AtOption = None,
    in_: InOption = None,
    align: AlignOption = None,
    spread: SpreadOption = None,
    start_at: StartAtOption = None,
    end_at: EndAtOption = None,
    max_runs: MaxRunsOption = None,
    attribute: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeatable.")] = None,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Sign users up; signing up again changes what is registered.

    A CSV file has a column user_id and may have plan, http, tcp and every; any other column is an attribute.

    Examples: `everwatch signup u-1 --http https://example.com --every 30s` ·
    `everwatch signup u-2 --http https://example.com --cron "0 9 * * 1-5" --timezone Europe/Berlin` ·
    `everwatch signup u-3 --http https://example.com --in 90m` ·
    `everwatch signup u-4 --http https://example.com --every 6h --align midnight --timezone Europe/Berlin` ·
    `everwatch signup --file users.jsonl`
    """
    if (user is None) == (file is None):
        raise SettingsError("Give either a USER or --file FILE (see 'everwatch signup --help').")
    settings = settings_of(data_dir, bootstrap_servers)
    if file is not None:
        lines = list(_read(file))
    else:
        schedule = schedule_of(
            ScheduleOptions(every, cron, timezone, at, in_, align, spread, start_at, end_at, max_runs)
        )
        attributes = pairs_of("--attribute", "NAME=VALUE", attribute or [], empty=True)
        wanted = _signup_of({"user_id": user, "plan": plan}, http or [], tcp or [], heartbeat, schedule, attributes)
        lines = [Line(1, orjson.dumps(wanted))]
    # what is wrong is said at once, with or without a broker
    admitted, refused = _admitted(lines)
    console = Console(stderr=True)
    delivered = _publish(settings, admitted, console) if admitted else 0
    _report(console, delivered, refused, as_json)
    if refused:
        raise typer.Exit(1)


def _admitted(lines: list[Line]) -> tuple[list[tuple[str, bytes]], list[tuple[int, str]]]:
    """User ids and events of the signups that are right, and the numbers of the other lines with the reasons."""
    admitted, refused = [], []
    for line in lines:
        try:
            if line.problem:
                raise InvalidInput(line.problem)
            admitted.append((admit_signup(line.value).user_id, line.value))
        except InvalidInput as error:
            refused.append((line.number, str(error)))
    return admitted, refused


def _publish(settings: Settings, admitted: list[tuple[str, bytes]], console: Console) -> int:
    """Send signups; gives the number that the broker has. Raises BrokerUnavailable."""
    bootstrap = broker_of(settings)
    topic = Topics.of(settings).signups
    expect_topic(new_admin(settings, bootstrap), settings, topic)
    publisher = Publisher(settings, bootstrap)
    with progress_bar(console, MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        for user_id, event in bar.track(admitted, description="Signing up"):
            publisher.send(topic, user_id, event)
        publisher.finish()
    return publisher.delivered


def _report(console: Console, sent: int, refused: list[tuple[int, str]], as_json: bool) -> None:
    if as_json:
        reasons = [{"line": number, "reason": reason} for number, reason in refused]
        typer.echo(orjson.dumps({"signed_up": sent, "refused": len(refused), "reasons": reasons}).decode())
        return
    others = f"… and {len(refused) - MOST_REASONS_SHOWN} more (--json lists all)"
    for number, (line, reason) in enumerate(refused, 1):
        tell_refused(console, number, f"line {line}: {reason}", others, soft_wrap=False)
    typer.echo(f"{sent} signed up, {len(refused)} refused")


def _read(file: Path) -> Iterator[Line]:
    try:
        with file.open("rb") as stream:
            head = stream.read(1)
        suffix = file.suffix.lower()
        if suffix == ".csv" or (suffix not in {".jsonl", ".json", ".ndjson"} and head != b"{"):
            yield from _read_csv(file)
        else:
            with file.open("rb") as stream:
                for number, value in enumerate(stream, 1):
                    if value.strip():
                        yield Line(number, value.strip())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"The file {file} cannot be read: {error}.") from None


def _read_csv(file: Path) -> Iterator[Line]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.DictReader(stream)
        if "user_id" not in (rows.fieldnames or ()):
            raise SettingsError(f"The file {file} has no column user_id (its first line must name the columns).")
        known = {"user_id", "plan", "http", "tcp", "every"}
        for row in rows:
            if None in row or None in row.values():
                yield Line(rows.line_num, b"", "the line has more or fewer columns than the header")
                continue
            attributes = {name: value for name, value in row.items() if name not in known and value}
            wanted: dict[str, Any] = {"user_id": row["user_id"]}
            if row.get("plan"):
                wanted["plan"] = row["plan"]
            http, tcp = row.get("http") or "", row.get("tcp") or ""
            schedule = {"every": row["every"]} if row.get("every") else {}
            try:
                signed_up = _signup_of(wanted, [http] if http else [], [tcp] if tcp else [], None, schedule, attributes)
            except SettingsError as error:
                yield Line(rows.line_num, b"", str(error))
                continue
            yield Line(rows.line_num, orjson.dumps(signed_up))


def _signup_of(
    wanted: dict[str, Any],
    urls: list[str],
    addresses: list[str],
    heartbeat: str | None,
    schedule: dict[str, Any],
    attributes: dict[str, str],
) -> dict[str, Any]:
    monitors: list[dict[str, Any]] = []
    for number, url in enumerate(urls, 1):
        monitors.append({"monitor_id": _numbered("http", number), "kind": "http", "config": {"url": url}})
    for number, address in enumerate(addresses, 1):
        host, colon, port = address.rpartition(":")
        if not colon or not port.isdigit():
            raise SettingsError(f"--tcp wants HOST:PORT, not {address!r}.")
        config = {"host": host.strip("[]"), "port": int(port)}
        monitors.append({"monitor_id": _numbered("tcp", number), "kind": "tcp", "config": config})
    if heartbeat:
        monitors.append({"kind": "heartbeat", "config": {"period": heartbeat}})
    return wanted | {"attributes": attributes, "monitors": [monitor | {"schedule": schedule} for monitor in monitors]}


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"
