"""Entries of new users who sign up for the very same monitors: made once for a batch, and copied for each user.

A new monitor's table entry and the value of its tick hold nothing of its user, who stands in their keys. So of users
whose signups have the same monitors (the same object, see ``rules.admission``) only keys, phases and first checks
differ. Signups that depend on the key in another way are left to the usual path: bounds, whose last run is worked out
from the phase, and tasks, which stand in the index of due instants.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec
from everwatch.model import At, MonitorSpec, Signup, User
from everwatch.rules.lifecycle import is_bounded
from everwatch.rules.registration_rules import newcomer
from everwatch.timetable import TimetableEntry
from streams.state.timetable_planner import EntryTemplate, TimetablePlanner, key_of_record
from streams.state.unit_of_work import LARGEST_ENTRY_BYTES


class Entries(Protocol):
    """Target of entries: a unit of work."""

    def add(self, partition: int, key: bytes, entry: User) -> None:
        """Write a user. Raises InvalidInput."""
        ...

    def add_values(self, partition: int, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Write entries that are encoded already."""
        ...


class AlikeSignup(NamedTuple):
    """Values of the monitors' entries, templates of their timetable entries, and the users' values by plan."""

    values: Sequence[bytes]
    templates: Sequence[EntryTemplate]
    names: tuple[str, ...]
    now: int
    user_values: dict[str, bytes]

    def write(self, work: Entries, number: int, signup: Signup, keys: Sequence[bytes]) -> None:
        """Write the entries; ``keys`` are their table keys, the user's first. Raises InvalidInput as ``work.add``."""
        value = None if signup.attributes or signup.maintenance else self.user_values.get(signup.plan)
        if value is None:
            user = User(
                signup.user_id,
                signup.plan,
                signup.attributes,
                self.names,
                self.now,
                self.now,
                signup.maintenance,
            )
            work.add(number, keys[0], user)
            if not (signup.attributes or signup.maintenance):
                self.user_values[signup.plan] = codec.encode_entry(user)
        else:
            work.add_values(number, [(keys[0], value)])
        work.add_values(number, zip(keys[1:], self.values, strict=True))

    def timetable_entries(self, keys: Sequence[bytes]) -> list[TimetableEntry]:
        """The timetable entries of the monitors."""
        head = key_of_record(keys[0][:-1])
        return [template.entry_of(key, head) for template, key in zip(self.templates, keys[1:], strict=True)]


class AlikeSignups:
    """Signups of one batch and partition; ``now`` and ``begin`` as for ``newcomer``."""

    def __init__(self, planner: TimetablePlanner, now: int, begin: int) -> None:
        self._planner = planner
        self._now, self._begin = now, begin
        # by the identity of the monitors; they are kept, so that no others get theirs
        self._seen: dict[int, tuple[tuple[MonitorSpec, ...], AlikeSignup | None]] = {}

    def of(self, signup: Signup) -> AlikeSignup | None:
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

    def _made(self, signup: Signup) -> AlikeSignup | None:
        try:
            _, monitors = newcomer(signup, self._now, self._begin)
        except InvalidInput:
            return None
        values = [codec.encode_entry(monitor) for monitor in monitors]
        templates = [self._planner.template(monitor) for monitor in monitors]
        wanted = [template for template in templates if template is not None]
        if len(wanted) < len(templates) or max(map(len, values)) > LARGEST_ENTRY_BYTES:
            return None
        return AlikeSignup(values, wanted, tuple([spec.monitor_id for spec in signup.monitors]), self._now, {})


def _is_shared(spec: MonitorSpec) -> bool:
    return not (isinstance(spec.schedule, At) or is_bounded(spec))
