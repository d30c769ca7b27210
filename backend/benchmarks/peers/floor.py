"""The floor: the cost of these operations without a framework, an ORM or validation.

It is Starlette, psycopg's pool and orjson. Each operation is one statement, like the application's,
and a write counts the user's version. Input is not checked.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID, uuid4

import orjson
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

COLUMNS: Final = (
    "id, user_id, title, description, is_completed, completed_at, priority, due_date, due_at,"
    " tags, position, version, created_at, updated_at"
)
CLOCK: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
NEXT_VERSION: Final = """
    INSERT INTO task_lists (user_id, version) {first}
    ON CONFLICT (user_id) DO UPDATE
    SET version = greatest(task_lists.version + 1, excluded.version)
    RETURNING version, clock_timestamp() AS at
"""
OF_A_PRESENT_TASK: Final = NEXT_VERSION.format(
    first=f"SELECT %(user_id)s, {CLOCK}"
    " WHERE EXISTS (SELECT FROM tasks WHERE user_id = %(user_id)s AND id = %(id)s)"
)

GET: Final = f"SELECT {COLUMNS} FROM tasks WHERE user_id = %(user_id)s AND id = %(id)s"
LIST: Final = f"""
    SELECT {COLUMNS} FROM tasks WHERE user_id = %(user_id)s
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s
"""
CREATE: Final = f"""
    WITH change AS ({NEXT_VERSION.format(first=f"VALUES (%(user_id)s, {CLOCK})")})
    INSERT INTO tasks (user_id, id, title, description, is_completed, priority, tags, version,
                       created_at, updated_at)
    SELECT %(user_id)s, %(id)s, %(title)s, %(description)s, false, 'none', '{{}}', version, at, at
    FROM change RETURNING {COLUMNS}
"""
UPDATE: Final = f"""
    WITH change AS ({OF_A_PRESENT_TASK})
    UPDATE tasks SET title = %(title)s, version = change.version, updated_at = change.at
    FROM change WHERE tasks.user_id = %(user_id)s AND id = %(id)s
    RETURNING {COLUMNS.replace("version", "tasks.version")}
"""
COMPLETE: Final = f"""
    WITH change AS ({OF_A_PRESENT_TASK})
    UPDATE tasks
    SET is_completed = %(is_completed)s, version = change.version, updated_at = change.at,
        completed_at = CASE WHEN %(is_completed)s THEN coalesce(completed_at, change.at) END
    FROM change WHERE tasks.user_id = %(user_id)s AND id = %(id)s
    RETURNING {COLUMNS.replace("version", "tasks.version")}
"""

pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
    os.environ["DATABASE_URL"],
    min_size=8,
    max_size=8,
    open=False,
    kwargs={"autocommit": True, "row_factory": dict_row},
)


async def rows(statement: str, parameters: dict[str, Any]) -> list[DictRow]:
    async with pool.connection() as connection:
        return await (await connection.execute(statement, parameters)).fetchall()


def answer(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


async def one_task(statement: str, parameters: dict[str, Any]) -> Response:
    found = await rows(statement, parameters)
    return answer(found[0]) if found else answer({"detail": "Task not found"}, 404)


def named(request: Request) -> dict[str, Any]:
    return {"user_id": request.path_params["user_id"], "id": UUID(request.path_params["task_id"])}


async def list_tasks(request: Request) -> Response:
    limit = int(request.query_params.get("limit", 50))
    found = await rows(LIST, {"user_id": request.path_params["user_id"], "limit": limit})
    return answer({"items": found})


async def get_task(request: Request) -> Response:
    return await one_task(GET, named(request))


async def create_task(request: Request) -> Response:
    task = orjson.loads(await request.body())
    parameters = {
        "user_id": request.path_params["user_id"],
        "id": uuid4(),
        "title": task["title"],
        "description": task["description"],
    }
    return answer((await rows(CREATE, parameters))[0], 201)


async def update_task(request: Request) -> Response:
    return await one_task(UPDATE, {**named(request), **orjson.loads(await request.body())})


async def complete_task(request: Request) -> Response:
    return await one_task(COMPLETE, {**named(request), **orjson.loads(await request.body())})


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
    async with pool:
        yield


TASKS: Final = "/api/v1/{user_id}/tasks"

app = Starlette(
    routes=[
        Route(TASKS, list_tasks, methods=["GET"]),
        Route(TASKS, create_task, methods=["POST"]),
        Route(TASKS + "/{task_id}", get_task, methods=["GET"]),
        Route(TASKS + "/{task_id}", update_task, methods=["PATCH"]),
        Route(TASKS + "/{task_id}/complete", complete_task, methods=["PATCH"]),
    ],
    lifespan=lifespan,
)
