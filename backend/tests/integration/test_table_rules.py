"""The tables refuse every row that breaks a rule, and the API reads every row that they take."""

from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Placeholder

from src.models.limits import WHITE_SPACE
from tests.builders import path_of, tasks_of

pytestmark = pytest.mark.anyio

TASK_ID: Final = UUID("01981f6e-3c00-7a3b-8a00-000000000001")
TIME: Final = "2026-03-01T09:30:00Z"
ROWS: Final[dict[str, dict[str, Any]]] = {
    "task_lists": {"version": 1, "first_version": 1},
    "tasks": {
        "id": TASK_ID,
        "title": "Buy milk",
        "is_completed": False,
        "priority": "none",
        "tags": [],
        "position": "0000000000000001",
        "version": 1,
        "created_at": TIME,
        "updated_at": TIME,
    },
    "task_tombstones": {"id": TASK_ID, "version": 1, "deleted_at": TIME},
}
"""For each table a row that keeps all rules, but for its user."""

BAD_USER_IDS: Final = ("", ".a", "@a", "a b", "a/b", "a\n", "\na", "é", "a%", "x" * 129)
BAD_INSTANTS: Final = (
    "1899-12-31 23:59:59.999999Z",
    "3000-01-01 00:00:00Z",
    "4713-01-01 00:00:00Z BC",
    "infinity",
    "-infinity",
)
BAD_DAYS: Final = ("1899-12-31", "3000-01-01", "0044-03-15 BC", "infinity", "-infinity")
MILK: Final = "\U0001f95b"  # outside the basic plane: one code point, two UTF-16 units

VIOLATIONS: Final[dict[str, list[dict[str, Any]]]] = {
    "task_lists_user_id_format": [{"user_id": user} for user in BAD_USER_IDS],
    "task_lists_version_positive": [{"version": 0}, {"version": -1}],
    "task_lists_first_version_range": [
        {"first_version": 0},
        {"first_version": -1},
        {"first_version": 2},
        {"version": 0},
        {"version": -1},
        {"version": 2**63 - 2, "first_version": 2**63 - 1},
    ],
    "tasks_user_id_format": [{"user_id": user} for user in BAD_USER_IDS],
    "tasks_title_length": [{"title": ""}, {"title": "x" * 256}],
    "tasks_title_trimmed": [
        {"title": title}
        for space in WHITE_SPACE
        for title in (space, f"{space}x", f"x{space}", f"x{space}{space}")
    ],
    "tasks_description_length": [{"description": "x" * 2001}],
    "tasks_completed_at_agrees": [{"is_completed": True}, {"completed_at": TIME}],
    "tasks_one_due": [{"due_date": "2026-03-01", "due_at": TIME}],
    "tasks_due_date_range": [{"due_date": day} for day in BAD_DAYS],
    "tasks_due_at_range": [{"due_at": instant} for instant in BAD_INSTANTS],
    "tasks_completed_at_range": [
        {"is_completed": True, "completed_at": instant} for instant in BAD_INSTANTS
    ],
    "tasks_created_at_range": [{"created_at": instant} for instant in BAD_INSTANTS],
    "tasks_updated_at_range": [{"updated_at": instant} for instant in BAD_INSTANTS],
    "tasks_tags_count": [
        {"tags": [f"tag {n}" for n in range(21)]},
        {"tags": ["home", None]},
        {"tags": [["home"], ["shopping"]]},
    ],
    "tasks_tags_trimmed": [
        {"tags": ["home", tag]}
        for tag in (
            "",
            "x" * 51,
            MILK * 51,
            "x\n" + "x" * 49,
            *WHITE_SPACE,
            *(f"{space}x" for space in WHITE_SPACE),
            *(f"x{space}" for space in WHITE_SPACE),
        )
    ],
    "tasks_request_hash_length": [{"request_hash": b"x" * 31}, {"request_hash": b"x" * 33}],
    "tasks_position_format": [
        {"position": position}
        for position in (
            *("", "1", "00000000000000001", "000000000000000x", "0000000000000001\n"),
            *("0000000000000001.", "0000000000000001.10", f"0000000000000001.{'1' * 41}"),
        )
    ],
    "tasks_version_positive": [{"version": 0}, {"version": -1}],
    "task_tombstones_user_id_format": [{"user_id": user} for user in BAD_USER_IDS],
    "task_tombstones_deleted_at_range": [{"deleted_at": instant} for instant in BAD_INSTANTS],
    "task_tombstones_version_positive": [{"version": 0}, {"version": -1}],
}
"""For each CHECK the values that it refuses in a row that keeps all rules otherwise."""

STRICTER: Final = {"task_lists_version_positive": "task_lists_first_version_range"}
"""For a CHECK one that refuses all that it refuses, and is always named in its place."""

NO_WHITE_SPACE: Final = "\u200b\ufeff\u180e\u2060\x1c\x1d\x1e\x1f\x08\x7f"
"""What looks like white space, or is white space to Python, but lacks Unicode's property."""

BOUNDARIES: Final[list[tuple[dict[str, Any], dict[str, Any]]]] = [
    ({"title": "x"}, {}),
    ({"title": MILK * 255}, {}),
    ({"title": f"x {WHITE_SPACE} x"}, {}),
    *(({"title": f"{look_alike}x{look_alike}"}, {}) for look_alike in NO_WHITE_SPACE),
    ({"description": ""}, {}),
    ({"description": MILK * 2000}, {}),
    ({"description": WHITE_SPACE}, {}),
    *(({"priority": priority}, {}) for priority in ("none", "low", "medium", "high")),
    ({"position": "0" * 16}, {}),
    ({"position": f"{'9' * 16}.{'9' * 40}"}, {}),
    ({"due_date": "1900-01-01"}, {}),
    ({"due_date": "2999-12-31"}, {}),
    *(
        ({field: written, "is_completed": field == "completed_at"}, {field: read})
        for field in ("due_at", "completed_at", "created_at", "updated_at")
        for written, read in (
            ("1900-01-01 00:00:00Z", "1900-01-01T00:00:00.000000Z"),
            ("1899-12-31 19:00:00-05:00", "1900-01-01T00:00:00.000000Z"),
            ("2999-12-31 23:59:59.999999Z", "2999-12-31T23:59:59.999999Z"),
        )
    ),
    ({"tags": [f"tag {n}" for n in range(20)]}, {}),
    ({"tags": ["x", "xx", MILK, MILK * 50, "x\n\n\nx", f"x{WHITE_SPACE}x"]}, {}),
    *(({"tags": [look_alike, f"{look_alike}x"]}, {}) for look_alike in NO_WHITE_SPACE),
    ({"tags": "[5:6]={home,shopping}"}, {"tags": ["home", "shopping"]}),
    ({"version": 2**63 - 1}, {}),
]
"""Values of a row that just keep the rules, and how the API writes those that it changes."""


def insert(connection: psycopg.Connection[Any], table: str, row: dict[str, Any]) -> None:
    connection.execute(
        SQL("INSERT INTO {} ({}) VALUES ({})").format(
            Identifier(table),
            SQL(", ").join(map(Identifier, row)),
            SQL(", ").join(map(Placeholder, row)),
        ),
        row,
    )


class TestTableRules:
    @pytest.mark.requirement("FR-032")
    @pytest.mark.parametrize("rule", VIOLATIONS)
    def test_a_row_that_breaks_a_rule_is_refused_by_its_name(
        self, shared_database_url: str, user: str, rule: str
    ) -> None:
        table = next(table for table in ROWS if rule.startswith(f"{table}_"))
        refusals = []
        with psycopg.connect(shared_database_url) as connection:
            if rule in STRICTER:  # without it, until the rollback
                drop = SQL("ALTER TABLE {} DROP CONSTRAINT {}")
                connection.execute(drop.format(Identifier(table), Identifier(STRICTER[rule])))
            for values in VIOLATIONS[rule]:
                with (
                    pytest.raises(psycopg.errors.CheckViolation) as refusal,
                    connection.transaction(),
                ):
                    insert(connection, table, {"user_id": user, **ROWS[table], **values})
                refusals.append((values, refusal.value.diag.constraint_name))
            connection.rollback()

        assert refusals == [(values, rule) for values in VIOLATIONS[rule]]

    @pytest.mark.requirement("FR-032")
    def test_every_rule_of_the_tables_is_tried(self, shared_database_url: str) -> None:
        with psycopg.connect(shared_database_url) as connection:
            rules = connection.execute(
                "SELECT conname FROM pg_constraint"
                " WHERE contype = 'c' AND conrelid::regclass::text = ANY (%s)",
                [list(ROWS)],
            ).fetchall()

        assert {name for (name,) in rules} == set(VIOLATIONS)

    @pytest.mark.requirement("FR-032")
    @pytest.mark.parametrize(
        ("table", "column"),
        [(table, column) for table, row in ROWS.items() for column in ("user_id", *row)],
    )
    def test_a_row_is_never_without_what_it_needs(
        self, shared_database_url: str, user: str, table: str, column: str
    ) -> None:
        with (
            psycopg.connect(shared_database_url) as connection,
            pytest.raises(psycopg.errors.NotNullViolation) as refusal,
        ):
            insert(connection, table, {"user_id": user, **ROWS[table], column: None})

        assert refusal.value.diag.column_name == column

    @pytest.mark.requirement("FR-012", "FR-032")
    def test_a_priority_is_one_of_four(self, shared_database_url: str, user: str) -> None:
        with (
            psycopg.connect(shared_database_url) as connection,
            pytest.raises(psycopg.errors.InvalidTextRepresentation),
        ):
            insert(connection, "tasks", {"user_id": user, **ROWS["tasks"], "priority": "urgent"})

    @pytest.mark.requirement("FR-032")
    @pytest.mark.parametrize("table", ROWS)
    @pytest.mark.parametrize("form", ["{}", "~{}", "_.~@|:+-{}", "X{}"])
    def test_a_user_id_of_the_documented_characters_is_taken(
        self, shared_database_url: str, table: str, form: str
    ) -> None:
        user = form.format(uuid4()).ljust(128, "x")

        with psycopg.connect(shared_database_url) as connection:
            insert(connection, table, {"user_id": user, **ROWS[table]})
            connection.rollback()

    @pytest.mark.requirement("FR-032")
    @pytest.mark.parametrize(("values", "rewritten"), BOUNDARIES, ids=ascii)
    async def test_a_row_that_just_keeps_a_rule_is_taken_and_read(
        self,
        client: httpx.AsyncClient,
        user: str,
        shared_database_url: str,
        values: dict[str, Any],
        rewritten: dict[str, Any],
    ) -> None:
        row = {"user_id": user, **ROWS["tasks"], **values}
        with psycopg.connect(shared_database_url) as connection:
            insert(connection, "tasks", row)
        expected = {
            "description": None,
            "completed_at": None,
            "due_date": None,
            "due_at": None,
            **row,
            "id": str(TASK_ID),
            "created_at": "2026-03-01T09:30:00.000000Z",
            "updated_at": "2026-03-01T09:30:00.000000Z",
            **rewritten,
        }

        task = await client.get(path_of(expected))
        tasks = await client.get(tasks_of(user))

        assert (task.status_code, task.json()) == (200, expected)
        assert tasks.json() == {"items": [expected], "next_cursor": None, "total": None}

    @pytest.mark.requirement("FR-019", "FR-032")
    async def test_a_list_leads_from_one_end_of_time_to_the_other(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        with psycopg.connect(shared_database_url) as connection:
            for created_at in ("1900-01-01 00:00:00Z", "2999-12-31 23:59:59.999999Z"):
                row = {"user_id": user, **ROWS["tasks"], "created_at": created_at, "id": uuid4()}
                insert(connection, "tasks", row)

        last = await client.get(tasks_of(user), params={"limit": 1})
        first = await client.get(last.links["next"]["url"])

        assert [task["created_at"] for task in (*last.json()["items"], *first.json()["items"])] == [
            "2999-12-31T23:59:59.999999Z",
            "1900-01-01T00:00:00.000000Z",
        ]
        assert first.json()["next_cursor"] is None
