"""``everwatch try``: a kind run once, here and now, without a worker or an executor."""

from typing import Annotated, Any

import msgspec
import typer
import uvloop

from everwatch.cli.support.options import AsJson, Config, Payload, broker_of, duration_of, json_of, settings_of
from everwatch.cli.support.trial_output import Trial, print_trial
from everwatch.core.clock import Clock, SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.executor.callable_pool import budgets_of, open_callables
from everwatch.kafka.clients import KafkaClients
from everwatch.kafka.event_publisher import open_publisher
from everwatch.kinds import registry
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.kinds.execution.kind_runner import job_of, run_job
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.protocol import InlineView, Kind
from everwatch.model import Outcome, Tick
from everwatch.network.egress import outgoing_of
from everwatch.network.guard import Guard
from everwatch.schedule.duration import MINUTE_MS, describe_duration

_LONGEST_MS = 10 * MINUTE_MS


def try_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="The kind's name.", show_default=False)],
    config: Config = None,
    payload: Payload = None,
    timeout: Annotated[str, typer.Option("--timeout", help="How long it may take, 1ms to 10m.")] = "10s",
    allow_network: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-network",
            metavar="NETWORK",
            help="Private network that may be reached, beside EVERWATCH_ALLOW_NETWORKS; repeatable.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a kind once with a config, here, and print what a result would say; no result is sent or stored.

    Exit status: 0 unless it failed, 1 if it did (or is late), 2 if the config is wrong.

    Examples: `everwatch try http --config '{"url": "https://example.com"}'`
    · `everwatch try tcp --config '{"host": "127.0.0.1", "port": 6379}' --allow-network 127.0.0.0/8 --json`
    """
    settings = _allowing(settings_of(), allow_network or [])
    timeout_ms = duration_of("--timeout", timeout)
    if not 1 <= timeout_ms <= _LONGEST_MS:
        raise SettingsError(f"--timeout: {timeout!r} is not between 1 ms and {describe_duration(_LONGEST_MS)}.")
    fields = {"config": {}} | json_of("--config", config) | json_of("--payload", payload)
    try:
        found = registry.kind_named(kind)
        parsed = registry.parse_config(found, fields["config"])
    except InvalidInput as error:
        raise SettingsError(str(error)) from None
    clock = SystemClock()
    tick = Tick(
        user_id="try",
        monitor_id=kind,
        scheduled_at=clock.now_ms(),
        kind=kind,
        config=registry.canonical_config(found, parsed),
        timeout_ms=timeout_ms,
        version=1,
        partition=0,
        manual=True,
        payload=msgspec.json.encode(fields["payload"]).decode() if "payload" in fields else "",
    )
    trial = uvloop.run(_tried(found, parsed, tick, settings, clock))
    print_trial(trial, as_json)


def _allowing(settings: Settings, networks: list[str]) -> Settings:
    if not networks:
        return settings
    try:
        return settings_of(allow_networks=",".join([*map(str, settings.allow_networks), *networks]))
    except SettingsError as error:
        raise SettingsError(str(error).replace("setting EVERWATCH_ALLOW_NETWORKS", "--allow-network")) from None


async def _tried(kind: Kind, config: Any, tick: Tick, settings: Settings, clock: Clock) -> Trial:
    began_s = clock.monotonic_s()
    if kind.inline:
        now = tick.scheduled_at
        outcome = kind.judge(config, InlineView(began=now, watching_since=now, last_signal=0), now)
    else:
        outcome = await _run(tick, settings, clock)
    duration_ms = round((clock.monotonic_s() - began_s) * 1000, 3)
    return Trial(
        tick.kind, outcome.status, outcome.reason, tick.scheduled_at, duration_ms, outcome.timings, outcome.detail
    )


async def _run(tick: Tick, settings: Settings, clock: Clock) -> Outcome:
    async with (
        open_publisher(settings, KafkaClients(settings, broker_of(settings))) as publisher,
        open_callables(clock, 1, settings.python_memory_mb, budgets_of(settings)) as callables,
        open_run_context(
            clock, Guard(settings.allow_networks), publisher, callables, outgoing=outgoing_of(settings)
        ) as context,
    ):
        return await run_job(job_of(tick, ConfigSecrets()), tick, context, lambda _: None)
