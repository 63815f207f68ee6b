"""``everwatch import``: users and monitors from CSV, JSON lines or a database, once or repeatedly."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Annotated, NamedTuple

import orjson
import typer
from rich.console import Console

from everwatch.cli.support.import_source import SourceOptions, source_of
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import (
    CommonOptions,
    clients_of,
    duration_of,
    plans_of,
    ready_broker,
    settings_of,
)
from everwatch.cli.support.progress_bar import file_bar, print_refused
from everwatch.cli.support.run_parts import run_parts
from everwatch.core.clock import Clock, SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, EverwatchError, SettingsError
from everwatch.kafka.reply_topic import ReplyTopic
from everwatch.kafka.topics import Topics
from everwatch.plans.plans_parser import read_file
from everwatch.transfer.foreign_source import ForeignSource
from everwatch.transfer.import_pass import ImportTally, Interruption, Pass, PassCallbacks, RowRules, RowSource, RowWay
from everwatch.transfer.ledger import Ledger, digest_of
from everwatch.transfer.load_sender import QUEUE, KafkaLoadSender, LoadSender
from everwatch.transfer.outcomes import Answers, AwaitedRow, Outcomes
from everwatch.transfer.row_files import STDIN

# with --every, a row that a worker refused is sent again after this time, in case its plans have changed unseen
REFUSED_REST_MS = 3_600_000


class PassOptions(NamedTuple):
    """Options of one pass or many: rows to send again, the ledger, and answers to wait for."""

    every: Annotated[
        str | None,
        typer.Option("--every", help="Repeat the import every PERIOD until interrupted.", metavar="PERIOD"),
    ] = None
    everything: Annotated[bool, typer.Option("--all", help="Send unchanged rows, too.")] = False
    state: Annotated[
        Path | None,
        typer.Option("--state", help="File that remembers sent rows; default: imports/SOURCE-… in the data folder."),
    ] = None
    rejects: Annotated[Path | None, typer.Option(help="File for the reasons of all wrong rows.")] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; print what would be sent.")] = False
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the workers' answer to each row.")] = False
    timeout: Annotated[str, typer.Option("--timeout", help="Longest time without an answer, with --wait.")] = "30s"


class ImportJob(NamedTuple):
    """An import: from where, with which state, and how."""

    settings: Settings
    source: RowSource
    state: Path
    everything: bool
    dry_run: bool
    rejects: Path | None
    waiting: AwaitedRow
    as_json: bool


@with_options(source_options=SourceOptions, passes=PassOptions, common=CommonOptions)
def import_(source_options: SourceOptions, passes: PassOptions, common: CommonOptions) -> None:
    """Import users and monitors: only rows that are new or changed since the last import of this source.

    A row is a signup, or with `monitor` a monitor put by command. CSV and SQL: user_id, plan, attributes (JSON),
    attributes.NAME, monitors, maintenance, monitor (JSON); any other column is an attribute. See docs/importing.md.

    Without --wait rows are sent, and the next pass learns which of them the workers refused; with it, the report
    counts what they accepted. Through the API (--api) it always waits. With the setting EVERWATCH_PLANS_FILE rows are
    checked against the plans, too.

    Exit status: 0 all well, 1 rows were refused, 2 the source cannot be read, 3 no broker or no answer, 7 the state is
    in use.

    Examples: `everwatch import users.csv --map id=user_id --monitors @monitors.json` ·
    `everwatch import --sql "select id as user_id, plan from users" --from sqlite:///app.db --every 5m` ·
    `everwatch export | everwatch import - --format jsonl --dry-run` ·
    `everwatch import backup.json --format uptime-kuma --user acme --dry-run`
    """
    settings = settings_of(common.data_dir, common.bootstrap_servers)
    if passes.every is not None and source_options.file == STDIN:
        raise SettingsError("stdin can be read only once: omit --every.")
    every_s = None if passes.every is None else duration_of("--every", passes.every) / 1000
    if every_s is not None and every_s < 1:
        raise SettingsError("--every must be at least 1s.")
    source, name = source_of(source_options, settings)
    job = ImportJob(
        settings,
        source,
        state=passes.state or settings.data_dir / "imports" / name,
        everything=passes.everything,
        dry_run=passes.dry_run,
        rejects=passes.rejects,
        waiting=AwaitedRow(passes.wait, duration_of("--timeout", passes.timeout) / 1000),
        as_json=common.as_json,
    )
    _run(job, every_s)


def _run(job: ImportJob, every_s: float | None) -> None:
    """Make one pass, or (``every_s``) one after the other until a signal comes. Raises typer.Exit with the status."""
    interruption = Interruption()
    stopped = run_parts().new_stop()
    with Ledger(job.state, keep=not job.dry_run) as ledger, _stopping(interruption, stopped) as came:
        if every_s is not None:
            _repeat(job, ledger, interruption, stopped, every_s)
            return
        try:
            tally = _pass(job, ledger, interruption, SystemClock())
        except BrokerUnavailable as error:
            if not interruption.wanted:
                raise
            # it was stopped, and what is still under way is sent again the next time
            typer.echo(f"everwatch: {error}", err=True)
            raise typer.Exit(128 + came[0]) from None
        if interruption.wanted:
            raise typer.Exit(128 + came[0])
        raise typer.Exit(1 if tally.refused else 0)


def _repeat(job: ImportJob, ledger: Ledger, interruption: Interruption, stopped: Event, every_s: float) -> None:
    clock = SystemClock()
    rest_ms = 0
    while not interruption.wanted:
        began_s = clock.monotonic_s()
        try:
            _pass(job, ledger, interruption, clock, rest_ms)
            rest_ms = REFUSED_REST_MS
        except EverwatchError as error:
            if interruption.wanted:
                return
            if job.as_json:
                typer.echo(orjson.dumps({"failed": str(error)}).decode())
            typer.echo(f"everwatch: {error} The next pass tries again.", err=True)
        # a pass that took longer than that is followed by the next at once
        stopped.wait(max(0.0, began_s + every_s - clock.monotonic_s()))


def _pass(job: ImportJob, ledger: Ledger, interruption: Interruption, clock: Clock, rest_ms: int = 0) -> ImportTally:
    """Make one pass and print its counts. Raises SettingsError, BrokerUnavailable, TopicMismatch, Unanswered."""
    console = Console(stderr=True)
    name = job.source.name
    with ExitStack() as stack:
        rejects = None if job.rejects is None else stack.enter_context(closing(_Rejects(job.rejects)))
        bar = stack.enter_context(file_bar(console, only_on_terminals=True))
        shown = bar.add_task("Importing", total=None, told="")

        def look(tally: ImportTally) -> None:
            rate = f"{tally.read:,} rows, {tally.read / max(tally.seconds, 0.001):,.0f} a second"
            bar.update(shown, total=job.source.size or None, completed=job.source.position, told=rate)

        def refused(line: int, reason: str) -> None:
            text = f"{name}:{line}: {reason}" if line else f"{name}: {reason}"
            if rejects is not None:
                rejects.write(text)
            hint = "are in the file of --rejects" if rejects is not None else "go to a file with --rejects FILE"
            # the tally counts it before it is printed
            told = importing.tally.refused + importing.tally.refused_before
            print_refused(console, told, text, f"… more of them {hint}")

        courier, answers = _way_of(job, clock, stack)
        plans_file = job.settings.plans_file
        digest = b"" if plans_file is None else digest_of(read_file(plans_file)[0])
        rules = RowRules(plans_of(job.settings), digest, rest_ms)
        # the API answers each batch with what workers made of it: there is nothing to learn later
        waiting = job.waiting._replace(wanted=True) if job.settings.api_url else job.waiting
        outcomes = Outcomes(ledger, answers, clock, waiting, digest)
        importing = Pass(job.source, ledger, RowWay(courier, outcomes), PassCallbacks(refused, look), clock, rules)
        try:
            tally = importing.run(interruption, everything=job.everything, ship=not job.dry_run)
        except EverwatchError:
            if importing.tally.read:
                typer.echo(f"{name}: cut short after {importing.tally.read} rows", err=True)
            raise
    lost = job.source.lost if isinstance(job.source, ForeignSource) else None
    if lost and not job.as_json:
        for each in lost:
            what = f"{each.monitor}: " if each.monitor else ""
            typer.echo(f"{name}: {what}{'not imported: ' if each.is_left_out else ''}{each.what}", err=True)
    if job.as_json:
        report: dict[str, object] = {} if lost is None else {"no_counterpart": [each._asdict() for each in lost]}
        typer.echo(orjson.dumps(asdict(tally) | {"seconds": round(tally.seconds, 3)} | report).decode())
    else:
        rate = f"{tally.seconds:.1f} s, {tally.read / max(tally.seconds, 0.001):,.0f} rows a second"
        waits = job.waiting.wanted or job.settings.api_url
        would = ", would send" if job.dry_run else ", sent"
        again = f" ({tally.again} of them again)" if tally.again else ""
        accepted = f", {tally.accepted} accepted" if waits and not job.dry_run else ""
        typer.echo(
            f"{name}: {tally.read} read, {tally.new} new, {tally.changed} changed, {tally.unchanged} unchanged,"
            f" {tally.refused} refused{would} {tally.sent}{again}{accepted} ({rate})"
            + (", stopped" if interruption.wanted else "")
        )
        if isinstance(job.source, ForeignSource):
            left_out = len({each.monitor for each in job.source.lost if each.is_left_out})
            typer.echo(f"{name}: {job.source.monitors} monitors for user {job.source.user_id}, {left_out} left out")
    return tally


class _Rejects:
    """The file of the reasons of wrong rows, a line each. Raises SettingsError where it cannot be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._clear_errors():
            self._file = path.open("w", encoding="utf-8", errors="backslashreplace")

    def write(self, text: str) -> None:
        with self._clear_errors():
            self._file.write(f"{text}\n")

    def close(self) -> None:
        """Write the rest of it."""
        with self._clear_errors():
            self._file.close()

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SettingsError(f"The file {self._path} cannot be written: {error.strerror}.") from None


def _way_of(
    job: ImportJob, clock: Clock, stack: ExitStack
) -> tuple[Callable[[], LoadSender], Callable[[Mapping[int, int] | None], Answers]]:
    """Return what makes the sender of rows, and what opens their answers; ``stack`` closes both."""
    if job.settings.api_url:
        from everwatch.cli.support.api_connection import ApiLink, api_client
        from everwatch.cli.support.import_by_api import ApiRows

        client = stack.enter_context(api_client(job.settings))
        rows = ApiRows(ApiLink(client, job.waiting.timeout_s, clock))
        return lambda: rows, rows.since

    ways = run_parts().row_ways or _KafkaWays(job.settings, clock)

    def courier() -> LoadSender:
        made = ways.new_sender()
        stack.callback(made.close)
        return made

    def answers(since: Mapping[int, int] | None) -> Answers:
        made = ways.new_answers(since)
        stack.callback(made.close)
        return made

    return courier, answers


class _KafkaWays:
    """Rows go to the topics of inputs, and the answers come from ``replies``."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    def new_sender(self) -> LoadSender:
        settings, bootstrap = ready_broker(self._settings)
        producer = clients_of(settings).producer(**QUEUE)
        return KafkaLoadSender(producer, Topics.of(settings), bootstrap, self._clock)

    def new_answers(self, since: Mapping[int, int] | None) -> Answers:
        settings, _ = ready_broker(self._settings)
        return ReplyTopic(settings, clients_of(settings), self._clock, since)


@contextmanager
def _stopping(interruption: Interruption, stopped: Event) -> Iterator[list[int]]:
    """Have SIGINT and SIGTERM stop the import in order; gives the number of the signal that came."""
    came: list[int] = []

    def stop(number: int, _frame: object) -> None:
        came.append(number)
        stopped.set()
        interruption.ask()

    on_signal = run_parts().on_signal
    before = {number: on_signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            on_signal(number, handler)
