"""What becomes of each operation when its connection to the database breaks.

A statement can break off before the server has it, after the server has committed it, and with
word from the server that it was not executed. Whatever happens, a request has one effect or
none, and the answer says which; 503 only where nobody can know (ADR 0035).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from src.api.problems import Kind
from src.database import FIRST_PAUSE, MAX_ATTEMPTS
from tests.builders import (
    AHEAD,
    NEW,
    NO_TASK,
    REPLACEMENT,
    Operation,
    changed_before_the_write,
    create,
    each,
    problem,
    rows_of,
    send,
    stop_clock,
    tag_of,
    tasks_of,
    version_in,
)
from tests.processes import PATIENCE, serving
from tests.time_limits import TimeLimits
from tests.wire import Fault, Wire

pytestmark = pytest.mark.anyio


_SEEN: Final = {"If-Match": '"{version}"'}
_KEY: Final = {"Idempotency-Key": "{key}"}
_ANY: Final = {"If-Match": "*"}

REPEATABLE: Final = {
    "create": Operation("POST", "", {"title": "Buy milk"}),
    "create by key": Operation("POST", "", {"title": "Buy milk"}, _KEY),
    "list": Operation("GET", ""),
    "list changes": Operation("GET", "/changes"),
    "count": Operation("GET", "/summary"),
    "get": Operation("GET"),
    "replace": Operation("PUT", body=REPLACEMENT),
    "replace what exists": Operation("PUT", body=REPLACEMENT, headers=_ANY),
    "update": Operation("PATCH", body={"title": "Buy oat milk"}),
    "complete": Operation("PATCH", "/{id}/complete", {"is_completed": True}),
    "move": Operation("POST", "/{id}/move", {"before": None}),
    "delete": Operation("DELETE"),
    "delete what exists": Operation("DELETE", headers=_ANY),
}
NOT_REPEATABLE: Final = {
    "create by id": Operation("PUT", "/{no_id}", REPLACEMENT, NEW),
    "replace what was seen": Operation("PUT", body=REPLACEMENT, headers=_SEEN),
    "update what was seen": Operation("PATCH", body={"title": "Buy oat milk"}, headers=_SEEN),
    "complete what was seen": Operation("PATCH", "/{id}/complete", {"is_completed": True}, _SEEN),
    "toggle": Operation("PATCH", "/{id}/complete"),
    "toggle what was seen": Operation("PATCH", "/{id}/complete", headers=_SEEN),
    "move what was seen": Operation("POST", "/{id}/move", {"before": None}, _SEEN),
    "delete what was seen": Operation("DELETE", headers=_SEEN),
}
OPERATIONS: Final = REPEATABLE | NOT_REPEATABLE

BATCH: Final[list[dict[str, Any]]] = [
    {"op": "create", "task": {"title": "Buy milk"}},
    {"op": "update", "changes": {"title": "Buy oat milk"}},
    {"op": "create", "task": {"title": "Buy nothing"}, "id": NO_TASK},
    {"op": "delete", "id": NO_TASK},
]
UNCERTAIN: Final = (Fault.LOST, Fault.SWALLOWED)
FAULTS: Final = (*UNCERTAIN, Fault.TERMINATED)


def each_of(faults: tuple[Fault, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", faults, ids=[fault.name.lower() for fault in faults])


class Stage(NamedTuple):
    """A client of an app whose connections go by a wire."""

    wire: Wire
    client: httpx.AsyncClient
    database_url: str

    async def act(
        self, operation: Operation, *faults: Fault | None, user: str | None = None
    ) -> tuple[httpx.Response, Any]:
        """Send the operation on the first of two tasks; give the answer, and what is left."""
        user = user or f"user-{uuid4()}"
        task = await create(self.client, user, title="Wash up")
        await create(self.client, user, title="Dry up")
        self.wire.flights.clear()
        self.wire.faults.clear()
        self.wire.faults.extend(faults)
        known = {"version": task["version"], "no_id": uuid4(), "key": uuid4()}
        answer = await send(self.client, operation, user, task["id"], **known)
        assert not self.wire.faults, "a fault found no statement"
        return answer, effect(rows_of(self.database_url, user))


def effect(rows: dict[str, list[dict[str, Any]]]) -> object:
    """Give what was written, without the ids, versions and times that differ each time."""
    moving = ("user_id", "id", "version", "position", "request_hash")
    order = sorted(row["position"] for row in rows["tasks"])
    return [
        {name: value for name, value in row.items() if name not in moving and name[-3:] != "_at"}
        | {"is_keyed": row.get("request_hash") is not None, "is_dated": bool(row.get("due_at"))}
        | {"is_done": row.get("completed_at") is not None}
        | {"place": order.index(row["position"]) if "position" in row else None}
        for table in ("tasks", "task_tombstones")
        for row in rows[table]
    ]


def essence(answer: httpx.Response) -> object:
    """Give what the client is told, without what differs each time."""
    moving = ("id", "user_id", "version", "position", "next_cursor", "next")
    body = answer.json() if answer.content else {}
    tasks = body.get("items") or body.get("changed") or [body]
    return (
        answer.status_code,
        sorted(answer.headers),
        [
            {
                name: value
                for name, value in task.items()
                if name not in moving and name[-3:] != "_at"
            }
            for task in tasks
        ],
    )


@pytest.fixture(scope="module")
async def stage(shared_database_url: str) -> AsyncIterator[Stage]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("src.database.RETRY_WINDOW", PATIENCE)  # however slow the machine is
        async with (
            Wire(shared_database_url) as wire,
            serving(wire.url, db_pool_size=1, db_pool_timeout=30) as (_, client),
        ):
            yield Stage(wire, client, shared_database_url)


class TestAFault:
    @pytest.mark.requirement("FR-058", "SC-010")
    @each(REPEATABLE)
    @each_of(FAULTS)
    async def test_is_not_noticed_where_the_statement_may_be_repeated(
        self, stage: Stage, operation: Operation, fault: Fault
    ) -> None:
        undisturbed = await stage.act(operation)

        answer, left = await stage.act(operation, fault)

        assert answer.is_success
        assert essence(answer) == essence(undisturbed[0])
        assert left == undisturbed[1]

    @pytest.mark.requirement("FR-058", "SC-010")
    @each(NOT_REPEATABLE)
    async def test_is_not_noticed_where_nothing_was_executed(
        self, stage: Stage, operation: Operation
    ) -> None:
        undisturbed = await stage.act(operation)

        answer, left = await stage.act(operation, Fault.TERMINATED)

        assert answer.is_success
        assert essence(answer) == essence(undisturbed[0])
        assert left == undisturbed[1]

    @pytest.mark.requirement("FR-059", "SC-010")
    @each(NOT_REPEATABLE)
    @each_of(UNCERTAIN)
    async def test_is_told_where_a_repetition_could_lie(
        self, stage: Stage, operation: Operation, fault: Fault
    ) -> None:
        _, before = await stage.act(Operation("GET"))
        _, after = await stage.act(operation)

        answer, left = await stage.act(operation, fault)

        assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
        assert answer.headers["retry-after"] == "1"
        assert left == (after if fault is Fault.SWALLOWED else before)
        assert sum(flight.statements for flight in stage.wire.flights) == 1

    @pytest.mark.requirement("FR-058")
    @each(REPEATABLE)
    @pytest.mark.parametrize(
        "faults",
        [
            (Fault.SWALLOWED, Fault.SWALLOWED),
            (Fault.SWALLOWED, Fault.LOST),
            (Fault.SWALLOWED, Fault.TERMINATED),
            (Fault.TERMINATED, Fault.SWALLOWED),
        ],
        ids=lambda faults: "-".join(fault.name.lower() for fault in faults),
    )
    async def test_may_come_twice(
        self, stage: Stage, operation: Operation, faults: tuple[Fault, ...]
    ) -> None:
        undisturbed = await stage.act(operation)

        answer, left = await stage.act(operation, *faults)

        assert essence(answer) == essence(undisturbed[0])
        assert left == undisturbed[1]

    @pytest.mark.requirement("FR-058")
    @each(OPERATIONS)
    async def test_that_comes_a_third_time_is_told(
        self, stage: Stage, operation: Operation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, before = await stage.act(Operation("GET"))
        pauses: list[float] = []
        sleep = asyncio.sleep

        async def note_and_sleep(seconds: float) -> None:
            pauses.append(seconds)
            await sleep(seconds)

        monkeypatch.setattr("src.database.asyncio.sleep", note_and_sleep)
        answer, left = await stage.act(operation, *[Fault.TERMINATED] * MAX_ATTEMPTS)

        assert answer.status_code == 503
        assert left == before
        first, second = (pause for pause in pauses if pause > 0)
        assert FIRST_PAUSE * 0.5 <= first <= FIRST_PAUSE * 1.5
        assert FIRST_PAUSE <= second <= FIRST_PAUSE * 3

    @pytest.mark.requirement("FR-058", "FR-059", "FR-126")
    @each(OPERATIONS)
    async def test_that_is_a_frozen_server_is_not_waited_for(
        self, stage: Stage, operation: Operation, time_limits: TimeLimits
    ) -> None:
        """It has executed the statement, and does not say so."""
        undisturbed, after = await stage.act(operation)
        time_limits.run_out_on_silence(stage.wire)

        answer, left = await stage.act(operation, Fault.FROZEN)

        assert left == after
        if operation in REPEATABLE.values():
            assert essence(answer) == essence(undisturbed)
        else:
            assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")

    @pytest.mark.requirement("FR-059", "FR-126")
    @each(OPERATIONS)
    async def test_that_leaves_a_write_in_doubt_says_so(
        self, stage: Stage, operation: Operation
    ) -> None:
        answer, _ = await stage.act(operation, *[Fault.LOST] * attempts_at(operation))

        is_read = operation.method == "GET"
        code = "database_unavailable" if is_read else "outcome_unknown"
        assert (answer.status_code, answer.json()["code"]) == (503, code)


class TestAFaultOfABatch:
    """It has two statements: the first reads, the second writes."""

    async def apply(
        self,
        stage: Stage,
        *faults: Fault | None,
        is_conditional: bool = False,
        user: str | None = None,
    ) -> tuple[httpx.Response, object]:
        """Send a batch to a user who has one task; give the answer, and what is left."""
        user = user or f"user-{uuid4()}"
        task = await create(stage.client, user, title="Wash up")
        seen = {"if_version": task["version"]} if is_conditional else {}
        operations = [
            {**one, "id": task["id"], **seen} if one["op"] == "update" else one for one in BATCH
        ]
        stage.wire.faults.clear()
        stage.wire.faults.extend(faults)
        answer = await stage.client.post(f"{tasks_of(user)}/batch", json={"operations": operations})
        assert not stage.wire.faults, "a fault found no statement"
        return answer, effect(rows_of(stage.database_url, user))

    @pytest.mark.requirement("FR-058", "FR-084", "SC-010")
    @pytest.mark.parametrize("before", [(), (None,)], ids=["reading", "writing"])
    @each_of(FAULTS)
    async def test_is_not_noticed(
        self, stage: Stage, fault: Fault, before: tuple[None, ...]
    ) -> None:
        _, undisturbed = await self.apply(stage)

        answer, left = await self.apply(stage, *before, fault)

        assert answer.status_code == 200, answer.text
        assert left == undisturbed

    @pytest.mark.requirement("FR-059", "SC-010")
    @each_of(UNCERTAIN)
    async def test_is_told_where_an_operation_depends_on_a_version(
        self, stage: Stage, fault: Fault
    ) -> None:
        _, undisturbed = await self.apply(stage)

        answer, left = await self.apply(stage, None, fault, is_conditional=True)

        assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
        assert (left == undisturbed) is (fault is Fault.SWALLOWED)

    @pytest.mark.requirement("FR-059", "FR-082", "SC-010")
    @each_of(FAULTS)
    async def test_in_the_transaction_of_its_second_attempt_leaves_nothing(
        self, stage: Stage, user: str, fault: Fault
    ) -> None:
        """In vain it has read and written; then it locks, reads and writes."""
        with changed_before_the_write(stage.database_url, user):
            answer, _ = await self.apply(stage, *[None] * 4, fault, user=user)

        code = "database_unavailable" if fault is Fault.TERMINATED else "outcome_unknown"
        assert (answer.status_code, answer.json()["code"]) == (503, code)
        rows = rows_of(stage.database_url, user)
        assert [row["title"] for row in rows["tasks"]] == ["theirs"]
        assert rows["task_tombstones"] == []

    @pytest.mark.requirement("FR-059", "FR-126", "SC-010")
    @pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
    async def test_that_hides_whether_the_transaction_was_committed_is_told(
        self, stage: Stage, user: str, fault: Fault, time_limits: TimeLimits
    ) -> None:
        time_limits.run_out_on_silence(stage.wire)
        with changed_before_the_write(stage.database_url, user):
            answer, _ = await self.apply(stage, *[None] * 5, fault, user=user)

        assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
        is_committed = fault in (Fault.SWALLOWED, Fault.FROZEN)
        titles = {row["title"] for row in rows_of(stage.database_url, user)["tasks"]}
        assert titles == ({"Buy oat milk", "Buy milk"} if is_committed else {"theirs"})

    @pytest.mark.requirement("FR-029", "FR-031")
    async def test_during_the_rollback_is_not_waited_for(
        self, stage: Stage, user: str, time_limits: TimeLimits
    ) -> None:
        task = await create(stage.client, user)
        change = {"op": "update", "id": task["id"], "changes": {"title": "ours"}}
        operations = [{**change, "if_version": task["version"]}]
        time_limits.run_out_on_silence(stage.wire)
        stage.wire.faults.extend([*[None] * 4, Fault.FROZEN])
        with changed_before_the_write(stage.database_url, user):
            answer = await stage.client.post(
                f"{tasks_of(user)}/batch", json={"operations": operations}
            )

        assert not stage.wire.faults
        assert answer.status_code in (409, 503)
        (row,) = rows_of(stage.database_url, user)["tasks"]
        assert row["title"] == "theirs"

    CHANGE_AND_DELETE: Final[list[dict[str, Any]]] = [
        {"op": "update", "changes": {"title": "Buy oat milk"}},
        {"op": "delete"},
    ]

    @pytest.mark.requirement("FR-058", "FR-126", "SC-010")
    async def test_is_not_noticed_where_the_second_attempt_alone_would_fail(
        self, stage: Stage, user: str
    ) -> None:
        """The first one has deleted the task that the second one would change."""
        task = await create(stage.client, user)
        operations = [{**one, "id": task["id"]} for one in self.CHANGE_AND_DELETE]
        stage.wire.faults.extend([None, Fault.SWALLOWED])

        answer = await stage.client.post(f"{tasks_of(user)}/batch", json={"operations": operations})

        assert answer.status_code == 200, answer.text
        updated, deleted = answer.json()["results"]
        assert updated["task"]["title"] == "Buy oat milk"
        (tombstone,) = rows_of(stage.database_url, user)["task_tombstones"]
        assert deleted["deleted"]["version"] == tombstone["version"]

    @pytest.mark.requirement("FR-059", "FR-126", "SC-010")
    @pytest.mark.parametrize("change", ["UPDATE tasks SET title = 'theirs'", "DELETE FROM tasks"])
    async def test_of_which_no_trace_is_left_is_told_unless_the_batch_can_be_repeated(
        self, stage: Stage, user: str, change: str
    ) -> None:
        """Others have changed or deleted meanwhile what the first attempt has written."""
        task = await create(stage.client, user)
        operations = [{**self.CHANGE_AND_DELETE[0], "id": task["id"]}]
        stage.wire.faults.extend([None, Fault.SWALLOWED])

        with changed_before_the_write(stage.database_url, user, change, attempt=2):
            answer = await stage.client.post(
                f"{tasks_of(user)}/batch", json={"operations": operations}
            )

        if change.startswith("DELETE"):
            assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
        else:
            assert answer.status_code == 200
            (row,) = rows_of(stage.database_url, user)["tasks"]
            assert row["title"] == "Buy oat milk"

    @pytest.mark.requirement("FR-059", "FR-126")
    async def test_that_hides_what_an_attempt_has_written_is_told(self, stage: Stage) -> None:
        """The batch has read and written. Written again, it finds the list changed, by itself."""
        faults = [None, Fault.SWALLOWED, None, *[Fault.LOST] * MAX_ATTEMPTS]

        answer, _ = await self.apply(stage, *faults)

        assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")


class TestAFaultOfAMoveWithoutRoom:
    """Its statement moves nothing. Then a transaction locks, reads and writes."""

    async def move(self, stage: Stage, user: str, *faults: Fault | None) -> tuple[int, str]:
        """Move the last of three tasks between two that have no room; give status and code."""
        first, _, last = [
            await create(stage.client, user, position=position)
            for position in (f"{1:016}.{1:040}", f"{1:016}.{2:040}", f"{3:016}")
        ]
        stage.wire.faults.extend(faults)
        answer = await stage.client.post(
            f"{tasks_of(user)}/{last['id']}/move", json={"after": first["id"]}
        )
        assert not stage.wire.faults, "a fault found no statement"
        return answer.status_code, answer.json().get("code")

    @pytest.mark.requirement("FR-059", "FR-126")
    @each_of(UNCERTAIN)
    async def test_that_hides_whether_it_was_committed_is_told(
        self, stage: Stage, user: str, fault: Fault
    ) -> None:
        assert await self.move(stage, user, *[None] * 4, fault) == (503, "outcome_unknown")

    @pytest.mark.requirement("FR-059", "FR-126")
    async def test_in_the_transaction_is_told_if_an_attempt_before_may_have_moved_it(
        self, stage: Stage, user: str
    ) -> None:
        faults = (Fault.SWALLOWED, None, Fault.LOST)

        assert await self.move(stage, user, *faults) == (503, "outcome_unknown")

    @pytest.mark.requirement("FR-059", "FR-126")
    async def test_in_the_transaction_has_changed_nothing_otherwise(
        self, stage: Stage, user: str
    ) -> None:
        assert await self.move(stage, user, None, Fault.LOST) == (503, "database_unavailable")


def attempts_at(operation: Operation) -> int:
    """How often an operation is attempted if the connection is lost each time."""
    return MAX_ATTEMPTS if operation in REPEATABLE.values() else 1


@contextmanager
def deleted_before_the_second_attempt(database_url: str, task_id: str) -> Iterator[None]:
    """Let somebody delete a task when a write is about to be sent again."""
    attempts = 0

    def interfere(_connection: object, _cursor: object, text: str, *_: object) -> None:
        nonlocal attempts
        attempts += text.startswith("WITH")
        if attempts == 2:
            with psycopg.connect(database_url) as connection:
                connection.execute(
                    "WITH gone AS (DELETE FROM tasks WHERE id = %s RETURNING user_id, id, version)"
                    " INSERT INTO task_tombstones (user_id, id, version, deleted_at)"
                    " SELECT user_id, id, version + 1, now() FROM gone",
                    [task_id],
                )

    event.listen(Engine, "before_cursor_execute", interfere)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", interfere)


class TestARepetition:
    @pytest.mark.requirement("FR-058")
    async def test_of_a_deletion_that_never_found_its_task_is_still_a_miss(
        self, stage: Stage
    ) -> None:
        answer, _ = await stage.act(Operation("DELETE", "/{no_id}"), Fault.TERMINATED)

        assert answer.status_code == 404

    @pytest.mark.requirement("FR-058", "FR-125")
    @each_of(UNCERTAIN)
    async def test_of_a_deletion_that_finds_no_tombstone_either_is_a_miss(
        self, stage: Stage, user: str, fault: Fault
    ) -> None:
        theirs = await create(stage.client, f"other-{user}")
        for task_id in (NO_TASK, theirs["id"]):
            mine = f"{user}-{task_id}"
            # The tombstone of another task says nothing about this one.
            gone = await create(stage.client, mine)
            await stage.client.delete(f"{tasks_of(mine)}/{gone['id']}")

            answer, left = await stage.act(Operation("DELETE", f"/{task_id}"), fault, user=mine)

            assert answer.json() == problem(answer, Kind.TASK_NOT_FOUND)
            assert len(left) == 3  # both tasks of the user, and the tombstone

    @pytest.mark.requirement("FR-125", "FR-126")
    async def test_of_a_deletion_that_cannot_look_for_the_tombstone_is_told(
        self, stage: Stage
    ) -> None:
        faults = [Fault.SWALLOWED, None, *[Fault.LOST] * MAX_ATTEMPTS]

        answer, _ = await stage.act(Operation("DELETE"), *faults)

        assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")

    @pytest.mark.requirement("FR-126")
    @pytest.mark.parametrize(
        ("operation", "gone"),
        [
            (Operation("PATCH", "/{id}", {"title": "Buy milk"}), "id"),
            (Operation("POST", "/{id}/move", {"after": None}), "id"),
            (Operation("POST", "/{id}/move", {"after": "{neighbour}"}), "neighbour"),
        ],
        ids=["update", "move", "move next to another"],
    )
    async def test_of_a_change_of_what_somebody_has_deleted_meanwhile_is_told(
        self, stage: Stage, user: str, operation: Operation, gone: str
    ) -> None:
        tasks = {name: await create(stage.client, user) for name in ("id", "neighbour")}
        ids = {name: task["id"] for name, task in tasks.items()}
        body = json.loads(json.dumps(operation.body).replace("{neighbour}", ids["neighbour"]))
        stage.wire.faults.append(Fault.SWALLOWED)

        with deleted_before_the_second_attempt(stage.database_url, ids[gone]):
            answer = await stage.client.request(
                operation.method, tasks_of(user) + operation.path.format_map(ids), json=body
            )

        assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")

    @pytest.mark.requirement("FR-058")
    async def test_of_a_creation_finds_the_task_that_the_first_try_made(
        self, stage: Stage, user: str
    ) -> None:
        """One number of the list is lost, which is all that the repetition leaves behind."""
        stop_clock(stage.database_url, user)

        answer, _ = await stage.act(REPEATABLE["create"], Fault.SWALLOWED, user=user)

        task = answer.json()
        assert (task["version"], answer.headers["etag"]) == (AHEAD + 3, tag_of(task))
        assert UUID(task["id"]).version == 7
        assert (await stage.client.get(answer.headers["location"])).json() == task
        again = await stage.client.get(tasks_of(task["user_id"]))
        assert version_in(again) == AHEAD + 4

    @pytest.mark.requirement("FR-058")
    async def test_of_a_completion_keeps_the_time_of_the_first_try(
        self, stage: Stage, user: str
    ) -> None:
        stop_clock(stage.database_url, user)

        answer, _ = await stage.act(REPEATABLE["complete"], Fault.SWALLOWED, user=user)

        task = answer.json()
        assert task["version"] == AHEAD + 4
        assert task["completed_at"] < task["updated_at"]

    @pytest.mark.requirement("FR-029", "FR-061")
    async def test_takes_a_new_connection(self, stage: Stage) -> None:
        await stage.act(REPEATABLE["get"])  # the pool has its one connection
        starts = stage.wire.openings.count("start")

        await stage.act(REPEATABLE["get"], Fault.TERMINATED)

        assert stage.wire.openings.count("start") == starts + 1
