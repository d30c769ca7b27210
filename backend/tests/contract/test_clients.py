"""The client programs in the documents work, and survive what they say they survive.

They are taken from the document as they stand, and run against a server behind a proxy that
loses answers, loses requests and answers 503.
"""

import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final

import httpx
import playwright
import pytest

from src.config import ROOT
from src.main import create_app
from tests.builders import AHEAD, rows_of, stop_clock, tasks_of
from tests.conftest import make_settings
from tests.contract.markdown import fences
from tests.listening import listening

DOCUMENT: Final = ROOT / "specs" / "002-backend-database" / "clients.md"
# The browser test brings a Node that runs TypeScript as it is.
NODE: Final = Path(playwright.__file__).parent / "driver" / "node"
PROGRAMS: Final = {"python": ([sys.executable], ".py"), "typescript": ([str(NODE)], ".mts")}


class Unreliable(BaseHTTPRequestHandler):
    """Passes requests on, but for the next troubles in `troubles`."""

    server_version = "Unreliable"
    protocol_version = "HTTP/1.1"
    target: ClassVar[str]
    troubles: ClassVar[deque[str]]
    passed: ClassVar[list[str]]

    def do_POST(self) -> None:
        self.pass_on()

    do_PATCH = do_DELETE = do_POST  # noqa: N815 — prescribed

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — prescribed
        """Be quiet."""

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        trouble = self.troubles.popleft() if self.troubles else ""
        if trouble == "lose the request":
            self.close_connection = True
        elif trouble == "be unavailable":
            self.answer(503, {"Retry-After": "0"}, b"")
        elif trouble.startswith("be a gateway"):
            wait = trouble.removeprefix("be a gateway")
            self.answer(503, {"Retry-After": wait.strip()} if wait else {}, b"")
        else:
            headers = {name: value for name, value in self.headers.items() if name != "Host"}
            answer = httpx.request(
                self.command, self.target + self.path, content=body, headers=headers
            )
            self.passed.append(f"{self.command} {answer.status_code}")
            if trouble == "lose the answer":
                self.close_connection = True
            else:
                kept = {"Content-Type": answer.headers.get("Content-Type", "text/plain")}
                self.answer(answer.status_code, kept, answer.content)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != httpx.codes.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def unreliable(target: str, *troubles: str) -> Iterator[tuple[str, list[str]]]:
    """Put the proxy before a server; give its URL, and what it has passed on."""
    members: dict[str, Any] = {"target": target, "troubles": deque(troubles), "passed": []}
    handler = type("Handler", (Unreliable,), members)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}", members["passed"]
        finally:
            proxy.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server_url(shared_database_url: str) -> Iterator[str]:
    with listening(create_app(make_settings(shared_database_url))) as url:
        yield url


def run(language: str, directory: Path, url: str, user: str, use: str = "") -> str:
    """Run the client of the document with its example, or another `use`; give what it prints."""
    client, example = (
        fence.text for fence in fences(DOCUMENT.read_text()) if fence.language == language
    )
    command, suffix = PROGRAMS[language]
    line_end = ";" if language == "typescript" else ""
    base_url = f'{"const " if line_end else ""}BASE_URL = "{url}"{line_end}\n'
    program = directory / f"program{suffix}"
    program.write_text(f"{client}\n{base_url}{(use or example).replace('alice', user)}")
    done = subprocess.run(
        [*command, str(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("language", PROGRAMS)
class TestClient:
    @pytest.mark.requirement("FR-060")
    def test_does_what_it_says(
        self, language: str, server_url: str, user: str, shared_database_url: str, tmp_path: Path
    ) -> None:
        with unreliable(server_url) as (url, passed):
            run(language, tmp_path, url, user)

        assert passed == ["POST 201", "PATCH 200", "DELETE 204"]
        rows = rows_of(shared_database_url, user)
        assert (rows["tasks"], len(rows["task_tombstones"])) == ([], 1)

    @pytest.mark.requirement("FR-060")
    @pytest.mark.parametrize("trouble", ["lose the request", "be unavailable"])
    def test_sends_again_what_was_not_done(
        self,
        language: str,
        trouble: str,
        server_url: str,
        user: str,
        tmp_path: Path,
    ) -> None:
        with unreliable(server_url, trouble, "", trouble, trouble, "", trouble) as (url, passed):
            run(language, tmp_path, url, user)

        assert passed == ["POST 201", "PATCH 200", "DELETE 204"]

    @pytest.mark.requirement("FR-060")
    def test_takes_what_was_done_already_for_done(
        self, language: str, server_url: str, user: str, shared_database_url: str, tmp_path: Path
    ) -> None:
        lose = "lose the answer"
        stop_clock(shared_database_url, user)
        with unreliable(server_url, lose, "", lose, "", lose) as (url, passed):
            run(language, tmp_path, url, user)

        assert passed == [
            *("POST 201", "POST 200"),
            *("PATCH 200", "PATCH 412"),
            *("DELETE 204", "DELETE 404"),
        ]
        rows = rows_of(shared_database_url, user)
        assert (rows["tasks"], len(rows["task_tombstones"])) == ([], 1)
        assert rows["task_lists"] == [{"user_id": user, "version": AHEAD + 3, "first_version": 1}]

    @pytest.mark.requirement("FR-060")
    def test_applies_its_change_to_what_others_have_changed(
        self, language: str, server_url: str, user: str, tmp_path: Path
    ) -> None:
        mine = httpx.post(server_url + tasks_of(user), json={"title": "Buy milk"})
        path = server_url + mine.headers["location"]
        httpx.patch(path, json={"tags": ["urgent"]})
        use = {
            "python": f"""
import json
client = TaskClient(BASE_URL, "alice")
task = json.loads({mine.text!r})
client.update(task, lambda seen: {{"tags": [*seen["tags"], "shopping"]}})
""",
            "typescript": f"""
const client = new TaskClient(BASE_URL, "alice");
const task: Task = {mine.text};
await client.update(task, (seen) => ({{ tags: [...seen.tags, "shopping"] }}));
""",
        }[language]
        with unreliable(server_url) as (url, passed):
            run(language, tmp_path, url, user, use)

        assert passed == ["PATCH 412", "PATCH 200"]
        assert httpx.get(path).json()["tags"] == ["urgent", "shopping"]

    @pytest.mark.requirement("FR-060")
    @pytest.mark.parametrize(
        "also",
        [
            {"due_at": "2026-12-24T19:00:00+01:00"},
            {"title": " Buy milk "},
            {"tags": ["shopping", " shopping"]},
            {"version": 1, "updated_at": "2026-12-24T19:00:00Z"},
        ],
        ids=lambda also: next(iter(also)),
    )
    def test_knows_its_change_in_the_form_in_which_the_server_keeps_it(
        self, language: str, also: dict[str, object], server_url: str, user: str, tmp_path: Path
    ) -> None:
        body = {"title": "Buy milk", "description": "x"}
        mine = httpx.post(server_url + tasks_of(user), json=body)
        use = {
            "python": f"""
import json
client = TaskClient(BASE_URL, "alice")
task = json.loads({mine.text!r})
client.update(task, lambda seen: {{"description": seen["description"] + "!", **{also}}})
""",
            "typescript": f"""
const client = new TaskClient(BASE_URL, "alice");
const task: Task = {mine.text};
await client.update(task, (seen) => ({{ description: seen.description + "!", ...{also} }}));
""",
        }[language]
        with unreliable(server_url, "lose the answer") as (url, passed):
            run(language, tmp_path, url, user, use)

        assert passed == ["PATCH 200", "PATCH 412"]
        assert httpx.get(server_url + mine.headers["location"]).json()["description"] == "x!"

    @pytest.mark.requirement("FR-060")
    @pytest.mark.parametrize(
        ("wait", "pause"), [("", 1), (" 7", 7), (" Thu, 24 Dec 2026 18:00:00 GMT", 1)]
    )
    def test_pauses_as_it_is_told_or_a_second(
        self, language: str, wait: str, pause: int, server_url: str, user: str, tmp_path: Path
    ) -> None:
        """A gateway's 503 may tell no time, or a date, which needs a clock that is right."""
        use = {
            "python": """
time.sleep = print
TaskClient(BASE_URL, "alice").create({"title": "Buy milk"})
""",
            "typescript": """
const timeout = globalThis.setTimeout;
// fetch sets timeouts of its own, which are no whole seconds or pass something on
globalThis.setTimeout = ((done: () => void, ms: number, ...more: unknown[]) =>
  ms % 1000 || more.length ? timeout(done, ms, ...more) : done(console.log(ms / 1000))
) as typeof setTimeout;
await new TaskClient(BASE_URL, "alice").create({ title: "Buy milk" });
""",
        }[language]
        with unreliable(server_url, f"be a gateway{wait}") as (url, passed):
            told = run(language, tmp_path, url, user, use)

        assert passed == ["POST 201"]
        assert [float(line) for line in told.split()] == [pause]
