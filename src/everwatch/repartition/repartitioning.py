"""Repartitioning, in the order in which it must be done. Interrupted at any point, one of two generations can be run.

1. the old generation is looked at: its users, and the partitioner that placed them;
2. the new topics are made, and ``progress`` says that no worker may run them yet;
3. the table of monitors is copied and followed, while all processes go on with the old generation;
4. the operator stops all processes;
5. the old generation is closed: earlier owners are fenced, and ``progress`` says where its state went. From here on to
   step 8 neither can be run; an error or Ctrl-C opens the old one again, after a SIGKILL this is run again or undone;
6. the rest of the table, and what no reader has consumed yet, is copied;
7. both tables are compared by hashes;
8. ``progress`` of the new generation says, in one transaction, how far ticks are emitted;
9. users and monitors get their new partitions in the database, where commands look them up.

Nothing of the old generation is deleted.
"""

from collections.abc import Callable
from contextlib import suppress
from threading import Event
from typing import NamedTuple

import msgspec

from everwatch.backup.manifest import ReaderOffsets, UnreadableOffsets
from everwatch.backup.restoring import config_to_create
from everwatch.backup.source_topics import SourceTopics, patiently
from everwatch.backup.stages import Stages
from everwatch.backup.topic_writer import TopicWriter
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, SettingsError, TopicMismatch
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumer_groups import executors_groups, members_of
from everwatch.kafka.topic_administration import check_topics, ensure_topics
from everwatch.kafka.topic_configs import topic_configs
from everwatch.kafka.topics import Topics
from everwatch.repartition.database_partitions import (
    move_catalogue,
    move_notifier,
    note_table_offsets,
    reader_offsets,
)
from everwatch.repartition.forwarding import note_forwarded
from everwatch.repartition.generation_notes import GenerationNotes, GenerationState
from everwatch.repartition.placing import NewPlaces, Partitioner, place_by
from everwatch.repartition.surveying import CHANGELOG, Survey
from everwatch.repartition.table_sync import TableSync
from everwatch.repartition.tail_copy import INPUTS, TailCopy, UnreadRecords, find_tail
from everwatch.rules.generations import Generation, successor_of

FURTHEST_APART_MS = 60_000
"""Progress of one partition may be this much behind that of another one: ticks in between are emitted once more."""
_LOOK_S = 0.5


class RepartitionResult(NamedTuple):
    """Outcome of a repartition. ``stopped_s``: from the moment that all processes had stopped; ``emitted_to``: ms."""

    survey: Survey
    entries: int
    entries_hash: str
    records: dict[str, int]
    emitted_to: int
    seconds: float
    stopped_s: float


class Repartitioning:
    """One repartitioning of the installation that ``settings`` name into ``successor``."""

    def __init__(
        self, settings: Settings, successor: Generation, clients: Clients, admin: Admin, clock: Clock, stages: Stages
    ) -> None:
        if successor.partitions == settings.partitions:
            raise SettingsError(
                f"There are {settings.partitions} partitions already: give --partitions another number."
            )
        if successor.prefix == settings.topic_prefix:
            raise SettingsError(f"The prefix {successor.prefix!r} is that of the topics as they are: give another one.")
        self._settings = settings
        self._successor = successor
        self._new = settings_of_generation(settings, successor)
        self._clients = clients
        self._admin = admin
        self._clock = clock
        self._stages = stages
        self._source = SourceTopics(settings, clients, admin, clock)
        self._target = SourceTopics(self._new, clients, admin, clock)
        self._old_notes = GenerationNotes(settings, clients, admin)
        self._new_notes = GenerationNotes(self._new, clients, admin)

    @property
    def unreadable(self) -> list[UnreadableOffsets]:
        """Return what the old topics hold and no client can read: it is not copied."""
        return self._source.unreadable

    # --- before -----------------------------------------------------------------------------------------------------

    def tail(self) -> UnreadRecords:
        """Return the records that are not consumed now. Raises BrokerUnavailable, AccessError, StoreError."""
        return find_tail(self._source, self._source.group_offsets() + reader_offsets(self._settings))

    def is_done(self) -> bool:
        """Tell whether the new generation may be run already, and the old one not; nothing is left to do then.

        Raises TopicMismatch where workers have run the new one beside an open old one.
        """
        successors = {successor_of(noted.owner) for noted in self._old_notes.read().values()}
        state = self._state_of_new()
        if state.worker:
            if successors == {self._successor}:
                return True
            raise TopicMismatch(
                f"Worker {state.worker} has run the topics with the prefix {self._successor.prefix!r} already: choose"
                " another one with --prefix, or delete these topics if nothing on them is needed."
            )
        if others := successors - {None, self._successor}:
            prefix = next(iter(others)).prefix  # type: ignore[union-attr]
            raise TopicMismatch(
                f"These topics are closed in favour of those with the prefix {prefix!r}: go on with that one, or undo"
                " it first ('everwatch repartition --undo')."
            )
        return state.is_finished and successors == {self._successor}

    def _state_of_new(self) -> GenerationState:
        progress = Topics.of(self._new).progress
        states = {state.name: state for state in check_topics(self._admin, self._new)}
        there = [state for state in states.values() if state.partitions]
        if wrong := [state for state in there if state.partitions != self._new.partitions]:
            raise TopicMismatch(
                f"Topic {wrong[0].name} has {wrong[0].partitions} partitions: choose another --prefix than"
                f" {self._successor.prefix!r}, or delete the topics of that prefix if nothing on them is needed."
            )
        return self._new_notes.state() if states[progress].partitions else GenerationState()

    # --- the work ---------------------------------------------------------------------------------------------------

    def run(self, survey: Survey, on_ready: Callable[[list[str]], None]) -> RepartitionResult:
        """Copy, wait until all processes have stopped, switch. ``on_ready`` gets the processes that still run, once.

        Raises TopicMismatch, BrokerUnavailable, AccessError, RecordsUnreadable, StoreError, EverwatchError.
        """
        began_s = self._clock.monotonic_s()
        self._make_topics()
        self._new_notes.claim()
        place = place_by(survey.partitioner, self._new.partitions)
        writer = TopicWriter(self._clients)
        table = TableSync(CHANGELOG, self._source, self._target, place, writer, self._stages)
        self._follow(table, on_ready)
        stopped_s = self._clock.monotonic_s()
        try:
            self._stages.begin("closing the old topics", None)
            self._old_notes.close(self._successor)
            result = self._switch(survey, table, place, writer)
        except BaseException:
            self._take_back(survey.partitioner)
            raise
        now_s = self._clock.monotonic_s()
        self.move_catalogue(survey)
        return result._replace(seconds=now_s - began_s, stopped_s=now_s - stopped_s)

    def move_catalogue(self, survey: Survey) -> None:
        """Give users and monitors of the database their new partitions; also beside a sink. Raises StoreError."""
        self._stages.begin("updating partitions in the database", survey.users)
        move_catalogue(self._settings, place_by(survey.partitioner, self._new.partitions), self._stages)

    def running(self) -> list[str]:
        """Return the processes that are in a consumer group of the old generation. Raises BrokerUnavailable."""
        application = self._settings.application
        groups = [application, *executors_groups(self._settings), f"{application}-sink", f"{application}-notifier"]
        return sorted(
            f"{group.removeprefix(self._settings.topic_prefix)} ({member.client_id})"
            for group, members in patiently(lambda: members_of(self._admin, groups), self._clock).items()
            for member in members
        )

    def _make_topics(self) -> None:
        self._stages.begin("making the new topics", None)
        old, new = Topics.of(self._settings).by_name, Topics.of(self._new).by_name
        configs = topic_configs(self._admin, old.values())
        ensure_topics(self._admin, self._new, configs={new[name]: config_to_create(configs[old[name]]) for name in new})

    def _follow(self, table: TableSync, on_ready: Callable[[list[str]], None]) -> None:
        pause, is_told = Event(), False
        while True:
            read = table.step()
            running = self.running()
            if not running:
                return
            if not is_told and read == 0:
                on_ready(running)
                self._stages.begin("waiting until all processes have stopped", None)
                is_told = True
            pause.wait(_LOOK_S)

    def _switch(
        self, survey: Survey, table: TableSync, place: Callable[[bytes], int], writer: TopicWriter
    ) -> RepartitionResult:
        while table.step():
            pass
        emitted_to = self._level()
        offsets = reader_offsets(self._settings)
        ends = table.repeat(_begins(offsets)) if offsets else {}
        entries = table.prove()
        # keys of these are no users; all of their readers read all partitions
        of_keys = place_by(Partitioner.MURMUR2, self._new.partitions)
        for name in ("access", "jobs"):
            other = TableSync(name, self._source, self._target, of_keys, writer, self._stages)
            other.step()
            other.prove()
        tail = find_tail(self._source, self._source.group_offsets() + offsets)
        copy = TailCopy(
            self._source, self._target, self._admin, NewPlaces(place, self._new.partitions), writer, self._stages
        )
        records = copy.copy(tail)
        copied = {name: {number: some.stop for number, some in tail.wanted[name].items()} for name in INPUTS}
        patiently(lambda: note_forwarded(self._admin, self._settings, copied), self._clock)
        self._stages.begin("noting where the sink and the notifier go on")
        note_table_offsets(self._settings, self._new, ends)
        self._stages.begin("updating partitions of incidents")
        move_notifier(self._settings, place)
        self._stages.begin("opening the new topics", None)
        self._new_notes.finish(emitted_to, table.last)
        return RepartitionResult(survey, entries.number, entries.hash, records, emitted_to, 0.0, 0.0)

    def _level(self) -> int:
        """Return the instant up to which ticks of every partition are emitted, ms; 0 if none ever was."""
        noted = {number: each.emitted_to for number, each in self._old_notes.read().items() if each.emitted_to}
        if not noted:
            return 0
        held = self._source.bounds(CHANGELOG)
        first, last = min(noted, key=noted.__getitem__), max(noted.values())
        if missing := [number for number, some in held.items() if some and number not in noted]:
            raise EverwatchError(
                f"No worker has noted how far ticks of partitions {missing} are emitted: start a worker on the old"
                " topics until 'everwatch lag' shows it, and run this again."
            )
        if last - noted[first] > FURTHEST_APART_MS:
            raise EverwatchError(
                f"Ticks of partition {first} are emitted {(last - noted[first]) // 1000} s less far than those of"
                " others: start a worker on the old topics until 'everwatch lag' shows that it has caught up, and run"
                " this again."
            )
        return noted[first]

    def _take_back(self, partitioner: Partitioner) -> None:
        """Open the old generation again after an error; partitions that stay closed are opened by ``--undo``."""
        with suppress(EverwatchError):
            self._stages.begin("opening the old topics again", None)
            # first the new one is closed: never can both be run
            self._new_notes.claim()
            self._old_notes.reopen()
            move_notifier(self._settings, place_by(partitioner, self._settings.partitions))


def _begins(offsets: list[ReaderOffsets]) -> dict[int, int]:
    """Return where the first of the readers stands in each partition of the table."""
    of_readers = [each.offsets.get(CHANGELOG, {}) for each in offsets]
    numbers = set[int]().union(*of_readers)
    return {number: min(each.get(number, 0) for each in of_readers) for number in numbers}


def undo(
    settings: Settings, clients: Clients, admin: Admin, partitioner: Partitioner, stages: Stages
) -> tuple[Generation | None, list[int]]:
    """Open the old generation again, unless workers have run the new one; return that, and the partitions opened.

    Raises TopicMismatch, BrokerUnavailable, AccessError, StoreError.
    """
    notes = GenerationNotes(settings, clients, admin)
    successor = next((found for each in notes.read().values() if (found := successor_of(each.owner))), None)
    if successor is None:
        return None, []
    new = GenerationNotes(settings_of_generation(settings, successor), clients, admin)
    if worker := new.state().worker:
        raise TopicMismatch(
            f"Worker {worker} has run the topics with the prefix {successor.prefix!r}: what happened there since is not"
            f" on these. To have {settings.partitions} partitions again, repartition from there:"
            f" EVERWATCH_TOPIC_PREFIX={successor.prefix} EVERWATCH_PARTITIONS={successor.partitions} everwatch"
            f" repartition --partitions {settings.partitions}"
        )
    # first the new one is closed: never can both be run
    new.claim()
    place = place_by(partitioner, settings.partitions)
    move_notifier(settings, place)
    move_catalogue(settings, place, stages)
    return successor, notes.reopen()


def settings_of_generation(settings: Settings, generation: Generation) -> Settings:
    """Return the settings with which the generation is run."""
    return msgspec.structs.replace(settings, topic_prefix=generation.prefix, partitions=generation.partitions)
