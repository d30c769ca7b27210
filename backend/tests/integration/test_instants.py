"""Instants on the wire: every form in which they are accepted, the one in which they are given."""

from datetime import UTC
from typing import Final
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from tests.builders import REPLACEMENT, After, create, follow_links, path_of, rows_of, tasks_of
from tests.processes import serving

pytestmark = pytest.mark.anyio

FORMS: Final = {
    "2026-03-01T09:30:00Z": "2026-03-01T09:30:00.000000Z",
    "2026-03-01t09:30:00z": "2026-03-01T09:30:00.000000Z",
    "2026-03-01T09:30Z": "2026-03-01T09:30:00.000000Z",
    "2026-03-01T09:30:00+02:00": "2026-03-01T07:30:00.000000Z",
    "2026-03-01T09:30:00+0200": "2026-03-01T07:30:00.000000Z",
    "2026-03-01T09:30:00+02": "2026-03-01T07:30:00.000000Z",
    "2026-03-01T09:30+02:00": "2026-03-01T07:30:00.000000Z",
    "2026-03-01T09:30+0200": "2026-03-01T07:30:00.000000Z",
    "2026-03-01T09:30+02": "2026-03-01T07:30:00.000000Z",
    "2026-03-01T09:30:00-03:30": "2026-03-01T13:00:00.000000Z",
    "2026-03-01T23:30:00.5-0330": "2026-03-02T03:00:00.500000Z",
    "2026-03-01T00:30:00+00:00": "2026-03-01T00:30:00.000000Z",
    "2026-03-01T00:30:00-00:00": "2026-03-01T00:30:00.000000Z",
    **{
        f"2026-03-01T09:30:00.{digits}{offset}": f"2026-03-01T{hour}:30:00.{kept}Z"
        for offset, hour in (("Z", "09"), ("+02:00", "07"), ("+0200", "07"), ("+02", "07"))
        for digits, kept in (
            ("1", "100000"),
            ("12", "120000"),
            ("123", "123000"),
            ("1234", "123400"),
            ("12345", "123450"),
            ("123456", "123456"),
            ("1234567", "123456"),
            ("12345678", "123456"),
            ("999999999", "999999"),
            ("000000999", "000000"),
        )
    },
}
"""From an instant as it may be sent to the same as it comes back."""

ENDS: Final = ("1900-01-01T00:00:00.000000Z", "2999-12-31T23:59:59.999999Z")
"""The first and the last instant that there can be."""


class TestAnInstant:
    @pytest.mark.requirement("FR-072", "FR-008")
    @pytest.mark.parametrize(("sent", "given"), FORMS.items())
    async def test_that_is_sent_in_a_common_form_comes_back_in_the_fixed_one(
        self, client: httpx.AsyncClient, user: str, sent: str, given: str
    ) -> None:
        body = {**REPLACEMENT, "due_date": None, "due_at": sent}

        created = await client.post(tasks_of(user), json=body)

        task = created.json()
        assert created.status_code == 201
        assert task == {
            "id": task["id"],
            "user_id": user,
            **body,
            "due_at": given,
            "completed_at": None,
            "position": f"{task['version']:016}",
            "version": After(0),
            "created_at": task["created_at"],
            "updated_at": task["created_at"],
        }
        assert (await client.get(path_of(task))).json() == task
        answers = [
            await client.put(path_of(task), json=body),
            await client.patch(path_of(task), json={"due_at": sent}),
        ]
        assert [(answer.status_code, answer.json()["due_at"]) for answer in answers] == [
            (200, given)
        ] * 2

    @pytest.mark.requirement("FR-072", "FR-047")
    @pytest.mark.parametrize(("sent", "given"), FORMS.items())
    async def test_in_a_query_may_have_the_same_forms(
        self, client: httpx.AsyncClient, user: str, sent: str, given: str
    ) -> None:
        task = await create(client, user, due_at=given)

        before = await client.get(tasks_of(user), params={"due_before": sent})
        after = await client.get(tasks_of(user), params={"due_after": sent})

        assert before.json() == {"items": [], "next_cursor": None, "total": None}
        assert after.json() == {"items": [task], "next_cursor": None, "total": None}


def set_default(database_url: str, setting: str, value: str) -> None:
    """Set what new connections to this database get."""
    names = [Identifier(urlsplit(database_url).path[1:]), Identifier(setting)]
    statement = SQL("ALTER DATABASE {} SET {} = {}").format(*names, Literal(value))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(statement)


async def read_everything(database_url: str, user: str) -> list[tuple[dict[str, str], str]]:
    """Read the user's tasks in many ways; give the headers and the text of each answer."""
    async with serving(database_url) as (_, client):
        client.headers["X-Request-ID"] = "the-same"
        pages = [
            page
            for sort in ("created_at", "-updated_at", "due", "-due,title")
            for page in await follow_links(
                client, user, sort=sort, limit="1", tz="America/New_York", include_total="true"
            )
        ]
        tasks = [task for page in pages for task in page.json()["items"]]
        answers = [
            *pages,
            *[await client.get(path_of(task)) for task in tasks],
            await client.get(tasks_of(user), params={"due": "overdue"}),
            await client.get(f"{tasks_of(user)}/summary"),
            await client.delete(path_of(tasks[0]), headers={"If-Match": '"0"'}),
        ]
    return [(dict(answer.headers), answer.text) for answer in answers]


class TestTheSettingsOfTheDatabase:
    @pytest.mark.requirement("FR-008", "FR-019")
    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("TimeZone", "Asia/Kathmandu"),
            ("TimeZone", "America/St_Johns"),
            ("DateStyle", "ISO, DMY"),
            ("DateStyle", "SQL, DMY"),
            ("DateStyle", "German"),
        ],
    )
    async def test_change_no_answer(
        self, database_url: str, user: str, setting: str, value: str
    ) -> None:
        set_default(database_url, "TimeZone", "UTC")
        async with serving(database_url) as (_, client):
            for due_at in (*ENDS, "2026-03-01T23:30:00Z", "2026-03-01T23:30:00.5Z", None):
                await create(client, user, due_at=due_at)
            await create(client, user, due_date="2026-03-01", is_completed=True)
        in_utc = await read_everything(database_url, user)

        set_default(database_url, setting, value)

        assert await read_everything(database_url, user) == in_utc

    @pytest.mark.requirement("FR-008")
    async def test_change_no_instant_that_is_written(self, database_url: str, user: str) -> None:
        set_default(database_url, "TimeZone", "Asia/Kathmandu")
        async with serving(database_url) as (_, client):
            tasks = [
                await create(client, user, is_completed=True, due_at=due_at)
                for due_at in (*ENDS, "2026-03-01T09:30:00.000000Z")
            ]

        assert [task["due_at"] for task in tasks] == [*ENDS, "2026-03-01T09:30:00.000000Z"]
        for task, row in zip(tasks, rows_of(database_url, user)["tasks"], strict=True):
            for name in ("completed_at", "due_at", "created_at", "updated_at"):
                in_utc = row[name].astimezone(UTC)
                assert task[name] == f"{in_utc:%Y-%m-%dT%H:%M:%S.%f}Z"
