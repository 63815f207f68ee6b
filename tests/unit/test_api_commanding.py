"""Inputs of the API on their way to Kafka, on a broker in memory."""

from everwatch.api.commanding import KafkaCommands
from everwatch.core.config import Settings
from everwatch.kafka.acknowledging import AcknowledgingProducer
from everwatch.kafka.command_client import asked_of
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.topics import Topics


async def test_an_input_goes_to_the_partition_that_it_names_or_to_that_of_its_user() -> None:
    kafka, topics = MemoryKafka(partitions=6), Topics.of(Settings())
    producer = AcknowledgingProducer(lambda: MemoryClients(kafka).producer())
    try:
        commands = KafkaCommands(topics, producer)
        purge = asked_of({"command": "purge", "user_id": "anna", "command_id": "p-1"})
        await commands.send([purge])
        [own] = [number for number, log in enumerate(kafka.logs(topics.commands)) if log.records()]
        other = (own + 1) % 6
        assert await commands.ask([purge._replace(partition=other), purge], 0) == [None, None]
        held = {number: len(log.records()) for number, log in enumerate(kafka.logs(topics.commands)) if log.records()}
        assert held == {own: 2, other: 1}
    finally:
        await producer.close()
