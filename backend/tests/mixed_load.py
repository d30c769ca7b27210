"""Clients that do all that clients do, do it again where an answer is lost, and keep the books.

Each client is one user, and knows what it must find at the end: the tasks as they were answered
last. A write that was answered and is not there is lost. A task that is there and that nobody
asked for, or asked for once and is there twice, is doubled.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final
from uuid import uuid4

import httpx

from tests.builders import follow_links, path_of, tag_of, tasks_of
from tests.processes import PATIENCE

_PAUSE: Final = 0.05  # s, before a request is sent again

Task = dict[str, Any]


@dataclass
class Figures:
    """What became of the writes of all clients."""

    acknowledged: int = 0
    lost: list[object] = field(default_factory=list)
    doubled: list[object] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    """How many requests got no answer at all."""
    longest_gap: float = 0.0
    """The longest time, in seconds, in which no client got a success."""
    last_success: float = field(default_factory=time.monotonic)

    def note(self, status: int) -> None:
        self.statuses[status] += 1
        if status < 400:
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - self.last_success)
            self.last_success = now

    @property
    def failures(self) -> int:
        return self.unanswered + self.statuses[503]

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} acknowledged, {len(self.lost)} lost, {len(self.doubled)} doubled,"
            f" longest gap {self.longest_gap:.2f} s; {self.unanswered} without an answer,"
            f" answers by status: {dict(sorted(self.statuses.items()))}"
        )


class Client:
    """One user's client. It sends one request at a time."""

    def __init__(self, client: httpx.AsyncClient, user: str, figures: Figures, seed: int) -> None:
        self._client = client
        self._user = user
        self._figures = figures
        self._random = Random(seed)  # noqa: S311 — no secret
        self._numbers = count()
        self.is_stopped = False
        self._tasks: dict[str, Task] = {}
        """Each task as it was answered last."""
        self._deleted: set[str] = set()
        self._perhaps: set[str] = set()
        """The titles of tasks that may have been created: the answer was lost, and there was no key
        that would have made it safe to send the request again."""

    async def run(self) -> None:
        kinds = {
            self._create: 3,
            self._create_without_key: 1,
            self._rename: 3,
            self._rename_what_was_seen: 2,
            self._complete: 2,
            self._move: 1,
            self._delete: 1,
            self._batch: 1,
            self._read: 3,
        }
        while not self.is_stopped:
            (kind,) = self._random.choices([*kinds], [*kinds.values()])
            if self._tasks or kind == self._create:
                await kind()

    async def check(self) -> None:
        """Compare what is there with what must be."""
        pages = await follow_links(self._client, self._user, limit="1000")
        found = {task["id"]: task for page in pages for task in page.json()["items"]}
        titles = Counter(task["title"] for task in found.values())
        self._figures.lost += [
            task for task in self._tasks.values() if found.get(task["id"]) != task
        ]
        self._figures.lost += [id_ for id_ in self._deleted if id_ in found]
        self._figures.doubled += [
            task
            for task in found.values()
            if task["id"] not in self._tasks and task["title"] not in self._perhaps
        ]
        self._figures.doubled += [title for title, number in titles.items() if number > 1]

    def _any(self) -> Task:
        return self._random.choice([*self._tasks.values()])

    def _title(self) -> str:
        return f"Title {next(self._numbers)}"

    async def _send(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> httpx.Response | None:
        """Send a request once; give the answer, or None if there is none, or it is 503."""
        try:
            answer = await self._client.request(method, path, json=body, headers=headers)
        except httpx.TransportError:
            self._figures.unanswered += 1
        else:
            self._figures.note(answer.status_code)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return answer
        await asyncio.sleep(_PAUSE)
        return None

    async def _insist(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send a request until it is answered, which may carry it out several times."""
        async with asyncio.timeout(2 * PATIENCE):
            while (answer := await self._send(method, path, body, headers)) is None:
                pass
        return answer

    def _keep(self, answer: httpx.Response) -> None:
        """Take note of a write that was answered with the task."""
        assert answer.is_success, answer.text
        self._figures.acknowledged += 1
        self._tasks[answer.json()["id"]] = answer.json()

    async def _create(self) -> None:
        key = {"Idempotency-Key": str(uuid4())}
        body = {"title": self._title()}
        self._keep(await self._insist("POST", tasks_of(self._user), body, key))

    async def _create_without_key(self) -> None:
        title = self._title()
        answer = await self._send("POST", tasks_of(self._user), {"title": title})
        if answer is None:
            self._perhaps.add(title)
        else:
            self._keep(answer)

    async def _rename(self) -> None:
        self._keep(await self._insist("PATCH", path_of(self._any()), {"title": self._title()}))

    async def _rename_what_was_seen(self) -> None:
        task, title = self._any(), self._title()
        seen = {"If-Match": tag_of(task)}
        answer = await self._insist("PATCH", path_of(task), {"title": title}, seen)
        if answer.status_code == httpx.codes.PRECONDITION_FAILED:  # an earlier attempt was made
            answer = await self._insist("GET", path_of(task))
            assert answer.json()["title"] == title, "a change of nobody"
        self._keep(answer)

    async def _complete(self) -> None:
        body = {"is_completed": self._random.random() < 0.5}
        self._keep(await self._insist("PATCH", f"{path_of(self._any())}/complete", body))

    async def _move(self) -> None:
        body = {self._random.choice(["after", "before"]): None}
        self._keep(await self._insist("POST", f"{path_of(self._any())}/move", body))

    async def _delete(self) -> None:
        task = self._any()
        answer = await self._insist("DELETE", path_of(task))
        # An earlier attempt may have deleted it.
        assert answer.status_code in (204, 404), answer.text
        self._figures.acknowledged += 1
        del self._tasks[task["id"]]
        self._deleted.add(task["id"])

    async def _batch(self) -> None:
        operations = [
            {"op": "create", "id": str(uuid4()), "task": {"title": self._title()}},
            {"op": "update", "id": self._any()["id"], "changes": {"title": self._title()}},
        ]
        path = f"{tasks_of(self._user)}/batch"
        answer = await self._insist("POST", path, {"operations": operations})
        assert answer.is_success, answer.text
        self._figures.acknowledged += 1
        for result in answer.json()["results"]:
            self._tasks[result["task"]["id"]] = result["task"]

    async def _read(self) -> None:
        """What was answered is there at once, and not only at the end."""
        task = self._any()
        answer = await self._insist("GET", path_of(task))
        if answer.status_code != httpx.codes.OK or answer.json() != task:
            self._figures.lost.append(task)
