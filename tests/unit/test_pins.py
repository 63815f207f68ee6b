"""The two places that pin versions agree, and neither records where packages come from."""

import re
import tomllib
from pathlib import Path

TOP = Path(__file__).parents[2]


def _constraints() -> dict[str, str]:
    settings = tomllib.loads((TOP / "pyproject.toml").read_text())
    pins: list[str] = settings["tool"]["uv"]["constraint-dependencies"]
    return dict(pin.split("==") for pin in pins)


def _locked() -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", (TOP / "requirements.lock").read_text(), re.MULTILINE))


def test_requirements_lock_and_uv_run_use_the_same_versions() -> None:
    constraints = _constraints()
    assert {name: constraints.get(name) for name in _locked()} == _locked()


def test_every_direct_dependency_is_pinned() -> None:
    settings = tomllib.loads((TOP / "pyproject.toml").read_text())
    direct = settings["project"]["dependencies"] + settings["dependency-groups"]["dev"]
    names = {re.match(r"[\w.-]+", item)[0].lower() for item in direct}  # type: ignore[index]
    assert names <= {name.lower() for name in _constraints()}


def test_every_pin_carries_hashes_and_no_address_is_recorded() -> None:
    text = (TOP / "requirements.lock").read_text()
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    assert not (TOP / "uv.lock").exists() or "uv.lock" in (TOP / ".gitignore").read_text().split()
