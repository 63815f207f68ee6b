"""The database as it is opened: its schema, and what people are told when it cannot be used."""

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from everwatch.config import Settings
from everwatch.errors import StoreError
from everwatch.model import Result, Status
from everwatch.store import Partition, Received, SinkBatch, SqlStore, StoreBusy, open_reader, open_store
from everwatch.store.engine import open_for_writing
from everwatch.store.schema import metadata


def settings_for(file: Path) -> Settings:
    return Settings(data_dir=file.parent, database=f"sqlite:///{file}")


def definitions(file: Path) -> dict[str, str]:
    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: " ".join(sql.split()) for name, sql in rows if name != "alembic_version"}


def batch(results: int = 1) -> SinkBatch:
    source = Partition("results", 0)
    received = [
        Received(source, i, 1, Result(f"user-{i}", "m", 1, "http", 1, Status.SUCCESS, "x" * 200, 1, 1.0))
        for i in range(results)
    ]
    return SinkBatch(1, {source: results}, received)


def test_the_migrations_add_up_to_the_tables(tmp_path: Path) -> None:
    open_for_writing(f"sqlite:///{tmp_path / 'migrated.db'}").dispose()
    engine = create_engine(f"sqlite:///{tmp_path / 'declared.db'}")
    metadata.create_all(engine)
    engine.dispose()
    assert definitions(tmp_path / "migrated.db") == definitions(tmp_path / "declared.db")


def test_alembic_finds_nothing_to_migrate(tmp_path: Path) -> None:
    engine = open_for_writing(f"sqlite:///{tmp_path / 'everwatch.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_sink_makes_folder_and_database_and_opens_them_again(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "not" / "100% there")
    for _ in range(2):
        store = open_store(settings)
        store.apply(batch())
        store.close()
    reader = open_reader(settings)
    assert [stored.deliveries for stored in reader.results()] == [1]
    reader.close()


def test_a_reader_makes_no_database_and_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"There is no database at .* yet: it is made when a sink starts"):
        open_reader(Settings(data_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_reader_of_an_older_schema_says_what_brings_it_up_to_date(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    sqlite3.connect(file).execute("CREATE TABLE something (x)").connection.close()
    with pytest.raises(StoreError, match=r"from before this version .* start this version's sink once"):
        open_reader(settings_for(file))


def test_a_schema_from_the_future_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "new.db"
    open_store(settings_for(file)).close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = definitions(file)
    for opening in (open_store, open_reader):
        with pytest.raises(StoreError, match=r"newer version of Everwatch \(schema 9999\): upgrade"):
            opening(settings_for(file))
    assert definitions(file) == before


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://host/db", "scheme 'postgresql' is not supported: EVERWATCH_DATABASE must begin with sqlite"),
        ("everwatch.db", "EVERWATCH_DATABASE is not a database URL"),
        ("sqlite://", "in memory keeps nothing"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused(tmp_path: Path, url: str, sentence: str) -> None:
    for opening in (open_store, open_reader):
        with pytest.raises(StoreError, match=sentence):
            opening(Settings(data_dir=tmp_path, database=url))


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "notes.db"
    file.write_text("milk, eggs, bread\n" * 1_000)
    for opening in (open_store, open_reader):
        with pytest.raises(StoreError, match=r"notes\.db failed: the file is not an SQLite database"):
            opening(settings_for(file))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreError, match=r"The folder .*taken.* of the database cannot be made"):
        open_store(settings_for(tmp_path / "taken" / "sub" / "everwatch.db"))


@pytest.mark.parametrize(
    ("pragma", "sentence"),
    [
        # as much as is used now: SQLite then says the same as on a full disk
        ("max_page_count = 1", "the disk is full: free some space"),
        ("query_only = ON", "it may not be written to: check the permissions"),
    ],
)
def test_what_cannot_be_written_is_not_stored_in_part(tmp_path: Path, pragma: str, sentence: str) -> None:
    engine = open_for_writing(f"sqlite:///{tmp_path / 'everwatch.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"PRAGMA {pragma}")
    store = SqlStore(engine)
    with pytest.raises(StoreError, match=sentence):
        store.apply(batch(2_000))
    assert store.offsets() == {}
    store.close()
    reader = open_reader(Settings(data_dir=tmp_path))
    assert reader.results() == []
    reader.close()


def test_a_locked_database_is_busy_and_the_same_batch_can_be_stored_later(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    store = open_store(settings)
    other = sqlite3.connect(tmp_path / "everwatch.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy, match="locked by another process"):
        store.apply(batch())
    assert store.offsets() == {}, "reading needs no lock"
    other.execute("ROLLBACK")
    other.close()
    store.apply(batch())
    assert store.offsets() == {Partition("results", 0): 1}
    store.close()
