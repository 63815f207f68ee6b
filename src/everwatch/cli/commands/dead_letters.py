"""``everwatch dead-letters``: what was refused, decoded for people, and sent back once the cause is mended."""

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from typing import Annotated, NamedTuple

import orjson
import typer

from everwatch.cli.support.database_reading import AfterOption, database, has_database, say_next
from everwatch.cli.support.dead_letter_output import content_of, facts, plain, print_line, print_stored
from everwatch.cli.support.options import AsJson, Bootstrap, DataDir, ShowSecrets, clients_of, instant_of, settings_of
from everwatch.cli.support.output_reading import FollowOption, OutputSource, refuse_cursor_of_topic
from everwatch.cli.support.time_display import time_text
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.kafka.dead_letter_reader import DeadLetterTopic
from everwatch.kafka.dead_letter_record import DeadLetter, Redriven, SourcePosition, alike, place_of
from everwatch.kafka.redrive import History, Redriver
from everwatch.kafka.topics import Topics
from everwatch.operations.dead_letter_view import shown
from everwatch.schedule.instant import Bare
from everwatch.store.interface import When
from everwatch.store.letters import LetterCount, LetterSelection

app = typer.Typer(no_args_is_help=True, help="List, show, count and redrive refused records.")

Since = Annotated[
    str | None, typer.Option("--since", help="Only those since INSTANT, or so long ago.", show_default=False)
]
FromSource = Annotated[str, typer.Option("--source", metavar="TOPIC", help="Only those from this topic.")]
OfUser = Annotated[str, typer.Option("--user", help="Only those whose key is this user's.")]
WithReason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Only those whose reason has this text.")]
WithCode = Annotated[str, typer.Option("--code", help="Only those with this code, e.g. unknown_plan.")]
FromOption = Annotated[
    OutputSource | None,
    typer.Option("--from", help="Where to read. Without it: the database if there is one.", show_default=False),
]
LETTER = "the PARTITION/OFFSET that 'dead-letters list' prints"
_AT_ONCE = 500


class Wanted(NamedTuple):
    """Selection of dead letters; empty fields select all."""

    source: str = ""
    user: str = ""
    reason: str = ""
    code: str = ""
    places: frozenset[tuple[int, int]] = frozenset()

    def takes(self, letter: DeadLetter, prefix: str) -> bool:
        """Return whether a dead letter is one of them; ``prefix``: of topics, which may be left out of ``source``."""
        source = letter.source.topic if letter.source else ""
        return (
            (not self.source or self.source in (source, source.removeprefix(prefix)))
            and (not self.user or letter.key == self.user.encode(errors="surrogateescape"))
            and (not self.reason or self.reason.lower() in letter.reason.lower())
            and (not self.code or letter.code == self.code)
            and (not self.places or letter.place[1:] in self.places)
        )

    def selection(self, prefix: str) -> LetterSelection:
        """The same, as the database is asked for it."""
        is_short = bool(self.source) and not self.source.startswith(prefix)
        return LetterSelection(
            self.user, f"{prefix}{self.source}" if is_short else self.source, self.code, text=self.reason
        )


@app.command("list")
def list_(
    source: FromSource = "",
    user: OfUser = "",
    reason: WithReason = "",
    code: WithCode = "",
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many, the newest.")] = 20,
    after: AfterOption = "",
    follow: FollowOption = False,
    secrets: ShowSecrets = False,
    from_: FromOption = None,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Print dead letters, the newest last; with --json one object a line, decoded and as bytes.

    The database has them for longer than the topic (EVERWATCH_KEEP_DEAD_LETTERS_DAYS), answers without reading all of
    it, and is a moment behind. It holds the first 4 KiB of key and value, without secrets and not as bytes. With
    --follow or --secrets the topic is read.

    Examples: `everwatch dead-letters list --since 1h --source signups` ·
    `everwatch dead-letters list --follow --json | jq .reason`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    wanted, topics, history = Wanted(source, user, reason, code), Topics.of(settings), History(Topics.of(settings))
    if _is_from_database(settings, from_, needs_topic=follow or secrets):
        with database(settings) as reader:
            which, when = wanted.selection(settings.topic_prefix), When(_since_ms(since))
            found_there = reader.dead_letters(which, when=when, after=after, limit=limit)
        for stored in reversed(found_there):
            print_stored(stored, as_json)
        say_next(found_there.next)
        if not found_there and not as_json:
            typer.echo("no such dead letters")
        return
    refuse_cursor_of_topic(after, OutputSource.TOPIC, follow=follow)
    newest: deque[DeadLetter] = deque(maxlen=limit)
    with closing(_opened(settings, since)) as topic:
        for found in topic.read():
            if isinstance(found, Redriven):
                history.note(found)
            elif wanted.takes(found, settings.topic_prefix):
                newest.append(found)
        # partitions are read side by side
        for letter in sorted(newest, key=lambda each: each.refused_at):
            print_line(letter, history, topics, as_json, secrets)
        if follow:
            for found in topic.read(follow=True):
                if isinstance(found, DeadLetter) and wanted.takes(found, settings.topic_prefix):
                    print_line(found, history, topics, as_json, secrets)
    if not newest and not as_json:
        typer.echo("no such dead letters")


@app.command()
def show(
    letter: Annotated[str, typer.Argument(metavar="LETTER", help=LETTER.capitalize() + ".", show_default=False)],
    secrets: ShowSecrets = False,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter decoded, with the wrong field marked.

    Example: `everwatch dead-letters show 3/1042`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    topics = Topics.of(settings)
    [(partition, offset)] = _places([letter])
    with closing(_opened(settings, None)) as topic:
        found = topic.one(SourcePosition(topics.dead_letters, partition, offset))
    if not isinstance(found, DeadLetter):
        raise EverwatchError(f"There is no dead letter {letter}: give {LETTER}.")
    if as_json:
        typer.echo(orjson.dumps(plain(found, None, topics, secrets)).decode())
        return
    for name, text in facts(found):
        typer.echo(f"{name:<9} {text}")
    typer.echo("")
    content = content_of(found, topics, secrets)
    if content.problem:
        typer.secho(f"({content.encoding}: {content.problem})", fg=typer.colors.YELLOW)
    if content.encoding not in ("json", "avro") or content.problem:
        typer.echo("(no value)" if content.value is None else content.value)
        return
    for line in shown(content.value, found.path, found.reason):
        mark = typer.style(f"   <-- {line.mark}", fg=typer.colors.RED) if line.mark else ""
        typer.echo(line.text + mark)


@app.command()
def count(
    source: FromSource = "",
    user: OfUser = "",
    reason: WithReason = "",
    code: WithCode = "",
    since: Since = None,
    from_: FromOption = None,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Count dead letters by source and reason, the most frequent first; what reasons quote is left out.

    The database has them for longer than the topic (EVERWATCH_KEEP_DEAD_LETTERS_DAYS), and is a moment behind.

    Examples: `everwatch dead-letters count` · `everwatch dead-letters count --since 24h --json | jq .[0]`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    wanted = Wanted(source, user, reason, code)
    if _is_from_database(settings, from_):
        with database(settings) as reader:
            counts = reader.count_letters(wanted.selection(settings.topic_prefix), when=When(_since_ms(since)))
    else:
        counts = _counted(settings, wanted, since)
    if as_json:
        told = [
            {"source": source, "code": code, "reason": reason, "count": number, "newest": newest}
            for source, code, reason, number, newest in counts
        ]
        typer.echo(orjson.dumps(told).decode())
        return
    for where, _, why, many, last in counts:
        typer.echo(f"{many:>8}  {where or '?':<12}  {why}  (newest {time_text(last)})")
    if not counts:
        typer.echo("no such dead letters")


@app.command()
def redrive(
    letters: Annotated[
        list[str] | None, typer.Argument(metavar="[LETTER]...", help=LETTER.capitalize() + ".", show_default=False)
    ] = None,
    source: FromSource = "",
    user: OfUser = "",
    reason: WithReason = "",
    code: WithCode = "",
    since: Since = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also those that were redriven before, or were refused after a redrive.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing, and say what would be sent.")] = False,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters back to the topic and partition that they came from, as they were, once the cause is mended.

    The original bytes and timestamp are sent with a header `redriven_from`. One that was redriven before is left out,
    so is one that was refused after a redrive (see --again), and one that was kept in part only. Exit status 1 if some
    of those that were named cannot be redriven.

    Examples: `everwatch dead-letters redrive --code unknown_plan --dry-run` · `everwatch dead-letters redrive 3/1042`
    """
    if not (letters or source or user or reason or code or since or everything):
        raise SettingsError("Say which dead letters: LETTER, a filter such as --code unknown_plan, or --all.")
    settings = settings_of(data_dir, bootstrap_servers)
    wanted = Wanted(source, user, reason, code, frozenset(_places(letters or [])))
    topics = Topics.of(settings)
    history, chosen = History(topics), set[SourcePosition]()
    since_ms = _since_ms(since)
    with closing(DeadLetterTopic(settings, clients_of(settings), SystemClock())) as topic:
        # notes may be older than the letters that are meant
        for found in topic.read():
            if isinstance(found, Redriven):
                history.note(found)
            elif found.refused_at >= since_ms and wanted.takes(found, settings.topic_prefix):
                chosen.add(found.place)
    missing = wanted.places - {(place.partition, place.offset) for place in chosen}
    for partition, offset in sorted(missing):
        typer.echo(f"{partition}/{offset}: there is no such dead letter.", err=True)
    sent = refused = 0
    with closing(DeadLetterTopic(settings, clients_of(settings), SystemClock())) as topic:
        redriver = None if dry_run else Redriver(clients_of(settings).producer(), topics, SystemClock())
        for some in _chunks(each for each in topic.read() if isinstance(each, DeadLetter) and each.place in chosen):
            right: list[DeadLetter] = []
            for each in some:
                objection = history.objection(each, again=again)
                if not objection:
                    right.append(each)
                    continue
                refused += 1
                _say_redrive(each, None, objection, as_json)
            places = {done.letter.place: done.to for done in redriver.send(right)} if redriver else {}
            for each in right:
                _say_redrive(each, places.get(each.place), "", as_json)
            sent += len(right)
    if not as_json:
        typer.echo(f"{'would send' if dry_run else 'sent'} {sent}, left out {refused}")
    if missing or (wanted.places and refused):
        raise typer.Exit(1)


def _is_from_database(settings: Settings, source: OutputSource | None, *, needs_topic: bool = False) -> bool:
    """Tell whether to read the database. Raises SettingsError if it does not hold what is asked for."""
    if source is OutputSource.DATABASE and needs_topic:
        raise SettingsError("--follow and --secrets read the topic: leave --from database away.")
    return source is OutputSource.DATABASE or (source is None and not needs_topic and has_database(settings))


def _counted(settings: Settings, wanted: Wanted, since: str | None) -> list[LetterCount]:
    counts: dict[tuple[str, str, str], list[int]] = {}
    with closing(_opened(settings, since)) as topic:
        for found in topic.read():
            if isinstance(found, DeadLetter) and wanted.takes(found, settings.topic_prefix):
                kind = found.source.topic if found.source else "", found.code, alike(found.reason)
                number = counts.setdefault(kind, [0, 0])
                number[0] += 1
                number[1] = max(number[1], found.refused_at)
    counted = (LetterCount(*kind, *number) for kind, number in counts.items())
    return sorted(counted, key=lambda each: (-each.letters, *each))


def _opened(settings: Settings, since: str | None) -> DeadLetterTopic:
    return DeadLetterTopic(settings, clients_of(settings), SystemClock(), _since_ms(since))


def _since_ms(since: str | None) -> int:
    return 0 if since is None else instant_of("--since", since, SystemClock().now_ms(), Bare.PAST)


def _places(letters: list[str]) -> list[tuple[int, int]]:
    found = []
    for letter in letters:
        place = place_of(f"-/{letter}")
        if place is None or place.topic != "-":
            raise SettingsError(f"{letter!r} names no dead letter: give {LETTER}.")
        found.append((place.partition, place.offset))
    return found


def _chunks(letters: Iterator[DeadLetter]) -> Iterator[list[DeadLetter]]:
    some: list[DeadLetter] = []
    for letter in letters:
        some.append(letter)
        if len(some) == _AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def _say_redrive(letter: DeadLetter, to: SourcePosition | None, objection: str, as_json: bool) -> None:
    place = f"{letter.place.partition}/{letter.place.offset}"
    if as_json:
        told = {"letter": place, "to": str(to) if to else None, "left_out": objection or None}
        typer.echo(orjson.dumps(told).decode())
    elif objection:
        typer.echo(f"{place}: not redriven: {objection}", err=True)
    else:
        where = str(to) if to else f"{letter.source.topic}/{letter.source.partition}" if letter.source else "?"
        typer.echo(f"{place} -> {where}")
