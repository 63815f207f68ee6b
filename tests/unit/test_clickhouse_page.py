"""The page about ClickHouse and other consumers: true to what is on the topics."""

import re
from pathlib import Path
from typing import Any

import pytest

from everwatch.core.output_format import OutputFormat
from everwatch.encoding.codec import encode_result
from everwatch.model import Result, Status

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clickhouse.md").read_text()
RESULT = Result(
    "anna",
    "shop",
    60_000,
    "http",
    1,
    Status.FAILURE,
    "timed out",
    60_004,
    10_000.5,
    2,
    {"dns": 1.5},
    "e",
    0,
    0,
    True,
    "x",
)


def test_the_example_decodes_avro(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    made: dict[str, Any] = {}
    exec(compile(example, "docs/clickhouse.md", "exec"), made)
    found = made["decode"](encode_result(RESULT, OutputFormat.AVRO))
    assert found["scheduled_at"].timestamp() * 1_000 == found["started_at"].timestamp() * 1_000 - 4 == 60_000
    others = {
        name: getattr(RESULT, name) for name in found if name not in ("scheduled_at", "started_at", "skipped_until")
    }
    assert {name: found[name] for name in others} == others
    assert found.keys() == set(Result.__struct_fields__)


@pytest.mark.parametrize("table", ["results_queue", "results"])
def test_the_tables_have_a_column_for_each_field(table: str) -> None:
    [columns] = re.findall(rf"CREATE TABLE {table}\n\((.*?)\n\)\n", PAGE, re.DOTALL)
    names = re.findall(r"^    (\w+) ", columns, re.MULTILINE)
    assert sorted(set(names) - {"precedence"}) == sorted(Result.__struct_fields__)
