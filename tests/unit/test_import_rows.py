"""Rows of CSV, JSON lines and SQL: which events they are, and what is told of those that are none."""

import datetime
import gzip
import io
import sqlite3
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import psutil
import pytest

from everwatch.core.errors import SettingsError
from everwatch.encoding.codec import LARGEST_INPUT_BYTES
from everwatch.transfer.import_rows import Columns, Row, RowReading
from everwatch.transfer.query_source import QuerySource
from everwatch.transfer.row_files import FileSource, Format, format_of

AS_IT_IS = RowReading()


def table(folder: Path, text: str | bytes, reading: RowReading = AS_IT_IS, **how: Any) -> list[Row]:
    file = folder / "users.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(FileSource(str(file), Format.CSV, reading, **how).rows())


def lines(folder: Path, *given: Any, reading: RowReading = AS_IT_IS) -> list[Row]:
    file = folder / "users.jsonl"
    file.write_bytes(b"\n".join(each if isinstance(each, bytes) else orjson.dumps(each) for each in given))
    return list(FileSource(str(file), Format.JSONL, reading).rows())


def said(row: Row) -> dict[str, Any]:
    assert not row.problem, row
    value: dict[str, Any] = orjson.loads(row.value)
    return value


# --- CSV --------------------------------------------------------------------------------------------------------------


def test_columns_become_a_signup_and_every_other_column_an_attribute(tmp_path: Path) -> None:
    [row] = table(
        tmp_path,
        "user_id,plan,attributes,attributes.site,age,monitors,maintenance\n"
        'u-1,pro,"{""vip"":true}",shop.example,,"[{""kind"":""noop""}]",[]\n',
    )
    assert row[:3] == (2, "u-1", "")
    assert said(row) == {
        "user_id": "u-1",
        "plan": "pro",
        "attributes": {"vip": True, "site": "shop.example"},
        "monitors": [{"kind": "noop"}],
        "maintenance": [],
    }


def test_a_row_with_a_monitor_is_a_put_by_command(tmp_path: Path) -> None:
    first, second, wrong = table(
        tmp_path,
        'user_id,site,monitor\nu-1,,"{""monitor_id"":""m"",""kind"":""noop""}"\nu-1,x,\nu-1,x,{}\n',
    )
    assert (first.monitor_id, second.monitor_id) == ("m", "")
    put = {"command": "put", "user_id": "u-1", "monitor": {"monitor_id": "m", "kind": "noop"}}
    assert said(first) == put
    assert said(second) == {"user_id": "u-1", "attributes": {"site": "x"}}
    assert wrong.problem == "a row with a monitor holds nothing else but its user_id (at $.attributes.site)"


def test_columns_are_renamed_and_left_out_and_users_who_name_none_get_the_plan_and_monitors(tmp_path: Path) -> None:
    reading = RowReading(
        {"id": "user_id", "ref": "attributes.plan"}, frozenset({"secret"}), "pro", b'[{"kind":"noop"}]'
    )
    first, second = table(tmp_path, "id,ref,secret,plan\n1,a,x,\n2,,x,free\n", reading)
    monitors = [{"kind": "noop"}]
    assert said(first) == {"user_id": "1", "plan": "pro", "attributes": {"plan": "a"}, "monitors": monitors}
    assert said(second) == {"user_id": "2", "plan": "free", "monitors": monitors}


def test_quoted_cells_may_hold_lines_and_each_row_is_known_by_its_first_line(tmp_path: Path) -> None:
    rows = table(tmp_path, 'user_id,note\nu-1,"two\nlines, ""quoted"""\n\nu-2\nu-3,x\n')
    assert [row.line for row in rows] == [2, 5, 6]
    assert said(rows[0])["attributes"] == {"note": 'two\nlines, "quoted"'}
    assert rows[1].problem == "the row has 1 cells, and there are 2 columns"


def test_a_byte_order_mark_other_encodings_and_delimiters_are_read(tmp_path: Path) -> None:
    [row] = table(tmp_path, "\ufeffuser_id,name\nu-1,Žoé\n")
    assert said(row) == {"user_id": "u-1", "attributes": {"name": "Žoé"}}
    [row] = table(tmp_path, "user_id;name\r\nu-1;Zoé\r\n".encode("latin-1"), encoding="latin-1", delimiter=";")
    assert said(row)["attributes"] == {"name": "Zoé"}
    [row] = table(tmp_path, "user_id,name\nu-1,Žoé\n".encode("utf-16"), encoding="utf-16")
    assert said(row)["attributes"] == {"name": "Žoé"}


def test_a_byte_that_is_no_text_harms_only_its_row(tmp_path: Path) -> None:
    bad, good = table(tmp_path, b"user_id,name\nu-1,Zo\xe9\nu-2,Zoe\n")
    assert "not text in the encoding of the file" in bad.problem
    assert said(good)["attributes"] == {"name": "Zoe"}


def test_a_quote_that_is_never_closed_harms_no_row_before_it(tmp_path: Path) -> None:
    rows = table(tmp_path, 'user_id,note\nu-1,x\nu-2,"' + "y" * 600_000 + "\nu-3,x\n")
    assert (rows[0].user_id, rows[0].problem) == ("u-1", "")
    assert rows[1].problem.startswith("this cannot be read as CSV: field larger than field limit")


def test_json_in_a_cell_cannot_say_more_than_its_own_field(tmp_path: Path) -> None:
    [row] = table(tmp_path, 'user_id,monitors\nu-1,"[],""plan"":""gold"""\n')
    assert row.problem.startswith("not valid JSON")
    assert row.problem.endswith("(at $.monitors)")


@pytest.mark.parametrize(
    ("text", "reading", "told"),
    [
        ("id,plan\n", AS_IT_IS, "has no column user_id but id, plan: name the one that is with --map COLUMN=user_id."),
        ("", AS_IT_IS, "has no column user_id but none at all"),
        ("user_id,id\n", RowReading({"id": "user_id"}), "are user_id: leave one out with --ignore COLUMN."),
        ("user_id\n", RowReading({"ID": "plan"}), "has no column 'ID'; it has user_id."),
    ],
)
def test_a_header_that_does_not_do_is_told_in_one_sentence(
    tmp_path: Path, text: str, reading: RowReading, told: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        table(tmp_path, text, reading)
    assert told in str(caught.value)
    assert caught.value.exit_code == 2


# --- JSON lines -------------------------------------------------------------------------------------------------------


def test_a_line_is_the_signup_that_it_would_be_on_the_topic(tmp_path: Path) -> None:
    line = b' {"plan": "pro", "user_id":"u-1", "attributes": {"monitor": 1}}'
    assert lines(tmp_path, b"\xef\xbb\xbf" + line, b"", line) == [
        Row(1, "u-1", "", orjson.dumps(orjson.loads(line))),
        Row(3, "u-1", "", orjson.dumps(orjson.loads(line))),
    ]
    plain = b'{"plan":  "pro","user_id":"u-1"}'
    assert lines(tmp_path, plain)[0].value == plain


def test_a_line_that_is_too_long_is_refused_without_ever_being_held(tmp_path: Path) -> None:
    def of_length(length: int) -> bytes:
        return b'{"user_id":"u-1","plan":"' + b"x" * (length - 27) + b'"}'

    longest, too_long = of_length(LARGEST_INPUT_BYTES), of_length(LARGEST_INPUT_BYTES + 1)
    rows = lines(tmp_path, longest, too_long, longest, of_length(64 * LARGEST_INPUT_BYTES), longest, too_long)
    told = f"the line is longer than {LARGEST_INPUT_BYTES} bytes"
    assert [(row.line, len(row.value), row.problem) for row in rows] == [
        (1, LARGEST_INPUT_BYTES, ""),
        (2, 0, told),
        (3, LARGEST_INPUT_BYTES, ""),
        (4, 0, told),
        (5, LARGEST_INPUT_BYTES, ""),
        (6, 0, told),
    ]
    tracemalloc.start()
    try:
        for _ in FileSource(str(tmp_path / "users.jsonl"), Format.JSONL, AS_IT_IS).rows():
            pass
        assert tracemalloc.get_traced_memory()[1] < 8 * LARGEST_INPUT_BYTES
    finally:
        tracemalloc.stop()


def test_a_line_with_a_monitor_is_a_put_by_command(tmp_path: Path) -> None:
    rows = lines(
        tmp_path,
        {"user_id": "u-1", "monitor": {"kind": "noop"}},
        {"user_id": "u-1", "monitor": {"monitor_id": "m"}, "plan": "x"},
        {"user_id": "u-1", "monitor": 7},
    )
    assert rows[0].monitor_id == "noop"
    assert said(rows[0])["command"] == "put"
    assert rows[1].problem == "a row with a monitor holds nothing else but its user_id (at $.plan)"
    assert rows[2].monitor_id  # it is a command that admission refuses


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"plan": "x"}', "this field is missing (at $.user_id)"),
        (b'{"user_id": 1}', "(at $.user_id)"),
        (b'{"user_id": "u"', "not valid JSON"),
        (b"nonsense", "neither JSON"),
        (b'["monitor"]', "this is not an object"),
        (b'{"monitor"', "not valid JSON"),
    ],
)
def test_a_wrong_line_says_what_is_wrong(tmp_path: Path, line: bytes, told: str) -> None:
    [row] = lines(tmp_path, line)
    assert told in row.problem


def test_fields_of_a_line_are_renamed_left_out_and_filled_in(tmp_path: Path) -> None:
    reading = RowReading({"id": "user_id", "site": "attributes.site"}, frozenset({"x"}), "pro", b'[{"kind":"noop"}]')
    first, second = lines(
        tmp_path,
        {"id": "u-1", "site": "a", "x": 1},
        {"id": "u-2", "attributes": {"n": 1}, "site": "b", "plan": "free", "monitors": []},
        reading=reading,
    )
    assert said(first) == {
        "user_id": "u-1",
        "attributes": {"site": "a"},
        "plan": "pro",
        "monitors": [{"kind": "noop"}],
    }
    assert said(second) == {"user_id": "u-2", "attributes": {"n": 1, "site": "b"}, "plan": "free", "monitors": []}


def test_a_packed_file_is_read_and_one_cut_short_is_told_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "users.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"user_id":"u-1"}\n' * 1_000))
    source = FileSource(str(file), Format.JSONL, AS_IT_IS)
    assert len(list(source.rows())) == 1_000
    assert source.size == file.stat().st_size
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(SettingsError, match=r"users\.jsonl\.gz cannot be read"):
        list(source.rows())
    with pytest.raises(SettingsError, match="cannot be read: No such file or directory"):
        list(FileSource(str(tmp_path / "none"), Format.CSV, AS_IT_IS).rows())


def test_stdin_is_read_as_a_file_is() -> None:
    source = FileSource("-", Format.JSONL, AS_IT_IS, stdin=io.BytesIO(b'{"user_id":"u-1"}'))
    assert [row.user_id for row in source.rows()] == ["u-1"]
    assert (source.name, source.size) == ("stdin", 0)


def test_the_format_shows_in_the_name() -> None:
    assert format_of("a.csv") is format_of("A.CSV.gz") is Format.CSV
    assert format_of("a.jsonl.gz") is format_of("a.ndjson") is Format.JSONL
    assert format_of("users") is None


# --- SQL --------------------------------------------------------------------------------------------------------------


def rows_of(folder: Path, sql: str) -> list[Row]:
    with sqlite3.connect(folder / "app.db") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS people (id INTEGER, plan TEXT, score REAL, born DATE)")
        if not connection.execute("SELECT 1 FROM people").fetchone():
            connection.execute("INSERT INTO people VALUES (1, 'pro', 1.5, '2000-02-29'), (2, NULL, NULL, NULL)")
    connection.close()
    return list(QuerySource(f"sqlite:///{folder / 'app.db'}", sql, AS_IT_IS).rows())


def test_rows_of_a_query_keep_their_types_and_null_is_absent(tmp_path: Path) -> None:
    first, second = rows_of(tmp_path, "select id as user_id, plan, score, id as number, ':x' as colon from people")
    assert said(first) == {
        "user_id": "1",
        "plan": "pro",
        "attributes": {"score": 1.5, "number": 1, "colon": ":x"},
    }
    assert (second.line, said(second)) == (2, {"user_id": "2", "attributes": {"number": 2, "colon": ":x"}})


def test_what_a_database_gives_becomes_json() -> None:
    columns = Columns(["user_id", "a", "b", "c", "d", "monitors"], AS_IT_IS, "the query")
    when = datetime.datetime(2026, 11, 21, 9, 0, tzinfo=datetime.UTC)
    cells = [UUID(int=1), Decimal("3.50"), Decimal("7"), when, datetime.date(2026, 1, 2), [{"kind": "noop"}]]
    assert said(columns.row(1, cells)) == {
        "user_id": "00000000-0000-0000-0000-000000000001",
        "attributes": {"a": 3.5, "b": 7, "c": "2026-11-21T09:00:00+00:00", "d": "2026-01-02"},
        "monitors": [{"kind": "noop"}],
    }
    assert (
        columns.row(2, ["u", b"x", None, None, None, None]).problem
        == "a bytes cannot be kept: select it as text or as a number"
    )
    assert "no id" in columns.row(3, [1.5, None, None, None, None, None]).problem


@pytest.mark.parametrize(
    ("url", "sql", "told"),
    [
        ("://hunter2", "select 1", "is not a database URL"),
        ("nosuch://u:hunter2@h/d", "select 1", "There is no database 'nosuch'"),
        ("sqlite:///{}/none.db", "select 1", "There is no database"),
        ("sqlite:///{}/app.db", "select * from nobody", "no such table: nobody"),
        ("sqlite:///{}/app.db", "create table x (y)", "gives no rows: write a select"),
        ("sqlite:///{}/app.db", "select id from people", "has no column user_id"),
    ],
)
def test_a_database_that_does_not_do_is_told_without_its_password(
    tmp_path: Path, url: str, sql: str, told: str
) -> None:
    rows_of(tmp_path, "select id as user_id from people")
    with pytest.raises(SettingsError) as caught:
        list(QuerySource(url.format(tmp_path), sql, AS_IT_IS).rows())
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "none.db").exists()


def test_the_identity_of_a_query_holds_no_password() -> None:
    source = QuerySource("postgresql://u:hunter2@host/app", "select 1", AS_IT_IS)
    assert source.identity == "postgresql://u:***@host/app select 1"
    assert source.name == "app"


def test_a_query_that_is_read_leaves_no_connection_open(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "app.db") as app:
        app.execute("CREATE TABLE users (id TEXT)")
        app.execute("INSERT INTO users VALUES ('u-1')")
    app.close()
    source = QuerySource(f"sqlite:///{tmp_path / 'app.db'}", "select id as user_id from users", AS_IT_IS)
    assert [row.user_id for row in source.rows()] == ["u-1"]
    assert [opened.path for opened in psutil.Process().open_files() if opened.path.startswith(str(tmp_path))] == []


def test_a_line_of_which_two_fields_become_one_is_refused(tmp_path: Path) -> None:
    reading = RowReading({"id": "user_id", "url": "attributes.site", "home": "attributes.site"})
    twice, other, one = lines(
        tmp_path, {"id": "a", "user_id": "b"}, {"id": "a", "url": "x", "home": "y"}, {"id": "a", "url": "x"},
        reading=reading,
    )  # fmt: skip
    assert "two fields of the line are user_id" in twice.problem
    assert "two fields of the line are attributes.site" in other.problem
    assert said(one) == {"user_id": "a", "attributes": {"site": "x"}}


def test_a_plan_that_is_no_name_is_refused_as_the_plan(tmp_path: Path) -> None:
    first, _ = rows_of(tmp_path, "select id as user_id, score as plan from people")
    assert first.problem == "a float is no id (at $.plan)"
