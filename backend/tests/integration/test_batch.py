"""Several operations are carried out all or none, in their order."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.api.problems import Kind
from src.database import Effect, run
from src.models.limits import BATCH_BODY_MAX_BYTES, BATCH_MAX_OPERATIONS, BODY_MAX_BYTES
from src.schemas.batch import TaskBatch
from src.services import batch
from tests.builders import (
    NEW,
    NO_TASK,
    REPLACEMENT,
    changed_before_the_write,
    create,
    path_of,
    problem,
    rows_of,
    tasks_of,
)

pytestmark = pytest.mark.anyio

Operation = dict[str, Any]


def creation(id_: object = None, **fields: object) -> Operation:
    named = {} if id_ is None else {"id": str(id_)}
    return {"op": "create", "task": {"title": "Buy milk", **fields}, **named}


def change(task: dict[str, Any], **changes: object) -> Operation:
    return {"op": "update", "id": task["id"], "changes": changes}


def completion(task: dict[str, Any], *, is_completed: bool = True) -> Operation:
    return {"op": "complete", "id": task["id"], "is_completed": is_completed}


def moving(task: dict[str, Any], **place: str | None) -> Operation:
    return {"op": "move", "id": task["id"], **place}


def deletion(task: dict[str, Any]) -> Operation:
    return {"op": "delete", "id": task["id"]}


async def send_batch(
    client: httpx.AsyncClient, user: str, *operations: Operation
) -> httpx.Response:
    return await client.post(f"{tasks_of(user)}/batch", json={"operations": operations})


async def apply(
    client: httpx.AsyncClient, user: str, *operations: Operation
) -> list[dict[str, Any]]:
    answer = await send_batch(client, user, *operations)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    assert [result["op"] for result in results] == [operation["op"] for operation in operations]
    return results


async def all_tasks(client: httpx.AsyncClient, user: str) -> dict[str, dict[str, Any]]:
    page = (await client.get(tasks_of(user), params={"limit": 1000})).json()
    return {task["id"]: task for task in page["items"]}


def failure(position: int, kind: Kind, **current: object) -> dict[str, object]:
    return {
        "pointer": f"/operations/{position}",
        "code": kind.code,
        "detail": kind.detail,
        "status": kind.status,
        **current,
    }


@pytest.mark.requirement("FR-082")
class TestABatch:
    async def test_carries_out_every_kind_of_operation_in_order(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        updated, completed, moved, deleted = [await create(client, user) for _ in range(4)]
        new_id = uuid4()

        results = await apply(
            client,
            user,
            creation(new_id, tags=["home"]),
            change(updated, title="Wash up", due_at="2026-12-24T18:00:00Z"),
            completion(completed),
            moving(moved, after=None),
            deletion(deleted),
        )

        created, changed, done, topmost = [result["task"] for result in results[:4]]
        gone = results[4]["deleted"]
        assert created == {
            "id": str(new_id),
            "user_id": user,
            "title": "Buy milk",
            "description": None,
            "is_completed": False,
            "completed_at": None,
            "priority": "none",
            "due_date": None,
            "due_at": None,
            "tags": ["home"],
            "position": f"{created['version']:016}",
            "version": created["version"],
            "created_at": created["created_at"],
            "updated_at": created["created_at"],
        }
        at = created["created_at"]
        first = created["version"]
        assert changed == {
            **updated,
            "title": "Wash up",
            "due_at": "2026-12-24T18:00:00.000000Z",
            "version": first + 1,
            "updated_at": at,
        }
        assert done == {
            **completed,
            "is_completed": True,
            "completed_at": at,
            "version": first + 2,
            "updated_at": at,
        }
        assert topmost == {
            **moved,
            "position": f"{int(updated['position']) - 1:016}",
            "version": first + 3,
            "updated_at": at,
        }
        assert gone == {"id": deleted["id"], "version": first + 4, "deleted_at": at}
        assert [result["deleted"] for result in results[:4]] == [None] * 4
        assert results[4]["task"] is None
        listed = await client.get(tasks_of(user))
        assert listed.headers["etag"] == f'W/"{first + 4}"'
        assert await all_tasks(client, user) == {
            task["id"]: task for task in (created, changed, done, topmost)
        }

    async def test_carries_out_several_operations_on_one_task(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        id_ = {"id": str(uuid4())}

        results = await apply(
            client,
            user,
            creation(id_["id"]),
            completion(id_),
            change(id_, due_date="2026-12-24"),
            completion(id_, is_completed=False),
            change(id_, due_at="2026-12-24T18:00:00Z"),
            deletion(id_),
            creation(id_["id"], title="Buy milk again"),
        )

        tasks = [result["task"] for result in results if result["task"]]
        assert [task["is_completed"] for task in tasks] == [False, True, True, False, False, False]
        assert [task["completed_at"] is not None for task in tasks[1:4]] == [True, True, False]
        assert (tasks[4]["due_date"], tasks[4]["due_at"]) == (None, "2026-12-24T18:00:00.000000Z")
        versions = [(result["task"] or result["deleted"])["version"] for result in results]
        assert versions == [*range(versions[0], versions[0] + 7)]
        assert (await client.get(path_of(tasks[-1]))).json() == tasks[-1]
        rows = rows_of(shared_database_url, user)
        assert (len(rows["tasks"]), rows["task_tombstones"]) == (1, [])
        assert rows["task_lists"] == [
            {"user_id": user, "version": versions[-1], "first_version": versions[0]}
        ]

    async def test_keeps_the_time_of_a_completion(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user, is_completed=True)

        again, changed, reopened, anew = await apply(
            client,
            user,
            completion(task),
            change(task, title="x"),
            completion(task, is_completed=False),
            completion(task),
        )

        assert again["task"]["completed_at"] == task["completed_at"]
        assert changed["task"]["completed_at"] == task["completed_at"]
        assert reopened["task"]["completed_at"] is None
        assert anew["task"]["completed_at"] > task["completed_at"]

    async def test_shows_up_in_the_changes(self, client: httpx.AsyncClient, user: str) -> None:
        deleted = await create(client, user)
        since = (await client.get(f"{tasks_of(user)}/changes")).json()["next"]

        created, gone = await apply(client, user, creation(), deletion(deleted))

        found = (await client.get(f"{tasks_of(user)}/changes", params={"since": since})).json()
        assert found["changed"] == [created["task"]]
        assert found["deleted"] == [gone["deleted"]]

    async def test_gives_a_task_without_an_id_a_new_one(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        results = await apply(client, user, creation(), creation())

        ids = [UUID(result["task"]["id"]) for result in results]
        assert [id_.version for id_ in ids] == [7, 7]
        assert len(set(ids)) == 2

    async def test_has_versions_that_begin_with_its_time(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        results = await apply(client, user, creation(), creation())

        created_at = datetime.fromisoformat(results[0]["task"]["created_at"])
        at = (created_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        assert [result["task"]["version"] for result in results] == [at, at + 1]

    async def test_that_changes_nothing_leaves_the_version(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)

        (result,) = await apply(client, user, change(task))

        assert result["task"] == task
        assert (await client.get(path_of(task))).json() == task

    async def test_reads_only_the_tasks_that_it_names_and_the_last_one(
        self, app: FastAPI, client: httpx.AsyncClient, user: str
    ) -> None:
        named, deleted, _, forgotten, last = [await create(client, user) for _ in range(5)]
        for task in (deleted, forgotten):
            await client.delete(path_of(task))
        operations = TaskBatch.model_validate(
            {"operations": [completion(named), deletion(deleted)]}
        )

        async with app.state.database.session() as session:
            parameters = batch.read_parameters(user, operations.operations)
            read = await run(session, batch.READ_BATCH, parameters, Effect.READ)

        assert {str(row.id) for row in read.rows} == {named["id"], deleted["id"], last["id"]}

    async def test_keeps_what_it_does_not_set(self, client: httpx.AsyncClient, user: str) -> None:
        """Also what the API does not show: the fingerprint of the key that made a task."""
        key = {"Idempotency-Key": str(uuid4())}
        body = {**REPLACEMENT, "description": 'Quotes " and \\ and ä 🥛 \u2028', "tags": ["a", "b"]}
        task = (await client.post(tasks_of(user), json=body, headers=key)).json()

        (result,) = await apply(client, user, change(task, priority="low"))

        after = result["task"]
        assert after == {
            **task,
            "priority": "low",
            "version": after["version"],
            "updated_at": after["updated_at"],
        }
        assert (await client.get(path_of(task))).json() == after
        assert (await client.post(tasks_of(user), json=body, headers=key)).json() == after

    async def test_can_have_a_hundred_operations(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        description = "🥛" * 2000
        creations = [
            creation(uuid4(), title=f"Task {number}", description=description)
            for number in range(BATCH_MAX_OPERATIONS)
        ]

        results = await apply(client, user, *creations)

        assert [result["task"]["title"] for result in results] == [
            operation["task"]["title"] for operation in creations
        ]
        assert len(await all_tasks(client, user)) == BATCH_MAX_OPERATIONS


@pytest.mark.requirement("FR-083")
class TestABatchThatFails:
    async def test_changes_nothing_and_names_every_failed_operation(
        self, client: httpx.AsyncClient, user: str, other_user: str, shared_database_url: str
    ) -> None:
        task, deleted = [await create(client, user) for _ in range(2)]
        foreign = await create(client, other_user)
        await client.delete(path_of(deleted))
        before = rows_of(shared_database_url, user), rows_of(shared_database_url, other_user)

        answer = await send_batch(
            client,
            user,
            creation(uuid4()),
            change(foreign, title="mine"),
            completion(deleted),
            deletion({"id": str(uuid4())}),
            {**change(task, title="x"), "if_version": task["version"] - 1},
            creation(task["id"], title="another"),
            creation(deleted["id"]),
            {**completion(task), "if_version": task["version"]},
        )

        assert answer.status_code == 409
        assert answer.json() == problem(
            answer,
            Kind.BATCH_FAILED,
            errors=[
                failure(1, Kind.TASK_NOT_FOUND),
                failure(2, Kind.TASK_NOT_FOUND),
                failure(3, Kind.TASK_NOT_FOUND),
                failure(4, Kind.VERSION_MISMATCH, current=task),
                failure(5, Kind.TASK_EXISTS, current=task),
                failure(6, Kind.TASK_DELETED),
            ],
        )
        after = rows_of(shared_database_url, user), rows_of(shared_database_url, other_user)
        assert after == before

    async def test_compares_versions_with_those_before_the_batch(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        """That is what the client has seen, also in its second operation on a task."""
        task = await create(client, user)
        new = {"id": str(uuid4())}
        seen = {"if_version": task["version"]}

        written_with_a_point = {"if_version": float(task["version"])}
        await apply(
            client,
            user,
            {**completion(task), **seen},
            {**change(task, title="x"), **written_with_a_point},
        )
        current = (await client.get(path_of(task))).json()
        failed = await send_batch(
            client,
            user,
            change(task, title="y"),
            {**deletion(task), **seen},
            creation(new["id"]),
            {**change(new, title="z"), "if_version": 1},
        )

        assert (current["title"], current["is_completed"]) == ("x", True)
        assert failed.json()["errors"] == [
            failure(1, Kind.VERSION_MISMATCH, current=current),
            failure(3, Kind.TASK_NOT_FOUND),
        ]

    @pytest.mark.requirement("FR-082", "FR-086")
    async def test_changes_nothing_if_it_fails_because_the_list_has_changed_meanwhile(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        updated, deleted, gone = [await create(client, user) for _ in range(3)]
        await client.delete(path_of(gone))
        tombstones = rows_of(shared_database_url, user)["task_tombstones"]

        with changed_before_the_write(shared_database_url, user):
            answer = await send_batch(
                client,
                user,
                creation(),
                deletion(deleted),
                deletion(gone),
                creation(gone["id"]),
                {**change(updated, title="ours"), "if_version": updated["version"]},
            )

        left = await all_tasks(client, user)
        assert answer.json()["errors"] == [
            failure(4, Kind.VERSION_MISMATCH, current=left[updated["id"]])
        ]
        assert {id_: task["title"] for id_, task in left.items()} == {
            updated["id"]: "theirs",
            deleted["id"]: "theirs",
        }
        assert rows_of(shared_database_url, user)["task_tombstones"] == tombstones

    async def test_can_fail_a_hundred_times(self, client: httpx.AsyncClient, user: str) -> None:
        task = await create(client, user)
        outdated = {**change(task, title="x"), "if_version": 1}

        answer = await send_batch(client, user, *[outdated] * BATCH_MAX_OPERATIONS)

        assert answer.json()["errors"] == [
            failure(position, Kind.VERSION_MISMATCH, current=task)
            for position in range(BATCH_MAX_OPERATIONS)
        ]


@pytest.mark.requirement("FR-082", "FR-023")
class TestABatchThatBreaksARule:
    @pytest.mark.parametrize(
        ("operations", "errors"),
        [
            ([], [("/operations", "too_short", "must not be empty")]),
            ([1], [("/operations/0", "wrong_type", "must be an object")]),
            ([{}], [("/operations/0/op", "required", "is required")]),
            (
                [{"op": "erase"}],
                [
                    (
                        "/operations/0/op",
                        "not_allowed",
                        "must be one of 'create', 'update', 'complete', 'move' or 'delete'",
                    )
                ],
            ),
            (
                [creation(), {"op": "create", "task": {"title": "", "id": "x", "colour": 1}}],
                [
                    ("/operations/1/task/title", "too_short", "must not be empty"),
                    ("/operations/1/task/id", "read_only", "must be next to `task`, not inside it"),
                    ("/operations/1/task/colour", "unknown", "unknown field"),
                ],
            ),
            (
                [{"op": "update", "id": "x", "changes": {"title": None}, "version": 1}],
                [
                    (
                        "/operations/0/id",
                        "invalid_uuid",
                        "must be a UUID such as 01981f6e-3c00-7a3b-8a00-000000000001",
                    ),
                    ("/operations/0/changes/title", "wrong_type", "must be a string"),
                    ("/operations/0/version", "unknown", "unknown field; did you mean if_version?"),
                ],
            ),
            (
                [{"op": "complete", "is_completed": "yes", "if_version": "1"}, {"op": "delete"}],
                [
                    ("/operations/0/id", "required", "is required"),
                    ("/operations/0/if_version", "wrong_type", "must be an integer"),
                    ("/operations/0/is_completed", "wrong_type", "must be true or false"),
                    ("/operations/1/id", "required", "is required"),
                ],
            ),
            (
                [
                    {"op": "delete", "id": NO_TASK, "if_version": 0},
                    {"op": "delete", "id": NO_TASK, "if_version": 1.5},
                    {"op": "delete", "id": NO_TASK, "if_version": True},
                ],
                [
                    ("/operations/0/if_version", "too_small", "must be at least 1"),
                    ("/operations/1/if_version", "wrong_type", "must be an integer"),
                    ("/operations/2/if_version", "wrong_type", "must be an integer"),
                ],
            ),
            (
                [{**creation(), "id": None}],
                [
                    (
                        "/operations/0/id",
                        "invalid_uuid",
                        "must be a UUID such as 01981f6e-3c00-7a3b-8a00-000000000001",
                    )
                ],
            ),
            (
                [creation()] * (BATCH_MAX_OPERATIONS + 1),
                [("/operations", "too_long", "must have at most 100 items")],
            ),
        ],
        ids=[
            "no operation",
            "no object",
            "no kind",
            "unknown kind",
            "create",
            "update",
            "complete and delete",
            "versions",
            "id is null",
            "too many",
        ],
    )
    async def test_is_422_that_points_into_the_operation(
        self,
        client: httpx.AsyncClient,
        user: str,
        operations: list[Any],
        errors: list[tuple[str, str, str]],
    ) -> None:
        answer = await send_batch(client, user, *operations)

        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                {"pointer": pointer, "code": code, "detail": detail}
                for pointer, code, detail in errors
            ],
        )

    @pytest.mark.requirement("FR-084", "FR-025")
    async def test_its_body_may_be_larger_than_others_but_not_too_large(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        body = json.dumps({"operations": [creation()]}).encode()
        headers = {"Content-Type": "application/json"}
        path = f"{tasks_of(user)}/batch"

        large = await client.post(path, content=body.ljust(BATCH_BODY_MAX_BYTES), headers=headers)
        larger = await client.post(
            path, content=body.ljust(BATCH_BODY_MAX_BYTES + 1), headers=headers
        )
        other = await client.post(
            tasks_of(user), content=b"{}".ljust(BODY_MAX_BYTES + 1), headers=headers
        )

        assert large.status_code == 200
        for answer in (larger, other):
            assert answer.json() == problem(answer, Kind.BODY_TOO_LARGE)

    @pytest.mark.requirement("FR-084")
    async def test_takes_no_idempotency_key(self, client: httpx.AsyncClient, user: str) -> None:
        answer = await client.post(
            f"{tasks_of(user)}/batch",
            json={"operations": [creation()]},
            headers={"Idempotency-Key": "key"},
        )

        assert (answer.status_code, answer.json()["errors"][0]["header"]) == (
            422,
            "Idempotency-Key",
        )


@pytest.mark.requirement("FR-084")
class TestABatchThatIsSentAgain:
    async def test_has_one_effect(self, client: httpx.AsyncClient, user: str) -> None:
        kept, deleted = [await create(client, user) for _ in range(2)]
        brief, lasting = ({"id": str(uuid4())} for _ in range(2))
        operations = [
            creation(lasting["id"], title="Wash up"),
            change(lasting, title="Wash up again", is_completed=True),
            creation(brief["id"]),
            deletion(brief),
            change(kept, tags=["home"]),
            deletion(deleted),
        ]

        await apply(client, user, *operations)
        once = await all_tasks(client, user)
        await apply(client, user, *operations)
        twice = await all_tasks(client, user)

        def content(tasks: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
            return [
                {**task, "version": None, "updated_at": None} for _, task in sorted(tasks.items())
            ]

        assert content(twice) == content(once)
        assert set(once) == {kept["id"], lasting["id"]}

    async def test_writes_nothing_if_everything_is_done(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        deleted = await create(client, user)
        operations = [creation(uuid4(), due_at="2026-12-24T19:00:00+01:00"), deletion(deleted)]

        first = await apply(client, user, *operations)
        rows = rows_of(shared_database_url, user)
        second = await apply(client, user, *operations)

        assert second == first
        assert rows_of(shared_database_url, user) == rows

    async def test_knows_its_task_after_somebody_has_changed_it(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        operation = creation(uuid4())
        (created,) = await apply(client, user, operation)
        changed = await client.patch(path_of(created["task"]), json={"title": "Buy oat milk"})

        (again,) = await apply(client, user, operation)

        assert again["task"] == changed.json()

    async def test_knows_a_task_with_the_same_content(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        """It may have been created with a PUT, which keeps no fingerprint."""
        path = f"{tasks_of(user)}/{uuid4()}"
        task = (await client.put(path, json=REPLACEMENT, headers=NEW)).json()

        (result,) = await apply(client, user, creation(task["id"], **REPLACEMENT))

        assert result["task"] == task

    async def test_does_not_undo_a_deletion(self, client: httpx.AsyncClient, user: str) -> None:
        operation = creation(uuid4())
        (created,) = await apply(client, user, operation)
        await client.delete(path_of(created["task"]))

        answer = await send_batch(client, user, operation)

        assert answer.json()["errors"] == [failure(0, Kind.TASK_DELETED)]

    async def test_may_create_what_it_deletes_itself(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        task, other = [await create(client, user) for _ in range(2)]
        await client.delete(path_of(task))
        await client.delete(path_of(other))
        *_, tombstone = rows_of(shared_database_url, user)["task_tombstones"]

        *_, created = await apply(client, user, deletion(task), creation(task["id"]))

        assert await all_tasks(client, user) == {task["id"]: created["task"]}
        assert rows_of(shared_database_url, user)["task_tombstones"] == [tombstone]


IDS: Final = [str(UUID(int=number, version=4)) for number in range(3)]
ids = st.sampled_from(IDS)
fields = st.fixed_dictionaries(
    {},
    optional={
        "position": st.sampled_from(["0000000000000001", "0000000000000900", "8000000000000000"]),
        "description": st.sampled_from([None, "", "Two litres"]),
        "is_completed": st.booleans(),
        "priority": st.sampled_from(["none", "high"]),
        "due_date": st.just("2026-12-24"),
        "tags": st.sampled_from([[], ["home", "home "]]),
    },
)
changes = st.one_of(
    fields, st.just({"due_at": "2026-12-24T18:00:00Z"}), st.just({"title": " Wash up "})
)
operations = st.one_of(
    st.builds(lambda id_, more: creation(id_, **more), ids, fields),
    st.builds(lambda id_, more: change({"id": id_}, **more), ids, changes),
    st.builds(lambda id_, done: completion({"id": id_}, is_completed=done), ids, st.booleans()),
    st.builds(
        lambda id_, side, neighbour: moving({"id": id_}, **{side: neighbour}),
        ids,
        st.sampled_from(["after", "before"]),
        st.one_of(st.none(), ids),
    ),
    st.builds(lambda id_: deletion({"id": id_}), ids),
)


async def send_alone(client: httpx.AsyncClient, user: str, operation: Operation) -> httpx.Response:
    path = f"{tasks_of(user)}/{operation['id']}"
    if operation["op"] == "create":
        whole = {**REPLACEMENT, "description": None, "priority": "none", "due_date": None}
        body = {**whole, "tags": [], **operation["task"]}
        return await client.put(path, json=body, headers=NEW)
    if operation["op"] == "update":
        return await client.patch(path, json=operation["changes"])
    if operation["op"] == "complete":
        body = {"is_completed": operation["is_completed"]}
        return await client.patch(f"{path}/complete", json=body)
    if operation["op"] == "move":
        place = {name: value for name, value in operation.items() if name in ("after", "before")}
        return await client.post(f"{path}/move", json=place)
    return await client.delete(path)


def essence(task: dict[str, Any] | None) -> dict[str, Any] | None:
    """What two users' tasks have in common."""
    if task is None:
        return None
    own = {"user_id", "position", "version", "created_at", "updated_at"}
    return {
        name: value is not None if name == "completed_at" else value
        for name, value in task.items()
        if name not in own
    }


def reason(problem: dict[str, Any]) -> tuple[str, str]:
    """Where and why an operation has failed alone, as it is said of one in a batch."""
    if "errors" not in problem:
        return "", problem["code"]
    (error,) = problem["errors"]
    return error["pointer"], error["code"]


async def in_order(client: httpx.AsyncClient, user: str) -> list[dict[str, Any]]:
    answer = await client.get(tasks_of(user), params={"sort": "position"})
    tasks: list[dict[str, Any]] = answer.json()["items"]
    return tasks


async def send_each_alone(
    client: httpx.AsyncClient, user: str, batch: list[Operation]
) -> list[httpx.Response]:
    """Give the answers. A batch differs in one: what it has deleted, it can delete again."""
    answers = []
    deleted: set[str] = set()
    for operation in batch:
        answer = await send_alone(client, user, operation)
        if operation["op"] == "delete":
            answer = httpx.Response(204) if operation["id"] in deleted else answer
            deleted |= {operation["id"]} if answer.is_success else set()
        elif operation["op"] == "create" and answer.is_success:
            deleted.discard(operation["id"])
        answers.append(answer)
    return answers


@pytest.mark.slow
@pytest.mark.requirement("SC-014")
@given(st.lists(operations, min_size=1, max_size=12))
@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
async def test_a_batch_does_what_its_operations_do_alone(
    client: httpx.AsyncClient, batch: list[Operation]
) -> None:
    alone, together = f"alone-{uuid4()}", f"together-{uuid4()}"
    # Each creation has a content of its own: a batch takes a second one for the same request.
    for number, operation in enumerate(batch):
        if operation["op"] == "create":
            operation["task"]["title"] = f"Task {number}"
    for user in (alone, together):
        await client.put(f"{tasks_of(user)}/{IDS[0]}", json=REPLACEMENT, headers=NEW)

    answers = await send_each_alone(client, alone, batch)
    outcome = await send_batch(client, together, *batch)

    failed = {number: answer.json() for number, answer in enumerate(answers) if answer.is_error}
    if failed:
        assert outcome.status_code == 409
        assert [
            (error["pointer"], error["code"], error["status"]) for error in outcome.json()["errors"]
        ] == [
            (f"/operations/{number}{place}", code, problem["status"])
            for number, problem in failed.items()
            for place, code in [reason(problem)]
        ]
        assert [*await all_tasks(client, together)] == [IDS[0]]
    else:
        assert outcome.status_code == 200
        assert [essence(result["task"]) for result in outcome.json()["results"]] == [
            essence(answer.json() if answer.content else None) for answer in answers
        ]
        left = [
            [essence(task) for task in await in_order(client, user)] for user in (alone, together)
        ]
        assert left[0] == left[1]


@pytest.mark.requirement("FR-093")
class TestAMove:
    async def test_sees_what_the_operations_before_it_did(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        tasks = [await create(client, user, title=title) for title in "abcde"]
        new = {"id": str(uuid4())}

        await apply(
            client,
            user,
            moving(tasks[1], before=None),  # acdeb
            moving(tasks[0], after=tasks[2]["id"]),  # cadeb
            deletion(tasks[3]),  # caeb
            creation(new["id"], title="n"),  # caebn
            moving(new, before=tasks[4]["id"]),  # canEb
            change(tasks[2], position=f"{int(tasks[4]['position'])}.5"),  # anecb
            moving(tasks[1], after=tasks[2]["id"]),  # where it is
            moving(tasks[0], after=tasks[0]["id"]),  # the same
        )

        assert [task["title"] for task in await in_order(client, user)] == [*"anecb"]

    async def test_finds_the_tasks_around_positions_that_the_batch_itself_sets(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        tasks = [
            await create(client, user, title=title, position=f"00000000000000{number}0")
            for number, title in enumerate("abcdef", 1)
        ]
        new = {"id": str(uuid4())}

        await apply(
            client,
            user,
            creation(new["id"], title="n", position="0000000000000035"),
            change(tasks[0], position="0000000000000055"),
            moving(tasks[5], after=new["id"]),
            moving(tasks[1], before=tasks[0]["id"]),
        )

        assert [task["title"] for task in await in_order(client, user)] == [*"cnfdeba"]

    async def test_to_where_it_is_writes_nothing(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        first, second = [await create(client, user) for _ in range(2)]
        rows = rows_of(shared_database_url, user)

        results = await apply(
            client, user, moving(second, after=first["id"]), moving(first, after=None)
        )

        assert [result["task"] for result in results] == [second, first]
        assert rows_of(shared_database_url, user) == rows

    async def test_passes_over_what_the_batch_has_deleted(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        first, between, last = [await create(client, user) for _ in range(3)]

        _, result = await apply(client, user, deletion(between), moving(last, after=first["id"]))

        assert result["task"] == last

    async def test_names_the_neighbour_that_is_not_there(
        self, client: httpx.AsyncClient, user: str, other_user: str
    ) -> None:
        task, gone = [await create(client, user) for _ in range(2)]
        foreign = await create(client, other_user)

        answer = await send_batch(
            client,
            user,
            deletion(gone),
            moving(task, after=foreign["id"]),
            moving(task, before=gone["id"]),
            moving({"id": NO_TASK}, after=NO_TASK),
        )

        unknown = {
            "code": "unknown_neighbour",
            "detail": "is not the id of a task of this user; send the id of another task, or null",
            "status": 422,
        }
        assert answer.json() == problem(
            answer,
            Kind.BATCH_FAILED,
            errors=[
                {"pointer": "/operations/1/after", **unknown},
                {"pointer": "/operations/2/before", **unknown},
                failure(3, Kind.TASK_NOT_FOUND),
            ],
        )

    async def test_depends_on_the_version_that_the_client_has_seen(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task, _ = [await create(client, user) for _ in range(2)]
        stale = {**moving(task, before=None), "if_version": 1}
        seen = {**moving(task, before=None), "if_version": task["version"]}

        refused = await send_batch(client, user, stale)
        await apply(client, user, seen)

        assert refused.json()["errors"] == [failure(0, Kind.VERSION_MISMATCH, current=task)]
        assert (await in_order(client, user))[1]["id"] == task["id"]

    @pytest.mark.parametrize("side", ["after", "before"])
    async def test_goes_next_to_a_task_to_which_the_batch_gives_a_position(
        self, client: httpx.AsyncClient, user: str, side: str
    ) -> None:
        """The tasks around that position are named by no operation."""
        tasks = [
            await create(client, user, title=title, position=f"000000000000000{number}")
            for number, title in enumerate("abcdefgh", start=1)
        ]
        first, last = tasks[0], tasks[-1]

        await apply(
            client,
            user,
            change(first, position="0000000000000004.5"),
            moving(last, **{side: first["id"]}),
        )

        titles = "".join([task["title"] for task in await in_order(client, user)])
        assert titles == ("bcdahefg" if side == "after" else "bcdhaefg")

    @pytest.mark.parametrize("last", ["deletion", "change"])
    async def test_is_not_needed_to_know_what_is_the_last_task(
        self, client: httpx.AsyncClient, user: str, last: str
    ) -> None:
        """The last positions are far in the future, and the batch takes the last task away."""
        one, two = [
            await create(client, user, title=title, position=f"900000000000000{number}")
            for number, title in enumerate(("one", "two"))
        ]
        away = deletion(two) if last == "deletion" else change(two, position="0000000000000001")

        await apply(client, user, away, creation(title="new"))

        titles = [task["title"] for task in await in_order(client, user)]
        assert titles == (["one", "new"] if last == "deletion" else ["two", "one", "new"])
        assert one["position"] < (await in_order(client, user))[-1]["position"]

    async def test_makes_room_among_the_tasks_that_the_batch_names(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        """Their positions are tight because the batch sets them so: no other task can help."""
        low, high, task = ({"id": str(uuid4())} for _ in range(3))
        tight = [f"0000000000000005.{'0' * 39}{number}" for number in (1, 2)]

        await apply(
            client,
            user,
            creation(low["id"], title="low", position=tight[0]),
            creation(high["id"], title="high", position=tight[1]),
            creation(task["id"], title="between"),
            moving(task, after=low["id"]),
        )

        titles = [task["title"] for task in await in_order(client, user)]
        assert titles == ["low", "between", "high"]

    async def test_has_one_neighbour(self, client: httpx.AsyncClient, user: str) -> None:
        task = await create(client, user)

        answer = await send_batch(client, user, moving(task), moving(task, after=None, before=None))

        assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [
            ("/operations/0", "one_neighbour"),
            ("/operations/1", "one_neighbour"),
        ]
