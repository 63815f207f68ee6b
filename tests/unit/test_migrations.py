"""The database as it is opened: its schema, and what people are told when it cannot be used.

All in one file: one chain of migrations, with a database of each revision.
"""

import sqlite3
from pathlib import Path
from typing import cast

import msgspec
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Boolean, Connection, LargeBinary, MetaData, String, Text, create_engine, insert, inspect, text
from support.postgres import Databases

import everwatch.store
from everwatch.core.config import Settings
from everwatch.core.errors import StoreError
from everwatch.model import At, Every, Misfire, Policy, Priority, Result, State, Status, Transition
from everwatch.notifier.storage import SCHEMA
from everwatch.store import (
    Identity,
    Partition,
    Received,
    SinkBatch,
    SqlStore,
    StoreBusy,
    open_reader,
    open_store,
)
from everwatch.store.backfill import filling
from everwatch.store.database import MAIN, Schema, migrate, open_for_writing, parse_url
from everwatch.store.paging import Sort
from everwatch.store.rollup_journal import JournalRow
from everwatch.store.search import TABLES, index_of
from everwatch.store.selections import Selection
from everwatch.store.sql_schema import metadata


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


COLUMNS = """
    SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY 1, 2
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1"
PARTITIONING = "SELECT partrelid::regclass::text, pg_get_partkeydef(partrelid) FROM pg_partitioned_table"


def test_the_migrations_add_up_to_the_tables_of_postgresql(postgres: Databases) -> None:
    with postgres.one() as migrated, postgres.empty() as declared:
        engine = create_engine(parse_url(declared))
        metadata.create_all(engine)
        engine.dispose()
        for question in (COLUMNS, INDEXES, PARTITIONING):
            found = postgres.ask(migrated, question)
            assert found
            assert found == postgres.ask(declared, question)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that holds nothing yet, not even tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'everwatch.db'}"
    return cast(str, request.getfixturevalue("empty_postgres_url"))


@pytest.mark.parametrize("schema", [MAIN, SCHEMA], ids=lambda schema: schema.process)
def test_the_names_of_migrations_say_their_revisions(schema: Schema) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.migrations))
    scripts = ScriptDirectory.from_config(config)
    assert schema.revisions() == [script.revision for script in reversed(list(scripts.walk_revisions()))]
    assert schema.revisions()[-1] == scripts.get_current_head()


def test_alembic_finds_nothing_to_migrate(database_url: str) -> None:
    engine = open_for_writing(database_url)
    with engine.connect() as connection:
        # the indexes of trigrams are made apart, where the database can have them
        options = {"include_object": lambda _, name, *__: not any(name.startswith(made) for made in made_apart)}
        made_apart = [index_of(table, connection.dialect.name) for table in TABLES]
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    engine.dispose()


MADE_BY_0001 = """
    INSERT INTO users VALUES ('anna', 'pro', '{"age":30}', 1000, 2000, 3);
    INSERT INTO users VALUES ('bert', 'default', '{}', 1000, 2000, 4);
    INSERT INTO monitors VALUES
        ('anna', 'shop', 'http', '{}', '{"type":"every","interval_ms":60000}', :policy, 'signup', 2, 5000,
         'down', 7000, 'timed out', 0, 7000, 0, 3),
        ('anna', 'blog', 'http', '{}', '{"type":"cron","expression":"0 9 * * *","timezone":"UTC"}', :policy, 'signup',
         1, 5000, 'up', 7000, '', 0, 7000, 0, 3),
        ('anna', 'mine', 'noop', '{}', '{"type":"every","interval_ms":60000}', :policy, 'command', 1, 1, 'new', 1, '',
         0, 0, 0, 3),
        ('bert', 'late', 'http', '{}', '{"type":"at","at":500}', :policy, 'command', 1, 5000, 'new', 4500, '',
         0, 0, 0, 4),
        ('bert', 'held', 'http', '{}', '{"type":"at","at":9000}', :policy, 'command', 1, 5000, 'paused', 6000,
         'paused by command', 0, 0, 0, 4),
        ('bert', 'done', 'http', '{}', '{"type":"at","at":9000}', :policy, 'command', 1, 5000, 'done', 9000, '200 OK',
         0, 9000, 0, 4),
        ('bert', 'failed', 'http', '{}', '{"type":"at","at":9000}', :policy, 'command', 1, 5000, 'done', 9000,
         'failure: timed out: 3 s', 0, 9000, 0, 4),
        ('bert', 'mute', 'http', '{}', '{"type":"at","at":9000}', :policy, 'command', 1, 5000, 'done', 9000, 'skipped',
         0, 9000, 0, 4);
    INSERT INTO monitor_history VALUES
        ('anna', 'shop', 2, 5000, NULL, 'http', '{"type":"every","interval_ms":60000}', :policy, 'skip', 7);
    INSERT INTO results VALUES
        ('anna', 60000, 'shop', 1, 'http', 2, 'success', '200 OK', 60005, 12.5, '{"dns":1.5}', 'e1', 0, 0, 9000, 2);
    INSERT INTO transitions VALUES ('anna', 'shop', 7000, 'down', 'up', 'timed out', 2);
    INSERT INTO sink_offsets VALUES ('results', 3, 17);
"""
POLICY_OF_0001 = (
    '{"timeout_ms":5000,"failures_to_down":2,"successes_to_up":1,'
    '"misfire":"skip","misfire_grace_ms":7,"priority":"high"}'
)


MIGRATIONS = str(Path(everwatch.store.__file__).parent / "migrations")


def upgrade_to(revision: str, connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """A database as the first schema made and filled it."""
    file = tmp_path / "old.db"
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        upgrade_to("0001", connection)
    engine.dispose()
    with sqlite3.connect(file) as connection:
        connection.executescript(MADE_BY_0001.replace(":policy", f"'{POLICY_OF_0001}'"))
    return file


def test_rows_of_the_first_schema_stay_readable(old_file: Path) -> None:
    with pytest.raises(StoreError, match="from before this version"):
        open_reader(settings_for(old_file))
    store = open_store(settings_for(old_file))
    assert store.offsets() == {Partition("results", 3): 17}
    store.close()
    reader = open_reader(settings_for(old_file))
    user = reader.user("anna")
    assert user is not None
    assert (user.plan, user.attributes, user.maintenance) == ("pro", {"age": 30}, ())
    assert user.monitor_ids == ("blog", "shop"), "what a command put is not of the signup"
    assert reader.partition_of("bert") == 4
    shop = reader.monitor("anna", "shop")
    assert shop is not None
    policy = Policy(5_000, 2, 1, Misfire.SKIP, 7, Priority.HIGH)
    assert (shop.state, shop.spec.schedule, shop.spec.policy) == (State.DOWN, Every(60_000), policy)
    assert (shop.spec.payload, shop.spec.max_runs, shop.agenda.runs) == ("", 0, 0)
    [stretch] = reader.history()
    assert (stretch.schedule, stretch.policy, stretch.max_runs, stretch.ends_at) == (Every(60_000), policy, 0, 0)
    [stored] = reader.results()
    assert (stored.result.timings, stored.result.manual, stored.deliveries) == ({"dns": 1.5}, False, 2)
    assert stored.result.detail == ""
    assert list(reader.identities(0, 90_000)) == [
        Identity("anna", "shop", 60_000, 1, 2, 0, 0, False, "success", 60_005)
    ]
    assert reader.transitions() == [Transition("anna", "shop", 7_000, State.UP, State.DOWN, "timed out", 2)]
    reader.close()


def test_a_transition_of_a_task_that_the_first_schema_held_is_read_with_its_outcome(old_file: Path) -> None:
    with sqlite3.connect(old_file) as connection:
        connection.execute("INSERT INTO transitions VALUES ('bert', 'failed', 9000, 'done', 'new', 'failure: 3 s', 1)")
    open_store(settings_for(old_file)).close()
    reader = open_reader(settings_for(old_file))
    ended = Transition("bert", "failed", 9_000, State.NEW, State.DONE, "3 s", 1, outcome=Status.FAILURE)
    assert ended in reader.transitions()
    reader.close()


def test_tasks_that_the_first_schema_held_as_monitors_are_known_as_tasks(old_file: Path) -> None:
    open_store(settings_for(old_file)).close()
    reader = open_reader(settings_for(old_file))
    tasks = {t.monitor_id: t for t in reader.tasks(now=0)}
    assert {name: (t.status.value, t.reason, t.due_at, t.ended_at) for name, t in tasks.items()} == {
        "late": ("pending", "", 5_001, 0),
        "held": ("pending", "paused by command", 9_000, 0),
        "done": ("done", "200 OK", 9_000, 9_000),
        "failed": ("failed", "timed out: 3 s", 9_000, 9_000),
        "mute": ("failed", "", 9_000, 9_000),
    }
    assert [name for name, t in tasks.items() if t.paused] == ["held"]
    assert (tasks["late"].created_at, tasks["late"].partition) == (4_500, 4)
    monitors = {found.monitor_id: found for found in reader.monitors("bert")}
    assert all(isinstance(found.spec.schedule, At) for found in monitors.values())
    # rows of before 0014 have the outcome before the reason
    assert (monitors["failed"].outcome, monitors["failed"].reason) == (Status.FAILURE, "timed out: 3 s")
    assert (monitors["done"].outcome, monitors["done"].reason) == (None, "200 OK")
    assert [t.outcome for t in tasks.values()] == [None] * 5
    reader.close()


def older_revisions() -> list[tuple[str, str]]:
    """Each kind of database with each revision before the newest that it was ever made with."""
    scripts = list(ScriptDirectory(MIGRATIONS).walk_revisions())[1:]
    found = [script.revision for script in reversed(scripts)]
    return [("sqlite", each) for each in found] + [("postgresql", each) for each in found if each >= "0006"]


# what a column of one of these names holds; another one its name, or 1
TEXTS = {
    "attributes": '{"age":30}',
    "monitor_ids": '["shop"]',
    "maintenance": "[]",
    "schedule": '{"type":"every","interval_ms":60000}',
    "policy": POLICY_OF_0001,
    "misfire": "skip",
    "origin": "signup",
    "state": "up",
    "to_state": "down",
    "from_state": "up",
    "agenda": "{}",
    "signals": "{}",
    "labels": "[]",
    "timings": "{}",
    "answer": "done",
    "outcome": "success",
    "user_id": "anna",
    "monitor_id": "shop",
    # of both tables of search texts
    "text": "\nanna\nshop",
}


def fill(connection: Connection) -> None:
    """One row into each table that there is."""
    tables = MetaData()
    tables.reflect(connection)
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("CREATE TABLE results_before PARTITION OF results FOR VALUES FROM (MINVALUE) TO (86400000)")
        )
    for table in tables.sorted_tables:
        # what indexes of texts are made of fills itself
        if table.name == "alembic_version" or "_fts" in table.name:
            continue
        row: dict[str, object] = {}
        for column in table.c:
            if isinstance(column.type, Boolean):
                row[column.name] = False
            elif isinstance(column.type, Text | String):
                row[column.name] = TEXTS.get(column.name, column.name)
            elif isinstance(column.type, LargeBinary):
                row[column.name] = msgspec.msgpack.encode(JournalRow(1, ["anna"], ["shop"], [0], [1.5], []))
            else:
                row[column.name] = 1
        if "status" in row:
            row["status"] = "pending" if table.name == "tasks" else row["status"]
        if table.name == "transitions" and "labels" in row:
            row["labels"] = "{}"
        if table.name == "results" and isinstance(table.c.status.type, Text | String):
            row["status"] = "success"
        connection.execute(insert(table).values(row))


@pytest.mark.parametrize(("kind", "revision"), older_revisions())
def test_a_database_filled_by_each_older_revision_is_upgraded(
    kind: str, revision: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}" if kind == "sqlite" else request.getfixturevalue("empty_postgres_url")
    engine = create_engine(parse_url(url))
    with engine.begin() as connection:
        upgrade_to(revision, connection)
        fill(connection)
    engine.dispose()
    settings = Settings(data_dir=tmp_path, database=url)
    store = open_store(settings)
    assert store.offsets() == {Partition("topic", 1): 1}
    store.apply(batch())
    store.close()
    reader = open_reader(settings)
    assert sorted(stored.result.user_id for stored in reader.results()) == ["anna", "user-0"]
    [(user, [monitor])] = reader.catalogue()
    assert (user.user_id, user.attributes, monitor.monitor_id, monitor.state) == ("anna", {"age": 30}, "shop", State.UP)
    counts = reader.catalogue_counts()
    assert (counts.monitors, counts.users) == ((("up", "kind", "plan", 1),), {"plan": 1})
    for which in (Selection(contains="hop"), Selection(plan="plan", state="up"), Selection(prefix="sh")):
        assert reader.list_monitors(which, sort=Sort.CHANGED) == [monitor]
    assert [each.user.user_id for each in reader.list_users(Selection(prefix="AN"))] == ["anna"]
    assert [each.schedule for each in reader.history()] == [Every(60_000)]
    assert [each.to_state for each in reader.transitions()] == [State.DOWN]
    assert reader.purge("nobody", "p-1") is None
    assert len(list(reader.identities(0, 10))) == 2
    assert len(reader.tasks(now=0)) == (revision >= "0002")
    assert len(reader.dead_letters()) == len(reader.replies("anna")) == (revision >= "0011")
    reader.close()


def test_monitors_that_are_stored_are_filled_in_a_bite_at_a_time_and_a_start_that_is_killed_is_gone_on_with(
    database_url: str, tmp_path: Path
) -> None:
    engine = create_engine(parse_url(database_url))
    with engine.begin() as connection:
        upgrade_to("0009", connection)
        fill(connection)
        for number in range(10):
            for table in ("users", "monitors"):
                columns = [each["name"] for each in inspect(connection).get_columns(table) if each["name"] != "user_id"]
                own = ", ".join(f'"{name}"' for name in columns)
                connection.execute(
                    text(f"INSERT INTO {table} (user_id, {own}) SELECT 'u{number}', {own} FROM {table} LIMIT 1")
                )
    with engine.begin() as connection:
        migrate(connection)
    killed = filling(engine, 3)
    for _ in range(2):
        next(killed)
    killed.close()
    of_monitors, of_users = 2 + 1, 3 + 1 + 1
    bites = list(filling(engine, 3))
    assert len(bites) == of_monitors + of_users, "six were filled before; each list ends with an empty bite"
    assert list(filling(engine, 3)) == [], "it is done once"
    engine.dispose()
    settings = Settings(data_dir=tmp_path, database=database_url)
    open_store(settings).close()
    reader = open_reader(settings)
    assert len(reader.list_monitors(Selection(contains="hop"))) == 11
    assert len(reader.list_monitors(Selection(plan="plan"))) == 11
    assert len(reader.list_users(Selection(prefix="u"))) == 10
    reader.close()


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
        (
            "mysql://host/db",
            "scheme 'mysql' is not supported: EVERWATCH_DATABASE must begin with sqlite:/// or postgres",
        ),
        ("postgresql+asyncpg://host/db", r"scheme 'postgresql\+asyncpg' is not supported"),
        ("postgresql://host:port/db", "EVERWATCH_DATABASE is not a database URL"),
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
