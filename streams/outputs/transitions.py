"""Transitions: changes of state as records of their topic."""

from msgspec.structs import replace

from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.kafka.topics import Topics
from everwatch.kinds.execution.targets import target_of_config
from everwatch.model import Monitor, Transition, User
from streams.transport.output_record import OutputRecord


class Transitions:
    """Makes records of the topic ``transitions``; the unit of work that changes a state announces its transition."""

    def __init__(self, topics: Topics, output_format: OutputFormat) -> None:
        self._topic = topics.transitions
        self._output_format = output_format

    def record(self, transition: Transition, monitor: Monitor, user: User | None) -> OutputRecord:
        """Return the record of a transition, with what readers would have to look up."""
        spec = monitor.spec
        transition = replace(
            transition, target=target_of_config(spec.kind, spec.config), plan=user.plan if user else ""
        )
        return OutputRecord(
            self._topic,
            codec.user_key(transition.user_id),
            codec.encode_transition(transition, self._output_format),
        )
