"""Texts of a route's own: names that are filled in, and nothing else."""

from pathlib import Path

import pytest
from support.notifying import MINUTE, RULES, Notifying, transition

from everwatch.core.config import Settings
from everwatch.notifier.addresses import EmailAddress, WebhookAddress
from everwatch.notifier.rules_file import WrongRules, rules_of
from everwatch.notifier.wording import lines_of, subject_of

TEXT = """[defaults]
text = { subject = "[{{labels.team}}] {{summary}}", line = "{{severity}} {{user_id}}/{{monitor_id}}: {{ reason }} {{x" }
"""
RULES_WITH_TEXT = RULES.replace("[defaults]\n", TEXT)


async def texts_of(tmp_path: Path, rules: str, **more: object) -> dict[type, tuple[str, list[str]]]:
    notifying = Notifying(Settings(data_dir=tmp_path), rules)
    notifying.sign_up()
    notifying.tell(transition("up", "down", labels={"team": "shop"}, **more))
    await notifying.work()
    notifying.close()
    return {type(to): (subject_of(told), lines_of(told, with_user=True)) for to, told in notifying.receiver.got}


async def test_names_are_filled_in_and_what_is_no_name_stays(tmp_path: Path) -> None:
    found = await texts_of(tmp_path, RULES_WITH_TEXT)
    assert found[EmailAddress] == ("[shop] DOWN: shop", ["critical u-1/shop: status 500 {{x"])
    assert found[EmailAddress] == found[WebhookAddress]


async def test_a_route_has_a_text_of_its_own_and_the_others_that_of_the_defaults(tmp_path: Path) -> None:
    rules = RULES_WITH_TEXT.replace(
        'name = "hook"', 'name = "hook"\ntext = { subject = "{{count}} by {{route}}: {{state}}" }'
    )
    found = await texts_of(tmp_path, rules)
    assert found[WebhookAddress][0] == "1 by hook: down"
    assert "(u-1/shop, http" in found[WebhookAddress][1][0]
    assert found[EmailAddress][0] == "[shop] DOWN: shop"


async def test_a_value_makes_no_second_line_and_no_name(tmp_path: Path) -> None:
    found = await texts_of(tmp_path, RULES_WITH_TEXT, reason="a\r\nBcc: all@example.com {{user_id}}")
    assert found[EmailAddress][1] == ["critical u-1/shop: a Bcc: all@example.com {{user_id}} {{x"]


async def test_several_alerts_have_a_line_each(tmp_path: Path) -> None:
    notifying = Notifying(
        Settings(data_dir=tmp_path), RULES_WITH_TEXT.replace('group_wait = "0s"', 'group_wait = "1m"')
    )
    notifying.sign_up()
    notifying.tell(transition("up", "down"), transition("up", "down", monitor_id="blog"))
    await notifying.work()
    await notifying.later(MINUTE)
    [(_, told)] = [each for each in notifying.receiver.got if isinstance(each[0], EmailAddress)]
    assert subject_of(told) == "[] 2 down"
    assert [line.partition(":")[0] for line in lines_of(told, with_user=True)] == [
        "critical u-1/shop",
        "critical u-1/blog",
    ]
    notifying.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{ subject = "{{user.id}}" }', "defaults.text.subject: {{user.id}} is not known; known are headline, "),
        ('{ line = "{{summary}}" }', "defaults.text.line: {{summary}} is not known"),
        ('{ line = "{{ 7 * 7 }}" }', "defaults.text.line: {{7 * 7}} is not known"),
        ('{ body = "x" }', "defaults.text"),
    ],
)
def test_a_name_that_nothing_is_known_by_is_refused_when_the_file_is_read(text: str, said: str) -> None:
    with pytest.raises(WrongRules) as refused:
        rules_of(RULES.replace("[defaults]\n", f"[defaults]\ntext = {text}\n").encode(), Path("notify.toml"))
    assert said in str(refused.value)
