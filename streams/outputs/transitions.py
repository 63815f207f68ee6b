"""Transitions: changes of state on their topic."""

from msgspec.structs import replace

from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.topics import Topics
from everwatch.kinds.execution.targets import target_of_config
from everwatch.model import Monitor, Transition, User


class Transitions:
    """Puts changes of state on the topic ``transitions``; ``UnitOfWork.finish`` waits until the broker has them."""

    def __init__(self, outbox: Outbox, topics: Topics, output_format: OutputFormat) -> None:
        self._outbox = outbox
        self._topic = topics.transitions
        self._output_format = output_format

    def send(self, partition: int, transition: Transition, monitor: Monitor, user: User | None) -> None:
        """Send a transition to its user's partition, with what readers would have to look up."""
        spec = monitor.spec
        transition = replace(
            transition, target=target_of_config(spec.kind, spec.config), plan=user.plan if user else ""
        )
        self._outbox.send(
            self._topic,
            partition=partition,
            key=codec.user_key(transition.user_id),
            value=codec.encode_transition(transition, self._output_format),
        )
