"""The app and its database when things go wrong: nothing leaks, nothing hangs, all recovers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from psycopg.sql import SQL, Identifier, Literal
from sqlalchemy import select

from src.database import MAX_ATTEMPTS, MISSING_HINT, Effect, run, transaction
from src.exceptions import DatabaseUnavailable
from src.services.batch import LOCK_LIST
from tests.builders import (
    AHEAD,
    NO_TASK,
    ON_ONE_TASK,
    create,
    path_of,
    send,
    stop_clock,
    tag_of,
    tasks_of,
)
from tests.processes import PATIENCE, serving, until
from tests.time_limits import TimeLimits
from tests.wire import Fault, Wire

pytestmark = pytest.mark.anyio


async def every_operation(
    client: httpx.AsyncClient, user: str, task_id: str, headers: dict[str, str] | None = None
) -> list[httpx.Response]:
    """Send each operation, all at once."""
    path = tasks_of(user)
    return await asyncio.gather(
        client.post(path, json={"title": "Buy milk"}, headers=headers),
        client.get(path, headers=headers),
        *(send(client, operation, user, task_id, headers) for operation in ON_ONE_TASK.values()),
    )


def connections_of(app: FastAPI) -> tuple[int, int]:
    """How many connections of the pool are in use, and how many are idle."""
    pool = app.state.database.engine.pool
    return pool.checkedout(), pool.checkedin()


def waiting_in(app: FastAPI) -> int:
    """How many requests wait for a connection."""
    waiting: int = app.state.database.limiter.waiting
    return waiting


async def is_at_rest(app: FastAPI) -> None:
    """Wait until no request has or waits for a connection."""
    await until(lambda: connections_of(app)[0] == waiting_in(app) == 0)


class Administrator:
    """Two connections of the test's own to the same database: one asks, the other holds locks."""

    def __init__(
        self, connection: psycopg.Connection[Any], holder: psycopg.Connection[Any]
    ) -> None:
        self._connection = connection
        self._holder = holder

    def locks_the_list_of(self, user: str) -> None:
        """Make all writers of this user wait."""
        self._holder.execute("SELECT FROM task_lists WHERE user_id = %s FOR UPDATE", [user])

    def locks_all_tables(self) -> None:
        self._holder.execute("LOCK tasks, task_lists, task_tombstones IN ACCESS EXCLUSIVE MODE")

    def fills_the_disk(self) -> None:
        """Make all changes of tasks fail as they do when the disk is full."""
        self._connection.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION USING ERRCODE = 'disk_full', MESSAGE = 'No space left on device';"
            " END $$"
        )
        self._connection.execute(
            "CREATE TRIGGER fail BEFORE INSERT OR UPDATE OR DELETE ON tasks"
            " FOR EACH STATEMENT EXECUTE FUNCTION fail()"
        )

    def unlocks(self) -> None:
        self._holder.commit()

    def sees(self) -> tuple[int, int]:
        """How many connections the app has, and how many of them wait for a lock."""
        connections, waiting = self._connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE wait_event_type = 'Lock')"
            " FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'task-api'"
        ).fetchone() or (0, 0)
        return connections, waiting

    def sees_waiting(self, count: int) -> bool:
        return self.sees()[1] == count

    def limits(self, setting: str, value: str) -> None:
        """Give the app a time limit, where its migrations put it; it holds for new connections."""
        self._connection.execute(
            SQL("ALTER ROLE CURRENT_USER IN DATABASE {} SET {} = {}").format(
                Identifier(self._connection.info.dbname), Identifier(setting), Literal(value)
            )
        )

    async def terminates_all_connections(self) -> None:
        terminated = self._connection.execute(
            "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'task-api'"
        ).fetchall()

        def are_gone() -> bool:
            pids = [pid for pid, _ in terminated]
            query = "SELECT FROM pg_stat_activity WHERE pid = ANY(%s)"
            return self._connection.execute(query, [pids]).fetchone() is None

        await until(are_gone)


@pytest.fixture
def administrator(database_url: str) -> Iterator[Administrator]:
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        psycopg.connect(database_url) as holder,
    ):
        yield Administrator(connection, holder)


@pytest.fixture
async def wire(database_url: str) -> AsyncIterator[Wire]:
    async with Wire(database_url) as wire:
        yield wire


async def rename(client: httpx.AsyncClient, task: dict[str, Any]) -> httpx.Response:
    return await client.patch(path_of(task), json={"title": "Buy oat milk"})


@asynccontextmanager
async def under_way(
    request: Callable[[], Awaitable[httpx.Response]], times: int = 1
) -> AsyncIterator[list[asyncio.Task[httpx.Response]]]:
    """Have requests under way; whatever of them is left at the end is ended."""
    tasks = [asyncio.ensure_future(request()) for _ in range(times)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def is_unavailable(answer: httpx.Response) -> bool:
    """Whether it says that the database cannot answer now, and when to come again."""
    return (
        answer.status_code == 503
        and answer.json()["code"] == "database_unavailable"
        and int(answer.headers["retry-after"]) > 0
    )


class TestSessions:
    @pytest.mark.requirement("FR-031")
    async def test_none_leaks_whatever_the_answer(self, database_url: str, user: str) -> None:
        async with serving(database_url, db_pool_size=2, db_pool_timeout=30) as (app, client):
            await is_at_rest(app)
            task = await create(client, user)
            answers = []
            for _ in range(3):  # more often than there are connections
                for headers in ({"If-Match": '"0"'}, {"If-None-Match": tag_of(task)}, {}):
                    for task_id in (NO_TASK, task["id"], "no id"):
                        answers += await every_operation(client, user, task_id, headers)

            statuses = {answer.status_code for answer in answers}
            assert statuses == {200, 201, 204, 304, 404, 412, 422}
            await is_at_rest(app)
            assert (await client.get(tasks_of(user))).status_code == 200

    @pytest.mark.requirement("FR-031")
    async def test_none_leaks_if_the_route_fails(
        self, database_url: str, user: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise RuntimeError

        async with serving(database_url, db_pool_size=2) as (app, client):
            await is_at_rest(app)
            with monkeypatch.context() as patch:
                patch.setattr("src.api.v1.tasks.list_response", fail)  # the statement has run
                answers = [await client.get(tasks_of(user)) for _ in range(5)]

            assert [answer.status_code for answer in answers] == [500] * 5
            await is_at_rest(app)
            assert (await client.get(tasks_of(user))).status_code == 200

    @pytest.mark.requirement("FR-031")
    async def test_none_leaks_if_the_request_is_cancelled_in_mid_statement(
        self, database_url: str, administrator: Administrator, user: str
    ) -> None:
        async with serving(database_url, db_pool_size=2, db_user_share=1) as (app, client):
            await is_at_rest(app)
            task = await create(client, user)
            for _ in range(3):
                administrator.locks_the_list_of(user)
                async with under_way(lambda: rename(client, task), times=2):
                    await until(lambda: administrator.sees_waiting(2))
                administrator.unlocks()
                await is_at_rest(app)

            # The statements are cancelled as well: nothing was written behind the client's back.
            assert (await client.get(path_of(task))).json() == task

    @pytest.mark.requirement("FR-031")
    async def test_none_leaks_if_the_request_is_cancelled_in_the_queue(
        self, database_url: str, administrator: Administrator, user: str
    ) -> None:
        async with serving(database_url, db_pool_size=1, db_pool_timeout=30) as (app, client):
            await is_at_rest(app)
            stop_clock(database_url, user)
            task = await create(client, user)
            administrator.locks_the_list_of(user)
            async with under_way(lambda: rename(client, task)) as (running,):
                await until(lambda: administrator.sees_waiting(1))
                async with under_way(lambda: rename(client, task), times=5):
                    await until(lambda: waiting_in(app) == 5)
                administrator.unlocks()

                assert (await running).json()["version"] == task["version"] + 1
            await is_at_rest(app)
            assert waiting_in(app) == 0
            assert (await client.get(path_of(task))).json()["version"] == task["version"] + 1


class TestTerminatedConnections:
    """What a database does that goes to sleep, as Neon's, or that fails over."""

    @pytest.mark.requirement("FR-029")
    @pytest.mark.parametrize("at_once", [1, 2, 8])
    async def test_cost_no_request(
        self, database_url: str, administrator: Administrator, user: str, at_once: int
    ) -> None:
        # So many connections that a request cannot sleep over each dead one that it meets.
        async with serving(database_url, db_pool_size=8, db_pool_timeout=5, db_user_share=1) as (
            app,
            client,
        ):
            task = await create(client, user)
            administrator.locks_the_list_of(user)
            async with under_way(lambda: rename(client, task), times=8) as writers:
                await until(lambda: administrator.sees_waiting(8))
                administrator.unlocks()
                await asyncio.gather(*writers)
            for _ in range(20):
                await is_at_rest(app)
                await administrator.terminates_all_connections()

                answers = await asyncio.gather(
                    *(client.get(tasks_of(user)) for _ in range(at_once))
                )

                assert [answer.status_code for answer in answers] == [200] * at_once

    @pytest.mark.requirement("FR-029", "FR-058")
    async def test_under_a_statement_are_replaced_and_the_statement_is_repeated(
        self, database_url: str, administrator: Administrator, user: str
    ) -> None:
        async with serving(database_url, db_pool_size=2, db_pool_timeout=5, db_user_share=1) as (
            app,
            client,
        ):
            await is_at_rest(app)
            stop_clock(database_url, user)
            task = await create(client, user)
            for done in range(3):  # more often than there are connections
                administrator.locks_the_list_of(user)
                async with under_way(lambda: rename(client, task), times=2) as writers:
                    await until(lambda: administrator.sees_waiting(2))
                    await administrator.terminates_all_connections()
                    await until(lambda: administrator.sees_waiting(2))
                    administrator.unlocks()
                    versions = {(await writer).json()["version"] for writer in writers}

                assert versions == {AHEAD + 2 + 2 * done, AHEAD + 3 + 2 * done}
                assert (await client.get(path_of(task))).status_code == 200
                await is_at_rest(app)

    @pytest.mark.requirement("FR-029", "FR-058")
    async def test_are_reported_if_they_do_not_stop(
        self, database_url: str, administrator: Administrator, user: str
    ) -> None:
        async with serving(database_url, db_pool_size=2, db_user_share=1) as (app, client):
            await is_at_rest(app)
            task = await create(client, user)
            administrator.locks_the_list_of(user)
            async with under_way(lambda: rename(client, task), times=2) as writers:
                for _ in range(MAX_ATTEMPTS):
                    await until(lambda: administrator.sees_waiting(2))
                    await administrator.terminates_all_connections()
                assert all([is_unavailable(await writer) for writer in writers])
            administrator.unlocks()

            assert (await client.get(path_of(task))).json() == task
            await is_at_rest(app)

    @pytest.mark.requirement("FR-029", "FR-031", "FR-061")
    async def test_that_broke_without_a_word_leave_their_places_in_the_pool(
        self, wire: Wire, user: str
    ) -> None:
        async with serving(wire.url, db_pool_size=2) as (app, client):
            await client.get(tasks_of(user))
            for _ in range(3):  # more often than there are connections
                wire.faults.extend([Fault.LOST] * MAX_ATTEMPTS)
                assert is_unavailable(await client.get(tasks_of(user)))

                await is_at_rest(app)
                assert (await client.get(tasks_of(user))).status_code == 200


class TestAPreparedPlan:
    @pytest.mark.requirement("FR-058", "FR-061")
    async def test_that_a_migration_has_overtaken_costs_no_request(
        self, database_url: str, user: str
    ) -> None:
        """It has overtaken those of all connections: another one is no cure by itself."""
        async with serving(database_url, db_pool_size=8, db_pool_timeout=30) as (_, client):
            path = path_of(await create(client, user))

            async def statuses() -> set[int]:
                answers = await asyncio.gather(*(client.get(path) for _ in range(16)))
                return {answer.status_code for answer in answers}

            for _ in range(10):
                assert await statuses() == {200}
            with psycopg.connect(database_url) as connection:
                connection.execute("ALTER TABLE tasks ALTER COLUMN description TYPE varchar(2000)")

            # One request, alone: its later attempts get connections that are no better.
            assert (await client.get(path)).status_code == 200


class TestADatabaseThatIsDown:
    @pytest.mark.requirement("FR-029", "FR-028")
    async def test_is_reported_by_every_operation_until_it_is_back(
        self, wire: Wire, user: str
    ) -> None:
        async with serving(wire.url, db_pool_size=2, db_pool_timeout=0.1) as (app, client):
            await is_at_rest(app)
            task = await create(client, user)
            await wire.refuse()

            for answer in await every_operation(client, user, task["id"]):
                assert is_unavailable(answer)
            assert is_unavailable(await client.get("/health/ready"))
            assert (await client.get("/health")).status_code == 200

            await wire.listen()
            await until_it_answers(client, path_of(task))
            assert (await client.get(path_of(task))).json() == task
            assert (await client.get("/health/ready")).status_code == 200

    @pytest.mark.requirement("FR-029", "FR-028")
    async def test_at_the_start_is_waited_for(self, wire: Wire, user: str) -> None:
        await wire.refuse()
        async with serving(wire.url, db_pool_timeout=0.1) as (_, client):
            assert (await client.get("/health")).status_code == 200
            assert is_unavailable(await client.get("/health/ready"))

            await wire.listen()
            await until_it_answers(client, tasks_of(user))

    @pytest.mark.requirement("FR-029")
    async def test_is_reached_at_once_however_many_requests_came_meanwhile(
        self, wire: Wire, user: str
    ) -> None:
        settings = {"db_pool_size": 2, "db_pool_max_waiting": 20}
        async with serving(wire.url, **settings) as (app, client):
            task = await create(client, user)
            await wire.refuse()
            for _ in range(5):
                answers = await asyncio.gather(*(client.get(path_of(task)) for _ in range(100)))
                assert all(map(is_unavailable, answers))

            await wire.listen()

            assert (await client.get(path_of(task))).json() == task
            await is_at_rest(app)


class TestAnOutageUnderLoad:
    @pytest.mark.requirement("FR-131")
    @pytest.mark.parametrize("kind", ["refuses", "hangs"])
    async def test_ends_for_all_clients_when_the_database_is_back(
        self, wire: Wire, user: str, kind: str
    ) -> None:
        """They go on sending all the time, so a queue has built up."""
        async with serving(wire.url) as (app, client):
            await create(client, user)
            refused, is_over = 0, False

            async def use(name: str) -> None:
                """Send requests until the outage is over, and one has succeeded since."""
                nonlocal refused
                while True:
                    was_over = is_over
                    answer = await client.get(tasks_of(name))
                    if was_over and answer.is_success:
                        return
                    refused += is_unavailable(answer)

            clients = asyncio.gather(*(use(f"{user}-{number}") for number in range(100)))
            if kind == "refuses":
                await wire.refuse()
                await until(lambda: refused >= 300)
                await wire.listen()
            else:
                wire.hold()
                await until(lambda: refused >= 300)
                wire.release()
            is_over = True

            async with asyncio.timeout(PATIENCE):
                await clients
            await is_at_rest(app)


class TestADatabaseThatLacksSomething:
    @pytest.mark.requirement("FR-122")
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            pytest.param(
                "DROP TABLE tasks",
                f'relation "tasks" does not exist: {MISSING_HINT}',
                id="a table is missing",
            ),
            pytest.param(
                "ALTER TABLE tasks DROP COLUMN position",
                f"column tasks.position does not exist: {MISSING_HINT}",
                id="a column is missing",
            ),
            pytest.param(
                "REVOKE ALL ON tasks FROM CURRENT_USER",
                "permission denied for table tasks: grant the role its privileges",
                id="a privilege is missing",
            ),
        ],
    )
    async def test_is_reported_by_every_operation_and_one_line(
        self,
        database_url: str,
        user: str,
        capsys: pytest.CaptureFixture[str],
        change: str,
        reason: str,
    ) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute(change.encode())
        async with serving(database_url) as (app, client):
            answer = await client.get(f"{tasks_of(user)}/{NO_TASK}")
            (line,) = capsys.readouterr().err.splitlines()
            answers = await every_operation(client, user, NO_TASK)
            await is_at_rest(app)

        assert line.endswith(f": database unavailable: {reason}")
        # A deletion needs no column but the ids, and finds no task.
        failed = [answer for answer in answers if answer.status_code != 404]
        assert all(map(is_unavailable, [answer, *failed]))
        assert len(answers) - len(failed) == (1 if "column" in reason else 0)
        assert "Traceback" not in capsys.readouterr().err


class TestADatabaseThatIsReadOnlyForAWhile:
    """As during a failover: sessions that began meanwhile would stay read-only for ever."""

    @pytest.mark.requirement("FR-124")
    async def test_is_written_to_at_once_afterwards(
        self, database_url: str, administrator: Administrator, user: str
    ) -> None:
        async with serving(database_url, db_pool_timeout=30) as (app, client):
            task = await create(client, user)
            administrator.limits("default_transaction_read_only", "on")
            await administrator.terminates_all_connections()
            for _ in range(3):
                writes = await asyncio.gather(*(rename(client, task) for _ in range(8)))
                assert all(map(is_unavailable, writes))
                assert (await client.get(path_of(task))).json() == task
            reads = await asyncio.gather(*(client.get(path_of(task)) for _ in range(64)))
            assert {read.status_code for read in reads} == {200}

            administrator.limits("default_transaction_read_only", "off")

            writes = await asyncio.gather(*(rename(client, task) for _ in range(16)))
            assert [write.status_code for write in writes] == [200] * 16
            await is_at_rest(app)

    @pytest.mark.requirement("FR-124")
    async def test_keeps_no_connection_that_failed_in_a_transaction(
        self, database_url: str, administrator: Administrator, user: str
    ) -> None:
        async with serving(database_url, db_pool_size=1) as (app, _):
            administrator.limits("default_transaction_read_only", "on")
            database, parameters = app.state.database, {"the_user": user}
            async with database.session() as session:
                with pytest.raises(DatabaseUnavailable):
                    async with transaction(session):
                        await run(session, LOCK_LIST, parameters, Effect.READ)

            administrator.limits("default_transaction_read_only", "off")

            async with database.session() as session, transaction(session):
                await run(session, LOCK_LIST, parameters, Effect.READ)


class TestADatabaseThatWakesUp:
    """It takes a connection at once, but answers only when it is awake, as Neon's does."""

    @pytest.mark.requirement("FR-029")
    async def test_costs_time_and_no_error(self, wire: Wire, user: str) -> None:
        async with serving(wire.url, db_pool_size=4, db_user_share=1) as (_, client):
            wire.hold()
            async with under_way(lambda: client.get(tasks_of(user)), times=4) as requests:
                await until(lambda: len(wire.connections) == 4)
                wire.release()

                assert [(await request).status_code for request in requests] == [200] * 4

    @pytest.mark.requirement("FR-029")
    async def test_is_waited_for_no_longer_than_the_setting_says(
        self, wire: Wire, user: str
    ) -> None:
        async with serving(wire.url, db_pool_size=1, db_connect_timeout=2) as (app, client):
            wire.hold()
            async with under_way(lambda: client.get(tasks_of(user))) as (request,):
                answered, _ = await asyncio.wait([request], timeout=20)
                wire.release()

                assert answered, "the request waits for as long as the database sleeps"
                assert is_unavailable(await request)
            await is_at_rest(app)


async def until_it_answers(client: httpx.AsyncClient, path: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while not (answer := await client.get(path)).is_success:
            assert is_unavailable(answer)


class TestADatabaseThatHangs:
    """It accepts everything and answers nothing: stopped, overloaded, or gone behind a proxy.

    Neither TCP nor a limit that PostgreSQL itself would have to keep can end that.
    """

    @pytest.mark.requirement("FR-029")
    async def test_is_reported_by_the_request_that_it_caught(self, wire: Wire, user: str) -> None:
        async with serving(wire.url, db_pool_size=1) as (app, client):
            await client.get(tasks_of(user))  # so that there is a connection
            wire.hold()
            async with under_way(lambda: client.get(tasks_of(user))) as (running,):
                answered, _ = await asyncio.wait([running], timeout=20)
                wire.release()
                answer = await running

                assert answered, "the request hangs for as long as its database does"
                assert is_unavailable(answer)
            await is_at_rest(app)

    @pytest.mark.requirement("FR-029")
    async def test_is_reported_to_the_requests_that_come_after(self, wire: Wire, user: str) -> None:
        async with serving(wire.url, db_pool_size=1, db_pool_timeout=0.1) as (app, client):
            await client.get(tasks_of(user))  # so that there is a connection
            wire.hold()
            async with under_way(lambda: client.get(tasks_of(user))) as (running,):
                await until(lambda: connections_of(app)[0] == 1)

                assert is_unavailable(await client.get(tasks_of(user)))
                assert is_unavailable(await client.get("/health/ready"))
                assert (await client.get("/health")).status_code == 200

                wire.release()
                assert (await running).is_success
            await is_at_rest(app)

    @pytest.mark.requirement("FR-029", "FR-031")
    async def test_is_reported_by_a_request_that_has_just_connected(
        self, wire: Wire, user: str, time_limits: TimeLimits
    ) -> None:
        time_limits.run_out_on_silence(wire)
        async with serving(wire.url, db_pool_size=1) as (app, client):
            wire.is_mute = True
            assert is_unavailable(await client.get(tasks_of(user)))

            wire.is_mute = False
            assert (await client.get(tasks_of(user))).status_code == 200
            await is_at_rest(app)
            await until(lambda: len(wire.connections) == 1)

    @pytest.mark.requirement("FR-029", "FR-031")
    @pytest.mark.parametrize("number", range(1, 7))
    async def test_is_given_up_at_whichever_statement_of_the_first_connection(
        self, wire: Wire, user: str, time_limits: TimeLimits, number: int
    ) -> None:
        """The first is the application's own; the others are SQLAlchemy's, once per process."""
        time_limits.run_out_on_silence(wire)
        async with serving(wire.url, db_pool_size=1) as (app, client):
            wire.unanswered = number
            assert (await client.get(tasks_of(user))).status_code == 200  # on another connection
            assert len(wire.flights) > 6
            await is_at_rest(app)

    @pytest.mark.requirement("FR-029", "FR-031")
    async def test_costs_no_place_in_the_pool(self, database_url: str, user: str) -> None:
        """Whoever keeps a connection, the others are told in time."""
        async with serving(database_url, db_pool_size=1, db_pool_timeout=0.1) as (app, client):
            async with app.state.database.engine.connect() as kept:
                await kept.execute(select(1))
                assert is_unavailable(await client.get(tasks_of(user)))

            assert (await client.get(tasks_of(user))).status_code == 200


class TestADatabaseThatIsSlow:
    @pytest.mark.requirement("FR-029")
    @pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
    async def test_is_reported_when_the_time_limit_of_the_role_is_over(
        self, database_url: str, administrator: Administrator, user: str, limit: str
    ) -> None:
        async with serving(database_url) as (_, client):
            task = await create(client, user)
        administrator.limits(limit, "50ms")
        async with serving(database_url, db_pool_size=2) as (app, client):
            await is_at_rest(app)
            administrator.locks_the_list_of(user)

            assert is_unavailable(await rename(client, task))

            administrator.unlocks()
            async with asyncio.timeout(PATIENCE):  # a slow disk can take longer than the limit
                while (await rename(client, task)).status_code != 200:
                    pass
            await is_at_rest(app)


class TestTablesThatAreLocked:
    @pytest.mark.requirement("FR-131")
    async def test_cost_every_request_a_503_and_the_server_nothing(
        self, database_url: str, administrator: Administrator, user: str
    ) -> None:
        async with serving(database_url) as (app, client):
            users = [f"{user}-{number}" for number in range(50)]
            created = [await create(client, name) for name in users]
            administrator.locks_all_tables()

            async def alive() -> int:
                probes = 0
                while not requests.done():
                    assert (await client.get("/health")).status_code == 200
                    probes += 1
                    await asyncio.sleep(0)  # such a request waits for nothing by itself
                return probes

            requests = asyncio.gather(
                *(client.get(path_of(task)) for task in created),
                *(rename(client, task) for task in created),
                *(client.get(tasks_of(name)) for name in users),
            )
            assert await alive() > 0
            answers = await requests
            assert all(map(is_unavailable, answers))
            await is_at_rest(app)
            administrator.unlocks()

            renamed = await asyncio.gather(*(rename(client, task) for task in created[:8]))
            assert {answer.status_code for answer in renamed} == {200}
            left = await asyncio.gather(*(client.get(path_of(task)) for task in created[8:16]))
            assert [answer.json() for answer in left] == created[8:16]


class TestADatabaseWhoseDiskIsFull:
    @pytest.mark.requirement("FR-131")
    async def test_takes_no_writes_and_is_read(
        self,
        database_url: str,
        administrator: Administrator,
        user: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        async with serving(database_url) as (_, client):
            task = await create(client, user)
            administrator.fills_the_disk()

            for answer in (await rename(client, task), await client.delete(path_of(task))):
                assert is_unavailable(answer)
            assert (await client.get(path_of(task))).json() == task
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(": database unavailable: No space left on device")


class TestAFullPool:
    @pytest.mark.requirement("FR-029")
    async def test_lets_a_request_wait_no_longer_than_it_is_told(
        self, database_url: str, administrator: Administrator, user: str, other_user: str
    ) -> None:
        async with serving(database_url, db_pool_size=2, db_pool_timeout=0.1, db_user_share=1) as (
            app,
            client,
        ):
            await is_at_rest(app)
            task = await create(client, user)
            administrator.locks_the_list_of(user)
            async with under_way(lambda: rename(client, task), times=2) as writers:
                await until(lambda: administrator.sees_waiting(2))

                assert is_unavailable(await client.get(tasks_of(other_user)))

                administrator.unlocks()
                assert [(await writer).status_code for writer in writers] == [200, 200]

    @pytest.mark.requirement("FR-029")
    async def test_sheds_at_once_what_finds_the_queue_full(
        self, database_url: str, administrator: Administrator, user: str
    ) -> None:
        settings = {"db_pool_size": 1, "db_pool_max_waiting": 3, "db_user_share": 1}
        async with serving(database_url, db_pool_timeout=30, **settings) as (app, client):
            await is_at_rest(app)
            task = await create(client, user)
            administrator.locks_the_list_of(user)
            async with (
                under_way(lambda: rename(client, task)) as running,
                under_way(lambda: rename(client, task), times=3) as waiting,
            ):
                await until(lambda: waiting_in(app) == 3)

                assert is_unavailable(await client.get(tasks_of(user)))
                assert not any(request.done() for request in (*running, *waiting))

                administrator.unlocks()
                answers = await asyncio.gather(*running, *waiting)
                assert [answer.status_code for answer in answers] == [200] * 4

    @pytest.mark.requirement("FR-029")
    async def test_serves_in_the_order_of_arrival(
        self, database_url: str, administrator: Administrator, user: str
    ) -> None:
        async with serving(database_url, db_pool_size=1, db_pool_timeout=30) as (app, client):
            await is_at_rest(app)
            await create(client, user)
            administrator.locks_the_list_of(user)
            requests = []
            for position in range(10):
                requests.append(asyncio.ensure_future(create(client, user, title=f"{position}")))
                await until(lambda: waiting_in(app) == position)  # noqa: B023 — awaited
            administrator.unlocks()
            tasks = await asyncio.gather(*requests)

        assert sorted(tasks, key=lambda task: task["version"]) == tasks


class TestOneUserWithManySlowRequests:
    @pytest.mark.requirement("FR-128")
    async def test_leaves_connections_and_places_in_the_queue_to_others(
        self,
        database_url: str,
        administrator: Administrator,
        user: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("src.database.STATEMENT_TIMEOUT", PATIENCE)
        for limit in ("lock_timeout", "statement_timeout"):
            administrator.limits(limit, "30s")
        async with serving(database_url, db_pool_timeout=30) as (app, client):
            await is_at_rest(app)
            task = await create(client, user)
            administrator.locks_the_list_of(user)
            async with under_way(lambda: rename(client, task), times=20) as writers:
                await until(lambda: waiting_in(app) == 16)

                # Half of the eight connections, and nobody in the queue stands before others.
                await until(lambda: administrator.sees_waiting(4))
                answers = await asyncio.gather(
                    *(client.get(tasks_of(f"user-{uuid4()}")) for _ in range(100))
                )
                assert {answer.status_code for answer in answers} == {200}
                assert not any(writer.done() for writer in writers)
                administrator.unlocks()
                assert {(await writer).status_code for writer in writers} == {200}
            await is_at_rest(app)

    @pytest.mark.requirement("FR-128")
    async def test_may_use_all_connections_if_the_setting_says_so(
        self, database_url: str, administrator: Administrator, user: str
    ) -> None:
        async with serving(database_url, db_user_share=1) as (_, client):
            task = await create(client, user)
            administrator.locks_the_list_of(user)
            async with under_way(lambda: rename(client, task), times=8):
                await until(lambda: administrator.sees_waiting(8))
            administrator.unlocks()


@pytest.mark.requirement("FR-031")
async def test_the_app_leaves_no_connection_behind_when_it_stops(
    database_url: str, administrator: Administrator
) -> None:
    async with serving(database_url, db_pool_timeout=30) as (_, client):
        await asyncio.gather(*(create(client, f"user-{uuid4()}") for _ in range(20)))

    await until(lambda: administrator.sees() == (0, 0))
