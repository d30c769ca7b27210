"""What a request costs, counted on the wire between the app and PostgreSQL.

A request other than a batch costs one round trip: Parse, Bind, Describe, Execute and Sync go out
in one flight, and nothing else does - no BEGIN, no COMMIT, no ping, no reading back. A move that
finds no room costs more: see `TestAMove`.

psycopg prepares a statement on a connection once it has been used there five times. To prepare
it costs one flight more, once for each connection and statement; from then on the flight is
smaller by the Parse. So the sixth use on a connection is the only one that costs two.

A request that finds no open connection opens one, which costs more: see the last test of
`TestASuccess`.
"""

from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl
from uuid import uuid4

import httpx
import pytest

from src.schemas.query import TaskListQuery
from src.services.changes import TOKENS
from src.services.cursors import encode_cursor
from tests.builders import (
    NEW,
    NO_TASK,
    REPLACEMENT,
    Operation,
    changed_before_the_write,
    each,
    send,
)
from tests.processes import serving, until
from tests.wire import Flight, Wire

pytestmark = pytest.mark.anyio


def expect(status: int, *request: Any, **named: Any) -> Operation:
    """Describe a request that is answered with this status."""
    return Operation(*request, **named)._replace(status=status)


EVERYTHING: Final = (
    "?limit=1&include_total=true&tz=Europe/Berlin&sort=due,-priority,title&is_completed=false"
    "&priority=none,high&tag=home&q=wash&due_after=2026-01-01&due_before=2027-01-01T00:00:00Z"
    "&created_after=2000-01-01T00:00:00Z&created_before=2900-01-01T00:00:00Z"
    "&updated_after=2000-01-01T00:00:00Z"
)
SUCCESSES: Final = {
    "create": expect(201, "POST", "", {"title": "Buy milk"}),
    "create by key": expect(201, "POST", "", {"title": "Buy milk"}, {"Idempotency-Key": "{key}"}),
    "create by key again": expect(
        200, "POST", "", {"title": "Wash up"}, {"Idempotency-Key": "{spent_key}"}
    ),
    "create by id": expect(201, "PUT", "/{key}", REPLACEMENT, NEW),
    "list the first page": expect(200, "GET", "?limit=2"),
    "list the next page": expect(200, "GET", "?limit=2&cursor={next_cursor}"),
    "list what is known": expect(304, "GET", "", None, {"If-None-Match": "{list_tag}"}),
    "list by all there is": expect(200, "GET", EVERYTHING),
    "list the next page by all there is": expect(200, "GET", EVERYTHING + "{everything_next}"),
    "list what is due": expect(200, "GET", "?due=overdue&sort=due&tz=Europe/Berlin"),
    "list what is due and known": expect(304, "GET", "?due=none", None, {"If-None-Match": "*"}),
    "count": expect(200, "GET", "/summary?tz=Asia/Kathmandu"),
    "count what is known": expect(304, "GET", "/summary", None, {"If-None-Match": "*"}),
    "list all changes": expect(200, "GET", "/changes"),
    "list changes": expect(200, "GET", "/changes?since={since}&limit=1"),
    "list changes that are known": expect(
        304, "GET", "/changes", None, {"If-None-Match": "{list_tag}"}
    ),
    "get": expect(200, "GET"),
    "get what is known": expect(304, "GET", headers={"If-None-Match": '"{version}"'}),
    "replace": expect(200, "PUT", body=REPLACEMENT),
    "replace if unchanged": expect(200, "PUT", "/{id}", REPLACEMENT, {"If-Match": '"{version}"'}),
    "update": expect(200, "PATCH", body={"title": "Buy oat milk"}),
    "update nothing": expect(200, "PATCH", body={}),
    "complete": expect(200, "PATCH", "/{id}/complete", {"is_completed": True}),
    "toggle": expect(200, "PATCH", "/{id}/complete"),
    "move": expect(200, "POST", "/{id}/move", {"after": None}),
    "move if unchanged": expect(
        200, "POST", "/{id}/move", {"after": None}, {"If-Match": '"{version}"'}
    ),
    "list in the user's order": expect(200, "GET", "?sort=position"),
    "delete": expect(204, "DELETE"),
    "delete if unchanged": expect(204, "DELETE", headers={"If-Match": '"{version}"'}),
}
MISSES: Final = {
    "create by key": expect(
        410, "POST", "", {"title": "Wash up"}, {"Idempotency-Key": "{lost_key}"}
    ),
    "get": expect(404, "GET", "/{no_id}"),
    "replace": expect(404, "PUT", "/{no_id}", REPLACEMENT),
    "update": expect(404, "PATCH", "/{no_id}", {"title": "Buy oat milk"}),
    "complete": expect(404, "PATCH", "/{no_id}/complete", {"is_completed": True}),
    "toggle": expect(404, "PATCH", "/{no_id}/complete"),
    "move": expect(404, "POST", "/{no_id}/move", {"after": None}),
    "move next to no task": expect(422, "POST", "/{id}/move", {"after": NO_TASK}),
    "move if changed": expect(412, "POST", "/{id}/move", {"after": None}, {"If-Match": '"0"'}),
    "delete": expect(404, "DELETE", "/{no_id}"),
}
_OUTDATED: Final = {"If-Match": '"0"'}
CONFLICTS: Final = {
    "replace": expect(412, "PUT", "/{id}", REPLACEMENT, _OUTDATED),
    "update": expect(412, "PATCH", "/{id}", {"title": "Buy oat milk"}, _OUTDATED),
    "toggle": expect(412, "PATCH", "/{id}/complete", None, _OUTDATED),
    "delete": expect(412, "DELETE", "/{id}", None, _OUTDATED),
}


class Counter(NamedTuple):
    """A client of an app that has one connection to the database, which goes by a wire."""

    wire: Wire
    client: httpx.AsyncClient
    tasks: str

    async def costs(self, operation: Operation) -> list[Flight]:
        """Send a request, on a task of its own; give the round trips that it took."""
        known = await self._prepare()
        self.wire.flights.clear()
        user, task_id = known.pop("user_id"), known.pop("id")
        answer = await send(self.client, operation, user, task_id, **known)
        assert answer.status_code == operation.status
        return list(self.wire.flights)

    async def _prepare(self) -> dict[str, Any]:
        """Make three tasks, so that there is a next page; tell what is known of them."""
        body = {"title": "Wash up", "tags": ["home"], "due_date": "2026-06-01"}
        for _ in range(3):
            task = (await self.client.post(self.tasks, json=body)).json()
        keys = {name: str(uuid4()) for name in ("key", "spent_key", "lost_key")}
        for name in ("spent_key", "lost_key"):
            made = await self.client.post(
                self.tasks, json={"title": "Wash up"}, headers={"Idempotency-Key": keys[name]}
            )
        await self.client.delete(made.headers["location"])
        page = await self.client.get(self.tasks, params={"limit": 1})
        user = task["user_id"]
        return {
            **task,
            **page.json(),
            **keys,
            "list_tag": page.headers["etag"],
            "no_id": NO_TASK,
            "since": encode_cursor([0, 0], user_id=user, query=TOKENS),
            "everything_next": self._next_of_everything(),
        }

    def _next_of_everything(self) -> str:
        """Make the cursor without a request: that would prepare the statement under test."""
        user = self.tasks.split("/")[3]
        query = TaskListQuery.model_validate(dict(parse_qsl(EVERYTHING[1:])))
        keys = ["2026-06-01", None, "none", "Wash up", NO_TASK]
        return "&cursor=" + encode_cursor(keys, user_id=user, query=query.identity)


@pytest.fixture
async def wire(shared_database_url: str) -> AsyncIterator[Wire]:
    async with Wire(shared_database_url) as wire:
        yield wire


@pytest.fixture
async def counter(wire: Wire, user: str) -> AsyncIterator[Counter]:
    async with serving(wire.url, db_pool_size=1) as (_, client):
        yield Counter(wire, client, f"/api/v1/{user}/tasks")


def shape(flights: list[Flight]) -> list[tuple[str, int]]:
    """What was sent in each round trip, and how many statements ran; it was heard out, too."""
    assert all(flight.received.endswith("Z") for flight in flights)
    return [(flight.sent, flight.statements) for flight in flights]


# Parse, Bind, Describe, Execute, Sync.
UNPREPARED: Final = [("PBDES", 1)]
TO_PREPARE: Final = [("PS", 0), ("BDES", 1)]
PREPARED: Final = [("BDES", 1)]


class TestASuccess:
    @pytest.mark.requirement("FR-030", "SC-002")
    @each(SUCCESSES)
    async def test_costs_one_round_trip_and_one_statement(
        self, counter: Counter, operation: Operation
    ) -> None:
        costs = [shape(await counter.costs(operation)) for _ in range(8)]

        # Its statement is prepared once, be it by this request or by one before it.
        if TO_PREPARE in costs:
            costs.remove(TO_PREPARE)
        assert set(map(len, costs)) == {1}
        assert costs[0] == UNPREPARED
        assert costs[costs.index(PREPARED) :] == [PREPARED] * costs.count(PREPARED)

    @pytest.mark.requirement("FR-030")
    async def test_is_prepared_at_the_sixth_use(self, counter: Counter) -> None:
        costs = [shape(await counter.costs(SUCCESSES["get"])) for _ in range(8)]

        assert costs == [UNPREPARED] * 5 + [TO_PREPARE] + [PREPARED] * 2

    @pytest.mark.requirement("FR-030")
    async def test_opens_a_connection_if_there_is_none(self, wire: Wire, user: str) -> None:
        async with serving(wire.url, db_pool_size=1) as (_, client):
            await client.get(f"/api/v1/{user}/tasks")

            *opening, request = shape(wire.flights)
            assert [request] == UNPREPARED
            # What each connection opens with, and what SQLAlchemy asks once in a process.
            assert len(opening) == 1 + 4

            for connection in wire.connections.copy():
                connection.cut()
            await until(lambda: not wire.connections)
            wire.flights.clear()
            await client.get(f"/api/v1/{user}/tasks")

            assert shape(wire.flights) == [*shape(wire.flights)[:1], *UNPREPARED]


class TestAnError:
    @pytest.mark.requirement("FR-030")
    @each(MISSES)
    async def test_that_nothing_is_there_costs_one_round_trip(
        self, counter: Counter, operation: Operation
    ) -> None:
        flights = await counter.costs(operation)

        assert [flight.statements for flight in flights] == [1]

    @pytest.mark.requirement("FR-030")
    @each(CONFLICTS)
    async def test_that_the_task_has_changed_costs_a_second_one_to_show_it(
        self, counter: Counter, operation: Operation
    ) -> None:
        flights = await counter.costs(operation)

        assert [flight.statements for flight in flights] == [1, 1]

    @pytest.mark.requirement("FR-030")
    async def test_that_the_request_breaks_a_rule_costs_none(self, counter: Counter) -> None:
        assert await counter.costs(expect(422, "POST", "", {"title": ""})) == []


class TestABatch:
    @pytest.mark.requirement("FR-086")
    @pytest.mark.parametrize("size", [1, 10, 100])
    async def test_costs_two_round_trips_whatever_its_size(
        self, counter: Counter, size: int
    ) -> None:
        operations = [
            operation
            for id_ in (str(uuid4()) for _ in range(size // 2))
            for operation in (
                {"op": "create", "id": id_, "task": {"title": "Buy milk"}},
                {"op": "update", "id": id_, "changes": {"tags": ["shopping"]}},
            )
        ]
        if size == 1:
            operations = [{"op": "create", "task": {"title": "Buy milk"}}]
        assert len(operations) == size

        batch = expect(200, "POST", "/batch", {"operations": operations})

        assert shape(await counter.costs(batch)) == UNPREPARED * 2

    @pytest.mark.requirement("FR-086", "FR-093")
    async def test_that_moves_costs_no_more(self, counter: Counter) -> None:
        ids = [str(uuid4()) for _ in range(50)]
        operations = [{"op": "create", "id": id_, "task": {"title": "Buy milk"}} for id_ in ids] + [
            {"op": "move", "id": id_, "before": ids[0]} for id_ in ids
        ]
        batch = expect(200, "POST", "/batch", {"operations": operations})

        assert shape(await counter.costs(batch)) == UNPREPARED * 2

    @pytest.mark.requirement("FR-086")
    async def test_that_has_nothing_to_write_costs_one(self, counter: Counter) -> None:
        operations = [{"op": "create", "id": str(uuid4()), "task": {"title": "Buy milk"}}]
        batch = expect(200, "POST", "/batch", {"operations": operations})

        await counter.costs(batch)

        assert shape(await counter.costs(batch)) == UNPREPARED

    @pytest.mark.requirement("FR-083", "FR-086")
    async def test_that_fails_costs_one(self, counter: Counter) -> None:
        operations = [{"op": "delete", "id": NO_TASK}] * 100

        assert (
            shape(await counter.costs(expect(409, "POST", "/batch", {"operations": operations})))
            == UNPREPARED
        )

    @pytest.mark.requirement("FR-086")
    async def test_is_worked_out_again_if_the_list_changes_in_between(
        self, counter: Counter, user: str, shared_database_url: str
    ) -> None:
        task = (await counter.client.post(counter.tasks, json={"title": "Buy milk"})).json()
        operations = [{"op": "update", "id": task["id"], "changes": {"tags": ["ours"]}}]
        batch = expect(200, "POST", "/batch", {"operations": operations})

        with changed_before_the_write(shared_database_url, user):
            flights = await counter.costs(batch)

        # Two in vain; then BEGIN, the lock, the reading, the writing, and COMMIT.
        begin, commit = [("Q", 1)], [("Q", 1)]
        assert shape(flights) == UNPREPARED * 2 + begin + UNPREPARED * 3 + commit
        after = (await counter.client.get(f"{counter.tasks}/{task['id']}")).json()
        assert (after["title"], after["tags"]) == ("theirs", ["ours"])


class TestAMove:
    @pytest.mark.requirement("FR-030", "FR-089")
    @pytest.mark.parametrize("count", [1, 3])
    @pytest.mark.parametrize("side", ["after", "before"])
    @pytest.mark.parametrize("is_at_the_end", [True, False])
    async def test_to_where_it_is_costs_one_round_trip(
        self, counter: Counter, count: int, side: str, *, is_at_the_end: bool
    ) -> None:
        made = [await counter.client.post(counter.tasks, json={"title": "x"}) for _ in range(count)]
        tasks = [answer.json() for answer in made]
        moved = tasks[-1] if is_at_the_end else tasks[0]
        is_outwards = (side == "before") is is_at_the_end
        neighbours = tasks[-2:-1] if is_at_the_end else tasks[1:2]  # none if it is alone
        neighbour = None if is_outwards or not neighbours else neighbours[0]["id"]
        counter.wire.flights.clear()

        answer = await counter.client.post(
            f"{counter.tasks}/{moved['id']}/move", json={side: neighbour}
        )

        assert answer.json() == moved
        assert shape(counter.wire.flights) == UNPREPARED

    @pytest.mark.requirement("FR-091")
    @pytest.mark.parametrize("crowd", [2, 3])
    async def test_to_where_there_is_no_room_moves_other_tasks_in_one_transaction(
        self, counter: Counter, crowd: int
    ) -> None:
        tasks = [
            {"title": "tight", "position": f"0000000000000001.{'0' * 39}{number}"}
            for number in range(1, crowd + 1)
        ]
        ids = [(await counter.client.post(counter.tasks, json=task)).json()["id"] for task in tasks]

        flights = await counter.costs(expect(200, "POST", "/{id}/move", {"before": ids[1]}))

        # One in vain; then BEGIN, the lock, the reading, the writing, and COMMIT. If to move the
        # neighbour is not enough: what is around, and the reading of that, too.
        begin, commit = [("Q", 1)], [("Q", 1)]
        statements = 3 if crowd == 2 else 5
        assert shape(flights) == UNPREPARED + begin + UNPREPARED * statements + commit

    @pytest.mark.requirement("FR-091")
    @pytest.mark.parametrize(
        ("first_free", "gap"),
        [pytest.param(1, 1, id="before it"), pytest.param(1001, 67, id="after it")],
    )
    async def test_reads_the_nearest_tasks_where_there_is_room_on_one_side_only(
        self, counter: Counter, first_free: int, gap: int
    ) -> None:
        free = [f"{whole:016}" for whole in range(first_free, first_free + 70)]
        # More than are read on one side at first. No position ends in a zero.
        tight = [f"{1000:016}.{last:040}" for last in range(1, 78) if last % 10]
        for positions in (free, tight):
            operations = [
                {"op": "create", "task": {"title": "x", "position": position}}
                for position in positions
            ]
            body = {"operations": operations}
            results = (await counter.client.post(f"{counter.tasks}/batch", json=body)).json()
        neighbour = results["results"][gap]["task"]["id"]

        flights = await counter.costs(expect(200, "POST", "/{id}/move", {"before": neighbour}))

        *_, commit = flights
        assert len(flights) == 1 + 1 + 5 + 1
        assert commit.sent == "Q"


class TestBehindAPooler:
    @pytest.mark.requirement("FR-044")
    @pytest.mark.parametrize(
        ("is_pooler", "setting", "is_prepared"),
        [
            (True, "auto", False),
            (True, "always", True),
            (False, "auto", True),
            (False, "never", False),
        ],
    )
    async def test_no_statement_is_prepared_unless_a_setting_says_so(
        self, wire: Wire, user: str, setting: str, *, is_pooler: bool, is_prepared: bool
    ) -> None:
        wire.is_pooler = is_pooler
        async with serving(wire.url, db_pool_size=1, db_prepare_statements=setting) as (_, client):
            counter = Counter(wire, client, f"/api/v1/{user}/tasks")

            costs = [shape(await counter.costs(SUCCESSES["get"])) for _ in range(10)]

        assert (costs[-1] == PREPARED) is is_prepared
        assert is_prepared or costs == [UNPREPARED] * 10


class TestEncryption:
    @pytest.mark.requirement("FR-044")
    async def test_is_insisted_on_if_the_url_says_so(self, wire: Wire, user: str) -> None:
        url = f"{wire.url}?sslmode=require&channel_binding=require"
        async with serving(url, db_pool_size=1, db_pool_timeout=0.1) as (_, client):
            # The server of the tests knows no TLS: so nothing must be said to it.
            answer = await client.get(f"/api/v1/{user}/tasks")

        assert answer.status_code == 503
        assert set(wire.openings) == {"ssl"}
        assert wire.flights == []
