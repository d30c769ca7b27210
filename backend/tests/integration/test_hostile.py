"""Hostile requests: never a 500, never a large answer, and the attacked list is as it should be."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from src.main import create_app
from tests.answers import check_problem, check_tasks
from tests.builders import NO_TASK, REPLACEMENT, tasks_of
from tests.conftest import make_settings
from tests.hostile import ATTACKS, MILK, Attack
from tests.http_edge import check, exchange, places_of
from tests.listening import listening

PROBLEM_MAX_BYTES: Final = 16 * 1024
"""No answer to a bad request is larger: twenty violations with the longest names fit."""


@pytest.fixture(scope="module")
def url(shared_database_url: str) -> Iterator[str]:
    with listening(create_app(make_settings(shared_database_url, log_level="critical"))) as url:
        yield url


@pytest.fixture(scope="module")
def caller(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as caller:
        yield caller


def created(caller: httpx.Client, user: str) -> dict[str, Any]:
    task: dict[str, Any] = (
        caller.post(tasks_of(user), json={"title": MILK}).raise_for_status().json()
    )
    return task


def tasks(caller: httpx.Client, user: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = caller.get(tasks_of(user)).raise_for_status().json()["items"]
    return items


@pytest.mark.requirement("FR-111", "FR-112", "FR-113")
@pytest.mark.parametrize("attack", [attack for _, attack in ATTACKS], ids=[it for it, _ in ATTACKS])
def test_a_hostile_request_gets_its_answer_and_does_no_harm(
    url: str, caller: httpx.Client, user: str, other_user: str, attack: Attack
) -> None:
    task, foreign = created(caller, user), created(caller, other_user)
    places = places_of(url, task, foreign=foreign["id"])

    (answer,) = exchange(url, [attack.packet(places)], count=1)

    assert str(answer) == attack.outcome
    check(answer)
    assert len(answer.body) <= PROBLEM_MAX_BYTES or answer.status < 400
    left = tasks(caller, user)
    assert tuple(item["title"] for item in left) == attack.left
    assert left[-1] == task
    assert tasks(caller, other_user) == [foreign]


@pytest.mark.requirement("FR-111")
def test_there_are_many_of_them() -> None:
    assert len({name for name, _ in ATTACKS}) == len(ATTACKS) >= 200


METHODS: Final = (
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"),
    *("ACL", "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "M-SEARCH", "MERGE", "MKACTIVITY"),
    *("MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "PROPFIND", "PROPPATCH", "PURGE", "REBIND"),
    *("REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE"),
)
"""Every method that the parser knows."""


def paths(app: FastAPI) -> list[str]:
    documented = [path.format(user_id="nobody", task_id=NO_TASK) for path in app.openapi()["paths"]]
    return [*documented, "/docs", "/redoc", "/openapi.json"]


@pytest.mark.anyio
@pytest.mark.requirement("FR-111")
@pytest.mark.parametrize("method", METHODS)
async def test_every_method_on_every_path_is_answered_or_405(
    app: FastAPI, url: str, method: str
) -> None:
    for path in paths(app):
        connection = HTTPConnection(httpx.URL(url).netloc.decode())
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()

        allowed = (answer.headers["allow"] or method).split(", ")
        assert (answer.status == 405) == (method not in allowed), path
        assert answer.status < 500
        if answer.status >= 400 and method != "HEAD":
            assert json.loads(body)["status"] == answer.status


ANY_TEXT: Final = st.text(st.characters(exclude_categories=()), max_size=300)
SCALARS: Final = (
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.integers().map(str)
)
USUAL: Final = st.sampled_from(
    [*REPLACEMENT.values(), NO_TASK, "2026-12-24T18:00:00Z", "0000000000000001.5", 1]
)
NAMES: Final = st.sampled_from(
    [
        *REPLACEMENT,
        *("id", "user_id", "position", "version", "after", "before", "operations"),
        *("op", "task", "changes", "if_version"),
    ]
)
OPERATIONS: Final = st.sampled_from(["create", "update", "complete", "move", "delete"])
VALUES: Final = st.recursive(
    SCALARS | USUAL,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(NAMES | ANY_TEXT, inner, max_size=5)
        | st.fixed_dictionaries(
            {"op": OPERATIONS, "id": st.just(NO_TASK) | inner},
            optional=dict.fromkeys(
                ("task", "changes", "is_completed", "after", "if_version"), inner
            ),
        )
    ),
    max_leaves=20,
)
BODIES: Final = (
    VALUES
    | st.dictionaries(NAMES, VALUES)
    | st.fixed_dictionaries({"operations": st.lists(VALUES, max_size=5)})
    | st.fixed_dictionaries(
        {"title": ANY_TEXT},
        optional={name: VALUES for name in (*REPLACEMENT, "position") if name != "title"},
    )
)
WITH_BODY: Final = {
    "create_task": ("POST", ""),
    "replace_task": ("PUT", "/{id}"),
    "update_task": ("PATCH", "/{id}"),
    "complete_task": ("PATCH", "/{id}/complete"),
    "move_task": ("POST", "/{id}/move"),
    "apply_batch": ("POST", "/batch"),
}


class TestAnyJSON:
    @pytest.mark.anyio
    @pytest.mark.requirement("FR-111")
    async def test_is_sent_to_every_operation_with_a_body(self, app: FastAPI) -> None:
        documented = {
            operation["operationId"]
            for item in app.openapi()["paths"].values()
            for operation in item.values()
            if "requestBody" in operation
        }

        assert documented == {*WITH_BODY}

    @pytest.mark.requirement("FR-111")
    @pytest.mark.parametrize("operation", WITH_BODY)
    @given(body=BODIES)
    def test_is_carried_out_or_refused_with_a_problem(
        self, caller: httpx.Client, operation: str, body: object
    ) -> None:
        method, path = WITH_BODY[operation]
        task = created(caller, f"any-{uuid4()}")

        answer = caller.request(
            method,
            tasks_of(task["user_id"]) + path.format_map(task),
            content=json.dumps(body),
            headers={"Content-Type": "application/json"},
        )

        if answer.status_code in (200, 201):
            check_tasks(answer)
        else:
            assert answer.status_code in (400, 409, 410, 422)
            check_problem(answer)
            assert tasks(caller, task["user_id"]) == [task]
