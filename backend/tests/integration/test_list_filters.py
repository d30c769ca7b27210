"""GET /tasks by its filters and sorts, and the summary: what they find, refuse and are tagged."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.exc import DataError
from sqlmodel.ext.asyncio.session import AsyncSession

from src.api.problems import Kind
from src.exceptions import UnknownTimeZone
from src.schemas.query import TaskListQuery
from src.services import todo_service
from src.services.cursors import encode_cursor
from tests import model
from tests.builders import (
    CURSOR_MISMATCH,
    create,
    follow_links,
    list_tag_of,
    path_of,
    problem,
    tasks_of,
)

pytestmark = pytest.mark.anyio

SORTS: Final = ["created_at", "updated_at", "due", "priority", "title"]
ID: Final = "01981f6e-3c00-7a3b-8a00-000000000001"
AT: Final = "2026-03-01T00:00:00.000000Z"
WRONG: Final = {"tz": "X", "sort": "x", "q": "", "due": "x", "limit": "0"}
"""A wrong value for each of these parameters."""


@pytest.fixture
async def session(app: FastAPI) -> AsyncIterator[AsyncSession]:
    async with app.state.database.session() as session:
        yield session


async def titles(client: httpx.AsyncClient, user: str, **parameters: str) -> list[str]:
    answer = await client.get(tasks_of(user), params=parameters)
    assert answer.status_code == 200, answer.text
    return [task["title"] for task in answer.json()["items"]]


def violation(parameter: str, code: str, detail: str) -> dict[str, str]:
    return {"parameter": parameter, "code": code, "detail": detail}


class TestFilters:
    @pytest.mark.requirement("FR-047")
    async def test_a_search_takes_wildcards_and_quotes_literally(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        for title in ["50% off", "5_0", "50 off", 'it\'s \\ "x"', "ÄRGER"]:
            await create(client, user, title=title)
        await create(client, user, title="z", description="Ask about the 50% OFF")

        assert await titles(client, user, q="0% o") == ["z", "50% off"]
        assert await titles(client, user, q="_") == ["5_0"]
        assert await titles(client, user, q="%") == ["z", "50% off"]
        assert await titles(client, user, q="\\") == ['it\'s \\ "x"']
        assert await titles(client, user, q='s \\ "') == ['it\'s \\ "x"']
        assert await titles(client, user, q="ärg") == ["ÄRGER"]
        assert await titles(client, user, q="OFF") == ["z", "50 off", "50% off"]

    @pytest.mark.requirement("FR-047", "FR-129")
    async def test_a_search_finds_a_word_however_its_accents_are_written(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        composed, decomposed = "Caf\u00e9 \u1ec7", "Cafe\u0301 e\u0323\u0302"
        await create(client, user, title=composed)
        await create(client, user, title=decomposed)
        await create(client, user, title="z", description=f"at the {decomposed.upper()}")
        await create(client, user, title="Cafe e", description="without accents")

        for text in (composed, decomposed, composed.lower(), decomposed.upper(), "f\u00e9 \u1ec7"):
            assert await titles(client, user, q=text) == ["z", decomposed, composed]
        # A sign that both forms replace by another one is found as it is.
        await create(client, user, title="10 \u212b")
        assert await titles(client, user, q="\u212b") == ["10 \u212b"]
        await create(client, user, title="\u00c5")
        assert await titles(client, user, q="\u212b") == ["\u00c5", "10 \u212b"]

    @pytest.mark.requirement("FR-047")
    async def test_several_tags_must_all_be_there_and_one_priority_is_enough(
        self, client: httpx.AsyncClient, user: str, other_user: str
    ) -> None:
        await create(client, user, title="a", tags=["home", "work"], priority="low")
        await create(client, user, title="b", tags=["home"], priority="high")
        await create(client, user, title="c", tags=["Home"], priority="none")
        for missed in ({"title": "a"}, {"tags": ["home"], "title": "a"}, {"priority": "low"}):
            await create(client, other_user, **missed)

        assert await titles(client, other_user, priority="low", tag="home", q="A") == []
        assert await titles(client, user, tag="home") == ["b", "a"]
        assert await titles(client, user, tag=" work , home ") == ["a"]
        assert await titles(client, user, tag="home,nowhere") == []
        assert await titles(client, user, priority="high,none") == ["c", "b"]
        assert await titles(client, user, priority="low", tag="home", q="A") == ["a"]

    @pytest.mark.requirement("FR-048")
    async def test_a_day_is_over_only_when_it_has_ended_in_the_zone(
        self, client: httpx.AsyncClient, user: str, now: list[datetime]
    ) -> None:
        await create(client, user, title="day", due_date="2026-03-01")
        await create(client, user, title="noon", due_at="2026-03-01T12:00:00Z")
        await create(client, user, title="done", due_date="2026-02-01", is_completed=True)
        await create(client, user, title="never")

        now[0] = datetime(2026, 3, 1, 12, tzinfo=UTC)
        assert await titles(client, user, due="overdue") == []
        assert await titles(client, user, due="today") == ["noon", "day"]
        assert await titles(client, user, due="overdue", tz="Pacific/Kiritimati") == ["day"]
        now[0] += timedelta(microseconds=1)
        assert await titles(client, user, due="overdue") == ["noon"]
        now[0] = datetime(2026, 3, 2, 11, 59, tzinfo=UTC)
        assert await titles(client, user, due="overdue") == ["noon", "day"]
        assert await titles(client, user, due="today", tz="Etc/GMT+12") == ["noon", "day"]
        assert await titles(client, user, due="none") == ["never"]
        now[0] = datetime(2026, 1, 31, 23, tzinfo=UTC)
        assert await titles(client, user, due="upcoming") == ["done", "noon", "day"]
        assert await titles(client, user, due="today", tz="Asia/Tokyo") == ["done"]

    @pytest.mark.requirement("FR-047", "FR-048")
    async def test_ranges_are_half_open_and_never_match_what_is_not_due(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        await create(client, user, title="day", due_date="2026-03-01")
        await create(client, user, title="late", due_at="2026-02-28T23:30:00Z")
        await create(client, user, title="never")

        assert await titles(client, user, due_before="2026-03-01") == ["late"]
        assert await titles(client, user, due_before="2026-03-01", tz="Europe/Berlin") == []
        assert await titles(client, user, due_after="2026-03-01") == ["day"]
        assert await titles(client, user, due_after="2026-03-01", tz="Europe/Berlin") == [
            "late",
            "day",
        ]
        assert await titles(client, user, due_before="2026-02-28T23:30:00Z") == []
        assert await titles(client, user, due_after="2026-02-28T23:30:00Z") == ["late", "day"]
        assert await titles(client, user, due_before="2026-03-01T00:00:00Z") == ["late"]
        assert await titles(client, user, due_before="2026-03-01T00:00:00.000001Z") == [
            "late",
            "day",
        ]
        assert await titles(client, user, due_after="2026-03-01T00:00:00.000001Z") == []
        # In Berlin the day has begun half an hour before that.
        berlin = {"tz": "Europe/Berlin"}
        assert await titles(client, user, due_after="2026-02-28T23:30:00Z", **berlin) == ["late"]
        assert await titles(client, user, due_before="2026-03-01T00:00:00+01:00", **berlin) == []
        assert await titles(client, user, due_after="2026-03-01T00:00:00+01:00", **berlin) == [
            "late",
            "day",
        ]

    @pytest.mark.requirement("FR-047")
    async def test_a_state_and_times_are_those_of_the_task_as_it_is_now(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        _, second, _ = [await create(client, user, title=title) for title in ("a", "b", "c")]
        await client.patch(f"{path_of(second)}/complete")
        at = second["created_at"]

        assert await titles(client, user, is_completed="true") == ["b"]
        assert await titles(client, user, is_completed="false") == ["c", "a"]
        assert await titles(client, user, created_before=at) == ["a"]
        assert await titles(client, user, created_after=at) == ["c", "b"]
        changed = (await client.get(path_of(second))).json()
        assert await titles(client, user, updated_after=changed["updated_at"]) == ["b"]
        assert await titles(client, user, updated_after="2999-01-01T00:00:00Z") == []


class TestSorts:
    @pytest.mark.requirement("FR-049")
    @pytest.mark.parametrize(
        ("sort", "order"),
        [
            ("created_at", "baC"),
            ("-created_at", "Cab"),
            ("updated_at", "aCb"),
            ("-updated_at", "bCa"),
            ("title", "Cab"),
            ("-title", "baC"),
            ("priority", "aCb"),
            ("-priority", "bCa"),
            ("due", "baC"),
            ("-due", "abC"),
            ("position", "baC"),
            ("-position", "Cab"),
        ],
    )
    async def test_give_this_order(
        self, client: httpx.AsyncClient, user: str, sort: str, order: str
    ) -> None:
        first = await create(client, user, title="b", priority="high", due_date="2026-03-02")
        await create(client, user, title="a", due_at="2026-03-02T10:00:00Z")
        await create(client, user, title="C", priority="low")
        await client.patch(path_of(first), json={"tags": ["changed"]})

        assert await titles(client, user, sort=sort) == [*order]


class TestRefusals:
    @pytest.mark.requirement("FR-024", "FR-049")
    @pytest.mark.parametrize(
        ("parameters", "code"),
        [
            ({"tz": "Berlin"}, "unknown_time_zone"),
            ({"tz": "europe/berlin"}, "unknown_time_zone"),
            ({"tz": ""}, "unknown_time_zone"),
            ({"tz": "+01:00"}, "unknown_time_zone"),
            ({"tz": "localtime"}, "unknown_time_zone"),
            ({"tz": "posix/UTC"}, "unknown_time_zone"),
            ({"tz": "CEST"}, "unknown_time_zone"),
            ({"tz": "UTC\0"}, "unknown_time_zone"),
            ({"sort": ""}, "not_allowed"),
            ({"sort": "id"}, "not_allowed"),
            ({"sort": "due_at"}, "not_allowed"),
            ({"sort": "+title"}, "not_allowed"),
            ({"sort": "title,"}, "not_allowed"),
            ({"sort": "title,-title"}, "not_allowed"),
            ({"sort": "title; drop table tasks"}, "not_allowed"),
            ({"is_completed": "True"}, "wrong_type"),
            ({"is_completed": "1"}, "wrong_type"),
            ({"include_total": "yes"}, "wrong_type"),
            ({"priority": "urgent"}, "not_allowed"),
            ({"priority": "low,,high"}, "not_allowed"),
            ({"tag": ""}, "too_short"),
            ({"tag": "a,"}, "too_short"),
            ({"tag": "x" * 51}, "too_long"),
            ({"tag": ",".join("x" * 21)}, "too_long"),
            ({"tag": "a\0"}, "nul_character"),
            ({"q": ""}, "too_short"),
            ({"q": "x" * 256}, "too_long"),
            ({"q": "\0"}, "nul_character"),
            ({"due": "tomorrow"}, "not_allowed"),
            ({"due_before": "2026-02-30"}, "invalid_day_or_instant"),
            ({"due_before": "1767225600"}, "invalid_day_or_instant"),
            ({"due_after": "3000-01-01"}, "invalid_day_or_instant"),
            ({"due_after": "2026-02-28T10:00:00"}, "invalid_instant"),
            ({"created_before": "2026-02-28"}, "invalid_instant"),
            ({"created_after": "2026-02-28T10:00:00 01:00"}, "invalid_instant"),
            ({"updated_after": "0001-01-01T00:00:00Z"}, "invalid_instant"),
            ({"updated_before": "2026-02-28T10:00:00Z"}, "unknown"),
        ],
        ids=str,
    )
    async def test_name_the_parameter(
        self, client: httpx.AsyncClient, user: str, parameters: dict[str, str], code: str
    ) -> None:
        answer = await client.get(tasks_of(user), params=parameters)

        assert answer.status_code == 422
        errors = answer.json()["errors"]
        assert {(error["parameter"], error["code"]) for error in errors} == {(*parameters, code)}
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=errors)

    @pytest.mark.requirement("FR-023")
    async def test_name_all_parameters_with_wrong_values_at_once(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        answer = await client.get(tasks_of(user), params=WRONG)

        assert answer.status_code == 422
        errors = answer.json()["errors"]
        assert {error["parameter"] for error in errors} == set(WRONG)
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=errors)

    @pytest.mark.requirement("FR-023", "FR-024")
    async def test_name_all_unreadable_parameters_before_any_value(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        query = urlencode(WRONG)

        answer = await client.get(f"{tasks_of(user)}?{query}&x=y&sort=x&tag=%FF&tag=%FF")

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                violation(
                    "sort", "repeated", "must not be repeated; separate the values with commas"
                ),
                violation("x", "unknown", "unknown parameter"),
                violation(
                    "tag", "repeated", "must not be repeated; separate the values with commas"
                ),
                violation("tag", "invalid_encoding", "must be percent-encoded UTF-8"),
            ],
        )

    @pytest.mark.requirement("FR-024")
    @pytest.mark.parametrize(
        ("name", "value", "hint"),
        [
            ("sort", "due", "; separate the values with commas"),
            ("tag", "x", "; separate the values with commas"),
            ("priority", "low", "; separate the values with commas"),
            ("q", "x", ""),
            ("tz", "UTC", ""),
        ],
    )
    async def test_name_a_parameter_that_comes_twice(
        self, client: httpx.AsyncClient, user: str, name: str, value: str, hint: str
    ) -> None:

        answer = await client.get(f"{tasks_of(user)}?{name}={value}&{name}={value}")

        assert answer.status_code == 422
        errors = [violation(name, "repeated", f"must not be repeated{hint}")]
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=errors)

    @pytest.mark.requirement("FR-024", "FR-047")
    @pytest.mark.parametrize("written", ["%FF", "x%C3", "%ED%A0%80", "%EF%BF%BD%80"])
    async def test_name_a_parameter_that_is_not_utf_8(
        self, client: httpx.AsyncClient, user: str, written: str
    ) -> None:
        answer = await client.get(f"{tasks_of(user)}?limit=1&q={written}")

        assert answer.status_code == 422
        errors = [violation("q", "invalid_encoding", "must be percent-encoded UTF-8")]
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=errors)

    @pytest.mark.requirement("FR-047")
    async def test_do_not_meet_a_search_for_the_replacement_character(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        await create(client, user, title="a\ufffd")

        assert await titles(client, user, q="\ufffd") == ["a\ufffd"]

    @pytest.mark.requirement("FR-049")
    @pytest.mark.parametrize("operation", ["list_tasks", "get_summary"])
    async def test_come_for_a_zone_that_only_the_database_does_not_know(
        self, client: httpx.AsyncClient, session: AsyncSession, user: str, operation: str
    ) -> None:
        await create(client, user, due_at=AT)  # without a task, the zone may never be used
        now = datetime.now(UTC)
        query = TaskListQuery(due="today").model_copy(update={"tz": "Nowhere/City"})

        async def ask() -> object:
            if operation == "list_tasks":
                return await todo_service.list_tasks(session, user, query, now=now)
            return await todo_service.get_summary(session, user, tz=query.tz, now=now)

        with pytest.raises(UnknownTimeZone):
            await ask()

    @pytest.mark.requirement("FR-049")
    async def test_of_the_database_for_other_reasons_do_not_blame_the_zone(
        self, session: AsyncSession, user: str
    ) -> None:
        query = TaskListQuery().model_copy(update={"limit": 2**40})

        with pytest.raises(DataError, match="out of range"):
            await todo_service.list_tasks(session, user, query, now=datetime.now(UTC))

    @pytest.mark.requirement("FR-049")
    async def test_tell_that_the_database_does_not_know_a_zone(
        self, client: httpx.AsyncClient, user: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        zones = frozenset({"Nowhere/City"})
        monkeypatch.setattr("src.schemas.query.time_zones", lambda: zones)
        await create(client, user, due_at="2026-03-01T12:00:00Z")  # or the zone is never used

        answer = await client.get(f"{tasks_of(user)}/summary", params={"tz": "Nowhere/City"})

        assert answer.status_code == 422
        detail = "is not known to the database; send another IANA time zone, such as Europe/Berlin"
        errors = [violation("tz", "unknown_time_zone", detail)]
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=errors)


class TestCursors:
    @pytest.mark.requirement("FR-020", "FR-049")
    @pytest.mark.parametrize(
        "change",
        [
            {"sort": "-due"},
            {"sort": "due,title"},
            {"tz": "Europe/London"},
            {"is_completed": "true"},
            {"priority": "low"},
            {"tag": "home"},
            {"q": "x"},
            {"due": "none"},
            {"due_after": "2020-01-01"},
            {"created_after": "2020-01-01T00:00:00Z"},
        ],
        ids=str,
    )
    async def test_of_another_list_are_refused(
        self, client: httpx.AsyncClient, user: str, change: dict[str, str]
    ) -> None:
        for _ in range(2):
            await create(client, user, due_date="2026-03-01")
        parameters = {"sort": "due", "tz": "Europe/Berlin", "limit": "1"}
        page = (await client.get(tasks_of(user), params=parameters)).json()
        cursor = {"cursor": page["next_cursor"]}

        answer = await client.get(tasks_of(user), params={**parameters, **change, **cursor})
        same = await client.get(
            tasks_of(user), params={**parameters, **cursor, "limit": "9", "include_total": "true"}
        )

        assert answer.status_code == 422
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[CURSOR_MISMATCH])
        assert (len(same.json()["items"]), same.json()["total"]) == (1, 2)

    @pytest.mark.requirement("FR-020", "FR-049")
    @pytest.mark.parametrize(
        ("sort", "keys"),
        [
            ("due", ["2026-02-30", None, ID]),
            ("due", ["0000-01-01", None, ID]),
            ("due", ["2026-03-01", "2026-03-01", ID]),
            ("due", [20260301, None, ID]),
            ("due", ["2026-03-01", None, None]),
            ("due", ["2026-03-01", ID]),
            ("due", [["2026-03-01"], None, ID]),
            ("title", ["a\0", ID]),
            ("title", [None, ID]),
            ("title", [1, ID]),
            ("title", [{}, ID]),
            ("priority", ["urgent", ID]),
            ("priority", [None, ID]),
            ("priority", [["low"], ID]),
            ("position", ["0000000000000001.0", ID]),
            ("position", [None, ID]),
            ("position", [1, ID]),
            ("updated_at", ["infinity", ID]),
            ("updated_at", [AT, ID, ID]),
            ("-created_at,title", [AT, "x", "no id"]),
        ],
        ids=str,
    )
    async def test_that_are_forged_are_refused(
        self, client: httpx.AsyncClient, user: str, sort: str, keys: list[object]
    ) -> None:
        query = TaskListQuery(sort=sort)
        cursor = encode_cursor(keys, user_id=user, query=query.identity)

        answer = await client.get(tasks_of(user), params={"sort": sort, "cursor": cursor})

        assert answer.status_code == 422
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[CURSOR_MISMATCH])

    @pytest.mark.requirement("FR-049")
    @pytest.mark.parametrize("tz", ["Etc/GMT+12", "Pacific/Kiritimati"])
    @pytest.mark.parametrize("sort", ["due", "-due"])
    async def test_reach_the_first_and_the_last_instant_in_any_zone(
        self, client: httpx.AsyncClient, user: str, tz: str, sort: str
    ) -> None:
        ends = ["1900-01-01T00:00:00Z", "2999-12-31T23:59:59.999999Z"]
        for due_at in (*ends, None):
            await create(client, user, title=str(due_at), due_at=due_at)

        pages = await follow_links(client, user, limit="1", sort=sort, tz=tz)

        found = [task["title"] for page in pages for task in page.json()["items"]]
        assert found == [*(ends if sort == "due" else ends[::-1]), "None"]

    @pytest.mark.requirement("FR-019", "FR-049")
    async def test_are_linked_with_all_parameters_of_the_request(
        self, client: httpx.AsyncClient
    ) -> None:
        user = f"auth0|{uuid4()}@x"
        for _ in range(3):
            await create(client, user, title="a & b=ü%", tags=["x+y", "z"])
        parameters = {"q": "& B=ü%", "tag": "x+y,z", "sort": "-title", "limit": "2", "due": "none"}
        parameters["created_after"] = "2000-01-01T00:00:00+01:00"

        first = await client.get(tasks_of(user), params={**parameters, "include_total": "true"})
        second = await client.get(first.links["next"]["url"])

        assert (len(first.json()["items"]), len(second.json()["items"])) == (2, 1)
        assert second.json()["total"] == 3


class TestWritersMeanwhile:
    @pytest.mark.requirement("FR-019", "SC-008")
    @pytest.mark.parametrize(
        "sort",
        [*SORTS, *(f"-{sort}" for sort in SORTS), "due,-priority", "-priority,title", "title,-due"],
    )
    async def test_a_task_left_alone_is_seen_once_in_every_sort(
        self, client: httpx.AsyncClient, user: str, sort: str
    ) -> None:
        dues: list[dict[str, Any]] = [
            {},
            {"due_date": "2026-03-01"},
            {"due_date": "2026-03-02"},
            {"due_at": "2026-03-01T09:00:00Z"},
            {"due_at": "2026-03-02T00:30:00Z"},
        ]
        tasks = [
            await create(
                client,
                user,
                title=f"Task {n * 7 % 10}",
                priority=model.PRIORITIES[n % 4],
                **dues[n % 5],
            )
            for n in range(40)
        ]
        left_alone = {task["id"] for task in tasks[::2]}
        touched = iter(tasks[1::2])
        parameters = {"sort": sort, "tz": "Europe/Berlin"}
        whole = (await client.get(tasks_of(user), params={**parameters, "limit": "100"})).json()
        expected = [task["id"] for task in whole["items"] if task["id"] in left_alone]

        seen: list[str] = []
        page: dict[str, Any] = {"next_cursor": None}
        while True:
            cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
            victims = [next(touched, None) for _ in range(3)]
            answer, *_ = await asyncio.gather(
                client.get(tasks_of(user), params={**parameters, "limit": "6", **cursor}),
                *(write(client, user, kind, task) for kind, task in enumerate(victims)),
            )
            assert isinstance(answer, httpx.Response)
            page = answer.json()
            seen += [task["id"] for task in page["items"] if task["id"] in left_alone]
            if page["next_cursor"] is None:
                break

        assert seen == expected


async def write(
    client: httpx.AsyncClient, user: str, kind: int, task: dict[str, Any] | None
) -> None:
    """Delete a task, or move it in every sort; and while there are some left, add another."""
    if task is None:
        return
    if kind == 0:
        await client.delete(path_of(task))
        await create(client, user, title="Task 5", priority="high", due_date="2026-03-02")
    else:
        change = {"title": "A" if kind == 1 else "z", "due_date": f"2026-0{kind}-01"}
        await client.patch(path_of(task), json={**change, "priority": "medium"})


class TestTags:
    @pytest.mark.requirement("FR-021")
    async def test_a_list_of_any_filter_and_sort_has_the_version_of_the_list(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)
        parameters = {"sort": "due", "due": "none", "include_total": "true"}

        first = await client.get(tasks_of(user), params=parameters)
        again = await client.get(
            tasks_of(user), params=parameters, headers={"If-None-Match": first.headers["etag"]}
        )

        assert first.headers["etag"] == list_tag_of(task)
        assert first.json()["total"] == 1
        assert again.status_code == 304

    @pytest.mark.requirement("FR-050")
    @pytest.mark.parametrize("suffix", ["?due=overdue", "?due=today", "?due=upcoming", "/summary"])
    async def test_what_depends_on_the_present_has_a_digest_of_the_answer(
        self, client: httpx.AsyncClient, user: str, now: list[datetime], suffix: str
    ) -> None:
        task = await create(client, user, due_date="2026-03-01")
        url = tasks_of(user) + suffix

        async def ask(tag: str = '"none"') -> tuple[int, str]:
            answer = await client.get(url, headers={"If-None-Match": tag})
            assert answer.headers["cache-control"] == "private, no-cache"
            return answer.status_code, answer.headers["etag"]

        tags: dict[str, str] = {}
        for day in (28, 29, 33):
            now[0] = datetime(2026, 2, 1, tzinfo=UTC) + timedelta(days=day - 1)
            status, tag = await ask()
            assert status == 200
            assert await ask(tag) == (304, tag)
            assert await ask(f'{tag[:-1]}-gzip"') == (304, tag)
            assert await ask(list_tag_of(task)) == (200, tag)
            assert await ask("*") == (304, tag)
            tags.setdefault(tag, suffix)
        await create(client, user, due_date="2026-03-01")
        if suffix == "/summary":
            assert (await ask(next(iter(tags))))[0] == 200
            assert len(tags) == 3
        else:
            assert len(tags) == 2

    @pytest.mark.requirement("FR-050")
    async def test_a_change_elsewhere_in_the_list_does_not_end_the_304(
        self, client: httpx.AsyncClient, user: str, now: list[datetime]
    ) -> None:
        await create(client, user, due_date=now[0].date().isoformat())
        url = f"{tasks_of(user)}?due=today"
        tag = (await client.get(url)).headers["etag"]
        await create(client, user)

        answer = await client.get(url, headers={"If-None-Match": tag})

        assert answer.status_code == 304

    @pytest.mark.requirement("FR-021")
    @pytest.mark.parametrize(
        "tag", ['"0{version}"', '"00{version}"', '"{version}x"', '"+{version}"']
    )
    async def test_a_tag_that_only_looks_like_the_version_is_another(
        self, client: httpx.AsyncClient, user: str, tag: str
    ) -> None:
        task = await create(client, user)

        answer = await client.get(tasks_of(user), headers={"If-None-Match": tag.format_map(task)})

        assert answer.status_code == 200
        assert answer.json()["items"] == [task]

    @pytest.mark.requirement("FR-026", "FR-050")
    @pytest.mark.parametrize("suffix", ["?due=today&include_total=true", "/summary?tz=Asia/Tokyo"])
    async def test_head_is_answered_like_get(
        self, client: httpx.AsyncClient, user: str, suffix: str
    ) -> None:
        await create(client, user)

        answer = await client.head(tasks_of(user) + suffix)
        whole = await client.get(tasks_of(user) + suffix)

        assert answer.status_code == 200
        assert answer.headers["etag"] == whole.headers["etag"]


class TestSummary:
    @pytest.mark.requirement("FR-051")
    async def test_a_user_without_tasks_has_none(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        answer = await client.get(f"{tasks_of(user)}/summary")

        assert answer.status_code == 200
        assert answer.json() == dict.fromkeys(
            ("total", "open", "completed", "overdue", "due_today"), 0
        )

    @pytest.mark.requirement("FR-051")
    async def test_it_counts_what_is_due_in_the_zone(
        self, client: httpx.AsyncClient, user: str, other_user: str, now: list[datetime]
    ) -> None:
        now[0] = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
        await create(client, other_user, due_date="2026-03-01")
        await create(client, user, due_date="2026-03-01")
        await create(client, user, due_date="2026-03-02")
        await create(client, user, due_at="2026-03-01T09:00:00Z")
        await create(client, user, due_date="2026-03-01", is_completed=True)
        await create(client, user)

        utc = (await client.get(f"{tasks_of(user)}/summary")).json()
        berlin = (await client.get(f"{tasks_of(user)}/summary?tz=Europe/Berlin")).json()

        assert utc == {"total": 5, "open": 4, "completed": 1, "overdue": 1, "due_today": 2}
        assert berlin == {"total": 5, "open": 4, "completed": 1, "overdue": 2, "due_today": 1}

    @pytest.mark.requirement("FR-048")
    async def test_it_counts_by_the_present_time(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        for day in ("2000-01-01", "2999-12-31"):
            await create(client, user, title=day, due_date=day)

        summary = (await client.get(f"{tasks_of(user)}/summary")).json()

        assert summary["overdue"] == 1
        assert await titles(client, user, due="overdue") == ["2000-01-01"]
        assert await titles(client, user, due="upcoming") == ["2999-12-31"]

    @pytest.mark.requirement("FR-049", "FR-051")
    async def test_it_refuses_an_unknown_zone_and_any_other_parameter(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        wrong_zone = await client.get(f"{tasks_of(user)}/summary?tz=Berlin")
        filtered = await client.get(f"{tasks_of(user)}/summary?tz=Berlin&due=today")

        detail = "must be an IANA time zone such as Europe/Berlin"
        for answer, error in (
            (wrong_zone, violation("tz", "unknown_time_zone", detail)),
            (filtered, violation("due", "unknown", "unknown parameter")),
        ):
            assert answer.status_code == 422
            assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[error])

    @pytest.mark.requirement("FR-026", "FR-051")
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    async def test_its_path_is_not_that_of_a_task(
        self, client: httpx.AsyncClient, user: str, method: str
    ) -> None:
        answer = await client.request(method, f"{tasks_of(user)}/summary", json={})

        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD"
