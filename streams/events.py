"""Events within a worker: which part reports each, and which part handles it.

| event | reported by | handled by |
| --- | --- | --- |
| a rebalance begins | Faust (``app.py``) | ``Ownership.revoked`` |
| partitions are assigned | Faust's table (``MonitorsTable``) | ``Ownership.assigned`` |
| Faust has recovered | Faust's table (``MonitorsTable``) | ``Ownership.wait_until_open`` |
| another owner has shut this worker out of a partition | ``FencedWriters`` | ``Ownership.lost`` |
| a batch of signups is read | ``PoisonIsolation`` of the topic | ``Registration.handle_signups`` |
| a batch of commands is read | ``PoisonIsolation`` of the topic | ``Registration.handle_commands`` |
| a batch of signals is read | ``PoisonIsolation`` of the topic | ``SignalTaker.handle_signals`` |
| a batch of results is read | ``PoisonIsolation`` of the topic | ``Feedback.handle_results`` |
| a batch cannot be read | ``BatchConsumer`` | ``RefusedInputs.write_unreadable`` |
| a part cannot go on | any | ``Engine.end`` |

``PoisonIsolation`` is called by the agent of its topic, and reports a part of a batch that is tried again as it does a
batch.

Some parts that report events are made before the parts that handle them: Faust's table and the batch consumers exist
before the app starts, and handlers need connected clients. So they are given methods of ``WorkerEvents``, which pass
each event on.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from everwatch.kafka.consumed_record import Record
from everwatch.kafka.unreadable_batches import Unreadable
from streams.agents.feedback import Feedback
from streams.agents.registration import Registration
from streams.agents.signals import SignalTaker
from streams.outputs.refused_inputs import RefusedInputs
from streams.ownership import Ownership, WorkerHost


class InputHandlers(NamedTuple):
    """The objects whose methods handle inputs, made when the clients are connected."""

    registration: Registration
    signals: SignalTaker
    feedback: Feedback
    refused: RefusedInputs


class WorkerEvents:
    """Hands each event to the part that handles it. The engine sets the parts."""

    engine: WorkerHost
    ownership: Ownership
    """Set, as the engine is, before the app starts."""
    handlers: InputHandlers
    """Set when the engine starts; no input is read before."""

    async def revoked(self) -> None:
        """Stop changes; ticks go on."""
        await self.ownership.revoked()

    async def assigned(self, numbers: set[int], group_generation: int) -> None:
        """Open these partitions and give up all others."""
        await self.ownership.assigned(numbers, group_generation)

    async def recovered(self) -> None:
        """Wait until the partitions that were assigned last are open. Raises what keeps them closed."""
        await self.ownership.wait_until_open()

    def lost(self, number: int) -> None:
        """Give up a partition that another owner has fenced, and as a rule all others (``Ownership.lost``)."""
        self.ownership.lost(number)

    async def signups(self, records: Sequence[Record]) -> None:
        """Register users."""
        await self.handlers.registration.handle_signups(records)

    async def commands(self, records: Sequence[Record]) -> None:
        """Carry out commands."""
        await self.handlers.registration.handle_commands(records)

    async def signals(self, records: Sequence[Record]) -> None:
        """Fold signals into their monitors."""
        await self.handlers.signals.handle_signals(records)

    async def results(self, records: Sequence[Record]) -> None:
        """Change the states of monitors."""
        await self.handlers.feedback.handle_results(records)

    async def unreadable(self, batches: Iterable[Unreadable]) -> None:
        """Write a dead letter for each batch that was passed over. Raises BrokerUnavailable."""
        await self.handlers.refused.write_unreadable(batches)

    def failed(self, error: BaseException) -> None:
        """End the worker."""
        self.engine.end(error)

    def refused_inputs(self) -> RefusedInputs:
        """Return the refused inputs of handlers (no event)."""
        return self.handlers.refused
