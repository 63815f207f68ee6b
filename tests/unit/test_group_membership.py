"""The name under which a worker is a member of its group."""

import shutil
from pathlib import Path

from streams.transport.group_membership import heartbeat_s, member_name


def test_a_worker_that_comes_back_to_its_folder_has_the_name_it_had(tmp_path: Path) -> None:
    name = member_name(tmp_path, "1")
    assert name.startswith("1-")
    assert member_name(tmp_path, "1") == name


def test_workers_of_one_number_on_two_machines_have_two_names(tmp_path: Path) -> None:
    names = []
    for machine in ("a", "b"):
        (tmp_path / machine).mkdir()
        names.append(member_name(tmp_path / machine, "1"))
    assert len(set(names)) == 2


def test_a_worker_over_a_copy_of_a_folder_does_not_take_the_original_ones_place(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    name = member_name(original, "1")
    shutil.copytree(original, copy)
    assert member_name(copy, "1") != name
    assert member_name(original, "1") == name


def test_a_damaged_name_is_made_anew(tmp_path: Path) -> None:
    member_name(tmp_path, "1")
    (tmp_path / "member").write_bytes(b"\xff half a na")
    name = member_name(tmp_path, "1")
    assert member_name(tmp_path, "1") == name


def test_a_member_is_heard_of_three_times_in_the_shortest_session() -> None:
    assert heartbeat_s(6_000) * 3 <= 6
    assert heartbeat_s(300_000) <= 1
