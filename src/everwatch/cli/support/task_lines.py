"""Delayed tasks as lines of a JSON lines file."""

from collections.abc import Iterator
from typing import Any

import msgspec

from everwatch.cli.support.input_file import Made
from everwatch.core.errors import InvalidInput
from everwatch.encoding.input_models import Name, UserId, parse_json
from everwatch.kafka.command_client import asked_of
from everwatch.transfer.text_lines import TextLine


class TaskLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"in_": "in"}):
    """One line of a file of tasks; what it does not judge is judged with the command that it becomes."""

    user_id: UserId
    task_id: Name
    kind: Any
    at: Any = None
    in_: Any = None
    config: Any = {}
    payload: Any = None
    policy: Any = {}
    command_id: Any = ""


def commands_of(lines: Iterator[TextLine]) -> Iterator[Made]:
    """The commands that put the tasks of a file's lines, and why some are none."""
    for line in lines:
        try:
            if line.problem:
                raise InvalidInput(line.problem)
            yield line.number, asked_of(_put_of(line.value), line.number)
        except InvalidInput as error:
            yield line.number, InvalidInput(error.reason, path_in_line(error.path), error.code)


def _put_of(line: bytes) -> dict[str, Any]:
    """The command that puts the task of a line. Raises InvalidInput."""
    task = parse_json(line, TaskLine)
    if (task.at is None) == (task.in_ is None):
        raise InvalidInput("a task needs at or in" if task.at is None else "a task is due at or in, not both")
    return {
        "command": "put",
        "user_id": task.user_id,
        "monitor_id": task.task_id,
        "command_id": task.command_id,
        "monitor": {
            "kind": task.kind,
            "config": task.config,
            "schedule": {"in": task.in_} if task.at is None else {"at": task.at},
            "policy": task.policy,
            "payload": task.payload,
        },
    }


def path_in_line(path: str) -> str:
    """A field of a command, by the name that it has in a line."""
    for inside, outside in {"$.monitor_id": "$.task_id", "$.monitor.schedule": "$", "$.monitor": "$"}.items():
        if path == inside or path.startswith((f"{inside}.", f"{inside}[")):
            return outside + path.removeprefix(inside)
    return path
