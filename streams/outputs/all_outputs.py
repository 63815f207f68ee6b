"""The outputs of a worker beside ticks, as one argument."""

from typing import NamedTuple

from everwatch.kafka.outbox import Outbox
from streams.outputs.rejected_inputs import RejectedInputs
from streams.outputs.replies import Replies
from streams.outputs.transitions import Transitions


class Outputs(NamedTuple):
    """Outputs of a worker beside ticks. ``outbox`` sends all of them, and waits until they are durable."""

    outbox: Outbox
    transitions: Transitions
    replies: Replies
    rejected: RejectedInputs
