"""Any list is what the model in plain Python says: the same tasks in the same order, page by page.

The tasks of a data set collide on purpose: few titles, times and days, and the queries ask
for just those, so that ties, ends of ranges and nulls are met all the time.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import product
from typing import Any, Final
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from src.api.deps import get_now
from src.main import create_app
from tests import model
from tests.answers import check_answer
from tests.builders import tasks_of
from tests.conftest import BASE_URL, make_settings

LISTS: Final = 2000
SUMMARIES: Final = 200
DATA_SETS: Final = 120
LARGEST: Final = 20

TITLES: Final = [
    "a",
    "A",
    "b",
    "B_",
    "50% off",
    "5 off",
    "b\\a",
    "é",
    "É",
    "e\u0301",
    "\u212b",
    "ß",
    "日本",
    "z🥛",
    "zz",
]
TEXTS: Final = [
    "a",
    "%",
    "_",
    "\\",
    "É",
    "é",
    "e\u0301",
    "\u212b",
    "å",
    "0%",
    "日",
    "🥛",
    "ZZ",
    "off",
    "x y",
    "nowhere",
    "'",
]
TAGS: Final = ["home", "Home", "a b", "%", "日本", "{x}", '"']
ZONES: Final = ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati", "Asia/Kathmandu"]
MOMENT: Final = datetime(2026, 3, 29, 1, tzinfo=UTC)  # when the clocks change in Berlin
TIMES: Final = [
    MOMENT + step
    for step in (
        *(timedelta(hours=hours) for hours in (-49, -25, -14, -1, 0, 1, 10, 23, 24, 40)),
        timedelta(microseconds=-1),
        timedelta(microseconds=1),
    )
]
DAYS: Final = [date(2026, 3, day) for day in (27, 28, 29, 30, 31)]
POSITIONS: Final = ["0000000000000007", "0000000000000007.05", "0000000000000007.5"]
FIELDS: Final = ["created_at", "updated_at", "due", "priority", "title", "position"]


@cache
def data_set(seed: int) -> list[model.Row]:
    """Make up some tasks: the same ones for the same seed."""
    draw = random.Random(seed)  # noqa: S311 — it only has to be the same again
    tasks = []
    for version in range(1, draw.randint(0, LARGEST) + 1):
        dues: list[dict[str, Any]] = [
            {},
            {"due_date": draw.choice(DAYS)},
            {"due_at": draw.choice(TIMES)},
        ]
        tasks.append(
            model.row(
                version,
                id=UUID(int=draw.getrandbits(128), version=4),
                title=draw.choice(TITLES),
                description=draw.choice([None, "", *TEXTS]),
                is_completed=draw.random() < 0.4,
                priority=draw.choice(model.PRIORITIES),
                position=draw.choice(POSITIONS),
                tags=draw.sample(TAGS, draw.choice([0, 0, 1, 2, 3])),
                created_at=draw.choice(TIMES),
                updated_at=draw.choice(TIMES),
                **draw.choice(dues),
            )
        )
    return tasks


EITHER_WAY: Final = [key for field in FIELDS for key in (field, f"-{field}")]
COMBINED: Final = [
    *("due,-priority", "-due,title", "-priority,due", "priority,-due,created_at"),
    *("title,-due", "-title,-updated_at", "updated_at,priority", "-updated_at,-due,-priority"),
    *("position,-title", "-position,due", "priority,position"),
    *("created_at,title", "-created_at,title", "priority,title,due", "-priority,-title"),
]
SORTS: Final = [*EITHER_WAY, *COMBINED]
sorts: Final = st.sampled_from(SORTS)
VALUES: Final[dict[str, list[Any]]] = {
    "is_completed": [True, False],
    "priority": [list(some) for n in (1, 2, 3) for some in product(model.PRIORITIES, repeat=n)],
    "tag": [list(some) for n in (1, 2) for some in product(TAGS, repeat=n)],
    "q": TEXTS,
    "due": ["overdue", "today", "upcoming", "none"],
    "due_before": [*DAYS, *TIMES],
    "due_after": [*DAYS, *TIMES],
    "created_before": TIMES,
    "created_after": TIMES,
    "updated_after": TIMES,
}
# Mostly a few filters, but up to all at once.
COUNTS: Final = [*[0, 1, 2, 3] * 8, *range(4, len(VALUES) + 1)]
SHAPES: Final = 300
"""Combinations of filters and sort: to build the statements of one takes longer than all else."""
seeds: Final = st.integers(0, DATA_SETS - 1)


def shape(number: int) -> tuple[list[str], str]:
    """Make up which filters there are, and a sort: the same ones for the same number."""
    draw = random.Random(number)  # noqa: S311 — it only has to be the same again
    return draw.sample(sorted(VALUES), draw.choice(COUNTS)), draw.choice(SORTS)


@st.composite
def questions(draw: st.DrawFn) -> tuple[int, dict[str, Any], datetime]:
    """Draw a data set, filters and a sort, and the present.

    The filters aim at one of the tasks, where they can: many of them would find nothing else.
    """
    seed, now, tz = draw(seeds), draw(st.sampled_from(TIMES)), draw(st.sampled_from(ZONES))
    aim = [draw(st.sampled_from(tasks))] if (tasks := data_set(seed)) else []
    names, sort = shape(draw(st.integers(0, SHAPES - 1)))
    query: dict[str, Any] = {"tz": tz, "sort": sort}
    for name in names:
        hits = [value for value in VALUES[name] if model.listed(aim, {name: value, "tz": tz}, now)]
        query[name] = draw(st.sampled_from(hits or VALUES[name]))
    return seed, query, now


class Server:
    """An app, and data sets that are inserted when they are first needed."""

    def __init__(self, runner: asyncio.Runner, app: FastAPI, client: httpx.AsyncClient) -> None:
        self.runner = runner
        self.client = client
        self.now = MOMENT
        self._inserted: set[int] = set()
        app.dependency_overrides[get_now] = self.get_now

    async def get_now(self) -> datetime:
        return self.now

    def user_of(self, seed: int, database_url: str) -> str:
        user = f"model-{seed}"
        if seed not in self._inserted:
            model.insert(database_url, user, data_set(seed))
            self._inserted.add(seed)
        return user

    def walk(self, user: str, query: dict[str, Any], limit: int) -> tuple[list[str], set[Any]]:
        """Follow the cursors; give the ids of all tasks, and the totals that were told."""

        async def follow() -> tuple[list[str], set[Any]]:
            parameters = {**model.on_the_wire(query), "limit": str(limit)}
            ids: list[str] = []
            totals = set()
            while True:
                answer = await self.client.get(tasks_of(user), params=parameters)
                assert answer.status_code == 200, answer.text
                page = answer.json()
                ids += [task["id"] for task in page["items"]]
                totals.add(page["total"])
                assert len(page["items"]) == limit or page["next_cursor"] is None
                if page["next_cursor"] is None:
                    return ids, totals
                parameters["cursor"] = page["next_cursor"]

        return self.runner.run(follow())

    def summary(self, user: str, zone: str) -> Any:
        async def ask() -> Any:
            return (await self.client.get(f"{tasks_of(user)}/summary", params={"tz": zone})).json()

        return self.runner.run(ask())


@pytest.fixture(scope="module")
def model_database_url(make_database: Callable[[], str]) -> str:
    return make_database()


@pytest.fixture(scope="module")
def server(model_database_url: str) -> Iterator[Server]:
    app = create_app(make_settings(model_database_url, db_pool_size=1))
    transport = httpx.ASGITransport(app)
    hooks: dict[str, list[Any]] = {"response": [check_answer]}
    client = httpx.AsyncClient(transport=transport, base_url=BASE_URL, event_hooks=hooks)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        yield Server(runner, app, client)
        runner.run(client.aclose())
        runner.run(lifespan.__aexit__(None, None, None))


def at_least(examples: int) -> settings:
    return settings(
        max_examples=max(examples, settings().max_examples),
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow],
    )


@pytest.mark.timeout(1800)  # it takes a minute, and several on a busy machine
@pytest.mark.no_cover  # it is not about which lines run, and measured it takes longer
# Nearly every statement here is a new one, and to check it would take longer than the test.
# `test_scoping` checks the statements of all filters and sorts.
@pytest.mark.slow
@pytest.mark.unscoped
@pytest.mark.requirement("FR-047", "FR-048", "FR-049", "SC-007")
class TestEveryList:
    @given(question=questions(), limit=st.sampled_from([4, 6, 9, 1000]))
    @at_least(LISTS)
    def test_is_what_the_model_says(
        self,
        server: Server,
        model_database_url: str,
        question: tuple[int, dict[str, Any], datetime],
        limit: int,
    ) -> None:
        seed, query, server.now = question
        user = server.user_of(seed, model_database_url)
        expected = [str(task["id"]) for task in model.listed(data_set(seed), query, server.now)]

        ids, totals = server.walk(user, {**query, "include_total": True}, limit)

        assert ids == expected
        assert totals == {len(expected)}

    @given(
        seed=seeds,
        sort=sorts,
        tz=st.sampled_from(ZONES),
        limit=st.sampled_from([3, 5, 7]),
        now=st.sampled_from(TIMES),
    )
    @at_least(SUMMARIES)
    def test_has_a_summary_that_counts_it(
        self,
        server: Server,
        model_database_url: str,
        seed: int,
        sort: str,
        tz: str,
        limit: int,
        now: datetime,
    ) -> None:
        user, tasks = server.user_of(seed, model_database_url), data_set(seed)
        server.now = now
        query = {"sort": sort, "tz": tz}

        ids, totals = server.walk(user, query, limit)

        assert ids == [str(task["id"]) for task in model.listed(tasks, query, now)]
        assert totals == {None}
        assert server.summary(user, tz) == model.summary(tasks, tz, now)
