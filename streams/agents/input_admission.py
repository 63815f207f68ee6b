"""Admission of signups and commands in a worker: decoded, validated, their secrets encrypted."""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from operator import is_
from typing import TypeVar

import msgspec

from everwatch.core.bounds import BROKER_AHEAD_MS
from everwatch.core.clock import Clock
from everwatch.core.cooperative_chunks import cooperative_chunks
from everwatch.core.errors import InvalidInput, RefusalCode
from everwatch.encoding import codec
from everwatch.kafka.consumed_record import Record
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.model import Command, MonitorSpec, Signup
from everwatch.plans.plan import Plans
from everwatch.plans.plans_file import PlansFile
from everwatch.rules.admission import admit_command, admit_signup
from streams.outputs.refused_inputs import RefusedInputs

W = TypeVar("W", bound=Signup | Command)
Admitted = tuple[Record, W, list[bytes]]
"""An input, what it asks for, and the table keys that it concerns: the user's first."""


class _LastSignup:
    """Monitors of the last signup that needed no encryption, and their ids.

    Alike signups have the very same monitors (``rules.admission``), which need nothing more.
    """

    def __init__(self) -> None:
        self.monitors: tuple[MonitorSpec, ...] | None = None
        self.ids: list[bytes] = []

    def keep(self, signup: Signup) -> None:
        """Take the signup for the last one."""
        self.monitors, self.ids = signup.monitors, [spec.monitor_id.encode() for spec in signup.monitors]


class InputAdmission:
    """Admission of signups and commands. A refused input becomes a dead letter."""

    def __init__(
        self,
        refused: RefusedInputs,
        clock: Clock,
        secrets: ConfigSecrets,
        plans_file: PlansFile | None = None,
        regions: Collection[str] = (),
    ) -> None:
        """``regions``: those that monitors may name."""
        self._regions = frozenset(regions)
        self._refused = refused
        self._clock = clock
        self.secrets = secrets
        self._encrypted_last: tuple[tuple[MonitorSpec, ...], tuple[MonitorSpec, ...]] = (), ()
        self._plans_file = plans_file

    @property
    def plans(self) -> Plans | None:
        """The plans that are in force; None if there is no file of plans."""
        return self._plans_file.current if self._plans_file else None

    async def signups(self, records: Iterable[Record]) -> list[Admitted[Signup]]:
        """The signups among ``records``, filled in from their plans."""
        return await self._admitted(records, partial(admit_signup, plans=self.plans))

    async def commands(self, records: Iterable[Record]) -> list[Admitted[Command]]:
        """The commands among ``records``."""
        return await self._admitted(records, admit_command)

    async def _admitted(self, records: Iterable[Record], admit: Callable[[bytes | None, int], W]) -> list[Admitted[W]]:
        admitted: list[Admitted[W]] = []
        last = _LastSignup()
        async for some in cooperative_chunks(records):
            for source in some:
                try:
                    admitted.append(self._admit_one(source, admit, last))
                except InvalidInput as error:
                    self._refused.refuse(source, error)
        return admitted

    def _admit_one(self, source: Record, admit: Callable[[bytes | None, int], W], last: _LastSignup) -> Admitted[W]:
        """Admit one input; ``last`` is kept from one to the next. Raises InvalidInput."""
        given = admit(source.value, self.produced_at(source))
        is_alike = isinstance(given, Signup) and given.monitors is last.monitors
        wanted = given if is_alike else self.encrypted(given)
        if not is_alike:
            self._check_regions(wanted)
            if isinstance(wanted, Signup) and wanted is given:
                last.keep(wanted)
                is_alike = True
        user_key = codec.user_key(wanted.user_id)
        if source.key is not None and source.key != user_key:
            raise _wrong_key()
        prefix = user_key + codec.SEPARATOR
        if is_alike and not wanted.remembered_id:
            return source, wanted, [prefix, *[prefix + name for name in last.ids]]
        return source, wanted, keys_of(wanted, prefix)

    def _check_regions(self, wanted: Signup | Command) -> None:
        """Raise InvalidInput for a region that has no topics."""
        if isinstance(wanted, Signup):
            for number, spec in enumerate(wanted.monitors):
                if spec.policy.regions:
                    self._check_region_of(spec, f"$.monitors[{number}]")
        elif wanted.monitor is not None and wanted.monitor.policy.regions:
            self._check_region_of(wanted.monitor, "$.monitor")

    def _check_region_of(self, spec: MonitorSpec, path: str) -> None:
        unknown = [region for region in spec.policy.regions if region not in self._regions]
        if unknown:
            known = ", ".join(sorted(self._regions)) or "none"
            raise InvalidInput(
                f"the region {unknown[0]!r} is not known; known: {known} (EVERWATCH_REGIONS)", f"{path}.policy.regions"
            )

    def encrypted(self, wanted: W) -> W:
        """An input with the secrets of its monitors as they are stored."""
        if isinstance(wanted, Signup):
            given, encrypted = self._encrypted_last
            if wanted.monitors is not given:
                encrypted = tuple([self.secrets.encrypted(spec) for spec in wanted.monitors])
                # alike signups have the very same monitors, see ``admission``
                self._encrypted_last = wanted.monitors, encrypted
            if all(map(is_, encrypted, wanted.monitors)):
                return wanted
            return msgspec.structs.replace(wanted, monitors=encrypted)
        if wanted.monitor is None:
            return wanted
        return msgspec.structs.replace(wanted, monitor=self.secrets.encrypted(wanted.monitor))

    def produced_at(self, source: Record) -> int:
        """Return the instant at which an input was produced, ms; delays and runs by hand count from it.

        A producer may write any timestamp; one that is not to be believed counts as now.
        """
        now = self._clock.now_ms()
        return source.timestamp_ms if 0 < source.timestamp_ms <= now + BROKER_AHEAD_MS else now


def _wrong_key() -> InvalidInput:
    """Return the refusal of a record whose key is another than that of its user."""
    return InvalidInput(
        "the record's key is not the user_id: key records by user_id, or the user's records lose their order",
        "$.user_id",
        RefusalCode.WRONG_KEY,
    )


def keys_of(wanted: Signup | Command, user_key: bytes) -> list[bytes]:
    """The table keys of the user, of the monitors that are named, and of the ids of the user's recent commands."""
    if isinstance(wanted, Signup):
        keys = [user_key, *(user_key + spec.monitor_id.encode() for spec in wanted.monitors)]
    else:
        keys = [user_key, user_key + wanted.monitor_id.encode()]
    return [*keys, codec.commands_key(wanted.user_id)] if wanted.remembered_id else keys


def slices(admitted: list[Admitted[W]], most: int) -> Iterator[list[Admitted[W]]]:
    """The inputs in order, in slices that concern about ``most`` entries each."""
    some: list[Admitted[W]] = []
    entries = 0
    for each in admitted:
        some.append(each)
        entries += len(each[2])
        if entries >= most:
            yield some
            some, entries = [], 0
    if some:
        yield some


def by_partition(admitted: Iterable[Admitted[W]]) -> dict[int, list[Admitted[W]]]:
    """The inputs by the number of their partition, each partition's in order."""
    parts: dict[int, list[Admitted[W]]] = {}
    for each in admitted:
        parts.setdefault(each[0].partition, []).append(each)
    return parts
