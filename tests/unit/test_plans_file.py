"""The file of plans under a running worker: what is right is taken, what is wrong changes nothing and is said once."""

import logging
import os
from pathlib import Path

import pytest

from everwatch.core.errors import SettingsError
from everwatch.plans.metrics import PLANS_OK
from everwatch.plans.plans_file import PlansFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "plans.toml"
    path.write_text("[plans.free]\n")
    return path


def names(file: PlansFile) -> list[str]:
    return sorted(file.current.all)


def is_ok() -> bool:
    return PLANS_OK.collect()[0].samples[0].value == 1


def test_a_file_that_changes_is_taken_anew_and_only_then(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    file = PlansFile(path)
    first = file.current
    assert not file.look()
    assert file.current is first
    path.write_text("[plans.free]\n[plans.pro]\n")
    assert file.look()
    assert names(file) == ["free", "pro"]
    assert caplog.messages == [f"plans taken from {path}: free, pro"]


def test_a_wrong_file_changes_nothing_and_is_said_once_until_it_changes_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = PlansFile(path)
    path.write_text("[plans.free]\nmax_monitor = 3\n")
    for _ in range(3):
        assert not file.look()
    assert names(file) == ["free"]
    assert not is_ok()
    assert caplog.messages == [
        f"the plans stay as they were: {path}, plan 'free', max_monitor: there is no field 'max_monitor'"
    ]
    path.write_text("[plans.\n")
    file.look()
    assert len(caplog.messages) == 2
    path.write_text("[plans.other]\n")
    assert file.look()
    assert names(file) == ["other"]
    assert is_ok()


def test_a_file_that_is_gone_changes_nothing_until_it_is_back(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = PlansFile(path)
    aside = path.with_suffix(".aside")
    path.rename(aside)
    for _ in range(2):
        assert not file.look()
    assert names(file) == ["free"]
    assert not is_ok()
    assert caplog.messages == [
        f"the plans stay as they were: The plans file {path} cannot be read: No such file or directory."
    ]
    aside.rename(path)
    assert file.look()
    assert is_ok()


def test_a_file_put_in_place_of_another_is_seen_although_size_and_time_are_the_same(path: Path) -> None:
    file = PlansFile(path)
    other = path.with_suffix(".new")
    other.write_text("[plans.cost]\n")
    status = path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    assert file.look()
    assert names(file) == ["cost"]


def test_a_file_that_is_wrong_to_begin_with_is_a_wrong_setting(path: Path) -> None:
    path.write_text("[plans.free]\nmax_monitors = 'x'\n")
    with pytest.raises(SettingsError) as caught:
        PlansFile(path)
    assert str(caught.value).startswith(
        f"The setting EVERWATCH_PLANS_FILE names wrong plans: {path}, plan 'free', max_monitors: expected"
    )
    with pytest.raises(SettingsError, match=r"The plans file .*/nowhere cannot be read: No such file or directory\."):
        PlansFile(path.parent / "nowhere")
    with pytest.raises(SettingsError, match="Is a directory"):
        PlansFile(path.parent)
