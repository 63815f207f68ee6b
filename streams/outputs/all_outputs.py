"""The outputs that handlers of inputs use, as one argument."""

from typing import NamedTuple

from everwatch.kafka.outbox import Outbox
from streams.outputs.refused_inputs import RefusedInputs
from streams.outputs.replies import Replies
from streams.outputs.transitions import Transitions


class Outputs(NamedTuple):
    """Outputs that handlers of inputs use.

    ``outbox`` sends all of them, and waits until they are durable. Cancellations go with the transaction
    (``UnitOfWork``).
    """

    outbox: Outbox
    transitions: Transitions
    replies: Replies
    refused: RefusedInputs
