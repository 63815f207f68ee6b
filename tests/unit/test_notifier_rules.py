"""The file of notification rules: one wrong file for each rule, and what is said of it."""

import logging
import os
from pathlib import Path

import pytest
from support.notifying import RULES, transition

from everwatch.kinds.protocol import FieldError
from everwatch.notifier.addresses import EmailAddress, PagerDutyAddress, WebhookAddress
from everwatch.notifier.alerts import Alert
from everwatch.notifier.incidents import after_transition
from everwatch.notifier.routes import NoAddress, Rules
from everwatch.notifier.rules_file import RulesFile, WrongRules, rules_of
from everwatch.plans.placeholders import PlaceholderUser

ALERT = after_transition(None, transition("up", "down", labels={"team": "shop"})).alerts[0]
USER = PlaceholderUser("u-1", "pro", {"email": "ada@example.com", "hook": "https://hooks.example/u-1"})


def rules(text: str) -> Rules:
    return rules_of(text.encode(), Path("/etc/everwatch/notify.toml"))


def names(given: Rules, alert: Alert = ALERT, plan: str = "pro") -> list[str]:
    return [route.name for route in given.routes_of(alert, plan, lambda _: True)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "not valid TOML: "),
        ("[route]", ": Object contains unknown field route"),
        ("[[users]]\nslack = {url = 'https://a.example/'}", "users[0]: Object missing required field name"),
        ("[[users]]\nname = 'a'", "users[0]: a route has one of email, webhook, slack, discord, "),
        ("[[users]]\nname = 'a b'\nslack = {}", "users[0].name: Expected str matching regex"),
        ("[[operators]]\nname = 'a'\nslack = {}", "operators[0].slack: Object missing required field url"),
        ("[[operators]]\nname = 'a'\nslack = {url = 'ftp://a.example'}", "a URL starts with http:// or https://"),
        ("[[operators]]\nname = 'a'\nslack = {url = 'https://u:p@a.example/'}", "no user name and password in a URL"),
        ("[[operators]]\nname = 'a'\nemail = {to = 'ada'}\n[smtp]\nhost='a'\nfrom='a@b.se'", "operators[0].email.to"),
        ("[[operators]]\nname = 'a'\nemail = {to = 'a@b.example'}", "smtp: a route sends e-mail, and no [smtp]"),
        ("[[operators]]\nname = 'a'\nslack = {url = '{{user.attributes.x}}'}", "names no user's attributes"),
        ("[[users]]\nname = 'a'\nslack = {url = '{{user.name}}'}", "users[0].slack.url: {{user.name}} is not known"),
        ("[[users]]\nname = 'a'\nwebhook = {url = 'https://a.example/', secret = 'x'}", "secret: a secret begins with"),
        ("[[users]]\nname = 'a'\ngroup_wait = 'soon'\nslack = {url = 'https://a.example/'}", "users[0].group_wait: "),
        ("[[users]]\nname = 'a'\ndoubt = 'no'\nslack = {url = 'https://a.example/'}", "users[0].doubt: "),
        ("[[users]]\nname = 'a'\nmatch = {severity = ['big']}\nslack = {url = 'x'}", "match.severity[0]"),
        (
            "[[users]]\nname = 'a'\nslack = {url = 'https://a.example/'}\n[[operators]]\nname = 'a'\n"
            "slack = {url = 'https://a.example/'}",
            "two routes are called 'a'",
        ),
        ("[smtp]\nhost = 'a'\nfrom = 'nobody'", "smtp.from: not an e-mail address"),
        ("[smtp]\nhost = 'a'\nfrom = 'a@b.se'\nsecurity = 'none'\npassword = 'p'", "a password is sent over TLS"),
        ("[smtp]\nhost = 'a'\nfrom = 'a@b.se'\npassword = {file = 'none'}", "cannot be read: No such file"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_the_place_and_the_reason(text: str, said: str) -> None:
    with pytest.raises(WrongRules) as refused:
        rules(text)
    assert said in str(refused.value)
    assert str(refused.value).startswith("/etc/everwatch/notify.toml")


def test_a_secret_in_the_wrong_place_is_not_quoted() -> None:
    with pytest.raises(WrongRules) as refused:
        rules("[[operators]]\nname = 'a'\npagerduty = {routing_key = ['s3cret']}")
    assert "s3cret" not in str(refused.value)


def test_a_secret_may_stand_in_a_file_beside_the_rules(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("R0123\n")
    text = b"[[operators]]\nname = 'a'\npagerduty = {routing_key = {file = 'key'}}"
    [route] = rules_of(text, tmp_path / "notify.toml").routes
    assert route.address(None) == PagerDutyAddress("R0123")


def test_the_first_route_that_matches_takes_an_alert_and_one_that_continues_lets_others_have_it_too() -> None:
    slack = "slack = {url = 'https://a.example/'}"
    given = rules(
        f"""
        [[users]]
        name = "free"
        match = {{plan = ["free"]}}
        {slack}
        [[users]]
        name = "both"
        continue = true
        {slack}
        [[users]]
        name = "shop"
        match = {{label = {{team = "shop"}}, kind = ["http"], severity = ["critical"]}}
        {slack}
        [[users]]
        name = "rest"
        {slack}
        [[operators]]
        name = "ops"
        {slack}
        """
    )
    assert names(given) == ["both", "shop", "ops"]
    assert names(given, plan="free") == ["free", "ops"]
    late = after_transition(None, transition("up", "late")).alerts[0]
    assert names(given, late) == ["both", "rest", "ops"]


def test_an_address_is_filled_in_for_each_user_and_what_is_none_says_so() -> None:
    given = rules(RULES + '[[users]]\nname = "own"\nwebhook = { url = "{{user.attributes.hook}}" }\n')
    mail, own = given.named("mail"), given.named("own")
    assert mail is not None
    assert own is not None
    assert mail.address(USER) == EmailAddress("ada@example.com")
    assert own.address(USER) == WebhookAddress("https://hooks.example/u-1")
    for attributes, said in (
        ({}, "needs this attribute, and the signup has none"),
        ({"email": "a@b.example\nBcc: c@d.example"}, "not an e-mail address"),
        ({"email": 7}, "Expected `str`"),
    ):
        with pytest.raises(NoAddress, match=said):
            mail.address(PlaceholderUser("u-1", "pro", attributes))


@pytest.mark.parametrize(
    "to",
    ["a@b@example.com", "=?utf-8?q?a=0D=0ABcc:eve?=@example.com", "a\u202e@example.com", "a,b@example.com", "<a@b>"],
)
def test_an_address_that_would_be_another_in_a_header_is_refused(to: str) -> None:
    with pytest.raises(FieldError):
        EmailAddress(to)


def test_what_is_shown_of_an_address_is_no_secret() -> None:
    hook = WebhookAddress("https://hooks.example/T0/secret?key=secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    for address in (hook, PagerDutyAddress("R012secret"), EmailAddress("secret@example.com")):
        assert "secret" not in f"{address!r} {address.shown}"


def test_a_running_notifier_follows_the_files_of_secrets_too(tmp_path: Path) -> None:
    path, secret = tmp_path / "notify.toml", tmp_path / "pass"
    path.write_text(RULES.replace("[smtp]", '[smtp]\nusername = "u"\npassword = { file = "pass" }'))
    secret.write_text("old")
    file = RulesFile(path)
    secret.unlink()
    assert not file.look()
    secret.write_text("newer")
    assert file.look()
    assert file.current.relay is not None
    assert file.current.relay.password == "newer"
    assert not file.look()


def test_a_running_notifier_follows_the_file_and_keeps_its_rules_while_the_file_is_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "notify.toml"
    path.write_text(RULES)
    file = RulesFile(path)
    assert not file.look()
    path.write_text("wrong")
    os.utime(path, ns=(1, 1))
    with caplog.at_level(logging.ERROR):
        assert not file.look()
        assert not file.look()
    assert len(caplog.records) == 1
    assert len(file.current.routes) == 2
    path.write_text(RULES + '[[operators]]\nname = "more"\nslack = { url = "https://a.example/" }\n')
    assert file.look()
    assert len(file.current.routes) == 3
