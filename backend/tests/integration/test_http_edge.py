"""The edge of HTTP, byte by byte, under each of uvicorn's parsers: what no client library sends."""

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from src.api.problems import Kind
from tests.builders import problem, tasks_of
from tests.http_edge import (
    CASES,
    DOCUMENT,
    GROUPS,
    NO_UPGRADE,
    NOTHING,
    ORIGIN,
    PARSERS,
    Answer,
    Case,
    Parser,
    check,
    exchange,
    fill,
    places_of,
    table,
)
from tests.processes import serving

H2C: Final = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.fixture
def task(url: str, user: str) -> dict[str, Any]:
    answer = httpx.post(url + tasks_of(user), json={"title": "Buy milk"})
    task: dict[str, Any] = answer.raise_for_status().json()
    return task


def tasks(url: str, user: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = httpx.get(url + tasks_of(user)).raise_for_status().json()["items"]
    return items


def send(url: str, task: dict[str, Any], *packets: str, count: int) -> list[Answer]:
    """Send the packets of a case that is about this task."""
    places = places_of(url, task)
    return exchange(
        url, [fill(packet.encode("latin-1"), places) for packet in packets], count=count
    )


@pytest.mark.requirement("FR-022", "FR-062", "FR-063", "FR-073", "FR-074")
@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[name for name, _ in CASES])
def test_a_request_is_answered_as_the_table_says_and_does_no_harm(
    parser: Parser, url: str, task: dict[str, Any], case: Case
) -> None:
    expected = case.outcome(parser)

    answers = send(
        url, task, *case.packets, count=0 if expected == NOTHING else expected.count(",") + 1
    )

    assert (", ".join(map(str, answers)) or NOTHING) == expected
    for answer in answers:
        check(answer)
    (left,) = tasks(url, task["user_id"])
    assert not left["is_completed"], "the request was carried out without its body"
    if not case.may_change:
        assert left == task


class TestAnOfferToUpgrade:
    """As Java's client makes it by itself, and curl with --http2."""

    @pytest.mark.requirement("FR-063", "FR-074")
    def test_with_a_body_ends_the_connection(self, url: str, task: dict[str, Any]) -> None:
        offer = f"POST <tasks> HTTP/1.1\r\nHost: <host>\r\n{H2C}Content-Length: 5\r\n\r\nhello"

        (answer,) = send(url, task, offer, "GET <tasks> HTTP/1.1\r\nHost: <host>\r\n\r\n", count=1)

        assert str(answer) == NO_UPGRADE
        assert answer.headers["connection"] == "close"

    @pytest.mark.requirement("FR-063", "FR-074")
    def test_with_a_body_is_refused_before_cors_answers(
        self, url: str, task: dict[str, Any]
    ) -> None:
        preflight = (
            f"OPTIONS <tasks> HTTP/1.1\r\nHost: <host>\r\nOrigin: {ORIGIN}\r\n"
            f"Access-Control-Request-Method: GET\r\n{H2C}Content-Length: 500\r\n\r\n"
        )

        answers = send(
            url, task, preflight, "DELETE <task> HTTP/1.1\r\nHost: <host>\r\n\r\n", count=1
        )

        assert [*map(str, answers)] == [NO_UPGRADE]
        assert tasks(url, task["user_id"]) == [task]

    @pytest.mark.requirement("FR-063")
    def test_without_a_body_is_ignored(self, url: str, task: dict[str, Any]) -> None:
        toggle = f"PATCH <task>/complete HTTP/1.1\r\nHost: <host>\r\n{H2C}\r\n"

        (answer,) = send(url, task, toggle, count=1)

        assert answer.status == 200
        assert answer.document["is_completed"]


class TestHeaders:
    @pytest.mark.requirement("FR-027", "FR-075")
    def test_have_no_white_space_around_their_value(self, url: str, task: dict[str, Any]) -> None:
        headers = "Host: <host>\r\nX-Request-ID: \t mine \t\r\n"

        (answer,) = send(url, task, f"GET /health HTTP/1.1\r\n{headers}\r\n", count=1)

        assert answer.headers["x-request-id"] == "mine"

    @pytest.mark.requirement("FR-073")
    def test_do_not_come_after_a_body_that_has_been_on_its_way(
        self, url: str, task: dict[str, Any]
    ) -> None:
        head = "POST <tasks> HTTP/1.1\r\nHost: <host>\r\nContent-Type: application/json\r\n"
        body = 'Transfer-Encoding: chunked\r\n\r\ne\r\n{"title": "x"}\r\n'
        trailer = "0\r\nIdempotency-Key: a\r\n\r\n"

        (answer,) = send(url, task, head + body, trailer, count=1)

        assert answer.status == 201
        assert UUID(answer.document["id"]).version == 7, "its id is not derived from a key"


@pytest.mark.requirement("FR-014", "FR-021")
def test_what_a_url_cannot_have_is_encoded_in_the_paths_of_an_answer(
    url: str, task: dict[str, Any]
) -> None:
    path = f"/api/v1/auth0|{task['user_id']}:a@b+c~d/tasks"
    headers = "Host: <host>\r\nContent-Type: application/json\r\nContent-Length: 14\r\n"
    create = f'POST {path} HTTP/1.1\r\n{headers}\r\n{{"title": "x"}}'
    listed = f"GET {path}?limit=1 HTTP/1.1\r\nHost: <host>\r\n\r\n"

    first, _, page = send(url, task, create + create + listed, count=3)

    encoded = path.replace("|", "%7C")
    assert first.headers["location"] == f"{encoded}/{first.document['id']}"
    assert page.headers["link"].startswith(f"<{encoded}?limit=1&cursor=")


@pytest.mark.anyio
@pytest.mark.requirement("FR-062", "FR-076")
class TestHostNames:
    @pytest.fixture(scope="class")
    async def client(self, shared_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
        hosts = ("api.example.com", "*.example.org", "[2001:db8::1]", "192.0.2.1")
        async with serving(shared_database_url, allowed_hosts=hosts) as (_, client):
            yield client

    @pytest.mark.parametrize(
        "host",
        [
            "localhost",
            "localhost:3000",
            "LocalHost",
            "tasks.localhost",
            "127.0.0.1",
            "127.0.0.1:8000",
            "127.1.2.3",
            "[::1]",
            "[::1]:8000",
            "[0:0:0:0:0:0:0:1]",
            "api.example.com",
            "API.Example.COM:443",
            "a.example.org",
            "a.b.example.org:8443",
            "[2001:db8::1]:80",
            "[2001:DB8::1]",
            "192.0.2.1:80",
        ],
    )
    async def test_of_this_server_are_served(self, client: httpx.AsyncClient, host: str) -> None:
        answer = await client.get("/health", headers={"Host": host})

        assert answer.status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            "",
            " ",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil-localhost",
            "0.0.0.0",  # noqa: S104 — it is sent, not bound to
            "2130706433",
            "[::2]",
            "::1",
            "example.com",
            "www.api.example.com",
            "api.example.com.evil.example",
            "example.org",
            "evilexample.org",
            "[2001:db8::2]",
            "192.0.2.2",
            "api.example.com:",
            "api.example.com:http",
            "api.example.com:443:443",
            "api.example.com/",
            "alice@api.example.com",
            "http://api.example.com",
            "api.example.com,evil.example",
            "api.example.com evil.example",
            "api.example.com#",
            "*.example.org",
            "[::1",
            "\u0430pi.example.com",
        ],
    )
    async def test_that_are_not_listed_are_400(self, client: httpx.AsyncClient, host: str) -> None:
        answer = await client.get("/health", headers={b"Host": host.encode()})

        assert answer.status_code == 400
        assert answer.json() == problem(answer, Kind.INVALID_HOST)

    @pytest.mark.parametrize(
        "hosts", [[], ["localhost", "localhost"], ["localhost", "evil.example"]]
    )
    async def test_are_given_exactly_once(
        self, client: httpx.AsyncClient, hosts: list[str]
    ) -> None:
        request = client.build_request("GET", "/health")
        request.headers = httpx.Headers([("Host", host) for host in hosts])

        answer = await client.send(request)

        assert answer.status_code == 400
        assert answer.json() == problem(answer, Kind.INVALID_HOST)

    async def test_are_looked_at_on_every_path(self, client: httpx.AsyncClient) -> None:
        for path in ("/docs", "/openapi.json", "/nowhere", tasks_of("alice"), "/health/ready"):
            answer = await client.get(path, headers={"Host": "evil.example"})

            assert answer.json() == problem(answer, Kind.INVALID_HOST)

    async def test_are_those_of_this_machine_by_default(self, app: FastAPI) -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            answers = [
                await client.get(f"http://{host}/health")
                for host in ("localhost", "127.0.0.1:8000", "[::1]", "api.example.com", "192.0.2.1")
            ]

        assert [answer.status_code for answer in answers] == [200, 200, 200, 400, 400]

    async def test_may_be_any_but_are_host_names(self, shared_database_url: str) -> None:
        async with serving(shared_database_url, allowed_hosts=("*",)) as (_, client):
            answers = [
                await client.get("/health", headers={"Host": host})
                for host in ("anything.example:8000", "[2001:db8::7]", "not a host", "a/b", "")
            ]

        assert [answer.status_code for answer in answers] == [200, 200, 400, 400, 400]


class TestTheTable:
    @pytest.mark.requirement("FR-073")
    def test_explains_every_outcome_that_is_not_right(self) -> None:
        for name, case in CASES:
            is_right = all(map(case.is_right, PARSERS))
            assert is_right == (not case.note), name
            assert case.right[0] not in case.others.values(), name

    @pytest.mark.requirement("FR-046", "FR-073")
    def test_in_the_document_is_current(self) -> None:
        assert f"<!-- http_edge:start -->\n\n{table()}\n\n<!-- http_edge:end -->" in (
            DOCUMENT.read_text()
        ), "`make contract` brings it up to date"

    @pytest.mark.requirement("FR-073")
    def test_names_each_request_once(self) -> None:
        names = sorted(name for name, _ in CASES)
        assert not [name for name, other in pairwise(names) if name == other]
        assert len(GROUPS) == len({*GROUPS})
