"""Quotes in the pages for operators are real: metrics, PromQL, settings, commands, and messages of the source."""

import ast
import re
import runpy
import shlex
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from support.prometheus import ROOT, named_in, run_tool

from everwatch.cli.main import app
from everwatch.core.config import Settings, load_settings
from everwatch.executor import tick_reader
from everwatch.kafka import clients
from streams.transport import worker_clients

DOCS = ROOT / "docs"
PAGES = [
    page
    for page in (
        *("sizing", "tuning", "troubleshooting", "slo", "tenants", "upgrading", "disaster-recovery", "regions"),
        *(
            "observability",
            "kubernetes",
            "kubernetes-commands",
            "repartitioning",
            "security",
            "diagnosis",
            "operations",
        ),
    )
    if (DOCS / f"{page}.md").exists()
]
SETTING = re.compile(r"EVERWATCH_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9_…])")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
METRICS = {
    name for name in named_in(runpy.run_path(str(ROOT / ".ci" / "metrics.py"))["page"]()) if name != "everwatch_"
}
# how the names of databases begin that a verification makes
NO_METRICS = {"everwatch_verify_"}


def text_of(page: str) -> str:
    """A page."""
    return (DOCS / f"{page}.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    """Its blocks of code in a language."""
    return [code for marked, code in BLOCK.findall(text_of(page)) if marked == language]


@pytest.mark.parametrize("page", PAGES)
def test_metrics_that_a_page_names_exist(page: str) -> None:
    unknown = named_in(text_of(page)) - METRICS - NO_METRICS
    # a name that ends so is the beginning of several
    prefixes = {name for name in unknown if name.endswith("_") and any(each.startswith(name) for each in METRICS)}
    assert unknown - prefixes == set()


@pytest.mark.parametrize("page", PAGES)
def test_settings_that_a_page_names_exist(page: str) -> None:
    known = {f"EVERWATCH_{name.upper()}" for name in Settings.__struct_fields__}
    assert set(SETTING.findall(text_of(page))) - known == set()


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_gives_exist_with_their_options(page: str) -> None:
    assert [line for line in _command_lines(page) if not _is_command(shlex.split(line, comments=True)[1:])] == []


def _is_command(words: list[str]) -> bool:
    """Tell whether the command line has a command with these options and arguments."""
    command: Any = typer.main.get_command(app)
    options = {"--help"}
    if words[:1] == ["backup"] and words[1:2] not in (["create"], ["verify"]):
        words = ["backup", "create", *words[1:]]
    while True:
        options |= {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        first = next((number for number, word in enumerate(words) if not word.startswith("-")), None)
        if first is None or not hasattr(command, "resolve_command"):
            break
        before, words = words[:first], words[first:]
        if {word.partition("=")[0] for word in before} - options:
            return False
        if words[0] not in command.commands:
            return False
        context = command.make_context("everwatch", [], resilient_parsing=True)
        _, command, words = command.resolve_command(context, words)
        options = {"--help"}
    named = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    most = sum(each.nargs if each.nargs > 0 else 99 for each in command.params if each.param_type_name == "argument")
    return named <= options and (most > 0 or not words or words[0].startswith("-"))


def test_prometheus_takes_the_expressions_of_the_page_of_objectives(tmp_path: Path) -> None:
    rules = "".join(
        f"      - record: everwatch:docs:{number}\n        expr: >-\n"
        + "".join(f"          {line}\n" for line in code.splitlines())
        for number, code in enumerate(blocks("slo", "promql"))
    )
    file = tmp_path / "rules.yml"
    file.write_text(f"groups:\n  - name: docs\n    rules:\n{rules}")
    assert f"{rules.count('record:')} rules found" in run_tool("promtool", "check", "rules", file)


def test_the_page_of_tuning_has_the_values_that_kafka_clients_are_made_with() -> None:
    settings = load_settings()
    made: list[Any] = [
        clients.producer_config(settings),
        clients.producer_config(settings) | clients.TRANSACTIONAL,
        clients.consumer_config(settings),
        worker_clients.GATHERING,
        tick_reader.PREFETCH,
    ]
    used = {name: {str(config[name]) for config in made if name in config} for config in made for name in config}
    table = text_of("tuning").partition("## Kafka clients")[2].partition("## Brokers")[0]
    checked = 0
    for names, values in re.findall(r"^\| (`[a-z.`, ]+`).*? \| ([^|]+) \|", table, re.MULTILINE):
        every = re.findall(r"`([^`]+)`", names)
        assert set(every) <= used.keys()
        said = {each.replace(",", "") for each in re.findall(r"(?<!\w)\d[\d,]*(?!\w)", values)}
        if len(every) == 1 and said and "MiB" not in values:
            assert said == used[every[0]], names
            checked += 1
    assert checked >= 4


def _command_lines(page: str) -> Iterator[str]:
    """Lines of shell blocks that call everwatch, and commands in running text, without what follows a pipe."""
    shell = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    running = re.findall(r"`(everwatch [^`]+)`", BLOCK.sub("", text_of(page)))
    for line in [*shell, *running]:
        inner = re.sub(r"^\s*(?:kubectl|helm|docker)\b.*?(?: -- |$)", "", line)
        called = re.search(r"(?:^|\s)(everwatch(?:\s.*|$))", inner.strip())
        if called and "NAME" not in line and "…" not in line:
            yield re.split(r"\s[|>&]|;|2>", called[1])[0]


def _quoted() -> Iterator[str]:
    """Lines that the page of symptoms says are printed: first cells of its tables, and lines of logs in its text."""
    page = text_of("troubleshooting")
    for table in re.findall(r"^\| it says \|.*\n\|[- |]+\n((?:\|.*\n)+)", page, re.MULTILINE):
        for row in table.splitlines():
            yield from re.findall(r"^\| `([^`]+)` \|", row)
    for paragraph in re.findall(r"^(?:Log of|A monitor whose).*(?:\n.+)*", page, re.MULTILINE):
        yield from (text for text in re.findall(r"`([^`]+)`", paragraph) if " " in text and "everwatch " not in text)


QUOTED = list(_quoted()) if "troubleshooting" in PAGES else []


@pytest.mark.parametrize("line", QUOTED)
def test_a_line_that_the_page_of_symptoms_quotes_is_in_the_source(line: str) -> None:
    fragments = [part.strip(" :;.,()") for part in line.split("…")]
    wanted = [part for part in fragments if len(part) > 3]
    assert wanted, "this quotes nothing"
    # a message may be put together of several texts
    assert [part for part in wanted if not any(part in text for text in _source())] == []


def test_the_page_of_symptoms_quotes_many_lines() -> None:
    assert len(QUOTED) > 60


@cache
def _source() -> tuple[str, ...]:
    """All texts of the source, and of the console; … stands for values."""
    texts: list[str] = []
    for folder in ("src/everwatch", "streams"):
        for path in (ROOT / folder).rglob("*.py"):
            texts += _texts(ast.parse(path.read_text()))
        for path in (ROOT / folder).rglob("*.js"):
            texts.append(path.read_text())
    return tuple(texts)


def _texts(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            # {'does' if one else 'do'} is either
            for branch in ("body", "orelse"):
                yield "".join(_part(part, branch) for part in node.values)


def _part(part: ast.expr, branch: str) -> str:
    if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.IfExp):
        part = getattr(part.value, branch)
    return str(part.value) if isinstance(part, ast.Constant) else "…"
