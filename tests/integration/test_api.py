"""The API as a process on a real broker, worker and sink: its documentation's examples, and what it promises."""

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest
import requests
from support.api_process import TOKEN, started_api
from support.command import run
from support.pipeline import Pipeline, Process
from support.waiting import PATIENCE, wait_until

from everwatch.api.bodies import RedriveBody, SignalBody, UserBody
from everwatch.api.incident_views import SilenceBody
from everwatch.api.job_views import JobAction, JobBody, JobState, JobView
from everwatch.api.queries import AuditQuery, FacetsQuery, LettersQuery
from everwatch.client import Client
from everwatch.encoding.input_models import MonitorInput
from everwatch.model import CommandOutcome, SignalType, State, Status
from everwatch.notifier.silences import Selector

OF_LAPTOP = AuditQuery(user="laptop")
AT_ONCE = 8
DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def api(pipeline: Pipeline) -> Iterator[str]:
    """The address of an API for the whole module."""
    process, address = started_api(pipeline, "api")
    yield address
    assert process.stop() == 0
    assert TOKEN not in process.logged()


def examples(marked: str) -> list[str]:
    return re.findall(rf"^```{marked}\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


def run_example(example: str, home: Path, **variables: str) -> None:
    # a busy machine takes its time
    (home / ".curlrc").write_text('header = "Prefer: wait=30"\nfail-with-body\nsilent\nshow-error\n')
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example],
        env={"TOKEN": TOKEN, "PATH": "/usr/bin:/bin", "HOME": str(home), **variables},
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
    )
    assert done.returncode == 0, f"{example}\n{done.stdout}\n{done.stderr}"
    for line in done.stdout.splitlines():
        assert '"status":4' not in line, line


def test_the_examples_of_the_documentation_work(api: str, tmp_path: Path) -> None:
    for example in examples("sh"):
        run_example(example, tmp_path, API=api)


def session(token: str = TOKEN) -> requests.Session:
    made = requests.Session()
    made.headers["Authorization"] = f"Bearer {token}"
    return made


def test_a_write_that_is_read_through_another_process_is_seen_and_a_killed_one_loses_nothing(
    api: str, pipeline: Pipeline
) -> None:
    other, address = started_api(pipeline, "api-2")
    try:
        with session() as http:
            for number in range(5):
                url = f"/v1/users/rw-{number}"
                wrote = http.put(api + url, json={}, headers={"Prefer": "wait=30"})
                assert wrote.status_code == 201
                read = http.get(address + url, headers={"Everwatch-After": wrote.headers["Everwatch-Position"]})
                assert (read.status_code, read.json()["user_id"]) == (200, f"rw-{number}")
            body = {"kind": "noop", "schedule": {"every": "1h"}}
            # it is not known what became of this one: it is sent again, to another process
            kept = http.put(
                address + "/v1/users/rw-0/monitors/m",
                json=body,
                headers={"Prefer": "respond-async", "Idempotency-Key": "k-1"},
            )
            assert kept.status_code == 202
            other.kill()
            again = http.put(
                api + "/v1/users/rw-0/monitors/m", json=body, headers={"Prefer": "wait=30", "Idempotency-Key": "k-1"}
            )
            assert again.json()["answer"] in ("done", "repeated")
            after = {"Everwatch-After": again.headers["Everwatch-Position"]}
            assert http.get(api + "/v1/users/rw-0/monitors/m", headers=after).json()["version"] == 1
    finally:
        if other.runs:
            other.kill()


def test_no_change_of_many_at_once_is_lost(api: str) -> None:
    with session() as http:
        http.put(f"{api}/v1/users/lost", json={}, headers={"Prefer": "wait=30"})
        url = f"{api}/v1/users/lost/monitors/m"
        made = http.put(url, json={"kind": "noop", "schedule": {"every": "1h"}}, headers={"Prefer": "wait=30"})
        assert made.status_code == 201

    def written(number: int) -> int:
        body = {"kind": "noop", "schedule": {"every": "1h"}, "name": f"n-{number}"}
        with session() as http:
            given = {"Prefer": "wait=30", "If-Match": made.headers["ETag"]}
            return http.put(url, json=body, headers=given).status_code

    # each sees the same version: one of them may change it
    with ThreadPoolExecutor(AT_ONCE) as threads:
        wrote = sorted(threads.map(written, range(AT_ONCE)))
    assert wrote == [200] + [412] * (AT_ONCE - 1)


def api_token(pipeline: Pipeline, *arguments: str) -> str:
    return command(pipeline, "api-token", *arguments)


def command(pipeline: Pipeline, *arguments: str, typed: str = "") -> str:
    """Return what a command prints that reads and writes the topic of tokens."""
    done = run(*arguments, environment=pipeline.environment, typed=typed)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_login_link_opens_the_console_once_in_any_process(api: str, pipeline: Pipeline) -> None:
    link = api_token(pipeline, "login-link", "--role", "viewer", "--url", api).strip()
    other, address = started_api(pipeline, "api-2")
    try:
        with requests.Session() as browser, requests.Session() as thief:

            def opened() -> bool:
                return browser.get(link, allow_redirects=False).headers["Location"] == "/console/"

            wait_until("the link is known", opened)
            assert browser.get(f"{api}/v1/me").json()["role"] == "viewer"
            assert thief.get(link.replace(api, address), allow_redirects=False).headers["Location"] != "/console/"
            cookie = "; ".join(f"everwatch_{address.rpartition(':')[2]}={each.value}" for each in browser.cookies)
            # the other process knows the session, and logging out there ends it here
            ours = {"X-Everwatch-Console": "1", "Origin": address, "Cookie": cookie}
            assert requests.post(f"{address}/logout", headers=ours).status_code == 204
            wait_until("the session is over", lambda: browser.get(f"{api}/v1/me").status_code == 401)
    finally:
        other.stop()


def test_a_token_that_the_command_line_makes_is_accepted_until_it_is_revoked(api: str, pipeline: Pipeline) -> None:
    token = api_token(pipeline, "create", "ci", "--role", "viewer", "--user", "rw-0").strip()
    with session(token) as http:
        wait_until("the token is known", lambda: http.get(f"{api}/v1/users").status_code == 200)
        assert http.get(f"{api}/v1/lag").status_code == 403
        token_id = next(line.split()[0] for line in api_token(pipeline, "list").splitlines() if " ci " in line)
        api_token(pipeline, "revoke", token_id)
        wait_until("the token is refused", lambda: http.get(f"{api}/v1/users").status_code == 401)


def test_an_operator_of_the_command_line_logs_in_until_the_password_changes(api: str, pipeline: Pipeline) -> None:
    first, second = "correct horse battery\n", "staple correct horse\n"
    command(pipeline, "operator", "add", "Ann", "--role", "operator", "--password-stdin", typed=first)
    ours = {"X-Everwatch-Console": "1", "Origin": api}

    def entered(browser: requests.Session, password: str) -> bool:
        body = {"name": "ann", "password": password.strip()}
        return browser.post(f"{api}/login/password", json=body, headers=ours).status_code == 204

    with requests.Session() as browser:
        wait_until("the operator is known", lambda: requests.get(f"{api}/login/options").json()["password"])
        assert entered(browser, first)
        assert browser.get(f"{api}/v1/me").json()["name"] == "ann"
        command(pipeline, "operator", "change", "ann", "--password-stdin", typed=second)
        wait_until("the session is over", lambda: browser.get(f"{api}/v1/me").status_code == 401)
        assert not entered(browser, first)
        assert entered(browser, second)
        assert '"name":"ann","role":"operator"' in command(pipeline, "operator", "list", "--json")
        command(pipeline, "operator", "remove", "ann")
        wait_until("the session is over", lambda: browser.get(f"{api}/v1/me").status_code == 401)


def everwatch(pipeline: Pipeline, api: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command through the API: it knows of no Kafka and no database."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(pipeline.settings.data_dir / "elsewhere")}
    environment |= {"EVERWATCH_API_URL": api, "EVERWATCH_API_TOKEN": TOKEN}
    command = [sys.executable, "-m", "everwatch", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120 * PATIENCE)


def test_a_laptop_works_through_the_api_and_who_did_it_is_kept(api: str, pipeline: Pipeline) -> None:
    done = everwatch(pipeline, api, "signup", "laptop", "--wait")
    assert (done.returncode, done.stdout) == (0, "registered: signup laptop\n"), done.stderr
    site = ["--kind", "noop", "--every", "1h", "--label", "of=laptop"]
    done = everwatch(pipeline, api, "monitor", "put", "laptop", "site", *site, "--wait", "--json")
    put = orjson.loads(done.stdout)
    assert (put["answer"], put["version"]) == ("done", 1)
    with Client(api, TOKEN, wait_s=30, after=f"{put['partition']}@{put['offset']}") as client:
        assert client.pause_monitor("laptop", "site").answer is CommandOutcome.DONE
        assert client.monitor("laptop", "site").state is State.PAUSED
        wait_until("the sink has stored who paused it", lambda: len(list(client.audit(OF_LAPTOP))) == 3)
        entries = list(client.audit(OF_LAPTOP))
        assert [(each.command, each.monitor_id, each.outcome) for each in entries] == [
            ("pause", "site", "done"), ("put", "site", "done"), ("signup", "", "registered"),
        ]  # fmt: skip
        assert {each.token_name for each in entries} == {"administrator"}
    listed = everwatch(pipeline, api, "monitor", "list", "laptop", "--json")
    assert orjson.loads(listed.stdout)["state"] == "paused"
    missing = everwatch(pipeline, api, "user", "show", "nobody")
    assert (missing.returncode, "holds no user 'nobody'" in missing.stderr) == (1, True)
    for read in (("db", "status"), ("topics", "check")):
        done = everwatch(pipeline, api, *read, "--json")
        assert (done.returncode, done.stdout[:1] in "[{") == (0, True), done.stderr
    purged = everwatch(
        pipeline, api, "user", "purge", "laptop", "--yes", "--json", "--timeout", f"{60 * PATIENCE:.0f}s"
    )
    report = orjson.loads(purged.stdout)
    assert (report["was_watched"], report["deleted"]["audit_log"]) == (True, 3)
    with Client(api, TOKEN) as client:
        assert [user.user_id for user in client.users() if user.user_id == "laptop"] == []
        kept = wait_until("who asked is kept", lambda: [each for each in client.audit() if each.command == "purge"])
        assert {each.user_id for each in kept} == {""}


def test_a_job_by_filter_is_carried_out_in_the_background(api: str, pipeline: Pipeline) -> None:
    with Client(api, TOKEN, wait_s=30) as client:
        monitors = [MonitorInput(f"m-{number}", kind="noop", labels={"job": "yes"}) for number in range(3)]
        client.put_user("jobs", UserBody(monitors=monitors))
        chosen = FacetsQuery(label=["job=yes"], user="jobs")
        wait_until("they are stored", lambda: client.preview_job(chosen).count == 3)
        job = client.create_job(JobBody(JobAction.PAUSE, 3, chosen))
        over = wait_until("it is over", lambda: _over(client.job(job.job_id)), 60)
        assert (over.done, over.refused) == (3, 0)
        wait_until("all are paused", lambda: client.facets(chosen).states == {State.PAUSED: 3})


def _over(job: JobView) -> JobView | None:
    return job if job.state is JobState.DONE else None


def test_what_was_refused_is_sent_back_over_http(api: str, pipeline: Pipeline) -> None:
    place = pipeline.send(pipeline.topics.signups, "redriven", b'{"user_id": "redriven", "nonsense": 1}')
    with Client(api, TOKEN) as client:
        named = LettersQuery(user="redriven")
        found = wait_until("it is stored", lambda: list(client.dead_letters(named)))
        [letter] = found
        assert letter.source_offset == place.offset
        assert client.dead_letter(*map(int, letter.letter.split("/"))) == letter
        planned = client.redrive(RedriveBody([letter.letter], dry_run=True))
        assert (planned.sent, planned.items[0].to) == (1, None)
        sent = client.redrive(RedriveBody([letter.letter]))
        assert sent.items[0].to is not None
        assert sent.items[0].to.startswith(f"{pipeline.topics.signups}/{place.partition}/")
        # it is wrong as before, and came of a redrive
        again = wait_until("it is refused again", lambda: [e for e in client.dead_letters(named) if e != letter][:1])
        assert client.redrive(RedriveBody([letter.letter, again[0].letter])).sent == 0


def test_a_monitor_is_tried_by_an_executor_over_http_and_by_kafka(api: str, pipeline: Pipeline) -> None:
    nothing = {"host": "127.0.0.1", "port": 9}
    with Client(api, TOKEN) as client:
        tried = client.try_monitor({"kind": "tcp", "config": nothing})
    assert (tried.status, bool(tried.reason), bool(tried.executor)) == (Status.FAILURE, True, True)
    words = "monitor", "try", "--kind", "tcp", "--json", "--config", orjson.dumps(nothing).decode()
    done = run(*words, environment=pipeline.environment, within_s=120 * PATIENCE)
    assert done.returncode == 1, done.stderr
    found = orjson.loads(done.stdout)
    assert (found["executor"], found["reason"]) == (tried.executor, tried.reason)


def test_an_incident_is_acknowledged_resolved_and_silenced_through_a_notifier(
    api: str, pipeline: Pipeline, tmp_path: Path
) -> None:
    notifier = Process("notifier", pipeline.environment, pipeline.settings.data_dir / "notifier.log")
    try:
        with Client(api, TOKEN, wait_s=30) as client:
            wait_until("the notifier has made its database", lambda: client.incidents().available, 60)
            job = MonitorInput("job", kind="heartbeat", config={"period": "1h"})
            client.put_user("seen", UserBody(monitors=[job]))
            assert client.signal(SignalBody("seen", "job"), SignalBody("seen", "job", type=SignalType.FAIL)) == 2
            wait_until("there is an incident", lambda: client.incidents("seen").items, 60)
            seen = client.acknowledge("seen", "job")
            assert seen.ack is not None
            assert [each.ack for each in client.incidents("seen").items] == [seen.ack]
            written = client.comment_incident(seen.incident_id, "on it")
            # those of the documentation that take an incident; the last of them resolve it and silence its target
            for example in examples("bash"):
                example = example.replace("/u-1/monitors/site/", "/seen/monitors/job/")
                run_example(example, tmp_path, API=api, ID=seen.incident_id)
            over = client.incident(seen.incident_id)
            assert (over.is_open, len(over.comments), over.comments[0]) == (False, 2, written)
            assert client.incidents("seen").items == []
            [documented] = client.silences().items
            made = client.create_silence(SilenceBody(Selector(user="seen"), for_="1h", reason="a test"))
            assert made in client.silences().items
            assert client.end_silence(made.silence_id).silence_id == made.silence_id
            assert client.silences().items == [documented]
    finally:
        assert notifier.stop() == 0
