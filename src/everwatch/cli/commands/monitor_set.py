"""``everwatch monitor set``: change single fields of a monitor and keep the rest."""

from collections.abc import Mapping
from threading import Event
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson
import typer

from everwatch.cli.support.database_reading import database
from everwatch.cli.support.input_way import SendingOptions
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import (
    CommonOptions,
    DocumentOptions,
    LabelsOption,
    MonitorArguments,
    NameOption,
    documents_of,
    duration_of,
    pairs_of,
    settings_of,
)
from everwatch.cli.support.run_parts import run_parts
from everwatch.cli.support.schedule_options import ScheduleOptions, changed_schedule, with_schedule
from everwatch.cli.support.sending import (
    ANSWER_WITHIN,
    Timeout,
    connected,
    print_reply,
)
from everwatch.core.clock import Clock, SystemClock
from everwatch.core.errors import EverwatchError, InvalidInput, RefusalCode, SettingsError
from everwatch.encoding.input_rendering import monitor_form
from everwatch.kafka.command_client import Asked, Unanswered, asked_of, unanswered_text
from everwatch.kinds.execution.config_secrets import ConfigSecrets, config_secrets
from everwatch.model import CommandOutcome, Monitor, MonitorSpec


class RenamingOptions(NamedTuple):
    """Options that change by what people name a monitor and find it."""

    name: NameOption = None
    label: LabelsOption = None
    remove_label: Annotated[
        list[str] | None, typer.Option("--remove-label", help="A label's KEY; repeatable.", show_default=False)
    ] = None


@with_schedule
@with_options(which=MonitorArguments, naming=RenamingOptions, documents=DocumentOptions, common=CommonOptions)
def set_(
    which: MonitorArguments,
    schedule: ScheduleOptions,
    naming: RenamingOptions,
    documents: DocumentOptions,
    timeout: Timeout = ANSWER_WITHIN,
    *,
    common: CommonOptions,
) -> None:
    """Change what the options name and keep the rest of a monitor; waits for the worker's answer.

    --config and --policy change the fields that they name; null takes one away. The rest is read from the database, and
    the change is refused by the worker if the monitor has changed since; then it is made again on what it is now, so
    that no change is lost.

    Examples: `everwatch monitor set u-1 site --every 10s` · `everwatch monitor set u-1 site --label env=prod`
    · `everwatch monitor set u-1 site --config '{"url": "https://example.com/up"}' --policy '{"retries": {"max": 2}}'`
    """
    labels = pairs_of("--label", "KEY=VALUE", naming.label or [], empty=True)
    changes = FieldChanges(schedule, naming.name, labels, tuple(naming.remove_label or ()), documents_of(documents))
    if changes.is_nothing:
        raise SettingsError("Name what to change, e.g. --every 10s (see 'everwatch monitor set --help').")
    delivery = SendingOptions(
        settings_of(common.data_dir, common.bootstrap_servers),
        True,
        duration_of("--timeout", timeout) / 1000,
        common.as_json,
    )
    change = _change_by_api if delivery.settings.api_url else _change
    change(which.user, which.monitor, changes, delivery, SystemClock())


class FieldChanges:
    """Changes of a monitor's fields."""

    def __init__(
        self,
        schedule: ScheduleOptions,
        name: str | None,
        labels: Mapping[str, str],
        remove_labels: tuple[str, ...],
        documents: Mapping[str, Any],
    ) -> None:
        self._schedule = schedule
        self._name = name
        self._labels = labels
        self._remove_labels = remove_labels
        self._documents = documents

    @property
    def is_nothing(self) -> bool:
        """Tell whether no option was given."""
        named = (self._name is not None, self._labels, self._remove_labels, self._documents)
        return not any(named) and self._schedule == ScheduleOptions()

    def patch_of(self, spec: MonitorSpec) -> dict[str, Any]:
        """The changes as a JSON merge patch (RFC 7396) of the monitor; secrets that stay need not be known for it.

        Raises SettingsError.
        """
        before, after = (
            orjson.loads(orjson.dumps(said)) for said in (monitor_form(spec), self.of(spec, ConfigSecrets(None)))
        )
        return merge_patch(before, after)

    def of(self, spec: MonitorSpec, secrets: ConfigSecrets) -> dict[str, Any]:
        """The monitor with the changes made, as a put says it. Raises SettingsError."""
        said = monitor_form(spec)
        said["schedule"] = changed_schedule(said["schedule"], self._schedule)
        if self._name is not None:
            said["name"] = self._name
        said["labels"] = {
            key: value
            for key, value in (dict(spec.labels) | dict(self._labels)).items()
            if key not in self._remove_labels
        }
        if "payload" in self._documents:
            said["payload"] = self._documents["payload"]
        for field, before in (("config", orjson.loads(spec.config)), ("policy", said.get("policy", {}))):
            if field in self._documents:
                said[field] = _merged(f"--{field}", before, self._documents[field])
        said["config"] = _decrypted(spec, said["config"], secrets)
        return said


def _decrypted(spec: MonitorSpec, config: Any, secrets: ConfigSecrets) -> orjson.Fragment:
    """A config whose secrets may be stored encrypted, to be sent. Raises SettingsError where a key is missing."""
    try:
        changed = msgspec.structs.replace(spec, config=orjson.dumps(config).decode())
        return orjson.Fragment(secrets.decrypted_spec(changed).config)
    except InvalidInput as error:
        raise SettingsError(
            f"The whole monitor is put again, and {error}: set it here as executors have it, or give the secret with"
            " --config."
        ) from None


def _merged(option: str, before: dict[str, Any], changes: object) -> dict[str, Any]:
    """The previous fields with the given ones; a null removes one. Raises SettingsError."""
    if not isinstance(changes, dict):
        raise SettingsError(f"{option} wants a JSON object.")
    return {name: value for name, value in (before | changes).items() if value is not None}


def merge_patch(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The JSON merge patch that makes ``after`` of ``before``. Raises SettingsError for a null, which it cannot say."""
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        if isinstance(value, dict) and isinstance(before.get(name), dict):
            if inner := merge_patch(before[name], value):
                patch[name] = inner
        elif name not in before or before[name] != value:
            if value is None or (isinstance(value, dict) and None in value.values()):
                raise SettingsError(f"Through the API {name!r} cannot be set to null: put the monitor anew instead.")
            patch[name] = value
    return patch


def _change_by_api(user: str, monitor: str, changes: FieldChanges, delivery: SendingOptions, clock: Clock) -> None:
    """The same through the API, which reads the monitor, with its secrets, and puts it itself."""
    from everwatch.cli.support.api_connection import REFUSALS, api_client, refusal_of, reply_of
    from everwatch.cli.support.api_reading import ApiReader
    from everwatch.client import ApiError

    pause = Event()
    deadline_s = clock.monotonic_s() + delivery.timeout_s
    with api_client(delivery.settings) as client:
        reader = ApiReader(client)
        while True:
            found = reader.monitor(user, monitor)
            if found is None:
                raise EverwatchError(f"The database holds no monitor {monitor!r} of user {user!r}.")
            try:
                patch, wait_s = changes.patch_of(found.spec), min(30, delivery.timeout_s)
                outcome = client.change_monitor(user, monitor, patch, found.version, wait_s=wait_s)
                break
            except ApiError as error:
                if error.code == RefusalCode.VERSION_MISMATCH and clock.monotonic_s() < deadline_s:
                    pause.wait(run_parts().look_again_s)
                    continue
                if error.status not in REFUSALS or error.code == "forbidden":
                    raise
                outcome = refusal_of(error, "put", user, monitor)
                break
    if outcome.answer is None:
        raise Unanswered(unanswered_text(1, delivery.timeout_s))
    print_reply(reply_of(outcome), delivery.as_json)
    if outcome.answer is CommandOutcome.REFUSED:
        raise typer.Exit(1)


def _change(user: str, monitor: str, changes: FieldChanges, delivery: SendingOptions, clock: Clock) -> None:
    """Put the changed monitor; while that is refused for another change, read it again. Exits with 1 if refused."""
    pause = Event()
    secrets = config_secrets(delivery.settings)
    with database(delivery.settings) as reader:

        def read() -> Monitor:
            found = reader.monitor(user, monitor)
            if found is None:
                raise EverwatchError(f"The database holds no monitor {monitor!r} of user {user!r}.")
            return found

        def asked_for(found: Monitor) -> Asked:
            return asked_of(
                {
                    "command": "put",
                    "user_id": user,
                    "monitor_id": monitor,
                    "monitor": changes.of(found.spec, secrets),
                    "if_version": found.version,
                }
            )

        before = read()
        asked = asked_for(before)
        deadline_s = clock.monotonic_s() + delivery.timeout_s
        with connected(delivery, asked) as link:
            while True:
                [(_, reply)] = link.ask([asked])
                overtaken = reply.answer is CommandOutcome.REFUSED and reply.code == RefusalCode.VERSION_MISMATCH
                # the database is a moment behind the worker
                while overtaken and before.version == read().version and clock.monotonic_s() < deadline_s:
                    pause.wait(run_parts().look_again_s)
                if not overtaken or clock.monotonic_s() >= deadline_s:
                    break
                before = read()
                asked = asked_for(before)
    print_reply(reply, delivery.as_json)
    if reply.answer is CommandOutcome.REFUSED:
        raise typer.Exit(1)
