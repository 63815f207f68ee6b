"""The demo's showcase: what it is meant to show is what its monitors do, with the real kinds and the demo's servers."""

import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from everwatch.core.clock import SystemClock
from everwatch.demo.cast import PROVIDER, Cast, Mix
from everwatch.demo.certificates import EXPIRED_NAME, HEALTHY_NAME, files_in, write_certificates
from everwatch.demo.companies import company, is_of_a_demo, number_of
from everwatch.demo.name_server import answer_to
from everwatch.demo.ports import DemoPorts, choose_ports
from everwatch.demo.showcase import SHOWCASE_USER, DemoState, Showpiece, judge, showcase
from everwatch.demo.target import open_target
from everwatch.executor.callable_pool import open_callables
from everwatch.executor.output_budget import KIB, OutputBudgets
from everwatch.kinds import registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.protocol import RunContext
from everwatch.kinds.publisher_interface import MemoryPublisher
from everwatch.model import Monitor, Origin, Outcome, State, Status, Tick
from everwatch.network.guard import Guard
from everwatch.rules.admission import admit_signup

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
TOPIC = "greetings"
PIECES = showcase(DemoPorts(1, 2, 3, 4), TOPIC)
EXECUTED = [piece.monitor_id for piece in PIECES if not registry.is_inline(piece.kind)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("showcase")
    # once, as in a demo: what is trusted is read once, too
    write_certificates(folder, SystemClock().now_ms())
    return folder


@pytest.fixture(scope="module")
def ports(folder: Path) -> DemoPorts:
    return choose_ports(folder)


@pytest.fixture
async def context(folder: Path, ports: DemoPorts, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunContext]:
    clock = SystemClock()
    monkeypatch.setenv("SSL_CERT_FILE", str(files_in(folder).trusted))
    async with (
        open_target(ports, folder),
        open_callables(clock, 1, 512, OutputBudgets(KIB, KIB)) as callables,
        open_run_context(clock, Guard(LOOPBACK), MemoryPublisher([TOPIC]), callables) as context,
    ):
        yield context


async def run(piece: Showpiece, context: RunContext) -> Outcome:
    kind = registry.kind_named(piece.kind)
    assert not kind.inline
    config = registry.parse_config(kind, piece.config)
    payload = orjson.dumps(piece.spec.get("payload")).decode()
    tick = Tick(SHOWCASE_USER, piece.monitor_id, 0, piece.kind, "", 10_000, 1, 0, payload=payload)
    return await kind.run(config, tick, context)


def test_every_kind_is_shown_healthy_and_failing_but_noop_which_cannot_fail() -> None:
    shown = {(piece.kind, piece.health is DemoState.UP) for piece in PIECES}
    kinds = registry.known_kinds()
    assert shown == {(kind, well) for kind in kinds for well in (True, False)} - {("noop", False)}


@pytest.mark.parametrize("monitor_id", EXECUTED)
async def test_a_check_ends_as_it_is_meant_to_and_says_why(
    monitor_id: str, context: RunContext, ports: DemoPorts
) -> None:
    piece = next(piece for piece in showcase(ports, TOPIC) if piece.monitor_id == monitor_id)
    outcome = await run(piece, context)
    assert outcome.status is (Status.SUCCESS if piece.health is DemoState.UP else Status.FAILURE), outcome.reason
    assert piece.says in outcome.reason
    assert piece.says or piece.health is DemoState.UP


def test_the_showcase_is_admitted_with_everybody_else() -> None:
    cast = Cast(3, Mix.ALL, "5s", DemoPorts(1, 2, 3, 4))
    admitted = {user: admit_signup(event) for user, event in cast.signups()}
    assert len(admitted) == cast.everybody == 4
    assert len(admitted[SHOWCASE_USER].monitors) == len(cast.showcase)
    reported = {orjson.loads(event)["monitor_id"] for user, event in cast.signals() if user == SHOWCASE_USER}
    assert "heartbeat-healthy" in reported
    assert "heartbeat-failing" not in reported


def test_a_demo_of_http_checks_alone_has_no_showcase() -> None:
    cast = Cast(3, Mix.HTTP, "5s", DemoPorts(1, 2, 3, 4))
    assert [user for user, _ in cast.signups()] == [company(number).user_id for number in range(3)]
    assert not list(cast.signals())


def test_users_are_companies_with_names_of_their_own_however_many() -> None:
    many = [company(number).user_id for number in range(10_000)]
    assert len(set(many)) == len(many)
    assert [number_of(user) for user in many] == list(range(10_000))
    assert [user for user in many[:500] if any(letter.isdigit() for letter in user)] == []
    assert len({company(number).trade for number in range(20)}) > 3
    assert not [user for user in ("showcase", "ann", f"{many[0]}-1", f"{many[0]}-02") if is_of_a_demo(user)]
    assert is_of_a_demo("demo-00017"), "of a folder that an earlier version made"


def test_what_users_have_watched_says_what_it_is() -> None:
    for user, event in Cast(60, Mix.ALL, "5s", DemoPorts(1, 2, 3, 4)).signups():
        signup = admit_signup(event)
        if user != SHOWCASE_USER:
            assert str(signup.attributes["city"]) in str(signup.attributes["name"])
            assert all(spec.name and spec.labels for spec in signup.monitors)
            assert f"//{user}.localhost:" in signup.monitors[0].config
            assert f'{user}.localhost"' in signup.monitors[1].config or PROVIDER in signup.monitors[1].config


# --- the verdict ----------------------------------------------------------------------------------------------------


def ended(**changed: tuple[State, str]) -> list[Monitor]:
    """All monitors of the showcase as they are meant to end, but for those in ``changed``."""
    cast = Cast(1, Mix.ALL, "5s", DemoPorts(1, 2, 3, 4))
    event = dict(cast.signups())[SHOWCASE_USER]
    specs = {spec.monitor_id: spec for spec in admit_signup(event).monitors}
    monitors = []
    for piece in PIECES:
        meant = (State(piece.health.value), f"it is so: {piece.says}")
        state, reason = changed.get(piece.monitor_id.replace("-", "_"), meant)
        monitors.append(
            Monitor(
                user_id=SHOWCASE_USER,
                spec=specs[piece.monitor_id],
                origin=Origin.SIGNUP,
                version=1,
                since=0,
                state=state,
                state_since=0,
                reason=reason,
            )
        )
    return monitors


def problems(monitors: list[Monitor], read_back: int = 5) -> list[str]:
    return [ending.problem for ending in judge(PIECES, monitors, read_back) if ending.problem]


def test_all_as_expected_is_no_problem() -> None:
    assert problems(ended()) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tcp_healthy": (State.DOWN, "no route")}, "tcp-healthy is down (no route) and should be up"),
        ({"tls_failing": (State.UP, "")}, "tls-failing is up and should be down"),
        (
            {"heartbeat_failing": (State.LATE, "hm")},
            "heartbeat-failing says 'hm' and should say 'no heartbeat'",
        ),
        ({"noop_healthy": (State.NEW, "")}, "noop-healthy is new and should be up"),
    ],
)
def test_what_is_not_as_expected_is_said_in_a_sentence(changed: dict[str, tuple[State, str]], said: str) -> None:
    assert problems(ended(**changed)) == [said]


def test_a_monitor_that_is_not_there_and_events_that_never_came_are_problems() -> None:
    found = problems([monitor for monitor in ended() if monitor.monitor_id != "http-failing"], read_back=0)
    assert found == ["http-failing is new and should be down", "publish-healthy has put nothing on its topic"]


def test_the_ending_of_a_kind_that_cannot_fail_says_so() -> None:
    endings = {ending.kind: ending.as_json() for ending in judge(PIECES, ended(), 5)}
    assert endings["noop"]["failing"] is None
    assert endings["noop"]["as_expected"]
    assert endings["publish"]["healthy"] == {"state": "up", "message": "5 events read back from the topic"}


# --- what it is checked against -------------------------------------------------------------------------------------


def test_openssl_accepts_the_healthy_certificate_by_its_strictest_rules_and_not_the_expired_one(
    tmp_path: Path,
) -> None:
    files = write_certificates(tmp_path, SystemClock().now_ms())
    client = ssl.create_default_context(cafile=files.trusted)
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT

    def shake_hands(name: str) -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(files.servers[name])
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = client.wrap_bio(back, there, server_hostname=name)
        theirs = server.wrap_bio(there, back, server_side=True)
        for side in (ours, theirs, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue

    shake_hands(HEALTHY_NAME)
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        shake_hands(EXPIRED_NAME)


@pytest.mark.parametrize("data", [b"", b"\0" * 12, b"\0" * 12 + b"\x3fshort", b"\0" * 12 + b"\x01a\0"])
def test_what_is_no_query_gets_no_answer_and_does_no_harm(data: bytes) -> None:
    assert answer_to(data, {"": "192.0.2.1"}) == b""


def test_ports_are_chosen_again_and_anew_if_one_is_taken(tmp_path: Path) -> None:
    first = choose_ports(tmp_path)
    assert len(set(first)) == len(first)
    assert choose_ports(tmp_path) == first
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", first.dns))
        assert first.dns not in choose_ports(tmp_path)
