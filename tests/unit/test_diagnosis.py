"""Tests of how checks are run: each fault is a line with a remedy, and one check's trouble is not the others'.

All in one file: one system, whose faults are made one by one.
"""

import fcntl
import os
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException
from support.new_databases import open_new_storage, open_new_store
from support.waiting import wait_until

from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import StoreError
from everwatch.core.output_format import OutputFormat
from everwatch.diagnosis import CHECKS, System, diagnose
from everwatch.diagnosis.check_list import Check
from everwatch.diagnosis.checks import executors, transactions
from everwatch.diagnosis.checks.changelog import EntryCounters, compared, count_entries, database_counts
from everwatch.diagnosis.checks.dead_letters import grouped
from everwatch.diagnosis.checks.disk import check_disk
from everwatch.diagnosis.checks.emission import check_emission
from everwatch.diagnosis.checks.executors import ExecutorTraces
from everwatch.diagnosis.checks.notifier import check_notifier, findings
from everwatch.diagnosis.checks.sink import check_sink
from everwatch.diagnosis.checks.unreadable import check_unreadable
from everwatch.diagnosis.checks.workers import check_workers
from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.open_ticks import OpenTick, OpenTicks, open_ticks
from everwatch.diagnosis.system import DiskSpace, is_stopped
from everwatch.encoding import codec
from everwatch.kafka.consumer_groups import Member, executors_group, executors_groups, readings_of
from everwatch.kafka.lag import SILENT, Lag, members_by_process
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.memory.broker import SentRecord
from everwatch.kafka.process_figures import PartitionLag
from everwatch.kafka.topics import Topics
from everwatch.model import Result, Status, Tick
from everwatch.notifier.standing_rows import FailingServer, Standing, Waiting
from everwatch.rules.changelog_marks import Held
from everwatch.store import sqlite
from everwatch.store.database import parse_url

SYSTEM = System(Settings(), "127.0.0.1:1", SettableClock())


def gives(*findings: Finding) -> Check:
    return Check(findings[0].name, lambda _: iter(findings))


def raises(name: str, error: Exception) -> Check:
    def look(_: System) -> Iterator[Finding]:
        raise error
        yield

    return Check(name, look)


def test_every_fault_of_a_check_is_told() -> None:
    two = [fault("disk", "the disk is full", "Free some."), fault("disk", "the other one too", "Free some.")]
    assert list(diagnose(SYSTEM, [gives(*two), gives(well("database", "fine"))])) == [*two, well("database", "fine")]


def test_an_error_is_the_finding_of_its_check_and_the_others_go_on() -> None:
    broken = raises("database", StoreError("There is no database."))
    mute = raises("lag", KafkaException(KafkaError(KafkaError._TIMED_OUT, "timed out")))
    first, second, third = diagnose(SYSTEM, [broken, mute, gives(well("disk", "fine"))])
    assert (first.name, first.ok, first.says) == ("database", False, "There is no database.")
    assert (second.name, second.ok, "timed out" in second.says) == ("lag", False, True)
    assert third.ok


def test_what_needs_a_broker_is_left_out_when_none_answers() -> None:
    checks = [
        gives(fault("broker", "does not answer", "Start it.")),
        Check("topics", lambda _: iter([well("topics", "not asked for")]), needs=("broker",)),
    ]
    assert [finding.name for finding in diagnose(SYSTEM, checks)] == ["broker"]


def test_a_check_needs_only_checks_before_it() -> None:
    seen: set[str] = set()
    for check in CHECKS:
        assert seen.issuperset(check.needs), check.name
        seen.add(check.name)


# --- each fault ------------------------------------------------------------------------------------------------------

NOW = 1_795_262_400_000  # 2026-11-21T12:00:00Z
TOPICS = SYSTEM.topics


def row(process: str, topic: str, partition: int = 0, **more: Any) -> PartitionLag:
    """A partition that is well: owned, and nothing waits."""
    group = {"executor": "everwatch-executors", "sink": "everwatch-sink"}.get(process, f"everwatch-worker-{topic}")
    usual = {"committed": 10, "end": 10, "lag": 0, "lag_s": 0.0, "client_id": f"everwatch-{process}-1", "host": "h"}
    return PartitionLag(topic, group, process, partition, emitted_to=NOW, **usual | more)


def waits(process: str, topic: str, lag_s: float | None, partition: int = 0, **more: Any) -> PartitionLag:
    """A partition with records that wait."""
    return row(process, topic, partition, **{"end": 15, "lag": 5, "lag_s": lag_s} | more)


def system_with(
    *rows: PartitionLag,
    later: Iterable[PartitionLag] | None = None,
    settings: Settings = Settings(),  # noqa: B008
    given: Mapping[str, Any] = MappingProxyType({}),
    **absent: bool,
) -> System:
    """A system with these rows, all else well.

    ``later``: the rows of a second look; ``given``: other parts of the system; ``executor=False``: there is none.
    """
    processes = ("worker", "executor", "sink")
    usual = [row("worker", TOPICS.commands), row("executor", TOPICS.ticks), row("sink", TOPICS.results)]
    members = {
        name: () if absent.get(name) is False else (Member(f"everwatch-{name}-1", "h", frozenset()),)
        for name in processes
    }

    def lag_of(some: Iterable[PartitionLag]) -> Lag:
        all_rows = {(each.topic, each.process, each.partition): each for each in [*usual, *some]}
        return Lag(NOW, tuple(all_rows.values()), members)

    system = System(settings, "127.0.0.1:1", SettableClock(NOW), pause=lambda _: None, **given)
    # what is cached is not asked for
    vars(system)["lag"] = lag_of(rows)
    vars(system)["later_lag"] = lag_of(rows if later is None else later)
    vars(system)["emitted_to"] = {0: NOW}
    return system


def check_executors(system: System, **finished: int) -> Iterator[Finding]:
    """Check executors of which these finished something last then; none has written a note."""
    return executors.findings(system, ExecutorTraces({name.replace("_", "-"): at for name, at in finished.items()}, {}))


def faults(check: Callable[[System], Iterator[Finding]], system: System) -> list[str]:
    found = list(check(system))
    assert all(finding.remedy for finding in found if not finding.ok)
    return [finding.says for finding in found if not finding.ok]


def test_a_system_without_faults_is_well() -> None:
    for check in (check_workers, check_emission, check_executors, check_sink, check_unreadable):
        assert faults(check, system_with()) == []


def test_an_executor_that_is_gone_is_told_with_what_waits() -> None:
    check = partial(check_executors, vm_7=NOW - 60_000)
    [said] = faults(check, system_with(waits("executor", TOPICS.ticks, 61), executor=False))
    assert "no executor is running" in said
    assert "5 ticks wait, the first for 61 s" in said
    assert "vm-7 was the last one" in said


def test_an_executor_that_holds_its_partitions_and_finishes_nothing_is_frozen() -> None:
    [said] = faults(check_executors, system_with(waits("executor", TOPICS.ticks, 30)))
    assert "everwatch-executor-1 (h) is frozen" in said


def test_an_executor_that_finishes_others_is_slow_and_not_frozen() -> None:
    late = waits("executor", TOPICS.ticks, 30)
    [said] = faults(check_executors, system_with(late, later=[waits("executor", TOPICS.ticks, 30, committed=12)]))
    assert "slower than ticks come" in said
    # one long check holds the committed offset of its partition
    [said] = faults(partial(check_executors, executor_1=NOW - 2_000), system_with(late))
    assert "slower than ticks come" in said


def test_an_executor_that_waits_for_a_target_is_not_slow() -> None:
    late, owner = waits("executor", TOPICS.ticks, 45), ("everwatch-executor-1", TOPICS.ticks)

    def found(opened: OpenTicks) -> Finding:
        traces = ExecutorTraces({"executor-1": NOW - 2_000}, {}, {owner: opened})
        [finding] = executors.findings(system_with(late), traces)
        return finding

    # a check may take a minute: it does
    patient = found(OpenTicks(9, (OpenTick("slow.example", 45, 60), OpenTick("slow.example", 25, 60))))
    assert patient.ok
    assert "everwatch-executor-1 waits for slow.example (45 s), whose checks may take so long" in patient.says
    # others of its ticks wait for their turn at the same target
    limited = found(OpenTicks(9, (OpenTick("dead.example", 45, 10),)))
    assert limited.says.startswith("everwatch-executor-1 waits for dead.example (45 s): 5 ticks of ticks wait")
    assert "EVERWATCH_TARGET_IN_FLIGHT" in limited.remedy
    for slow in (
        OpenTicks(9, tuple(OpenTick(f"{name}.example", 45, 10) for name in "abcd")),
        # of nothing else is known that it is done
        OpenTicks(1, (OpenTick("dead.example", 45, 10),)),
        OpenTicks(9, ()),
    ):
        assert "slower than ticks come" in found(slow).says


def test_open_ticks_are_those_that_are_late_and_have_no_result_since() -> None:
    kafka = MemoryKafka(1)
    clients = MemoryClients(kafka)
    system = System(Settings(partitions=1), "127.0.0.1:1", SettableClock(NOW), given_clients=clients)
    config = '{"host": "slow.example", "port": 80}'
    for monitor_id, due_s in (("hangs", 45), ("done", 44), ("skipped", 43), ("hangs", 30), ("young", 5)):
        tick = Tick("u", monitor_id, NOW - due_s * 1_000, "tcp", config, 60_000, 1, 0)
        value = codec.encode_tick(tick)
        kafka.append(SentRecord(TOPICS.ticks, 0, b"u", value, tick.scheduled_at, []))
    result = Result("u", "done", NOW - 44_000, "tcp", 1, Status.SUCCESS, "", NOW - 44_000, 5.0)
    skipped = msgspec.structs.replace(
        result, monitor_id="skipped", scheduled_at=NOW - 50_000, status=Status.SKIPPED, skipped_until=NOW - 43_000
    )
    # a tick of a monitor that is at one already is skipped
    overlapping = msgspec.structs.replace(
        result, monitor_id="hangs", scheduled_at=NOW - 30_000, status=Status.SKIPPED, skipped_until=NOW - 30_000
    )
    for each in (result, skipped, overlapping):
        kafka.append(
            SentRecord(TOPICS.results, 0, b"u", codec.encode_result(each, OutputFormat.AVRO), NOW - 40_000, [])
        )
    found = open_ticks(system, [waits("executor", TOPICS.ticks, 45, committed=0)], 20)
    assert found == {("everwatch-executor-1", TOPICS.ticks): OpenTicks(4, (OpenTick("slow.example", 45.0, 60.0),))}
    assert open_ticks(system, [], 20) == {}


def test_an_executor_that_is_stopped_by_a_signal_is_frozen_though_others_do_its_work() -> None:
    check = partial(check_executors, vm_7=NOW - 60_000)
    [said] = faults(check, system_with(given={"host": "vm", "is_stopped": lambda pid: pid == 7}))
    assert said == (
        "everwatch-vm-7 is frozen: process 7 of this machine is stopped by a signal; others have its partitions"
    )
    # of another machine that cannot be told
    system = system_with(given={"host": "other", "is_stopped": lambda pid: pid == 7})
    [found] = check(system)
    assert found.ok
    assert found.says.endswith(
        "; not there any more, stopped, killed or frozen: everwatch-vm-7 (last result 2026-11-21 11:59:00Z)"
    )
    [found] = check_executors(system, vm_7=NOW - 3_600_000)
    assert "not there any more" not in found.says


def test_a_worker_that_is_stopped_by_a_signal_is_named_with_its_process(tmp_path: Path) -> None:
    me = os.getpid()
    given = {"host": "vm", "is_stopped": lambda pid: pid == me}
    system = system_with(worker=False, settings=Settings(data_dir=tmp_path), given=given)
    folders = [tmp_path / "workers" / name for name in "12"]
    for folder in folders:
        folder.mkdir(parents=True)
    # one that was killed leaves its file, and whatever has its number now holds no lock
    (folders[0] / "lock").touch()
    with (folders[1] / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        frozen, gone = check_workers(system)
    assert frozen.says == (
        f"everwatch-vm-worker-2 is frozen: process {me} of this machine is stopped by a signal; its session has ended"
    )
    assert frozen.remedy == f"Continue it ('kill -CONT {me}') or end it ('kill -KILL {me}')."
    [gone] = check_workers(system)
    assert gone.says == "no worker is running: no monitor runs"


def test_shares_that_differ_by_more_than_a_fifth_are_remarked() -> None:
    def owned(partitions: int, executors: int) -> list[PartitionLag]:
        return [row("executor", TOPICS.ticks, n, client_id=f"everwatch-e-{n % executors}") for n in range(partitions)]

    [found] = check_executors(system_with(*owned(8, 3)))
    assert found.ok
    assert found.says.endswith(
        f"; 3 executors share the 8 partitions of {TOPICS.ticks} as 3, 3, 2: 12 partitions would be shared evenly"
        " ('everwatch repartition')"
    )
    for partitions, several in ((8, 1), (8, 2), (12, 3), (48, 5)):
        [found] = check_executors(system_with(*owned(partitions, several)))
        assert "shared evenly" not in found.says


def test_dead_letters_of_one_kind_are_one_line() -> None:
    many = Counter({("commands", f"there is no task 't-{n}' of user 'u'"): 2 for n in range(3)})
    one = Counter({("signups", "there is no plan 'gold'"): 4})
    assert grouped(many + one) == {
        ("commands", "there is no task '…' of user '…'"): 6,
        ("signups", "there is no plan 'gold'"): 4,
    }


def test_a_stopped_process_is_told_from_a_running_one() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert not is_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        wait_until("it is stopped", lambda: is_stopped(process.pid))
        process.kill()
    assert not is_stopped(process.pid)


def test_partitions_without_an_owner_are_told_unless_a_rebalance_is_under_way() -> None:
    alone = [row("executor", TOPICS.ticks_low, number, client_id="") for number in (0, 1, 2, 5)]
    [said] = faults(check_executors, system_with(*alone))
    assert said == f"no executor claims partitions 0-2, 5 of {TOPICS.ticks_low}"
    assert faults(check_executors, system_with(*alone, later=[])) == []
    [said] = faults(check_workers, system_with(row("worker", TOPICS.commands, 3, client_id="")))
    assert said.startswith("no worker owns partitions 3")


def test_executors_of_a_region_that_are_gone_are_told_by_its_name() -> None:
    settings = Settings(regions=("eu", "us"))
    ticks = {each.region: each.normal for each in Topics.of(settings).regions}

    def of(region: str, **more: Any) -> PartitionLag:
        usual = row("executor", ticks[region], **more)
        return msgspec.structs.replace(usual, group=executors_group(settings, region))

    plain = row("executor", TOPICS.ticks, client_id="")
    system = system_with(plain, of("eu"), of("us", client_id="", lag=5), settings=settings)
    found = [each for each in check_executors(system) if not each.ok]
    assert [each.says for each in found] == ["no executor of region us claims partitions 0 of ticks.us"]
    assert "EVERWATCH_REGION=us" in found[0].remedy
    # with nothing that waits nobody need be there
    assert faults(check_executors, system_with(plain, of("eu"), of("us", client_id=""), settings=settings)) == []
    more = system_with(waits("executor", TOPICS.ticks, 5, client_id=""), of("eu"), of("us"), settings=settings)
    assert faults(check_executors, more) == [f"no executor claims partitions 0 of {TOPICS.ticks}"]


def test_an_executor_that_is_well_is_named_with_its_region() -> None:
    settings = Settings(regions=("eu",))
    system = system_with(settings=settings)
    members = {"executor": tuple(Member(f"e-{topic}", "h", frozenset({(topic, 0)})) for topic in ("ticks", "ticks.eu"))}
    vars(system)["lag"] = msgspec.structs.replace(system.lag, members=members)
    [found] = check_executors(system)
    assert found.says.startswith("e-ticks, e-ticks.eu (in eu): no tick waits")


def test_executors_of_all_regions_are_executors() -> None:
    settings = Settings(regions=("eu", "us"))
    members = {group: [Member(f"of {group}", "h", frozenset())] for group in executors_groups(settings)}
    members[executors_group(settings, "us")] = []
    readings = [each for each in readings_of(settings) if each.process == "executor"]
    found = members_by_process(readings, members)
    assert [each.client_id for each in found["executor"]] == ["of everwatch-executors", "of everwatch-executors.eu"]


def test_a_worker_that_stands_still_at_a_record_is_told() -> None:
    [said] = faults(check_workers, system_with(waits("worker", TOPICS.signups, 40, 6)))
    assert said.startswith(f"everwatch-worker-1 stands still on {TOPICS.signups}, partitions 6: 5 records wait")
    moved = [waits("worker", TOPICS.signups, 40, 6, committed=11)]
    [said] = faults(check_workers, system_with(waits("worker", TOPICS.signups, 40, 6), later=moved))
    assert "is behind" in said


def test_ticks_that_are_not_emitted_name_the_worker_that_should() -> None:
    system = system_with()
    vars(system)["emitted_to"] = {0: NOW - 30_000, 1: NOW - 20_000}
    owned, alone = sorted(faults(check_emission, system), key=lambda said: "everwatch-worker-1" not in said)
    assert "no ticks for 30 s on partitions [0]: everwatch-worker-1 owns them" in owned
    assert "partitions [1]: no worker owns them" in alone


def test_the_time_that_it_takes_to_look_is_no_delay_of_the_workers() -> None:
    clock = SettableClock(NOW)

    class Slow(System):
        @property
        def emitted_to(self) -> dict[int, int]:  # type: ignore[override]
            clock.advance(12_000)
            return {0: NOW - 1_000, 1: NOW + 11_000}

    system = Slow(Settings(), "127.0.0.1:1", clock, pause=lambda _: None)
    vars(system)["lag"] = system_with().lag
    assert faults(check_emission, system) == []


def test_a_sink_that_is_gone_locked_out_or_behind_is_told(tmp_path: Path) -> None:
    late = waits("sink", TOPICS.results, 45)
    [said] = faults(check_sink, system_with(late, sink=False))
    assert said.startswith("no sink is running")
    [said] = faults(check_sink, system_with(late))
    assert "stands still: 5 records wait" in said
    [said] = faults(check_sink, system_with(late, later=[waits("sink", TOPICS.results, 45, committed=11)]))
    assert "the sink is behind" in said


def test_a_sink_is_locked_out_while_another_process_holds_the_database(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    open_new_store(settings).close()
    system = system_with(
        waits("sink", TOPICS.results, 45),
        later=[],
        settings=settings,
        given={"is_locked": lambda url: sqlite.is_locked(parse_url(url), locked_s=0.05)},
    )
    with closing(sqlite3.connect(tmp_path / "everwatch.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        [said] = faults(check_sink, system)
        assert "locked out" in said
        other.execute("ROLLBACK")
        [said] = faults(check_sink, system)
        assert "locked out" not in said


NOTHING = Standing(Waiting(0, 0), Waiting(0, 0), [], 0, 0)


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (
            NOTHING._replace(events=Waiting(3, NOW - 90_000)),
            "wait 3 changes to be judged for 90 s; 7 trans",
        ),
        (NOTHING._replace(overdue=Waiting(2, NOW - 120_000)), "there wait 2 messages to be sent for 2 min"),
        (
            NOTHING._replace(failing=[FailingServer("hooks.example:443", 4, NOW - 60_000, "status 503")]),
            "hooks.example:443 takes nothing: 4 messages wait, the oldest for 60 s (status 503)",
        ),
        (NOTHING._replace(dead=5), "5 messages were given up in the last 10 min"),
    ],
)
def test_a_notifier_that_is_behind_or_whose_messages_are_not_taken_is_told(standing: Standing, said: str) -> None:
    [found] = findings(standing, 7, NOW, 600_000)
    assert (found.ok, said in found.says) == (False, True)
    assert found.remedy


def test_a_notifier_that_is_well_says_how_much_it_has_to_read(tmp_path: Path) -> None:
    kafka = MemoryKafka()
    for _ in range(6):
        kafka.append(SentRecord(TOPICS.transitions, 0, b"ann", b"x", NOW, []))
    settings = Settings(data_dir=tmp_path, partitions=1)
    system = replace(system_with(), settings=settings, given_clients=MemoryClients(kafka))
    vars(system)["lag"] = system_with().lag
    nobody = "none has been started: no alert is sent"
    assert list(check_notifier(system)) == [well("notifier", nobody)]
    with_rules = replace(system, settings=Settings(data_dir=tmp_path, notify_file=tmp_path / "n.toml"))
    vars(with_rules)["lag"] = system.lag
    [said] = faults(check_notifier, with_rules)
    assert said.startswith("EVERWATCH_NOTIFY_FILE names rules, and no alert is sent")
    open_new_storage(system.settings).close()
    assert list(check_notifier(system)) == [well("notifier", "6 transitions to be read")]


def with_notifier(tmp_path: Path, *rows: PartitionLag, runs: bool = True, later: PartitionLag | None = None) -> System:
    """A system whose notifier has run, or runs."""
    system = replace(system_with(), settings=Settings(data_dir=tmp_path))
    members = {"notifier": (Member("everwatch-notifier-1", "h", frozenset()),) if runs else ()}
    given = system_with(*rows).lag
    vars(system)["lag"] = Lag(NOW, given.partitions, given.members | members)
    vars(system)["later_lag"] = Lag(NOW, (later,), members) if later else vars(system)["lag"]
    return system


def test_a_notifier_that_is_gone_behind_or_without_partitions_is_told(tmp_path: Path) -> None:
    well_read = row("notifier", TOPICS.transitions)
    late = waits("notifier", TOPICS.transitions, 90)
    [found] = check_notifier(with_notifier(tmp_path, well_read))
    assert found == well("notifier", "everwatch-notifier-1, no record waits; its database cannot be read from here")
    [said] = faults(check_notifier, with_notifier(tmp_path, late, runs=False))
    assert said == "no notifier is running: no alert is sent; 5 records wait, the first for 90 s"
    [said] = faults(check_notifier, with_notifier(tmp_path, late))
    assert said == "everwatch-notifier-1 (h) stands still: 5 records wait, the first for 90 s"
    moved = waits("notifier", TOPICS.transitions, 90, committed=11)
    [said] = faults(check_notifier, with_notifier(tmp_path, late, later=moved))
    assert "is behind" in said
    alone = row("notifier", TOPICS.incidents, 3, client_id="")
    [said] = faults(check_notifier, with_notifier(tmp_path, well_read, alone))
    assert said == f"no notifier reads partitions 3 of {TOPICS.incidents}"


def test_a_partition_that_cannot_be_read_is_told_with_its_offset() -> None:
    silent = waits("worker", TOPICS.signals, None, 4, unreadable=SILENT)
    [said] = faults(check_unreadable, system_with(silent))
    assert f"cannot be read from offset 10 on ({SILENT})" in said
    # the broker was slow, or it has been read meanwhile
    for later in (row("worker", TOPICS.signals, 4), msgspec.structs.replace(silent, committed=11)):
        assert faults(check_unreadable, system_with(silent, later=[later])) == []
    poisoned = waits("worker", TOPICS.signals, None, 4, unreadable="Invalid compressed data")
    [said] = faults(check_unreadable, system_with(poisoned))
    assert said.startswith(
        f"partition 4 of {TOPICS.signals} cannot be read from offset 10 on (Invalid compressed data)"
    )
    [finding] = check_unreadable(system_with(poisoned))
    assert f"'everwatch topics skip {TOPICS.signals}/4/10 --dry-run'" in finding.remedy
    [finding] = check_unreadable(system_with(waits("sink", TOPICS.monitors_changelog, None, unreadable="bad message")))
    assert "--rebuild-changelog" in finding.remedy
    assert "topics skip" not in finding.remedy


@pytest.mark.parametrize(
    ("total", "free", "ok"),
    [(100 * 2**30, 1 * 2**30, False), (100 * 2**30, 3 * 2**30, True), (2**30, 2**27, True), (2**30, 2**26, False)],
)
def test_a_disk_that_is_nearly_full_is_told(tmp_path: Path, total: int, free: int, ok: bool) -> None:
    settings = Settings(data_dir=tmp_path / "not" / "there" / "yet")
    seen: list[Path] = []

    def space(path: Path) -> DiskSpace:
        seen.append(path)
        return DiskSpace(total, free)

    system = System(settings, "127.0.0.1:1", SettableClock(NOW), disk_space=space)
    assert [finding.ok for finding in check_disk(system)] == [ok]
    assert seen == [tmp_path]


# --- the changelog ----------------------------------------------------------------------------------------------------


class ChangelogConsumer:
    """Gives the record of one user, and then an error, for ever."""

    def __init__(self, error: int) -> None:
        self._error = KafkaError(error)
        self._first = [Record(TOPICS.monitors_changelog, b"ann\0", None)]

    def assign(self, _: object) -> None:
        pass

    def pause(self, _: object) -> None:
        pass

    def close(self) -> None:
        pass

    def consume(self, *_: object) -> list[Any]:
        some, self._first = self._first, []
        return some or [Record(TOPICS.monitors_changelog, b"", self._error)]


class Record:
    def __init__(self, topic: str, key: bytes, error: KafkaError | None) -> None:
        self._fields = topic, key, error

    def topic(self) -> str:
        return self._fields[0]

    def key(self) -> bytes:
        return self._fields[1]

    def value(self) -> bytes:
        return b"x"

    def error(self) -> KafkaError | None:
        return self._fields[2]

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0 if self._fields[2] is None else 1


@pytest.mark.parametrize(
    ("error", "says", "remedy"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "does not allow", ""),
        (KafkaError._BAD_MSG, "partition 0 cannot be read from offset 1 on", "--rebuild-changelog"),
        (KafkaError.LEADER_NOT_AVAILABLE, "nothing comes", ""),
        (KafkaError._PARTITION_EOF, "", "the database cannot be read"),
    ],
)
def test_a_changelog_that_cannot_be_read_is_not_one_without_users(
    tmp_path: Path, error: int, says: str, remedy: str
) -> None:
    def new_consumer(**_: object) -> Any:
        return ChangelogConsumer(error)

    def look(system: System) -> Iterator[Finding]:
        topic, held = TOPICS.monitors_changelog, {0: Held("id", 0, 9)}
        counts = EntryCounters(
            lambda: count_entries(new_consumer, topic, held, silence_s=1.0),
            lambda: None,
            lambda: database_counts(Settings(data_dir=tmp_path)),
            system.pause,
        )
        yield compared(topic, 9, counts)

    [finding] = diagnose(SYSTEM, [Check("changelog", look)])
    assert finding.ok is not bool(says)
    assert says in finding.says
    assert remedy in f"{finding.remedy} {finding.says}"


def test_a_transaction_that_a_client_has_left_open_is_a_fault_and_one_that_ends_is_none() -> None:
    looks: list[dict[tuple[str, int], range]] = []
    asked: list[int] = []

    def held_back(places: Collection[tuple[str, int]]) -> dict[tuple[str, int], range]:
        asked.append(len(places))
        return looks.pop(0) if looks else {}

    paused: list[float] = []

    def found() -> list[Finding]:
        return list(transactions.findings([("ticks", 0)], held_back, paused.append))

    assert found() == [well("transactions", "none is left open")]
    assert (len(asked), paused) == (1, [])
    # one of them ends, another begins where it ended: both are as they should be
    ended = {("ticks", 0): range(7, 9), ("ticks", 1): range(7, 9)}
    looks[:] = [ended, {("ticks", 1): range(9, 12)}]
    assert found() == [well("transactions", "none is left open")]
    left = {("ticks", 0): range(7, 9), ("results", 3): range(1, 2)}
    looks[:] = [left | {("signups", 1): range(5, 6)}, *[left] * 3]
    results, ticks = found()
    assert "on results, partitions [3] (partition 3: at offset 1); 1 records" in results.says
    assert "on ticks, partitions [0] (partition 0: at offset 7); 2 records" in ticks.says
    assert "transaction.max.timeout.ms" in ticks.remedy
    # as long as the transaction of a worker that was killed may last
    assert sum(paused[-3:]) > 10
