"""``everwatch explain``: why a monitor is in its state, and what happens to it next."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from everwatch.cli.support.database_reading import no_user, reading
from everwatch.cli.support.flapping_reading import flapping_among
from everwatch.cli.support.options import (
    AsJson,
    Bootstrap,
    DataDir,
    MonitorArgument,
    ShowSecrets,
    UserArgument,
    clients_of,
    settings_of,
)
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.schedule_options import maintenance_text, schedule_text
from everwatch.cli.support.time_display import time_text
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, InvalidInput, SettingsError, Transient
from everwatch.kafka.group_members import owners_of
from everwatch.kafka.process_figures import GroupMembers
from everwatch.kinds.execution.config_secrets import config_secrets, redacted_spec
from everwatch.model import Maintenance, Monitor, Quorum, Result, Transition
from everwatch.operations import state_colours
from everwatch.operations.explanation import ExplainedRun, Explanation, LastRun, RegionState
from everwatch.operations.explanation import explain as explained
from everwatch.operations.monitor_facts import known_of
from everwatch.rules.lifecycle import is_muted
from everwatch.schedule.duration import describe_duration
from everwatch.schedule.instant import instant_text

if TYPE_CHECKING:
    from everwatch.cli.support.api_reading import ApiReader
    from everwatch.store import SqlReader

# of a config, characters; --json has all of it
LONGEST_CONFIG = 1_000


def explain(
    user: UserArgument,
    monitor: MonitorArgument,
    secrets: ShowSecrets = False,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Say why a monitor is in its state, when it runs next, its last result, and which processes own it.

    State comes from the database, processes from Kafka; without a broker they are left out. With --api all of it comes
    from the API.

    Examples: `everwatch explain u-1 http` · `everwatch explain u-1 http --json | jq .next_runs`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    now = now_ms()
    with reading(settings) as reader:
        found = reader.monitor(user, monitor)
        if found is None:
            raise _unknown(reader, user, monitor, now)
        explanation, problem = _explained(settings, reader, found, now, secrets)
        is_flapping = bool(flapping_among(settings, reader, [found]))
    try:
        spec = config_secrets(settings).decrypted_spec(found.spec) if secrets else redacted_spec(found.spec)
    except InvalidInput as error:
        raise SettingsError(f"The config cannot be shown with its secrets: {error}.") from None
    if as_json:
        said = msgspec.to_builtins(explanation) | {
            "schedule_text": schedule_text(found.spec, instant_text),
            "broker": problem,
            "config": msgspec.Raw(spec.config.encode()),
            "flapping": is_flapping,
        }
        typer.echo(msgspec.json.encode(said).decode())
        return
    _show(explanation, found, spec.config, problem, now, is_flapping=is_flapping)


def _explained(
    settings: Settings, reader: "SqlReader | ApiReader", found: Monitor, now: int, secrets: bool
) -> tuple[Explanation, str]:
    """The explanation of a monitor, and the reason why its processes are not known ("" if they are)."""
    if settings.api_url:
        from everwatch.cli.support.api_reading import ApiReader

        assert isinstance(reader, ApiReader)  # the settings say so
        if secrets and not reader.shows_secrets():
            raise SettingsError("This token shows no secrets: take one that was made with --secrets.")
        return reader.explanation(found)
    from everwatch.store import SqlReader

    assert isinstance(reader, SqlReader)  # there is nothing else
    partition = reader.partition_of(found.user_id)
    owners, problem = _owners(settings, partition, found)
    return explained(known_of(reader, found, partition, owners), now), problem


def _owners(settings: Settings, partition: int | None, monitor: Monitor) -> tuple[GroupMembers | None, str]:
    """Return the processes for a monitor, or the reason why they are not known."""
    if partition is None:
        return None, "its user is not stored yet"
    try:
        admin = clients_of(settings).admin()
        policy = monitor.spec.policy
        return owners_of(admin, settings, partition, policy.priority, regions=policy.regions), ""
    except Transient as error:
        return None, str(error)


def _unknown(reader: "SqlReader | ApiReader", user: str, monitor: str, now: int) -> EverwatchError:
    """Return the error for a monitor that is not in the database."""
    task = reader.task(user, monitor, now)
    if task is not None:
        ended = f" since {time_text(task.ended_at)}" if task.ended_at else ""
        why = f" ({task.reason})" if task.reason else ""
        return EverwatchError(f"{monitor!r} of user {user!r} was a delayed task: it is {task.status}{ended}{why}.")
    if reader.user(user) is None:
        return no_user(user)
    others = [each.monitor_id for each in reader.monitors(user)]
    shown = ", ".join(map(repr, others[:10])) + (", …" if len(others) > 10 else "")
    return EverwatchError(f"User {user!r} has no monitor {monitor!r}; it has {shown or 'none'}.")


def _show(
    explanation: Explanation, monitor: Monitor, config: str, problem: str, now: int, *, is_flapping: bool
) -> None:
    words = state_colours.state_words(explanation.state, explanation.outcome)
    state = typer.style(words, fg=state_colours.OF_STATE.get(explanation.state), bold=True)
    lasting = describe_duration(max(0, now - explanation.state_since) // 1000 * 1000)
    why = f": {explanation.reason}" if explanation.reason else ""
    typer.echo(
        f"{explanation.user_id}/{explanation.monitor_id} is {state} since {time_text(explanation.state_since)}"
        f" ({lasting}){why}"
    )
    if is_flapping:
        typer.secho(
            "flapping: it changed between up and down more than 5 times in 10 minutes, so changes send no alerts until"
            " one state has lasted for 10 minutes",
            fg=typer.colors.YELLOW,
        )
    if (silence := explanation.silence) is not None:
        typer.secho(
            f"no results since {time_text(silence.since)}, although it was due at {time_text(silence.due_at)}:"
            f" {silence.cause}; the state is that of the last result",
            fg=typer.colors.RED,
        )
    run = explanation.last_run
    if run is not None and run.is_stale and explanation.silence is None:
        typer.secho(_stale_text(run), fg=typer.colors.YELLOW)
    _lines("kind", [f"{explanation.kind}, version {explanation.version}, put by {explanation.origin}"])
    _lines("config", [config if len(config) <= LONGEST_CONFIG else f"{config[:LONGEST_CONFIG]}…"])
    _lines("schedule", [schedule_text(monitor.spec)])
    _lines("policy", [_policy_text(explanation.policy)])
    _lines("maintenance", _maintenance(explanation))
    _lines("agenda", list(_agenda(explanation)) or ["nothing pending"])
    _lines("last run", [_last_run_text(run) if run is not None else "none in its newest results"])
    _lines("regions", list(map(_region_text, explanation.regions)))
    _lines("next runs", list(map(_run_text, explanation.next_runs)) or ["none"])
    _lines("results", list(map(_result_text, explanation.results)) or ["none yet"])
    _lines("transitions", list(map(_transition_text, explanation.transitions)) or ["none yet"])
    _lines("partition", [str(explanation.partition) if explanation.partition is not None else "not known"])
    _lines("processes", list(processes_of(explanation)) or [f"not known: {problem}"])


def _stale_text(run: LastRun) -> str:
    late = f", which began {_whole_seconds(run.late_ms)} late" if run.late_ms >= 1_000 else ""
    skipped = f"; {run.skipped_since} due times since were skipped ({run.skip_reason})" if run.skipped_since else ""
    return f"the state rests on the run of {time_text(run.due_at)}{late}{skipped}"


def _last_run_text(run: LastRun) -> str:
    late = f", {_whole_seconds(run.late_ms)} late" if run.late_ms >= 1_000 else ""
    skipped = f"; {run.skipped_since} due times since were skipped" if run.skipped_since else ""
    return f"{_whole_seconds(run.age_ms)} ago, due at {time_text(run.due_at)}{late}{skipped}"


def _region_text(found: RegionState) -> str:
    if not found.status:
        return f"{found.region}: no answer"
    why = f": {found.reason}" if found.reason else ""
    return f"{found.region}: {found.status} at {time_text(found.scheduled_at)}{why}"


def _whole_seconds(duration_ms: int) -> str:
    return describe_duration(duration_ms // 1_000 * 1_000)


def _lines(title: str, lines: list[str]) -> None:
    for i, line in enumerate(lines):
        typer.echo(f"  {title if i == 0 else '':<12} {line}")


def _policy_text(policy: Mapping[str, Any]) -> str:
    return ", ".join(_differences(policy)) or "the default"


def _differences(policy: Mapping[str, Any]) -> Iterator[str]:
    for name, value in policy.items():
        title = name.removesuffix("_ms").replace("_", " ")
        if name == "maintenance":
            for window in msgspec.convert(value, tuple[Maintenance, ...]):
                yield f"maintenance {maintenance_text(window)}"
        elif isinstance(value, Mapping):
            yield f"{title} ({', '.join(_differences(value))})"
        elif name == "regions":
            quorum = f"quorum {policy.get('quorum', Quorum.MAJORITY)}"
            yield f"regions {', '.join(value)} ({quorum})"
        elif name != "quorum":
            yield f"{title} {describe_duration(value) if name.endswith('_ms') else value}"


def _maintenance(explanation: Explanation) -> list[str]:
    until, agenda = explanation.maintenance_until, explanation.agenda
    if not until:
        return ["none now"]
    why = f" ({agenda.maintained_why})" if agenda.maintained_why and agenda.maintained_until <= until else ""
    return [f"until {time_text(until)}: no alerts{why}"]


def _agenda(explanation: Explanation) -> Iterator[str]:
    agenda = explanation.agenda
    if agenda.retry_at:
        yield (
            f"a retry at {time_text(agenda.retry_at)}: attempt {agenda.retry_attempt} of the tick of"
            f" {time_text(agenda.retry_of)}"
        )
    if agenda.remind_at:
        yield f"a reminder at {time_text(agenda.remind_at)}"
    if agenda.resume_at:
        yield f"resumed at {time_text(agenda.resume_at)}"
    if agenda.ends_at:
        yield f"due for the last time at {time_text(agenda.ends_at)}"
    if agenda.forget_at:
        yield f"forgotten by its worker at {time_text(agenda.forget_at)}"


def _run_text(run: ExplainedRun) -> str:
    """The instant, and behind it what the clock of the schedule's zone shows then, if that is another one."""
    here, there = time_text(run.at), run.local.replace("T", " ")
    return here if there.replace("+00:00", "Z") == here else f"{here}  ({there} by its schedule)"


def _result_text(result: Result) -> str:
    notes = [f"in {result.region}"] if result.region else []
    notes += [f"attempt {result.attempt}"] if result.attempt > 1 else []
    notes += ["manual"] if result.manual else []
    if result.skipped_count > 1:
        notes.append(f"{result.skipped_count} ticks until {time_text(result.skipped_until)}")
    note = f" ({', '.join(notes)})" if notes else ""
    return f"{time_text(result.scheduled_at)}  {result.status}{note}  {result.reason}".rstrip()


def _transition_text(transition: Transition) -> str:
    change = (
        f"still {transition.to_state}"
        if transition.reminder
        else f"{transition.from_state} → {state_colours.state_words(transition.to_state, transition.outcome)}"
    )
    quiet = " (in maintenance)" if is_muted(transition) else ""
    return f"{time_text(transition.at)}  {change}{quiet}  {transition.reason}".rstrip()


def processes_of(explanation: Explanation) -> Iterator[str]:
    owners = explanation.owners
    if owners is None:
        return
    judges = " (judges it itself: no executor takes part)" if explanation.inline else ""
    yield f"worker {owners.worker}{judges}" if owners.worker else "no worker owns the partition"
    if explanation.inline:
        return
    if not owners.executors:
        yield "no executor is running"
    in_region = {owner: region for region, owner in owners.by_region.items() if owner}
    for executor in owners.executors:
        if executor in in_region:
            yield f"executor {executor} (claims its ticks in {in_region[executor]})"
        else:
            yield f"executor {executor}" + (" (claims its ticks)" if executor == owners.executor else "")
    for region, owner in owners.by_region.items():
        if not owner:
            yield f"no executor claims its ticks in {region}"
