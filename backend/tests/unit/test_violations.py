"""How a broken rule is reported: in words that say what to send instead."""

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from src.config import Settings
from src.main import create_app
from src.schemas.query import DayOrInstant, Instant
from src.schemas.task import READ_ONLY
from tests.conftest import BASE_URL

USER_ID: Final = (
    "must be 1 to 128 characters: ASCII letters, digits, and . ~ @ | : + - _;"
    " must not begin with . @ | : or +"
)
KEY: Final = "must be 1 to 255 visible ASCII characters without spaces"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server without a database: what is refused is refused before it is asked."""
    app = create_app(Settings(database_url=SecretStr("postgresql://127.0.0.1/none")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as client:
        yield client


def reported(model: Any, value: str) -> tuple[str, str]:
    """Give the code and the words with which a value is refused."""
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(model).validate_python(value)
    (error,) = refused.value.errors()
    return error["ctx"]["code"], error["ctx"]["detail"]


@pytest.mark.anyio
@pytest.mark.requirement("FR-011", "FR-023")
class TestReadOnlyFields:
    @pytest.mark.parametrize("name", READ_ONLY)
    async def test_of_a_new_task_are_said_to_be_the_server_s(
        self, client: httpx.AsyncClient, name: str
    ) -> None:
        answer = await client.post("/api/v1/alice/tasks", json={"title": "x", name: "x"})

        advice = "leave it out"
        if name == "id":
            advice += ", or, to create a task with your own id, use PUT with If-None-Match: *"
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {
                "pointer": f"/{name}",
                "code": "read_only",
                "detail": f"is set by the server; {advice}",
            }
        ]

    async def test_are_told_together_with_the_others(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(
            "/api/v1/alice/tasks", json={"title": 1, "version": 1, "colour": 1}
        )

        codes = [(error["pointer"], error["code"]) for error in answer.json()["errors"]]
        assert codes == [
            ("/title", "wrong_type"),
            ("/version", "read_only"),
            ("/colour", "unknown"),
        ]

    async def test_have_names_that_mean_nothing_in_a_query(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/api/v1/alice/tasks?version=1")

        assert [error["code"] for error in answer.json()["errors"]] == ["unknown"]


@pytest.mark.anyio
@pytest.mark.requirement("FR-023")
class TestWords:
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    async def test_an_empty_body_is_told_what_is_missing(
        self, client: httpx.AsyncClient, method: str
    ) -> None:
        path = "/api/v1/alice/tasks"
        if method != "POST":
            path += "/01981f6e-3c00-7a3b-8a00-000000000001"

        answer = await client.request(method, path)

        assert answer.json()["errors"] == [
            {"pointer": "", "code": "required", "detail": "must be a JSON object"}
        ]

    @pytest.mark.parametrize("user", [".a", "a" * 129, "a b", "é", "+a"])
    async def test_a_user_s_id_is_told_its_characters(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        answer = await client.get(f"/api/v1/{user}/tasks")

        assert answer.json()["errors"] == [
            {"parameter": "user_id", "code": "invalid_format", "detail": USER_ID}
        ]

    @pytest.mark.parametrize("key", ["", "a b", "a" * 256])
    async def test_an_idempotency_key_is_told_its_characters(
        self, client: httpx.AsyncClient, key: str
    ) -> None:
        answer = await client.post(
            "/api/v1/alice/tasks", json={"title": "x"}, headers={"Idempotency-Key": key}
        )

        assert answer.json()["errors"] == [
            {"header": "Idempotency-Key", "code": "invalid_format", "detail": KEY}
        ]


@pytest.mark.requirement("FR-023", "FR-047")
class TestTimesOfAQuery:
    @pytest.mark.parametrize("text", ["yesterday", "today", "T", "Tuesday", "26-03-01T09:30:00Z"])
    def test_what_is_neither_a_day_nor_an_instant_is_told_that_it_may_be_either(
        self, text: str
    ) -> None:
        code, detail = reported(DayOrInstant, text)

        assert code == "invalid_day_or_instant"
        assert "a date such as 2026-03-01, or a time with an offset such as" in detail

    @pytest.mark.parametrize("text", ["2026-03-01T09:30:00", "2026-03-01t09Z", "2026-03-01T"])
    def test_what_begins_as_an_instant_is_told_as_one(self, text: str) -> None:
        code, detail = reported(DayOrInstant, text)

        assert code == "invalid_instant"
        assert "%2B" not in detail

    @pytest.mark.parametrize("model", [Instant, DayOrInstant])
    @pytest.mark.parametrize("offset", [" 01:00", " 0100", " 01"])
    def test_a_lost_plus_is_explained(self, model: Any, offset: str) -> None:
        code, detail = reported(model, f"2026-03-01T09:30:00{offset}")

        assert code == "invalid_instant"
        assert detail == (
            "must be a time with an offset, such as 2026-03-01T09:30:00Z; in a URL, write the + of"
            " an offset as %2B"
        )

    @pytest.mark.parametrize("text", ["2026-03-01 09:30:00Z", "2026-03-01T09:30:00 Z", "x 01:00"])
    def test_any_other_space_is_not(self, text: str) -> None:
        assert "%2B" not in reported(Instant, text)[1]
