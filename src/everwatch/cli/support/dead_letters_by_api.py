"""Dead letters through the HTTP API: one shown, and some sent back."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import orjson
import typer

from everwatch.cli.support.database_reading import say_next
from everwatch.cli.support.dead_letter_output import RedriveLine, print_content, print_stored
from everwatch.cli.support.run_parts import run_parts
from everwatch.cli.support.time_display import time_text
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError
from everwatch.kafka.dead_letter_content import Decoded
from everwatch.operations.redriving import Wanted
from everwatch.store.letters import LetterSelection
from everwatch.store.selections import When

if TYPE_CHECKING:
    from everwatch.api.state_views import LetterView

LATE_MS = 60_000
MOST_AT_ONCE = 2_000


def show_by_api(settings: Settings, partition: int, offset: int, as_json: bool, *, secrets: bool = False) -> None:
    """Print a dead letter as the database has it: the first 4 KiB, without secrets. Raises ApiError.

    ``secrets``: as its topic has it, whole and with its secrets.
    """
    from everwatch.cli.support.api_connection import api_client
    from everwatch.client import ApiError

    with api_client(settings) as client:
        try:
            found = (client.dead_letter_original if secrets else client.dead_letter)(partition, offset)
        except ApiError as error:
            if error.status != 404:
                raise
            where = "topic" if secrets else "database"
            raise EverwatchError(f"The {where} holds no dead letter {partition}/{offset}.") from None
    if as_json:
        typer.echo(orjson.dumps(msgspec.to_builtins(found)).decode())
        return
    for name, text in _facts(found):
        typer.echo(f"{name:<9} {text}")
    typer.echo("")
    print_content(Decoded(found.encoding, found.value, found.problem), found.path, found.reason)


def list_originals_by_api(
    settings: Settings, which: LetterSelection, since_ms: int, after: str, limit: int, as_json: bool
) -> None:
    """Print dead letters as their topic has them, with secrets; those that are in the database alone, as it has them.

    Raises ApiError.
    """
    from everwatch.cli.support.api_connection import api_client
    from everwatch.cli.support.api_reading import ApiReader
    from everwatch.client import ApiError

    with api_client(settings) as client:
        found = ApiReader(client).dead_letters(which, when=When(since_ms), after=after, limit=limit)
        for each in reversed(found):
            try:
                original = client.dead_letter_original(*map(int, each["letter"].split("/")))
            except ApiError as error:
                if error.status != 404:
                    raise
                print_stored(each, as_json)
                continue
            redriven = {name: each[name] for name in ("redriven_at", "redriven_to")}
            print_stored(msgspec.to_builtins(original) | redriven, as_json)
    say_next(found.next)
    if not found and not as_json:
        typer.echo("no such dead letters")


def follow_by_api(settings: Settings, which: LetterSelection, since_ms: int, limit: int, as_json: bool) -> None:
    """Print the newest dead letters, and each new one once the database has it, until interrupted. Raises ApiError."""
    from everwatch.cli.support.api_reading import api_reader

    stop, seen, most = run_parts().new_stop(), dict[str, int](), limit
    with api_reader(settings) as reader:
        while True:
            found = reader.dead_letters(which, when=When(since_ms), limit=max(limit, MOST_AT_ONCE))
            new = [each for each in found if each["letter"] not in seen]
            for each in reversed(new[:most]):
                print_stored(each, as_json)
            seen |= {each["letter"]: each["refused_at"] for each in new}
            # processes' clocks differ, and partitions are stored side by side: an older one may come later
            since_ms = max(since_ms, max(seen.values(), default=0) - LATE_MS)
            seen = {letter: at for letter, at in seen.items() if at >= since_ms}
            most = MOST_AT_ONCE
            if stop.wait(run_parts().look_again_s):
                return


def redrive_by_api(
    settings: Settings, wanted: Wanted, since_ms: int, *, again: bool, dry_run: bool
) -> Iterator[RedriveLine]:
    """Send dead letters back through the API; gives the outcome of each. Raises ApiError."""
    from everwatch.api.bodies import RedriveBody
    from everwatch.cli.support.api_connection import api_client

    body = RedriveBody(
        letters=[f"{partition}/{offset}" for partition, offset in sorted(wanted.places)],
        source=wanted.source,
        user=wanted.user,
        reason=wanted.reason,
        code=wanted.code,
        since=since_ms,
        everything=wanted == Wanted() and not since_ms,
        again=again,
        dry_run=dry_run,
    )
    with api_client(settings) as client:
        told = client.redrive(body)
    for letter in told.missing:
        yield RedriveLine(letter, place_is_known=False)
    for each in told.items:
        yield RedriveLine(each.letter, each.to or each.source or "?", each.to or "", each.left_out or "")
    if told.truncated:
        typer.echo(f"There are more than the {len(told.items)} that one request sends: do it again.", err=True)


def _facts(letter: "LetterView") -> Iterator[tuple[str, str]]:
    yield "letter", letter.letter
    yield "refused", time_text(letter.refused_at) + (f" by a {letter.refused_by}" if letter.refused_by else "")
    known = letter.source_topic is not None
    yield "from", f"{letter.source_topic}/{letter.source_partition}/{letter.source_offset}" if known else "not known"
    if letter.source_timestamp:
        yield "produced", time_text(letter.source_timestamp)
    yield "key", letter.key
    yield "reason", letter.reason + (f" (at {letter.path})" if letter.path else "")
    if letter.code:
        yield "code", letter.code
    if letter.redriven_at:
        yield "redriven", f"{time_text(letter.redriven_at)} to {letter.redriven_to}"
    for part in letter.cut:
        yield "cut", f"the {part} is not kept whole"
