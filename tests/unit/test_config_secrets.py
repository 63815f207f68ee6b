"""Secrets of configs: encrypted at rest, read with any of the keys, and never shown.

All in one file: one life of a secret, from the input to the screen.
"""

import logging
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import pytest
from cryptography.fernet import Fernet
from support.kinds import kind_given

from everwatch.core.config import Settings, load_settings
from everwatch.core.encryption import Cipher, Undecryptable, generate_key, keys_of
from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.kinds import registry
from everwatch.kinds.execution.config_secrets import ConfigSecrets, holds_secrets, redacted
from everwatch.kinds.execution.kind_runner import job_of
from everwatch.kinds.http import request_of
from everwatch.kinds.protocol import SECRET
from everwatch.kinds.publish import PublishConfig
from everwatch.kinds.shared.http_config import BasicAuth, HttpConfig
from everwatch.kinds.shared.secret_fields import secret_paths
from everwatch.kinds.tcp import TcpConfig
from everwatch.kinds.tls import TlsConfig
from everwatch.kinds.webhook import WebhookConfig
from everwatch.model import Every, Monitor, MonitorSpec, Origin, State, Tick
from everwatch.network.http_client import redirected
from everwatch.rules import lifecycle
from everwatch.rules.admission import admit_monitor

OLD_KEY, NEW_KEY = (
    "b2xkIGtleSBvZiAzMiBieXRlcywgZm9yIHRlc3RzISE=",
    "bmV3IGtleSBvZiAzMiBieXRlcywgZm9yIHRlc3RzISE=",
)
HOOK = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEPT_PLAIN = '{"basic_auth":{"password":"hunter2","user":"ann"},"url":"https://a.example/"}'
# what Cipher([OLD_KEY]).encrypt('"hunter2"') gave once
KEPT_TOKEN = "gAAAAAAAAAAA1FbsWnBtOh_943jwPcmYtGd4Ppwi8o7ViT4df65jLrbeQXRq-FGSRrWViy5Qbt0Au0wEHdhIl_yjQbQsive5dQ=="
KEPT = '{"basic_auth":{"password":{"$encrypted":"TOKEN"},"user":"ann"},"url":"https://a.example/"}'.replace(
    "TOKEN", KEPT_TOKEN
)
HTTP = registry.kind_named("http")


def secrets(*keys: str) -> ConfigSecrets:
    return ConfigSecrets(Cipher(keys) if keys else None)


def spec(kind: str, config: dict[str, Any]) -> MonitorSpec:
    given = MonitorSpec("m", kind, msgspec.json.encode(config).decode(), Every(60_000))
    return admit_monitor(given, "$.monitor")


def put(config: str, kind: str = "http") -> Monitor:
    return lifecycle.first_put("ann", MonitorSpec("m", kind, config, Every(60_000)), Origin.SIGNUP, 1_000, 1_000)


@pytest.mark.parametrize(
    ("config_type", "fields"),
    [
        (HttpConfig, {"basic_auth.password", "bearer", "client_certificate.key", "secret_headers.*"}),
        (WebhookConfig, {"secret", "client_certificate.key", "secret_headers.*"}),
        (PublishConfig, {"secret_headers.*"}),
        (TcpConfig, {"client_certificate.key"}),
        (TlsConfig, {"client_certificate.key"}),
    ],
)
def test_the_secrets_of_each_kind(config_type: type[msgspec.Struct], fields: set[str]) -> None:
    assert {".".join(path) for path in secret_paths(config_type)} == fields


def test_no_field_that_sounds_like_a_secret_is_unmarked() -> None:
    for name in registry.known_kinds():
        config_type = registry.kind_named(name).config_type
        marked = {path[0] for path in secret_paths(config_type)}
        sounds = {
            field.encode_name
            for field in msgspec.structs.fields(config_type)
            if any(word in field.encode_name for word in ("secret", "password", "token", "bearer", "auth"))
        }
        assert sounds <= marked, name


@pytest.mark.parametrize(
    ("kind", "config", "secret"),
    [
        ("http", {"url": "https://a.example/", "basic_auth": {"user": "ann", "password": "hunter2"}}, "hunter2"),
        ("http", {"url": "https://a.example/", "bearer": "tokentoken"}, "tokentoken"),
        ("http", {"url": "https://a.example/", "secret_headers": {"X-Api-Key": "keykey", "Y": "keykey"}}, "keykey"),
        ("webhook", {"url": "https://a.example/", "secret": HOOK}, HOOK),
        ("webhook", {"url": "https://a.example/", "secret": [HOOK, HOOK + "aaaa"]}, HOOK),
        ("publish", {"topic": "orders", "secret_headers": {"key": "keykey-{{user_id}}"}}, "keykey"),
    ],
)
def test_a_secret_is_not_in_what_is_stored_and_comes_back(kind: str, config: dict[str, Any], secret: str) -> None:
    given, ours = spec(kind, config), secrets(NEW_KEY)
    stored = ours.encrypted(given)
    assert secret in given.config
    assert secret not in stored.config
    assert ours.decrypted(registry.kind_named(kind), stored.config) == given.config
    # everything else can be read by whoever may look into the database
    assert msgspec.json.decode(stored.config).keys() == msgspec.json.decode(given.config).keys()
    # a secret that is encrypted is left as it is
    assert ours.encrypted(stored).config == stored.config


def test_what_has_no_secret_is_the_very_same() -> None:
    given = spec("http", {"url": "https://a.example/", "headers": {"bearer": "no secret: it is a header's name"}})
    assert secrets(NEW_KEY).encrypted(given).config == given.config
    assert secrets(NEW_KEY).encrypted(beat := spec("heartbeat", {"period": "1m", "grace": "1m"})) is beat


def test_alike_configs_are_encrypted_once() -> None:
    given, ours = spec("http", {"url": "https://a.example/", "bearer": "tokentoken"}), secrets(NEW_KEY)
    assert ours.encrypted(given).config == ours.encrypted(given).config != secrets(NEW_KEY).encrypted(given).config


def test_without_a_key_secrets_are_stored_as_they_are_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    ours = secrets()
    with caplog.at_level(logging.WARNING):
        ours.encrypted(spec("http", {"url": "https://a.example/"}))
        assert caplog.messages == []
        for password in ("hunter2", "hunter3"):
            given = spec("http", {"url": "https://a.example/", "basic_auth": {"user": "a", "password": password}})
            assert ours.encrypted(given) is given
    assert len(caplog.messages) == 1
    assert "EVERWATCH_SECRETS_KEY is not set" in caplog.messages[0]
    assert "hunter" not in caplog.text


def test_what_was_stored_before_there_was_a_key_is_read() -> None:
    for ours in (secrets(), secrets(NEW_KEY)):
        assert ours.decrypted(HTTP, KEPT_PLAIN) == KEPT_PLAIN


def test_what_an_earlier_version_encrypted_is_read() -> None:
    assert secrets(NEW_KEY, OLD_KEY).decrypted(HTTP, KEPT) == KEPT_PLAIN


def test_a_token_does_not_say_when_it_was_made() -> None:
    assert Fernet(NEW_KEY).extract_timestamp(Cipher([NEW_KEY]).encrypt("x")) == 0


@pytest.mark.parametrize(
    ("ours", "reason"),
    [
        (secrets(), "the secret is encrypted, and this process has no EVERWATCH_SECRETS_KEY"),
        (
            secrets(NEW_KEY),
            "the secret is encrypted with a key that is not in this process's EVERWATCH_SECRETS_KEY",
        ),
    ],
)
def test_a_missing_or_wrong_key_is_the_reason_of_the_check_and_no_crash(ours: ConfigSecrets, reason: str) -> None:
    tick = Tick("ann", "m", 1_000, "http", KEPT, 5_000, 1, 0)
    job = job_of(tick, ours)
    assert (job.kind, job.refusal) == (None, f"{reason} (at $.config.basic_auth.password)")
    assert job_of(msgspec.structs.replace(tick, config='{"url":"https://a.example/"}'), ours).kind is HTTP


def test_a_token_that_was_changed_is_refused() -> None:
    changed = KEPT.replace(KEPT_TOKEN, KEPT_TOKEN[:-8] + "AAAAAAA=")
    for wrong in (changed, KEPT.replace(KEPT_TOKEN, ""), KEPT.replace(KEPT_TOKEN, "ü")):
        with pytest.raises(InvalidInput, match="encrypted with a key that is not in"):
            secrets(OLD_KEY).decrypted(HTTP, wrong)
    with pytest.raises(Undecryptable):
        Cipher([NEW_KEY]).decrypt(KEPT_TOKEN)


class CountingCipher(Cipher):
    """Counts what it decrypts."""

    decrypted = 0

    def decrypt(self, token: str) -> str:
        self.decrypted += 1
        return super().decrypt(token)


def test_executors_decrypt_a_config_once() -> None:
    cipher = CountingCipher([OLD_KEY])
    ours = ConfigSecrets(cipher)
    jobs = [job_of(Tick("ann", "m", at, "http", KEPT, 5_000, 1, 0), ours) for at in range(1_000, 9_000, 1_000)]
    assert {job.config.basic_auth.password for job in jobs} == {"hunter2"}
    assert cipher.decrypted == 1


# --- signing up again --------------------------------------------------------------------------------------------


def recognised(stored: Monitor, given: str, ours: ConfigSecrets) -> Monitor:
    """Return what is stored after another put of a config, given as a user gives it."""
    encrypted = ours.encrypted(msgspec.structs.replace(stored.spec, config=given))
    before, now = ours.recognised(stored, encrypted)
    return lifecycle.put_again(before, now, Origin.SIGNUP, 2_000)


def test_the_same_secret_again_changes_nothing_and_keeps_its_ciphertext() -> None:
    stored = put(KEPT)
    assert recognised(stored, KEPT_PLAIN, secrets(OLD_KEY)) is stored


def test_another_secret_is_another_check() -> None:
    stored = msgspec.structs.replace(put(KEPT), state=State.UP)
    after = recognised(stored, KEPT_PLAIN.replace("hunter2", "hunter3"), secrets(OLD_KEY))
    assert (after.version, after.state) == (2, State.NEW)
    assert secrets(OLD_KEY).decrypted(HTTP, after.spec.config) == KEPT_PLAIN.replace("hunter2", "hunter3")


def test_what_nobody_can_read_any_more_is_replaced() -> None:
    after = recognised(put(KEPT), KEPT_PLAIN, secrets(NEW_KEY))
    assert after.version == 2
    assert secrets(NEW_KEY).decrypted(HTTP, after.spec.config) == KEPT_PLAIN


@pytest.mark.parametrize("config", [KEPT, KEPT_PLAIN], ids=["old key", "no key"])
@pytest.mark.parametrize("again", [True, False], ids=["put again", "reencrypted"])
def test_a_new_key_encrypts_anew_and_the_monitor_goes_on_as_it_was(config: str, again: bool) -> None:
    stored = msgspec.structs.replace(put(config), state=State.DOWN, streak=3, judged_at=1_500)
    ours = secrets(NEW_KEY, OLD_KEY)
    after = recognised(stored, KEPT_PLAIN, ours) if again else ours.recognised(stored, stored.spec)[0]
    assert secrets(NEW_KEY).decrypted(HTTP, after.spec.config) == KEPT_PLAIN
    assert msgspec.structs.replace(after, spec=stored.spec) == stored
    # and then there is nothing left to do
    assert recognised(after, KEPT_PLAIN, ours) is after
    assert ours.current(after) is after


def test_a_worker_without_a_key_leaves_what_it_cannot_read() -> None:
    stored = put(KEPT)
    assert secrets().current(stored) is stored
    assert secrets(NEW_KEY).current(stored) is stored


# --- what is shown and what comes in -----------------------------------------------------------------------------


@pytest.mark.parametrize("config", [KEPT, KEPT_PLAIN])
def test_a_config_is_shown_without_its_secrets(config: str) -> None:
    shown = redacted("http", config)
    assert shown == '{"basic_auth":{"password":{"$redacted":true},"user":"ann"},"url":"https://a.example/"}'
    assert holds_secrets(put(config).spec)
    assert redacted("http", '{"url":"https://a.example/"}') == '{"url":"https://a.example/"}'
    # of a kind that is not installed here, nobody can say what is secret
    assert redacted("from-elsewhere", config) == '{"$redacted":true}'


@pytest.mark.parametrize(
    ("kind", "config", "path", "reason"),
    [
        ("http", {"bearer": {"$redacted": True}}, "$.monitor.config.bearer", "the secret is redacted here"),
        ("http", {"bearer": {"$encrypted": KEPT_TOKEN}}, "$.monitor.config.bearer", "an encrypted secret is not taken"),
        (
            "http",
            {"basic_auth": {"user": "ann", "password": {"$redacted": True}}},
            "$.monitor.config.basic_auth.password",
            "the secret is redacted here: give the secret itself, or export it with --secrets",
        ),
        (
            "webhook",
            {"secret_headers": {"A": {"$redacted": True}}},
            "$.monitor.config.secret_headers.A",
            "the secret is",
        ),
    ],
)
def test_what_stands_for_a_secret_is_refused_with_a_reason(
    kind: str, config: dict[str, Any], path: str, reason: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        spec(kind, {"url": "https://a.example/"} | config)
    assert caught.value.path == path
    assert caught.value.reason.startswith(reason)


class Third(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The config of a kind of another package."""

    name: str
    token: Annotated[str, msgspec.Meta(extra=SECRET)] = ""
    logins: list[BasicAuth] = []
    anything: Annotated[Any, msgspec.Meta(extra=SECRET)] = None


class ThirdKind:
    name = "third"
    config_type = Third
    default_schedule_ms = 60_000
    inline = False


@pytest.fixture
def third_kind() -> Iterator[None]:
    with kind_given(ThirdKind()):
        yield


def test_kinds_of_other_packages_mark_their_secrets_in_the_same_way(third_kind: None) -> None:
    given = spec(
        "third",
        {"name": "n", "token": "sesame", "logins": [{"user": "a", "password": "sesame"}], "anything": ["sesame", 1]},
    )
    stored = secrets(NEW_KEY).encrypted(given)
    assert "sesame" not in stored.config
    assert secrets(NEW_KEY).decrypted(registry.kind_named("third"), stored.config) == given.config
    with pytest.raises(InvalidInput, match="an encrypted secret is not taken"):
        spec("third", {"name": "n", "anything": {"$encrypted": KEPT_TOKEN}})


# --- headers -----------------------------------------------------------------------------------------------------


def test_secret_headers_are_sent_beside_the_others_and_hidden() -> None:
    config = HttpConfig("https://a.example/", headers={"A": "1"}, secret_headers={"X-Api-Key": "sesame-open"})
    assert config.headers_to_send() == {"A": "1", "X-Api-Key": "sesame-open"}
    assert "sesame" not in repr(config)
    assert config.hide("you sent sesame-open") == "you sent …"


@pytest.mark.parametrize(
    ("kind", "config", "path", "reason"),
    [
        ("http", {"headers": {"a": "1"}, "secret_headers": {"A": "2"}}, "secret_headers", "is in 'headers', too"),
        ("http", {"secret_headers": {"a": "hunter2\n"}}, "secret_headers", "has a line break"),
        ("http", {"secret_headers": {"authorization": "x"}, "bearer": "y"}, "headers", "is given by 'bearer' already"),
        ("webhook", {"secret_headers": {"webhook-id": "x"}}, "secret_headers", "is set by the kind"),
        ("webhook", {"secret_headers": {"A": "{{nothing}}"}}, "secret_headers", "nothing"),
    ],
)
def test_a_wrong_secret_header_is_refused_and_not_quoted(
    kind: str, config: dict[str, Any], path: str, reason: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        spec(kind, {"url": "https://a.example/"} | config)
    assert caught.value.path.startswith(f"$.monitor.config.{path}")
    assert reason in caught.value.reason
    assert "hunter2" not in str(caught.value)


# --- settings ----------------------------------------------------------------------------------------------------


def test_keys_are_a_list() -> None:
    assert keys_of("") == keys_of("  ") == ()
    assert keys_of(f"{NEW_KEY}, {OLD_KEY}") == (NEW_KEY, OLD_KEY)
    assert keys_of(key := generate_key()) == (key,)


@pytest.mark.parametrize(
    "wrong", ["hunter2", NEW_KEY[:-2], NEW_KEY + "A", "ü" * 44, "+" + NEW_KEY[1:], NEW_KEY[:-2] + "F="]
)
@pytest.mark.parametrize("before", ["", f"{OLD_KEY},"])
def test_a_wrong_key_is_one_sentence_that_does_not_quote_it(wrong: str, before: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(secrets_key=before + wrong)
    said = str(caught.value)
    which = "key 2 of 2 is not" if before else "this is not"
    assert said.startswith(f"setting EVERWATCH_SECRETS_KEY: {which} a key")
    assert "everwatch secrets generate-key" in said
    assert wrong not in said


def test_keys_are_not_shown() -> None:
    settings = load_settings(secrets_key=NEW_KEY)
    assert settings.secrets_keys == (NEW_KEY,)
    assert NEW_KEY not in repr(settings)
    assert Settings().secrets_keys == ()


def test_a_redirect_to_another_server_takes_no_secret_header_along() -> None:
    config = HttpConfig("https://a.example/", headers={"A": "1"}, secret_headers={"X-Key": "sesame"})
    request = request_of(config, Tick("ann", "m", 1_000, "http", "{}", 5_000, 1, 0))
    assert redirected(request, 302, same_origin=True).headers == {"A": "1", "X-Key": "sesame"}
    assert redirected(request, 302, same_origin=False).headers == {"A": "1"}
