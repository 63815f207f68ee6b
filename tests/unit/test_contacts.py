"""Contacts in signups and commands: validated at the edge, kept as attributes, named by routes and plans."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from support.notifying import RULES, Notifying, transition

from everwatch.core.config import Settings
from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec
from everwatch.notifier.addresses import EmailAddress
from everwatch.plans.placeholders import PlaceholderUser, compiled
from everwatch.rules.admission import admit_signup

ADA = {"email": "ada@example.com", "slack": "https://hooks.slack.com/services/x"}


def signup(**more: Any) -> bytes:
    return orjson.dumps({"user_id": "u-1", "contacts": ADA, **more})


def command(**more: Any) -> bytes:
    return orjson.dumps({"command": "set_user", "user_id": "u-1", **more})


@pytest.mark.parametrize("attributes", [{}, {"city": "Bern"}])
def test_a_signups_contacts_are_attributes_of_their_own_name(attributes: dict[str, str]) -> None:
    kept = attributes | {"contacts.email": ADA["email"], "contacts.slack": ADA["slack"]}
    assert admit_signup(signup(attributes=attributes)).attributes == kept
    assert codec.decode_signup(signup(attributes=attributes)).attributes == kept


def test_a_command_changes_one_contact_and_removes_another() -> None:
    changed = codec.decode_command(command(contacts={"email": "new@example.com"}, remove_attributes=["contacts.slack"]))
    assert changed.attributes == {"contacts.email": "new@example.com"}
    assert changed.remove_attributes == ("contacts.slack",)


@pytest.mark.parametrize(
    ("contacts", "path", "reason"),
    [
        ({"email": "ada"}, "$.contacts.email", "not an e-mail address such as ada@example.com"),
        ({"email": "a@b.example, c@d.example"}, "$.contacts.email", "not an e-mail address such as ada@example.com"),
        ({"webhook": "ftp://x"}, "$.contacts.webhook", "a URL starts with http:// or https://"),
        ({"E mail": "a@b.example"}, "$.contacts", "a contact's name has up to 32 small letters, digits, '_' and '-'"),
        ({"city": "x"}, "$.contacts.city", "the attribute 'contacts.city' is given, too"),
    ],
)
def test_a_wrong_contact_is_refused_with_its_place(contacts: dict[str, str], path: str, reason: str) -> None:
    given = signup(contacts=contacts, attributes={"contacts.city": "Bern"})
    for read in (admit_signup, codec.decode_signup):
        with pytest.raises(InvalidInput) as refused:
            read(given)
        assert (refused.value.path, refused.value.reason) == (path, reason)


def test_only_set_user_takes_contacts() -> None:
    with pytest.raises(InvalidInput, match="a deregister takes no contacts"):
        codec.decode_command(command(command="deregister", contacts=ADA))


def test_a_template_names_a_contact_and_says_where_it_is_missing() -> None:
    template = compiled({"to": "{{user.contacts.email}}"}, "email")
    given = admit_signup(signup())
    assert template.filled(PlaceholderUser("u-1", "pro", given.attributes)) == {"to": "ada@example.com"}
    with pytest.raises(InvalidInput) as refused:
        template.filled(PlaceholderUser("u-1", "pro", {}))
    assert refused.value.path == "$.contacts.email"


async def test_alerts_go_to_a_contact(tmp_path: Path) -> None:
    notifying = Notifying(
        Settings(data_dir=tmp_path), RULES.replace("{{user.attributes.email}}", "{{user.contacts.email}}")
    )
    notifying.sign_up("u-1", **admit_signup(signup()).attributes)
    notifying.tell(transition("up", "down"))
    await notifying.work()
    assert EmailAddress("ada@example.com") in [to for to, _ in notifying.receiver.got]
    notifying.close()


@pytest.mark.parametrize("labels", [{}, {"severity": "warning"}, {"team": "shop"}])
def test_the_severity_of_a_policy_is_the_label_of_the_monitor(labels: dict[str, str]) -> None:
    monitor = {"kind": "noop", "labels": labels, "policy": {"severity": "warning"}}
    [spec] = admit_signup(signup(monitors=[monitor])).monitors
    assert dict(spec.labels) == labels | {"severity": "warning"}


def test_a_policy_and_a_label_that_differ_are_refused() -> None:
    monitor = {"kind": "noop", "labels": {"severity": "info"}, "policy": {"severity": "warning"}}
    with pytest.raises(InvalidInput) as refused:
        admit_signup(signup(monitors=[monitor]))
    assert refused.value.path == "$.monitors[0].policy.severity"
    assert refused.value.reason == "the label severity says 'info'"
