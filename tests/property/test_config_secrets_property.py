"""Whatever the secrets are, they come back as they were, and nothing that is shown has them."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from everwatch.core.encryption import Cipher
from everwatch.kinds import registry
from everwatch.kinds.execution.config_secrets import ConfigSecrets, redacted
from everwatch.model import Every, MonitorSpec

KEYS = (
    "b2xkIGtleSBvZiAzMiBieXRlcywgZm9yIHRlc3RzISE=",
    "bmV3IGtleSBvZiAzMiBieXRlcywgZm9yIHRlc3RzISE=",
)
OLD, BOTH = ConfigSecrets(Cipher(KEYS[:1])), ConfigSecrets(Cipher(KEYS[::-1]))
# recognisable, so that finding one means something
marked = st.text(st.characters(codec="utf-8", min_codepoint=32, exclude_characters="\x7f"), max_size=200).map(
    lambda text: f"sesame{text}"
)
names = st.text(st.characters(categories=["Lu", "Ll"], max_codepoint=127), min_size=1, max_size=8).map(
    lambda name: f"X-{name}"
)
tokens = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200).map(lambda text: f"sesame{text}")
configs: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"url": st.just("https://a.example/")},
    optional={
        "secret_headers": st.dictionaries(names, marked, max_size=4),
        "expected_status": st.sampled_from(["200-299", "418"]),
        "json_equals": st.just({"$['$encrypted']": 1.5, "$.bearer": 2**60}),
        "body": st.sampled_from(['{"$encrypted":"x"}', '"bearer":', ""]),
    },
).flatmap(
    lambda config: st.one_of(
        st.just(config),
        tokens.map(lambda bearer: config | {"bearer": bearer}),
        marked.map(lambda password: config | {"basic_auth": {"user": "ann", "password": password}}),
    )
)


@settings(deadline=None)
@given(configs)
def test_a_config_comes_back_from_storage_as_it_went_there(config: dict[str, Any]) -> None:
    kind = registry.kind_named("http")
    headers = config.get("secret_headers", {})
    if len({name.lower() for name in headers}) < len(headers):
        return
    canonical = registry.canonical_config(kind, registry.parse_config(kind, config))
    stored = OLD.encrypted(MonitorSpec("m", "http", canonical, Every(60_000))).config
    assert "sesame" not in stored
    assert "sesame" not in redacted("http", canonical)
    assert OLD.decrypted(kind, stored) == BOTH.decrypted(kind, stored) == canonical
    assert redacted("http", stored) == redacted("http", canonical)
