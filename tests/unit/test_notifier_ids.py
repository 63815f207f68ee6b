"""Ids that are derived: receivers recognise a message by them, so they never change."""

from uuid import RFC_4122, UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from everwatch.notifier.alerts import NAMESPACE, dated_id, derived_id

# as UTF-8 has them
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(TEXT | st.integers()))
def test_an_id_is_the_uuid5_of_its_parts(parts: list[str | int]) -> None:
    assert derived_id(*parts) == str(uuid5(NAMESPACE, "\0".join(map(str, parts))))


INSTANTS = st.integers(0, 2**48 - 1)


@given(INSTANTS, INSTANTS, st.lists(TEXT))
def test_a_dated_id_is_a_uuid8_that_stays_and_stands_in_the_order_of_instants(
    first: int, second: int, parts: list[str]
) -> None:
    one, other = dated_id(first, *parts), dated_id(second, *parts)
    assert (UUID(one).version, UUID(one).variant, str(UUID(one))) == (8, RFC_4122, one)
    assert one == dated_id(first, *parts)
    assert (one < other) == (first < second)
    assert (one == other) == (first == second)
