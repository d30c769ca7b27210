"""The bodies of the wire: which values they take, and how they tell about the others."""

import sys
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from src.models.limits import WHITE_SPACE
from src.schemas.fields import Title
from src.schemas.task import TaskCompletion, TaskCreate, TaskReplace, TaskUpdate

MILK: Final = "\U0001f95b"  # outside the basic plane: one code point, two UTF-16 units
REPLACEMENT: Final[dict[str, Any]] = {
    "title": "Buy milk",
    "description": None,
    "is_completed": False,
    "priority": "none",
    "due_date": None,
    "due_at": None,
    "tags": [],
}
READ_ONLY: Final = ("id", "user_id", "completed_at", "version", "created_at", "updated_at")


def broken(model: type[BaseModel], body: object) -> list[tuple[str, str]]:
    """Validate a body; give the place and the code of each broken rule."""
    try:
        model.model_validate(body)
    except ValidationError as error:
        return [
            (
                "/".join(map(str, found["loc"])),
                found["ctx"]["code"] if found["type"] == "broken_rule" else found["type"],
            )
            for found in error.errors()
        ]
    return []


def broken_in(field: str, value: object) -> list[tuple[str, str]]:
    """Tell what is wrong with one field; the others are right."""
    rules = broken(TaskUpdate, {field: value})
    assert broken(TaskCreate, {"title": "x", field: value}) == rules
    assert broken(TaskReplace, {**REPLACEMENT, field: value}) == rules
    return rules


class TestTitle:
    @pytest.mark.requirement("FR-009")
    @pytest.mark.parametrize(
        "title", ["x", "x" * 255, MILK * 255, " " * 999 + "x" * 255 + "\n", "\x01", "\U0010ffff"]
    )
    def test_has_1_to_255_code_points_after_trimming(self, title: str) -> None:
        assert broken_in("title", title) == []

    @pytest.mark.requirement("FR-009")
    @pytest.mark.parametrize("title", ["", " ", WHITE_SPACE])
    def test_is_not_empty_after_trimming(self, title: str) -> None:
        assert broken_in("title", title) == [("title", "string_too_short")]

    @pytest.mark.requirement("FR-009")
    @pytest.mark.parametrize("title", ["x" * 256, MILK * 256])
    def test_is_not_longer(self, title: str) -> None:
        assert broken_in("title", title) == [("title", "string_too_long")]

    @pytest.mark.requirement("FR-009")
    @pytest.mark.parametrize("title", ["\0", "a\0b", "\0a", "a\0"])
    def test_has_no_nul(self, title: str) -> None:
        assert broken_in("title", title) == [("title", "nul_character")]

    @pytest.mark.requirement("FR-009")
    def test_has_no_lone_surrogate(self) -> None:
        assert broken_in("title", "a\ud800") == [("title", "string_unicode")]

    @pytest.mark.requirement("FR-009")
    def test_loses_white_space_at_its_edges_and_nothing_else(self) -> None:
        """Of all code points, those that the tables' CHECKs trim."""
        surrogates = range(0xD800, 0xE000)
        characters = [chr(n) for n in range(1, sys.maxunicode + 1) if n not in surrogates]

        titles = TypeAdapter(list[Title]).validate_python([f"{c}x{c}" for c in characters])

        kept = {f"{c}x{c}" for c in characters if c not in WHITE_SPACE}
        assert {title for title in titles if title != "x"} == kept
        assert titles.count("x") == len(WHITE_SPACE)

    @pytest.mark.requirement("FR-009")
    def test_keeps_white_space_inside(self) -> None:
        task = TaskCreate(title=f" a{WHITE_SPACE}b ")

        assert task.title == f"a{WHITE_SPACE}b"


class TestDescription:
    @pytest.mark.requirement("FR-009")
    @pytest.mark.parametrize("text", [None, "", " ", WHITE_SPACE, "x" * 2000, MILK * 2000])
    def test_has_2000_code_points_at_most_and_stays_as_it_is(self, text: str | None) -> None:
        assert broken_in("description", text) == []
        assert TaskCreate(title="x", description=text).description == text

    @pytest.mark.requirement("FR-009")
    @pytest.mark.parametrize(
        ("text", "rule"),
        [
            ("x" * 2001, "string_too_long"),
            (MILK * 2001, "string_too_long"),
            (" " * 2001, "string_too_long"),
            ("a\0", "nul_character"),
            ("\udc00", "string_unicode"),
        ],
        ids=lambda value: ascii(value[:9]),
    )
    def test_is_text(self, text: str, rule: str) -> None:
        assert broken_in("description", text) == [("description", rule)]


class TestTypes:
    @pytest.mark.requirement("FR-010")
    @pytest.mark.parametrize("value", [5, 1.5, True, ["x"], {"x": 1}])
    @pytest.mark.parametrize("field", ["title", "description"])
    def test_nothing_else_becomes_a_string(self, field: str, value: object) -> None:
        assert broken_in(field, value) == [(field, "string_type")]

    @pytest.mark.requirement("FR-010")
    @pytest.mark.parametrize("value", [0, 1, 1.0, "true", "false", "1", "on", "", None, [], {}])
    def test_nothing_else_becomes_a_boolean(self, value: object) -> None:
        assert broken_in("is_completed", value) == [("is_completed", "bool_type")]
        assert broken(TaskCompletion, {"is_completed": value}) == [("is_completed", "bool_type")]

    @pytest.mark.requirement("FR-010", "FR-012")
    @pytest.mark.parametrize("value", ["", "urgent", "High", " high", 3, True, None, ["high"], {}])
    def test_nothing_else_becomes_a_priority(self, value: object) -> None:
        assert broken_in("priority", value) == [("priority", "literal_error")]

    @pytest.mark.requirement("FR-010", "FR-012")
    @pytest.mark.parametrize("value", ["home", {"0": "home"}, 5, True, None])
    def test_nothing_else_becomes_an_array(self, value: object) -> None:
        assert broken_in("tags", value) == [("tags", "list_type")]

    @pytest.mark.requirement("FR-012")
    @pytest.mark.parametrize("priority", ["none", "low", "medium", "high"])
    def test_a_priority_is_one_of_four(self, priority: str) -> None:
        assert broken_in("priority", priority) == []


class TestTags:
    @pytest.mark.requirement("FR-012")
    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            ([], []),
            (["home"], ["home"]),
            ([" home\u3000", "home", "Home", "\thome"], ["home", "Home"]),
            (["b", "a", "b", "c", "a"], ["b", "a", "c"]),
            (["e\u0301", "\xe9"], ["e\u0301", "\xe9"]),
            ([" " * 99 + MILK * 50], [MILK * 50]),
            ([f"tag {n}" for n in range(20)], [f"tag {n}" for n in range(20)]),
        ],
        ids=ascii,
    )
    def test_are_trimmed_lose_their_duplicates_and_keep_their_order(
        self, sent: list[str], kept: list[str]
    ) -> None:
        assert broken_in("tags", sent) == []
        assert TaskCreate(title="x", tags=sent).tags == kept

    @pytest.mark.requirement("FR-012")
    def test_are_twenty_at_most(self) -> None:
        assert broken_in("tags", [f"tag {n}" for n in range(21)]) == [("tags", "too_long")]
        assert broken_in("tags", ["the same"] * 21) == [("tags", "too_long")]

    @pytest.mark.requirement("FR-009", "FR-010", "FR-012")
    @pytest.mark.parametrize(
        ("tag", "rule"),
        [
            ("", "string_too_short"),
            (WHITE_SPACE, "string_too_short"),
            ("x" * 51, "string_too_long"),
            (MILK * 51, "string_too_long"),
            ("a\0b", "nul_character"),
            ("\ud800", "string_unicode"),
            (5, "string_type"),
            (None, "string_type"),
            (["x"], "string_type"),
        ],
        ids=ascii,
    )
    def test_are_strings_of_1_to_50_code_points(self, tag: object, rule: str) -> None:
        assert broken_in("tags", ["fine", tag]) == [("tags/1", rule)]


class TestDueDate:
    @pytest.mark.requirement("FR-012")
    @pytest.mark.parametrize("day", ["1900-01-01", "2999-12-31", "2024-02-29", "2026-12-24"])
    def test_is_a_day_of_the_calendar(self, day: str) -> None:
        assert broken_in("due_date", day) == []
        assert TaskUpdate.model_validate({"due_date": day}).due_date == date.fromisoformat(day)

    @pytest.mark.requirement("FR-010", "FR-012")
    @pytest.mark.parametrize(
        "value",
        [
            "1899-12-31",
            "3000-01-01",
            "0000-01-01",
            "2026-02-29",
            "2026-04-31",
            "2026-13-01",
            "2026-00-10",
            "2026-1-1",
            "20260301",
            "2026-W09-7",
            "2026-060",
            "2026-03-01T00:00:00Z",
            "2026-03-01 ",
            "2026-03-01\n",
            "+2026-03-01",
            "02026-03-01",
            "\u0662\u0660\u0662\u0666-03-01",
            "today",
            "1772323200",
            "",
            1772323200,
            1.5,
            True,
            [],
            {},
        ],
        ids=ascii,
    )
    def test_is_written_in_one_way(self, value: object) -> None:
        assert broken_in("due_date", value) == [("due_date", "invalid_date")]


class TestDueAt:
    @pytest.mark.requirement("FR-012")
    @pytest.mark.parametrize(
        ("written", "instant"),
        [
            ("2026-03-01T09:30:00Z", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
            ("2026-03-01t09:30:00z", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
            ("2026-03-01T09:30:00+05:45", datetime(2026, 3, 1, 3, 45, tzinfo=UTC)),
            ("2026-03-01T09:30:00-00:00", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
            ("2026-03-01T09:30:00+23:59", datetime(2026, 2, 28, 9, 31, tzinfo=UTC)),
            ("2026-03-01T09:30:00.5Z", datetime(2026, 3, 1, 9, 30, 0, 500000, tzinfo=UTC)),
            ("2026-03-01T09:30:00.000001Z", datetime(2026, 3, 1, 9, 30, 0, 1, tzinfo=UTC)),
            ("1900-01-01T00:00:00Z", datetime(1900, 1, 1, tzinfo=UTC)),
            ("1899-12-31T23:30:00-01:00", datetime(1900, 1, 1, 0, 30, tzinfo=UTC)),
            (
                "2999-12-31T23:59:59.999999Z",
                datetime(2999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            ),
            ("3000-01-01T00:30:00+01:00", datetime(2999, 12, 31, 23, 30, tzinfo=UTC)),
            (
                "2999-12-31T23:59:59.999999999Z",
                datetime(2999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            ),
        ],
    )
    def test_is_an_instant_in_utc(self, written: str, instant: datetime) -> None:
        assert broken_in("due_at", written) == []
        due_at = TaskUpdate.model_validate({"due_at": written}).due_at
        assert (due_at, due_at and due_at.tzinfo) == (instant, UTC)

    @pytest.mark.requirement("FR-012")
    @pytest.mark.parametrize(
        ("offset", "minutes"),
        [
            ("Z", 0),
            ("z", 0),
            ("+00:00", 0),
            ("-0000", 0),
            ("+02:00", 120),
            ("+0200", 120),
            ("+02", 120),
            ("-02:30", -150),
            ("-0230", -150),
            ("-02", -120),
            ("+2359", 1439),
        ],
    )
    @pytest.mark.parametrize(
        ("seconds", "microseconds"),
        [
            ("", 0),
            (":00", 0),
            (":00.1", 100_000),
            (":00.12", 120_000),
            (":00.123", 123_000),
            (":00.1234", 123_400),
            (":00.12345", 123_450),
            (":00.123456", 123_456),
            (":00.1234567", 123_456),
            (":00.12345678", 123_456),
            (":00.123456789", 123_456),
            (":00.000000999", 0),
            (":00.999999999", 999_999),
        ],
    )
    def test_may_have_every_form_that_common_clients_send(
        self, seconds: str, microseconds: int, offset: str, minutes: int
    ) -> None:
        """What is finer than a microsecond is cut off, never rounded."""
        written = f"2026-03-01T09:30{seconds}{offset}"
        zone = timezone(timedelta(minutes=minutes))
        instant = datetime(2026, 3, 1, 9, 30, 0, microseconds, tzinfo=zone)

        assert broken_in("due_at", written) == []
        assert TaskUpdate.model_validate({"due_at": written}).due_at == instant

    @pytest.mark.requirement("FR-012")
    @given(
        moment=st.datetimes(datetime(1900, 1, 2), datetime(2999, 12, 30)),  # noqa: DTZ001 — gets its offset below
        minutes=st.integers(-1439, 1439),
    )
    def test_may_have_any_offset(self, moment: datetime, minutes: int) -> None:
        instant = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))

        assert TaskUpdate.model_validate({"due_at": instant.isoformat()}).due_at == instant

    @pytest.mark.requirement("FR-010", "FR-012")
    @pytest.mark.parametrize(
        "value",
        [
            "2026-03-01T09:30:00",
            "2026-03-01",
            "2026-03-01 09:30:00Z",
            "2026-03-01T09Z",
            "20260301T093000Z",
            "2026-03-01T0930Z",
            "2026-03-01T9:30Z",
            "2026-03-01T09:3Z",
            "2026-03-01T09:30:Z",
            "2026-03-01T09:30:0Z",
            "2026-03-01T09:30",
            "2026-03-01T09:30:00.5",
            "2026-03-01T09:30:00+",
            "2026-03-01T09:30:00+1",
            "2026-03-01T09:30:00+1:00",
            "2026-03-01T09:30:00+01:0",
            "2026-03-01T09:30:00+01:",
            "2026-03-01T09:30:00+01000",
            "2026-03-01T09:30:00Z+01",
            "2026-03-01T09:30:00 +01:00",
            "2026-03-01T09:30:00UTC",
            "2026-03-01T09:30:00Z[UTC]",
            "2026-03-01T09:30:00+010",
            "2026-03-01T09:30:00+24",
            "2026-03-01T09:30:00+24:00",
            "2026-03-01T09:30:00+0160",
            "2026-03-01T09:30.5Z",
            "2026-03-01T09:30:00.1234567890Z",
            "2026-03-01T09:30:00+01:60",
            "2026-03-01T09:30:00+01:99",
            "2026-03-01T09:30:00+01:00:00",
            "2026-03-01T09:30:00\u221201:00",
            "2026-03-01T09:30:00 Z",
            "2026-03-01T09:30:00Z\n",
            "2026-03-01T09:30:00.Z",
            "2026-03-01T09:30:00,5Z",
            "2026-03-01T09:30:60Z",
            "2016-12-31T23:59:60Z",
            "2026-03-01T24:00:00Z",
            "2026-03-01T09:60:00Z",
            "2026-02-29T09:30:00Z",
            "2026-W09-7T09:30:00Z",
            "\u0662\u0660\u0662\u0666-03-01T09:30:00Z",
            "1899-12-31T23:59:59.999999Z",
            "1900-01-01T00:30:00+01:00",
            "3000-01-01T00:00:00Z",
            "2999-12-31T23:30:00-01:00",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "1772357400",
            "now",
            "",
            1772357400,
            1772357400.5,
            True,
            [],
            {},
        ],
        ids=ascii,
    )
    def test_is_refused_in_any_other_form(self, value: object) -> None:
        assert broken_in("due_at", value) == [("due_at", "invalid_instant")]


class TestDueFields:
    DAY: Final = "2026-12-24"
    INSTANT: Final = "2026-12-24T18:00:00Z"

    @pytest.mark.requirement("FR-012")
    @pytest.mark.parametrize(
        ("model", "body"),
        [(TaskCreate, {"title": "x"}), (TaskReplace, REPLACEMENT), (TaskUpdate, {})],
    )
    def test_exclude_each_other(self, model: type[BaseModel], body: dict[str, Any]) -> None:
        both = {"due_date": self.DAY, "due_at": self.INSTANT}

        assert broken(model, body | both) == [("due_at", "two_due_fields")]
        assert broken(model, body | both | {"due_date": None}) == []
        assert broken(model, body | both | {"due_at": None}) == []
        assert broken(model, body | dict.fromkeys(both)) == []


class TestBodies:
    @pytest.mark.requirement("FR-001")
    def test_a_new_task_needs_a_title_only(self) -> None:
        assert TaskCreate(title="x").model_dump() == {
            **REPLACEMENT,
            "title": "x",
            "position": None,
        }
        assert broken(TaskCreate, {}) == [("title", "missing")]

    @pytest.mark.requirement("FR-004")
    @pytest.mark.parametrize("field", REPLACEMENT)
    def test_a_replacement_needs_every_field(self, field: str) -> None:
        body = {name: value for name, value in REPLACEMENT.items() if name != field}

        assert broken(TaskReplace, body) == [(field, "missing")]

    @pytest.mark.requirement("FR-005")
    def test_a_patch_knows_what_was_sent(self) -> None:
        patch = TaskUpdate.model_validate({"description": None, "title": " x "})

        assert broken(TaskUpdate, {}) == []
        assert patch.model_dump(exclude_unset=True) == {"description": None, "title": "x"}

    @pytest.mark.requirement("FR-005")
    @pytest.mark.parametrize("field", ["title", "is_completed", "priority", "tags"])
    def test_a_patch_clears_only_what_can_be_null(self, field: str) -> None:
        assert [place for place, _ in broken(TaskUpdate, {field: None})] == [field]

    @pytest.mark.requirement("FR-011")
    @pytest.mark.parametrize("field", READ_ONLY)
    @pytest.mark.parametrize("value", [None, "x", 5, {}], ids=str)
    def test_read_only_fields_are_ignored_where_a_task_is_sent_back(
        self, field: str, value: object
    ) -> None:
        replacement = TaskReplace.model_validate({**REPLACEMENT, field: value})
        patch = TaskUpdate.model_validate({field: value})

        assert replacement.model_dump() == {**REPLACEMENT, "position": None}
        assert patch.model_dump(exclude_unset=True) == {}
        assert broken(TaskCreate, {"title": "x", field: value}) == [(field, "extra_forbidden")]

    @pytest.mark.requirement("FR-011")
    @pytest.mark.parametrize("name", ["colour", "Title", "title ", "", "_id", "__proto__"])
    def test_any_other_field_is_unknown(self, name: str) -> None:
        unknown = [(name, "extra_forbidden")]

        assert broken(TaskCreate, {"title": "x", name: 1}) == unknown
        assert broken(TaskReplace, {**REPLACEMENT, name: 1}) == unknown
        assert broken(TaskUpdate, {name: 1}) == unknown
        assert broken(TaskCompletion, {"is_completed": True, name: 1}) == unknown
