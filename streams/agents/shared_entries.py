"""Entries of new users who sign up for the very same monitors: made once for a batch, and copied for each user.

A new monitor's table entry and the value of its tick hold nothing of its user, who stands in their keys. So of users
whose signups have the same monitors (the same object, see ``rules.admission``) only keys, phases and first checks
differ. Signups that depend on the key in another way are left to the usual path: bounds, whose last run is worked out
from the phase, and tasks, which stand in the index of due instants.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Protocol

from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec
from everwatch.model import At, MonitorSpec, Signup, User
from everwatch.rules.lifecycle import is_bounded
from everwatch.rules.registration_rules import newcomer
from everwatch.timetable import Timetable
from streams.state.timetable_planner import EntryTemplate, TimetablePlanner, put_together
from streams.state.unit_of_work import LARGEST_ENTRY_BYTES

# monitors that are put without a pause
PUT_AT_ONCE = 2_000


class Entries(Protocol):
    """Target of entries: a unit of work."""

    def add(self, number: int, key: bytes, entry: User) -> None:
        """Write a user. Raises InvalidInput."""
        ...

    def add_values(self, number: int, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Write entries that are encoded already."""
        ...


class SharedEntries:
    """Users of one partition with the same monitors, taken one by one; their entries are written and planned together.

    ``values``: of the monitors' entries. ``templates``: of their timetable entries.
    """

    def __init__(self, values: Sequence[bytes], templates: Sequence[EntryTemplate], names: tuple[str, ...], now: int):
        self._values = values
        self._templates = templates
        self._names = names
        self._now = now
        # the table keys of each user's entries, the user's first
        self._taken: list[Sequence[bytes]] = []
        # by plan: table keys of users of whom nothing else is kept
        self._users: dict[str, list[bytes]] = {}

    def take(self, work: Entries, number: int, signup: Signup, keys: Sequence[bytes]) -> None:
        """Take a user in, whose table keys are these. Raises InvalidInput as ``work.add``."""
        if signup.attributes or signup.maintenance:
            now = self._now
            user = User(signup.user_id, signup.plan, signup.attributes, self._names, now, now, signup.maintenance)
            work.add(number, keys[0], user)
        else:
            self._users.setdefault(signup.plan, []).append(keys[0])
        self._taken.append(keys)

    def write(self, work: Entries, number: int) -> None:
        """Write the entries of all that were taken."""
        for plan, users in self._users.items():
            entry = codec.encode_entry(User("", plan, {}, self._names, self._now, self._now))
            work.add_values(number, zip(users, repeat(entry)))
        for place, value in enumerate(self._values, 1):
            work.add_values(number, [(keys[place], value) for keys in self._taken])

    def put(self, timetable: Timetable) -> Iterator[None]:
        """Put the monitors of all that were taken into the timetable; yields after every few."""
        users = max(1, PUT_AT_ONCE // len(self._templates))
        for begin in range(0, len(self._taken), users):
            some = self._taken[begin : begin + users]
            put_together(timetable, self._templates, [keys[1:] for keys in some], [keys[0][:-1] for keys in some])
            yield


class SharedEntriesOfBatch:
    """Signups of one batch and partition; ``now`` and ``begin`` as for ``newcomer``."""

    def __init__(self, planner: TimetablePlanner, now: int, begin: int) -> None:
        self._planner = planner
        self._now, self._begin = now, begin
        self.shared: list[SharedEntries] = []
        """All that were made so far."""
        # by the identity of the monitors; they are kept, so that no others get theirs
        self._seen: dict[int, tuple[tuple[MonitorSpec, ...], SharedEntries | None]] = {}

    def of(self, signup: Signup) -> SharedEntries | None:
        """Return the entries that the signup shares with earlier ones; None for the first, and where few are shared."""
        monitors = signup.monitors
        if not monitors:
            return None
        found = self._seen.get(id(monitors))
        if found is None:
            self._seen[id(monitors)] = monitors, None
            return None
        if found[1] is None and all(map(_is_shared, monitors)):
            found = self._seen[id(monitors)] = monitors, self._made(signup)
        return found[1]

    def _made(self, signup: Signup) -> SharedEntries | None:
        try:
            _, monitors = newcomer(signup, self._now, self._begin)
        except InvalidInput:
            return None
        values = [codec.encode_entry(monitor) for monitor in monitors]
        templates = [self._planner.template(monitor) for monitor in monitors]
        wanted = [template for template in templates if template is not None]
        if len(wanted) < len(templates) or max(map(len, values)) > LARGEST_ENTRY_BYTES:
            return None
        shared = SharedEntries(values, wanted, tuple([spec.monitor_id for spec in signup.monitors]), self._now)
        self.shared.append(shared)
        return shared


def _is_shared(spec: MonitorSpec) -> bool:
    return not (isinstance(spec.schedule, At) or is_bounded(spec))
