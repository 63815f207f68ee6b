"""Plans, as a user of the topics and the database sees them, with a real worker, executor and sink."""

from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import NewPipeline
from support.command import run
from support.pipeline import FEW, Pipeline, every
from support.target import Target
from support.waiting import wait_until

from everwatch.encoding import codec
from everwatch.model import CommandOutcome, Every, Reply

pytestmark = pytest.mark.integration
FILE = """
[plans.free]
max_monitors = 2
shortest_interval = "1s"

[[plans.free.monitors]]
monitor_id = "site"
config = {{ url = "{{{{user.attributes.site}}}}" }}
schedule = {{ every = "1s" }}

[plans.pro]

[[plans.pro.monitors]]
monitor_id = "site"
config = {{ url = "{{{{user.attributes.site}}}}" }}
schedule = {{ every = "{pace}" }}

[[plans.pro.monitors]]
monitor_id = "more"
kind = "noop"
schedule = {{ every = "1s" }}
"""
_numbers = count(1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plans") / "plans.toml"
    file.write_text(FILE.format(pace="2s"))
    return file


@pytest.fixture(scope="module")
def pipeline(new_pipeline: NewPipeline, file: Path) -> Pipeline:
    running = new_pipeline(plans_file=file, partitions=FEW)
    running.ensure("worker", "executor", "sink")
    running.wait_until_ready()
    return running


@pytest.fixture
def user() -> str:
    return f"planned-{next(_numbers)}"


def sign_up(pipeline: Pipeline, user: str, plan: str, attributes: dict[str, Any], *own: dict[str, Any]) -> None:
    given = {"user_id": user, "plan": plan, "attributes": attributes, "monitors": list(own)}
    pipeline.send(pipeline.topics.signups, user, given)


def reasons(pipeline: Pipeline, user: str) -> dict[str, str]:
    """Why a user's signups were refused, by path."""
    found = [message for message in pipeline.read(pipeline.topics.dead_letters) if message.key() == user.encode()]
    headers = [dict(message.headers() or []) for message in found]
    return {each["path"].decode(): each["reason"].decode() for each in headers}


def answer(pipeline: Pipeline, command_id: str) -> Reply:
    def look() -> Reply | None:
        found = [codec.decode_reply(message.value()) for message in pipeline.read(pipeline.topics.replies)]
        return next((reply for reply in found if reply.command_id == command_id), None)

    found = wait_until(f"{command_id} is answered", look, 30)
    assert found is not None
    return found


def test_a_plans_monitors_run_and_another_plan_replaces_them(pipeline: Pipeline, target: Target, user: str) -> None:
    sign_up(pipeline, user, "free", {"site": target.url("/ok")}, every("mine", "noop"))
    pipeline.wait_for_results(user, "site", 2)
    pipeline.wait_for_results(user, "mine", 2)
    sign_up(pipeline, user, "pro", {"site": target.url("/broken")})
    pipeline.wait_for_results(user, "more", 2)
    pipeline.wait_for_states(user, site="down", more="up")
    wait_until("the monitor of the signup before is gone", lambda: pipeline.monitor(user, "mine") is None, 30)


def test_changing_the_plan_keeps_attributes_and_own_monitors(
    pipeline: Pipeline, target: Target, user: str, tmp_path: Path
) -> None:
    attributes = {"site": target.url("/ok"), "city": "Bern"}
    signup = {"user_id": user, "plan": "free", "attributes": attributes, "monitors": [every("mine", "noop")]}
    (tmp_path / "user.jsonl").write_bytes(orjson.dumps(signup))
    # by command line, as what follows: it finds the same partition
    said = run("signup", "--file", str(tmp_path / "user.jsonl"), "--wait", environment=pipeline.environment)
    assert said.returncode == 0, said
    pipeline.wait_for_results(user, "mine")
    said = run("user", "set", user, "--plan", "pro", "--attribute", "age=7", "--wait", environment=pipeline.environment)
    assert (said.returncode, said.stdout) == (0, f"done: set_user {user}\n"), said.stderr
    pipeline.wait_for_results(user, "more")
    pipeline.wait_for_states(user, site="up", more="up", mine="up")
    stored = pipeline.reader.user(user)
    assert stored is not None
    assert (stored.plan, stored.attributes) == ("pro", {"site": target.url("/ok"), "city": "Bern", "age": "7"})
    assert set(stored.monitor_ids) == {"site", "more", "mine"}
    refused = run("user", "set", user, "--plan", "gold", "--wait", environment=pipeline.environment)
    assert refused.returncode == 1
    assert "there is no plan 'gold'" in refused.stdout
    missing = run("user", "set", user, "--remove-attribute", "site", "--wait", environment=pipeline.environment)
    assert missing.returncode == 1
    assert "$.attributes.site" in missing.stdout


def test_what_a_plan_does_not_allow_is_told(pipeline: Pipeline, target: Target, user: str) -> None:
    sign_up(pipeline, user, "gold", {})
    sign_up(pipeline, user, "free", {})
    own = [every(name, "noop") for name in ("a", "b")]
    sign_up(pipeline, user, "free", {"site": target.url("/ok")}, *own)
    refused = wait_until("all are refused", lambda: (r := reasons(pipeline, user)) and len(r) == 3 and r, 30)
    assert refused == {
        "$.plan": "there is no plan 'gold'; there are default, free, pro",
        "$.attributes.site": "plan 'free' of plans.toml: monitors[0].config.url needs this attribute, and the signup"
        " has none",
        "$.monitors": "the plan 'free' allows 2 monitors, and these would be 3 (1 of the plan and 2 of the signup)",
    }
    sign_up(pipeline, user, "free", {"site": target.url("/ok")}, own[0])
    pipeline.wait_for_results(user, "a")
    pipeline.command("put", user, monitor=own[1], command_id=f"{user}-b")
    found = answer(pipeline, f"{user}-b")
    assert (found.answer, found.path) == (CommandOutcome.REFUSED, "$.monitor_id")


def test_a_signup_with_a_plan_that_only_the_worker_knows_says_which_there_are(pipeline: Pipeline, user: str) -> None:
    elsewhere = {**pipeline.environment, "EVERWATCH_PLANS_FILE": ""}
    said = run("signup", user, "--plan", "gold", "--wait", environment=elsewhere)
    assert (said.returncode, said.stdout) == (
        1,
        f"refused: signup {user}: there is no plan 'gold'; there are default, free, pro (at $.plan)\n",
    ), said
    assert run("signup", user, "--plan", "gold", environment=elsewhere).stdout == f"sent: signup {user}\n"
    beside = run("signup", user, "--plan", "gold", environment=pipeline.environment)
    assert (beside.returncode, beside.stdout) == (1, "")
    assert beside.stderr == "everwatch: there is no plan 'gold'; there are default, free, pro (at $.plan)\n"


def test_an_edited_file_is_used_by_the_next_signup_and_a_broken_edit_changes_nothing(
    pipeline: Pipeline, target: Target, file: Path, user: str
) -> None:
    worker = pipeline.processes["worker"]
    taken = worker.logged().count("plans taken from")
    file.write_text(FILE.format(pace="3s"))
    wait_until("the file is taken", lambda: worker.logged().count("plans taken from") > taken, 15)
    sign_up(pipeline, user, "pro", {"site": target.url("/ok")})
    pipeline.wait_for_results(user, "site")
    monitor = pipeline.monitor(user, "site")
    assert monitor is not None
    assert orjson.loads(monitor.spec.config) == {"url": target.url("/ok")}
    assert monitor.spec.schedule == Every(3_000)
    file.write_text(FILE.format(pace="3s").replace("kind = ", "kin = "))
    told = "plan 'pro', monitors[1].kin: there is no field 'kin'"
    wait_until("the broken file is told", lambda: told in worker.logged(), 15)
    again = f"{user}-again"
    sign_up(pipeline, again, "pro", {"site": target.url("/ok")})
    pipeline.wait_for_results(again, "more")
    assert worker.runs
    assert worker.logged().count(told) == 1


def test_an_import_learns_what_the_workers_plans_refuse_and_sends_it_again_once_they_allow_it(
    pipeline: Pipeline, file: Path, user: str, tmp_path: Path
) -> None:
    file.write_text(FILE.format(pace="4s"))
    elsewhere = {**pipeline.environment, "EVERWATCH_PLANS_FILE": "", "EVERWATCH_DATA_DIR": str(tmp_path)}
    elsewhere["EVERWATCH_BOOTSTRAP_SERVERS"] = pipeline.settings.bootstrap_servers
    noop = [{"monitor_id": "m", "kind": "noop", "schedule": {"every": "1d"}}]
    rows = [{"user_id": f"{user}-{n}", "plan": "gold" if n == 7 else "pro", "monitors": noop} for n in range(50)]
    rows = [row | {"attributes": {"site": "https://example.com"}} for row in rows]
    (tmp_path / "users.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))

    def imported(*options: str, status: int, environment: dict[str, str] = elsewhere) -> dict[str, Any]:
        said = run("import", str(tmp_path / "users.jsonl"), *options, "--json", environment=environment)
        assert said.returncode == status, said
        told: dict[str, Any] = orjson.loads(said.stdout) | {"said": said.stderr}
        return told

    first = imported(status=0)
    assert (first["sent"], first["refused"], first["accepted"]) == (50, 0, 0)
    wait_until("the refusal is there", lambda: reasons(pipeline, f"{user}-7"), 30)
    second = imported("--wait", status=1)
    assert (second["unchanged"], second["again"], second["refused_before"], second["refused"]) == (49, 1, 1, 1)
    assert "users.jsonl:8: there is no plan 'gold'; there are default, free, pro (at $.plan)" in second["said"]
    # who knows the plans sends nothing that they refuse
    beside = imported(status=1, environment=elsewhere | {"EVERWATCH_PLANS_FILE": str(file)})
    assert (beside["unchanged"], beside["refused"], beside["sent"]) == (49, 1, 0)
    worker = pipeline.processes["worker"]
    taken = worker.logged().count("plans taken from")
    file.write_text(file.read_text() + "\n[plans.gold]\n")
    wait_until("the file is taken", lambda: worker.logged().count("plans taken from") > taken, 30)
    third = imported("--wait", status=0)
    assert (third["again"], third["accepted"], third["refused"]) == (1, 1, 0)
    assert imported("--wait", status=0)["unchanged"] == 50
