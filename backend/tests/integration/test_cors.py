"""CORS_ORIGINS: browsers of these origins are let in, and may read what an answer tells."""

from collections.abc import AsyncIterator
from typing import Final

import httpx
import pytest
from fastapi import FastAPI

from tests.builders import create, path_of, tasks_of
from tests.conftest import BASE_URL
from tests.processes import serving

pytestmark = pytest.mark.anyio

FRIEND: Final = "https://app.example.com"
STRANGER: Final = "https://evil.example.com"


@pytest.fixture
async def opened(shared_database_url: str) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """An app that lets browsers of two origins in, and a client of it."""
    origins = ("http://localhost:3000", FRIEND)
    async with serving(shared_database_url, cors_origins=origins) as opened:
        yield opened


@pytest.fixture
def open_app(opened: tuple[FastAPI, httpx.AsyncClient]) -> FastAPI:
    return opened[0]


@pytest.fixture
def open_client(opened: tuple[FastAPI, httpx.AsyncClient]) -> httpx.AsyncClient:
    return opened[1]


def names(value: str) -> set[str]:
    return {name.strip().lower() for name in value.split(",")}


async def ask_first(app: FastAPI, origin: str, method: str, headers: str) -> httpx.Response:
    """Do what a browser does before a request that a plain form could not make."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as browser:
        return await browser.options(
            tasks_of("alice"),
            headers={
                "Origin": origin,
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": headers,
            },
        )


class TestAFriend:
    @pytest.mark.requirement("FR-039")
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def test_may_use_every_method_and_header(self, open_app: FastAPI, method: str) -> None:
        wanted = "content-type,if-match,if-none-match,x-request-id"

        answer = await ask_first(open_app, FRIEND, method, wanted)

        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == FRIEND
        assert method in answer.headers["access-control-allow-methods"]
        assert names(wanted) <= names(answer.headers["access-control-allow-headers"])

    @pytest.mark.requirement("FR-039")
    async def test_may_read_the_headers_that_matter(
        self, open_client: httpx.AsyncClient, user: str
    ) -> None:
        answer = await open_client.post(
            tasks_of(user), json={"title": "Buy milk"}, headers={"Origin": FRIEND}
        )

        assert answer.status_code == 201
        assert answer.headers["access-control-allow-origin"] == FRIEND
        assert names(answer.headers["access-control-expose-headers"]) >= {
            "allow",
            "etag",
            "idempotency-replayed",
            "link",
            "location",
            "retry-after",
            "x-request-id",
        }
        assert "Origin" in answer.headers["vary"]

    @pytest.mark.requirement("FR-039")
    async def test_may_read_problems_too(
        self, open_client: httpx.AsyncClient, user: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        origin = {"Origin": FRIEND}
        task = await create(open_client, user)
        answers = [
            await open_client.get("/no/such/route", headers=origin),
            await open_client.get(tasks_of("alice%2Fbob"), headers=origin),
            await open_client.post(tasks_of(user), json={}, headers=origin),
            await open_client.put(tasks_of(user), json={}, headers=origin),
        ]
        monkeypatch.setattr("src.api.v1.tasks.task_response", None)
        answers += [await open_client.get(path_of(task), headers=origin)]

        assert [answer.status_code for answer in answers] == [404, 404, 422, 405, 500]
        assert {answer.headers.get("access-control-allow-origin") for answer in answers} == {FRIEND}

    @pytest.mark.requirement("FR-039", "FR-022")
    async def test_is_told_what_else_it_asks_for_in_vain(self, open_app: FastAPI) -> None:
        for method in ("patch", "QUERY"):
            answer = await ask_first(open_app, FRIEND, method, "if-match")

            assert (answer.status_code, answer.json()["code"]) == (400, "preflight_refused")


class TestAStranger:
    @pytest.mark.requirement("FR-039")
    async def test_is_not_let_in(self, open_client: httpx.AsyncClient, user: str) -> None:
        answer = await open_client.get(tasks_of(user), headers={"Origin": STRANGER})

        assert "access-control-allow-origin" not in answer.headers

    @pytest.mark.requirement("FR-039", "FR-022")
    async def test_is_told_so_beforehand_as_a_problem(self, open_app: FastAPI) -> None:
        answer = await ask_first(open_app, STRANGER, "GET", "if-match")

        assert "access-control-allow-origin" not in answer.headers
        assert (answer.status_code, answer.json()["code"]) == (400, "origin_not_allowed")
        assert answer.headers["content-type"] == "application/problem+json"


class TestWithoutOrigins:
    @pytest.mark.requirement("FR-039")
    async def test_no_browser_is_let_in(
        self, app: FastAPI, client: httpx.AsyncClient, user: str
    ) -> None:
        answer = await client.get(tasks_of(user), headers={"Origin": FRIEND})
        assert "access-control-allow-origin" not in answer.headers

        answer = await ask_first(app, FRIEND, "GET", "if-match")
        assert (answer.status_code, answer.json()["code"]) == (400, "origin_not_allowed")
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.requirement("FR-039")
async def test_a_star_lets_all_in_but_not_with_credentials(
    shared_database_url: str, user: str
) -> None:
    async with serving(shared_database_url, cors_origins=("*",)) as (_, client):
        answer = await client.get(tasks_of(user), headers={"Origin": STRANGER, "Cookie": "a=b"})

    assert answer.headers["access-control-allow-origin"] in {"*", STRANGER}
    assert "access-control-allow-credentials" not in answer.headers
