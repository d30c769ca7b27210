"""POST /tasks/{task_id}/move, and positions that clients set."""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest

from src.api.problems import Kind
from tests.builders import (
    NEW,
    NO_TASK,
    REPLACEMENT,
    After,
    create,
    follow_links,
    path_of,
    problem,
    rows_of,
    tag_of,
    tasks_of,
)
from tests.processes import until

pytestmark = pytest.mark.anyio

Task = dict[str, Any]


def unknown(side: str) -> dict[str, str]:
    """The violation of a move next to a task that the user does not have."""
    return {
        "pointer": f"/{side}",
        "code": "unknown_neighbour",
        "detail": "is not the id of a task of this user; send the id of another task, or null",
    }


async def create_all(client: httpx.AsyncClient, user: str, titles: str) -> dict[str, Task]:
    """Create a task for each letter; give them by their titles."""
    return {title: await create(client, user, title=title) for title in titles}


async def order_of(client: httpx.AsyncClient, user: str) -> str:
    """The titles of all tasks in the order of their positions."""
    answers = await follow_links(client, user, sort="position")
    return "".join(task["title"] for answer in answers for task in answer.json()["items"])


async def move(
    client: httpx.AsyncClient,
    task: Task,
    headers: dict[str, str] | None = None,
    **place: str | None,
) -> httpx.Response:
    return await client.post(f"{path_of(task)}/move", json=place, headers=headers)


def is_waiting(database_url: str) -> bool:
    """Whether a statement of the app waits for a lock."""
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock' AND application_name = 'task-api'"
        )
        return found.fetchone() is not None


class TestMoveTask:
    @pytest.mark.requirement("FR-087")
    async def test_a_new_task_comes_last(self, client: httpx.AsyncClient, user: str) -> None:
        tasks = await create_all(client, user, "abc")

        assert await order_of(client, user) == "abc"
        for task in tasks.values():
            assert task["position"] == f"{task['version']:016}"

    @pytest.mark.requirement("FR-087")
    async def test_a_new_task_comes_after_one_that_was_moved_to_the_end(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        await create(client, user, title="a", position="8888888888888888.5")

        task = await create(client, user, title="b")

        assert task["position"] == "8888888888888889"

    @pytest.mark.requirement("FR-087")
    async def test_new_tasks_come_last_even_where_whole_numbers_end(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        await create(client, user, title="a", position="9999999999999999")
        await create(client, user, title="b")
        batch = [{"op": "create", "task": {"title": title}} for title in "cd"]
        await client.post(f"{tasks_of(user)}/batch", json={"operations": batch})
        last = await create(client, user, title="e")

        assert last["position"] == "9999999999999999.5555"
        assert await order_of(client, user) == "abcde"

    @pytest.mark.requirement("FR-087")
    async def test_a_task_can_be_created_when_the_last_position_is_taken(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        last = await create(client, user, position=f"{'9' * 16}.{'9' * 40}")

        task = await create(client, user)

        assert task["position"] == last["position"]

    @pytest.mark.requirement("FR-088")
    @pytest.mark.parametrize(
        ("title", "side", "neighbour", "order"),
        [
            ("d", "after", "a", "adbc"),
            ("d", "before", "b", "adbc"),
            ("a", "after", "c", "bcad"),
            ("a", "before", "d", "bcad"),
            ("b", "after", "c", "acbd"),
            ("c", "before", "b", "acbd"),
            ("c", "after", None, "cabd"),
            ("b", "before", None, "acdb"),
            ("a", "after", "d", "bcda"),
            ("d", "before", "a", "dabc"),
        ],
    )
    async def test_moves_the_task_next_to_another_or_to_an_end(
        self,
        client: httpx.AsyncClient,
        user: str,
        title: str,
        side: str,
        neighbour: str | None,
        order: str,
    ) -> None:
        tasks = await create_all(client, user, "abcd")
        task = tasks[title]

        answer = await move(
            client, task, **{side: None if neighbour is None else tasks[neighbour]["id"]}
        )

        moved = answer.json()
        assert answer.status_code == 200
        assert answer.headers["etag"] == tag_of(moved)
        assert moved == task | {
            "position": moved["position"],
            "version": After(tasks["d"]["version"]),
            "updated_at": moved["updated_at"],
        }
        assert moved["updated_at"] > task["updated_at"]
        assert await order_of(client, user) == order
        others = [path_of(other) for other in tasks.values() if other is not task]
        assert [(await client.get(path)).json() for path in others] == [
            other for other in tasks.values() if other is not task
        ]

    @pytest.mark.requirement("FR-088")
    @pytest.mark.parametrize(
        ("title", "side", "neighbour"),
        [
            ("b", "after", "a"),
            ("b", "before", "c"),
            ("b", "after", "b"),
            ("b", "before", "b"),
            ("a", "after", None),
            ("c", "before", None),
        ],
    )
    async def test_moving_a_task_to_where_it_is_changes_nothing(
        self, client: httpx.AsyncClient, user: str, title: str, side: str, neighbour: str | None
    ) -> None:
        tasks = await create_all(client, user, "abc")
        task = tasks[title]
        place = {side: None if neighbour is None else tasks[neighbour]["id"]}
        before = (await client.get(tasks_of(user))).headers["etag"]

        answer = await move(client, task, {"If-Match": tag_of(task)}, **place)
        conflict = await move(client, task, {"If-Match": '"1"'}, **place)

        assert (answer.status_code, answer.json()) == (200, task)
        assert conflict.json() == problem(conflict, Kind.VERSION_MISMATCH, current=task)
        assert (await client.get(tasks_of(user))).headers["etag"] == before

    @pytest.mark.requirement("FR-088")
    async def test_the_only_task_is_at_both_ends(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)

        for side in ("after", "before"):
            assert (await move(client, task, **{side: None})).json() == task

    @pytest.mark.requirement("FR-089")
    async def test_the_same_move_again_leaves_the_same_order(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        tasks = await create_all(client, user, "abc")
        first = await move(client, tasks["c"], after=tasks["a"]["id"])

        again = await move(client, tasks["c"], after=tasks["a"]["id"])

        assert again.json() == first.json()
        assert await order_of(client, user) == "acb"

    @pytest.mark.requirement("FR-089")
    async def test_moves_only_the_version_that_the_client_has_seen(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        tasks = await create_all(client, user, "abc")
        stale = {"If-Match": tag_of(tasks["a"])}

        moved = await move(client, tasks["a"], stale, before=None)
        conflict = await move(client, tasks["a"], stale, after=None)

        assert moved.status_code == 200
        assert conflict.json() == problem(conflict, Kind.VERSION_MISMATCH, current=moved.json())
        assert conflict.headers["etag"] == tag_of(moved.json())
        assert await order_of(client, user) == "bca"

    @pytest.mark.requirement("FR-088", "FR-012")
    async def test_an_unknown_neighbour_is_named_whosever_it_is(
        self, client: httpx.AsyncClient, user: str, other_user: str, shared_database_url: str
    ) -> None:
        task = await create(client, user)
        deleted = await create(client, user)
        await client.delete(path_of(deleted))
        foreign = await create(client, other_user)
        rows = rows_of(shared_database_url, user)

        for side in ("after", "before"):
            for neighbour in (NO_TASK, deleted["id"], foreign["id"]):
                answer = await move(client, task, {"If-Match": '"1"'}, **{side: neighbour})
                assert answer.status_code == 422
                assert answer.json() == problem(
                    answer, Kind.INVALID_REQUEST, errors=[unknown(side)]
                )
        assert rows_of(shared_database_url, user) == rows

    @pytest.mark.requirement("FR-088")
    async def test_only_a_task_of_the_user_can_be_moved(
        self, client: httpx.AsyncClient, user: str, other_user: str
    ) -> None:
        await create(client, user)
        foreign = await create(client, other_user)

        for task_id in (NO_TASK, foreign["id"]):
            for neighbour in (None, NO_TASK, task_id):
                answer = await client.post(
                    f"{tasks_of(user)}/{task_id}/move", json={"after": neighbour}
                )
                assert answer.json() == problem(answer, Kind.TASK_NOT_FOUND)

    @pytest.mark.requirement("FR-088")
    @pytest.mark.parametrize(
        ("body", "error"),
        [
            ({}, ("", "one_neighbour", "must have exactly one of `after` and `before`")),
            (
                {"after": None, "before": None},
                ("", "one_neighbour", "must have exactly one of `after` and `before`"),
            ),
            ({"after": None, "to": 3}, ("/to", "unknown", "unknown field")),
            (
                {"after": "top"},
                (
                    *("/after", "invalid_uuid"),
                    "must be a UUID such as 01981f6e-3c00-7a3b-8a00-000000000001",
                ),
            ),
        ],
    )
    async def test_a_place_has_one_neighbour(
        self, client: httpx.AsyncClient, user: str, body: object, error: tuple[str, str, str]
    ) -> None:
        task = await create(client, user)

        answer = await client.post(f"{path_of(task)}/move", json=body)

        errors = [dict(zip(("pointer", "code", "detail"), error, strict=True))]
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=errors)

    @pytest.mark.requirement("FR-089")
    @pytest.mark.parametrize("headers", [{}, {"If-Match": "{tag}"}], ids=["any", "seen"])
    @pytest.mark.parametrize(
        ("meanwhile", "order"),
        [("INSERT", "acXb"), ("MOVE", "bac"), ("DELETE", None)],
    )
    async def test_takes_account_of_what_others_do_while_it_waits(
        self,
        client: httpx.AsyncClient,
        user: str,
        shared_database_url: str,
        headers: dict[str, str],
        meanwhile: str,
        order: str | None,
    ) -> None:
        """Others have locked the list, and change it, when the move has begun."""
        tasks = await create_all(client, user, "abc")
        headers = {name: value.format(tag=tag_of(tasks["c"])) for name, value in headers.items()}
        with psycopg.connect(shared_database_url) as connection:
            change = "UPDATE task_lists SET version = version + 1 WHERE user_id = %s"
            connection.execute(change, [user])
            moving = asyncio.create_task(move(client, tasks["c"], headers, after=tasks["a"]["id"]))
            await until(lambda: is_waiting(shared_database_url))
            if meanwhile == "INSERT":
                connection.execute(
                    "INSERT INTO tasks (user_id, id, title, is_completed, priority, tags, position,"
                    " version, created_at, updated_at) SELECT user_id, gen_random_uuid(), 'X',"
                    " false, 'none', '{}', position || '.5', version, now(), now() FROM tasks"
                    " WHERE user_id = %s AND id = %s",
                    [user, tasks["a"]["id"]],
                )
            elif meanwhile == "MOVE":
                connection.execute(
                    "UPDATE tasks SET position = '0000000000000001', version = version + 1"
                    " WHERE user_id = %s AND id = %s",
                    [user, tasks["b"]["id"]],
                )
            else:
                connection.execute(
                    "DELETE FROM tasks WHERE user_id = %s AND id = %s", [user, tasks["a"]["id"]]
                )
            connection.commit()

        answer = await moving

        if order is None:
            assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[unknown("after")])
        else:
            assert answer.status_code == 200
            assert await order_of(client, user) == order

    @pytest.mark.requirement("FR-089", "FR-018")
    async def test_a_change_of_the_task_while_it_waits_is_a_conflict(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        tasks = await create_all(client, user, "abc")
        with psycopg.connect(shared_database_url) as connection:
            connection.execute(
                "WITH change AS (UPDATE task_lists SET version = version + 1"
                " WHERE user_id = %(user)s RETURNING version)"
                " UPDATE tasks SET title = 'C', version = change.version FROM change"
                " WHERE user_id = %(user)s AND id = %(id)s",
                {"user": user, "id": tasks["c"]["id"]},
            )
            seen = {"If-Match": tag_of(tasks["c"])}
            moving = asyncio.create_task(move(client, tasks["c"], seen, after=None))
            await until(lambda: is_waiting(shared_database_url))
            connection.commit()

        answer = await moving

        current = (await client.get(path_of(tasks["c"]))).json()
        assert current["title"] == "C"
        assert answer.json() == problem(answer, Kind.VERSION_MISMATCH, current=current)

    @pytest.mark.requirement("FR-091")
    @pytest.mark.parametrize("side", ["after", "before"])
    async def test_tasks_around_make_room(
        self, client: httpx.AsyncClient, user: str, side: str
    ) -> None:
        """Two tasks have no number between them; ties have none, either."""
        await create(client, user, title="a", position="0000000000000005")
        await create(client, user, title="b", position=f"0000000000000005.{'0' * 39}1")
        anchors = await create_all(client, user, "cd")
        tie = "0000000000000006"
        for task in sorted(anchors.values(), key=lambda task: str(task["id"])):
            await client.patch(path_of(task), json={"position": tie})
        rest = await create_all(client, user, "ef")
        listed = await order_of(client, user)
        assert sorted(listed) == [*"abcdef"]
        b = (await client.get(tasks_of(user), params={"sort": "position"})).json()["items"][1]

        first = await move(client, rest["e"], **{side: b["id"] if side == "before" else None})
        second = await move(client, rest["f"], before=anchors[listed[3]]["id"])

        assert (first.status_code, second.status_code) == (200, 200)
        expected = [title for title in listed if title not in "ef"]
        expected.insert(1 if side == "before" else 0, "e")
        expected.insert(expected.index(listed[3]), "f")
        assert await order_of(client, user) == "".join(expected)

    @pytest.mark.requirement("FR-091", "FR-089")
    async def test_a_stale_version_is_told_before_tasks_around_make_room(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        low = await create(client, user, position="0000000000000005")
        await create(client, user, position=f"0000000000000005.{'0' * 39}1")
        task = await create(client, user)
        rows = rows_of(shared_database_url, user)

        conflict = await move(client, task, {"If-Match": '"1"'}, after=low["id"])
        unchanged = rows_of(shared_database_url, user)
        moved = await move(client, task, {"If-Match": tag_of(task)}, after=low["id"])

        assert conflict.json() == problem(conflict, Kind.VERSION_MISMATCH, current=task)
        assert unchanged == rows
        assert moved.status_code == 200

    @pytest.mark.requirement("FR-091")
    @pytest.mark.parametrize(
        ("whole", "digit", "numbers"),
        [
            pytest.param("0" * 16, "0", range(399), id="at the top"),
            pytest.param(f"{5:016}", "0", range(1, 400), id="in between"),
            pytest.param("9" * 16, "9", range(601, 1000), id="at the end"),
        ],
    )
    async def test_room_is_found_even_in_a_crowd(
        self, client: httpx.AsyncClient, user: str, whole: str, digit: str, numbers: range
    ) -> None:
        """Hundreds of tasks have no number between them, so tasks far away are moved, too."""
        crowd = [
            {
                "title": f"{number:03}",
                "position": f"{whole}.{digit * 37}{number:03}".rstrip("0").rstrip("."),
            }
            for number in numbers
        ]
        for start in range(0, len(crowd), 100):
            operations = [{"op": "create", "task": task} for task in crowd[start : start + 100]]
            answer = await client.post(f"{tasks_of(user)}/batch", json={"operations": operations})
            assert answer.status_code == 200
        task = await create(client, user, title="new", position="0000000000000001")
        listed = (
            await client.get(tasks_of(user), params={"sort": "position", "limit": 1000})
        ).json()
        others = [other for other in listed["items"] if other["id"] != task["id"]]

        moved = await move(client, task, after=others[200]["id"])

        titles = [other["title"] for other in others]
        titles.insert(201, "new")
        answer = await client.get(tasks_of(user), params={"sort": "position", "limit": 1000})
        assert moved.status_code == 200
        assert [other["title"] for other in answer.json()["items"]] == titles


class TestPositionsOfClients:
    @pytest.mark.requirement("FR-090")
    async def test_can_be_set_by_every_write(self, client: httpx.AsyncClient, user: str) -> None:
        created = await create(client, user, position="0000000000000001.5")
        patched = await client.patch(path_of(created), json={"position": "0000000000000002"})
        replaced = await client.put(
            path_of(created), json={**REPLACEMENT, "position": "0000000000000003.25"}
        )
        made = await client.put(
            f"{tasks_of(user)}/{NO_TASK}",
            json={**REPLACEMENT, "position": "0000000000000004"},
            headers=NEW,
        )

        assert created["position"] == "0000000000000001.5"
        assert patched.json()["position"] == "0000000000000002"
        assert replaced.json()["position"] == "0000000000000003.25"
        assert (made.status_code, made.json()["position"]) == (201, "0000000000000004")

    @pytest.mark.requirement("FR-090")
    async def test_a_replacement_without_a_position_keeps_the_place(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user, position="0000000000000001.5")

        replaced = await client.put(path_of(task), json=REPLACEMENT)

        assert replaced.json()["position"] == "0000000000000001.5"

    @pytest.mark.requirement("FR-090")
    @pytest.mark.parametrize(
        ("position", "code"),
        [
            (None, "wrong_type"),
            (1, "wrong_type"),
            ("", "invalid_format"),
            ("1", "invalid_format"),
            ("000000000000001", "invalid_format"),
            ("00000000000000001", "invalid_format"),
            ("0000000000000001.", "invalid_format"),
            ("0000000000000001.50", "invalid_format"),
            ("0000000000000001.5\n", "invalid_format"),
            ("-000000000000001", "invalid_format"),
            ("\u0660" * 16, "invalid_format"),  # digits, but not ASCII
            (f"0000000000000001.{'1' * 41}", "invalid_format"),
        ],
    )
    async def test_another_form_is_refused(
        self, client: httpx.AsyncClient, user: str, position: object, code: str
    ) -> None:
        task = await create(client, user)

        for answer in (
            await client.post(tasks_of(user), json={"title": "a", "position": position}),
            await client.patch(path_of(task), json={"position": position}),
            await client.put(path_of(task), json={**REPLACEMENT, "position": position}),
        ):
            (error,) = answer.json()["errors"]
            assert (answer.status_code, error["pointer"], error["code"]) == (422, "/position", code)

    @pytest.mark.requirement("FR-090")
    async def test_the_longest_form_is_accepted(self, client: httpx.AsyncClient, user: str) -> None:
        longest = f"9999999999999999.{'9' * 40}"

        assert (await create(client, user, position=longest))["position"] == longest


@pytest.mark.requirement("FR-092")
class TestSortByPosition:
    async def test_pages_show_each_task_that_is_not_moved_once(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        """Between two pages, tasks are moved forth and back across the place of the cursor."""
        tasks = await create_all(client, user, "abcdefghijklmnop")
        still = {title for title in tasks if title not in "cgko"}
        link: str | None = f"{tasks_of(user)}?sort=position&limit=3"
        seen: list[str] = []
        page = 0
        while link is not None:
            answer = await client.get(link)
            seen += [task["title"] for task in answer.json()["items"]]
            link = answer.links.get("next", {}).get("url")
            title = "cgko"[page % 4]
            await move(client, tasks[title], **{"after" if page % 2 else "before": None})
            page += 1

        assert [title for title in seen if title in still] == sorted(still)

    async def test_ties_are_broken_by_the_id_across_pages(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        tasks = [await create(client, user, position="0000000000000001") for _ in range(7)]
        ids = sorted(task["id"] for task in tasks)

        for sort, expected in (("position", ids), ("-position", ids[::-1])):
            answers = await follow_links(client, user, sort=sort, limit="2")
            found = [task["id"] for answer in answers for task in answer.json()["items"]]
            assert found == expected

    async def test_a_page_is_read_from_the_index(self, database_url: str) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute("SET enable_seqscan = off")
            plan = connection.execute(
                "EXPLAIN SELECT * FROM tasks WHERE user_id = 'a' AND (position, id) > ('1', %s)"
                " ORDER BY position, id LIMIT 10",
                [NO_TASK],
            ).fetchall()
        text = "\n".join(line for (line,) in plan)
        assert "tasks_user_id_position_id_idx" in text
        assert "Sort" not in text
