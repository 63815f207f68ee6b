"""Dead letters as they are printed: a line each, all that is known of one, JSON."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson
import typer

from everwatch.cli.support.time_display import time_text
from everwatch.encoding.editable_records import AVRO, CONFLUENT, JSON
from everwatch.kafka.dead_letter_content import Decoded
from everwatch.kafka.dead_letter_record import DeadLetter
from everwatch.kafka.redrive import History
from everwatch.kafka.topics import Topics
from everwatch.operations.dead_letter_view import plain, shown


class RedriveLine(NamedTuple):
    """Print the outcome of one dead letter's redrive: where it is now, or would go, or why it was left out.

    ``place_is_known``: the topic holds such a letter.
    """

    letter: str
    where: str = ""
    to: str = ""
    left_out: str = ""
    place_is_known: bool = True


def print_content(content: Decoded, path: str, reason: str) -> None:
    """Print what a dead letter holds, with the wrong field marked."""
    if content.problem:
        typer.secho(f"({content.encoding}: {content.problem})", fg=typer.colors.YELLOW)
    if content.encoding not in (JSON, AVRO, CONFLUENT) or content.problem:
        typer.echo("(no value)" if content.value is None else content.value)
        return
    for line in shown(content.value, path, reason):
        mark = typer.style(f"   <-- {line.mark}", fg=typer.colors.RED) if line.mark else ""
        typer.echo(line.text + mark)


def facts(letter: DeadLetter) -> Iterator[tuple[str, str]]:
    """Names and texts of the fields of a dead letter, but for its value."""
    yield "letter", f"{letter.place.partition}/{letter.place.offset}"
    yield "refused", time_text(letter.refused_at) + (f" by a {letter.refused_by}" if letter.refused_by else "")
    yield "from", f"{letter.source}" if letter.source else "not known"
    if letter.source_ms:
        yield "produced", time_text(letter.source_ms)
    yield "key", letter.user_id
    yield "reason", letter.reason + (f" (at {letter.path})" if letter.path else "")
    if letter.code:
        yield "code", letter.code
    for part in letter.cut:
        kept = len((letter.key if part == "key" else letter.value) or b"")
        yield "cut", f"{kept} of {letter.lengths.get(part) or '?'} bytes of the {part} are kept"


def print_stored(letter: Mapping[str, Any], as_json: bool) -> None:
    """Print a dead letter of the database, as ``plain_stored`` says it, as one line."""
    if as_json:
        typer.echo(orjson.dumps(letter).decode())
        return
    what = (letter["source_topic"] or "?", letter["key"] or "-", letter["reason"], letter["path"])
    _echo(letter["refused_at"], letter["letter"], what, letter["redriven_at"] or 0)


def print_line(letter: DeadLetter, history: History, topics: Topics, as_json: bool, secrets: bool) -> None:
    """Print a dead letter as one line."""
    redriven = history.redriven(letter.place)
    if as_json:
        typer.echo(orjson.dumps(plain(letter, redriven, topics, secrets), default=str).decode())
        return
    place = f"{letter.place.partition}/{letter.place.offset}"
    what = (letter.source.topic if letter.source else "?", letter.user_id or "-", letter.reason, letter.path)
    _echo(letter.refused_at, place, what, redriven.at if redriven else 0)


def _echo(refused_at: int, place: str, refused: tuple[str, str, str, str], redriven_at: int) -> None:
    """Print one line. ``refused``: topic, user or key, reason and path."""
    source, who, reason, path = refused
    at_path = f" (at {path})" if path else ""
    since = f"  [redriven {time_text(redriven_at)}]" if redriven_at else ""
    typer.echo(f"{time_text(refused_at)}  {place:<8} {source:<10} {who}  {reason}{at_path}{since}")
