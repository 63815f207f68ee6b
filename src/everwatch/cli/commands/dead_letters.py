"""``everwatch dead-letters``: refused records, decoded for people, and sent back once the cause is mended."""

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from typing import Annotated, NamedTuple

import orjson
import typer

from everwatch.cli.support.api_refusals import not_by_api
from everwatch.cli.support.database_reading import AfterOption, has_database, reading, say_next
from everwatch.cli.support.dead_letter_output import (
    RedriveLine,
    facts,
    print_content,
    print_line,
    print_stored,
)
from everwatch.cli.support.dead_letters_by_api import (
    follow_by_api,
    list_originals_by_api,
    redrive_by_api,
    show_by_api,
)
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import (
    AsJson,
    Bootstrap,
    CommonOptions,
    DataDir,
    ShowSecrets,
    clients_of,
    instant_of,
    settings_of,
)
from everwatch.cli.support.output_reading import FollowOption, OutputSource, refuse_cursor_of_topic
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.time_display import time_text
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.kafka.dead_letter_reader import DeadLetterTopic
from everwatch.kafka.dead_letter_record import DeadLetter, Redriven, SourcePosition, alike, place_of
from everwatch.kafka.redrive import History, Redriver
from everwatch.kafka.topics import Topics
from everwatch.operations.dead_letter_view import content_of, plain, plain_stored
from everwatch.operations.redriving import ChosenLetters, Wanted
from everwatch.schedule.instant import Bare
from everwatch.store.letters import LetterCount, StoredLetter
from everwatch.store.selections import When

app = typer.Typer(no_args_is_help=True, help="List, show, count and redrive refused records.")

Since = Annotated[
    str | None,
    typer.Option("--since", help="Only those since INSTANT, or a duration ago, e.g. 1h.", show_default=False),
]
FromSource = Annotated[str, typer.Option("--source", metavar="TOPIC", help="Only those from this topic.")]
OfUser = Annotated[str, typer.Option("--user", help="Only those whose key is this user's.")]
WithReason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Only those whose reason has this text.")]
WithCode = Annotated[str, typer.Option("--code", help="Only those with this code, e.g. unknown_plan.")]
FromOption = Annotated[
    OutputSource | None,
    typer.Option("--from", help="Where to read. Without it: the database if there is one.", show_default=False),
]


class LetterFilter(NamedTuple):
    """Options that choose dead letters."""

    source: FromSource = ""
    user: OfUser = ""
    reason: WithReason = ""
    code: WithCode = ""
    since: Since = None

    def wanted(self, places: frozenset[tuple[int, int]] = frozenset()) -> Wanted:
        """Return what these options choose, but for the time; ``places``: and only those."""
        return Wanted(self.source, self.user, self.reason, self.code, places)


class LetterPage(NamedTuple):
    """Options of how much of the list is printed."""

    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Maximum number, the newest first.")] = 20
    after: AfterOption = ""


LETTER = "the PARTITION/OFFSET that 'dead-letters list' prints"


@app.command("list")
@with_options(chosen=LetterFilter, page=LetterPage, common=CommonOptions)
def list_(
    chosen: LetterFilter,
    page: LetterPage,
    follow: FollowOption = False,
    secrets: ShowSecrets = False,
    from_: FromOption = None,
    *,
    common: CommonOptions,
) -> None:
    """Print dead letters, the newest last; with --json one object a line, decoded and as bytes.

    The database has them for longer than the topic (EVERWATCH_KEEP_DEAD_LETTERS_DAYS), answers without reading all of
    it, and is a moment behind. It holds the first 4 KiB of key and value, without secrets and not as bytes. With
    --follow or --secrets the topic is read; with --follow through the API, the database is read repeatedly.

    Examples: `everwatch dead-letters list --since 1h --source signups` ·
    `everwatch dead-letters list --follow --json | jq .reason`
    """
    settings, as_json = settings_of(common.data_dir, common.bootstrap_servers), common.as_json
    wanted, topics, history = chosen.wanted(), Topics.of(settings), History(Topics.of(settings))
    if settings.api_url and follow and not secrets and from_ is not OutputSource.TOPIC:
        refuse_cursor_of_topic(page.after, OutputSource.TOPIC, follow=follow)
        follow_by_api(settings, wanted.selection(settings.topic_prefix), _since_ms(chosen.since), page.limit, as_json)
        return
    if settings.api_url and secrets and not follow and from_ is None:
        which = wanted.selection(settings.topic_prefix)
        list_originals_by_api(settings, which, _since_ms(chosen.since), page.after, page.limit, as_json)
        return
    if _is_from_database(settings, from_, needs_topic=follow or secrets):
        with reading(settings) as reader:
            which, when = wanted.selection(settings.topic_prefix), When(_since_ms(chosen.since))
            found_there = reader.dead_letters(which, when=when, after=page.after, limit=page.limit)
        for stored in reversed(found_there):
            print_stored(plain_stored(stored) if isinstance(stored, StoredLetter) else stored, as_json)
        say_next(found_there.next)
        if not found_there and not as_json:
            typer.echo("no such dead letters")
        return
    refuse_cursor_of_topic(page.after, OutputSource.TOPIC, follow=follow)
    newest: deque[DeadLetter] = deque(maxlen=page.limit)
    with closing(_opened(settings, chosen.since)) as topic:
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
    if settings.api_url:
        show_by_api(settings, partition, offset, as_json, secrets=secrets)
        return
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
    print_content(content_of(found, topics, secrets), found.path, found.reason)


@app.command()
@with_options(chosen=LetterFilter, common=CommonOptions)
def count(chosen: LetterFilter, from_: FromOption = None, *, common: CommonOptions) -> None:
    """Count dead letters by source and reason, the most frequent first; what reasons quote is left out.

    The database has them for longer than the topic (EVERWATCH_KEEP_DEAD_LETTERS_DAYS), and is a moment behind.

    Examples: `everwatch dead-letters count` · `everwatch dead-letters count --since 24h --json | jq .[0]`
    """
    settings = settings_of(common.data_dir, common.bootstrap_servers)
    wanted = chosen.wanted()
    if _is_from_database(settings, from_):
        with reading(settings) as reader:
            counts = reader.count_letters(wanted.selection(settings.topic_prefix), when=When(_since_ms(chosen.since)))
    else:
        counts = _counted(settings, wanted, chosen.since)
    if common.as_json:
        rows = [
            {"source": source, "code": code, "reason": reason, "count": number, "newest": newest}
            for source, code, reason, number, newest in counts
        ]
        typer.echo(orjson.dumps(rows).decode())
        return
    for where, _, why, many, last in counts:
        typer.echo(f"{many:>8}  {where or '?':<12}  {why}  (newest {time_text(last)})")
    if not counts:
        typer.echo("no such dead letters")


@app.command()
@with_options(chosen=LetterFilter, common=CommonOptions)
def redrive(
    letters: Annotated[
        list[str] | None, typer.Argument(metavar="[LETTER]...", help=LETTER.capitalize() + ".", show_default=False)
    ] = None,
    *,
    chosen: LetterFilter,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also those that were redriven before, or were refused after a redrive.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; print what would be sent.")] = False,
    common: CommonOptions,
) -> None:
    """Send dead letters back to the topic and partition that they came from, as they were, once the cause is mended.

    The original bytes and timestamp are sent with a header `redriven_from`. One that was redriven before is left out,
    so is one that was refused after a redrive (see --again), and one that was kept in part only. Exit status 1 if some
    of those that were named cannot be redriven.

    Examples: `everwatch dead-letters redrive --code unknown_plan --dry-run` · `everwatch dead-letters redrive 3/1042`
    """
    if not (letters or any(chosen) or everything):
        raise SettingsError("Say which dead letters: LETTER, a filter such as --code unknown_plan, or --all.")
    settings, as_json = settings_of(common.data_dir, common.bootstrap_servers), common.as_json
    wanted, since_ms = chosen.wanted(frozenset(_places(letters or []))), _since_ms(chosen.since)
    send = redrive_by_api if settings.api_url else _redriven
    sent = left_out = missing = 0
    for each in send(settings, wanted, since_ms, again=again, dry_run=dry_run):
        if not each.place_is_known:
            missing += 1
            typer.echo(f"{each.letter}: there is no such dead letter.", err=True)
            continue
        sent, left_out = sent + (not each.left_out), left_out + bool(each.left_out)
        _print_redriven(each, as_json)
    if not as_json:
        typer.echo(f"{'would send' if dry_run else 'sent'} {sent}, left out {left_out}")
    if missing or (wanted.places and left_out):
        raise typer.Exit(1)


def _redriven(
    settings: Settings, wanted: Wanted, since_ms: int, *, again: bool, dry_run: bool
) -> Iterator[RedriveLine]:
    clients, topics = clients_of(settings), Topics.of(settings)
    chosen = ChosenLetters(
        lambda: DeadLetterTopic(settings, clients, SystemClock()),
        topics,
        settings.topic_prefix,
        wanted,
        since_ms=since_ms,
    )
    for partition, offset in chosen.missing:
        yield RedriveLine(f"{partition}/{offset}", place_is_known=False)
    sender = None if dry_run else Redriver(clients.producer(), topics, SystemClock())
    for each in chosen.attempts(sender, again=again):
        source = each.letter.source
        where = str(each.to) if each.to else f"{source.topic}/{source.partition}" if source else "?"
        place = each.letter.place
        yield RedriveLine(f"{place.partition}/{place.offset}", where, str(each.to) if each.to else "", each.objection)


def _is_from_database(settings: Settings, source: OutputSource | None, *, needs_topic: bool = False) -> bool:
    """Tell whether to read the database. Raises SettingsError if the database cannot answer."""
    if source is OutputSource.DATABASE and needs_topic:
        raise SettingsError("--follow and --secrets read the topic: omit --from database.")
    if settings.api_url:
        if needs_topic or source is OutputSource.TOPIC:
            raise not_by_api("What reads all of the topic (--from topic, --follow --secrets)", "it has the database")
        return True
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
    return 0 if since is None else instant_of("--since", since, now_ms(), Bare.PAST)


def _places(letters: list[str]) -> list[tuple[int, int]]:
    found = []
    for letter in letters:
        place = place_of(f"-/{letter}")
        if place is None or place.topic != "-":
            raise SettingsError(f"{letter!r} names no dead letter: give {LETTER}.")
        found.append((place.partition, place.offset))
    return found


def _print_redriven(told: RedriveLine, as_json: bool) -> None:
    if as_json:
        said = {"letter": told.letter, "to": told.to or None, "left_out": told.left_out or None}
        typer.echo(orjson.dumps(said).decode())
    elif told.left_out:
        typer.echo(f"{told.letter}: not redriven: {told.left_out}", err=True)
    else:
        typer.echo(f"{told.letter} -> {told.where}")
