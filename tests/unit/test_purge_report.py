"""Tests of what a purge reports."""

from everwatch.cli.commands.purge import NAMES_OF_TABLES
from everwatch.store.purge_rows import old_rows


def test_each_table_that_a_purge_deletes_from_has_a_name_for_people() -> None:
    assert {table.name for table, _ in old_rows(0, True)} == NAMES_OF_TABLES.keys()
