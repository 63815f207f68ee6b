"""``everwatch monitor try``: a monitor run once by an executor, before it is put."""

import asyncio
from typing import Annotated, Any
from uuid import uuid4

import msgspec
import typer

from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import (
    CommonOptions,
    Config,
    Payload,
    PolicyOption,
    clients_of,
    json_of,
    settings_of,
)
from everwatch.cli.support.trial_output import Trial, print_trial
from everwatch.core.clock import Clock, SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, EverwatchError, InvalidInput, SettingsError
from everwatch.encoding.input_conversion import monitor_of
from everwatch.encoding.input_models import MonitorInput
from everwatch.encoding.trial_records import GRACE_MS, LONGEST_TRIAL_MS, TrialOutcome, TrialRequest
from everwatch.kinds import registry
from everwatch.kinds.execution.config_secrets import config_secrets
from everwatch.rules.admission import admit_monitor


@with_options(common=CommonOptions)
def try_monitor(
    kind: Annotated[str, typer.Option(help="Kind of the monitor: http, tcp, …; see docs/kinds.md.")],
    config: Config = None,
    payload: Payload = None,
    policy: PolicyOption = None,
    *,
    common: CommonOptions,
) -> None:
    """Run a monitor once, by an executor, and print what it found; nothing is stored.

    The check has the executor's network, guard and secrets, and takes the policy's timeout, 30 s at most. Retries and
    thresholds do not count. Exit status: 0 unless it failed, 1 if it did, 2 if the monitor is wrong, 3 if no executor
    answered.

    Examples: `everwatch monitor try --kind http --config '{"url": "https://example.com"}'`
    · `everwatch --api URL monitor try --kind tcp --config '{"host": "db.internal", "port": 5432}' --json`
    """
    fields = json_of("--config", config) | json_of("--payload", payload) | json_of("--policy", policy)
    settings = settings_of(common.data_dir, common.bootstrap_servers)
    try:
        monitor = msgspec.convert({"kind": kind, **fields}, type=MonitorInput)
    except msgspec.ValidationError as error:
        raise SettingsError(f"The monitor is wrong: {error}.") from None
    trial = _by_api(monitor, settings) if settings.api_url else _by_kafka(monitor, settings, SystemClock())
    print_trial(trial, common.as_json)


def _by_api(monitor: MonitorInput, settings: Settings) -> Trial:
    from everwatch.cli.support.api_connection import api_client

    with api_client(settings) as client:
        found = client.try_monitor(msgspec.to_builtins(monitor))
    return Trial(monitor.kind, **msgspec.structs.asdict(found))


def _by_kafka(monitor: MonitorInput, settings: Settings, clock: Clock) -> Trial:
    try:
        spec = admit_monitor(monitor_of(monitor, "$", "m"), "$")
    except InvalidInput as error:
        raise SettingsError(str(error)) from None
    if registry.kind_named(spec.kind).inline:
        raise SettingsError(
            f"There is nothing to run: monitors of the kind {spec.kind!r} are judged by what others send."
        )
    timeout_ms = min(spec.policy.timeout_ms, LONGEST_TRIAL_MS)
    stored = config_secrets(settings).encrypted(spec)
    expires_at = clock.now_ms() + timeout_ms + GRACE_MS
    request = TrialRequest(uuid4().hex, spec.kind, stored.config, timeout_ms, expires_at, spec.payload)
    found = asyncio.run(_asked(request, settings, clock))
    if found is None:
        raise NoExecutor(f"No executor answered within {(timeout_ms + GRACE_MS) / 1000:g} s: is one running, and free?")
    said: dict[str, Any] = msgspec.structs.asdict(found)
    del said["trial_id"]
    return Trial(monitor.kind, **said)


class NoExecutor(EverwatchError):
    """No executor ran a trial in time."""

    exit_code = BrokerUnavailable.exit_code


async def _asked(request: TrialRequest, settings: Settings, clock: Clock) -> TrialOutcome | None:
    from everwatch.kafka.acknowledging import AcknowledgingProducer
    from everwatch.kafka.following import Follower, Start
    from everwatch.kafka.topics import Topics
    from everwatch.kafka.trials import KafkaTrials

    clients, topics = clients_of(settings), Topics.of(settings)
    producer = AcknowledgingProducer(lambda: clients.producer(**{"delivery.timeout.ms": GRACE_MS}))
    try:
        trials = KafkaTrials(topics, producer)
        wanted = {topics.trial_results: Start.END}
        follower = await asyncio.to_thread(Follower, settings, clients, clock, wanted, trials.take)
        follower.start()
        try:
            return await trials.run(request, (request.timeout_ms + GRACE_MS) / 1000)
        finally:
            await follower.close()
    finally:
        await producer.close()
