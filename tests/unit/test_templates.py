"""Templates: what they fill in, what they refuse when put, and what they say when a value is missing."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everwatch.core.errors import InvalidInput
from everwatch.encoding.templates import (
    LARGEST_RENDERED_BYTES,
    LARGEST_TEMPLATE_BYTES,
    NAMES,
    check_template,
    render,
    render_text,
    tick_id,
    tick_values,
)
from everwatch.model import Tick

TICK = Tick("u-1", "remind", 1_763_715_600_250, "webhook", "{}", 10_000, 3, 0, attempt=2)
PAYLOAD = {"coupon": "SAVE10", "left": 3, "price": 9.5, "gift": False, "note": None, "items": [{"sku": "a"}, "b"]}
VALUES = tick_values(
    Tick("u-1", "remind", 1_763_715_600_250, "webhook", "{}", 10_000, 3, 0, payload=json.dumps(PAYLOAD))
)

# a JSON number that another reader may round is not what is tested here
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def filled(document: object, values: dict[str, Any] = VALUES) -> object:
    check_template(document, "template")
    return json.loads(render(document, values, "$.config.template"))


def refusal(document: object) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        check_template(document, "template")
    return caught.value


def test_a_text_that_is_one_name_becomes_the_value_with_its_type() -> None:
    document = {
        "user": "{{user_id}}", "left": "{{ payload.left }}", "price": "{{payload.price}}", "gift": "{{payload.gift}}",
        "note": "{{payload.note}}", "first": "{{payload.items.0}}", "sku": "{{payload.items.0.sku}}", "n": 7,
    }  # fmt: skip
    assert filled(document) == {
        "user": "u-1", "left": 3, "price": 9.5, "gift": False, "note": None, "first": {"sku": "a"}, "sku": "a", "n": 7,
    }  # fmt: skip
    assert filled("{{payload}}") == PAYLOAD


def test_within_a_longer_text_values_are_written_out() -> None:
    text = "Use {{payload.coupon}}: {{payload.left}} of {{payload.items}}, {{payload.gift}}, {{payload.note}}"
    assert filled([text]) == ['Use SAVE10: 3 of [{"sku":"a"},"b"], false, null']
    assert render_text("{{user_id}}/{{payload.left}}", VALUES, "key") == "u-1/3"
    assert render_text("{{payload.left}}", VALUES, "key") == "3"


def test_a_tick_is_named_the_same_at_each_attempt_and_like_no_other() -> None:
    values = tick_values(TICK)
    assert (values["scheduled_at"], values["scheduled_at_ms"]) == ("2025-11-21T09:00:00.250Z", 1_763_715_600_250)
    assert (values["attempt"], values["manual"], values["payload"]) == (2, False, None)
    assert values["tick_id"] == VALUES["tick_id"] == tick_id(TICK)
    assert tick_id(TICK) == "tick_1763715600250_a584422dacb3efa1add4b6e4d29ef2f7"  # receivers remember these
    others = {
        tick_id(Tick(user, monitor, at, "webhook", "{}", 1, 1, 0))
        for user, monitor, at in [("u-1", "remind", 1), ("u-1", "remin", 1), ("u-1r", "emind", 1), ("u-1", "remind", 2)]
    }
    assert len(others) == 4


@given(json_values)
def test_whatever_the_payload_holds_arrives_as_it_is(payload: object) -> None:
    values = dict.fromkeys(NAMES) | {"payload": {"x": payload}}
    assert filled({"a": ["{{payload.x}}"]}, values) == {"a": [payload]}
    if isinstance(payload, str):
        # quotes, line breaks and braces in a value are text, and are not looked into again
        assert filled("-{{payload.x}}-", values) == f"-{payload}-"


@given(json_values.filter(lambda value: "{{" not in json.dumps(value)))
def test_a_document_without_names_is_rendered_as_it_is(document: object) -> None:
    assert filled(document) == document


@given(st.lists(st.sampled_from(["{", "{{", "}", "}}", "'{{'", "user_id", " ", "é"]), max_size=12))
def test_what_is_accepted_when_put_is_never_a_syntax_error_later(parts: list[str]) -> None:
    text = "".join(parts)
    accepted = rendered = False
    with suppress(InvalidInput):
        check_template([text], "template")
        accepted = True
    with suppress(InvalidInput):
        render([text], VALUES, "template")
        rendered = True
    assert accepted == rendered
    if not accepted:
        assert refusal([text]).path == "template[0]"


def test_two_braces_can_be_written() -> None:
    assert filled("{{'{{'}}user_id}} is {{user_id}}") == "{{user_id}} is u-1"
    assert filled("a } b }} c { d") == "a } b }} c { d"


@pytest.mark.parametrize(
    ("document", "path", "reason"),
    [
        ({"data": [{"to": "{{user_id"}]}, "template.data[0].to", "'{{' is not followed by '}}'"),
        ({"a b": "{{}}"}, 'template["a b"]', "{{}} does not hold a name"),
        ("{{payload.}}", "template", "{{payload.}} does not hold a name"),
        ("{{ 1 + 1 }}", "template", "{{1 + 1}} does not hold a name"),
        ("{{payload.__class__()}}", "template", "does not hold a name"),
        ("{{{user_id}}}", "template", "{{{user_id}} does not hold a name"),
        ("{{usr_id}}", "template", "{{usr_id}} is not known; known are tick_id, user_id"),
        ("{{" + "a" * 201 + "}}", "template", "does not hold a name"),
        ({"{{user_id}}": 1}, 'template["{{user_id}}"]', "not in names"),
        ("x" * LARGEST_TEMPLATE_BYTES, "template", "at most 65536 are kept"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(document: object, path: str, reason: str) -> None:
    error = refusal(document)
    assert error.path == path
    assert reason in error.reason


def test_a_template_nested_too_deeply_is_refused() -> None:
    document: object = "x"
    for _ in range(5_000):
        document = [document]
    assert "nested more than 32 levels" in refusal(document).reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("payload.cupon", "{{payload.cupon}} has no value: payload has no 'cupon'"),
        ("payload.items.2", "{{payload.items.2}} has no value: payload.items is a list of 2, and has no '2'"),
        ("payload.items.-1", "payload.items is a list of 2, and has no '-1'"),
        ("payload.left.x", "payload.left has no parts"),
        ("payload.coupon.0", "payload.coupon has no parts"),
        ("payload.note.x", "there is no payload.note"),
    ],
)
def test_a_missing_value_is_told_with_the_place_that_wants_it(name: str, reason: str) -> None:
    document = {"data": {"code": f"{{{{{name}}}}}"}}
    check_template(document, "template")
    with pytest.raises(InvalidInput) as caught:
        render(document, VALUES, "$.config.template")
    assert reason in caught.value.reason
    assert caught.value.path == "$.config.template.data.code"


def test_a_monitor_without_payload_says_so() -> None:
    with pytest.raises(InvalidInput, match="there is no payload"):
        render("{{payload.x}}", tick_values(TICK), "template")


def test_a_small_template_cannot_become_a_huge_document() -> None:
    values = dict.fromkeys(NAMES) | {"payload": "x" * 60_000}
    assert len(render(["{{payload}}"] * 4, values, "template")) < LARGEST_RENDERED_BYTES
    for document in (["{{payload}}"] * 4_000, "{{payload}} " * 4_000):
        check_template(document, "template")
        with pytest.raises(InvalidInput, match="takes more than 256 KiB"):
            render(document, values, "template")
    with pytest.raises(InvalidInput, match="takes more than 256 KiB"):
        render_text("{{payload}} " * 5, values, "key")


def test_a_payload_nested_as_deeply_as_can_be_is_told_instead_of_a_crash() -> None:
    payload: object = 1
    for _ in range(100_000):
        payload = [payload]
    with pytest.raises(InvalidInput, match="nested too deeply"):
        render({"a": "{{payload}}"}, dict.fromkeys(NAMES) | {"payload": payload}, "template")
    with pytest.raises(InvalidInput, match="nested too deeply"):
        render_text("-{{payload}}", dict.fromkeys(NAMES) | {"payload": payload}, "key")
    with pytest.raises(InvalidInput, match="the payload cannot be read"):
        tick_values(msgspec.structs.replace(TICK, payload="[" * 10_000 + "]" * 10_000))
