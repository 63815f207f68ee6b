"""Export: users and monitors of the database, as rows that an import takes."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

from everwatch.core.errors import EverwatchError, InvalidInput
from everwatch.encoding.input_rendering import monitor_form, signup_form
from everwatch.kinds.execution.config_secrets import ConfigSecrets, redacted_spec
from everwatch.model import Monitor, MonitorSpec, Origin, Signup, State, User
from everwatch.transfer.import_rows import FIELDS
from everwatch.transfer.row_files import Format


@dataclass
class Exported:
    """Counts of an export: rows, paused monitors (a row does not say so), and secrets that were left out."""

    users: int = 0
    monitors: int = 0
    paused: int = 0
    redacted: int = 0


def export_rows(
    catalogue: Iterable[tuple[User, list[Monitor]]],
    exported: Exported,
    secrets: ConfigSecrets | None,
    *,
    users_only: bool,
    everything: bool,
) -> Iterator[dict[str, Any]]:
    """A row for each user, as that user's last signup, and one for each monitor put by command that is not over.

    ``secrets``: with what those in configs are decrypted; None: they are redacted. Raises EverwatchError where a key is
    missing. ``everything``: for those that are over too. A monitor that a signup named is in its row in any case, also
    when it is over or was put anew by command since: a signup without it would delete it.
    """

    def written(monitor: Monitor) -> MonitorSpec:
        spec = monitor.spec
        if secrets is None:
            shown = redacted_spec(spec)
            exported.redacted += shown is not spec
            return shown
        try:
            return secrets.decrypted_spec(spec)
        except InvalidInput as error:
            name = f"{monitor.monitor_id!r} of user {monitor.user_id!r}"
            raise EverwatchError(f"The monitor {name} cannot be exported: {error}.") from None

    for user, monitors in catalogue:
        by_id = {monitor.monitor_id: monitor for monitor in monitors}
        named = tuple(written(by_id[name]) for name in user.monitor_ids if name in by_id)
        exported.users += 1
        yield signup_form(Signup(user.user_id, user.plan, user.attributes, named, user.maintenance))
        for monitor in monitors:
            exported.paused += monitor.state is State.PAUSED
            if users_only or monitor.origin is Origin.SIGNUP:
                continue
            if monitor.state is State.DONE and not everything:
                continue
            exported.monitors += 1
            yield {"user_id": user.user_id, "monitor": monitor_form(written(monitor))}


def write_rows(rows: Iterable[dict[str, Any]], form: Format, stream: BinaryIO) -> None:
    """Write rows as JSON lines, or as CSV with a header. Raises OSError."""
    if form is Format.JSONL:
        for row in rows:
            stream.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        return
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=False)
    try:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(FIELDS)
        for row in rows:
            writer.writerow([_cell(row.get(name, "")) for name in FIELDS])
        text.flush()
    finally:
        # the stream is its owner's to close
        text.detach()


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
