"""The client programs in the documents work, and survive what they say they survive.

They are taken from the document as they stand, and run against a server behind a proxy that
loses answers, loses requests and answers 503 and the like.
"""

import json
import random
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple
from uuid import uuid4

import httpx
import playwright
import psycopg
import pytest

from src.config import ROOT
from src.main import create_app
from src.services.order import position_between
from tests.builders import AHEAD, path_of, rows_of, stop_clock, tasks_of
from tests.conftest import make_settings
from tests.contract.markdown import fences
from tests.listening import listening

DOCUMENT: Final = ROOT / "specs" / "002-backend-database" / "clients.md"
# The browser test brings a Node that runs TypeScript as it is.
NODE: Final = Path(playwright.__file__).parent / "driver" / "node"
PROGRAMS: Final = {
    "python": ([sys.executable], ".py"),
    "typescript": ([str(NODE), "--localstorage-file=storage"], ".mts"),
}
SYNC: Final = {
    "python": "offline.sync()\nprint(json.dumps(asdict(state)))",
    "typescript": "await offline.sync();\nconsole.log(JSON.stringify(state));",
}
"""Synchronize, and print all that the client has stored."""


class Unreliable(BaseHTTPRequestHandler):
    """Passes requests on, but for the next troubles in `troubles`."""

    server_version = "Unreliable"
    protocol_version = "HTTP/1.1"
    target: ClassVar[str]
    troubles: ClassVar[deque[str]]
    passed: ClassVar[list[str]]

    def do_POST(self) -> None:
        self.pass_on()

    do_GET = do_PATCH = do_DELETE = do_POST  # noqa: N815 — prescribed

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — prescribed
        """Be quiet."""

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        trouble = self.troubles.popleft() if self.troubles else ""
        if trouble == "lose the request":
            self.close_connection = True
        elif trouble.startswith("answer "):
            self.answer(int(trouble.removeprefix("answer ")), {"Retry-After": "0"}, b"")
        elif trouble.startswith("be a gateway"):
            wait = trouble.removeprefix("be a gateway")
            self.answer(503, {"Retry-After": wait.strip()} if wait else {}, b"")
        else:
            if trouble.startswith("change "):  # another client is faster
                path = self.target + trouble.removeprefix("change ")
                httpx.patch(path, json={"description": str(uuid4())}).raise_for_status()
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


def programs(language: str) -> list[str]:
    """Give the programs of the document in this language, in their order."""
    return [fence.text for fence in fences(DOCUMENT.read_text()) if fence.language == language]


def run(
    language: str, directory: Path, url: str, user: str, use: str = "", *, is_offline: bool = False
) -> str:
    """Run the client of the document, or the one that works offline, with its example, or another
    `use`; give what it prints. What it stores is in the directory.
    """
    client, example, offline, opening, offline_example, *_ = programs(language)
    line_end = ";" if language == "typescript" else ""
    base_url = f'{"const " if line_end else ""}BASE_URL = "{url}"{line_end}\n'
    if is_offline:
        client, example = f"{client}\n{offline}", offline_example
        base_url += opening
    text = f"{client}\n{(base_url + (use or example)).replace('alice', user)}"
    return run_program(language, directory, text)


def run_program(language: str, directory: Path, text: str) -> str:
    """Run a program; give what it prints."""
    command, suffix = PROGRAMS[language]
    program = directory / f"program{suffix}"
    program.write_text(text)
    done = subprocess.run(
        [*command, str(program)],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Synced(NamedTuple):
    """All that a client has stored, and the requests that the proxy has passed on for it."""

    state: dict[str, Any]
    passed: list[str]


def sync(
    language: str,
    directory: Path,
    server_url: str,
    user: str,
    *calls: str,
    troubles: Sequence[str] = (),
) -> Synced:
    """Start the client that works offline, make these calls, which both languages understand, and
    synchronize. Its copy must then be what the server has.
    """
    use = "\n".join([*(f"offline.{call}" for call in calls), SYNC[language]])
    with unreliable(server_url, *troubles) as (url, passed):
        state = json.loads(run(language, directory, url, user, use, is_offline=True))
    assert (state["queue"], state["batch"]) == ({}, [])
    assert state["tasks"] == {task["id"]: task for task in listed(server_url, user)}
    return Synced(state, passed)


def listed(server_url: str, user: str) -> list[dict[str, Any]]:
    """Give all tasks of a user, by the cursors of the list."""
    tasks: list[dict[str, Any]] = []
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        parameters = {"limit": "1000", **cursor}
        page = httpx.get(server_url + tasks_of(user), params=parameters).raise_for_status().json()
        tasks += page["items"]
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
    return tasks


def post(server_url: str, user: str, **fields: object) -> dict[str, Any]:
    """Create a task as another client."""
    answer = httpx.post(server_url + tasks_of(user), json={"title": "Buy milk", **fields})
    task: dict[str, Any] = answer.raise_for_status().json()
    return task


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
    @pytest.mark.parametrize(
        "trouble", ["lose the request", *(f"answer {status}" for status in (408, 502, 503, 504))]
    )
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
    def test_takes_instants_for_the_same_exactly_if_they_are(
        self, language: str, tmp_path: Path
    ) -> None:
        kept = "2026-12-01T08:00:00.000000Z"
        same = [
            (None, None),
            (kept, kept),
            ("2026-12-01T10:00:00+02", kept),
            ("2026-12-01T02:30-0530", kept),
            ("2026-12-01t08:00z", kept),
            ("2026-12-01T08:00:00.5Z", "2026-12-01T08:00:00.500000Z"),
            ("2026-12-01T10:00:00.123456789+02:00", "2026-12-01T08:00:00.123456Z"),
        ]
        different = [
            (None, kept),
            ("2026-12-01T10:00:00+02", None),
            ("2026-12-01T08:00:00+02", kept),
            ("2026-12-01T08:00:00.123456Z", "2026-12-01T08:00:00.123999Z"),
        ]
        pairs = json.dumps(same + different)
        use = {
            "python": f"""
import json
pairs = json.loads({pairs!r})
print(json.dumps([is_done({{"due_at": sent}}, {{"due_at": now}}) for sent, now in pairs]))
""",
            "typescript": f"""
const pairs: any[] = {pairs};
const found = pairs.map(([sent, now]) => isDone({{ due_at: sent }}, {{ due_at: now }} as any));
console.log(JSON.stringify(found));
""",
        }[language]

        found = json.loads(run(language, tmp_path, "http://127.0.0.1", "alice", use))

        assert found == [True] * len(same) + [False] * len(different)

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


@pytest.mark.requirement("FR-085")
@pytest.mark.parametrize("language", PROGRAMS)
class TestOfflineClient:
    def test_does_what_it_says(
        self, language: str, server_url: str, user: str, tmp_path: Path
    ) -> None:
        with unreliable(server_url) as (url, passed):
            printed = run(language, tmp_path, url, user, is_offline=True)

        assert passed == ["POST 200", "GET 200"]
        (task,) = json.loads(printed)
        assert [task] == listed(server_url, user)
        assert (task["tags"], task["is_completed"]) == (["shopping"], True)

    def test_sends_in_one_batch_what_was_done_offline(
        self, language: str, server_url: str, user: str, tmp_path: Path
    ) -> None:
        edited, deleted = post(server_url, user), post(server_url, user)
        post(server_url, user, title="Leave it as it is")
        _, passed = sync(language, tmp_path, server_url, user)
        assert passed == ["GET 200"]
        state, passed = sync(
            language,
            tmp_path,
            server_url,
            user,
            'edit(offline.create({"title": "Buy bread"}), {"priority": "high"})',
            'delete(offline.create({"title": "Do nothing"}))',
            f'edit("{edited["id"]}", {{"title": "Buy oat milk", "due_date": "2026-12-24"}})',
            f'edit("{edited["id"]}", {{"due_at": "2026-12-24T19:00:00+01:00"}})',
            f'edit("{deleted["id"]}", {{"title": "Buy cheese"}})',
            f'delete("{deleted["id"]}")',
            f'edit("{deleted["id"]}", {{"title": "Buy butter"}})',
        )

        assert passed == ["POST 200", "GET 200"]
        assert state["dropped"] == []
        tasks = {task["title"]: task for task in state["tasks"].values()}
        assert tasks.keys() == {"Buy bread", "Buy oat milk", "Leave it as it is"}
        assert tasks["Buy bread"]["priority"] == "high"
        assert tasks["Buy oat milk"]["due_at"] == "2026-12-24T18:00:00.000000Z"

    def test_shows_what_was_done_offline_even_after_a_restart(
        self, language: str, server_url: str, user: str, tmp_path: Path
    ) -> None:
        edited, deleted = post(server_url, user), post(server_url, user)
        sync(language, tmp_path, server_url, user)
        do = f"""
offline.create({{"title": "Buy bread"}})
offline.edit("{edited["id"]}", {{"title": "Buy oat milk"}})
offline.delete("{deleted["id"]}")
"""
        show = {
            "python": "print(json.dumps(offline.tasks()))",
            "typescript": "console.log(JSON.stringify(offline.tasks()));",
        }[language]
        shown = [
            json.loads(run(language, tmp_path, server_url, user, use, is_offline=True))
            for use in (do + show, show)
        ]

        assert shown[0] == shown[1]
        seen, new = shown[0]
        assert seen == edited | {"title": "Buy oat milk"}
        assert new == {"id": new["id"], "title": "Buy bread"}

    @pytest.mark.parametrize(
        ("troubles", "expected"),
        [
            (["lose the request"], ["POST 200", "GET 200"]),
            (["answer 503"], ["POST 200", "GET 200"]),
            (["lose the answer"], ["POST 200", "POST 409", "POST 200", "GET 200"]),
            (
                ["lose the answer", "lose the answer", "lose the request", "", "lose the answer"],
                ["POST 200", "POST 409", "POST 409", "POST 200", "POST 200", "GET 200"],
            ),
            (["", "lose the answer", "answer 503"], ["POST 200", "GET 200", "GET 200"]),
        ],
        ids=["request", "unavailable", "answer", "again and again", "changes"],
    )
    def test_has_one_effect_however_often_it_sends(
        self,
        language: str,
        troubles: list[str],
        expected: list[str],
        server_url: str,
        user: str,
        shared_database_url: str,
        tmp_path: Path,
    ) -> None:
        edited, deleted = post(server_url, user), post(server_url, user)
        sync(language, tmp_path, server_url, user)
        state, passed = sync(
            language,
            tmp_path,
            server_url,
            user,
            'create({"title": " Buy bread "})',
            f'edit("{edited["id"]}", {{"title": " Buy oat milk ", "tags": ["b", " b", "a"]}})',
            f'delete("{deleted["id"]}")',
            troubles=troubles,
        )

        assert passed == expected
        assert state["dropped"] == []
        rows = rows_of(shared_database_url, user)
        assert {task["title"] for task in rows["tasks"]} == {"Buy bread", "Buy oat milk"}
        (tombstone,) = rows["task_tombstones"]
        times = {tombstone["deleted_at"], *(task["updated_at"] for task in rows["tasks"])}
        assert len(times) == 1, "something was written twice"
        (task_list,) = rows["task_lists"]
        assert task_list["version"] == max(row["version"] for row in (*rows["tasks"], tombstone))

    @pytest.mark.parametrize(
        ("call", "titles", "passed_then"),
        [
            ('edit("{id}", {"title": "Buy bread"})', ["Buy bread"], ["POST 200", "POST 200"]),
            ('delete("{id}")', [], ["POST 200", "POST 200"]),
            ("tasks()", ["Buy milk"], ["POST 200"]),
        ],
        ids=["edit", "delete", "nothing"],
    )
    def test_does_not_change_what_may_have_been_carried_out(
        self,
        language: str,
        call: str,
        titles: list[str],
        passed_then: list[str],
        server_url: str,
        user: str,
        tmp_path: Path,
    ) -> None:
        """The answer to the creation is lost, and the program ends. Then the user goes on."""
        task_id = self.create_and_fail(language, server_url, user, tmp_path)
        call = call.replace("{id}", task_id)
        state, passed = sync(language, tmp_path, server_url, user, call)

        assert passed == [*passed_then, "GET 200"]
        assert [task["title"] for task in state["tasks"].values()] == titles
        assert state["dropped"] == []

    def test_does_not_create_again_what_somebody_has_deleted(
        self, language: str, server_url: str, user: str, tmp_path: Path
    ) -> None:
        task_id = self.create_and_fail(language, server_url, user, tmp_path)
        httpx.delete(f"{server_url}{tasks_of(user)}/{task_id}").raise_for_status()
        state, passed = sync(language, tmp_path, server_url, user)

        assert passed == ["POST 409", "GET 200"]
        assert state["tasks"] == {}
        assert [dropped["error"] for dropped in state["dropped"]] == ["task_deleted"]

    def test_forgets_what_was_deleted_before_its_first_copy_was_complete(
        self, language: str, server_url: str, user: str, tmp_path: Path
    ) -> None:
        task_id = self.create_and_fail(language, server_url, user, tmp_path, answers=1)
        httpx.delete(f"{server_url}{tasks_of(user)}/{task_id}").raise_for_status()
        state, passed = sync(language, tmp_path, server_url, user)

        assert passed == ["GET 200"]
        assert (state["tasks"], state["dropped"]) == ({}, [])

    def create_and_fail(
        self, language: str, server_url: str, user: str, directory: Path, *, answers: int = 0
    ) -> str:
        """Let the program end after this number of answers; give the id of the task."""
        use = {
            "python": """
print(offline.create({"title": "Buy milk"}))
try:
    offline.sync()
except httpx.TransportError:
    print("failed")
""",
            "typescript": """
console.log(offline.create({ title: "Buy milk" }));
await offline.sync().catch(() => console.log("failed"));
""",
        }[language]
        troubles = [*[""] * answers, *["lose the answer"] * 5]
        with unreliable(server_url, *troubles) as (url, _):
            printed = run(language, directory, url, user, use, is_offline=True)
        task_id, outcome = printed.split()
        assert outcome == "failed"
        return task_id

    def test_keeps_what_others_have_changed(
        self, language: str, server_url: str, user: str, tmp_path: Path
    ) -> None:
        names = ("other field", "same field", "edited and deleted", "deleted and edited", "both")
        tasks = {name: post(server_url, user, title=name) for name in names}
        sync(language, tmp_path, server_url, user)
        path = {name: server_url + path_of(task) for name, task in tasks.items()}
        httpx.patch(path["other field"], json={"description": "theirs"}).raise_for_status()
        httpx.patch(path["same field"], json={"tags": ["theirs"]}).raise_for_status()
        httpx.delete(path["edited and deleted"]).raise_for_status()
        httpx.patch(path["deleted and edited"], json={"tags": ["theirs"]}).raise_for_status()
        httpx.delete(path["both"]).raise_for_status()
        theirs = post(server_url, user, title="theirs")

        mine = '{"tags": ["mine"]}'
        state, passed = sync(
            language,
            tmp_path,
            server_url,
            user,
            f'edit("{tasks["other field"]["id"]}", {mine})',
            f'edit("{tasks["same field"]["id"]}", {mine})',
            f'edit("{tasks["edited and deleted"]["id"]}", {mine})',
            f'delete("{tasks["deleted and edited"]["id"]}")',
            f'delete("{tasks["both"]["id"]}")',
        )

        assert passed == ["POST 409", "POST 200", "GET 200"]
        found = {task["title"]: task for task in state["tasks"].values()}
        assert found.keys() == {"other field", "same field", "theirs"}
        assert found["theirs"] == theirs
        assert found["other field"]["description"] == "theirs"
        assert found["other field"]["tags"] == found["same field"]["tags"] == ["mine"]
        (dropped,) = state["dropped"]
        assert dropped["id"] == tasks["edited and deleted"]["id"]
        assert (dropped["changes"], dropped["error"]) == ({"tags": ["mine"]}, "task_not_found")

    def test_gives_up_for_now_if_others_are_always_faster(
        self, language: str, server_url: str, user: str, tmp_path: Path
    ) -> None:
        task = post(server_url, user)
        sync(language, tmp_path, server_url, user)
        use = {
            "python": f"""
offline.edit("{task["id"]}", {{"title": "Buy bread"}})
try:
    offline.sync()
except RuntimeError as error:
    print(error)
""",
            "typescript": f"""
offline.edit("{task["id"]}", {{ title: "Buy bread" }});
await offline.sync().catch((error) => console.log(error.message));
""",
        }[language]
        faster = f"change {path_of(task)}"
        with unreliable(server_url, *[faster] * 5) as (url, passed):
            printed = run(language, tmp_path, url, user, use, is_offline=True)
        assert passed == ["POST 409"] * 5
        assert printed.startswith("Others keep changing the same tasks.")
        state, passed = sync(language, tmp_path, server_url, user, troubles=[faster])

        assert passed == ["POST 409", "POST 200", "GET 200"]
        assert [task["title"] for task in state["tasks"].values()] == ["Buy bread"]

    def test_does_not_let_an_invalid_change_stop_the_others(
        self, language: str, server_url: str, user: str, tmp_path: Path
    ) -> None:
        state, passed = sync(
            language,
            tmp_path,
            server_url,
            user,
            'create({"title": "Buy milk"})',
            'create({"title": "", "priority": "none"})',
        )

        assert passed == ["POST 422", "POST 200", "GET 200"]
        assert [task["title"] for task in state["tasks"].values()] == ["Buy milk"]
        assert [dropped["error"] for dropped in state["dropped"]] == ["too_short"]

    def test_says_what_is_wrong_if_it_is_not_an_operation(
        self, language: str, server_url: str, tmp_path: Path
    ) -> None:
        use = 'offline.create({"title": "Buy milk"})\n' + SYNC[language]
        with (
            unreliable(server_url) as (url, _),
            pytest.raises(AssertionError, match=r"user_id.*must be 1 to 128 characters"),
        ):
            run(language, tmp_path, url, "Mia M", use, is_offline=True)

    def test_starts_again_when_the_list_has_started_again(
        self, language: str, server_url: str, user: str, shared_database_url: str, tmp_path: Path
    ) -> None:
        edited, lost = post(server_url, user), post(server_url, user)
        sync(language, tmp_path, server_url, user)
        with psycopg.connect(shared_database_url) as connection:
            connection.execute(
                "UPDATE task_lists SET version = version + 1000, first_version = version + 1000"
                " WHERE user_id = %s",
                [user],
            )
            connection.execute(
                "DELETE FROM tasks WHERE user_id = %s AND id = %s", [user, lost["id"]]
            )
        call = f'edit("{edited["id"]}", {{"title": "Buy oat milk"}})'
        state, passed = sync(language, tmp_path, server_url, user, call)

        assert passed == ["POST 200", "GET 410", "GET 200"]
        assert [task["title"] for task in state["tasks"].values()] == ["Buy oat milk"]
        _, passed = sync(language, tmp_path, server_url, user)
        assert passed == ["GET 200"]

    def test_sends_many_operations_in_several_batches(
        self, language: str, server_url: str, user: str, tmp_path: Path
    ) -> None:
        calls = [f'create({{"title": "Task {number}"}})' for number in range(201)]
        state, passed = sync(language, tmp_path, server_url, user, *calls)

        assert passed == ["POST 200", "POST 200", "POST 200", "GET 200"]
        assert len(state["tasks"]) == 201

    def test_reads_all_changes(
        self, language: str, server_url: str, user: str, tmp_path: Path
    ) -> None:
        operations = [{"op": "create", "task": {"title": "Buy milk"}}] * 100
        for size in (*[100] * 10, 1):
            body = {"operations": operations[:size]}
            httpx.post(f"{server_url}{tasks_of(user)}/batch", json=body).raise_for_status()
        state, passed = sync(language, tmp_path, server_url, user)

        assert passed == ["GET 200", "GET 200"]
        assert len(state["tasks"]) == 1001


@pytest.mark.requirement("FR-085")
def test_in_a_browser_the_user_can_go_on_while_the_tasks_are_synchronized(
    server_url: str, user: str, tmp_path: Path
) -> None:
    use = """
const milk = offline.create({ title: "Buy milk" });
const first = offline.sync();
offline.edit(milk, { title: "Buy oat milk" });
const bread = offline.create({ title: "Buy bread" });
await Promise.all([first, offline.sync()]);
offline.delete(bread);
await offline.sync();
console.log(JSON.stringify(offline.tasks()));
"""
    with unreliable(server_url) as (url, passed):
        printed = run("typescript", tmp_path, url, user, use, is_offline=True)

    assert passed == ["POST 200", "POST 200", "GET 200", "POST 200", "GET 200"]
    assert json.loads(printed) == listed(server_url, user)
    assert [task["title"] for task in listed(server_url, user)] == ["Buy oat milk"]


@pytest.mark.requirement("FR-095")
@pytest.mark.parametrize("language", PROGRAMS)
class TestPositions:
    def compute(
        self, language: str, directory: Path, pairs: list[tuple[str | None, str | None]]
    ) -> list[str | None]:
        """Compute the positions between these pairs with the function of the document."""
        function = programs(language)[5]
        use = {
            "python": f"import json\npairs = json.loads({json.dumps(pairs)!r})\n"
            "print(json.dumps([position_between(*pair) for pair in pairs]))",
            "typescript": f"const pairs: [string, string][] = {json.dumps(pairs)};\n"
            "console.log(JSON.stringify(pairs.map((pair) => positionBetween(...pair))));",
        }[language]
        found: list[str | None] = json.loads(run_program(language, directory, f"{function}\n{use}"))
        return found

    def test_are_those_that_the_server_would_give(self, language: str, tmp_path: Path) -> None:
        draw = random.Random(7)  # noqa: S311 — it only has to be the same again
        ends = ["0" * 16, "1795680175334788", "9" * 16, f"{'9' * 16}.{'9' * 40}"]
        tight = [f"{'0' * 15}{whole}{point}" for whole in range(3) for point in ("", ".5", ".05")]
        close = [f"{'1' * 16}.{'0' * 39}{digit}" for digit in range(1, 10)]
        known = [*ends, *tight, *close]
        pairs: list[tuple[str | None, str | None]] = [
            *((None, position) for position in known),
            *((position, None) for position in known),
            *((min(two), max(two)) for two in (draw.sample(known, 2) for _ in range(300))),
        ]

        found = self.compute(language, tmp_path, pairs)

        assert found == [position_between(*pair) for pair in pairs]
        assert None in found

    def test_are_taken_by_the_server(
        self, language: str, tmp_path: Path, server_url: str, user: str
    ) -> None:
        first, second, third = (post(server_url, user, title=title) for title in "abc")

        top, between, end = self.compute(
            language,
            tmp_path,
            [
                (None, first["position"]),
                (first["position"], second["position"]),
                (third["position"], None),
            ],
        )

        for task, position in ((third, top), (second, end), (first, between)):
            answer = httpx.patch(server_url + path_of(task), json={"position": position})
            assert (answer.status_code, answer.json()["position"]) == (200, position)
        listed = httpx.get(server_url + tasks_of(user), params={"sort": "position"}).json()
        assert [task["title"] for task in listed["items"]] == ["c", "a", "b"]
