"""Local state is its owner's alone: what is made is closed, and what is there is closed or told of."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.private_files import make_private_data_folder, make_private_database, make_private_folder
from everwatch.diagnosis import System
from everwatch.diagnosis.checks.folders import check_folders
from everwatch.store import open_store


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    """Umask of a usual shell, under which every user may read a new file."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_folder_and_those_above_it_are_made_for_the_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    make_private_folder(tmp_path / "there" / "data" / "workers" / "1")
    assert mode(tmp_path / "there") == 0o755
    for made in ("data", "data/workers", "data/workers/1"):
        assert mode(tmp_path / "there" / made) == 0o700, made


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong in ("file", "file/folder"):
        with pytest.raises(OSError):
            make_private_folder(tmp_path / wrong)


def test_the_database_and_the_files_beside_it_are_the_owners_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    with closing(open_store(settings)):
        found = sorted((tmp_path / "data").iterdir())
        assert [path.name for path in found] == ["everwatch.db", "everwatch.db-shm", "everwatch.db-wal"]
        assert [mode(path) for path in found] == [0o600] * 3
    assert mode(tmp_path / "data") == 0o700


def test_a_database_from_before_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE kept (n)")
    file.chmod(0o644)
    make_private_database(file)
    assert mode(file) == 0o600
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_data_folder_from_before_is_closed_with_what_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("workers/1", "kafka", "logs"):
        (folder / name).mkdir(parents=True)
    (folder / "everwatch.db").touch()
    assert make_private_data_folder(folder) == ""
    assert {name: mode(folder / name) for name in ("", "workers", "kafka", "logs", "everwatch.db")} == {
        "": 0o700, "workers": 0o700, "kafka": 0o700, "logs": 0o700, "everwatch.db": 0o600,
    }  # fmt: skip


def test_a_folder_that_holds_other_things_is_left_alone_and_told_of(tmp_path: Path) -> None:
    # as if /var/lib were named by mistake: its kafka is not ours
    for name in ("kafka", "mysql"):
        (tmp_path / name).mkdir()
    tmp_path.chmod(0o755)
    warning = make_private_data_folder(tmp_path)
    assert "is open to other users (mode 0755) and holds more than Everwatch's data (mysql)" in warning
    assert mode(tmp_path) == mode(tmp_path / "kafka") == 0o755


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "logs").symlink_to(tmp_path / "elsewhere")
    make_private_data_folder(tmp_path / "data")
    assert mode(tmp_path / "elsewhere") == 0o755


def test_a_folder_of_another_user_is_told_of(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir(mode=0o755)
    said = make_private_data_folder(folder, folder.stat().st_uid + 1)
    assert "is open to other users (mode 0755) and is not this user's to close" in said
    assert mode(folder) == 0o755


def test_doctor_names_what_others_may_look_into(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "workers").mkdir(parents=True)
    (folder / "everwatch.db").touch()
    system = System(Settings(data_dir=folder), "", SettableClock())
    assert [finding.remedy for finding in check_folders(system)] == [
        f"Run chmod 700 {folder / 'workers'} as its owner.",
        f"Run chmod 600 {folder / 'everwatch.db'} as its owner.",
    ]
    make_private_data_folder(folder)
    folder.chmod(0o755)
    [finding] = check_folders(system)
    assert finding.ok
    assert "its names are open to other users, what it holds is not" in finding.says
    elsewhere = tmp_path / "elsewhere.db"
    elsewhere.touch()
    [finding] = check_folders(replace(system, settings=Settings(data_dir=folder, database=f"sqlite:///{elsewhere}")))
    assert finding.remedy == f"Run chmod 600 {elsewhere} as its owner."


MAKES_FILES = """
import sys
from pathlib import Path
from everwatch.core.private_files import keep_files_private, shared_files

folder = Path(sys.argv[1])
keep_files_private()
(folder / "own").touch()
with shared_files():
    (folder / "jar").touch()
(folder / "own again").touch()
"""


def test_shared_files_are_made_as_the_shell_said(tmp_path: Path) -> None:
    # the umask is that of a whole process
    subprocess.run([sys.executable, "-c", MAKES_FILES, tmp_path], check=True, umask=0o022)
    assert [mode(tmp_path / name) for name in ("own", "jar", "own again")] == [0o600, 0o644, 0o600]


def test_every_command_makes_files_for_its_user_alone(tmp_path: Path) -> None:
    """A file that is made by a part which knows nothing of modes."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"no": "user"}\n')
    subprocess.run(
        [sys.executable, "-m", "everwatch", "import", rows, "--dry-run", "--rejects", tmp_path / "rejects"],
        env={"PATH": os.environ["PATH"], "EVERWATCH_DATA_DIR": str(tmp_path / "data")},
        check=False,
        capture_output=True,
    )
    assert mode(tmp_path / "rejects") == 0o600
