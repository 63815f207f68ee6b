"""Fixtures of tests against a real Kafka: one broker for the whole run, and pipelines on it.

A pipeline has its own topic prefix and data folder, so tests on one broker do not see each other.
"""

import fcntl
import gc
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support import class_archive, compiling, forking, network
from support.authority import Authority
from support.pipeline import FEW, Pipeline
from support.postgres import FAST, Databases, Missing, running
from support.scheduling import SideBySide
from support.shared_broker import SharedBroker, shared_broker
from support.target import Target
from xdist.remote import Producer

from everwatch.cli.support import global_options

pytest_plugins = ["support.console_fixtures"]

# how long an example takes is nothing that a test asserts: the machine may be busy with other things
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# the one that class archives are made for
os.environ["JAVA_HOME"] = str(class_archive.JAVA_HOME)
# hundreds of processes are started: each would compile all modules anew, and pytest all tests for each of its own
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# what commands print is asserted in UTC, wherever the tests run
os.environ.pop("TZ", None)

NewPipeline = Callable[..., Pipeline]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SideBySide | None:
    """Modules that start processes run beside those that only calculate, unless another distribution is asked for."""
    return SideBySide(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what a run of all tests leaves out, and why."""
    if config.getoption("markexpr") == "not live" and config.getoption("file_or_dir") == []:
        terminalreporter.write_line(
            "LEFT OUT tests marked live: each needs minutes or something large (an image, a download);"
            " run one of them by: pytest -m live FILE"
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the suite's own."""
    parser.addoption(
        "--fencing-rounds",
        type=int,
        default=2,
        help="How often a worker is stopped and continued: about 20 s each, so for many give -o timeout=0 too.",
    )
    parser.addoption(
        "--healthy-minutes",
        type=float,
        default=10,
        help="How long a live test watches that no alert fires; give -o timeout=0 too for more than 15.",
    )
    parser.addoption("--mutants", type=int, default=2_000, help="Mutants for each input topic.")
    parser.addoption("--api-examples", type=int, default=2, help="Requests made at random of each API operation.")
    parser.addoption("--cron-years", type=int, default=1, help="Years whose changes of clocks are compared.")
    parser.addoption("--fuzz-seed", default="1", help="Seed of the mutants; the same seed gives the same mutants.")


_MAKING = pytest.StashKey[subprocess.Popen[bytes] | None]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin to make the archive of classes beside a run of several processes, which starts many brokers."""
    config = session.config
    is_large = not hasattr(config, "workerinput") and bool(config.getoption("numprocesses", None))
    config.stash[_MAKING] = class_archive.begin_making() if is_large else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Share the compiling of tests among the processes of a run."""
    if hasattr(session.config, "workerinput"):
        given = session.config.workerinput
        places = [session.config.invocation_params.dir / name.partition("::")[0] for name in session.config.args]
        compiling.import_tests(places, int(given["workerid"].removeprefix("gw")), int(given["workercount"]))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave no process behind: a run may be over, or interrupted, before the archive is made."""
    forking.stop()
    making = session.config.stash.get(_MAKING, None)
    if making is not None:
        making.terminate()
        making.wait()


@pytest.fixture(scope="module", autouse=True)
def old_objects_are_not_searched() -> None:
    """Keep what earlier modules left out of garbage collections: a worker that stops asks for a whole one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def logs_are_as_before() -> Iterator[None]:
    """Undo the logs that a command set up: it writes to the output that it was run with."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    known = {each: each.level for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger)}
    yield
    if root.handlers != handlers:
        root.handlers = handlers
        root.setLevel(level)
        for each in root.manager.loggerDict.values():
            if isinstance(each, logging.Logger):
                each.setLevel(known.get(each, logging.NOTSET))


@pytest.fixture(autouse=True)
def options_are_as_before() -> Iterator[None]:
    """Undo what the options before a command, and its name, have set: in a process there is one command."""
    given: list[ContextVar[Any]] = [
        global_options.TIMEZONE, global_options.API, global_options.TOKEN, global_options.COMMAND,
    ]  # fmt: skip
    before = [each.get() for each in given]
    yield
    for each, value in zip(given, before, strict=True):
        if each.get() is not value:
            each.set(value)


@pytest.fixture(scope="module", autouse=True)
def brokers_start_fast() -> None:
    """Have brokers that are started from now on use the archive of classes, if it is made by now."""
    os.environ["JAVA_TOOL_OPTIONS"] = class_archive.java_options()


@pytest.fixture(scope="module", autouse=True)
def one_heavy_module_at_a_time(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Keep modules marked ``heavy`` apart: each starts many processes, and what they show happens at certain times."""
    if request.node.get_closest_marker("heavy") is None:
        yield
        return
    # of all processes of this run
    with (tmp_path_factory.getbasetemp().parent / "heavy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedBroker]:
    """The broker of this run of tests, on which each module has topics and groups of its own."""
    folder = tmp_path_factory.getbasetemp()
    is_one_of_several = "PYTEST_XDIST_WORKER" in os.environ
    with shared_broker(
        (folder.parent if is_one_of_several else folder) / "shared-broker", lives_long=is_one_of_several
    ) as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    """Databases of a PostgreSQL server of the session."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running(*FAST))
        except Missing as error:
            pytest.skip(str(error))
        yield Databases(server)


@pytest.fixture
def postgres_url(postgres: Databases) -> Iterator[str]:
    """A database with the tables in place and nothing in them."""
    with postgres.one() as url:
        yield url


@pytest.fixture
def empty_postgres_url(postgres: Databases) -> Iterator[str]:
    """A database without tables."""
    with postgres.empty() as url:
        yield url


@pytest.fixture(scope="module")
def own_network() -> Iterator[None]:
    """A network for a module's tests that no packet leaves, and where this machine has every address.

    Whoever may not have one (it takes root, or CAP_SYS_ADMIN) skips them: they name addresses that are others'.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(network.own_network())
        except network.NotPermitted as error:
            pytest.skip(f"no network of its own for this test: {error}")
        yield


@pytest.fixture(scope="module", autouse=True)
def nothing_leaves_this_machine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep what a module of unit or property tests sends on this machine, whatever address it names.

    In a network of the module's own; where there may be none, a connection to elsewhere fails its test. What listens
    for longer than a module (the session's broker and target) is not reached from there. Tests of whole processes share
    brokers from module to module, and name loopback addresses only.
    """
    if Path(request.path).parent.name not in ("unit", "property"):
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(network.own_network())
        except network.NotPermitted:
            stack.enter_context(network.loopback_only())
        yield


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs certificates of tests."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    """A local HTTP server for checks."""
    with Target() as running:
        yield running


@pytest.fixture(scope="module")
def pipeline(new_pipeline: NewPipeline) -> Pipeline:
    """A running worker, executor and sink for a module's tests that kill nothing.

    They end with the module: processes that only wait cost a tenth of a core, four runs of tests side by side four.
    """
    running = new_pipeline(partitions=FEW)
    running.ensure("worker", "executor", "sink")
    running.wait_until_ready()
    return running


@pytest.fixture(scope="module")
def new_pipeline(
    request: pytest.FixtureRequest, broker: SharedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NewPipeline]:
    """Makes pipelines of the module's own, with nothing running in them; they are stopped when the module is done."""
    made: list[Pipeline] = []
    module = Path(request.path).stem

    def new(bootstrap_servers: str = "", **settings: object) -> Pipeline:
        name = f"{module}-{len(made) + 1}"
        address = bootstrap_servers or broker.bootstrap_servers
        made.append(Pipeline(tmp_path_factory.mktemp(name), address, f"{name}.", **settings))
        return made[-1]

    yield new
    for each in made:
        each.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Show the ends of the processes' logs with a failure."""
    report = yield
    if report.failed:
        for running in Pipeline.open_ones:
            report.sections.extend(running.log_tails())
    return report
