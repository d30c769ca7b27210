"""The order of a user's tasks is what a plain list would be, whatever is done to it."""

import asyncio
import random
from bisect import bisect_left, insort
from collections import Counter
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import bindparam, cast, select
from sqlalchemy.types import Text
from sqlmodel.ext.asyncio.session import AsyncSession

from src.database import Database
from src.models.limits import POSITION_DECIMALS, POSITION_MAX_LENGTH
from src.services.order import between, position_between
from tests.builders import create, rows_of, tasks_of
from tests.conftest import make_settings

CLIENTS: Final = 8
USERS: Final = 3
OPERATIONS: Final = 100_000
DROPS: Final = 10_000
BATCH: Final = 50

Task = dict[str, Any]


async def listed(client: httpx.AsyncClient, user: str) -> list[Task]:
    """All tasks of the user, in the order of their positions."""
    tasks: list[Task] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await client.get(
            tasks_of(user), params={"sort": "position", "limit": "1000", **cursor}
        )
        assert answer.status_code == 200, answer.text
        page = answer.json()
        tasks += page["items"]
        if page["next_cursor"] is None:
            return tasks
        cursor = {"cursor": page["next_cursor"]}


class Timeline:
    """What happened to the tasks of one user: each change by its version."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.tasks: list[str] = []
        """The ids of tasks that exist, shared by all clients: what they move their own next to."""
        self.changes: dict[int, tuple[Task, tuple[str, str | None] | None]] = {}
        """A task as a change left it, and where it was to go; None for a new task."""

    def order(self, deleted: dict[int, str]) -> list[str]:
        """Do to a plain list what was done; check on the way that each position fits in."""
        order: list[str] = []
        positions: dict[str, str] = {}
        for version in sorted([*self.changes, *deleted]):
            if version in deleted:
                order.remove(deleted[version])
                del positions[deleted[version]]
                continue
            task, place = self.changes[version]
            id_ = task["id"]
            if place is None:
                order.append(id_)
            else:
                side, neighbour = place
                order.remove(id_)
                end = 0 if side == "after" else len(order)
                order.insert(
                    end if neighbour is None else order.index(neighbour) + (side == "after"), id_
                )
            positions[id_] = task["position"]
            index = order.index(id_)
            keys = [(positions[id_], id_) for id_ in order[max(index - 1, 0) : index + 2]]
            assert keys == sorted(keys), f"at version {version}"
        return order


class Writer:
    """Creates, moves and deletes tasks of its own, next to those of others."""

    def __init__(self, client: httpx.AsyncClient, timelines: list[Timeline], seed: int) -> None:
        self._client = client
        self._timelines = timelines
        self._random = random.Random(seed)  # noqa: S311 — no secret
        self._own: list[dict[str, int]] = [{} for _ in timelines]
        """The versions of this writer's tasks, by their ids, for each user."""
        self.statuses: Counter[int] = Counter()
        self.done = 0

    async def write(self, operations: int) -> None:
        while self.done < operations:
            number = self._random.randrange(len(self._timelines))
            is_batch = self._random.random() < 0.2
            await (self._send_batch(number) if is_batch else self._send(number))

    def _draw(self, number: int, own: list[str]) -> dict[str, Any]:
        """Make up an operation on these tasks of our own, as a batch has it."""
        timeline, draw = self._timelines[number], self._random
        kind = draw.random()
        if not own or (kind < 0.1 and len(own) < 15):
            return {"op": "create", "task": {"title": "t"}, "id": str(uuid4())}
        id_ = draw.choice(own)
        if kind < 0.15:
            own.remove(id_)
            timeline.tasks.remove(id_)
            return {"op": "delete", "id": id_}
        neighbour = None if draw.random() < 0.1 else draw.choice(timeline.tasks)
        return {"op": "move", "id": id_, draw.choice(["after", "before"]): neighbour}

    def _note(self, number: int, operation: dict[str, Any], task: Task | None) -> None:
        own, timeline = self._own[number], self._timelines[number]
        if task is None:
            del own[operation["id"]]
            return
        side = "after" if "after" in operation else "before"
        place = None if operation["op"] == "create" else (side, operation[side])
        if place is None:
            timeline.tasks.append(task["id"])
        if own.get(task["id"]) != task["version"]:  # otherwise it was there
            assert task["version"] not in timeline.changes
            timeline.changes[task["version"]] = (task, place)
            own[task["id"]] = task["version"]

    async def _send(self, number: int) -> None:
        operation = self._draw(number, [*self._own[number]])
        path = tasks_of(self._timelines[number].user)
        if operation["op"] == "create":
            answer = await self._client.post(path, json=operation["task"])
        elif operation["op"] == "delete":
            answer = await self._client.delete(f"{path}/{operation['id']}")
        else:
            place = {side: operation[side] for side in ("after", "before") if side in operation}
            answer = await self._client.post(f"{path}/{operation['id']}/move", json=place)
        self.done += 1
        self.statuses[answer.status_code] += 1
        if answer.is_success:
            self._note(number, operation, answer.json() if answer.content else None)

    async def _send_batch(self, number: int) -> None:
        own = [*self._own[number]]
        operations = [self._draw(number, own) for _ in range(BATCH)]
        path = f"{tasks_of(self._timelines[number].user)}/batch"
        while True:
            answer = await self._client.post(path, json={"operations": operations})
            self.statuses[answer.status_code] += 1
            if answer.is_success:
                break
            # Somebody has deleted a neighbour: leave out the operations that name it.
            for error in reversed(answer.json()["errors"]):
                assert error["code"] == "unknown_neighbour"
                del operations[int(error["pointer"].split("/")[2])]
        self.done += len(operations)
        for operation, result in zip(operations, answer.json()["results"], strict=True):
            self._note(number, operation, result["task"])


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.timeout(1800)
@pytest.mark.no_cover  # it is not about which lines run, and measured it takes longer
@pytest.mark.requirement("SC-015", "FR-087", "FR-088", "FR-093")
async def test_many_clients_arrange_the_order_that_a_plain_list_would_have(
    own_client: httpx.AsyncClient, database_url: str
) -> None:
    timelines = [Timeline(f"user-{uuid4()}") for _ in range(USERS)]
    writers = [Writer(own_client, timelines, seed) for seed in range(CLIENTS)]

    await asyncio.gather(*(writer.write(OPERATIONS // CLIENTS) for writer in writers))

    assert sum(writer.done for writer in writers) >= OPERATIONS
    statuses = sum((writer.statuses for writer in writers), Counter[int]())
    assert set(statuses) <= {200, 201, 204, 409, 422}
    for timeline in timelines:
        tasks = await listed(own_client, timeline.user)
        # No task was moved to make room: that would be a version that no writer knows.
        assert {task["version"] for task in tasks} <= timeline.changes.keys()
        deleted = {
            row["version"]: str(row["id"])
            for row in rows_of(database_url, timeline.user)["task_tombstones"]
        }
        assert [task["id"] for task in tasks] == timeline.order(deleted)
        assert max(len(task["position"]) for task in tasks) <= POSITION_MAX_LENGTH


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.timeout(1800)
@pytest.mark.no_cover  # the same
@pytest.mark.requirement("SC-016", "FR-091")
async def test_any_number_of_tasks_can_be_dropped_into_the_same_gap(
    own_client: httpx.AsyncClient, user: str
) -> None:
    """Most in batches, some one by one; from above, from below, and by several clients."""
    top = (await create(own_client, user))["id"]
    bottom = (await create(own_client, user))["id"]
    dropped: dict[int, tuple[str, str]] = {}

    async def drop(seed: int) -> None:
        draw = random.Random(seed)  # noqa: S311 — no secret
        done = 0
        while done < DROPS // CLIENTS:
            place = draw.choice([{"after": top}, {"before": bottom}])
            ids = [str(uuid4()) for _ in range(draw.choice([1, BATCH]))]
            creates = [{"op": "create", "task": {"title": "t"}, "id": id_} for id_ in ids]
            moves = [{"op": "move", "id": id_, **place} for id_ in ids]
            answer = await own_client.post(
                f"{tasks_of(user)}/batch",
                json={"operations": creates if len(ids) == 1 else creates + moves},
            )
            assert answer.status_code == 200, answer.text
            moved = [result["task"] for result in answer.json()["results"][len(ids) :]]
            if len(ids) == 1:
                answer = await own_client.post(f"{tasks_of(user)}/{ids[0]}/move", json=place)
                assert answer.status_code == 200, answer.text
                moved = [answer.json()]
            (side,) = place
            for task in moved:
                assert len(task["position"]) <= POSITION_MAX_LENGTH
                dropped[task["version"]] = (task["id"], side)
            done += len(ids)

    await asyncio.gather(*(drop(seed) for seed in range(CLIENTS)))

    above: list[str] = []
    below: list[str] = []
    for _, (id_, side) in sorted(dropped.items()):
        (above if side == "after" else below).append(id_)
    tasks = await listed(own_client, user)
    assert len(dropped) >= DROPS
    assert [task["id"] for task in tasks] == [top, *reversed(above), *below, bottom]
    assert max(len(task["position"]) for task in tasks) <= POSITION_MAX_LENGTH
    # Some were moved again to make room.
    assert {task["version"] for task in tasks} - dropped.keys()


@pytest.mark.anyio
@pytest.mark.requirement("FR-089", "FR-091")
async def test_the_statement_and_the_batch_find_the_same_positions(
    shared_database_url: str,
) -> None:
    """The same rule stands in SQL and in Python: for random positions both give the same."""
    draw = random.Random(7)  # noqa: S311 — it only has to be the same again
    found: list[str] = ["0" * 16, "9" * 16, f"{'9' * 16}.{'9' * POSITION_DECIMALS}"]
    sides = (cast(bindparam(side, type_=Text()), Text).label(side) for side in ("after", "before"))
    statement = select(between(select(*sides).cte("ends")).label("position"))
    database = Database(make_settings(shared_database_url))
    async with database, database.session() as session:
        for _ in range(2000):
            low, high = sorted([draw.choice(found), draw.choice(found)])
            ends: list[str | None] = [low, high]
            if draw.random() < 0.2:
                ends[draw.randrange(2)] = None
            position = await _read(session, statement, ends)
            assert position == position_between(*ends), ends
            if position is not None and position not in found:
                insort(found, position)
                del found[bisect_left(found, draw.choice(found)) : len(found) - 200]


async def _read(session: AsyncSession, statement: Any, ends: list[str | None]) -> str | None:
    result = await session.exec(statement, params=dict(zip(("after", "before"), ends, strict=True)))
    position: str | None = result.scalar_one()
    return position
