"""Ids of commands that were carried out: known for a week, the newest of each user, through restarts."""

from streams.state.command_deduplication import KEPT, KEPT_MS, HandledCommands, remembered_of

AT = 1_800_000_000_000


def remembered(*ids: str, at: int = AT, step_ms: int = 1_000) -> HandledCommands:
    known = HandledCommands()
    for i, command_id in enumerate(ids):
        known = known.with_id(command_id, at + i * step_ms)
    return known


def test_nothing_is_known_of_a_user_who_never_sent_an_id() -> None:
    assert remembered_of(None).ids == {}
    assert remembered_of(b"").ids == {}


def test_what_the_table_holds_is_what_was_known() -> None:
    known = remembered("a", "größe", "\u2603")
    assert remembered_of(known.encoded()) == known
    assert list(remembered_of(known.encoded()).ids) == ["a", "größe", "\u2603"]


def test_one_more_id_leaves_what_was_known_before_as_it_is() -> None:
    known = remembered("a")
    assert known.with_id("b", AT + 1).ids == {"a": AT, "b": AT + 1}
    assert known.ids == {"a": AT}


def test_of_too_many_ids_the_oldest_are_forgotten() -> None:
    known = remembered(*map(str, range(KEPT)))
    assert list(known.ids) == [str(i) for i in range(KEPT)]
    one_more = known.with_id("one more", AT + KEPT * 1_000)
    assert list(one_more.ids) == [*(str(i) for i in range(1, KEPT)), "one more"]


def test_an_id_is_known_for_a_week() -> None:
    known = remembered("old", "young")
    assert set(known.with_id("new", AT + KEPT_MS - 1).ids) == {"old", "young", "new"}
    assert set(known.with_id("new", AT + KEPT_MS).ids) == {"young", "new"}
    assert set(known.with_id("new", AT + KEPT_MS + 1_000).ids) == {"new"}


def test_an_id_that_comes_again_takes_no_second_place_and_is_young_again() -> None:
    again = remembered("a", "b", "a")
    assert list(again.ids.items()) == [("b", AT + 1_000), ("a", AT + 2_000)]


def test_digests_go_with_their_ids_and_are_compared_where_both_are_known() -> None:
    known = HandledCommands().with_id("plain", AT).with_id("a", AT, "one")
    assert [known.is_other("a", digest) for digest in ("one", "two", "")] == [False, True, False]
    assert not known.is_other("plain", "two")
    assert remembered_of(known.encoded()) == known
    assert remembered_of(b'{"ids":{"a":1}}') == HandledCommands({"a": 1}), "as it was written before"
    for number in range(KEPT):
        known = known.with_id(str(number), AT + 1)
    assert known.digests == {}
