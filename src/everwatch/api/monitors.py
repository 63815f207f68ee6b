"""Monitors: put, change, pause, resume, run, delete, list, and show one."""

import asyncio
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import msgspec
import orjson

from everwatch.api import paging
from everwatch.api.bodies import MonitorMaintenanceBody, MonitorPauseBody
from everwatch.api.commanding import Commands
from everwatch.api.database import LOOK_AGAIN_S, PASSED_WITHIN_S, Database
from everwatch.api.flapping import FlappingMonitors
from everwatch.api.permissions import Scope
from everwatch.api.problems import Problem, not_found
from everwatch.api.queries import AllMonitorsQuery, MonitorsQuery, NextQuery, labelled, narrowed, selection_of
from everwatch.api.rendering import monitor_view, spec_json
from everwatch.api.routing import Answer, Call
from everwatch.api.sending import carry_out, done, has_precondition, quoted, version_of
from everwatch.api.spec_changes import changes_between, changes_text
from everwatch.api.totals import total_of_monitors
from everwatch.api.views import FieldChange, MonitorView, RunView, SpecChangesView, SpecChangeView
from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput, RefusalCode, StoreError
from everwatch.encoding.input_conversion import monitor_of
from everwatch.encoding.input_models import MonitorInput
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.model import CommandOutcome as Outcomes
from everwatch.model import Monitor, MonitorSpec, Reply
from everwatch.schedule.due import upcoming

MOST_CHANGES = 50


class Monitors:
    """Handlers of ``/v1/monitors`` and ``/v1/users/{user_id}/monitors``."""

    def __init__(
        self,
        database: Database,
        flapping: FlappingMonitors,
        commands: Commands,
        clock: Clock,
        secrets: ConfigSecrets,
    ) -> None:
        self._database = database
        self._flapping = flapping
        self._commands = commands
        self._clock = clock
        self._secrets = secrets

    # --- reading ------------------------------------------------------------------------------------------------

    async def list(self, call: Call, query: AllMonitorsQuery) -> Answer:
        """List monitors of all users."""
        return await self._page(call, query, narrowed(call.principal, query.user))

    async def list_of_user(self, call: Call, query: MonitorsQuery) -> Answer:
        """List a user's monitors."""
        return await self._page(call, query, call.path["user_id"])

    async def _page(self, call: Call, query: MonitorsQuery, user_id: str) -> Answer:
        which = labelled(call.principal, selection_of(query, user_id))
        answer = await paging.page(
            self._database,
            call,
            query,
            lambda reader, after, limit: reader.list_monitors(
                which, after, sort=query.sort, reverse=query.reverse, limit=limit
            ),
            lambda monitor: self._view(call, monitor),
            lambda reader: total_of_monitors(reader, which),
        )
        shown = await self._flapping.marked(answer.body.items)
        return answer._replace(body=msgspec.structs.replace(answer.body, items=shown))

    async def get(self, call: Call) -> Answer:
        """Show a monitor."""
        monitor = await self._found(call)
        [shown] = await self._flapping.marked([self._view(call, monitor)])
        view = msgspec.json.encode(shown)
        # the version, so that it may be sent as If-Match, and what else there is of it
        return Answer(view, headers={"ETag": f'"{monitor.version}.{_digest(view)}"'})

    async def next_runs(self, call: Call, query: NextQuery) -> Answer:
        """Tell when a monitor is due next."""
        monitor = await self._found(call)
        coming = upcoming(monitor, self._clock.now_ms(), query.limit)
        return Answer(RunView(monitor.user_id, monitor.monitor_id, coming))

    async def changes(self, call: Call) -> Answer:
        """Say which fields of a monitor's specification changed, by signups and commands."""
        monitor = await self._found(call)
        of = monitor.user_id, monitor.monitor_id
        former = await self._database.ask(lambda reader: reader.former_specs(*of, limit=MOST_CHANGES))
        found: list[SpecChangeView] = []
        after, version, origin = self._given(monitor.spec), monitor.version, monitor.origin
        for earlier in former:
            if earlier.version >= version:
                continue  # the monitor was read before it changed
            before = self._given(earlier.spec)
            if fields := [FieldChange(**each) for each in changes_between(before, after)]:
                found.append(SpecChangeView(version, earlier.replaced_at, origin, fields))
            after, version, origin = before, earlier.version, earlier.origin
        return Answer(SpecChangesView(found))

    def _given(self, spec: MonitorSpec) -> MonitorSpec:
        """A stored spec with its secrets as given; as it is stored where a key is missing: they are not shown."""
        try:
            return self._secrets.decrypted_spec(spec)
        except InvalidInput:
            return spec

    def _view(self, call: Call, monitor: Monitor) -> MonitorView:
        secrets = self._secrets if call.principal.has(Scope.SECRETS) else None
        return monitor_view(monitor, self._clock.now_ms(), secrets)

    async def _found(self, call: Call) -> Monitor:
        user_id, monitor_id = call.path["user_id"], call.path["monitor_id"]
        found = await self._database.ask(lambda reader: reader.monitor(user_id, monitor_id))
        if found is None:
            raise not_found(f"monitor {monitor_id!r} of user {user_id!r}")
        return found

    # --- writing ------------------------------------------------------------------------------------------------

    async def put(self, call: Call, body: MonitorInput) -> Answer:
        """Put a monitor, or with If-Match change the one that is there."""
        wanted, monitor = version_of(call), msgspec.to_builtins(body)
        if wanted is not None:
            before = await self._known(call) if wanted else None
            answer = self._after_put(call, await self._put(call, monitor, wanted))
            return self._noted(answer, before, monitor)
        # whatever there is, but something (RFC 9110, 13.1.1): workers take a version only
        try:
            return await self._changed(call, None, lambda _: monitor)
        except Problem as problem:
            if problem.code == RefusalCode.NOT_FOUND:
                raise Problem(
                    412, RefusalCode.VERSION_MISMATCH, "There is no such monitor (a moment ago): If-Match: * needs one."
                ) from None
            raise

    async def patch(self, call: Call, body: dict[str, Any]) -> Answer:
        """Change fields of a monitor by a JSON merge patch (RFC 7396)."""
        if "If-Match" not in call.headers:
            raise _precondition_missing()
        return await self._changed(
            call,
            version_of(call),
            lambda found: merged(orjson.loads(spec_json(with_secrets(self._secrets, found))), body),
        )

    async def _changed(self, call: Call, wanted: int | None, change: Callable[[Monitor], dict[str, Any]]) -> Answer:
        """Put what ``change`` makes of the monitor that there is, at the version that is wanted; None: at any."""
        while True:
            found = await self._at_version(call, wanted)
            monitor = change(found)
            try:
                reply = await self._put(call, monitor, found.version)
            except Problem as problem:
                # If-Match: * is about whatever there is, so it is made again on what there is now
                if wanted is None and problem.code == RefusalCode.VERSION_MISMATCH:
                    await asyncio.sleep(LOOK_AGAIN_S)
                    continue
                raise
            return self._noted(self._after_put(call, reply), found, monitor)

    async def delete(self, call: Call) -> Answer:
        """Delete a monitor; its results stay."""
        reply = await self._send(call, "delete")
        return reply if isinstance(reply, Answer) else done(reply, 204, body=False)

    async def pause(self, call: Call, body: MonitorPauseBody) -> Answer:
        """Pause a monitor."""
        reason = {"reason": body.reason} if body.reason else {}
        return self._done(await self._send(call, "pause", until=body.until, **reason))

    async def resume(self, call: Call) -> Answer:
        """Resume a monitor."""
        return self._done(await self._send(call, "resume"))

    async def maintain(self, call: Call, body: MonitorMaintenanceBody) -> Answer:
        """Put a monitor into maintenance until an instant: checks go on, no alerts are sent."""
        reason = {"reason": body.reason} if body.reason else {}
        return self._done(await self._send(call, "maintain", until=body.until, **reason))

    async def end_maintenance(self, call: Call) -> Answer:
        """End the maintenance of a monitor that was asked for; windows of its policy stay."""
        return self._done(await self._send(call, "maintain"))

    async def run(self, call: Call) -> Answer:
        """Run a monitor once, beside its schedule."""
        return self._done(await self._send(call, "run_now"))

    async def _send(self, call: Call, command: str, **more: object) -> Reply | Answer:
        named = {"user_id": call.path["user_id"], "monitor_id": call.path["monitor_id"]}
        return await carry_out(self._commands, call, {"command": command, **named, **more})

    async def _put(self, call: Call, monitor: dict[str, Any], version: int | None) -> Reply | Answer:
        named = {"user_id": call.path["user_id"], "monitor_id": call.path["monitor_id"]}
        wanted = {"command": "put", **named, "monitor": monitor, "if_version": version}
        try:
            return await carry_out(self._commands, call, wanted, body_at="$.monitor")
        except Problem as problem:
            if problem.code == RefusalCode.VERSION_MISMATCH and not has_precondition(call):
                raise _precondition_missing() from None
            raise

    def _after_put(self, call: Call, reply: Reply | Answer) -> Answer:
        if isinstance(reply, Answer):
            return reply
        if reply.version == 1 and reply.answer is Outcomes.DONE:
            place = f"/v1/users/{quoted(call.path['user_id'])}/monitors/{quoted(call.path['monitor_id'])}"
            return done(reply, 201, location=place)
        return done(reply)

    async def _known(self, call: Call) -> Monitor | None:
        """The monitor as the database has it; None where that is not known: a change is carried out anyway."""
        try:
            return await self._found(call)
        except (Problem, StoreError):
            return None

    def _noted(self, answer: Answer, before: Monitor | None, monitor: dict[str, Any]) -> Answer:
        """Say for the audit log which fields a change is about."""
        if before is None:
            return answer
        try:
            after = monitor_of(msgspec.convert(monitor, MonitorInput), "$", before.monitor_id)
            return answer._replace(change=changes_text(self._secrets.decrypted_spec(before.spec), after))
        except (InvalidInput, msgspec.ValidationError):
            return answer

    def _done(self, reply: Reply | Answer) -> Answer:
        return reply if isinstance(reply, Answer) else done(reply)

    async def _at_version(self, call: Call, version: int | None) -> Monitor:
        """The monitor, once the database, which is a moment behind the worker, has this version. Raises Problem."""
        end_s = asyncio.get_running_loop().time() + PASSED_WITHIN_S
        while True:
            found = await self._found(call)
            if version is None or found.version == version:
                return found
            if found.version > version or asyncio.get_running_loop().time() >= end_s:
                raise Problem(
                    412, RefusalCode.VERSION_MISMATCH, f"The monitor is at version {found.version}, not {version}."
                )
            await asyncio.sleep(LOOK_AGAIN_S)


def with_secrets(secrets: ConfigSecrets, monitor: Monitor) -> MonitorSpec:
    """Return the spec of a stored monitor with its secrets as they were given. Raises Problem."""
    try:
        return secrets.decrypted_spec(monitor.spec)
    except InvalidInput as error:
        raise Problem(
            409, "secrets", f"The whole monitor is taken, and {error.reason}: send it with its secrets instead."
        ) from None


def merged(target: Any, patch: Any) -> Any:
    """Return ``target`` changed by a JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    base = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            base.pop(name, None)
        else:
            base[name] = merged(base.get(name), value)
    return base


def _precondition_missing() -> Problem:
    return Problem(
        428,
        "precondition_required",
        "The monitor exists: send If-Match with the ETag that you have seen, or * for any, so that no change is lost.",
    )


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()
