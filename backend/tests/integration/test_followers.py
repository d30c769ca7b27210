"""Whoever follows the changes has the right copy, whatever others write at the same time."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.builders import CHANGE_ONE_TASK, create, path_of, rows_of, send, tasks_of

WRITERS: Final = 8
OPERATIONS: Final = 10_000
SEEDS: Final = 64

Task = dict[str, Any]
Copy = dict[str, Task]


class Writer:
    """Writes to the tasks of one user, some of which others change and delete meanwhile."""

    def __init__(
        self, client: httpx.AsyncClient, user: str, seed: int, tasks: dict[str, Task]
    ) -> None:
        self._client = client
        self._user = user
        self._random = random.Random(seed)  # noqa: S311 — no secret
        self._tasks = tasks
        """The ids of tasks that exist, shared by all writers."""
        self.done = 0
        self.written: dict[int, Task] = {}
        """Each state of a task that the server has answered, by its version."""
        self.statuses: Counter[int] = Counter()

    async def write(self, operations: int) -> None:
        while self.done < operations:
            kinds = [self._create, self._update, self._complete, self._delete, self._batch]
            (kind,) = self._random.choices(kinds, [3, 4, 2, 2, 1])
            await kind()

    def _any(self) -> str:
        return self._random.choice([*self._tasks]) if self._tasks else str(uuid4())

    def _path(self, task_id: str) -> str:
        return f"{tasks_of(self._user)}/{task_id}"

    async def _note(self, sending: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
        answer = await sending
        self.done += 1
        self.statuses[answer.status_code] += 1
        if answer.is_success and answer.content and "version" in answer.json():
            self._keep(answer.json())
        return answer

    def _keep(self, task: Task) -> None:
        self.written[task["version"]] = task

    async def _create(self) -> None:
        answer = await self._note(
            self._client.post(tasks_of(self._user), json={"title": f"Task {self.done}"})
        )
        self._tasks[answer.json()["id"]] = answer.json()

    async def _update(self) -> None:
        changes = {"title": f"Changed {self.done}"}
        await self._note(self._client.patch(self._path(self._any()), json=changes))

    async def _complete(self) -> None:
        body = {"is_completed": self._random.random() < 0.5}
        await self._note(self._client.patch(f"{self._path(self._any())}/complete", json=body))

    async def _delete(self) -> None:
        task_id = self._any()
        self._tasks.pop(task_id, None)
        await self._note(self._client.delete(self._path(task_id)))

    async def _batch(self) -> None:
        operations: list[dict[str, Any]] = [
            {"op": "create", "task": {"title": "In a batch"}, "id": str(uuid4())}
            for _ in range(self._random.randint(1, 4))
        ]
        operations += [
            {"op": "update", "id": self._any(), "changes": {"title": f"Batched {self.done}"}},
            {"op": "complete", "id": self._any(), "is_completed": True},
        ]
        answer = await self._client.post(
            f"{tasks_of(self._user)}/batch", json={"operations": operations}
        )
        self.done += len(operations)
        self.statuses[answer.status_code] += 1
        # It fails if another writer has deleted one of the tasks.
        for result in answer.json()["results"] if answer.is_success else ():
            self._keep(result["task"])
            self._tasks.setdefault(result["task"]["id"], result["task"])


class Follower:
    """Reads the changes, and nothing else."""

    def __init__(self, client: httpx.AsyncClient, user: str, limit: int) -> None:
        self._client = client
        self._path = f"{tasks_of(user)}/changes"
        self._query: dict[str, str] = {"limit": str(limit)}
        self._seen = 0
        self.copy: Copy = {}
        self.complete: dict[int, Copy] = {}
        """The copy, by the version of the list, whenever there was no more to read."""

    async def follow(self, is_over: Callable[[], bool]) -> None:
        while True:
            is_last = is_over()  # before the request: what is written until then, is in the answer
            has_more = await self._ask()
            if is_last and not has_more:
                return

    async def _ask(self) -> bool:
        answer = await self._client.get(self._path, params=self._query)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        items = [*found["changed"], *found["deleted"]]
        assert len({item["id"] for item in items}) == len(items) <= int(self._query["limit"])
        for kind in ("changed", "deleted"):
            versions = [item["version"] for item in found[kind]]
            assert versions == sorted(versions)
            assert not versions or versions[0] > self._seen
        for task in found["changed"]:
            self.copy[task["id"]] = task
        for tombstone in found["deleted"]:
            self.copy.pop(tombstone["id"], None)
        self._seen = max([self._seen, *(item["version"] for item in items)])
        self._query["since"] = found["next"]
        if not found["has_more"]:
            version = int(answer.headers["etag"].removeprefix('W/"').removesuffix('"'))
            assert version >= self._seen
            self._seen = version
            self.complete[version] = dict(self.copy)
        return bool(found["has_more"])


def check_copies(follower: Follower, written: dict[int, Task], deleted: dict[int, str]) -> None:
    """Compare each complete copy with what the server had at that version."""
    events = sorted([*written, *deleted])
    server: Copy = {}
    position = 0
    for version, copy in sorted(follower.complete.items()):
        while position < len(events) and events[position] <= version:
            event = events[position]
            if event in deleted:
                server.pop(deleted[event], None)
            else:
                server[written[event]["id"]] = written[event]
            position += 1
        assert copy == server, f"at version {version}"
    assert position == len(events)


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.timeout(1800)
@pytest.mark.requirement("FR-079", "SC-013", "FR-016")
async def test_a_follower_has_the_right_copy_at_every_version(
    own_client: httpx.AsyncClient, database_url: str, user: str
) -> None:
    tasks: dict[str, Task] = {}
    writers = [Writer(own_client, user, seed, tasks) for seed in range(WRITERS)]
    followers = [Follower(own_client, user, limit) for limit in (7, 1000)]
    writing = asyncio.gather(*(writer.write(OPERATIONS // WRITERS) for writer in writers))

    await asyncio.gather(writing, *(follower.follow(writing.done) for follower in followers))

    statuses = sum((writer.statuses for writer in writers), Counter[int]())
    assert sum(writer.done for writer in writers) >= OPERATIONS
    assert set(statuses) <= {200, 201, 204, 404, 409}
    assert min(statuses[status] for status in (200, 201, 204)) > OPERATIONS / 20
    written = {version: task for writer in writers for version, task in writer.written.items()}
    assert len(written) == sum(len(writer.written) for writer in writers), "a version came twice"
    deleted = {
        row["version"]: str(row["id"]) for row in rows_of(database_url, user)["task_tombstones"]
    }
    for follower in followers:
        check_copies(follower, written, deleted)
        assert len(follower.complete) > WRITERS


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.requirement("FR-086")
async def test_batches_and_other_writers_never_deadlock(
    own_client: httpx.AsyncClient, database_url: str, user: str
) -> None:
    """Each batch touches the same tasks in another order, and so do the writers between them."""
    tasks = [await create(own_client, user) for _ in range(6)]
    doomed = {number: [await create(own_client, user) for _ in range(4)] for number in range(SEEDS)}

    async def write_batch(seed: int) -> httpx.Response:
        """Update all tasks and delete those of this number, as another batch and others do."""
        operations = [
            {"op": "update", "id": task["id"], "changes": {"title": f"{seed}"}} for task in tasks
        ]
        operations += [{"op": "delete", "id": task["id"]} for task in doomed[abs(seed)]]
        brief = str(uuid4())
        random.Random(seed).shuffle(operations)  # noqa: S311 — no secret
        operations += [
            {"op": "create", "task": {"title": "brief"}, "id": brief},
            {"op": "delete", "id": brief},
        ]
        return await own_client.post(f"{tasks_of(user)}/batch", json={"operations": operations})

    async def write(seed: int) -> list[httpx.Response]:
        task = random.Random(seed).choice(tasks)  # noqa: S311 — no secret
        return await asyncio.gather(
            write_batch(seed),
            write_batch(-seed),
            *(own_client.delete(path_of(task)) for task in doomed[seed][2:]),
            *(
                send(own_client, operation, user, task["id"])
                for operation in CHANGE_ONE_TASK.values()
            ),
        )

    async def keep_writing(seeds: range) -> list[httpx.Response]:
        return [answer for seed in seeds for answer in await write(seed)]

    seeds = [range(first, SEEDS, WRITERS) for first in range(WRITERS)]
    found = await asyncio.gather(*map(keep_writing, seeds))

    answers = [answer for some in found for answer in some]
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[200] == SEEDS * 6
    assert statuses[204] + statuses[404] == SEEDS * 2  # a batch may have deleted it before
    assert set(statuses) <= {200, 204, 404}
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        deadlocks = connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert deadlocks == (0,)
