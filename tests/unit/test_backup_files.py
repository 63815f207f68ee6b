"""The files of a backup: whole or not, and what a reader at an old offset has of new topics.

All in one file: one format of files, written and read.
"""

import shutil
from collections.abc import Mapping
from contextlib import closing, suppress
from math import nan
from pathlib import Path
from random import Random
from typing import cast

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY
from support.new_databases import open_new_storage, open_new_store
from typer.testing import CliRunner

from everwatch.api.backup_age import measure_backup
from everwatch.api.metrics import BACKUP
from everwatch.backup.cutting import Reached, exact_cut, filter_of
from everwatch.backup.damage import Damaged
from everwatch.backup.database_copy import check_fresh, check_sqlite, copy_databases, put_databases, urls_of
from everwatch.backup.folder import new_backup, read_manifest
from everwatch.backup.manifest import (
    MANIFEST,
    Cut,
    FileCopy,
    Manifest,
    PartitionCopy,
    ReaderOffsets,
    TopicCopy,
    decode_manifest,
    encode_manifest,
)
from everwatch.backup.newest import drop_older, drop_unfinished, name_of_backup, newest_backup
from everwatch.backup.offset_translation import Translation
from everwatch.backup.record_file import RecordWriters, StoredRecord, read_records
from everwatch.backup.record_hash import LatestHash, RecordsHash
from everwatch.backup.restore_target import RestoreTarget
from everwatch.backup.restoring import UNFINISHED_OWNER
from everwatch.backup.source_topics import SourceTopics
from everwatch.backup.stages import Silent
from everwatch.backup.verifying import damages
from everwatch.cli.commands.backup import app
from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError, StoreError, TopicMismatch
from everwatch.core.output_format import OutputFormat
from everwatch.diagnosis import System
from everwatch.diagnosis.checks.backup import check_backup
from everwatch.encoding import codec
from everwatch.encoding.cancellation_records import Cancellation, encode_cancellation
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.progress import Noted
from everwatch.kafka.topics import Topics
from everwatch.model import Result, Status
from everwatch.notifier.subscriber_rows import Subscriber
from everwatch.rules.changelog_marks import Held, Mark, TableVerdict, judge
from everwatch.store import Partition, SinkBatch

NOW = 1_795_262_400_000
RECORDS = [
    StoredRecord(3, NOW, b"anna\0", b"user", (("source", b"test"), ("empty", None))),
    StoredRecord(4, NOW + 1, b"anna\0shop", b"monitor"),
    StoredRecord(7, NOW + 2, b"bert\0", b"user"),
    StoredRecord(9, NOW + 3, b"bert\0", None),
]
FILE = "topics/monitors_changelog/0.records"


def written(folder: Path, records: list[StoredRecord]) -> FileCopy:
    with RecordWriters() as writers:
        writer = writers.open(folder, FILE)
        for record in records:
            writer.add(record)
        return writers.close()[FILE]


def manifest_of(folder: Path, database: Path | None = None) -> Manifest:
    """The manifest of a backup of one partition and, where asked for, of a database."""
    latest = LatestHash()
    for record in RECORDS:
        latest.add(record.key, record.value)
    files = {FILE: written(folder, RECORDS)}
    settings = Settings(data_dir=database or folder / "none")
    copied = copy_databases(settings, folder, Topics.of(settings))
    files |= {each.copy.file: each.file for each in copied.values()}
    return Manifest(
        format=1,
        everwatch="0.1.0",
        began_at=NOW,
        finished_at=NOW + 1_000,
        partitions=1,
        topics=[TopicCopy("monitors_changelog", {}, [PartitionCopy(0, FILE, 3, 10, 4, *latest.result())])],
        cuts=[Cut(0, NOW, 10, exact=True)],
        offsets=[offsets for each in copied.values() for offsets in each.offsets],
        files=files,
        settings={},
        **{"database": None} | {field: each.copy for field, each in copied.items()},  # type: ignore[arg-type]
    )


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The data folder of a database that a sink has begun to fill."""
    settings = Settings(data_dir=tmp_path / "data")
    with closing(open_new_store(settings)) as store:
        store.apply(SinkBatch(NOW, {Partition("results", 0): 17, Partition("everwatch-monitors-changelog", 0): 10}))
    return settings.data_dir


@pytest.fixture
def backup(tmp_path: Path, database: Path) -> Path:
    """A small backup."""
    folder = tmp_path / "backups" / name_of_backup(NOW)
    with new_backup(folder) as made:
        made.finish(manifest_of(made.folder, database))
    return folder


def verified(folder: Path) -> tuple[int, str]:
    said = CliRunner().invoke(app, ["verify", str(folder), "--files-only"])
    return said.exit_code, said.stdout


# --- files ----------------------------------------------------------------------------------------------------------


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    many = [StoredRecord(n, NOW + n, b"%d" % n, b"v" * (n % 3_000)) for n in range(2_500)]
    written(tmp_path, RECORDS + many)
    blocks = list(read_records(tmp_path, FILE))
    assert len(blocks) > 1
    assert [record for block in blocks for record in block] == RECORDS + many


def test_records_whose_bytes_are_in_their_headers_fill_blocks_too(tmp_path: Path) -> None:
    headers = tuple((f"header-{n}", b"x" * 1_000) for n in range(100))
    many = [StoredRecord(n, NOW, None, None, headers) for n in range(25)]
    written(tmp_path, many)
    blocks = list(read_records(tmp_path, FILE))
    assert [len(block) for block in blocks] == [11, 11, 3]
    assert [record for block in blocks for record in block] == many


def test_a_whole_backup_is_found_whole(backup: Path) -> None:
    status, said = verified(backup)
    assert status == 0, said
    assert said.startswith("whole: ")


def test_each_flipped_byte_of_the_manifest_is_found(backup: Path) -> None:
    data = (backup / MANIFEST).read_bytes()
    assert encode_manifest(decode_manifest(data)) == data
    for place in range(len(data)):
        flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(Damaged):
            decode_manifest(flipped)


def test_each_flipped_byte_of_a_file_is_found_and_the_file_named(backup: Path) -> None:
    manifest = read_manifest(backup)
    random = Random(1)
    for file in manifest.files:
        whole = (backup / file).read_bytes()
        places = range(len(whole)) if len(whole) < 2_000 else sorted(random.sample(range(len(whole)), 40))
        for place in places:
            (backup / file).write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
            assert [damage.file for damage in damages(backup, manifest, Silent())] == [file], place
        (backup / file).write_bytes(whole)
    assert damages(backup, manifest, Silent()) == []


def test_the_command_names_every_damaged_file(backup: Path) -> None:
    files = sorted(read_manifest(backup).files)
    assert len(files) == 2
    first, second = files
    (backup / first).unlink()
    with (backup / second).open("ab") as stream:
        stream.write(b"x")
    status, said = verified(backup)
    assert status == 1
    assert f"{first}: it is missing." in said
    assert f"{second}: it has " in said


def test_a_file_of_other_records_is_found_although_its_digest_fits(backup: Path) -> None:
    manifest = read_manifest(backup)
    (backup / FILE).unlink()
    file = written(backup, [*RECORDS[:3], StoredRecord(9, NOW + 3, b"bert\0", b"changed")])
    forged = Manifest(
        **{n: getattr(manifest, n) for n in manifest.__struct_fields__} | {"files": {FILE: file}, "database": None}
    )
    [damage] = damages(backup, forged, Silent())
    assert "hash" in str(damage)


def test_what_is_interrupted_leaves_nothing_that_looks_like_a_backup(tmp_path: Path) -> None:
    folder = tmp_path / "monday"
    with suppress(KeyboardInterrupt), new_backup(folder) as made:
        manifest_of(made.folder)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    # killed, it leaves a folder of another name, which the next one takes away
    (tmp_path / "monday.partial" / "topics").mkdir(parents=True)
    with new_backup(folder) as made:
        made.finish(manifest_of(made.folder))
    assert [path.name for path in tmp_path.iterdir()] == ["monday"]
    with pytest.raises(SettingsError, match="is there already"), new_backup(folder):
        pass


# --- the database ---------------------------------------------------------------------------------------------------


def test_a_restored_database_has_the_offsets_of_the_new_topics(backup: Path, tmp_path: Path) -> None:
    manifest = read_manifest(backup)
    assert manifest.database is not None
    [sink] = manifest.offsets
    assert sink.offsets == {"results": {0: 17}, "monitors_changelog": {0: 10}}
    check_sqlite(manifest.database, backup)
    target = Settings(data_dir=tmp_path / "new", topic_prefix="new.")
    check_fresh(target.database_url)
    translated = [ReaderOffsets("sink", {"results": {0: 2}, "monitors_changelog": {0: 0}})]
    put_databases(manifest, backup, target, translated, Topics.of(target))
    with closing(open_new_store(target)) as store:
        # of a partition without records before it nothing is kept: it is read from its beginning
        assert store.offsets() == {Partition("new.results", 0): 2}
    with pytest.raises(StoreError, match="already"):
        check_fresh(target.database_url)
    # SQLite would take a log of changes that was left there for the new file's
    file = target.data_dir / "everwatch.db"
    file.rename(f"{file}-wal")
    with pytest.raises(StoreError, match="already"):
        check_fresh(target.database_url)


def test_the_notifier_has_its_subscribers_and_stands_where_it_stood(database: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=database)
    subscriber = Subscriber("id", "shops", "ada@example.org", "https://status.example.com/end", NOW, NOW)
    with closing(open_new_storage(settings)) as storage, storage.begin() as work:
        work.put_subscriber(subscriber)
        work.put_offsets([(Partition("incidents", 0), 40), (Partition("transitions", 0), 7)])
    folder = tmp_path / "backup"
    with new_backup(folder) as made:
        made.finish(manifest_of(made.folder, database))
    manifest = read_manifest(folder)
    assert [each.reader for each in manifest.offsets] == ["sink", "notifier"]
    assert manifest.offsets[1].offsets == {"incidents": {0: 40}, "transitions": {0: 7}}
    assert damages(folder, manifest, Silent()) == []
    assert manifest.notifier_database is not None
    forged = replace(manifest.notifier_database, rows=manifest.notifier_database.rows | {"status_subscribers": 2})
    [damage] = damages(folder, replace(manifest, notifier_database=forged), Silent())
    assert "status_subscribers 1 instead of 2" in str(damage)

    target = Settings(data_dir=tmp_path / "new", topic_prefix="new.")
    translated = [ReaderOffsets("sink", {}), ReaderOffsets("notifier", {"incidents": {0: 2}, "transitions": {0: 0}})]
    put_databases(manifest, folder, target, translated, Topics.of(target))
    with closing(open_new_storage(target)) as storage:
        assert storage.offsets() == {Partition("new.incidents", 0): 2}
        with storage.look() as work:
            assert work.subscribers("shops") == [subscriber]
    # an old one that is left has the offsets of topics that are gone
    main, notifier = urls_of(target)
    (target.data_dir / "everwatch.db").unlink()
    check_fresh(main)
    with pytest.raises(StoreError, match="everwatch-notifier"):
        check_fresh(notifier or "")


# --- offsets and cuts -----------------------------------------------------------------------------------------------


def test_ticks_of_a_region_are_restored_only_where_the_region_is_known(backup: Path) -> None:
    manifest = read_manifest(backup)
    assert manifest.regions == ()
    ticks = [TopicCopy(name, {}, []) for each in ("eu", "us") for name in (f"ticks_high@{each}", f"ticks@{each}")]
    regional = replace(manifest, topics=[*manifest.topics, *ticks])
    assert regional.regions == ("eu", "us")
    settings = Settings(partitions=1, regions=("ap", "eu"))
    place = RestoreTarget(settings, cast(Admin, None), cast(SourceTopics, None), SettableClock(NOW))
    with pytest.raises(TopicMismatch, match=r"does not name \(us\): set EVERWATCH_REGIONS=ap,eu,us on"):
        place.check(backup, regional)


def test_a_reader_stands_behind_as_many_records_as_before() -> None:
    translation = Translation()
    place = translation.of("results", 0, 5)
    old = [3, 4, 7, 9, 10, 11, 20]
    for offset in old:
        place.add(offset)
    for offset in range(25):
        assert place.new_offset(offset) == 5 + sum(each < offset for each in old), offset
    assert translation.apply(ReaderOffsets("sink", {"results": {0: 8, 1: 4}, "audit": {0: 1}})).offsets == {
        "results": {0: 8},
        "audit": {},
    }


def test_hashes_know_neither_order_nor_offsets() -> None:
    def latest(*pairs: tuple[bytes, bytes | None]) -> tuple[int, str]:
        found = LatestHash()
        for key, value in pairs:
            found.add(key, value)
        return found.result()

    in_this_order = latest((b"a", b"1"), (b"b", b"2"), (b"a", b"3"))
    assert in_this_order == latest((b"a", b"3"), (b"c", b"4"), (b"b", b"2"), (b"c", None))
    assert latest((b"a", b"1")) != latest((b"a", b"2"))
    assert latest((b"ab", b"1")) != latest((b"a", b"b1"))
    untimed = [RecordsHash() for _ in range(3)]
    for found, at in zip(untimed, (-1, 0, 1), strict=True):
        found.add(b"a", b"1", at, ())
    # a restore cannot write the first two timestamps
    assert len({found.result() for found in untimed}) == 1
    every = RecordsHash()
    every.add(b"a", b"1", NOW, ())
    every.add(b"a", b"1", NOW, (("reason", b"x"),))
    others = RecordsHash()
    others.add(b"a", b"1", NOW, (("reason", b"y"),))
    others.add(b"a", b"1", NOW, ())
    assert every.result().number == others.result().number == 2
    assert every.result() != others.result()


def noted(emitted_to: int, offset: int, topic_id: str = "id") -> Noted:
    return Noted(emitted_to, Mark(topic_id, offset, 0, "worker"), 0, NOW + 5)


def test_a_cut_lies_behind_what_was_read_and_what_the_database_has() -> None:
    reached = Reached(NOW, 10)
    # however far behind its worker is
    assert exact_cut(0, noted(NOW - 60_000, 9), reached, "id") == Cut(0, NOW - 60_000, 10, exact=True, noted_at=NOW + 5)
    too_old = noted(NOW, 9)._replace(noted_at=NOW - 1)
    for too_early in (None, too_old, noted(NOW, 8), noted(NOW, 9, "another"), Noted(NOW, None)):
        assert exact_cut(0, too_early, reached, "id") is None


def test_what_is_decided_after_the_cut_is_left_out() -> None:
    exact = {0: Cut(0, NOW, 10, exact=True, noted_at=NOW + 5)}

    def keeps(name: str, value: bytes, at: int = NOW, cuts: Mapping[int, Cut] = exact, key: bytes = b"anna") -> bool:
        return filter_of(name, cuts)(Record(name, 0, 1, at, key, value))

    def result(at: int, *, manual: bool = False) -> bytes:
        found = Result("anna", "shop", at, "http", 1, Status.SUCCESS, "", at, 1.0, manual=manual)
        return codec.encode_result(found, OutputFormat.AVRO)

    assert keeps("results", result(NOW))
    assert not keeps("results", result(NOW + 100))
    # a run that was asked for is in no schedule: nobody would do it again
    assert keeps("results", result(NOW + 100, manual=True))
    assert keeps("results", b"nonsense")
    assert keeps("transitions", b"", NOW + 5)
    assert not keeps("transitions", b"", NOW + 6)
    assert keeps("ticks", b"", NOW)
    key, before = encode_cancellation(("anna", "shop"), Cancellation(NOW - 1))
    _, at_it = encode_cancellation(("anna", "shop"), Cancellation(NOW))
    assert keeps("cancellations", before, key=key)
    assert not keeps("cancellations", at_it, key=key)
    assert keeps("signups", b"", NOW + 1_000)
    # without a worker nothing is under way
    assert keeps("results", result(NOW + 100), cuts={0: Cut(0, NOW, 10, exact=False)})


def test_no_worker_starts_on_what_is_half_restored_and_an_old_table_is_dropped() -> None:
    held = Held("new", 0, 4)
    unfinished = Mark("new", 1 << 62, 0, UNFINISHED_OWNER)
    assert judge(None, held, unfinished, "worker-1") is TableVerdict.UNKNOWN
    done = Mark("new", 3, 7, "restore")
    assert judge(None, held, done, "worker-1") is TableVerdict.FITS
    assert judge(Mark("old", 9, 1), held, done, "worker-1") is TableVerdict.OUTDATED


# --- age ------------------------------------------------------------------------------------------------------------


async def test_the_age_of_the_newest_backup_is_told(backup: Path, tmp_path: Path) -> None:
    folder = backup.parent
    settings = Settings(data_dir=tmp_path, backup_dir=folder)
    clock = SettableClock(NOW + 3_600_000)
    assert newest_backup(folder) == NOW + 1_000
    BACKUP.set(nan)
    # a folder that cannot be read is no backup, until there was one
    await measure_backup(folder / "missing")
    assert REGISTRY.get_sample_value("everwatch_backup_completed_timestamp_seconds") == 0
    await measure_backup(folder)
    await measure_backup(folder / "missing")
    assert REGISTRY.get_sample_value("everwatch_backup_completed_timestamp_seconds") == (NOW + 1_000) / 1000
    [finding] = check_backup(System(settings, "", clock))
    assert finding.ok, finding
    clock.advance(26 * 3_600_000)
    [finding] = check_backup(System(settings, "", clock))
    assert not finding.ok
    # one that was not finished, or is damaged, is none
    (folder / name_of_backup(NOW + 90_000_000)).mkdir()
    shutil.copytree(backup, folder / name_of_backup(NOW + 80_000_000))
    (folder / name_of_backup(NOW + 80_000_000) / MANIFEST).write_text("{}")
    assert newest_backup(folder) == NOW + 1_000
    shutil.copytree(backup, folder / name_of_backup(NOW - 1_000))
    (folder / "by hand").mkdir()
    # what a killed backup has left goes a day later
    ago = {hours: folder / f"{name_of_backup(NOW - hours * 3_600_000)}.partial" for hours in (23, 25)}
    for each in (*ago.values(), folder / "by hand.partial"):
        (each / "topics").mkdir(parents=True)
    assert drop_unfinished(folder, NOW) == [ago[25]]
    assert ago[23].is_dir()
    assert drop_unfinished(folder / "not made yet", NOW) == []
    # what is no finished backup of this folder's is not touched
    left = {path.name for path in folder.iterdir()} - {name_of_backup(NOW - 1_000)}
    assert [path.name for path in drop_older(folder, 2)] == [name_of_backup(NOW - 1_000)]
    assert {path.name for path in folder.iterdir()} == left
    assert list(check_backup(System(Settings(data_dir=tmp_path), "", clock))) == []
