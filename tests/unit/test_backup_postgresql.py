"""The PostgreSQL database in a backup: dumped beside a sink, restored into an empty database."""

from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.postgres import Databases

from everwatch.backup.damage import Damaged
from everwatch.backup.database_copy import check_fresh, check_target_databases, copy_database, put_database
from everwatch.backup.manifest import Manifest, ReaderOffsets
from everwatch.core.config import Settings
from everwatch.core.errors import StoreError
from everwatch.kafka.topics import Topics
from everwatch.model import Result, Status
from everwatch.store import Partition, Received, SinkBatch, open_reader, open_store
from everwatch.store.selections import ResultSelection

DAY = 86_400_000
NOW = 1_795_262_400_000
SOURCE = Partition("results", 0)


@pytest.fixture
def filled(postgres_url: str, tmp_path: Path) -> Settings:
    """A database with results of three days."""
    settings = Settings(data_dir=tmp_path, database=postgres_url)
    results = [Result("anna", "shop", NOW - n * DAY, "http", 1, Status.SUCCESS, "", NOW, 1.0) for n in range(3)]
    received = [Received(SOURCE, offset, NOW, result) for offset, result in enumerate(results)]
    with closing(open_store(settings)) as store:
        store.apply(SinkBatch(NOW, {SOURCE: 3}, results=received))
    return settings


def test_a_dump_is_restored_with_the_offsets_of_the_new_topics(
    filled: Settings, empty_postgres_url: str, tmp_path: Path
) -> None:
    copied = copy_database(filled.database_url, tmp_path, Topics.of(filled))
    assert copied.copy.days == {"2026-11-19": 1, "2026-11-20": 1, "2026-11-21": 1}
    assert copied.offsets[0].offsets == {"results": {0: 3}}
    target = Settings(data_dir=tmp_path, database=empty_postgres_url, topic_prefix="new.")
    check_fresh(target.database_url)
    translated = [ReaderOffsets("sink", {"results": {0: 1}})]
    put_database(copied.copy, tmp_path, target.database_url, translated, Topics.of(target))
    with closing(open_reader(target)) as reader:
        assert reader.offsets() == {Partition("new.results", 0): 1}
        assert len(reader.results(ResultSelection("anna"))) == 3
    with pytest.raises(StoreError, match="not empty"):
        check_fresh(target.database_url)


def test_what_is_wrong_is_said_in_one_sentence(
    filled: Settings, postgres: Databases, empty_postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = Topics.of(filled)
    copied = copy_database(filled.database_url, tmp_path, topics)
    manifest = Manifest(1, "0.1.0", NOW, NOW, 1, [], [], [], copied.copy, {}, {})
    with pytest.raises(StoreError, match="names one of sqlite"):
        check_target_databases(manifest, tmp_path, Settings(data_dir=tmp_path))
    target = Settings(data_dir=tmp_path, database=empty_postgres_url)
    check_target_databases(manifest, tmp_path, target)
    file = tmp_path / copied.copy.file
    file.write_bytes(b"PGDMP" + file.read_bytes()[5:400])
    with pytest.raises(StoreError, match=r"^pg_restore failed on the database \w+: .+\.$"):
        put_database(copied.copy, tmp_path, empty_postgres_url, [], topics)
    # nothing is left of it
    check_fresh(empty_postgres_url)
    # a program that does not know the format of the dump
    file.write_bytes(b"PGDMP" + b"\x02" + file.read_bytes()[6:])
    with pytest.raises(StoreError, match=r"pg_restore failed .* version"):
        check_target_databases(manifest, tmp_path, target)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreError, match="pg_restore is not here"):
        check_target_databases(manifest, tmp_path, target)
    with pytest.raises(StoreError, match="pg_dump is not here"):
        copy_database(filled.database_url, tmp_path, topics)


def test_another_number_of_rows_than_the_manifest_says_is_found(
    filled: Settings, empty_postgres_url: str, tmp_path: Path
) -> None:
    topics = Topics.of(filled)
    copied = copy_database(filled.database_url, tmp_path, topics)

    wrong = replace(copied.copy, days=copied.copy.days | {"2026-11-20": 2})
    with pytest.raises(Damaged, match="2026-11-20 1 instead of 2"):
        put_database(wrong, tmp_path, empty_postgres_url, [], topics)
