"""The two halves of a list agree: the parameters of its query, and the parts of its statement."""

import re
from datetime import UTC, datetime
from typing import Final, get_args

import pytest
from pydantic import ValidationError

from src.schemas.query import SORT_FIELDS, TaskListQuery, sort_keys
from src.services import listing

NO_FILTERS: Final = {"limit", "cursor", "include_total", "sort", "tz"}
FIELDS: Final = TaskListQuery.model_fields

# Values that differ in the condition they need: one is enough, where nothing else is said here.
VALUES: Final[dict[str, list[str]]] = {
    **{name: [str(field.examples[0]).lower()] for name, field in FIELDS.items() if field.examples},
    # Without accents; with one, composed; and as a sign that both forms replace by another one.
    "q": ["milk", "caf\u00e9", "\u212b"],
    "due": list(get_args(FIELDS["due"].annotation)),
    "due_before": ["2026-03-01", "2026-03-01T09:30:00Z"],
    "due_after": ["2026-03-01", "2026-03-01T09:30:00Z"],
}


@pytest.mark.requirement("FR-047")
class TestFilters:
    """A filter is a field of the query and an entry, or several, of `_FILTERS`."""

    def test_are_every_field_of_the_query_that_is_no_option_of_the_list(self) -> None:
        assert {key.partition("=")[0] for key in listing._FILTERS} == set(FIELDS) - NO_FILTERS

    def test_that_are_not_set_are_not_part_of_what_a_cursor_is_bound_to(self) -> None:
        """A filter that is added later leaves the cursors that clients have as they are."""
        query = TaskListQuery.model_validate({"q": "milk"})

        assert query.identity == '{"tz":"UTC","sort":"-created_at","q":"milk"}'

    def test_with_several_values_have_the_same_cursors_in_any_order(self) -> None:
        one, other = (
            TaskListQuery.model_validate({"tag": [tags], "priority": [priorities]}).identity
            for tags, priorities in (("a,b", "high,low"), ("b,a", "low,high"))
        )

        assert one == other

    @pytest.mark.parametrize("name", sorted(set(FIELDS) - NO_FILTERS))
    def test_have_one_condition_for_every_value_of_their_field(self, name: str) -> None:
        chosen = [
            key
            for value in VALUES[name]
            for key in listing._filters_of(TaskListQuery.model_validate({name: value}))[0]
        ]

        assert chosen == [key for key in listing._FILTERS if key.partition("=")[0] == name]

    def test_are_none_where_the_query_has_none(self) -> None:
        options = TaskListQuery.model_validate(
            {"limit": "1", "include_total": "true", "sort": "due", "tz": "Europe/Berlin"}
        )

        assert listing._filters_of(options) == (frozenset(), {})


class TestSorts:
    @pytest.mark.requirement("FR-049")
    def test_are_those_that_the_query_knows(self) -> None:
        assert list(listing._SORTS) == list(SORT_FIELDS)

    @pytest.mark.requirement("FR-049")
    def test_compare_titles_by_code_point_in_every_part_of_the_statement(self) -> None:
        """The embedded PostgreSQL has no other order of text: no test of results would notice."""
        pages = [
            listing._list_tasks(
                sort_keys("title,-due"),
                frozenset(),
                is_first=is_first,
                include_total=False,
                is_conditional=False,
            )
            for is_first in (True, False)
        ]

        compared = [
            re.findall(r"\.title\b( COLLATE \"C\")?", sql[sql.index("WHERE tasks.user_id") :])
            for sql in map(str, pages)
        ]

        assert [set(collations) for collations in compared] == [{' COLLATE "C"'}] * 2


class TestStatements:
    @pytest.mark.requirement("FR-021")
    @pytest.mark.parametrize(
        ("seen", "is_compared"), [(frozenset(), False), (frozenset({7}), True)]
    )
    def test_compare_the_version_only_if_the_client_has_one(
        self, seen: frozenset[int], *, is_compared: bool
    ) -> None:
        statement, _ = listing.list_tasks(
            "alice", TaskListQuery(), now=datetime.now(UTC), seen=seen
        )

        assert ("!= ALL" in str(statement)) is is_compared

    @pytest.mark.requirement("FR-064")
    def test_are_kept_in_a_bounded_number(self) -> None:
        kept = listing._list_tasks.cache_parameters()["maxsize"]

        assert kept is not None
        assert kept <= 1000


@pytest.mark.requirement("FR-049")
def test_what_clients_send_is_kept_only_if_it_is_a_sort() -> None:
    """Others can be as long as a URL: to keep them would fill the memory."""
    sort_keys.cache_clear()

    with pytest.raises(ValidationError):
        TaskListQuery.model_validate({"sort": "nothing," * 1000})
    assert sort_keys.cache_info().currsize == 0

    assert TaskListQuery.model_validate({"sort": "title"}).sort_keys == (("title", False),)
    assert sort_keys.cache_info().currsize == 1
