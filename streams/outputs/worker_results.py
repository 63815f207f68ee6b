"""Results that the worker itself sends: those of inline kinds, and of ticks that are not run."""

from everwatch.encoding import codec
from everwatch.kafka.outbox import Outbox, Substitute
from everwatch.kafka.topics import Topics
from everwatch.kinds.execution.result_builder import ResultBuilder, RunIdentity, RunTimes
from everwatch.model import Outcome, Status


class WorkerResults:
    """Puts results on the topic ``results``, to the partition of their tick."""

    def __init__(self, outbox: Outbox, topics: Topics, builder: ResultBuilder) -> None:
        self._outbox = outbox
        self._topic = topics.results
        self._builder = builder

    def send(
        self,
        number: int,
        run: RunIdentity,
        outcome: Outcome,
        now: int,
        *,
        skipped: tuple[int, int] | None = None,
        region: str = "",
    ) -> None:
        """Send the result of a run. ``skipped`` and ``region``: see ``ResultBuilder.build``.

        The sweep waits for it (``Outbox.delivered`` of the partition); a manual run belongs to its unit of work.
        """
        result = self._builder.build(run, outcome, RunTimes(now), skipped=skipped, region=region)
        self._outbox.send(
            self._topic,
            partition=number,
            key=codec.user_key(result.user_id),
            value=self._builder.encode(result),
            group=None if run.manual else number,
        )

    def skipped_instead(self, run: RunIdentity, reason: str, now: int, region: str = "") -> Substitute:
        """Return the result to send in the place of a tick that its topic refuses; safe in any thread."""
        result = self._builder.build(run, Outcome(Status.SKIPPED, reason), RunTimes(now), region=region)
        return Substitute(self._topic, codec.user_key(result.user_id), self._builder.encode(result), [])

    def report_fault(self, run: RunIdentity, error: BaseException) -> None:
        """Log an error that a kind should have handled."""
        self._builder.report_fault(run, error)

    async def room(self) -> None:
        """Wait until few enough records wait to be sent."""
        await self._outbox.room()
