"""Secrets of configs in a running system: sent to their target, and nowhere to be found on disk or on inner topics."""

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from conftest import NewPipeline
from support.command import run
from support.pipeline import PARTITIONS, Pipeline, every
from support.waiting import wait_until

from bench.population import partition_of
from everwatch.model import State, Status

pytestmark = pytest.mark.integration
OLD_KEY = "b2xkIGtleSBvZiAzMiBieXRlcywgZm9yIHRlc3RzISE="
NEW_KEY = "bmV3IGtleSBvZiAzMiBieXRlcywgZm9yIHRlc3RzISE="
# each is found by its bytes
BEARER, API_KEY, PASSWORD = b"sesame-bearer-7f3a", b"sesame-header-91bc", b"sesame-password-d20e"
HOOK_SECRET = b"whsec_c2VzYW1lLXdlYmhvb2stNDRlZi1vZi10aGUtdGVzdA=="
SECRETS = (BEARER, API_KEY, PASSWORD, HOOK_SECRET)
USER = "keeper"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that lets in who knows the secrets."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = self.headers.get("Authorization", "")
            knows = self.headers.get("X-Api-Key") == API_KEY.decode() and said == f"Bearer {BEARER.decode()}"
            self._answer(200 if knows or said.startswith("Basic ") or self.path == "/open" else 401)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._answer(200 if self.headers.get("webhook-signature") else 401)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def found_in(folder: Path) -> list[str]:
    """The files below a folder in which a secret stands."""
    files = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    return [str(file) for file in files if any(secret in file.read_bytes() for secret in SECRETS)]


def stored_plain(pipeline: Pipeline) -> list[str]:
    """Return where a secret stands: files of the data folder (tables, database, logs), and topics but the inputs."""
    topics = pipeline.topics
    inner = (*topics.all_ticks, topics.monitors_changelog, topics.results, topics.transitions, topics.dead_letters)
    on_topics = [
        topic
        for topic in inner
        if any(secret in (message.value() or b"") for message in pipeline.read(topic) for secret in SECRETS)
    ]
    return found_in(pipeline.settings.data_dir) + on_topics


def sign_up(pipeline: Pipeline, url: str) -> None:
    pipeline.sign_up(
        USER,
        every("token", "http", url=url, bearer=BEARER.decode(), secret_headers={"X-Api-Key": API_KEY.decode()}),
        every("login", "http", url=url, basic_auth={"user": "ann", "password": PASSWORD.decode()}),
        every("hook", "webhook", url=url, secret=HOOK_SECRET.decode()),
        every("open", "http", url=f"{url}open"),
        # where the command line sends it
        partition=partition_of(USER.encode(), PARTITIONS),
    )


def test_secrets_reach_their_target_and_are_stored_nowhere(new_pipeline: NewPipeline, url: str) -> None:
    # uncompressed, so that what is there can be found
    pipeline = new_pipeline(secrets_key=OLD_KEY, compression="none")
    pipeline.ensure("worker", "executor", "sink")
    pipeline.wait_until_ready()
    sign_up(pipeline, url)
    pipeline.wait_for_states(USER, 60, token="up", login="up", hook="up", open="up")
    assert stored_plain(pipeline) == []

    # the same again: nothing changes, and nothing is encrypted anew
    before = pipeline.monitor(USER, "token")
    assert before is not None
    sign_up(pipeline, url)
    pipeline.sign_up("after")
    wait_until("the second signup is stored", lambda: pipeline.reader.user("after"), 60)
    assert pipeline.monitor(USER, "token") == before

    # a new key: what is stored is encrypted anew, and every monitor goes on as it was
    assert [pipeline.processes[name].stop() for name in ("worker", "executor")] == [0, 0]
    pipeline.environment["EVERWATCH_SECRETS_KEY"] = f"{NEW_KEY},{OLD_KEY}"
    pipeline.ensure("worker", "executor")
    pipeline.wait_until_ready()
    done = run("secrets", "rotate", "--json", environment=pipeline.environment)
    assert done.returncode == 0, done.stderr
    wait_until("it is stored", lambda: pipeline.monitor(USER, "token") != before, 60)
    after = pipeline.monitor(USER, "token")
    assert after is not None
    assert (after.version, after.state, after.spec.config != before.spec.config) == (1, State.UP, True)

    # the old key is gone: who has only the new one can go on
    assert pipeline.processes["executor"].stop() == 0
    pipeline.environment["EVERWATCH_SECRETS_KEY"] = NEW_KEY
    pipeline.ensure("executor")
    pipeline.wait_until_ready()
    count = len(pipeline.results(USER, "token"))
    newest = pipeline.wait_for_results(USER, "token", count + 3)[-1]
    assert (newest.status, newest.reason) == (Status.SUCCESS, "")
    assert stored_plain(pipeline) == []

    # an executor without a key says why these checks fail, and all others go on
    assert pipeline.processes["executor"].stop() == 0
    del pipeline.environment["EVERWATCH_SECRETS_KEY"]
    pipeline.ensure("executor")
    pipeline.wait_for_states(USER, 60, token="down", login="down", hook="down", open="up")
    assert pipeline.results(USER, "login")[-1].reason == (
        "the secret is encrypted, and this process has no EVERWATCH_SECRETS_KEY (at $.config.basic_auth.password)"
    )
    count = len(pipeline.results(USER, "open"))
    assert pipeline.wait_for_results(USER, "open", count + 2)[-1].status is Status.SUCCESS
