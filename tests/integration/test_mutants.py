"""Mutants on every topic that a process reads: nobody else notices.

``pytest tests/integration/test_mutants.py --mutants 50000 --fuzz-seed 7`` sends more of them, and others. What is
expected is judged by Python's JSON, by Kafka's offsets and by the operating system, not by the code under test.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from typing import NamedTuple

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from conftest import NewPipeline
from support.batches import CODECS, bomb, send_batches
from support.mutants import Mutant, Mutator
from support.pipeline import PARTITIONS, Pipeline, Place, beside, every
from support.process_memory import MB, assert_bounded, resident_bytes
from support.standing_monitors import MONITORS, REGIONS, is_left_alone, standing_signup, standing_users
from support.target import Target
from support.waiting import now_ms, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.heavy]
# to what a batch of each codec unpacks; snappy packs 21 bytes into one, and a topic takes 1 MB
BOMBS = {"gzip": 32 * MB, "zstd": 90 * MB, "lz4": 32 * MB, "snappy": 16 * MB}
BOMB_RECORDS = 3
# a clock may be so far ahead of the worker's; and no retry of a standing monitor is further off than twice its cap
AHEAD_MS, LATEST_RETRY_MS = 60_000, 15 * 86_400_000
# with all else on the machine, and more mutants than usual
WITHIN_S = 300
CONTROLS = tuple(f"control-{number}" for number in range(PARTITIONS))


class Inputs(NamedTuple):
    """A topic that processes read: what its records are, and which groups must have read all of it."""

    topic: str
    role: str
    groups: tuple[str, ...]


def inputs_of(pipeline: Pipeline) -> list[Inputs]:
    topics, app = pipeline.topics, pipeline.settings.application
    return [
        *(
            Inputs(topic, role, (f"{app}-worker-{topic}",))
            for topic, role in ((topics.signups, "signup"), (topics.commands, "command"), (topics.signals, "signal"))
        ),
        *(Inputs(topic, "tick", (f"{app}-executors",)) for topic in topics.ticks_without_region.names),
        Inputs(topics.results, "result", (f"{app}-worker-{topics.results}", f"{app}-sink")),
    ]


def test_nobody_notices_mutants(new_pipeline: NewPipeline, target: Target, request: pytest.FixtureRequest) -> None:
    count, seed = request.config.getoption("--mutants"), request.config.getoption("--fuzz-seed")
    pipeline = new_pipeline(output_format="json", regions=",".join(REGIONS))
    pipeline.ensure("worker", "executor", "sink")
    pipeline.wait_until_ready()
    sign_up_standing(pipeline)
    for partition, user_id in enumerate(CONTROLS):
        # a run that is late for the others' sake keeps none of its own from running
        pipeline.sign_up(user_id, beside(every("tick", "http", "1s", url=target.url("/ok"))), partition=partition)
    for user_id in CONTROLS:
        pipeline.wait_for_results(user_id, "tick")
    wait_for_standing(pipeline)
    before = {name: (process.pid, resident_bytes(process.pid)) for name, process in pipeline.processes.items()}
    inputs = inputs_of(pipeline)
    bootstrap = pipeline.settings.bootstrap_servers

    begun = now_ms()
    sent: dict[Place, Mutant] = {}
    for number, each in enumerate(inputs):
        mutants = list(Mutator(f"{seed}-{number}", begun, PARTITIONS).mutants(each.topic, each.role, count))
        half = len(mutants) // 2
        sent |= send(bootstrap, mutants[:half])
        sent |= send_bombs(bootstrap, each, begun)
        sent |= send(bootstrap, mutants[half:])
    assert len(sent) > 0.9 * count * len(inputs)

    ends = ends_of(bootstrap, inputs)
    wait_until("everything is read", lambda: not behind(bootstrap, ends), WITHIN_S, every_s=0.5)
    read_at = now_ms()
    for user_id in CONTROLS:
        pipeline.wait_for_results(user_id, "tick", after=read_at)

    assert all(process.runs for process in pipeline.processes.values())
    print(assert_bounded(before))  # noqa: T201
    # late ones may still be under way
    late: dict[str, dict[int, list[str]]] = {}

    def all_succeeded() -> bool:
        late.clear()
        late.update(without_success(pipeline, begun, read_at))
        return not late

    with suppress(AssertionError):
        wait_until("everything has succeeded", all_succeeded)
    assert not late, f"seed {seed}"
    judge_letters(pipeline, sent, seed)
    registered = [m for m in sent.values() if m.untouched and m.topic == pipeline.topics.signups]
    assert registered
    for mutant in registered:
        assert pipeline.reader.monitors(mutant.user_id), f"{mutant.user_id} is not registered (seed {seed})"
    judge_standing(pipeline, seed)


def sign_up_standing(pipeline: Pipeline) -> None:
    """Sign up the users whose monitors mutants are about."""
    for user in standing_users(PARTITIONS):
        pipeline.send(pipeline.topics.signups, user.user_id, standing_signup(user), user.partition)


def wait_for_standing(pipeline: Pipeline) -> None:
    """Wait until all of their monitors are there."""

    def are_known() -> bool:
        return all(len(pipeline.reader.monitors(user.user_id)) == len(MONITORS) for user in standing_users(PARTITIONS))

    wait_until("the standing monitors are known", are_known, WITHIN_S, every_s=0.2)


def judge_standing(pipeline: Pipeline, seed: str) -> None:
    """Mutants have met monitors that exist, and what they made of these lies within what is stated of time."""
    judged, waiting, latest = 0, 0, now_ms()
    for user in standing_users(PARTITIONS):
        if is_left_alone(user, PARTITIONS):
            monitors = pipeline.reader.monitors(user.user_id)
            assert {monitor.monitor_id for monitor in monitors} == MONITORS.keys(), user
            assert {monitor.version for monitor in monitors} == {1}, user
            judged += sum(monitor.judged_at > 0 for monitor in monitors)
            waiting += sum(monitor.agenda.retry_at > latest for monitor in monitors)
            for monitor in monitors:
                agenda = monitor.agenda
                assert max(monitor.judged_at, agenda.retry_of) <= latest + AHEAD_MS, f"{monitor} (seed {seed})"
                assert agenda.retry_at <= latest + LATEST_RETRY_MS, f"{monitor} (seed {seed})"
    assert judged, f"no result has met a monitor (seed {seed})"
    assert waiting, f"no result has led to a retry (seed {seed})"


def judge_letters(pipeline: Pipeline, sent: dict[Place, Mutant], seed: str) -> set[tuple[Place, str]]:
    """Each refusal is recorded once, of records that were sent, with a reason, and of all that must be refused.

    Gives the places of the refused, each with the process that refused it.
    """
    letters: Counter[tuple[Place, str]] = Counter()
    for letter in pipeline.read(pipeline.topics.dead_letters):
        headers = {name: value.decode() for name, value in letter.headers()}
        place = Place(headers["source_topic"], int(headers["source_partition"]), int(headers["source_offset"]))
        if place not in sent and place.topic == pipeline.topics.results and "from the future" in headers["reason"]:
            continue  # an executor has run a mutant of a tick that was from the future
        letters[place, headers["refused_by"]] += 1
        assert place in sent, f"{place} is refused and was not sent by this test: {headers} (seed {seed})"
        assert headers["reason"], headers
        assert headers["code"] != "unhandled", f"{headers}, {sent[place]} (seed {seed})"
    # a result may be refused by a worker and by the sink
    twice = [place for place, times in letters.items() if times > 1]
    assert not twice, f"refused twice: {twice[:3]} (seed {seed})"
    refused = {place for place, _ in letters}
    let_in = [place for place, mutant in sent.items() if mutant.hopeless and place not in refused]
    assert not let_in, f"not refused: {let_in[:3]}, {sent[let_in[0]]} (seed {seed})"
    # a command or a signal may be for a monitor that there is not
    topics = pipeline.topics
    wronged = [
        place for place in refused if sent[place].untouched and place.topic not in (topics.commands, topics.signals)
    ]
    assert not wronged, f"refused although right: {wronged[:3]}, {sent[wronged[0]]} (seed {seed})"
    return set(letters)


def send(bootstrap_servers: str, mutants: Iterable[Mutant]) -> dict[Place, Mutant]:
    """Send mutants, each with its codec; gives those that the broker took, by where they are."""
    settings = {"bootstrap.servers": bootstrap_servers, "message.max.bytes": 4 * MB, "linger.ms": 20}
    producers = {codec: Producer(settings | {"compression.type": codec}) for codec in CODECS}
    sent: dict[Place, Mutant] = {}
    for mutant in mutants:

        def note(error: KafkaError | None, message: Message, mutant: Mutant = mutant) -> None:
            if error is None:
                sent[Place(message.topic() or "", message.partition() or 0, message.offset() or 0)] = mutant

        producer = producers[mutant.codec]
        producer.produce(
            mutant.topic,
            key=mutant.key,
            value=mutant.value,
            partition=mutant.partition,
            headers=mutant.headers,
            timestamp=mutant.timestamp_ms,
            on_delivery=note,
        )
        producer.poll(0)
    for producer in producers.values():
        assert producer.flush(120) == 0
    return sent


def send_bombs(bootstrap_servers: str, inputs: Inputs, timestamp_ms: int) -> dict[Place, Mutant]:
    """Send a batch of each codec that unpacks to far more, one to each partition; gives what must be refused of them.

    No client unpacks the one of zstd, so it is refused as a whole; of the others each record is. Returns once all are
    read, so that those of two topics are never unpacked at once: memory is judged, and not how far a reader is behind.
    """
    topic = inputs.topic
    bombs = [
        (topic, number, bomb(codec, size, timestamp_ms, honest=BOMB_RECORDS - 1))
        for number, (codec, size) in enumerate(BOMBS.items())
    ]
    sent: dict[Place, Mutant] = {}
    for codec, (_, partition, batch), first in zip(BOMBS, bombs, send_batches(bootstrap_servers, bombs), strict=True):
        assert first is not None, codec
        for offset in range(first, first + (1 if codec == "zstd" else batch.record_count())):
            place = Place(topic, partition, offset)
            sent[place] = Mutant(
                topic, partition, None, None, [], timestamp_ms, codec, "", hopeless=True, untouched=False
            )
    ends = ends_of(bootstrap_servers, [inputs])
    wait_until(f"the bombs of {topic} are read", lambda: not behind(bootstrap_servers, ends), WITHIN_S, every_s=0.2)
    return sent


def ends_of(bootstrap_servers: str, inputs: Iterable[Inputs]) -> dict[tuple[str, str, int], int]:
    """Return where each partition ends now, for each group that reads it."""
    ends = {}
    with closing(Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "mutants"})) as consumer:
        for each in inputs:
            for number in range(PARTITIONS):
                _, end = consumer.get_watermark_offsets(TopicPartition(each.topic, number), timeout=60)
                ends |= {(group, each.topic, number): end for group in each.groups}
    return ends


def behind(bootstrap_servers: str, ends: Mapping[tuple[str, str, int], int]) -> list[tuple[str, str, int]]:
    """Return which groups have not acknowledged a partition up to its end."""
    found = []
    for group in {group for group, _, _ in ends}:
        wanted = [TopicPartition(topic, number) for name, topic, number in ends if name == group]
        with closing(Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group})) as consumer:
            found += [
                (group, position.topic, position.partition)
                for position in consumer.committed(wanted, timeout=60)
                if position.offset < ends[group, position.topic, position.partition]
            ]
    return found


def without_success(pipeline: Pipeline, begun: int, until: int) -> dict[str, dict[int, list[str]]]:
    """Instants of the controls, a second apart, without a successful result on the topic, and what results they have.

    The results are read as plain JSON.
    """
    found: dict[str, dict[int, list[str]]] = {user_id: {} for user_id in CONTROLS}
    for message in read_past_bombs(pipeline, pipeline.topics.results):
        key = (message.key() or b"").decode(errors="replace")
        if key in found:
            result = json.loads(message.value() or b"")
            found[key].setdefault(result["scheduled_at"], []).append(f"{result['status']}: {result['reason']}")
    missed = {
        key: {
            instant: results.get(instant, [])
            for instant in range(min(results), until, 1_000)
            if instant >= begun and not any(each.startswith("success") for each in results.get(instant, []))
        }
        for key, results in found.items()
    }
    return {key: instants for key, instants in missed.items() if instants}


def read_past_bombs(pipeline: Pipeline, topic: str) -> Iterator[Message]:
    """Everything on a topic up to now, but for bombs, whose length is known."""
    settings = {"bootstrap.servers": pipeline.settings.bootstrap_servers, "group.id": "mutants"}
    with closing(Consumer(settings | {"auto.offset.reset": "earliest", "enable.auto.commit": False})) as consumer:
        partitions = [TopicPartition(topic, number, 0) for number in range(PARTITIONS)]
        left = {each.partition: consumer.get_watermark_offsets(each, timeout=60)[1] for each in partitions}
        consumer.assign([each for each in partitions if left[each.partition]])
        while left := {number: end for number, end in left.items() if end}:
            for message in consumer.consume(1_000, 0.5):
                partition, offset = message.partition() or 0, message.offset() or 0
                if message.error() is None:
                    yield message
                else:
                    assert message.error().code() == KafkaError._BAD_COMPRESSION, message.error()
                    offset += BOMB_RECORDS - 1
                    consumer.seek(TopicPartition(topic, partition, offset + 1))
                if offset + 1 >= left.get(partition, 0):
                    left.pop(partition, None)
