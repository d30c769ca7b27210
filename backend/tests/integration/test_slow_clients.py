"""Clients that read nothing, and the proxy in `deploy`: what it passes on, and what it does not."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import pytest

from src import process
from src.cli import listeners
from src.main import create_app
from tests.builders import path_of, tasks_of
from tests.conftest import make_settings
from tests.http_edge import answers, exchange
from tests.listening import listening
from tests.nginx import Certificate, make_certificate, nginx
from tests.processes import PATIENCE, wait_until

LARGE: Final = {"title": "x", "description": "\U0001f600" * 2000, "tags": ["\U0001f600" * 50]}
GET: Final = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSED: Final = 7  # the state, as Linux numbers it


def connected(url: str) -> socket.socket:
    """Connect, with a small buffer, so that the server notices what is not read."""
    location = httpx.URL(url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE)
    connection.connect((location.host, location.port or 0))
    return connection


def fill_list(url: str, user: str) -> None:
    """Create tasks that make a page of 8 MB: more than the system's buffers hold."""
    operations = [{"op": "create", "task": LARGE}] * 100
    for _ in range(10):
        body = json.dumps({"operations": operations}, ensure_ascii=False)
        httpx.post(
            f"{url}{tasks_of(user)}/batch",
            content=body.encode(),
            headers={"Content-Type": "application/json"},
            timeout=PATIENCE,
        ).raise_for_status()


def is_connected(connection: socket.socket) -> bool:
    """Whether a server in this process still has its end of the connection."""
    ours = connection.getsockname()[:2]
    return any(
        found.raddr == ours and found.status == psutil.CONN_ESTABLISHED
        for found in psutil.Process().net_connections("tcp4")
    )


@pytest.mark.requirement("FR-118")
class TestAClientThatNeverReads:
    def test_is_disconnected(
        self, shared_database_url: str, user: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(process, "UNREAD_TIMEOUT", 500)
        settings = make_settings(shared_database_url, log_level="critical", port=0)
        app = create_app(settings)
        with listeners(settings) as (taken,), listening(app, listener=taken) as url:
            fill_list(url, user)
            with connected(url) as connection:
                connection.sendall(GET.format(f"{tasks_of(user)}?limit=1000").encode())
                assert connection.recv(12) == b"HTTP/1.1 200"
                assert is_connected(connection)

                wait_until(lambda: not is_connected(connection))

    def test_has_half_a_minute(self, shared_database_url: str) -> None:
        with (
            listeners(make_settings(shared_database_url, port=0)) as (taken,),
            socket.create_connection(taken.getsockname()),
        ):
            accepted, _ = taken.accept()
            with accepted:
                timeout = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

        assert timeout == 30_000


@pytest.fixture(scope="module")
def api(shared_database_url: str) -> Iterator[str]:
    settings = make_settings(
        shared_database_url, log_level="critical", allowed_hosts=("tasks.example.com",)
    )
    with listening(create_app(settings)) as url:
        yield url


@pytest.fixture(scope="module")
def proxy(api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nginx(tmp_path_factory.mktemp("nginx"), api, is_impatient=True) as url:
        yield url


@pytest.fixture
def task(proxy: str, user: str) -> dict[str, Any]:
    answer = httpx.post(proxy + tasks_of(user), json={"title": "Buy milk"})
    task: dict[str, Any] = answer.raise_for_status().json()
    return task


def received_to_its_end(connection: socket.socket) -> bytes:
    """What comes until the connection is closed or broken."""
    received = b""
    try:
        while part := connection.recv(1 << 16):
            received += part
    except ConnectionError:
        return received
    return received


@pytest.mark.requirement("FR-119")
class TestTheProxy:
    def test_passes_requests_on(self, proxy: str, task: dict[str, Any]) -> None:
        answer = httpx.get(proxy + path_of(task), headers={"Host": "tasks.example.com"})

        assert (answer.status_code, answer.json()) == (200, task)
        assert answer.headers["etag"] == f'"{task["version"]}"'
        assert answer.headers["x-request-id"]

    @pytest.mark.requirement("FR-147")
    def test_keeps_the_metrics_to_the_machine(self, proxy: str, api: str) -> None:
        assert httpx.get(f"{proxy}/metrics").status_code == 404
        assert httpx.get(f"{api}/metrics").status_code == 200

    def test_passes_foreign_host_names_on_to_be_refused(self, proxy: str) -> None:
        answer = httpx.get(f"{proxy}/health", headers={"Host": "evil.example"})

        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_host")

    def test_passes_bodies_on_that_the_api_refuses(self, proxy: str, user: str) -> None:
        answer = httpx.post(
            proxy + tasks_of(user),
            content=b" " * 5_000_000,
            headers={"Content-Type": "application/json"},
        )

        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")

    def test_takes_no_offer_to_upgrade(self, proxy: str, task: dict[str, Any]) -> None:
        """As Java's client makes it with every request."""
        headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"}

        answer = httpx.patch(
            f"{proxy}{path_of(task)}/complete", json={"is_completed": False}, headers=headers
        )

        assert (answer.status_code, answer.json()["is_completed"]) == (200, False)

    @pytest.mark.parametrize(
        "head",
        ["", "GET /heal", "GET /health HTTP/1.1\r\nHost: localhost\r\nX-", "\r\n\r\n\r\n"],
        ids=["nothing", "half a line", "half a header", "empty lines"],
    )
    def test_ends_a_head_that_does_not_arrive(self, proxy: str, head: str) -> None:
        with connected(proxy) as connection:
            connection.sendall(head.encode())

            received = received_to_its_end(connection)

        assert [answer.status for answer in answers(received)] in ([], [408])

    @pytest.mark.parametrize("rest", ["", "\r\n", "GET /heal"], ids=["nothing", "CRLF", "more"])
    def test_ends_a_connection_after_an_answered_request(self, proxy: str, rest: str) -> None:
        with connected(proxy) as connection:
            connection.sendall(GET.format("/health").encode() + rest.encode())

            received = received_to_its_end(connection)

        assert [answer.status for answer in answers(received)] in ([200], [200, 408])

    def test_keeps_a_body_that_does_not_arrive(self, proxy: str, task: dict[str, Any]) -> None:
        path = tasks_of(task["user_id"])
        request = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            'Content-Length: 500\r\n\r\n{"title": '
        )
        with connected(proxy) as connection:
            connection.sendall(request.encode())

            received = received_to_its_end(connection)

        assert b"x-request-id" not in received.lower()
        assert httpx.get(proxy + path).json()["items"] == [task]

    @pytest.mark.parametrize(
        ("line", "statuses"),
        [
            ("X: " + "a" * 1_000_000, [400]),
            ("\r\n".join(f"X-{number}: {number}" for number in range(5_000)), [400]),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", [400]),
            ("Transfer-Encoding: xchunked", [501]),
        ],
        ids=["a large header", "many headers", "two lengths", "an unknown coding"],
    )
    def test_refuses_a_head_that_the_server_would_take_or_misread(
        self, proxy: str, line: str, statuses: list[int]
    ) -> None:
        request = f"POST /health HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n"

        answers = exchange(proxy, [request.encode()], count=1)

        assert [answer.status for answer in answers] == statuses

    @pytest.mark.requirement("FR-156", "FR-108")
    def test_compresses_answers_whose_tags_the_api_takes_back(self, proxy: str, user: str) -> None:
        answer = httpx.post(proxy + tasks_of(user), json=LARGE).raise_for_status()
        plain, url = answer.headers["etag"], proxy + answer.headers["location"]

        answer = httpx.get(url, headers={"Accept-Encoding": "gzip"})

        assert answer.headers["content-encoding"] == "gzip"
        assert "accept-encoding" in answer.headers["vary"].lower()
        marked = answer.headers["etag"]
        assert marked == f"W/{plain}"
        assert httpx.get(url, headers={"If-None-Match": marked}).status_code == 304
        change = {"title": "Buy milk"}
        changed = httpx.patch(url, json=change, headers={"If-Match": marked})
        assert (changed.status_code, changed.json()["title"]) == (200, "Buy milk")
        again = httpx.patch(url, json=change, headers={"If-Match": marked})
        assert (again.status_code, again.json()["code"]) == (412, "version_mismatch")

    def test_disconnects_a_client_that_never_reads(self, proxy: str, user: str) -> None:
        fill_list(proxy, user)
        with connected(proxy) as connection:
            connection.sendall(GET.format(f"{tasks_of(user)}?limit=1000").encode())
            assert connection.recv(12) == b"HTTP/1.1 200"

            wait_until(lambda: state_of(connection) == CLOSED)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.mark.requirement("FR-156")
class TestTheProxyWithTLS:
    def test_passes_requests_on(
        self, api: str, certificate: Certificate, user: str, tmp_path: Path
    ) -> None:
        with (
            nginx(tmp_path, api, certificate=certificate) as url,
            httpx.Client(base_url=url, verify=certificate.trust()) as client,
        ):
            created = client.post(tasks_of(user), json={"title": "Buy milk"})
            found = client.get(created.headers["location"])

        assert url.startswith("https://")
        assert (created.status_code, found.json()) == (201, created.json())

    def test_offers_http_2(self, api: str, certificate: Certificate, tmp_path: Path) -> None:
        with (
            nginx(tmp_path, api, certificate=certificate) as url,
            connected(url) as connection,
            certificate.trust().wrap_socket(connection, server_hostname="127.0.0.1") as encrypted,
        ):
            assert encrypted.selected_alpn_protocol() == "h2"
            assert encrypted.version() == "TLSv1.3"


def state_of(connection: socket.socket) -> int:
    """The state of the connection, as Linux numbers it."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
