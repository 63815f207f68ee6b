"""The source as a stranger meets it: files of a size that can be read, and one meaning for each class name."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path.relative_to(ROOT) for folder in ("src/everwatch", "streams") for path in (ROOT / folder).rglob("*.py")
)
MOST_LINES = 350
REASON = "All in one file: "
# still to be split, or to give a reason
LONG = {
    "src/everwatch/store/interface.py",
}


def lines_of(path: Path) -> int:
    return (ROOT / path).read_text().count("\n")


@pytest.mark.parametrize("path", [path for path in FILES if lines_of(path) > MOST_LINES], ids=str)
def test_a_long_file_gives_its_reason_in_its_docstring(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    assert REASON in docstring or str(path) in LONG, f"split {path}, or say why: '{REASON}…'"


def test_a_class_name_has_one_meaning() -> None:
    defined: defaultdict[str, list[str]] = defaultdict(list)
    for path in FILES:
        for node in ast.parse((ROOT / path).read_text()).body:
            if isinstance(node, ast.ClassDef):
                defined[node.name].append(str(path))
    assert {name: paths for name, paths in defined.items() if len(paths) > 1} == {}
