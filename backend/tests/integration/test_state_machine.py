"""Whatever is sent in whatever order, the API does what a model of thirty lines does.

Hypothesis makes up stories of three users, who repeat keys, name stale versions, and try each
other's ids, and shortens those that go wrong. For one of the users, the clock stands still. There
are 500 stories, or as many as a larger profile asks for.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, ClassVar, Final, Self
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from src.api.problems import Kind
from src.config import ROOT
from src.main import create_app
from tests.answers import check_answer
from tests.builders import AHEAD, KEY_REUSED, NEW, problem, stop_clock, tasks_of, version_in
from tests.conftest import BASE_URL, make_settings

USERS: Final = 3
STORIES: Final = 500

Task = dict[str, Any]

users = st.integers(0, USERS - 1)
keys = st.sampled_from(["a", "b"])
ids = st.integers(0, 5)
bodies = st.fixed_dictionaries(
    {
        "title": st.sampled_from(["Buy milk", "Wash up"]),
        "description": st.sampled_from([None, "", "Two litres"]),
        "is_completed": st.booleans(),
        "priority": st.sampled_from(["none", "high"]),
        "due_date": st.sampled_from([None, "2026-12-24"]),
        "due_at": st.none(),
        "tags": st.sampled_from([[], ["shopping"]]),
    }
)
patches = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(["Buy milk", "Wash up"]),
        "description": st.sampled_from([None, "Two litres"]),
        "is_completed": st.booleans(),
        "due_at": st.just("2026-12-24T18:00:00.000000Z"),
    },
)
tags = st.sampled_from([None, None, "*", "now", "now", "stale", '"x"'])


class BlockingClient:
    """A client of an app in this process, for tests that are not asynchronous."""

    def __init__(self, database_url: str) -> None:
        self._loop = asyncio.new_event_loop()
        app = create_app(make_settings(database_url))
        self._lifespan = app.router.lifespan_context(app)
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url=BASE_URL,
            event_hooks={"response": [check_answer]},
        )

    def __enter__(self) -> Self:
        self._loop.run_until_complete(self._lifespan.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.run_until_complete(self._client.aclose())
        self._loop.run_until_complete(self._lifespan.__aexit__(None, None, None))
        self._loop.close()

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self._loop.run_until_complete(self._client.request(method, path, **request))


class Model:
    """What one user has: the tasks as they were last answered, and what is remembered of them."""

    def __init__(self, client: BlockingClient) -> None:
        self.user = f"user-{uuid4()}"
        self.is_counted = False
        """Whether each change takes the next number, because the clock stands still."""
        self.tasks: dict[str, Task] = {}
        self.deleted: set[str] = set()
        self.bodies: dict[str, object] = {}
        """From the id of a key's task to the body that made it, for as long as it is that task."""
        self.earlier: dict[str, int] = {}
        """The versions at which tasks were before their last change."""
        self.version = 0
        self.send = client.send

    def stop_clock(self, database_url: str) -> None:
        stop_clock(database_url, self.user)
        self.is_counted, self.version = True, AHEAD

    def path(self, task_id: str) -> str:
        return f"{tasks_of(self.user)}/{task_id}"

    def holds(self, task_id: str, tag: str | None) -> bool:
        current = self.tasks[task_id]["version"]
        return tag in (None, "*", f'"{current}"')

    def has_moved_on(self, version: int) -> None:
        """Take note of the version of a change."""
        assert version > self.version
        assert version == self.version + 1 or not self.is_counted
        self.version = version

    def was_changed(self, answer: httpx.Response, **expected: object) -> None:
        """Take note of a task that was written: it has the expected fields and a new version."""
        task = answer.json()
        self.has_moved_on(task["version"])
        assert {name: task[name] for name in expected} == expected
        assert task["is_completed"] == (task["completed_at"] is not None)
        if task["id"] in self.tasks:
            self.earlier[task["id"]] = self.tasks[task["id"]]["version"]
        self.tasks[task["id"]] = task

    def was_deleted(self, task_id: str) -> None:
        self.has_moved_on(version_in(self.send("GET", tasks_of(self.user))))
        self.earlier[task_id] = self.tasks.pop(task_id)["version"]
        self.deleted.add(task_id)

    def was_created(self, answer: httpx.Response, body: Task) -> str:
        assert answer.status_code == 201
        self.was_changed(answer, user_id=self.user, **body)
        task = answer.json()
        assert task["created_at"] == task["updated_at"]
        assert answer.headers["location"] == self.path(task["id"])
        self.deleted.discard(task["id"])
        return str(task["id"])


class Story(RuleBasedStateMachine):
    """One run. Each has users of its own, so all can share a database."""

    client: ClassVar[BlockingClient]
    database_url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.models = [Model(self.client) for _ in range(USERS)]
        self.models[0].stop_clock(self.database_url)
        self.ids = [str(uuid4())]
        self.ids_of_keys: dict[tuple[int, str], str] = {}

    def pick(self, number: int) -> str:
        """Take one of the latest ids, whosever it is."""
        return self.ids[-1 - number % len(self.ids)]

    def remember(self, task_id: str) -> None:
        if task_id not in self.ids:
            self.ids.append(task_id)

    @rule(user=users, body=bodies)
    def create(self, user: int, body: Task) -> None:
        model = self.models[user]
        answer = model.send("POST", tasks_of(model.user), json=body)
        self.remember(model.was_created(answer, body))

    @rule(user=users, key=keys, body=bodies)
    def create_by_key(self, user: int, key: str, body: Task) -> None:
        model = self.models[user]
        answer = model.send(
            "POST", tasks_of(model.user), json=body, headers={"Idempotency-Key": key}
        )
        task_id = self.ids_of_keys.get((user, key))
        if task_id in model.deleted:
            assert answer.json() == problem(answer, Kind.TASK_DELETED)
        elif task_id is None:
            task_id = model.was_created(answer, body)
            self.ids_of_keys[user, key] = task_id
            model.bodies[task_id] = body
            self.remember(task_id)
        elif model.bodies.get(task_id) == body:
            assert (answer.status_code, answer.json()) == (200, model.tasks[task_id])
            assert answer.headers["idempotency-replayed"] == "true"
        else:
            assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[KEY_REUSED])

    @rule(user=users, number=ids, body=bodies, is_fresh=st.booleans())
    def create_by_id(self, user: int, number: int, body: Task, *, is_fresh: bool) -> None:
        model = self.models[user]
        task_id = str(uuid4()) if is_fresh else self.pick(number)
        answer = model.send("PUT", model.path(task_id), json=body, headers=NEW)
        self.remember(task_id)
        if task_id in model.tasks:
            current = model.tasks[task_id]
            assert answer.json() == problem(answer, Kind.TASK_EXISTS, current=current)
        else:
            model.bodies.pop(task_id, None)
            assert model.was_created(answer, body) == task_id

    @rule(user=users, number=ids, body=bodies, tag=tags)
    def replace(self, user: int, number: int, body: Task, tag: str | None) -> None:
        self.change("PUT", user, number, "", body, tag, lambda _: body)

    @rule(user=users, number=ids, patch=patches, tag=tags)
    def update(self, user: int, number: int, patch: Task, tag: str | None) -> None:
        cleared = {"due_date": None} if "due_at" in patch else {}
        self.change("PATCH", user, number, "", patch, tag, lambda _: patch | cleared)

    @rule(user=users, number=ids, is_completed=st.booleans(), tag=tags)
    def complete(self, user: int, number: int, tag: str | None, *, is_completed: bool) -> None:
        body = {"is_completed": is_completed}
        self.change("PATCH", user, number, "/complete", body, tag, lambda _: body)

    @rule(user=users, number=ids, tag=tags)
    def toggle(self, user: int, number: int, tag: str | None) -> None:
        self.change(
            *("PATCH", user, number, "/complete", None, tag),
            lambda task: {"is_completed": not task["is_completed"]},
        )

    @rule(user=users, number=ids, tag=tags)
    def delete(self, user: int, number: int, tag: str | None) -> None:
        self.change("DELETE", user, number, "", None, tag, None)

    @rule(user=users, number=ids)
    def get(self, user: int, number: int) -> None:
        model = self.models[user]
        task_id = self.pick(number)
        answer = model.send("GET", model.path(task_id))
        if task_id in model.tasks:
            assert (answer.status_code, answer.json()) == (200, model.tasks[task_id])
        else:
            assert answer.json() == problem(answer, Kind.TASK_NOT_FOUND)

    def change(
        self,
        method: str,
        user: int,
        number: int,
        suffix: str,
        body: Task | None,
        tag: str | None,
        effect: Callable[[Task], Task] | None,
    ) -> None:
        """Send a write on one task; without an `effect` it is a deletion."""
        model = self.models[user]
        task_id = self.pick(number)
        before = model.tasks.get(task_id, {"version": 1})
        earlier = model.earlier.get(task_id, before["version"] - 1)
        version = {"now": before["version"], "stale": earlier}
        tag = f'"{version[tag]}"' if tag in version else tag
        answer = model.send(
            method,
            model.path(task_id) + suffix,
            json=body,
            headers={"If-Match": tag} if tag else {},
        )
        if task_id not in model.tasks:
            assert answer.json() == problem(answer, Kind.TASK_NOT_FOUND)
        elif not model.holds(task_id, tag):
            assert answer.json() == problem(answer, Kind.VERSION_MISMATCH, current=before)
        elif body == {}:  # a patch that sets nothing
            assert (answer.status_code, answer.json()) == (200, before)
        elif effect is None:
            assert answer.status_code == 204
            model.was_deleted(task_id)
        else:
            assert answer.status_code == 200
            moving = {"version", "updated_at", "completed_at"}
            kept = {name: value for name, value in before.items() if name not in moving}
            model.was_changed(answer, **(kept | effect(before)))

    @rule(user=users)
    def list_tasks(self, user: int) -> None:
        model = self.models[user]
        answer = model.send("GET", tasks_of(model.user))
        newest_first = sorted(
            model.tasks.values(), key=lambda task: (task["created_at"], task["id"]), reverse=True
        )
        assert answer.json()["items"] == newest_first
        assert answer.headers["etag"] == f'W/"{model.version}"'

    def teardown(self) -> None:
        for user in range(USERS):
            self.list_tasks(user)


@pytest.fixture
def story(shared_database_url: str) -> Iterator[type[Story]]:
    with BlockingClient(shared_database_url) as client:
        Story.client, Story.database_url = client, shared_database_url
        yield Story


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it takes a minute, and several on a busy machine
@pytest.mark.no_cover  # it is not about which lines run, and measured it takes longer
@pytest.mark.requirement("SC-012", "FR-013", "FR-016", "FR-018", "FR-053", "FR-055")
def test_every_story_goes_as_the_model_says(story: type[Story]) -> None:
    run_state_machine_as_test(
        story,
        settings=settings(
            max_examples=max(STORIES, settings().max_examples),
            stateful_step_count=12,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.slow
@pytest.mark.requirement("SC-012")
def test_the_thorough_profile_has_more_stories() -> None:
    command = [
        *(sys.executable, "-m", "pytest", "-v", "-n", "0", "-m", "slow", "--collect-only"),
        __file__,
    ]
    done = subprocess.run(
        [*command, "--hypothesis-profile=thorough"],
        cwd=ROOT / "backend",
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "max_examples=20000" in done.stdout
