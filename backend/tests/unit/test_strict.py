"""How deep the JSON of a body may be: the same on every version of Python."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.api.strict import InvalidJSON, parse_json
from src.models.limits import JSON_MAX_DEPTH

pytestmark = pytest.mark.requirement("FR-025")

TEXTS = st.text(alphabet='[]{}"\\:,a\n')
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
)


def depth_of(value: object) -> int:
    """Say how many objects and arrays are in each other."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def wrapped(value: object, depth: int) -> object:
    for _ in range(depth):
        value = [value, "]" * 9] if depth % 2 else {"[{": value}
    return value


@given(VALUES, st.integers(JSON_MAX_DEPTH - 8, JSON_MAX_DEPTH + 2), st.booleans())
def test_a_body_is_read_unless_it_is_too_deep(value: object, depth: int, is_ascii: bool) -> None:  # noqa: FBT001 — drawn
    value = wrapped(value, depth)
    text = json.dumps(value, ensure_ascii=is_ascii).encode()

    if depth_of(value) <= JSON_MAX_DEPTH:
        assert parse_json(text) == value
    else:
        with pytest.raises(InvalidJSON, match="nested more than 100 levels"):
            parse_json(text)


def test_brackets_in_texts_do_not_count() -> None:
    text = json.dumps({"title": '[{"\\' * 1_000})

    assert parse_json(text.encode()) == {"title": '[{"\\' * 1_000}


def test_a_byte_order_mark_is_named() -> None:
    with pytest.raises(InvalidJSON, match="begins with a byte order mark"):
        parse_json('{"title": "x"}'.encode("utf-8-sig"))


@pytest.mark.parametrize(
    "text",
    ['"\\' * 100_000, '["\\"' + '[\\"' * 80_000, "]" * 200_000, "[" * 200_000, '"[' * 100_000],
    ids=lambda text: text[:9],
)
def test_what_is_no_json_is_refused_in_linear_time(text: str) -> None:
    with pytest.raises(InvalidJSON):
        parse_json(text.encode())
