"""What an idempotency key makes of a request."""

from typing import Any
from uuid import RFC_4122

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.models.limits import IDEMPOTENCY_KEY_PATTERN, REQUEST_HASH_LENGTH, USER_ID_PATTERN
from src.schemas.task import TaskCreate
from src.services.idempotency import fingerprint_of, task_id_of

users = st.from_regex(USER_ID_PATTERN, fullmatch=True)
keys = st.from_regex(IDEMPOTENCY_KEY_PATTERN, fullmatch=True)


def fingerprint(**fields: Any) -> bytes:
    return fingerprint_of(TaskCreate.model_validate({"title": "Buy milk", **fields}))


class TestTheIdOfAKey:
    @pytest.mark.requirement("FR-052")
    def test_is_the_same_for_ever(self) -> None:
        """It is stored: another one would make every repeated request a second task."""
        assert str(task_id_of("alice", "6f1c2f8e")) == "6fc95299-1667-5dfe-9f29-6ecaab29b0b2"

    @pytest.mark.requirement("FR-052")
    @given(users, keys)
    def test_is_a_uuid_of_version_5(self, user: str, key: str) -> None:
        task_id = task_id_of(user, key)

        assert (task_id.version, task_id.variant) == (5, RFC_4122)
        assert task_id == task_id_of(user, key)

    @pytest.mark.requirement("FR-052", "FR-013")
    @given(st.tuples(users, keys), st.tuples(users, keys))
    def test_is_another_for_another_user_or_key(
        self, one: tuple[str, str], other: tuple[str, str]
    ) -> None:
        assert (task_id_of(*one) == task_id_of(*other)) == (one == other)

    @pytest.mark.requirement("FR-052", "FR-013")
    def test_does_not_depend_on_where_the_user_ends_and_the_key_begins(self) -> None:
        assert task_id_of("ab", "c") != task_id_of("a", "bc")


class TestTheFingerprint:
    @pytest.mark.requirement("FR-053")
    def test_is_the_same_for_ever(self) -> None:
        """It is stored: another one would refuse every request that is sent again."""
        everything = fingerprint(
            description="Zwei Liter, Öl",
            is_completed=True,
            priority="high",
            due_at="2026-12-24T18:00:00.5+01:00",
            tags=["b", "a"],
        )
        assert (
            everything.hex() == "b5ecaad1a6a3daf74509afdebf3b7f8b0e2b7b31e0217cdd9129ee152bf47e6e"
        )
        assert (
            fingerprint(due_date="2026-12-24").hex()
            == "c69b9dedfad656f7dcbe63d52cb8eb0d5136f8c0d7307f4e5c29dbcdb207ec09"
        )
        assert len(everything) == REQUEST_HASH_LENGTH

    @pytest.mark.requirement("FR-053")
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({}, {"title": "  Buy milk\n"}),
            ({}, {"description": None, "is_completed": False, "priority": "none"}),
            ({}, {"due_date": None, "due_at": None, "tags": []}),
            ({"tags": ["a", "b"]}, {"tags": [" a", "b", "a"]}),
            ({"due_at": "2026-12-24T18:00:00Z"}, {"due_at": "2026-12-24t19:00:00.000+01:00"}),
            ({"due_at": "2026-12-24T18:00Z"}, {"due_at": "2026-12-24T19:00:00.000000999+01"}),
        ],
        ids=str,
    )
    def test_is_the_same_if_the_requests_mean_the_same(
        self, one: dict[str, Any], other: dict[str, Any]
    ) -> None:
        assert fingerprint(**one) == fingerprint(**other)

    @pytest.mark.requirement("FR-053")
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({}, {"title": "buy milk"}),
            ({}, {"description": ""}),
            ({}, {"is_completed": True}),
            ({}, {"priority": "low"}),
            ({}, {"due_date": "2026-12-24"}),
            ({"due_date": "2026-12-24"}, {"due_at": "2026-12-24T00:00:00Z"}),
            ({"due_at": "2026-12-24T18:00:00Z"}, {"due_at": "2026-12-24T18:00:00.000001Z"}),
            ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}),
            ({"tags": ["a", "b"]}, {"tags": ["a,b"]}),
            ({"title": "\u00e9"}, {"title": "e\u0301"}),
        ],
        ids=ascii,
    )
    def test_is_another_if_they_do_not(self, one: dict[str, Any], other: dict[str, Any]) -> None:
        assert fingerprint(**one) != fingerprint(**other)
