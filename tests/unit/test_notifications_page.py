"""Every recipe of docs/notifications.md is taken as it stands, but for secrets, which it leaves out."""

import re
from pathlib import Path

import pytest

from everwatch.notifier.addresses import TYPES
from everwatch.notifier.incidents import LEGAL, Phase
from everwatch.notifier.rules_file import rules_of

PAGE = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
INLINE = re.findall(rf"`((?:{'|'.join(TYPES)}) = {{[^`]*}})`", PAGE)
LEFT_OUT = {
    "whsec_…": "whsec_" + "A" * 32,
    "AC…": "AC1",
    "services/…": "services/x",
    'routing_key = "…", url = "…"': 'routing_key = "key", url = "https://events.example/"',
    'routing_key = "…"': 'routing_key = "key"',
    "webhooks/…": "webhooks/x",
    'token = { file = "…" }, chat_id = "-100…"': 'token = { file = "/run/secrets/bot" }, chat_id = "-100"',
}
SECRETS = {
    "slack": "https://hooks.example/x",
    "apprise": "tgram://bot/chat",
    "bot": "123:abcdefghijklmnop",
    "on-call": "ada@example.com",
}
RELAY = '[smtp]\nhost = "smtp.example.com"\nfrom = "alerts@example.com"\n'


def filled(text: str, folder: Path) -> str:
    """The recipe with what it leaves out, and with its files in a folder."""
    for place, value in LEFT_OUT.items():
        text = text.replace(place, value)
    for file in set(re.findall(r'file = "([^"]+)"', text)):
        name = Path(file).name
        (folder / name).write_text(next((SECRETS[each] for each in SECRETS if name.startswith(each)), "secret"))
        text = text.replace(file, str(folder / name))
    return text


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_of_the_page_is_a_file_of_rules(block: str, tmp_path: Path) -> None:
    relay = RELAY if "email = " in block and "[smtp]" not in block else ""
    assert rules_of((relay + filled(block, tmp_path)).encode(), tmp_path / "notify.toml")


@pytest.mark.parametrize("address", INLINE)
def test_an_address_within_a_sentence_is_taken_by_a_route(address: str, tmp_path: Path) -> None:
    route = f'[[operators]]\nname = "recipe"\n{filled(address, tmp_path)}\n'
    [made] = rules_of((RELAY + route).encode(), tmp_path / "notify.toml").routes
    assert made.address(None)


def test_the_page_has_recipes() -> None:
    assert len(BLOCKS) > 10
    assert {address.partition(" ")[0] for address in INLINE} >= {"slack", "discord", "telegram", "ntfy", "pagerduty"}


def test_the_page_has_each_legal_change_of_an_incidents_phase() -> None:
    rows = re.findall(r"^\| (\w+(?:, \w+)*) \| (\w+) \| [^|]+ \|$", PAGE, re.MULTILINE)
    phases = {each.value for each in Phase}
    said = {(before, after) for some, after in rows if after in phases for before in some.split(", ")}
    assert said == {(before.value, after.value) for before, some in LEGAL.items() for after in some}
