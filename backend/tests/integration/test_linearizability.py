"""One task behaves as if all requests to it came one after the other, whatever breaks meanwhile.

Eight clients read, replace, patch, delete and create the same task, with and without `If-Match`, in
rounds. At the end of a round everything is at rest, and its calls are put in an order that explains
their results.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final, NamedTuple
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.builders import NEW, REPLACEMENT, tasks_of
from tests.linearizability import NEVER, Call, Result, State, Task, linearize
from tests.processes import serving, until
from tests.wire import Fault, Wire

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1800), pytest.mark.slow]

each_number_of_calls = pytest.mark.parametrize(
    "calls", [1_000, pytest.param(10_000, marks=pytest.mark.chaos)]
)

CLIENTS: Final = 8
ROUND: Final = 40
"""Calls of each client in a round."""
ONE_IN: Final = 25
"""How many calls there are, on average, for one disturbance."""


class Kind(NamedTuple):
    """A request to the task: how often clients send it, and what it is to the checker."""

    weight: int
    call: str
    method: str
    is_whole: bool = False
    """Whether it sets the description as well as the title."""


KINDS: Final = (
    Kind(30, "read", "GET"),
    Kind(25, "change", "PUT", is_whole=True),
    Kind(25, "change", "PATCH"),
    Kind(14, "create", "PUT", is_whole=True),
    Kind(6, "delete", "DELETE"),
)
READ: Final = KINDS[0]


class Register:
    """The task, as all clients use it, and what they were told of it."""

    def __init__(
        self, client: httpx.AsyncClient, user: str, breaks: Callable[[], int] = lambda: 0
    ) -> None:
        self.calls: list[Call] = []
        self.statuses: Counter[int] = Counter()
        self._client = client
        self._path = f"{tasks_of(user)}/{uuid4()}"
        self._breaks = breaks
        """Counts the faults that have happened, each of which may have had a statement repeated."""
        self._clock = itertools.count()

    async def use(self, random: Random, disturb: Callable[[], object]) -> None:
        """Send the calls of one client for one round."""
        seen: int | None = None
        for _ in range(ROUND):
            if random.random() < 1 / ONE_IN:
                disturb()
            (kind,) = random.choices(KINDS, [kind.weight for kind in KINDS])
            is_conditional = kind.call in ("change", "delete") and random.random() < 0.5
            result = await self.send(kind, seen if is_conditional else None)
            if result.task is not None:
                seen = result.task.version

    async def send(self, kind: Kind, if_match: int | None = None) -> Result:
        """Send a call, note it and give its result."""
        began, breaks = next(self._clock), self._breaks()
        title = f"title {began}" if kind.method in ("PUT", "PATCH") else None
        description = f"description {began}" if kind.is_whole else None
        fields = {} if description is None else {**REPLACEMENT, "description": description}
        headers = {} if if_match is None else {"If-Match": f'"{if_match}"'}
        answer = await self._client.request(
            kind.method,
            self._path,
            json=None if title is None else {**fields, "title": title},
            headers=NEW if kind.call == "create" else headers,
        )
        result = result_of(answer)
        self.statuses[result.status] += 1
        is_unknown = result.status == 503
        # If the database was not available, the call had no effect.
        if not is_unknown or answer.json()["code"] == "outcome_unknown":
            self.calls.append(
                Call(
                    kind.call,
                    began,
                    NEVER if is_unknown else next(self._clock),
                    None if is_unknown else result,
                    title,
                    description,
                    if_match,
                    is_repeatable=kind.call in ("change", "delete")
                    and if_match is None
                    and self._breaks() > breaks,
                )
            )
        return result


def result_of(answer: httpx.Response) -> Result:
    body = answer.json() if answer.content else {}
    task = body.get("current", body)
    if "version" not in task:
        return Result(answer.status_code)
    return Result(answer.status_code, Task(task["version"], task["title"], task["description"]))


async def check(
    register: Register, calls: int, disturb: Callable[[], object], is_at_rest: Callable[[], bool]
) -> Counter[int]:
    """Let the clients use the task, and check each round; give the statuses of the answers."""
    state = State(0, None)
    randoms = [Random(seed) for seed in range(CLIENTS)]  # noqa: S311 — no secret
    while register.statuses.total() < calls:
        register.calls.clear()
        await asyncio.gather(*(register.use(random, disturb) for random in randoms))
        # From now on, what may have been executed has been, or never will be.
        await until(is_at_rest)
        while (await register.send(READ)).status == 503:
            pass
        state = linearize(register.calls, state)
    return register.statuses


@pytest.fixture
def administrator(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def is_idle(administrator: psycopg.Connection[Any]) -> bool:
    """Whether no statement of the app runs."""
    row = administrator.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'task-api' AND state <> 'idle'"
    ).fetchone()
    return row == (0,)


@pytest.mark.requirement("SC-018")
class TestOneTask:
    @pytest.mark.requirement("FR-016", "FR-018")
    @each_number_of_calls
    async def test_is_linearizable(self, database_url: str, user: str, calls: int) -> None:
        async with serving(database_url, db_pool_timeout=30) as (_, client):
            register = Register(client, user)
            statuses = await check(register, calls, lambda: None, lambda: True)

        assert set(statuses) == {200, 201, 204, 404, 412}
        assert min(statuses.values()) > calls / 100

    @pytest.mark.requirement("FR-058", "FR-059")
    @each_number_of_calls
    async def test_is_linearizable_while_connections_are_terminated(
        self, database_url: str, user: str, administrator: psycopg.Connection[Any], calls: int
    ) -> None:
        """What was terminated was not executed: no call has two effects."""

        terminated: list[object] = []

        def terminate() -> None:
            found = administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'task-api'"
                " AND state = 'active'"
            )
            terminated.extend(found)

        async with serving(database_url) as (_, client):
            register = Register(client, user)
            statuses = await check(register, calls, terminate, lambda: is_idle(administrator))

        assert {200, 201, 204, 404, 412} <= set(statuses) <= {200, 201, 204, 404, 412, 503}
        assert terminated  # how many statements it meets is a matter of luck

    @pytest.mark.requirement("FR-058", "FR-059")
    @each_number_of_calls
    async def test_is_linearizable_while_connections_break(
        self, database_url: str, user: str, administrator: psycopg.Connection[Any], calls: int
    ) -> None:
        """A write without `If-Match` may have several effects until it is answered."""
        random = Random(1)  # noqa: S311 — no secret
        async with Wire(database_url) as wire, serving(wire.url) as (_, client):
            made: list[Fault | None] = []

            def break_off() -> None:
                made.append(random.choice([Fault.LOST, Fault.SWALLOWED, Fault.TERMINATED, None]))
                if made[-1] is not None:
                    wire.faults.append(made[-1])  # of the next statement
                elif wire.connections:
                    random.choice([*wire.connections]).cut()

            register = Register(client, user, lambda: len(made) - len(wire.faults))
            statuses = await check(register, calls, break_off, lambda: is_idle(administrator))

        assert {200, 201, 204, 404, 412} <= set(statuses) <= {200, 201, 204, 404, 412, 503}
        assert len(made) - len(wire.faults) > calls / ONE_IN / 2
