"""The console's vendored modules are the files that vendor.lock names, and pages import only files that there are."""

import gzip
import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from everwatch.console.files import ConsoleFiles

STATIC = Path(str(files("everwatch.console"))) / "static"
FOLDERS = [STATIC / "vendor", Path(__file__).parent.parent / "data" / "vendor"]
# statements begin a line in modules of the console, and stand anywhere in minified ones
STATEMENT = r"""(?:^|[;}])(?:import|export)\b[^"'`;=(]*?["']([^"']+)["']"""
CALL = r"""\bimport\(\s*["']([^"']+)["']"""
IMPORT = re.compile(f"{STATEMENT}|{CALL}", re.MULTILINE)
BUDGET = 75 * 1024
"""Bytes that a browser loads for the first page; the chart comes when there is one."""
MODULES = sorted(each for each in STATIC.rglob("*.js") if each.parent.name != "vendor")


def imports_of(module: Path) -> list[str]:
    """Return what a module imports, as it names it."""
    return [static or dynamic for static, dynamic in IMPORT.findall(module.read_text())]


@pytest.mark.parametrize("folder", FOLDERS, ids=["console", "tests"])
def test_vendored_files_are_those_of_the_lock_with_their_licences(folder: Path) -> None:
    lock = json.loads((folder / "vendor.lock").read_text())
    locked = {name: digest for package in lock.values() for name, digest in package["files"].items()}
    present = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.iterdir()}
    del present["vendor.lock"]
    assert present == locked
    for name, package in lock.items():
        assert package["licence"], name
        assert any(each.endswith(".LICENSE.txt") for each in package["files"]), name


def test_vendored_modules_import_each_other_only() -> None:
    for module in (STATIC / "vendor").glob("*.js"):
        for name in imports_of(module):
            assert name.startswith("./") and (STATIC / "vendor" / name).is_file(), f"{module.name} imports {name}"


@pytest.mark.parametrize("module", MODULES, ids=lambda each: str(each.relative_to(STATIC)))
def test_modules_import_files_that_there_are(module: Path) -> None:
    for name in imports_of(module):
        assert name.startswith("."), f"a browser cannot resolve {name!r}"
        assert (module.parent / name).is_file(), f"{name!r} is not there"


def loaded_with(module: Path, known: set[Path]) -> set[Path]:
    """A module, and all that it imports at its beginning."""
    if module not in known:
        known.add(module)
        for name, lazily in IMPORT.findall(module.read_text()):
            if not lazily:
                loaded_with((module.parent / name).resolve(), known)
    return known


def test_a_page_asks_at_once_for_all_modules_that_it_needs() -> None:
    """A module that is found only in another one costs a cold start the time of one more answer."""
    files = ConsoleFiles()
    shell = loaded_with(STATIC / "app" / "main.js", {STATIC / "early.js"})
    views = re.findall(
        r'path: "([a-z-]*)".*?import\("\.\./(pages/[a-z-]+\.js)"\)', (STATIC / "app/pages.js").read_text()
    )
    assert len(views) > 10
    views += [
        ("users/a%2Fb", "pages/user.js"),
        ("users/a/monitors/b.js", "pages/monitor.js"),
        ("incidents/7", "pages/incident.js"),
        ("no/such/view/at/all", "app/main.js"),
    ]
    for view, module in views:
        page = files.find(view)
        assert page is not None
        asked = re.findall(r'(?:href|src)="/console/@[0-9a-f]+/([^"]+\.js)"', page.content.decode())
        assert {STATIC / name for name in asked} == loaded_with(STATIC / module, set(shell)), view
        assert len(asked) == len(set(asked)), view


def test_what_a_cold_start_loads_is_small() -> None:
    shell = loaded_with(STATIC / "app" / "main.js", {STATIC / "early.js"})
    # the largest page comes on top
    page = max((loaded_with(each, set(shell)) for each in STATIC.glob("pages/*.js")), key=packed)
    assert packed(page) + packed({STATIC / "index.html", *STATIC.glob("css/*.css")}) <= BUDGET


def packed(files: set[Path]) -> int:
    """Bytes of files as they are sent."""
    return sum(len(gzip.compress(each.read_bytes(), 9)) for each in files)


def test_nothing_is_inline_that_the_content_security_policy_forbids() -> None:
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert "<style" not in page and " style=" not in page
    for module in MODULES:
        text = module.read_text()
        assert not re.search(r"\beval\(|new Function|innerHTML|setAttribute\(\s*[\"']style", text), module.name
        # a style as text would be an attribute; as an object it is set by script, which the policy allows
        assert not re.search(r"\bstyle=\"|\bstyle=\$\{`", text), module.name
