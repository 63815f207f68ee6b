"""Webhooks in: what Alertmanager and other systems send becomes signals. They take no database, as pings."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from everwatch.api.address_views import HookView
from everwatch.api.bodies import MOST_SIGNALS
from everwatch.api.commanding import Commands
from everwatch.api.pinging import PingKeys
from everwatch.api.problems import not_found, unavailable
from everwatch.api.request_reading import json_problems
from everwatch.api.routing import Answer, Call
from everwatch.api.signals import signal_at
from everwatch.api.views import Accepted
from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput
from everwatch.encoding.input_models import Name, RunId
from everwatch.kafka.command_client import Asked
from everwatch.model import Asker, SignalType

MONITOR_LABEL = "everwatch_monitor"
"""Label of an alert that names the monitor; without it ``alertname`` does."""


class HookSignal(msgspec.Struct, frozen=True):
    """One signal of the user whose key it is; other fields are passed over."""

    monitor_id: Name
    type: SignalType = SignalType.SUCCESS
    value: float | None = None
    exit_code: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    run: RunId = ""


class HookSignals(msgspec.Struct, frozen=True):
    """Webhook in Everwatch's own words."""

    signals: Annotated[list[HookSignal], Meta(min_length=1, max_length=MOST_SIGNALS)]


class AlertmanagerAlert(msgspec.Struct, frozen=True):
    """One alert of Alertmanager's webhook."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]


class AlertmanagerHook(msgspec.Struct, frozen=True):
    """Webhook of Alertmanager: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config."""

    alerts: Annotated[list[AlertmanagerAlert], Meta(max_length=MOST_SIGNALS)]


class Hooks:
    """Handlers of webhooks."""

    def __init__(self, commands: Commands, keys: PingKeys, clock: Clock) -> None:
        self._commands = commands
        self._keys = keys
        self._clock = clock

    async def key(self, call: Call) -> Answer:
        """Show where a user's monitors take webhooks."""
        user_id = call.path["user_id"]
        if self._keys.is_empty:
            raise unavailable("no_ping_secret", "There is no secret for keys yet.")
        key = self._keys.hook_key_of(user_id)
        return Answer(HookView(user_id, key, f"/hooks/{key}"))

    async def take(self, call: Call, data: bytes) -> Answer:
        """Take signals from a webhook: Alertmanager's, or {"signals": […]}."""
        user_id = self._keys.hook_of(call.path["key"])
        if user_id is None:
            raise not_found("such webhook")
        now = self._clock.now_ms()
        values, is_strict = _values(data)
        asked, wrong = [], []
        for index, value in enumerate(values):
            value |= {"user_id": user_id, "at": now}
            try:
                signal = signal_at(value, f"$.signals[{index}]")
            except InvalidInput as error:
                wrong.append(error)
                continue
            asked.append(Asked(Asker.of(signal), msgspec.json.encode(value)))
        # Alertmanager sends nothing again that is refused: one alert without a name must not take the others along
        if wrong and (is_strict or not asked):
            raise wrong[0]
        await self._commands.send(asked)
        return Answer(Accepted(len(asked)), 202)


def _values(data: bytes) -> tuple[list[dict[str, Any]], bool]:
    """Return the signals of a webhook, without their user, and whether all must be right. Raises Problem."""
    with json_problems():
        given = msgspec.json.decode(data)
        if isinstance(given, dict) and "alerts" in given:
            return _of_alerts(msgspec.convert(given, AlertmanagerHook)), False
        return [_without_defaults(each) for each in msgspec.convert(given, HookSignals).signals], True


def _of_alerts(hook: AlertmanagerHook) -> list[dict[str, Any]]:
    """Return a signal for each monitor: of several alerts of one, all must be resolved."""
    firing: dict[str, bool] = {}
    for each in hook.alerts:
        name = each.labels.get(MONITOR_LABEL) or each.labels.get("alertname", "")
        firing[name] = firing.get(name, False) or each.status == "firing"
    return [{"monitor_id": name, "type": "fail" if fails else "success"} for name, fails in firing.items()]


def _without_defaults(signal: HookSignal) -> dict[str, Any]:
    value: dict[str, Any] = msgspec.to_builtins(signal)
    return {name: each for name, each in value.items() if each not in (None, "")}
