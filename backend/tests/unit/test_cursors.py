"""The tokens of pages."""

import string
from typing import Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from src.exceptions import CursorMismatch
from src.models.limits import USER_ID_PATTERN
from src.schemas import examples
from src.schemas.query import TaskListQuery
from src.services.changes import Token, read_token
from src.services.cursors import decode_cursor, encode_cursor

ALPHABET: Final = string.ascii_letters + string.digits + "-_"
KEYS: Final = ["2026-03-01T09:30:00.123456Z", "01981f6e-3c00-7a3b-8a00-000000000001"]
TOKEN: Final = encode_cursor(KEYS, user_id="alice", query="-created_at")

json_arrays = st.lists(st.text() | st.integers(-(2**53), 2**53) | st.none() | st.booleans())
users = st.from_regex(USER_ID_PATTERN, fullmatch=True)
queries = st.text(st.characters(exclude_characters="\0", codec="utf-8"))


def is_refused(token: str, *, user_id: str = "alice", query: str = "-created_at") -> bool:
    try:
        decode_cursor(token, user_id=user_id, query=query)
    except CursorMismatch:
        return True
    return False


class TestCursors:
    @pytest.mark.requirement("FR-019")
    @given(keys=json_arrays, user=users, query=queries)
    def test_give_back_the_keys_that_they_were_made_of(
        self, keys: list[object], user: str, query: str
    ) -> None:
        token = encode_cursor(keys, user_id=user, query=query)

        assert decode_cursor(token, user_id=user, query=query) == keys
        assert set(token) <= set(ALPHABET)

    @pytest.mark.requirement("FR-020")
    @given(
        keys=json_arrays,
        made_for=st.tuples(users, queries),
        used_for=st.tuples(users, queries),
    )
    def test_are_refused_for_another_user_or_query(
        self, keys: list[object], made_for: tuple[str, str], used_for: tuple[str, str]
    ) -> None:
        assume(made_for != used_for)
        token = encode_cursor(keys, user_id=made_for[0], query=made_for[1])

        assert is_refused(token, user_id=used_for[0], query=used_for[1])
        assert is_refused(token, user_id=used_for[0], query=made_for[1]) or (
            used_for[0] == made_for[0]
        )
        assert is_refused(token, user_id=made_for[0], query=used_for[1]) or (
            used_for[1] == made_for[1]
        )

    @pytest.mark.requirement("FR-020")
    @pytest.mark.parametrize(
        ("user_id", "query"),
        [("Alice", "-created_at"), ("alice", "created_at"), ("alice-", "created_at"), ("", "")],
    )
    def test_are_refused_for_a_user_or_query_that_looks_much_the_same(
        self, user_id: str, query: str
    ) -> None:
        assert is_refused(TOKEN, user_id=user_id, query=query)
        assert decode_cursor(TOKEN, user_id="alice", query="-created_at") == KEYS

    @pytest.mark.requirement("FR-020")
    def test_are_refused_with_any_character_changed(self) -> None:
        accepted = [
            (position, character)
            for position in range(len(TOKEN))
            for character in ALPHABET
            if character != TOKEN[position]
            and not is_refused(TOKEN[:position] + character + TOKEN[position + 1 :])
        ]

        assert accepted == []

    @pytest.mark.requirement("FR-020")
    def test_are_refused_with_any_character_missing(self) -> None:
        shorter = [TOKEN[:n] + TOKEN[n + 1 :] for n in range(len(TOKEN))]

        assert [token for token in shorter if not is_refused(token)] == []

    @pytest.mark.requirement("FR-020")
    @pytest.mark.parametrize("extra", [*"A= \n!.+/\0\xe9", "==", "===="], ids=ascii)
    def test_are_refused_with_any_character_more(self, extra: str) -> None:
        longer = [TOKEN[:n] + extra + TOKEN[n:] for n in (0, 1, 12, len(TOKEN))]

        assert [token for token in longer if not is_refused(token)] == []

    @pytest.mark.requirement("FR-020")
    @given(token=st.text())
    def test_are_never_mistaken_for_any_other_text(self, token: str) -> None:
        assert is_refused(token)


def test_the_examples_of_the_document_are_valid() -> None:
    default, shown = TaskListQuery(), examples.EXAMPLES["TaskPage"]["items"][-1]
    keys = decode_cursor(examples.CURSOR, user_id="alice", query=default.identity)
    assert keys == [shown["created_at"], shown["id"]]
    last = examples.EXAMPLES["TaskChanges"]["deleted"][0]["version"]
    assert read_token(examples.SINCE, "alice") == Token(examples.TASK["version"], last)
