"""The host that a stored monitor goes to, as lists show it."""

import msgspec
import pytest

from everwatch.core.config import load_settings
from everwatch.core.encryption import generate_key
from everwatch.kinds.execution.config_secrets import config_secrets
from everwatch.kinds.execution.targets import target_of_config
from everwatch.model import Every, MonitorSpec


@pytest.mark.parametrize(
    ("kind", "config", "target"),
    [
        ("http", {"url": "https://Shop.Example:8443/a?token=b"}, "shop.example"),
        ("tcp", {"host": "DB.example.", "port": 5432}, "db.example"),
        ("heartbeat", {"period": "1h"}, ""),
        ("noop", {}, ""),
        ("of-another-package", {"url": "https://shop.example"}, ""),
        ("http", {"no": "url"}, ""),
        ("http", ["no object"], ""),
    ],
)
def test_the_target_is_the_host_that_is_checked(kind: str, config: object, target: str) -> None:
    assert target_of_config(kind, msgspec.json.encode(config).decode()) == target


def test_a_config_with_encrypted_secrets_has_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERWATCH_SECRETS_KEY", generate_key())
    plain = '{"basic_auth":{"password":"p","user":"u"},"url":"https://shop.example/"}'
    spec = config_secrets(load_settings()).encrypted(MonitorSpec("m", "http", plain, Every(60_000)))
    assert "$encrypted" in spec.config
    assert target_of_config("http", spec.config) == "shop.example"
