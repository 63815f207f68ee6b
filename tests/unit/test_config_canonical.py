"""Configs: one canonical text for each meaning, and kinds of other packages."""

from pathlib import Path

import msgspec
import pytest

from everwatch.core.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.kinds.noop import NoopKind


def canonical(kind_name: str, config: object) -> str:
    kind = registry.kind_named(kind_name)
    return registry.canonical_config(kind, registry.parse_config(kind, config))  # type: ignore[arg-type]


CASES = [
    ("http", {"url": "http://a.example/"}, '{"url":"http://a.example/"}'),
    ("http", {"url": "http://a.example/", "method": "GET", "headers": {}, "expected_status": ["200-299"]},
     '{"url":"http://a.example/"}'),
    ("http", {"url": "http://a.example/", "headers": {"B": "2", "A": "1"}, "expected_status": [404, "200 - 201", 202]},
     '{"expected_status":"200-202,404","headers":{"A":"1","B":"2"},"url":"http://a.example/"}'),
    ("http", {"url": "http://a.example/", "expected_status": 204, "follow_redirects": False},
     '{"expected_status":"204","follow_redirects":false,"url":"http://a.example/"}'),
    ("tcp", {"port": 80, "host": "größe.example"}, '{"host":"größe.example","port":80}'),
    ("heartbeat", {"period": 60}, '{"period":"1m"}'),
    ("heartbeat", {"period": "PT1M30S", "grace": "10s"}, '{"period":"1m30s"}'),
    ("heartbeat", {"period": "24h", "grace": "0.5"}, '{"grace":"500ms","period":"1d"}'),
    ("noop", {}, "{}"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "config", "text"), CASES)
def test_configs_of_one_meaning_have_one_text(kind: str, config: dict[str, object], text: str) -> None:
    assert canonical(kind, config) == text


@pytest.mark.parametrize(("kind", "config", "text"), CASES)
def test_the_canonical_text_means_the_same_and_stays_as_it_is(kind: str, config: object, text: str) -> None:
    kind_ = registry.kind_named(kind)
    assert registry.parse_config(kind_, text) == registry.parse_config(kind_, config)  # type: ignore[arg-type]
    assert canonical(kind, text) == canonical(kind, text.encode()) == text


@pytest.mark.parametrize("config", ["{", b"\xff", "[]", '{"url": "http://a.example/"} x', [], 5, None])
def test_what_is_no_object_is_refused(config: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        canonical("http", config)
    assert caught.value.path == "$.config"


def test_a_config_seen_before_is_not_parsed_again() -> None:
    kind = registry.kind_named("http")
    text = '{"url":"http://a.example/cached"}'
    assert registry.parse_config(kind, text) is registry.parse_config(kind, text.encode())


def test_an_unknown_kind_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.kind_named("htpp")
    assert (
        caught.value.reason
        == "there is no kind 'htpp'; known kinds: dns, heartbeat, http, noop, publish, python, tcp, threshold, tls,"
        " webhook"
    )
    assert caught.value.path == "$.kind"


class PingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: str
    options: dict[str, int] = {}


class PingKind(NoopKind):
    name = "ping"
    config_type = PingConfig  # type: ignore[assignment]


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    info = tmp_path / "pings-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pings\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{registry.ENTRY_POINT_GROUP}]\nping = {__name__}:PingKind\nbroken = no_such_package:Kind\n"
        f"misnamed = {__name__}:PingKind\nhttp = {__name__}:PingKind\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.forget()
    yield
    registry.forget()


def test_a_kind_of_another_package_is_found_by_its_name(plugins: None) -> None:
    assert canonical("ping", {"host": "a", "options": {"b": 1, "a": 2}}) == '{"host":"a","options":{"a":2,"b":1}}'
    assert canonical("ping", {"options": {}, "host": "a"}) == '{"host":"a"}'
    assert registry.known_kinds() == [
        "broken",
        "dns",
        "heartbeat",
        "http",
        "misnamed",
        "noop",
        "ping",
        "publish",
        "python",
        "tcp",
        "threshold",
        "tls",
        "webhook",
    ]


def test_a_built_in_kind_wins_over_another_of_its_name(plugins: None) -> None:
    assert type(registry.kind_named("http")).__name__ == "HttpKind"


@pytest.mark.parametrize("name", ["broken", "misnamed"])
def test_a_kind_that_does_not_load_is_refused_with_the_cause(plugins: None, name: str) -> None:
    with pytest.raises(InvalidInput, match=f"the kind '{name}' cannot be loaded from"):
        registry.kind_named(name)
