"""What the front ends of Todo-Backend expect of a back end, through an adapter for names.

Todo-Backend (todobackend.com) has one specification for all back ends. A todo there has `title`,
`completed`, `order` and its `url`; here these are `title`, `is_completed`, `position` and the path.
"""

from typing import Any

import httpx
import pytest

from tests.builders import tasks_of

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SC-017")]

Todo = dict[str, Any]
NAMES = {"title": "title", "completed": "is_completed"}


class TodoBackend:
    """Speaks to the API in the words of Todo-Backend. The root is the list of one user's tasks."""

    def __init__(self, client: httpx.AsyncClient, user: str) -> None:
        self._client = client
        self.root = tasks_of(user)

    async def get(self, url: str) -> Any:
        answer = await self._client.get(url)
        assert answer.status_code == 200, answer.text
        if url == self.root:
            return list(map(self._to_todo, answer.json()["items"]))
        return self._to_todo(answer.json())

    async def post(self, todo: Todo) -> Todo:
        answer = await self._client.post(self.root, json=self._to_task(todo))
        assert answer.status_code == 201, answer.text
        assert self.root + "/" + answer.json()["id"] == answer.headers["location"]
        return self._to_todo(answer.json())

    async def patch(self, url: str, todo: Todo) -> Todo:
        answer = await self._client.patch(url, json=self._to_task(todo))
        assert answer.status_code == 200, answer.text
        return self._to_todo(answer.json())

    async def delete(self, url: str) -> None:
        """Delete a todo, or all of them."""
        if url != self.root:
            answer = await self._client.delete(url)
            assert answer.status_code == 204
            return
        todos = await self.get(url)
        operations = [{"op": "delete", "id": todo["url"].rpartition("/")[2]} for todo in todos]
        if operations:
            answer = await self._client.post(f"{url}/batch", json={"operations": operations})
            assert answer.status_code == 200

    def _to_todo(self, task: dict[str, Any]) -> Todo:
        return {
            **{name: task[ours] for name, ours in NAMES.items()},
            "order": int(task["position"]),
            "url": f"{self.root}/{task['id']}",
        }

    def _to_task(self, todo: Todo) -> dict[str, Any]:
        position = {"position": f"{todo['order']:016}"} if "order" in todo else {}
        return {ours: todo[name] for name, ours in NAMES.items() if name in todo} | position


@pytest.fixture
async def backend(client: httpx.AsyncClient, user: str) -> TodoBackend:
    return TodoBackend(client, user)


class TestTheRoot:
    async def test_answers_a_get(self, backend: TodoBackend) -> None:
        assert await backend.get(backend.root) == []

    async def test_takes_a_todo_and_answers_with_it(self, backend: TodoBackend) -> None:
        assert (await backend.post({"title": "walk the dog"}))["title"] == "walk the dog"

    async def test_is_empty_after_a_delete(self, backend: TodoBackend) -> None:
        await backend.post({"title": "walk the dog"})
        await backend.post({"title": "water the plants"})

        await backend.delete(backend.root)

        assert await backend.get(backend.root) == []


class TestANewTodo:
    async def test_is_in_the_list(self, backend: TodoBackend) -> None:
        todo = await backend.post({"title": "walk the dog"})

        assert await backend.get(backend.root) == [todo]

    async def test_is_not_completed(self, backend: TodoBackend) -> None:
        await backend.post({"title": "blah"})

        assert [todo["completed"] for todo in await backend.get(backend.root)] == [False]

    async def test_has_a_url(self, backend: TodoBackend) -> None:
        todo = await backend.post({"title": "blah"})

        assert todo["url"].startswith(backend.root)

    async def test_is_found_under_its_url(self, backend: TodoBackend) -> None:
        todo = await backend.post({"title": "my todo"})

        assert await backend.get(todo["url"]) == todo

    async def test_can_have_an_order(self, backend: TodoBackend) -> None:
        assert (await backend.post({"title": "blah", "order": 523}))["order"] == 523


class TestATodo:
    async def test_is_reached_from_the_list(self, backend: TodoBackend) -> None:
        for title in ("todo the first", "todo the second"):
            await backend.post({"title": title})
        listed = await backend.get(backend.root)

        assert [await backend.get(todo["url"]) for todo in listed] == listed

    @pytest.mark.parametrize(
        "change",
        [{"title": "bathe the cat"}, {"completed": True}, {"order": 95}],
        ids=["title", "completed", "order"],
    )
    async def test_can_be_changed(self, backend: TodoBackend, change: Todo) -> None:
        todo = await backend.post({"title": "initial title", "order": 10})

        changed = await backend.patch(todo["url"], change)

        assert changed == {**todo, **change}

    async def test_keeps_its_changes(self, backend: TodoBackend) -> None:
        todo = await backend.post({"title": "initial title", "order": 10})
        change = {"title": "changed title", "completed": True, "order": 95}

        changed = await backend.patch(todo["url"], change)

        assert await backend.get(todo["url"]) == changed == {**todo, **change}
        assert await backend.get(backend.root) == [changed]

    async def test_can_be_deleted(self, backend: TodoBackend) -> None:
        todo = await backend.post({"title": "blah"})

        await backend.delete(todo["url"])

        assert await backend.get(backend.root) == []
