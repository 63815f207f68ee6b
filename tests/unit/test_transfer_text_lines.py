"""Files as people have them: marks, line ends, bytes that are no text, long lines and long fields."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from everwatch.core.errors import SettingsError
from everwatch.transfer.import_rows import Row, RowReading
from everwatch.transfer.row_files import FileSource, Format

MB = 1_000_000


def rows(file: Path, form: Format | None = None) -> Iterator[Row]:
    return FileSource(str(file), form, RowReading(has_shorthand=True)).rows()


def outline(found: Iterator[Row]) -> list[tuple[int, str, str]]:
    return [(row.line, row.user_id, row.problem) for row in found]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_marks_and_line_ends_are_no_part_of_anything(file: Path, end: bytes, mark: bytes) -> None:
    file.write_bytes(mark + end.join([b'{"user_id": "a"}', b"", b'  {"user_id": "b"}', b""]))
    assert outline(rows(file)) == [(1, "a", ""), (3, "b", "")]
    file.write_bytes(mark + end.join([b"user_id,city", b"a,Bern", b'b,"two', b'lines"', b"c,", b""]))
    assert outline(rows(file)) == [(2, "a", ""), (3, "b", ""), (5, "c", "")]


def test_bytes_that_are_no_text_harm_only_their_line(file: Path) -> None:
    file.write_bytes(b'{"user_id": "a"}\n{"user_id": "\xff"}\n{"user_id": "c"}\n')
    assert [(line, bool(problem)) for line, _, problem in outline(rows(file))] == [(1, False), (2, True), (3, False)]
    file.write_bytes(b"user_id,city\na,Bern\nb,\xff\nc,Rom\n")
    assert [(line, bool(problem)) for line, _, problem in outline(rows(file))] == [(2, False), (3, True), (4, False)]


def test_a_field_of_more_than_128_kib_is_read(file: Path) -> None:
    file.write_text(f"user_id,note\na,{'x' * 200_000}\n")
    [row] = rows(file)
    assert (row.user_id, len(row.value) > 200_000) == ("a", True)


def test_two_columns_of_one_name_are_refused(file: Path) -> None:
    file.write_text("user_id,city,city\na,Bern,Rom\n")
    with pytest.raises(SettingsError, match=r"Two columns of .* are attributes\.city"):
        list(rows(file))


@pytest.mark.parametrize("form", list(Format))
def test_a_line_of_many_megabytes_is_refused_in_bounded_memory(file: Path, form: Format) -> None:
    is_csv = form is Format.CSV
    with file.open("wb") as stream:
        stream.write(b"user_id,note\na,1\n" if is_csv else b'{"user_id": "a"}\n')
        stream.write(b"b," if is_csv else b'{"user_id": "b", "attributes": {"note": "')
        for _ in range(60):
            stream.write(b"x" * MB)
        stream.write(b"\nc,3\n" if is_csv else b'"}}\n{"user_id": "c"}\n')
    tracemalloc.start()
    try:
        found = outline(rows(file, form))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    first = 2 if is_csv else 1
    assert [(line, user_id) for line, user_id, _ in found] == [(first, "a"), (first + 1, ""), (first + 2, "c")]
    assert found[1][2].startswith("the line is longer than ")
    assert peak < 20 * MB


def test_a_quote_that_is_never_closed_ends_in_a_sentence(file: Path) -> None:
    file.write_bytes(b'user_id,note\na,"' + b"x\n" * MB + b"c,3\n")
    found = outline(rows(file, Format.CSV))
    assert found[0][2].startswith("this cannot be read as CSV: field larger than field limit")
    assert found[-1][1:] == ("c", "")
