"""Commands from the command line to the worker and its answer back, as a shell runs them."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from threading import Thread
from typing import Any

import orjson
import pytest
from support.command import everwatch, run
from support.pipeline import FEW, Pipeline
from support.waiting import now_ms, wait_until

from everwatch.model import CommandOutcome, Every

pytestmark = pytest.mark.integration
NOOP = ("--kind", "noop", "--every", "1h")


def say(pipeline: Pipeline, *arguments: str) -> CompletedProcess[str]:
    return run(*arguments, environment=pipeline.environment)


def answer(pipeline: Pipeline, *arguments: str, status: int = 0) -> dict[str, Any]:
    """The worker's answer to a command."""
    said = say(pipeline, *arguments, "--wait", "--json")
    assert said.returncode == status, said
    told: dict[str, Any] = orjson.loads(said.stdout)
    return told


def wait_for_task(pipeline: Pipeline, user_id: str, task_id: str, status: str) -> None:
    def reached() -> bool:
        task = pipeline.reader.task(user_id, task_id, now_ms())
        return task is not None and task.status == status

    wait_until(f"{user_id}/{task_id} is {status}", reached)


def test_a_monitor_is_put_changed_paused_resumed_and_deleted(pipeline: Pipeline) -> None:
    said = say(pipeline, "monitor", "put", "cmd-1", "m", *NOOP, "--wait")
    assert (said.returncode, said.stdout) == (0, "done: put cmd-1/m, version 1\n"), said.stderr
    said = say(pipeline, "monitor", "put", "cmd-1", "m", *NOOP, "--wait")
    assert (said.returncode, said.stdout) == (0, "unchanged: put cmd-1/m: no change was needed\n"), said.stderr
    assert (
        answer(pipeline, "monitor", "put", "cmd-1", "m", *NOOP, "--payload", "1", "--if-version", "1")["version"] == 2
    )

    assert answer(pipeline, "monitor", "pause", "cmd-1", "m", "--for", "2h")["answer"] == "done"
    pipeline.wait_for_states("cmd-1", m="paused")
    [listed] = say(pipeline, "monitor", "list", "cmd-1", "--json").stdout.splitlines()
    assert orjson.loads(listed)["next_run"] > now_ms() + 2 * 3_600_000 - 60_000

    assert answer(pipeline, "monitor", "resume", "cmd-1", "m")["answer"] == "done"
    assert answer(pipeline, "monitor", "resume", "cmd-1", "m")["answer"] == "unchanged"
    assert answer(pipeline, "monitor", "delete", "cmd-1", "m")["answer"] == "done"
    pipeline.wait_for_states("cmd-1")


def test_a_put_of_what_has_changed_meanwhile_is_refused_with_the_reason(pipeline: Pipeline) -> None:
    answer(pipeline, "monitor", "put", "cmd-2", "m", *NOOP)
    said = say(pipeline, "monitor", "put", "cmd-2", "m", *NOOP, "--payload", "1", "--if-version", "7", "--wait")
    assert said.returncode == 1, said.stderr
    assert said.stdout == (
        "refused: put cmd-2/m: the monitor is at version 1, and the put expects version 7 (at $.if_version)\n"
    )
    there = answer(pipeline, "monitor", "put", "cmd-2", "m", *NOOP, "--payload", "1", "--if-version", "0", status=1)
    assert (there["answer"], there["path"], there["version"]) == ("refused", "$.if_version", 0)
    gone = answer(pipeline, "monitor", "resume", "cmd-2", "other", status=1)
    assert gone["reason"].startswith("there is no monitor 'other' of user 'cmd-2'")


def test_a_command_that_comes_again_with_its_id_is_carried_out_once(pipeline: Pipeline) -> None:
    answer(pipeline, "monitor", "put", "cmd-3", "m", *NOOP)
    first = answer(pipeline, "monitor", "run-now", "cmd-3", "m", "--id", "run-1")
    again = answer(pipeline, "monitor", "run-now", "cmd-3", "m", "--id", "run-1")
    anew = answer(pipeline, "monitor", "run-now", "cmd-3", "m", "--id", "run-2")
    assert [each["answer"] for each in (first, again, anew)] == ["done", "repeated", "done"]
    found = wait_until("both runs are stored", lambda: (r := pipeline.results("cmd-3", "m")) and len(r) >= 2 and r)
    assert [result.manual for result in found] == [True, True]


def test_a_task_is_created_shown_and_cancelled(pipeline: Pipeline) -> None:
    said = say(pipeline, "task", "create", "cmd-4", "t", "--kind", "noop", "--in", "1h", "--wait")
    assert (said.returncode, said.stdout) == (0, "done: put cmd-4/t, version 1\n"), said.stderr
    wait_for_task(pipeline, "cmd-4", "t", "pending")
    shown = orjson.loads(say(pipeline, "task", "show", "cmd-4", "t", "--json").stdout)
    assert (shown["task_id"], shown["kind"]) == ("t", "noop")
    assert abs(shown["due_at"] - now_ms() - 3_600_000) < 60_000

    assert answer(pipeline, "task", "cancel", "cmd-4", "t")["answer"] == "done"
    wait_for_task(pipeline, "cmd-4", "t", "cancelled")
    assert answer(pipeline, "task", "cancel", "cmd-4", "t", status=1)["path"] == "$.monitor_id"
    answer(pipeline, "monitor", "put", "cmd-4", "m", *NOOP)
    refused = say(pipeline, "task", "cancel", "cmd-4", "m", "--wait")
    assert refused.returncode == 1
    assert "this is no delayed task but a recurring monitor" in refused.stdout


def test_a_file_of_tasks_is_created_counted_and_cancelled(pipeline: Pipeline, tmp_path: Path) -> None:
    lines = [{"user_id": f"cmd-5-{n % 3}", "task_id": f"t-{n}", "kind": "noop", "in": "1h"} for n in range(600)]
    lines += [{"user_id": "cmd-5-0", "task_id": "t-0", "kind": "noop", "in": "2h"}, {"user_id": "x"}]
    (tmp_path / "tasks.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    said = say(pipeline, "task", "create", "--file", str(tmp_path / "tasks.jsonl"), "--wait", "--json")
    assert said.returncode == 1, said
    told = orjson.loads(said.stdout)
    assert (told["sent"], told["refused"], told["answers"]) == (601, 1, {"done": 601})
    reason = {"line": 602, "reason": "this field is missing (at $.task_id)", "path": "$.task_id", "code": "invalid"}
    assert told["reasons"] == [reason]

    def counted(user_id: str) -> Callable[[], dict[str, int]]:
        return lambda: orjson.loads(say(pipeline, "task", "count", "--user", user_id, "--json").stdout)

    wait_until("the tasks are stored", lambda: counted("cmd-5-1")()["pending"] == 200)
    assert answer(pipeline, "task", "cancel", "cmd-5-1", "--all")["answer"] == "done"
    wait_until("all are cancelled", lambda: counted("cmd-5-1")()["cancelled"] == 200)
    assert answer(pipeline, "task", "cancel", "cmd-5-1", "--all")["answer"] == "unchanged"
    assert counted("cmd-5-2")()["pending"] == 200


def test_a_user_is_maintained_shown_and_deregistered(pipeline: Pipeline) -> None:
    # by the same way in: another client's partitioner may put the user elsewhere
    say(pipeline, "signup", "cmd-6", "--heartbeat", "1h")
    wait_until("the user is stored", lambda: pipeline.reader.user("cmd-6"))
    assert answer(pipeline, "user", "maintain", "cmd-6", "--for", "2h")["answer"] == "done"

    def maintained() -> bool:
        said = say(pipeline, "user", "show", "cmd-6", "--json")
        return bool(orjson.loads(said.stdout)["maintained_until"])

    wait_until("the maintenance is stored", maintained)
    assert answer(pipeline, "user", "maintain", "cmd-6", "--none")["answer"] == "done"
    assert answer(pipeline, "user", "maintain", "cmd-6", "--none")["answer"] == "unchanged"
    assert answer(pipeline, "user", "deregister", "cmd-6")["answer"] == "done"
    wait_until("the user is gone", lambda: pipeline.reader.user("cmd-6") is None)
    assert answer(pipeline, "user", "deregister", "cmd-6", status=1)["path"] == "$.user_id"


def test_without_a_worker_the_command_stays_and_that_is_told(new_pipeline: Callable[..., Pipeline]) -> None:
    alone = new_pipeline(partitions=FEW)
    said = say(alone, "monitor", "put", "cmd-7", "m", *NOOP, "--wait", "--timeout", "2s")
    assert (said.returncode, said.stdout) == (3, "")
    assert said.stderr == (
        "everwatch: No worker answered within 2 s: the record stays on the topic and is carried out when one runs.\n"
    )
    assert say(alone, "monitor", "put", "cmd-7", "m", *NOOP, "--id", "c-1").stdout == ("sent: put cmd-7/m (id c-1)\n")
    assert len(alone.read(alone.topics.commands)) == 2


def test_a_signup_and_a_signal_are_answered_when_that_is_asked_for(pipeline: Pipeline) -> None:
    registered = answer(pipeline, "signup", "cmd-8", "--heartbeat", "1h", "--id", "s-1")
    assert (registered["answer"], registered["signup_id"]) == ("registered", "s-1")
    again = say(pipeline, "signup", "cmd-8", "--heartbeat", "1h", "--wait")
    assert (again.returncode, again.stdout) == (0, "unchanged: signup cmd-8: no change was needed\n")
    assert say(pipeline, "signal", "cmd-8", "heartbeat", "--wait").stdout == "done: signal cmd-8/heartbeat\n"
    unknown = answer(pipeline, "signal", "cmd-8", "nobody", status=1)
    assert (unknown["answer"], unknown["code"], unknown["path"]) == ("refused", "not_found", "$.monitor_id")
    assert unknown["reason"].startswith("there is no monitor 'nobody' of user 'cmd-8'")
    without = say(pipeline, "signal", "cmd-8", "nobody")
    assert (without.returncode, without.stdout) == (0, "sent: signal cmd-8/nobody\n")


def test_a_file_of_signups_is_answered_line_by_line(pipeline: Pipeline, tmp_path: Path) -> None:
    noop = {"monitor_id": "m", "kind": "noop", "schedule": {"every": "1d"}}
    never = noop | {"schedule": {"every": "1d", "end_at": "2020-01-01T00:00:00Z"}}
    lines = [{"user_id": f"cmd-9-{n}", "monitors": [never if n == 7 else noop]} for n in range(500)]
    (tmp_path / "users.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    said = say(pipeline, "signup", "--file", str(tmp_path / "users.jsonl"), "--wait", "--json")
    told = orjson.loads(said.stdout)
    assert (said.returncode, told["sent"], told["refused"]) == (1, 500, 1), said
    assert told["answers"] == {"registered": 499, "refused": 1}
    assert [(each["line"], each["path"]) for each in told["reasons"]] == [(8, "$.monitors[0].schedule")]


def test_a_dead_letter_is_found_shown_and_redriven_once_its_cause_is_mended(pipeline: Pipeline) -> None:
    assert answer(pipeline, "signal", "cmd-10", "job", status=1)["code"] == "not_found"

    def listed() -> list[dict[str, Any]]:
        said = say(pipeline, "dead-letters", "list", "--user", "cmd-10", "--source", "signals", "--json")
        return [orjson.loads(line) for line in said.stdout.splitlines()]

    [letter] = wait_until("the dead letter is there", listed)
    assert (letter["code"], letter["path"], letter["value"]["monitor_id"]) == ("not_found", "$.monitor_id", "job")
    shown = say(pipeline, "dead-letters", "show", letter["letter"]).stdout
    assert '"monitor_id": "job",   <-- there is no monitor' in shown
    counted = orjson.loads(say(pipeline, "dead-letters", "count", "--user", "cmd-10", "--json").stdout)
    assert [(each["source"], each["count"]) for each in counted] == [(pipeline.topics.signals, 1)]

    heartbeat = ("--kind", "heartbeat", "--config", '{"period": "1h"}')
    assert answer(pipeline, "monitor", "put", "cmd-10", "job", *heartbeat)["answer"] == "done"
    dry = say(pipeline, "dead-letters", "redrive", letter["letter"], "--dry-run")
    assert (dry.returncode, dry.stdout.splitlines()[-1]) == (0, "would send 1, left out 0"), dry
    done = say(pipeline, "dead-letters", "redrive", "--user", "cmd-10")
    assert done.stdout.splitlines()[-1] == "sent 1, left out 0", done
    signals = pipeline.topics.signals
    [back] = [each for each in pipeline.read(signals) if dict(each.headers() or []).get("redriven_from")]
    assert back.partition() == letter["source_partition"]
    assert orjson.loads(back.value() or b"")["monitor_id"] == "job"
    pipeline.wait_for_states("cmd-10", job="up")
    again = say(pipeline, "dead-letters", "redrive", "--user", "cmd-10")
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "sent 0, left out 1")
    assert "was redriven at" in again.stderr
    assert len(listed()) == 1
    wait_until("the database says so", lambda: listed()[0]["redriven_at"])
    wait_until("its answer is stored", lambda: len(pipeline.reader.replies("cmd-10")) == 3)
    [taken, put, refused] = pipeline.reader.replies("cmd-10")
    assert (put.answer, put.monitor_id, refused.code) == (CommandOutcome.DONE, "job", "not_found")
    assert (taken.answer, taken.signal_id) == (CommandOutcome.DONE, refused.signal_id)
    assert pipeline.reader.replies("cmd-10", put.command_id) == [put]


def test_one_field_of_a_monitor_is_set_and_the_rest_is_kept(pipeline: Pipeline) -> None:
    first = (
        "--kind", "tcp", "--every", "1h", "--config", '{"host": "127.0.0.1", "port": 9}',
        "--policy", '{"timeout": "2s"}', "--label", "env=prod", "--name", "Port nine",
    )  # fmt: skip
    answer(pipeline, "monitor", "put", "cmd-20", "m", *first)
    wait_until("the monitor is stored", lambda: pipeline.monitor("cmd-20", "m"))
    before = pipeline.monitor("cmd-20", "m")
    assert before is not None
    said = say(pipeline, "monitor", "set", "cmd-20", "m", "--every", "10s")
    assert (said.returncode, said.stdout) == (0, "done: put cmd-20/m, version 2\n"), said.stderr
    # at once: the database may be a moment behind, and that loses nothing
    said = say(pipeline, "monitor", "set", "cmd-20", "m", "--label", "team=core", "--config", '{"port": 10}', "--json")
    assert orjson.loads(said.stdout)["version"] == 3, said

    def stored() -> bool:
        monitor = pipeline.monitor("cmd-20", "m")
        return monitor is not None and monitor.version == 3

    wait_until("the changes are stored", stored)
    after = pipeline.monitor("cmd-20", "m")
    assert after is not None
    assert after.spec.schedule == Every(10_000)
    assert orjson.loads(after.spec.config) == orjson.loads(before.spec.config) | {"port": 10}
    assert after.spec.labels == (("env", "prod"), ("team", "core"))
    assert (after.spec.policy, after.spec.name) == (before.spec.policy, "Port nine")
    [listed] = say(pipeline, "monitor", "list", "--label", "team=core", "--json").stdout.splitlines()
    assert orjson.loads(listed)["monitor_id"] == "m"
    said = say(pipeline, "monitor", "set", "cmd-20", "nothing", "--every", "10s")
    assert said.returncode == 1
    assert "no monitor 'nothing'" in said.stderr


def test_of_two_who_set_fields_at_the_same_time_neither_loses(pipeline: Pipeline) -> None:
    answer(pipeline, "monitor", "put", "cmd-21", "m", *NOOP)
    wait_until("the monitor is stored", lambda: pipeline.monitor("cmd-21", "m"))
    changes = (("--every", "2h"), ("--name", "Named"), ("--label", "a=1"), ("--label", "b=2"))
    running = [
        everwatch("monitor", "set", "cmd-21", "m", *change, "--timeout", "60s", environment=pipeline.environment)
        for change in changes
    ]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, (out, err)

    def all_there() -> bool:
        monitor = pipeline.monitor("cmd-21", "m")
        return monitor is not None and (monitor.spec.schedule, monitor.spec.name, monitor.spec.labels) == (
            Every(7_200_000),
            "Named",
            (("a", "1"), ("b", "2")),
        )

    wait_until("all changes are there", all_there)


def test_a_user_of_many_monitors_is_paused_and_resumed(pipeline: Pipeline, tmp_path: Path) -> None:
    noop = {"kind": "noop", "schedule": {"every": "1d"}}
    user = {"user_id": "cmd-22", "monitors": [{"monitor_id": f"m-{n}", **noop} for n in range(1_000)]}
    (tmp_path / "user.jsonl").write_bytes(orjson.dumps(user))
    assert say(pipeline, "signup", "--file", str(tmp_path / "user.jsonl"), "--wait").returncode == 0
    wait_until("the user is stored", lambda: pipeline.reader.partition_of("cmd-22") is not None)
    partition = pipeline.reader.partition_of("cmd-22")
    for number in range(300):
        put = {"command": "put", "user_id": "cmd-22", "monitor": {"monitor_id": f"n-{number}", **noop}}
        pipeline.send(pipeline.topics.commands, "cmd-22", put, partition=partition)
    assert answer(pipeline, "monitor", "pause", "cmd-22", "m-7")["answer"] == "done"
    assert answer(pipeline, "user", "pause", "cmd-22", "--for", "2h")["answer"] == "done"
    assert answer(pipeline, "user", "pause", "cmd-22")["answer"] == "done", "now without an end"

    def states() -> Counter[str]:
        return Counter(monitor.state.value for monitor in pipeline.reader.monitors("cmd-22"))

    wait_until("all are paused", lambda: states() == {"paused": 1_300})
    assert answer(pipeline, "user", "pause", "cmd-22")["answer"] == "unchanged"
    assert answer(pipeline, "user", "resume", "cmd-22")["answer"] == "done"
    wait_until("all but one are resumed", lambda: states() == {"new": 1_299, "paused": 1})
    [paused] = say(pipeline, "monitor", "list", "cmd-22", "--state", "paused", "--json").stdout.splitlines()
    assert orjson.loads(paused)["monitor_id"] == "m-7"
    assert answer(pipeline, "user", "deregister", "cmd-22")["answer"] == "done"
    assert answer(pipeline, "user", "pause", "cmd-22", status=1)["code"] == "not_found"


def test_dead_letters_are_followed(pipeline: Pipeline) -> None:
    arguments = ("dead-letters", "list", "--follow", "--json", "--user", "cmd-24")
    following = everwatch(*arguments, environment=pipeline.environment)
    try:
        assert following.stdout is not None
        seen: list[str] = []
        reader = Thread(target=lambda: seen.extend(iter(following.stdout.readline, "")), daemon=True)
        reader.start()

        def shown() -> bool:
            # it begins at the topic's end, which it may still be looking for
            pipeline.send(pipeline.topics.signups, "cmd-24", b'{"user_id": "cmd-24", "plan": 7}')
            pipeline.send(pipeline.topics.signups, "cmd-25", b'{"user_id": "cmd-25", "plan": 7}')
            return bool(seen)

        wait_until("a dead letter is shown", shown, 60, 0.5)
    finally:
        following.kill()
        following.wait()
    letter = orjson.loads(seen[0])
    assert letter["source_topic"] == pipeline.topics.signups
    assert letter["key"] == "cmd-24"
    assert "plan" in f"{letter['path']} {letter['reason']}"


def test_transitions_are_followed(pipeline: Pipeline) -> None:
    answer(pipeline, "monitor", "put", "cmd-23", "m", *NOOP)
    following = everwatch("transitions", "--user", "cmd-23", "--follow", "--json", environment=pipeline.environment)
    try:
        assert following.stdout is not None
        # it begins at the topic's end, which it may still be looking for
        seen: list[str] = []
        reader = Thread(target=lambda: seen.extend(iter(following.stdout.readline, "")), daemon=True)
        reader.start()

        def shown() -> bool:
            answer(pipeline, "monitor", "pause", "cmd-23", "m")
            answer(pipeline, "monitor", "resume", "cmd-23", "m")
            return bool(seen)

        wait_until("a transition is shown", shown, 60, 0.5)
    finally:
        following.kill()
        following.wait()
    assert orjson.loads(seen[0])["user_id"] == "cmd-23"
    stored = say(pipeline, "transitions", "--user", "cmd-23", "--from", "topic", "--json").stdout.splitlines()
    assert {"paused", "new"} <= {orjson.loads(line)["to_state"] for line in stored}
