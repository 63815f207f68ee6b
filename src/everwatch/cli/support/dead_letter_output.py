"""Dead letters as they are printed: a line each, all that is known of one, JSON."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson
import typer

from everwatch.cli.support.time_display import time_text
from everwatch.encoding.editable_records import AVRO, CONFLUENT, JSON
from everwatch.kafka.dead_letter_content import Decoded, decoded, schema_of, without_secrets
from everwatch.kafka.dead_letter_record import DeadLetter, Redriven
from everwatch.kafka.redrive import History
from everwatch.kafka.topics import Topics
from everwatch.operations.dead_letter_view import shown


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


def content_of(letter: DeadLetter, topics: Topics, secrets: bool) -> Decoded:
    """Return a dead letter's value, decoded; without ``secrets`` those in configs are redacted."""
    name = _schema_of(letter, topics)
    content = decoded(name, letter.value)
    return content if secrets else without_secrets(name, content)


def plain(letter: DeadLetter, redriven: Redriven | None, topics: Topics, secrets: bool) -> dict[str, Any]:
    """A dead letter for ``orjson.dumps``, its value decoded and, unless something in it is redacted, as it was."""
    content = content_of(letter, topics, secrets)
    is_whole = secrets or content == decoded(_schema_of(letter, topics), letter.value)
    source = letter.source
    return {
        "letter": f"{letter.place.partition}/{letter.place.offset}",
        "refused_at": letter.refused_at,
        "refused_by": letter.refused_by,
        "reason": letter.reason,
        "path": letter.path,
        "code": letter.code,
        "source_topic": source.topic if source else None,
        "source_partition": source.partition if source else None,
        "source_offset": source.offset if source else None,
        "source_timestamp": letter.source_ms or None,
        "key": letter.user_id,
        "encoding": content.encoding,
        "problem": content.problem,
        "value": content.value,
        "value_base64": None if letter.value is None or not is_whole else base64.b64encode(letter.value).decode(),
        "cut": list(letter.cut),
        "redriven_at": redriven.at if redriven else None,
        "redriven_to": str(redriven.to) if redriven and redriven.to else None,
    }


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


def _schema_of(letter: DeadLetter, topics: Topics) -> str:
    return schema_of(letter.source.topic, topics) if letter.source else ""
