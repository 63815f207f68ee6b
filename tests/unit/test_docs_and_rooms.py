"""The docs name files and modules that exist, and the rooms of the import contract."""

import ast
import re
import subprocess
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRACKED = subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
).stdout.splitlines()
PAGES = [name for name in TRACKED if name.endswith(".md") and not name.startswith("tests/")]
FILE = re.compile(r"`(?:\.\./)*((?:[\w.-]+/)*[\w-]+\.(?:py|avsc))(?:::\w+)?`")
MODULE = re.compile(r"`((?:everwatch|streams)(?:\.[a-z_]\w*)+)`")
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
ANCHOR = re.compile(r"\]\((?!\w+:)([^)#\s]*)#([^)\s]+)\)")
MOST_LINES = 340
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# in messages and comments: docs/secured-kafka.md, ACLs, has the list
MENTION = re.compile(r"docs/([\w-]+\.md)(?:, ([A-Z][\w &-]*))?")


@pytest.mark.parametrize("page", PAGES)
def test_files_and_modules_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    files = {name for name in FILE.findall(text) if not any(f"/{path}".endswith(f"/{name}") for path in TRACKED)}
    links = {to for to in LINK.findall(text) if not (ROOT / page).parent.joinpath(to).exists()}
    modules = {name for name in MODULE.findall(text) if _is_module_like(name) and not _exists(name)}
    assert (files, links, modules) == (set(), set(), set())


@pytest.mark.parametrize("page", PAGES)
def test_the_sections_that_a_page_links_to_exist(page: str) -> None:
    missing = []
    for to, anchor in ANCHOR.findall((ROOT / page).read_text()):
        target = (ROOT / page).parent / to if to else ROOT / page
        if target.suffix == ".md" and target.exists() and anchor not in _anchors(target):
            missing.append(f"{to}#{anchor}")
    assert missing == []


def test_the_pages_and_sections_that_messages_name_exist() -> None:
    missing = []
    for name in TRACKED:
        if name.startswith(("src/", "streams/")) and name.endswith(".py"):
            for page, section in MENTION.findall((ROOT / name).read_text()):
                path = ROOT / "docs" / page
                if not path.exists() or (section and _slug(section) not in _anchors(path)):
                    missing.append(f"{name}: {page} {section}")
    assert missing == []


def test_modules_that_a_package_of_the_worker_names_in_its_docstring_exist() -> None:
    missing = []
    for init in sorted((ROOT / "streams").rglob("__init__.py")):
        docstring = ast.get_docstring(ast.parse(init.read_text())) or ""
        for name in re.findall(r"``((?:\w+/)*\w+)``", docstring):
            path = init.parent / name
            if ("/" in name or init.parent != ROOT / "streams") and not path.with_suffix(".py").exists():
                missing.append(f"{init.relative_to(ROOT)}: {name}")
    assert missing == []


def test_a_page_for_operators_is_short_enough_to_find_things_in() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs/operations.md").read_text())
    long = {page for page in {*listed, "operations.md"} if (ROOT / "docs" / page).read_text().count("\n") > MOST_LINES}
    # older pages, each about one subject
    assert long <= {"api.md", "notifications.md", "architecture.md", "kinds.md"}


def test_the_rooms_of_the_docs_are_those_of_the_import_contract_in_the_same_order() -> None:
    told = re.findall(r"^\| `([\w/]+?)(?:/|\.py)` \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = {c["containers"][0]: c["layers"] for c in contracts if c["type"] == "layers"}
    rooms = [
        (f"{package}/" if package == "streams" else "") + room.strip()
        for package in ("everwatch", "streams")
        for floor in reversed(floors[package])
        for room in floor.split("|")
        if room != "__main__"
    ]
    assert told == rooms


def test_every_part_that_the_table_of_events_names_has_that_method() -> None:
    source = "".join(path.read_text() for path in (ROOT / "streams").rglob("*.py"))
    table = re.findall(
        r"^\| [^|]+ \| [^|]+ \| ``(\w+)\.(\w+)`` \|$", (ROOT / "streams/events.py").read_text(), re.MULTILINE
    )
    assert len(table) == 10
    for part, method in table:
        [body] = re.findall(rf"^class {part}\b.*?(?=^class |\Z)", source, re.MULTILINE | re.DOTALL)
        assert re.search(rf"^    (?:async )?def {method}\(", body, re.MULTILINE), f"{part}.{method}"


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _anchors(page: Path) -> set[str]:
    return {_slug(heading) for heading in HEADING.findall(page.read_text())}


def _is_module_like(name: str) -> bool:
    # `everwatch.tick` is the type of an event, `everwatch.kinds` a group of entry points too
    return name.count(".") > 1


def _exists(name: str) -> bool:
    parent, _, last = name.rpartition(".")
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        found = find_spec(parent) if parent.count(".") else None
        return found is not None and last in Path(str(found.origin)).read_text()
