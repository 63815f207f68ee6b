"""Characters that nobody sees: refused in ids, and never written raw to a terminal."""

import io
import json
import re
import sys
import unicodedata
from contextlib import redirect_stderr, redirect_stdout

import pytest
import typer
from rich.console import Console

from everwatch.cli.main import main
from everwatch.cli.support.terminal_output import SafeOutput, TerminalBytes
from everwatch.core.clock import SystemClock
from everwatch.core.errors import InvalidInput
from everwatch.core.printable import HIDDEN, printable
from everwatch.encoding.input_models import SignalInput, parse_json
from everwatch.kinds.execution.kind_runner import Job, run_job
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.model import Outcome, Status, Tick
from everwatch.network.guard import Guard

IGNORABLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180f\u3164\ufe0f\uffa0\U000e0100"
EVIL = "\x1b]0;title\x07\x9b2J\x85\u202e\u2066\u200b\u200d\ufeff\u2028\U000e0041"


def is_hidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def test_every_control_and_format_character_of_unicode_is_refused_and_no_letter_is() -> None:
    refused = re.compile(f"[{HIDDEN}]")
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if is_hidden(character) or character in IGNORABLE:
            assert refused.match(character), hex(number)
        elif refused.match(character):  # ranges that Unicode keeps for characters to be ignored, and their like
            assert unicodedata.category(character) in ("Cn", "Mn"), hex(number)


@pytest.mark.parametrize("name", ["straße", "κλάρα", "山田", "भारत", "a b", "é", "🦆", "ﷺ"])
def test_ids_may_have_any_letters(name: str) -> None:
    given = parse_json(json.dumps({"user_id": name, "monitor_id": name}).encode(), SignalInput)
    assert given.user_id == name


@pytest.mark.parametrize("character", [*EVIL, *IGNORABLE])
def test_no_id_has_a_character_that_cannot_be_seen(character: str) -> None:
    if not is_hidden(character) and character not in IGNORABLE:
        return
    for field in ("user_id", "monitor_id"):
        given = {"user_id": "u", "monitor_id": "m"} | {field: f"a{character}"}
        with pytest.raises(InvalidInput, match="invisible"):
            parse_json(json.dumps(given).encode(), SignalInput)


def test_what_is_escaped_in_json_still_means_the_same() -> None:
    text = json.dumps({"a": EVIL}, ensure_ascii=False)
    assert printable(text) != text
    assert json.loads(printable(text)) == {"a": EVIL}


def test_commands_write_no_raw_control_or_direction_character() -> None:
    raw = io.BytesIO()

    def app() -> None:
        assert isinstance(sys.stdout, SafeOutput)
        typer.echo(f"line one {EVIL}\n\tline two")
        typer.echo(typer.style("red", fg="red"), color=True)
        Console(force_terminal=True).print(f"[bold]rich[/] {EVIL}", highlight=False)
        sys.stdout.write(f"written {EVIL}")

    # main() replaces both
    with redirect_stdout(io.TextIOWrapper(raw, "utf-8")), redirect_stderr(sys.stderr):
        main(app)
        sys.stdout.flush()
    written = raw.getvalue().decode()
    assert "\tline two\n" in written
    assert "\x1b[31mred\x1b[0m" in written
    assert "\\u202e" in written
    rest = written.replace("\x1b[31m", "").replace("\x1b[0m", "").replace("\x1b[1m", "")
    assert [character for character in rest if is_hidden(character) and character not in "\n\t"] == []


def test_bytes_for_a_terminal_are_escaped_wherever_they_are_cut() -> None:
    text = io.StringIO()
    text.write = lambda said: io.StringIO.write(text, printable(said))  # type: ignore[method-assign]
    stream = TerminalBytes(text)
    for byte in "a\u202eb\xff".encode():
        stream.write(bytes([byte]))
    assert text.getvalue() == "a\\u202ebÿ"


async def test_no_result_carries_what_moves_a_cursor() -> None:
    class Kind:
        name, inline = "evil", False

        async def run(self, config: object, tick: Tick, context: object) -> Outcome:
            return Outcome(Status.SUCCESS, f"done {EVIL}", {}, EVIL)

    tick = Tick("u", "m", 0, "evil", "{}", 1_000, 1, 0)
    async with open_run_context(SystemClock(), Guard()) as context:
        outcome = await run_job(Job(Kind()), tick, context, lambda _: None)  # type: ignore[arg-type]
    assert not any(map(is_hidden, outcome.reason + outcome.detail))
