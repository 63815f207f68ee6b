"""The outputs of a worker beside ticks, as one argument."""

from typing import NamedTuple

from everwatch.kafka.outbox import Outbox
from streams.outputs.dead_letters import RejectedInputs
from streams.outputs.replies import Replies
from streams.outputs.transitions import Transitions


class Outputs(NamedTuple):
    """Where records go. ``outbox``: all of them, and the wait until they are durable."""

    outbox: Outbox
    transitions: Transitions
    replies: Replies
    refusals: RejectedInputs
