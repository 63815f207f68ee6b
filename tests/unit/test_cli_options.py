"""Options that all commands share."""

from pathlib import Path

import msgspec
import pytest

from everwatch.cli.support.options import fitted_to_backup, pairs_of, ready_broker, text_or_file
from everwatch.cli.support.run_parts import commands_given
from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError, TopicMismatch
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.topics import plan_topics


def test_pairs_keep_what_follows_the_first_equals_sign() -> None:
    assert pairs_of("--map", "COLUMN=FIELD", ["id=user_id", "q=a=b"]) == {"id": "user_id", "q": "a=b"}


@pytest.mark.parametrize("wrong", ["id", "=user_id", "id=", ""])
def test_a_wrong_pair_is_told_as_it_was_given(wrong: str) -> None:
    with pytest.raises(SettingsError) as refused:
        pairs_of("--map", "COLUMN=FIELD", ["a=b", wrong])
    assert str(refused.value) == f"--map wants COLUMN=FIELD, not {wrong!r}."


def test_an_attribute_may_be_empty_but_not_without_a_name() -> None:
    assert pairs_of("--attribute", "NAME=VALUE", ["site="], empty=True) == {"site": ""}
    with pytest.raises(SettingsError, match="--attribute wants NAME=VALUE, not '=x'"):
        pairs_of("--attribute", "NAME=VALUE", ["=x"], empty=True)


def test_an_at_sign_names_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{}\n")
    assert text_or_file(f"@{tmp_path}/config.json") == b"{}\n"
    assert text_or_file("{}") == "{}"


def test_a_ready_broker_has_its_topics_and_their_count_unless_another_one_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("EVERWATCH_PARTITIONS", raising=False)
    caplog.set_level("INFO")
    kafka = MemoryKafka()
    given = Settings(data_dir=tmp_path, bootstrap_servers="kafka:9092")
    with commands_given(new_clients=lambda _: MemoryClients(kafka)):
        settings, bootstrap = ready_broker(given)
        assert bootstrap == "kafka:9092"
        assert {plan.name for plan in plan_topics(Settings())} <= set(kafka.topic_names())
        # topics of an earlier version with another default
        found, _ = ready_broker(msgspec.structs.replace(given, partitions=settings.partitions + 5))
        assert found == settings
        assert f"the topics have {settings.partitions} partitions: going on with" in caplog.text
        monkeypatch.setenv("EVERWATCH_PARTITIONS", "5")
        with pytest.raises(TopicMismatch, match="5 are configured"):
            ready_broker(msgspec.structs.replace(given, partitions=5))
    assert fitted_to_backup(given, 3) == given
    monkeypatch.delenv("EVERWATCH_PARTITIONS")
    assert fitted_to_backup(given, 3).partitions == 3
