"""Faust's recovery and table manager, as far as they differ: standbys are read by Faust, active partitions are not."""

from typing import Any

from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP


class StandbyRecovery(Recovery):
    """Faust's recovery, which leaves the active partitions to ``Ownership`` and reads for standbys only.

    ``Ownership`` reads what active partitions lack when earlier owners are fenced (``EntryStore.catch_up``, by
    ``catch_up.CatchUp``): only then does the changelog stand still.
    """

    async def _build_offsets(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        """Faust calls this to find out where to begin to read: active partitions at their end."""
        if title == "active":
            for tp in tps:
                destination[tp] = self.active_highwaters[tp]
        else:
            await self._leave_out_unusable(tps, destination)
        await super()._build_offsets(consumer, tps, destination, title)

    async def _leave_out_unusable(self, tps: set[TP], offsets: Any) -> None:
        for table in self.tables.values():
            numbers = {tp.partition for tp in tps if tp.topic == table.changelog_topic_name}
            usable = await table.usable_as_standby(numbers)
            for number in numbers:
                tp = TP(table.changelog_topic_name, number)
                if number not in usable:
                    tps.discard(tp)
                    self.standbys_for_table[table].discard(tp)
                    offsets.pop(tp, None)
                elif (offset := table.persisted_offset(tp)) is not None:
                    offsets[tp] = offset
                else:
                    offsets[tp] = None

    async def _build_highwaters(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        """Faust calls this to find out where to stop. The last record of a changelog is not its last offset."""
        await super()._build_highwaters(consumer, tps, destination, title)
        if title == "active":
            return
        for table in self.tables.values():
            last = await table.data.last_offsets(table.changelog_topic_name, {tp.partition for tp in tps})
            for tp in tps:
                # what this worker committed itself just now may not be readable yet
                known = min(destination[tp], self.standby_offsets[tp])
                destination[tp] = max(last.get(tp.partition, -1), known)


class PromptTables(TableManager):
    """Faust's table manager without its pause of a second at the start.

    The pause lets agents register their streams first. Faust's conductor waits for that by itself before it subscribes.
    """

    async def on_start(self) -> None:
        """Faust calls this once, when everything else has been started."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()
