"""Prints the next greeting on the topic ``greetings``; with the argument ``create`` it creates that topic."""

import json
import sys

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

KAFKA = {"bootstrap.servers": "127.0.0.1:19192"}
TOPIC = "greetings"


def create() -> None:
    # the client is kept: one that nobody holds gives up what it was asked for
    admin = AdminClient(KAFKA)
    creating = admin.create_topics([NewTopic(TOPIC, num_partitions=4, replication_factor=1)])
    try:
        creating[TOPIC].result()
    except KafkaException as error:
        if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
            raise
    print(f"topic {TOPIC} is there")


def greet() -> None:
    consumer = Consumer(KAFKA | {"group.id": "greeter", "auto.offset.reset": "earliest"})
    consumer.subscribe([TOPIC])
    try:
        while (record := consumer.poll(1)) is None or record.error():
            pass
        # a greeting may come more than once, with the same everwatch-tick-id: who sends mails remembers those
        greeting = json.loads(record.value())
        print(f"{greeting['to']}: {greeting['text']}")
    finally:
        consumer.close()


if sys.argv[1:] == ["create"]:
    create()
else:
    greet()
