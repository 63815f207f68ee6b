"""Filling in: whatever a user's attributes hold, they bring nothing but their values into a monitor."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from everwatch.core.errors import InvalidInput
from everwatch.model import Scalar
from everwatch.plans.placeholders import PlaceholderUser, compiled, is_open, texts_of

# what matters stands close together
TEXTS = st.text(st.sampled_from("{}ab. '\"\\u0000"), max_size=8)
SCALARS: st.SearchStrategy[Scalar] = st.one_of(
    TEXTS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)
PIECES = st.one_of(
    TEXTS.filter(lambda text: "user" not in text),
    st.sampled_from(["{{user.id}}", "{{ user.plan }}", "{{user.attributes.a}}", "{{user.attributes.b or 'none'}}"]),
    st.sampled_from(["{{payload.x}}", "{{user_id}}", "{{'{{'}}"]),
)
DOCUMENTS = st.recursive(
    st.one_of(st.lists(PIECES, max_size=4).map("".join), st.integers(0, 9), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=8,
)


def filled(document: object, user: PlaceholderUser) -> tuple[object, str]:
    """The document for a user, or the path for which it is refused."""
    found = compiled(document, "m")
    try:
        return (found.filled(user) if is_open(found) else found), ""
    except InvalidInput as error:
        return None, error.path


def opened(text: str) -> int:
    return sum(text.startswith("{{", at) for at in range(len(text)))


def leaves(document: object) -> list[object]:
    if isinstance(document, dict):
        return [leaf for key in sorted(document) for leaf in leaves(document[key])]
    return [leaf for item in document for leaf in leaves(item)] if isinstance(document, list) else [document]


@given(SCALARS)
def test_a_text_that_is_one_name_becomes_the_value(value: Scalar) -> None:
    found, refused = filled("{{user.attributes.a}}", PlaceholderUser("u", "p", {"a": value}))
    if isinstance(value, str) and "{{" in value:
        assert refused == "$.attributes.a"
    else:
        assert orjson.dumps(found) == orjson.dumps(value)


@given(DOCUMENTS, SCALARS, SCALARS, TEXTS)
def test_values_change_neither_the_shape_of_a_document_nor_its_templates(
    document: object, a: Scalar, b: Scalar, user_id: str
) -> None:
    try:
        kept = compiled(document, "m")
    except InvalidInput:
        return  # three braces around a name
    names = sum(len(text.names) for text in texts_of(kept))
    found, refused = filled(document, PlaceholderUser(user_id, "plan", {"a": a, "b": b}))
    if refused:
        assert names
        assert refused in {"$.attributes.a", "$.attributes.b", "$.user_id"}
        return
    if not names:
        assert found == document
    before, after = leaves(document), leaves(found)
    assert len(before) == len(after)
    for template, text in zip(before, after, strict=True):
        if isinstance(template, str) and isinstance(text, str):
            own = [
                name for name in ("user.id", "user.plan", "user.attributes.a", "user.attributes.b") if name in template
            ]
            assert opened(text) <= opened(template)
            assert own or text == template
