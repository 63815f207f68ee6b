"""Ids that are derived: receivers recognise a message by them, so they never change."""

from uuid import uuid5

from hypothesis import given
from hypothesis import strategies as st

from everwatch.notifier.alerts import NAMESPACE, derived_id

# as UTF-8 has them
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(TEXT | st.integers()))
def test_an_id_is_the_uuid5_of_its_parts(parts: list[str | int]) -> None:
    assert derived_id(*parts) == str(uuid5(NAMESPACE, "\0".join(map(str, parts))))
