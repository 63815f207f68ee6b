"""Tests of what Discord, Telegram and ntfy get, and which addresses are refused."""

import json
from pathlib import Path

import msgspec
import pytest
from support.notifying import START

from everwatch.notifier.addresses import DiscordAddress, NtfyAddress, TelegramAddress
from everwatch.notifier.alerts import Alert, AlertKind, Message, Severity
from everwatch.notifier.rules_file import WrongRules, rules_of
from everwatch.notifier.senders.over_http import post_of
from everwatch.plans.placeholders import PlaceholderUser

DOWN = Alert(
    AlertKind.OPENED, "i-1", "u-1", "shöp", "down", START, START, Severity.ERROR, reason="status 500 @everyone"
)
UP = msgspec.structs.replace(DOWN, kind=AlertKind.CLOSED, state="up", at=START + 60_000)
TOKEN = "123:abcdefghijklmnop"


def message(*alerts: Alert) -> Message:
    return Message("m-1", "chat", "u-1", START, alerts)


def test_discord_gets_text_that_mentions_nobody() -> None:
    post = post_of(DiscordAddress(url="https://discord.example/api/webhooks/1/x"), message(DOWN), START)
    told = json.loads(post.body)
    assert told["content"].splitlines()[0] == "DOWN: shöp"
    assert told["allowed_mentions"] == {"parse": []}
    assert len(json.loads(post_of(DiscordAddress(url=post.url), message(*[DOWN] * 50), START).body)["content"]) == 2_000


def test_telegram_gets_text_by_the_bots_api() -> None:
    address = TelegramAddress(token=TOKEN, chat_id="-100200300")
    post = post_of(address, message(DOWN), START)
    assert post.url == f"https://api.telegram.org/bot{TOKEN}/sendMessage"
    told = json.loads(post.body)
    assert (told["chat_id"], told["text"].splitlines()[0]) == ("-100200300", "DOWN: shöp")
    assert TOKEN not in repr(address)
    assert TOKEN not in address.shown


def test_ntfy_gets_a_title_a_priority_and_a_tag() -> None:
    address = NtfyAddress(url="https://ntfy.example/alerts", token="tk_secret")
    down = post_of(address, message(DOWN), START)
    assert down.headers["Title"] == "=?utf-8?b?RE9XTjogc2jDtnA=?="
    assert (down.headers["Priority"], down.headers["Tags"]) == ("4", "rotating_light")
    assert down.headers["Authorization"] == "Bearer tk_secret"
    assert b"status 500" in down.body
    up = post_of(address, message(UP), START)
    assert (up.headers["Priority"], up.headers["Tags"]) == ("3", "white_check_mark")
    assert "tk_secret" not in repr(address)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ('telegram = { token = "x", chat_id = "1" }', "not a bot's token"),
        (f'telegram = {{ token = "{TOKEN}", chat_id = "my chat" }}', "not a chat"),
        ('ntfy = { url = "https://ntfy.sh/" }', "names no topic"),
        ('discord = { url = "ftp://discord.example/" }', "http"),
    ],
)
def test_an_address_that_none_of_them_has_is_refused(target: str, reason: str) -> None:
    with pytest.raises(WrongRules, match=reason):
        rules_of(f'[[operators]]\nname = "chat"\n{target}\n'.encode(), Path("notify.toml"))


def test_a_users_own_chat_comes_from_its_attributes() -> None:
    text = f'[[users]]\nname = "chat"\ntelegram = {{ token = "{TOKEN}", chat_id = "{{{{user.attributes.chat}}}}" }}\n'
    [route] = rules_of(text.encode(), Path("notify.toml")).routes
    assert route.address(PlaceholderUser("u-1", "pro", {"chat": "42"})) == TelegramAddress(token=TOKEN, chat_id="42")
