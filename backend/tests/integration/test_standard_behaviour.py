"""FastAPI and SQLModel behave here as their documentation says.

Each test does what a developer does who knows them: the standard way to add authentication, to
override a dependency, to raise an error, to use a session, to begin and roll back a transaction.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress
from typing import Annotated, Any, Final, Self
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import (
    APIRouter,
    Body,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
    Security,
    WebSocket,
)
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from fastapi.security import APIKeyQuery
from pydantic import (
    AliasChoices,
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from sqlalchemy import event, literal_column, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field as SQLField
from sqlmodel import SQLModel, col, func, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from src.api.deps import SessionDep, UserId, get_session
from src.api.problems import HANDLERS
from src.api.strict import StrictRoute
from src.api.v1 import tasks
from src.database import AutocommitError, Database, Session, transaction
from src.models.task import Task, TaskList
from tests.builders import create, path_of, tasks_of
from tests.conftest import BASE_URL
from tests.processes import serving
from tests.time_limits import TimeLimits
from tests.wire import Fault, Wire

SLOW_COMMIT: Final = (
    "CREATE TEMP TABLE slow (id integer)",
    "CREATE FUNCTION pg_temp.wait() RETURNS trigger LANGUAGE plpgsql"
    " AS 'BEGIN PERFORM pg_sleep(4); RETURN NULL; END'",
    "CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION pg_temp.wait()",
    "INSERT INTO slow VALUES (1)",
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.unscoped,  # it uses the tables as an application beside this one might
]


@pytest.fixture
async def database(app: FastAPI) -> Database:
    database: Database = app.state.database
    return database


@pytest.fixture
async def session(database: Database) -> AsyncIterator[AsyncSession]:
    async with database.session() as session:
        yield session


@pytest.fixture
async def opened(shared_database_url: str) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """An app of the test's own, with two connections."""
    async with serving(shared_database_url, db_pool_size=2, db_pool_timeout=30) as opened:
        yield opened


async def versions_of(database: Database, user: str) -> list[int]:
    """Read the version of a user's list by another session."""
    async with database.session() as other:
        found = await other.exec(select(TaskList.version).where(TaskList.user_id == user))
        return list(found.all())


def a_list(user: str, version: int = 1) -> TaskList:
    return TaskList(user_id=user, version=version)


async def connect(app: FastAPI, path: str, *hosts: str) -> list[Any]:
    """Connect to a websocket; give what it sends."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": path, "raw_path": path.encode(), "query_string": b""}
    headers = [(b"host", host.encode()) for host in hosts]
    await app({**scope, "headers": headers, "subprotocols": []}, receive, send)
    return sent


async def refuse() -> None:
    raise HTTPException(401, "Sign in first", {"WWW-Authenticate": "Bearer"})


class TestTheApp:
    @pytest.mark.requirement("FR-065")
    @pytest.mark.parametrize("where", ["app", "include_router"])
    async def test_runs_the_dependencies_of_the_app_and_of_the_router(
        self, app: FastAPI, user: str, where: str
    ) -> None:
        denied = [Depends(refuse)]
        guarded = FastAPI(
            dependencies=denied if where == "app" else [], exception_handlers=HANDLERS
        )
        guarded.include_router(tasks.router, dependencies=[] if where == "app" else denied)
        guarded.state.database = app.state.database
        transport = httpx.ASGITransport(guarded)
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
            answers = [
                await client.get(tasks_of(user)),
                await client.post(tasks_of(user), json={"title": "Buy milk"}),
                await client.get(f"{tasks_of(user)}/summary"),
                await client.delete(f"{tasks_of(user)}/{uuid4()}"),
            ]

        assert {answer.status_code for answer in answers} == {401}
        assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}

    @pytest.mark.requirement("FR-065")
    async def test_uses_the_overrides_of_its_dependencies(
        self, opened: tuple[FastAPI, httpx.AsyncClient], database: Database, user: str
    ) -> None:
        app, client = opened
        lent: list[AsyncSession] = []

        async def get_other_session() -> AsyncIterator[AsyncSession]:
            async with database.session() as session:
                lent.append(session)
                yield session

        app.dependency_overrides[get_session] = get_other_session
        task = await create(client, user)

        assert len(lent) == 1
        assert await versions_of(database, user) == [task["version"]]

    @pytest.mark.requirement("FR-065")
    async def test_works_with_an_ordinary_session_as_an_override(
        self,
        opened: tuple[FastAPI, httpx.AsyncClient],
        shared_database_url: str,
        database: Database,
        user: str,
    ) -> None:
        app, client = opened
        url = shared_database_url.replace("postgresql://", "postgresql+psycopg://")
        engine = create_async_engine(url)

        async def get_ordinary_session() -> AsyncIterator[AsyncSession]:
            async with AsyncSession(engine) as session:
                yield session

        app.dependency_overrides[get_session] = get_ordinary_session
        task = await create(client, user)

        assert (await client.get(path_of(task))).json() == task
        assert await versions_of(database, user) == [task["version"]]
        await engine.dispose()

    @pytest.mark.requirement("FR-065")
    async def test_lends_a_session_to_a_websocket(
        self, opened: tuple[FastAPI, httpx.AsyncClient], user: str
    ) -> None:
        app, _ = opened

        @app.websocket("/versions")
        async def versions(websocket: WebSocket, session: SessionDep) -> None:
            found = await session.exec(select(TaskList.version).where(TaskList.user_id == user))
            await websocket.accept()
            await websocket.send_json(list(found.all()))

        accepted, found, *_ = await connect(app, "/versions", "localhost")

        assert accepted["type"] == "websocket.accept"
        assert json.loads(found["text"]) == []

    @pytest.mark.requirement("FR-062", "FR-065")
    @pytest.mark.parametrize("hosts", [["evil.example"], [], ["localhost", "localhost"]])
    async def test_refuses_a_websocket_for_another_host(
        self, opened: tuple[FastAPI, httpx.AsyncClient], hosts: list[str]
    ) -> None:
        app, _ = opened

        @app.websocket("/echo")
        async def echo(websocket: WebSocket) -> None:
            await websocket.accept()

        assert [message["type"] for message in await connect(app, "/echo", *hosts)] == [
            "websocket.close"
        ]

    @pytest.mark.requirement("FR-065")
    async def test_lends_a_session_to_a_plain_router_as_often_as_it_is_asked(
        self, opened: tuple[FastAPI, httpx.AsyncClient], user: str
    ) -> None:
        app, client = opened
        router = APIRouter()

        @router.get("/titles/{user_id}")
        async def list_titles(session: SessionDep, user_id: UserId) -> list[str]:
            found = await session.exec(select(Task.title).where(Task.user_id == user_id))
            return list(found.all())

        app.include_router(router)
        await create(client, user)
        for _ in range(10):  # more often than there are connections
            answer = await client.get(f"/titles/{user}")
            assert (answer.status_code, answer.json()) == (200, ["Buy milk"])
        answers = await asyncio.gather(*(client.get(f"/titles/{user}") for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert app.state.database.engine.pool.checkedout() == 0

    @pytest.mark.requirement("FR-065")
    async def test_takes_the_session_back_before_it_sends_the_answer(
        self, opened: tuple[FastAPI, httpx.AsyncClient], user: str
    ) -> None:
        app, client = opened
        in_use: list[int] = []

        async def send_and_look(scope: Any, receive: Any, send: Any) -> None:
            async def look(message: Any) -> None:
                in_use.append(app.state.database.engine.pool.checkedout())
                await send(message)

            await app(scope, receive, look)

        transport = httpx.ASGITransport(send_and_look)
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as slow:
            assert (await slow.get(tasks_of(user))).status_code == 200

        assert set(in_use) == {0}
        await client.aclose()

    @pytest.mark.requirement("FR-066")
    @pytest.mark.parametrize(
        ("raised", "code", "detail"),
        [
            (HTTPException(403, "Not yours"), "forbidden", "Not yours"),
            (HTTPException(404, "No such project"), "not_found", "No such project"),
            (HTTPException(404), "not_found", "Not Found"),
            (HTTPException(405, "Read only", {"Allow": "POST"}), "method_not_allowed", "Read only"),
            (HTTPException(409), "conflict", "Conflict"),
            (HTTPException(413), "content_too_large", None),
            (HTTPException(418), "im_a_teapot", "I'm a Teapot"),
            (HTTPException(429, "Slow down", {"Retry-After": "7"}), "too_many_requests", None),
            (HTTPException(400, {"field": "colour"}), "bad_request", '{"field":"colour"}'),
            (HTTPException(400, {1: "red"}), "bad_request", '{"1":"red"}'),
            (HTTPException(500, "Broken"), "internal_server_error", "Broken"),
        ],
        ids=lambda value: str(value.status_code) if isinstance(value, HTTPException) else "",
    )
    async def test_turns_an_http_exception_into_a_problem_with_its_status_and_headers(
        self,
        opened: tuple[FastAPI, httpx.AsyncClient],
        raised: HTTPException,
        code: str,
        detail: str | None,
    ) -> None:
        app, client = opened

        @app.get("/raise")
        async def fail() -> None:
            raise raised

        answer = await client.get("/raise")

        assert answer.status_code == raised.status_code
        for name, value in (raised.headers or {}).items():
            assert answer.headers[name] == value
        body = answer.json()
        if raised.status_code != 413:  # its phrase depends on the version of Python
            assert body["code"] == code
        assert detail in (None, body["detail"])

    @pytest.mark.requirement("FR-066")
    async def test_lets_an_http_exception_say_what_caches_may_do(self) -> None:
        app = FastAPI(exception_handlers=HANDLERS)

        @app.get("/raise")
        async def fail() -> None:
            raise HTTPException(403, headers={"cache-control": "max-age=60"})

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
            answer = await client.get("/raise")

        assert answer.headers["cache-control"] == "max-age=60"

    @pytest.mark.requirement("FR-066")
    async def test_sends_no_body_with_an_http_exception_that_has_none(
        self, opened: tuple[FastAPI, httpx.AsyncClient]
    ) -> None:
        app, client = opened

        @app.get("/raise")
        async def fail() -> None:
            raise HTTPException(304, headers={"ETag": '"1"'})

        answer = await client.get("/raise")

        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == '"1"'

    @pytest.mark.requirement("FR-066")
    async def test_explains_what_a_plain_route_refuses(
        self, opened: tuple[FastAPI, httpx.AsyncClient]
    ) -> None:
        app, client = opened

        class Paint(BaseModel):
            colour: str
            layers: int

            @field_validator("layers")
            @classmethod
            def _is_even(cls, layers: int) -> int:
                if layers % 2:
                    raise ValueError("must be even")
                return layers

        @app.post("/paint")
        async def paint(paint: Paint, token: Annotated[str, Header()]) -> str:
            return f"{token}: {paint.colour}"

        answer = await client.post("/paint", json={"layers": 3})

        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {"header": "token", "code": "required", "detail": "is required"},
            {"pointer": "/colour", "code": "required", "detail": "is required"},
            {"pointer": "/layers", "code": "invalid", "detail": "must be even"},
        ]

    @pytest.mark.requirement("FR-066")
    @pytest.mark.parametrize("route_class", [APIRoute, StrictRoute])
    async def test_says_what_a_validator_of_the_developer_s_own_says(
        self, opened: tuple[FastAPI, httpx.AsyncClient], route_class: type[APIRoute]
    ) -> None:
        app, client = opened

        class Op(BaseModel):
            name: str

            @field_validator("name")
            @classmethod
            def _check(cls, name: str) -> str:
                if name == "asserted":
                    raise AssertionError("must not be asserted")
                if name in ("value_error", "greater_than", "of_my_own"):
                    raise PydanticCustomError(name, "must not be raised")
                return name

        class Plan(BaseModel):
            operations: list[Op]

        router = APIRouter(route_class=route_class)

        @router.post("/plans")
        async def carry_out(plan: Plan) -> int:
            if plan.operations[0].name == "in the route":
                error = {
                    "loc": ("body", "name"),
                    "msg": "must not be raised",
                    "type": "value_error",
                }
                raise RequestValidationError([error])
            return len(plan.operations)

        app.include_router(router)

        pointer = "/operations/0/name"
        for name, where, detail in (
            ("asserted", pointer, "must not be asserted"),
            ("value_error", pointer, "must not be raised"),
            ("of_my_own", pointer, "must not be raised"),
            ("greater_than", pointer, "is not valid"),
            ("in the route", "/name", "must not be raised"),
        ):
            answer = await client.post("/plans", json={"operations": [{"name": name}]})
            assert answer.status_code == 422
            assert answer.json()["errors"] == [
                {"pointer": where, "code": "invalid", "detail": detail}
            ]

    @pytest.mark.requirement("FR-066")
    @pytest.mark.parametrize("route_class", [APIRoute, StrictRoute])
    async def test_takes_the_errors_of_a_model_that_the_route_validates_itself(
        self, opened: tuple[FastAPI, httpx.AsyncClient], route_class: type[APIRoute]
    ) -> None:
        app, client = opened

        class Paint(BaseModel, extra="forbid"):
            layers: int

            @model_validator(mode="after")
            def _check(self) -> Self:
                if self.layers > 3:
                    raise ValueError("must be thin")
                return self

        router = APIRouter(route_class=route_class)

        @router.post("/paints")
        async def mix(paint: dict[str, Any]) -> None:
            try:
                Paint(**paint)
            except ValidationError as error:
                raise RequestValidationError(error.errors()) from None

        app.include_router(router)

        for sent, expected in (
            ({"layers": "many"}, [("/layers", "must be an integer")]),
            ({"layers": 1, "shade": 1}, [("/shade", "unknown field")]),
            ({"layers": 4}, [("", "must be thin")]),
        ):
            answer = await client.post("/paints", json=sent)
            assert answer.status_code == 422
            errors = answer.json()["errors"]
            assert [(error["pointer"], error["detail"]) for error in errors] == expected

    @pytest.mark.requirement("FR-065")
    async def test_documents_the_routes_and_the_422_of_the_developer_s_own(
        self, opened: tuple[FastAPI, httpx.AsyncClient]
    ) -> None:
        app, _ = opened
        app.openapi()  # as the first visit of /docs

        @app.get("/paints/{number}")
        async def get_paint(number: int) -> int:
            return number

        document = app.openapi()

        refused = document["paths"]["/paints/{number}"]["get"]["responses"]["422"]
        assert refused == {"$ref": "#/components/responses/invalid_request"}
        assert "invalid_request" in document["components"]["responses"]
        assert not {"HTTPValidationError", "ValidationError"} & set(
            document["components"]["schemas"]
        )

    @pytest.mark.requirement("FR-065")
    async def test_is_tested_with_the_client_that_fastapi_teaches(self, app: FastAPI) -> None:
        from fastapi.testclient import TestClient  # noqa: PLC0415 — a warning of it would be an error

        answer = TestClient(app, base_url=BASE_URL).get("/health")

        assert answer.status_code == 200

    @pytest.mark.requirement("FR-065")
    async def test_lets_middleware_outside_read_the_route(
        self, opened: tuple[FastAPI, httpx.AsyncClient]
    ) -> None:
        app, client = opened
        seen: list[Any] = []

        @app.middleware("http")
        async def audit(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            route, user = request.scope["route"].path, request.state.user
            seen.extend([route, request.scope["endpoint"], request.path_params, user])
            return response

        @app.get("/paints/{colour}")
        async def get_paint(colour: str, request: Request) -> str:
            request.state.user = "alice"
            return colour

        await client.get("/paints/red")

        assert seen == ["/paints/{colour}", get_paint, {"colour": "red"}, "alice"]

    @pytest.mark.requirement("FR-065")
    async def test_lets_a_handler_send_what_a_strict_route_refused(
        self, opened: tuple[FastAPI, httpx.AsyncClient]
    ) -> None:
        app, _ = opened
        app.add_exception_handler(
            RequestValidationError,
            request_validation_exception_handler,  # type: ignore[arg-type]  # FastAPI's own
        )
        router = APIRouter(route_class=StrictRoute)

        @router.post("/layers")
        async def count(layers: list[str]) -> int:
            return len(layers)

        app.include_router(router)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as plain:
            refused = await plain.post(
                "/layers", content="null", headers={"Content-Type": "application/json"}
            )

        assert refused.status_code == 422
        assert [found["input"] for found in refused.json()["detail"]] == [None]

    @pytest.mark.requirement("FR-065")
    async def test_lets_a_handler_read_the_errors_of_a_strict_route(
        self, opened: tuple[FastAPI, httpx.AsyncClient]
    ) -> None:
        app, _ = opened  # whose client takes problem documents only

        @app.exception_handler(RequestValidationError)
        async def in_lines(_: Request, error: RequestValidationError) -> PlainTextResponse:
            (found,) = error.errors()
            return PlainTextResponse(f"{found['loc']}: {found['msg']}, {found['input']}", 400)

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
            refused = await client.get("/api/v1/alice/tasks?colour=red")

        assert (refused.status_code, refused.text) == (
            400,
            "('query', 'colour'): unknown parameter, None",
        )

    @pytest.mark.requirement("FR-065")
    async def test_takes_plain_query_parameters_in_a_strict_route(
        self, opened: tuple[FastAPI, httpx.AsyncClient]
    ) -> None:
        app, client = opened

        async def get_page(page: Annotated[int, Query(examples=[])] = 1) -> int:
            return page

        router = APIRouter(route_class=StrictRoute)

        @router.get("/paints")
        async def list_paints(
            colour: Annotated[str, Query(examples=["red"], min_length=3)],
            page: Annotated[int, Depends(get_page)],
        ) -> str:
            return f"{colour}, page {page}"

        app.include_router(router)

        assert (await client.get("/paints?colour=red&page=2")).json() == "red, page 2"
        refused = await client.get("/paints?colour=red&shade=dark")
        assert [error["parameter"] for error in refused.json()["errors"]] == ["shade"]
        short = await client.get("/paints?colour=r&page=first")
        assert [error["detail"] for error in short.json()["errors"]] == [
            "must be an integer",
            "must be at least 3 characters long",
        ]
        (described,) = app.openapi()["paths"]["/paints"].values()
        assert {parameter["name"] for parameter in described["parameters"]} == {"page", "colour"}

    @pytest.mark.requirement("FR-065")
    async def test_takes_in_a_strict_route_what_the_route_declares(
        self, opened: tuple[FastAPI, httpx.AsyncClient]
    ) -> None:
        app, client = opened

        class Order(BaseModel):
            sort_by: str = Field("name", alias="sortBy")
            colour: str = Field("any", validation_alias=AliasChoices("colour", "color"))

        class Protection(BaseModel):
            if_match: str | None = None

        async def get_key(idempotency_key: Annotated[str | None, Header()] = None) -> str | None:
            return idempotency_key

        router = APIRouter(route_class=StrictRoute)

        @router.post("/paints")
        async def mix(
            order: Annotated[Order | None, Query()],
            token: Annotated[str, Security(APIKeyQuery(name="token"))],
            key: Annotated[str | None, Depends(get_key)],
            protection: Annotated[Protection, Header()],
            size: Annotated[str, Query(validation_alias="volume")] = "1 l",
        ) -> list[str | None]:
            assert order
            return [order.sort_by, order.colour, size, token, key, protection.if_match]

        app.include_router(router)
        headers = {"Idempotency-Key": "k", "If-Match": "7"}

        query = "sortBy=age&color=red&volume=5&token=t"
        answer = await client.post(f"/paints?{query}", headers=headers)

        assert (answer.status_code, answer.json()) == (200, ["age", "red", "5", "t", "k", "7"])
        refused = await client.post("/paints?sort_by=age&token=t")
        assert [error["parameter"] for error in refused.json()["errors"]] == ["sort_by"]

    @pytest.mark.requirement("FR-065")
    async def test_ignores_preconditions_in_a_strict_route_that_only_reads(
        self, opened: tuple[FastAPI, httpx.AsyncClient]
    ) -> None:
        app, client = opened
        router = APIRouter(route_class=StrictRoute)

        @router.api_route("/paints", methods=["GET", "HEAD"])
        async def list_paints() -> list[str]:
            return ["red"]

        app.include_router(router)

        answer = await client.get("/paints", headers={"If-None-Match": '"1"'})

        assert (answer.status_code, answer.json()) == (200, ["red"])

    @pytest.mark.requirement("FR-027")
    async def test_replaces_the_request_id_that_a_route_sets(
        self, opened: tuple[FastAPI, httpx.AsyncClient]
    ) -> None:
        app, client = opened

        @app.get("/paints")
        async def list_paints(response: Response) -> None:
            response.headers["X-Request-ID"] = "of-the-route"

        answer = await client.get("/paints", headers={"X-Request-ID": "of-the-client"})

        assert answer.headers.get_list("X-Request-ID") == ["of-the-client"]

    @pytest.mark.requirement("FR-066")
    async def test_takes_null_for_no_body_of_a_strict_route(
        self, opened: tuple[FastAPI, httpx.AsyncClient]
    ) -> None:
        app, client = opened
        router = APIRouter(route_class=StrictRoute)

        @router.post("/layers")
        async def count(layers: list[str]) -> int:
            return len(layers)

        app.include_router(router)

        answer = await client.post(
            "/layers", content="null", headers={"Content-Type": "application/json"}
        )

        assert answer.status_code == 422
        assert [error["detail"] for error in answer.json()["errors"]] == ["must be an array"]
        assert (await client.post("/layers", json=["a", "b"])).json() == 2

    @pytest.mark.requirement("FR-066")
    @pytest.mark.parametrize("route_class", [APIRoute, StrictRoute])
    async def test_takes_null_where_any_json_is_valid(
        self, opened: tuple[FastAPI, httpx.AsyncClient], route_class: type[APIRoute]
    ) -> None:
        app, client = opened
        router = APIRouter(route_class=route_class)

        @router.post("/things")
        async def echo(thing: Annotated[Any, Body()] = "nothing") -> Any:
            return thing

        app.include_router(router)

        for sent, received in (("null", None), ("[null]", [None]), ("7", 7)):
            answer = await client.post(
                "/things", content=sent, headers={"Content-Type": "application/json"}
            )
            assert answer.json() == received

    @pytest.mark.requirement("FR-066")
    async def test_locates_invalid_json_in_the_body_of_a_plain_route(
        self, opened: tuple[FastAPI, httpx.AsyncClient]
    ) -> None:
        app, client = opened

        @app.post("/paint")
        async def paint(colours: list[str]) -> int:
            return len(colours)

        answer = await client.post(
            "/paint", content='["red",', headers={"Content-Type": "application/json"}
        )

        assert answer.json()["errors"] == [
            {"pointer": "", "code": "invalid_json", "detail": "must be valid JSON"}
        ]

    @pytest.mark.requirement("FR-065")
    async def test_documents_answers_and_bodies_of_any_media_type(
        self, opened: tuple[FastAPI, httpx.AsyncClient]
    ) -> None:
        app, client = opened
        a_body: dict[str, Any] = {"requestBody": {"content": {"application/x-yaml": {}}}}
        a_parameter = {"in": "query", "name": "box", "content": {"application/json": {}}}

        @app.post(
            "/images",
            responses={200: {"content": {"image/png": {}}}},
            openapi_extra={**a_body, "parameters": [a_parameter]},
        )
        async def draw() -> None: ...

        answer = await client.get("/openapi.json")

        assert answer.status_code == 200
        described = answer.json()["paths"]["/images"]["post"]
        assert described["requestBody"] == a_body["requestBody"]
        assert described["parameters"] == [a_parameter]
        assert described["responses"]["200"]["content"]["image/png"] == {}

    @pytest.mark.requirement("FR-066")
    async def test_reports_a_database_that_is_too_slow_in_a_plain_route_too(
        self, opened: tuple[FastAPI, httpx.AsyncClient]
    ) -> None:
        app, client = opened

        @app.get("/sleep")
        async def sleep(session: SessionDep) -> None:
            await session.exec(select(func.set_config("statement_timeout", "1ms", False)))  # noqa: FBT003 — PostgreSQL's
            await session.exec(select(func.pg_sleep(1)))

        answer = await client.get("/sleep")

        # A plain route may have run other statements before, so nobody can say what was changed.
        assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")

    @pytest.mark.requirement("FR-066", "FR-059")
    async def test_does_not_claim_that_nothing_was_changed_where_something_was(
        self, shared_database_url: str, database: Database, user: str
    ) -> None:
        async with (
            Wire(shared_database_url) as wire,
            serving(wire.url, db_pool_size=1) as (app, client),
        ):

            @app.post("/lists")
            async def create_list(session: SessionDep) -> None:
                insert = TaskList.__table__.insert()  # type: ignore[attr-defined]  # SQLModel hides it
                await session.exec(insert.values(user_id=user, version=1))

            await client.get(tasks_of(user))  # so that there is a connection
            wire.faults.append(Fault.SWALLOWED)
            answer = await client.post("/lists")

        assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
        assert await versions_of(database, user) == [1]


class TestASession:
    @pytest.mark.requirement("FR-067")
    async def test_reads_entities_with_their_types(
        self, client: httpx.AsyncClient, session: AsyncSession, user: str
    ) -> None:
        created = await create(
            client, user, tags=["home", "garden"], priority="high", due_date="2026-12-24"
        )

        task = await session.get_one(Task, (user, UUID(created["id"])))

        assert task.title == "Buy milk"
        assert task.tags == ["home", "garden"]
        assert task.priority == "high"
        assert (await client.get(path_of(created))).json() == created
        assert task.model_dump(mode="json")["due_date"] == created["due_date"]
        assert task.model_dump(mode="json").keys() >= created.keys()

    @pytest.mark.requirement("FR-067")
    async def test_creates_a_table_with_an_index(self, database: Database) -> None:
        """As the tutorial of SQLModel begins."""

        class Hero(SQLModel, table=True):
            id: int | None = SQLField(default=None, primary_key=True)
            name: str = SQLField(index=True)

        table = Hero.__table__  # type: ignore[attr-defined]  # SQLModel hides it
        assert {index.name for index in table.indexes} == {"ix_hero_name"}
        try:
            async with database.engine.connect() as connection:
                await connection.run_sync(table.create)
                await connection.run_sync(table.drop)
        finally:
            SQLModel.metadata.remove(table)

    @pytest.mark.requirement("FR-067")
    async def test_adds_changes_and_deletes_entities(
        self, session: AsyncSession, database: Database, user: str
    ) -> None:
        entity = a_list(user)
        session.add(entity)
        await session.commit()
        assert await versions_of(database, user) == [1]

        entity.version = 2
        session.add(entity)
        await session.commit()
        await session.refresh(entity)
        assert entity.version == 2
        assert await versions_of(database, user) == [2]

        await session.delete(entity)
        await session.commit()
        assert await versions_of(database, user) == []

    @pytest.mark.requirement("FR-067")
    async def test_commits_each_statement_by_itself(
        self, session: AsyncSession, database: Database, user: str
    ) -> None:
        await session.exec(TaskList.__table__.insert().values(user_id=user, version=1))  # type: ignore[attr-defined]  # SQLModel hides it

        assert await versions_of(database, user) == [1]

    @pytest.mark.requirement("FR-067")
    async def test_does_not_pretend_to_roll_back_what_is_committed(
        self, session: AsyncSession, database: Database, user: str
    ) -> None:
        await session.exec(TaskList.__table__.insert().values(user_id=user, version=1))  # type: ignore[attr-defined]  # SQLModel hides it

        with pytest.raises(AutocommitError, match=r"async with transaction\(session\)"):
            await session.rollback()

        assert await versions_of(database, user) == [1]

    @pytest.mark.requirement("FR-067")
    @pytest.mark.parametrize("flush", [AsyncSession.flush, AsyncSession.commit])
    async def test_does_not_pretend_to_roll_back_what_was_committed_before_a_flush(
        self, session: AsyncSession, database: Database, user: str, flush: Any
    ) -> None:
        await session.exec(TaskList.__table__.insert().values(user_id=user, version=1))  # type: ignore[attr-defined]  # SQLModel hides it
        session.add(a_list(f"{user}-2", version=1 if flush is AsyncSession.flush else 0))
        with suppress(IntegrityError):  # a version of 0 breaks a rule
            await flush(session)

        with pytest.raises(AutocommitError, match="written before"):
            await session.rollback()

        assert await versions_of(database, user) == [1]
        assert await versions_of(database, f"{user}-2") == []
        await session.exec(select(1))
        await session.rollback()  # nothing has been written since

    @pytest.mark.requirement("FR-067")
    @pytest.mark.parametrize(
        "statement",
        [
            "select 1",
            "/* of */ SELECT 1 -- one: INSERT",
            "(SELECT 1) UNION (SELECT 2)",
            "WITH one AS (SELECT 'UPDATE' AS \"DELETE\") SELECT * FROM one",
            "WITH one AS (SELECT CAST(:update AS text)) SELECT * FROM one",
            "SELECT $$INSERT$$, $of$ DELETE, $$ UPDATE $of$",
            "SHOW timezone",
            "VALUES (1)",
        ],
    )
    async def test_rolls_back_quietly_after_any_statement_that_reads(
        self, session: AsyncSession, statement: str
    ) -> None:
        await session.exec(text(statement), params={"update": "DELETE"})  # type: ignore[call-overload]  # SQLModel's types know only its `select`
        await session.rollback()

    @pytest.mark.requirement("FR-067")
    @pytest.mark.parametrize(
        "statement",
        [
            "insert into task_lists (user_id, version) values (:user, 1)",
            "WITH new AS (INSERT INTO task_lists (user_id, version) VALUES (:user, 1) RETURNING 1)"
            " SELECT * FROM new",
            "-- a comment\nINSERT INTO task_lists (user_id, version) VALUES (:user, 1)",
        ],
    )
    async def test_notices_a_statement_that_writes_in_any_form(
        self, session: AsyncSession, database: Database, user: str, statement: str
    ) -> None:
        await session.exec(text(statement), params={"user": user})  # type: ignore[call-overload]  # the same

        with pytest.raises(AutocommitError, match="cannot roll back"):
            await session.rollback()

        assert await versions_of(database, user) == [1]

    @pytest.mark.requirement("FR-067")
    async def test_rolls_back_quietly_where_nothing_was_written(
        self, session: AsyncSession, database: Database, user: str
    ) -> None:
        """As the usual `except: await session.rollback(); raise` does."""
        await session.exec(select(TaskList).where(TaskList.user_id == user))
        await session.rollback()
        with pytest.raises(IntegrityError):
            await session.exec(TaskList.__table__.insert().values(user_id=user, version=0))  # type: ignore[attr-defined]  # SQLModel hides it
        await session.rollback()

        assert await versions_of(database, user) == []

    @pytest.mark.requirement("FR-067")
    @pytest.mark.parametrize("has_written", [False, True])
    async def test_can_be_used_again_when_a_lost_connection_was_rolled_back(
        self, session: AsyncSession, database: Database, user: str, *, has_written: bool
    ) -> None:
        if has_written:
            await session.exec(TaskList.__table__.insert().values(user_id=user, version=1))  # type: ignore[attr-defined]  # SQLModel hides it
        with pytest.raises(DBAPIError):
            await session.exec(select(func.pg_terminate_backend(func.pg_backend_pid())))

        with pytest.raises(AutocommitError) if has_written else nullcontext():
            await session.rollback()

        assert (await session.exec(select(1))).one() == 1
        assert await versions_of(database, user) == [1] * has_written

    @pytest.mark.requirement("FR-067")
    async def test_is_closed_although_its_connection_has_options(self, database: Database) -> None:
        async with database.session() as session:
            await session.connection(execution_options={"postgresql_readonly": True})
            await session.exec(select(1))

        assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of QueuePool

    @pytest.mark.requirement("FR-067")
    async def test_carries_out_a_write_that_locks_what_it_changes(
        self, session: AsyncSession, database: Database, user: str
    ) -> None:
        """As a queue takes its next entry: in one statement, which needs no transaction."""
        mine = select(TaskList.user_id).where(TaskList.user_id == user)
        free = mine.with_for_update(skip_locked=True).scalar_subquery()
        await session.exec(TaskList.__table__.insert().values(user_id=user, version=1))  # type: ignore[attr-defined]  # SQLModel hides it
        await session.exec(update(TaskList).where(col(TaskList.user_id) == free).values(version=2))

        assert await versions_of(database, user) == [2]

    @pytest.mark.requirement("FR-067")
    async def test_refuses_what_only_a_transaction_can_give(
        self, session: AsyncSession, user: str
    ) -> None:
        mine = select(TaskList).where(TaskList.user_id == user)
        for lock in ("SELECT 1 for no key\nupdate", "SELECT pg_advisory_xact_lock(1)"):
            with pytest.raises(AutocommitError, match="cannot keep a lock"):
                await session.exec(text(lock))  # type: ignore[call-overload]  # SQLModel's types know only its `select`
        await session.exec(text("SELECT 'FOR UPDATE'"))  # type: ignore[call-overload]  # the same
        with pytest.raises(AutocommitError, match="cannot keep a lock"):
            await session.exec(mine.with_for_update())
        with pytest.raises(AutocommitError, match="cannot keep a lock"):
            await session.get(TaskList, user, with_for_update={"read": True})
        with pytest.raises(AutocommitError, match="cannot stream rows"):
            await session.stream(mine)
        await session.exec(mine)
        with pytest.raises(AutocommitError, match="cannot create a savepoint"):
            await session.begin_nested()

    @pytest.mark.requirement("FR-067")
    async def test_cannot_be_used_after_its_end(self, database: Database, user: str) -> None:
        """In a background task or a streamed answer it would take a connection for ever."""
        async with database.session() as session:
            await session.exec(select(TaskList).where(TaskList.user_id == user))

        with pytest.raises(InvalidRequestError, match="permanently closed"):
            await session.exec(select(TaskList).where(TaskList.user_id == user))
        assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of QueuePool

    @pytest.mark.requirement("FR-067")
    async def test_may_go_on_after_a_statement_that_failed(
        self, session: AsyncSession, time_limits: TimeLimits
    ) -> None:
        with pytest.raises(DataError):
            await session.exec(select(func.substring("a", 1, -1)))
        time_limits.run_out()

        assert (await session.exec(select(func.length("abc")))).one() == 3

    @pytest.mark.requirement("FR-029", "FR-067")
    @pytest.mark.parametrize(
        ("statement", "parameters"),
        [
            pytest.param("SELECT pg_sleep(:seconds)", {"seconds": 9}, id="once"),
            pytest.param("SELECT pg_sleep(:seconds)", [{"seconds": 9}] * 2, id="several times"),
            pytest.param("SELECT pg_sleep(9)", None, id="without parameters"),
        ],
    )
    async def test_stops_waiting_for_a_statement_that_is_executed(
        self,
        database: Database,
        monkeypatch: pytest.MonkeyPatch,
        statement: str,
        parameters: Any,
    ) -> None:
        options = {"no_parameters": True}  # SQLAlchemy's name for a plain string
        async with database.engine.connect() as connection:
            monkeypatch.setattr("src.database.STATEMENT_TIMEOUT", 0.2)
            with pytest.raises(DBAPIError, match="connection"):
                await connection.execute(text(statement), parameters, execution_options=options)

    @pytest.mark.requirement("FR-067")
    async def test_does_not_wait_for_a_commit_that_hangs_without_a_session_either(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with database.engine.connect() as connection:
            await connection.execution_options(isolation_level="READ COMMITTED")
            for statement in SLOW_COMMIT:
                await connection.execute(text(statement))
            monkeypatch.setattr("src.database.STATEMENT_TIMEOUT", 0.2)
            with pytest.raises(DBAPIError, match="connection"):
                await connection.commit()

    @pytest.mark.requirement("FR-067")
    async def test_may_go_on_after_a_commit_on_a_connection_that_stays_open(
        self, database: Database, time_limits: TimeLimits
    ) -> None:
        async with (
            database.engine.connect() as connection,
            Session(connection, close_resets_only=False) as session,
        ):
            async with session.begin():
                await session.exec(select(func.length("abc")))
            time_limits.run_out()

            assert (await session.exec(select(func.length("abc")))).one() == 3

    @pytest.mark.requirement("FR-067")
    async def test_gives_a_statement_the_time_that_it_asks_for(
        self, session: AsyncSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slow = select(func.pg_sleep(0.4))
        await session.exec(select(func.length("abc")))  # so that there is a connection
        monkeypatch.setattr("src.database.STATEMENT_TIMEOUT", 0.2)

        await session.exec(slow.execution_options(timeout=30))
        with pytest.raises(DBAPIError):
            await session.exec(slow)

    @pytest.mark.requirement("FR-067")
    async def test_receives_the_rows_of_a_statement_in_binary_only_if_it_asks_for_that(
        self, session: AsyncSession
    ) -> None:
        priority: Any = select(literal_column("'high'::task_priority"))

        in_binary = (await session.exec(priority.execution_options(binary=True))).one()
        as_text = (await session.exec(priority)).one()

        assert (in_binary, as_text) == (b"high", "high")

    @pytest.mark.requirement("FR-067")
    async def test_rolls_back_what_was_flushed(
        self, session: AsyncSession, database: Database, user: str
    ) -> None:
        session.add(a_list(user))
        await session.flush()

        await session.rollback()

        assert await versions_of(database, user) == []

    @pytest.mark.requirement("FR-067")
    async def test_streams_rows_after_a_flush(self, session: AsyncSession, user: str) -> None:
        session.add(a_list(user))
        await session.flush()

        rows = await session.stream(select(TaskList.version).where(TaskList.user_id == user))

        assert [row.version async for row in rows] == [1]

    @pytest.mark.requirement("FR-067")
    async def test_an_ordinary_session_is_on_a_view_of_the_engine(
        self, database: Database, user: str
    ) -> None:
        """As SQLAlchemy documents it for several isolation levels on one pool."""
        engine = database.engine.execution_options(isolation_level="READ COMMITTED")
        async with AsyncSession(engine) as session:
            await session.exec(TaskList.__table__.insert().values(user_id=user, version=1))  # type: ignore[attr-defined]  # SQLModel hides it
            await session.rollback()

            assert await versions_of(database, user) == []

    @pytest.mark.requirement("FR-067")
    async def test_rolls_back_what_was_flushed_even_if_it_is_cancelled_at_that_moment(
        self, shared_database_url: str, user: str
    ) -> None:
        async with serving(shared_database_url, db_pool_size=1) as (app, _):
            database: Database = app.state.database

            async def end_with_a_flush() -> None:
                async with database.session() as session:
                    session.add(a_list(user))
                    await session.flush()

            ending = asyncio.create_task(end_with_a_flush())
            event.listen(
                database.engine.sync_engine, "rollback", lambda _: ending.cancel(), once=True
            )
            with pytest.raises(asyncio.CancelledError):
                await ending

            assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of QueuePool
            assert await versions_of(database, user) == []

    @pytest.mark.requirement("FR-067")
    async def test_rolls_back_what_was_only_added(
        self, session: AsyncSession, database: Database, user: str
    ) -> None:
        session.add(a_list(user))

        await session.rollback()
        await session.commit()

        assert await versions_of(database, user) == []

    @pytest.mark.requirement("FR-067")
    @pytest.mark.parametrize("has_read", [False, True])
    async def test_flushes_all_or_nothing(
        self, session: AsyncSession, database: Database, user: str, *, has_read: bool
    ) -> None:
        if has_read:
            await session.exec(select(TaskList).where(TaskList.user_id == user))
        session.add_all([a_list(user), a_list(f"{user}-2", version=0)])  # the second breaks a rule

        with pytest.raises(IntegrityError):
            await session.commit()

        await session.rollback()
        assert await versions_of(database, user) == []

    @pytest.mark.requirement("FR-067")
    async def test_is_in_autocommit_again_after_a_flush_on_the_same_connection(
        self, shared_database_url: str, user: str
    ) -> None:
        async with serving(shared_database_url, db_pool_size=1) as (app, _):
            database: Database = app.state.database
            async with database.session() as session:
                session.add(a_list(user))
                await session.commit()
                await session.exec(
                    TaskList.__table__.update()  # type: ignore[attr-defined]  # SQLModel hides it
                    .where(col(TaskList.user_id) == user)
                    .values(version=5)
                )
                with pytest.raises(AutocommitError):
                    await session.rollback()

            assert await versions_of(database, user) == [5]


class TestATransaction:
    @pytest.mark.requirement("FR-068")
    @pytest.mark.parametrize("begin", [transaction, AsyncSession.begin])
    async def test_is_committed_at_its_end(
        self, session: AsyncSession, database: Database, user: str, begin: Any
    ) -> None:
        async with begin(session):
            session.add(a_list(user))
            await session.flush()
            assert await versions_of(database, user) == []

        assert await versions_of(database, user) == [1]

    @pytest.mark.requirement("FR-068")
    @pytest.mark.parametrize("begin", [transaction, AsyncSession.begin])
    async def test_is_rolled_back_if_its_block_raises(
        self, session: AsyncSession, database: Database, user: str, begin: Any
    ) -> None:
        insert = TaskList.__table__.insert().values(user_id=user, version=1)  # type: ignore[attr-defined]  # SQLModel hides it

        async def fail() -> None:
            async with begin(session):
                await session.exec(insert)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await fail()
        assert await versions_of(database, user) == []

    @pytest.mark.requirement("FR-068")
    async def test_may_follow_other_statements_which_stay_committed(
        self, session: AsyncSession, database: Database, user: str
    ) -> None:
        insert = TaskList.__table__.insert()  # type: ignore[attr-defined]  # SQLModel hides it
        await session.exec(insert.values(user_id=user, version=1))

        async def insert_twice() -> None:
            async with transaction(session):
                await session.exec(insert.values(user_id=f"{user}-2", version=1))
                await session.exec(insert.values(user_id=user, version=1))

        with pytest.raises(IntegrityError):
            await insert_twice()

        assert await versions_of(database, user) == [1]
        assert await versions_of(database, f"{user}-2") == []

    @pytest.mark.requirement("FR-068")
    async def test_is_read_committed(self, session: AsyncSession) -> None:
        async with transaction(session):
            found = await session.exec(select(func.current_setting("transaction_isolation")))
            assert found.one() == "read committed"

    @pytest.mark.requirement("FR-068")
    async def test_locks_rows_and_streams(
        self, session: AsyncSession, client: httpx.AsyncClient, user: str
    ) -> None:
        await create(client, user)
        async with transaction(session):
            locked = await session.get(TaskList, user, with_for_update=True)
            assert locked is not None
            rows = await session.stream(select(Task.title).where(Task.user_id == user))
            assert [row.title async for row in rows] == ["Buy milk"]

    @pytest.mark.requirement("FR-068")
    async def test_may_have_another_isolation_level(self, session: AsyncSession) -> None:
        async with session.begin():
            await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
            found = await session.exec(select(func.current_setting("transaction_isolation")))
            assert found.one() == "serializable"

    @pytest.mark.requirement("FR-068")
    async def test_streams_rows_at_an_isolation_level_of_its_own(
        self, session: AsyncSession
    ) -> None:
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})

        rows = await session.stream(select(func.generate_series(1, 3)))

        assert [row async for row in rows.scalars()] == [1, 2, 3]

    @pytest.mark.requirement("FR-068")
    async def test_has_savepoints(
        self, session: AsyncSession, database: Database, user: str
    ) -> None:
        async def fail() -> None:
            async with session.begin_nested():
                session.add(a_list(f"{user}-2"))
                await session.flush()
                raise RuntimeError

        async with transaction(session):
            session.add(a_list(user))
            with pytest.raises(RuntimeError):
                await fail()

        assert await versions_of(database, user) == [1]
        assert await versions_of(database, f"{user}-2") == []

    @pytest.mark.requirement("FR-068")
    async def test_does_not_commit_objects_that_were_changed_before(
        self, session: AsyncSession, database: Database, user: str
    ) -> None:
        await session.exec(select(1))
        session.add(a_list(user))

        with pytest.raises(AutocommitError, match="after objects were changed"):
            async with transaction(session):
                pytest.fail("it has begun")

        assert await versions_of(database, user) == []

    @pytest.mark.requirement("FR-068")
    async def test_is_begun_by_a_savepoint(
        self, session: AsyncSession, database: Database, user: str
    ) -> None:
        async with session.begin_nested():
            session.add(a_list(user))
        assert await versions_of(database, user) == []

        await session.rollback()

        assert await versions_of(database, user) == []

    @pytest.mark.requirement("FR-068")
    async def test_does_not_nest(self, session: AsyncSession) -> None:
        async with transaction(session):
            with pytest.raises(InvalidRequestError, match="already begun"):
                async with transaction(session):
                    pass

    @pytest.mark.requirement("FR-068")
    async def test_leaves_the_connection_in_autocommit(
        self, shared_database_url: str, user: str
    ) -> None:
        async with serving(shared_database_url, db_pool_size=1) as (app, client):

            async def fail() -> None:
                async with app.state.database.session() as session, transaction(session):
                    await session.exec(select(1))
                    raise RuntimeError

            with pytest.raises(RuntimeError):
                await fail()
            task = await create(client, user)

            assert await versions_of(app.state.database, user) == [task["version"]]

    @pytest.mark.requirement("FR-068")
    async def test_that_a_session_left_open_does_not_reach_the_next_one(
        self, shared_database_url: str, user: str
    ) -> None:
        async with serving(shared_database_url, db_pool_size=1) as (app, client):
            async with app.state.database.session() as session:
                connection = await session.connection()
                raw = (await connection.get_raw_connection()).driver_connection
                assert raw is not None
                await raw.execute("BEGIN")
            task = await create(client, user)

            assert await versions_of(app.state.database, user) == [task["version"]]
