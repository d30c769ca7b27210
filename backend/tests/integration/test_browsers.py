"""What browsers are told: what to allow the pages and the answers, and where things are behind a
proxy that removes a prefix.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urljoin

import httpx
import pytest
from playwright.sync_api import expect

from src.main import create_app
from tests.browser import create_task, launch, list_tasks, open_page
from tests.conftest import make_settings
from tests.listening import listening
from tests.nginx import nginx
from tests.processes import SERVE, free_port, server

PREFIX = "/todo"
DATA_ONLY = "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.anyio
@pytest.mark.requirement("FR-140")
class TestSecurityHeaders:
    @pytest.mark.parametrize(
        "path",
        ["/health", "/openapi.json", "/nowhere", "/api/v1/alice/tasks", "/api/v1/alice/tasks/1"],
    )
    async def test_an_answer_is_nothing_to_run_or_to_frame(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        answer = await client.get(path)
        assert answer.headers["content-security-policy"] == DATA_ONLY

    async def test_so_is_one_to_a_request_that_is_refused_at_the_door(
        self, client: httpx.AsyncClient
    ) -> None:
        answer = await client.get("/health", headers={"Host": "evil.example.com"})
        assert (answer.status_code, answer.headers["content-security-policy"]) == (400, DATA_ONLY)

    @pytest.mark.parametrize("path", ["/docs", "/redoc"])
    async def test_a_page_may_run_its_own_scripts_only(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        page = await client.get(path)
        policy = page.headers["content-security-policy"]
        (scripts,) = re.findall(r"script-src ([^;]+);", policy)
        inline = page.text.count("<script>")
        assert re.fullmatch(rf"'self' ?( ?'sha256-[A-Za-z0-9+/=]+'){{{inline}}}", scripts)
        assert policy.startswith("default-src 'none';")
        assert policy.endswith("; frame-ancestors 'none'")

    async def test_there_is_no_page_for_a_login_that_does_not_exist(
        self, client: httpx.AsyncClient
    ) -> None:
        assert (await client.get("/docs/oauth2-redirect")).status_code == 404


@contextmanager
def framing(target: str) -> Iterator[str]:
    """Serve, on another origin, a page that frames the target; give its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<iframe src="{target}"></iframe>'.encode())

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = Thread(target=other.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{other.server_address[1]}"
        finally:
            other.shutdown()
            thread.join()


@pytest.mark.requirement("FR-140")
@pytest.mark.parametrize("path", ["/docs", "/redoc", "/health"])
def test_a_browser_refuses_to_frame_a_page(shared_database_url: str, path: str) -> None:
    app = create_app(make_settings(shared_database_url))
    with listening(app) as url, framing(url + path) as other, launch() as page:
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(other)
        assert any("frame-ancestors" in complaint for complaint in complaints)
        frame = page.frames[1]
        assert frame.url.startswith("chrome-error:")


@pytest.mark.requirement("FR-141")
class TestBehindAProxyThatRemovesAPrefix:
    @pytest.mark.parametrize("parser", ["httptools", "h11", "zttp"])
    def test_what_the_answers_refer_to_is_there(
        self, database_url: str, tmp_path: Path, parser: str
    ) -> None:
        with serving_under_prefix(database_url, tmp_path, parser) as url:
            tasks = f"{url}/api/v1/alice@example.com/tasks"
            created = [httpx.post(tasks, json={"title": title}) for title in ("One", "Two")]
            for answer in created:
                location = urljoin(tasks, answer.headers["Location"])
                assert httpx.get(location).json() == answer.json()
            first = httpx.get(tasks, params={"limit": 1, "q": "o"})
            (target,) = re.findall(r'<(.+)>; rel="next"', first.headers["Link"])
            following = httpx.get(urljoin(tasks, target))
            assert [task["title"] for task in following.json()["items"]] == ["One"]
            document = httpx.get(f"{url}/openapi.json").json()
            assert document["servers"][0] == {"url": PREFIX}

    @pytest.mark.slow
    def test_docs_works_there(self, database_url: str, tmp_path: Path) -> None:
        with serving_under_prefix(database_url, tmp_path) as url, open_page(url) as page:
            page.goto(f"{url}/docs")
            create_task(page, "Buy milk")
            (task,) = json.loads(list_tasks(page))["items"]
            assert task["title"] == "Buy milk"

    @pytest.mark.slow
    def test_redoc_works_there(self, database_url: str, tmp_path: Path) -> None:
        with serving_under_prefix(database_url, tmp_path) as url, open_page(url) as page:
            page.goto(f"{url}/redoc")
            expect(page.get_by_role("heading", name="Create Task")).to_be_visible()


@contextmanager
def serving_under_prefix(
    database_url: str, directory: Path, parser: str = "httptools"
) -> Iterator[str]:
    settings = {
        "DATABASE_URL": database_url,
        "PORT": str(free_port()),
        "ROOT_PATH": PREFIX,
        "HTTP_PARSER": parser,
    }
    with server(directory / "api", program=SERVE, **settings) as running:
        running.wait_until_it_serves()
        with nginx(directory, running.url, prefix=PREFIX) as url:
            yield url
