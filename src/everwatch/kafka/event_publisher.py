"""Events of the kind ``publish`` on their way to Kafka."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError
from everwatch.kafka.clients import Clients
from everwatch.kafka.topics import Topics
from everwatch.kinds.publisher_interface import Event, EventPublisher, MemoryPublisher, NotPublished, check_allowed

DELIVERY_TIMEOUT_S = 30
_CLOSE_S = 0.2
_UNKNOWN = (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART)
_REFUSED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
_TIMED_OUT = (KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError.REQUEST_TIMED_OUT)


class KafkaPublisher:
    """A librdkafka producer of which each event is waited for by itself.

    That is what makes it another than ``Outbox``, where one record that cannot be delivered ends the process: here a
    topic that is missing, or closed to us, harms only the monitors that name it.
    """

    def __init__(self, producer: Producer, allowed: Sequence[str]) -> None:
        self._producer = producer
        self._allowed = allowed
        self._loop = asyncio.get_running_loop()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._thread.start()

    async def publish(self, event: Event) -> None:
        """Return once all in-sync replicas have the event. Raises NotPublished."""
        check_allowed(event.topic, self._allowed)
        delivered: asyncio.Future[KafkaError | None] = self._loop.create_future()

        def report(error: KafkaError | None, _message: Message) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_settle, delivered, error)

        try:
            self._producer.produce(
                event.topic, value=event.value, key=event.key, headers=list(event.headers), on_delivery=report
            )
        except BufferError:
            raise NotPublished("Kafka is slower than what is to be published; too much is waiting already") from None
        except KafkaException as refusal:
            raise NotPublished(_explain(refusal.args[0], event.topic)) from None
        error = await delivered
        if error is not None:
            raise NotPublished(_explain(error, event.topic))

    async def close(self) -> None:
        """Send the queued events for a moment, and stop."""
        await asyncio.to_thread(self._producer.flush, _CLOSE_S)
        self._closed.set()
        await asyncio.to_thread(self._thread.join)

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(0.1)


@asynccontextmanager
async def open_publisher(settings: Settings, clients: Clients) -> AsyncIterator[EventPublisher]:
    """A publisher for the topics that ``settings`` allow; without any there is no connection to Kafka.

    Raises SettingsError if one of them is a topic that only Everwatch itself may write to.
    """
    _check_topics(settings)
    if not settings.publish_topics:
        yield MemoryPublisher()
        return
    producer = clients.producer(
        **{
            "delivery.timeout.ms": DELIVERY_TIMEOUT_S * 1000,
            # a missing topic is reported within the ten seconds that a check has by default
            "topic.metadata.propagation.max.ms": 5_000,
            # an idempotent producer that lost its place refuses everything from then on; a check that is tried again
            # may publish twice in any case, and says so with its header
            "enable.idempotence": False,
        },
    )
    publisher = KafkaPublisher(producer, settings.publish_topics)
    try:
        yield publisher
    finally:
        await publisher.close()


def _check_topics(settings: Settings) -> None:
    topics = Topics.of(settings)
    own = {
        *topics.all_ticks,
        topics.results,
        topics.transitions,
        topics.dead_letters,
        topics.replies,
        topics.progress,
        topics.cancellations,
        topics.access,
        topics.audit,
        topics.jobs,
        topics.incidents,
        topics.notifications,
        topics.trials,
        topics.trial_results,
        topics.monitors_changelog,
    }
    if wrong := own.intersection(settings.publish_topics):
        raise SettingsError(
            f"setting EVERWATCH_PUBLISH_TOPICS: only Everwatch itself may write to {', '.join(sorted(wrong))}"
        )


def _settle(delivered: asyncio.Future[KafkaError | None], error: KafkaError | None) -> None:
    if not delivered.done():
        delivered.set_result(error)


def _explain(error: KafkaError, topic: str) -> str:
    code = error.code()
    if code in _UNKNOWN:
        return f"topic {topic} does not exist"
    if code in _REFUSED:
        return f"Kafka does not let Everwatch write to topic {topic}"
    if code == KafkaError.MSG_SIZE_TOO_LARGE:
        return f"the event is larger than topic {topic} takes"
    if code in _TIMED_OUT:
        return f"Kafka did not take the event for topic {topic} within {DELIVERY_TIMEOUT_S} s"
    return f"the event for topic {topic} could not be delivered: {error.str()}"
