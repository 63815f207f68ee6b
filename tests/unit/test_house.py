"""The source as a stranger meets it: files of a size that can be read, and one meaning for each class name."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path.relative_to(ROOT) for folder in ("src/everwatch", "streams") for path in (ROOT / folder).rglob("*.py")
)
ALL_FILES = sorted(
    path.relative_to(ROOT)
    for folder in ("src/everwatch", "streams", "tests", "bench", "docs", "deploy", ".ci")
    for path in (ROOT / folder).rglob("*.py")
)
MOST_LINES = 350
REASON = "All in one file: "


def lines_of(path: Path) -> int:
    return (ROOT / path).read_text().count("\n")


@pytest.mark.parametrize("path", [path for path in ALL_FILES if lines_of(path) > MOST_LINES], ids=str)
def test_a_long_file_gives_its_reason_in_its_docstring(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    assert REASON in docstring, f"split {path}, or say why: '{REASON}…'"


class Measures(NamedTuple):
    """Of all files: where each class is defined; functions by name ("file function") with arguments and depth."""

    classes: dict[str, list[str]]
    functions: list[tuple[str, int, int]]


@pytest.fixture(scope="module")
def measures() -> Measures:
    found = Measures(defaultdict(list), [])
    for path in FILES:
        tree = ast.parse((ROOT / path).read_text())
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found.classes[node.name].append(str(path))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.functions.append((f"{path} {node.name}", len(arguments_of(node)), depth_of(node)))
    return found


def test_a_class_name_has_one_meaning(measures: Measures) -> None:
    assert {name: paths for name, paths in measures.classes.items() if len(paths) > 1} == {}


PATCHES = {
    "tests/chaos/test_fencing.py": (2, "a whole worker process that kills itself at a step of a unit of work"),
    "tests/integration/test_bulk_recovery.py": (2, "a whole worker process that twice fails amid reading in bulk"),
    "tests/integration/test_worker_put_away.py": (
        2,
        "a whole worker process that says what it took up, and whose disk is full while a file is there",
    ),
    "tests/support/dying_notifier.py": (5, "a whole notifier process that kills itself at a step of its work"),
    "tests/unit/test_archive.py": (1, "a package that is not installed"),
    "tests/unit/test_open_telemetry.py": (1, "a package that is not installed"),
    "tests/unit/test_store_sqlite.py": (2, "a file system without locks, and a full disk"),
}
"""Patches that are left in tests, by file: how many, and what has no argument there."""

PRIVATE_NAMES = {
    "tests/integration/test_stamped_ticks.py": (
        5,
        "aiokafka's sequence numbers and connections, which it does not show",
    ),
    "tests/support/dying_notifier.py": (4, "steps within a transaction"),
    "tests/support/scheduling.py": (1, "the method of xdist's scheduler that a subclass extends"),
    "tests/unit/test_api_console.py": (
        1,
        "aiohttp's switch for decompression, which a session has as an argument only",
    ),
    "tests/unit/test_standby_fetching.py": (1, "fetched bytes of aiokafka's fetcher, which only a broker gives it"),
}
"""Private names of other classes and modules that tests use, by file: how many, and which."""

OF_NAMED_TUPLES = {"_replace", "_asdict", "_fields", "_make"}
TESTS = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py") if path.name != Path(__file__).name)


CALLS = re.compile(r"\b\w+\.set(?:attr|item)\(|(?<![\w.])setattr\(|\bpatch\(|\bvars\(\w+\)\.update\(")


def patches_in(source: str) -> int:
    """How often an attribute or an entry of something that was made elsewhere is replaced, in programs as text too.

    An entry of ``vars(system)`` is none: it is what a cached property would ask for.
    """
    return patches_of(source, ast.parse(source))


def patches_of(source: str, tree: ast.AST) -> int:
    return len(CALLS.findall(source)) + sum(map(assigned_in, [tree, *programs_in(tree)]))


def programs_in(tree: ast.AST) -> Iterator[ast.AST]:
    """The programs with imports that stand in a file as text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "import " in node.value:
            with suppress(SyntaxError):
                yield ast.parse(node.value)


def assigned_in(tree: ast.AST) -> int:
    """How many attributes of what is imported, other than the interpreter's (``sys``), a program assigns."""
    imported = {
        (each.asname or each.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for each in node.names
    } - {"sys"}
    targets = [
        target
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for each in node.targets
        for target in (each.elts if isinstance(each, ast.Tuple) else [each])
    ]
    return sum(
        isinstance(target, ast.Attribute) and ast.unparse(target).split(".")[0] in imported for target in targets
    )


def is_private(node: ast.AST) -> bool:
    """Tell whether this is a private attribute of something else than the class or object at hand."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.attr not in OF_NAMED_TUPLES
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "os", "KafkaError"))
    )


def test_tests_patch_only_what_has_no_argument_and_use_public_names() -> None:
    patched, private = Counter[str](), Counter[str]()
    for path in TESTS:
        source = (ROOT / path).read_text()
        tree = ast.parse(source)
        patched[str(path)] = patches_of(source, tree)
        private[str(path)] = sum(map(is_private, ast.walk(tree)))
    assert +patched == {path: number for path, (number, _) in PATCHES.items()}
    assert +private == {path: number for path, (number, _) in PRIVATE_NAMES.items()}


@pytest.mark.parametrize(
    ("source", "patches"),
    [
        ("import a.b as c\nc.D.e, c.f = 1, 2", 2),
        ("from a import B\ndef test():\n    B.c = 1", 1),
        ("PROGRAM = 'import a\\na.b = 1'", 1),
        ("import a\nb = a.B()\nb.c = 1", 0),
        ("vars(a).update(b=1)", 1),
    ],
)
def test_a_patch_is_found(source: str, patches: int) -> None:
    assert patches_in(source) == patches


MOST_ARGUMENTS = 6
MORE_ARGUMENTS = {
    "src/everwatch/kafka/outbox.py send": "those of librdkafka's produce(), and what becomes of the record",
    "src/everwatch/kafka/memory/message.py __init__": "the fields of librdkafka's message",
    "src/everwatch/kafka/memory/producer.py produce": "those of librdkafka's produce()",
}
"""Functions with more arguments, and why each is no missing concept."""

DEEPEST = 4
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def arguments_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = function.args
    return [
        each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs) if each.arg not in ("self", "cls")
    ]


def test_a_function_takes_six_arguments_at_most(measures: Measures) -> None:
    more = {name for name, arguments, _ in measures.functions if arguments > MOST_ARGUMENTS}
    assert more == set(MORE_ARGUMENTS)


def depth_of(node: ast.AST) -> int:
    """Return how deep blocks nest within a node; ``elif`` is no deeper than its ``if``."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, SCOPES):
            continue
        is_elif = isinstance(node, ast.If) and node.orelse == [child] and isinstance(child, ast.If)
        deepest = max(deepest, depth_of(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


def test_blocks_nest_four_deep_at_most(measures: Measures) -> None:
    assert {name for name, _, depth in measures.functions if depth > DEEPEST} == set()


def test_elif_is_no_deeper_than_its_if() -> None:
    assert depth_of(ast.parse("if a:\n    b\nelif c:\n    for d in e:\n        f")) == 2
