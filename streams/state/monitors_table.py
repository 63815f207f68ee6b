"""The table ``monitors`` as Faust knows it: where the assignment of partitions arrives."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import faust
from faust.types import TP

from streams.state.entry_store import EntryStore
from streams.state.rocksdb_options import OPTIONS


class MonitorsTable(faust.Table):  # type: ignore[type-arg]
    """Faust's table (store, changelog, standbys), which reports when partitions are assigned.

    ``on_assigned`` gets the active partitions and the generation of the group, before the databases
    of other partitions are closed. ``on_recovered`` is called when Faust has made everything else ready; it waits until
    these partitions are open.
    ``usable_as_standby`` says which copies can follow the changelog.
    """

    def __init__(
        self,
        app: faust.App,
        on_assigned: Callable[[set[int], int], Awaitable[None]],
        on_recovered: Callable[[], Awaitable[None]],
        usable_as_standby: Callable[[set[int]], Awaitable[set[int]]],
        **kwargs: Any,
    ) -> None:
        super().__init__(app, **kwargs)
        self.usable_as_standby = usable_as_standby
        self._on_assigned = on_assigned
        self._on_recovered = on_recovered

    @property
    def store(self) -> EntryStore:
        """The store behind the table."""
        return cast(EntryStore, self.data)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Faust calls this when partitions are assigned."""
        # another rebalance may have begun since: its own call comes
        if generation_id == self.app.consumer_generation_id:
            topic = self.changelog_topic_name
            actives = {tp.partition for tp in self.app.assignor.assigned_actives() if tp.topic == topic}
            await self._on_assigned(actives, generation_id)
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Faust calls this after each rebalance, before any stream is read."""
        await super().on_recovery_completed(active_tps, standby_tps)
        failure: Exception | None = None
        try:
            await self._on_recovered()
        except Exception as error:
            failure = error
        if failure is not None:
            # Faust does not look at what these callbacks raise. Out here it logs no traceback of what is a sentence
            await self.app.crash(failure)


def new_monitors_table(
    app: faust.App,
    name: str,
    partitions: int,
    on_assigned: Callable[[set[int], int], Awaitable[None]],
    on_recovered: Callable[[], Awaitable[None]],
    usable_as_standby: Callable[[set[int]], Awaitable[set[int]]],
) -> MonitorsTable:
    """Declare the table: keys and values are raw bytes (``codec.table_key``, ``codec.encode_entry``)."""
    table = MonitorsTable(
        app,
        on_assigned,
        on_recovered,
        usable_as_standby,
        name=name,
        partitions=partitions,
        key_type=bytes,
        value_type=bytes,
        store=f"everwatch:{name}",
        options=dict(OPTIONS),
        recovery_buffer_size=5_000,
        help="Users and their monitors with their state.",
    )
    app.tables.add(table)
    return table
