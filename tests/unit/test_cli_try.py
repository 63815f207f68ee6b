"""``everwatch try``: one run here and now, as a shell sees it."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.command_line import Said, run_command
from support.kinds import kind_given

from everwatch.cli.main import app
from everwatch.model import Outcome, Status, Tick


def try_(*arguments: str) -> Said:
    """``everwatch try``; an error on purpose ends as ``everwatch`` ends it."""
    return run_command(app, "try", *arguments)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's settings, nobody's log handlers replaced."""
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("EVERWATCH_ALLOW_NETWORKS", raising=False)


@pytest.fixture
def port() -> Iterator[int]:
    """A server on the loopback address that accepts and closes."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                server.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def tcp(port: int) -> list[str]:
    return ["tcp", "--config", f'{{"host": "127.0.0.1", "port": {port}}}']


class OddConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    does: str = ""


class OddKind:
    """Does what nobody expects."""

    name = "odd"
    config_type = OddConfig
    default_schedule_ms = 60_000
    inline = False

    async def run(self, config: OddConfig, tick: Tick, context: Any) -> Any:
        match config.does:
            case "raises":
                raise KeyError("oops")
            case "raises TimeoutError":
                raise TimeoutError("its own")
            case "gives nothing":
                return None
            case "gives no text":
                return Outcome(Status.FAILURE, KeyError("oops"))  # type: ignore[arg-type]
            case "cancels itself":
                raise asyncio.CancelledError
            case "hangs":
                await asyncio.Event().wait()
            case "shows":
                return Outcome(Status.FAILURE, "no", detail="HTTP/1.1 503\n\nsorry")
            case "skips":
                return Outcome(Status.SKIPPED, "not today")
        return Outcome(Status.SUCCESS, f"{tick.payload} {tick.attempt} {tick.timeout_ms} {tick.config}")


@pytest.fixture
def odd() -> Iterator[None]:
    with kind_given(OddKind()):
        yield


def test_a_success_is_printed_with_its_timings(port: int) -> None:
    said = try_(*tcp(port), "--allow-network", "127.0.0.0/8")
    assert said.status == 0, said
    first, *timings = said.out.splitlines()
    assert first.startswith("success  tcp  ")
    assert [line.split()[0] for line in timings] == ["dns", "connect", "total"]


def test_as_json_it_has_the_fields_of_a_result(port: int) -> None:
    said = try_(*tcp(port), "--allow-network", "127.0.0.0/8", "--json")
    assert set(said.json) == {"kind", "status", "reason", "started_at", "duration_ms", "timings", "detail"}
    assert (said.json["kind"], said.json["status"], said.json["reason"]) == ("tcp", "success", "")
    assert 0 < said.json["timings"]["total"] <= said.json["duration_ms"]


def test_a_failure_is_told_with_exit_status_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    said = try_(*tcp(port), "--allow-network", "127.0.0.0/8", "--json")
    assert (said.status, said.json["status"]) == (1, "failure")
    assert said.json["reason"] == f"connection refused by 127.0.0.1:{port}"


def test_the_guard_holds_as_in_an_executor(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said = try_(*tcp(port), "--json")
    assert (said.status, said.json["status"]) == (1, "failure")
    assert "loopback" in said.json["reason"]
    assert try_(*tcp(port), "--allow-network", "10.0.0.0/8", "--allow-network", "127.0.0.1/32").status == 0
    monkeypatch.setenv("EVERWATCH_ALLOW_NETWORKS", "127.0.0.0/8")
    assert try_(*tcp(port)).status == 0
    assert try_(*tcp(port), "--allow-network", "10.0.0.0/8").status == 0  # beside the setting, not in its place


def test_an_inline_kind_is_judged_as_one_that_was_just_put() -> None:
    said = try_("heartbeat", "--config", '{"period": "1d"}', "--json")
    assert (said.status, said.json["status"]) == (0, "success")
    assert try_("noop").out.startswith("success  noop  ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tcp", "--config", '{"host": "a", "port": 0}'], "(at $.config.port)"),
        (["tcp", "--config", '{"port": 1}'], "the kind 'tcp' needs the field 'host' (at $.config)"),
        (["tcp"], "the kind 'tcp' needs the field 'host' (at $.config)"),
        (["tcp", "--config", "[]"], "expected object, got array (at $.config)"),
        (["tcp", "--config", "{"], "--config is not valid JSON"),
        (["noop", "--payload", "{"], "--payload is not valid JSON"),
        (["noop", "--config", "@missing.json"], "The file missing.json of --config cannot be read"),
        (["tpc"], "there is no kind 'tpc'; known kinds: "),
        (["noop", "--timeout", "soon"], "--timeout: 'soon' is not a duration"),
        (["noop", "--timeout", "11m"], "--timeout: '11m' is not between 1 ms and 10 min."),
        (["noop", "--timeout", "0"], "--timeout: '0' is not between"),
        (
            ["noop", "--allow-network", "home"],
            "--allow-network: 'home' does not appear to be an IPv4 or IPv6 network",
        ),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence_with_exit_status_2(arguments: list[str], told: str) -> None:
    said = try_(*arguments)
    assert (said.status, said.out) == (2, "")
    assert told in said.err


@pytest.mark.usefixtures("odd")
def test_the_kind_gets_a_tick_with_payload_timeout_and_canonical_config() -> None:
    said = try_("odd", "--config", '{ "does": "x" }', "--payload", '{"b": [1], "a": null}', "--timeout", "3s", "--json")
    assert said.json["reason"] == '{"b":[1],"a":null} 1 3000 {"does":"x"}'
    assert try_("odd", "--json").json["reason"] == " 1 10000 {}"


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize(
    ("does", "status", "reason"),
    [
        ("raises", "failure", "internal error: KeyError: 'oops'"),
        ("raises TimeoutError", "failure", "internal error: TimeoutError: its own"),
        ("gives nothing", "failure", "internal error: TypeError: the kind 'odd' gave NoneType instead of an Outcome"),
        (
            "gives no text",
            "failure",
            "internal error: TypeError: the kind 'odd' gave KeyError as the reason of its outcome",
        ),
        ("cancels itself", "failure", "internal error: CancelledError: "),
        ("hangs", "failure", "no answer within 0.05 s"),
        ("skips", "skipped", "not today"),
    ],
)
def test_whatever_a_kind_does_is_an_outcome(does: str, status: str, reason: str) -> None:
    said = try_("odd", "--config", f'{{"does": "{does}"}}', "--timeout", "50ms", "--json")
    assert (said.json["status"], said.json["reason"]) == (status, reason)
    assert said.status == (1 if status == "failure" else 0)


@pytest.mark.usefixtures("odd")
def test_what_a_kind_has_to_show_of_a_failure_is_shown_indented() -> None:
    assert try_("odd", "--config", '{"does": "shows"}').out.endswith("  no\n    HTTP/1.1 503\n    \n    sorry\n")
    assert try_("odd", "--config", '{"does": "shows"}', "--json").json["detail"] == "HTTP/1.1 503\n\nsorry"
