"""What `/metrics` says, of one process and of several, and the dashboard that shows it."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from src import metrics
from src.config import ROOT
from src.database import MAX_ATTEMPTS
from tests.builders import NO_TASK, tasks_of
from tests.processes import SERVE, free_port, server, serving, until, wait_until

pytestmark = pytest.mark.anyio

Samples = dict[tuple[str, ...], float]

DASHBOARD: Final = ROOT / "deploy" / "grafana-dashboard.json"
TASKS: Final = "/api/v1/{user_id}/tasks"


def samples_in(answer: httpx.Response) -> Samples:
    """Give each sample by its name and the values of its labels."""
    assert answer.status_code == httpx.codes.OK
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def samples_of(client: httpx.AsyncClient) -> Samples:
    return samples_in(await client.get("/metrics"))


def growth(before: Samples, after: Samples, *names: str) -> Samples:
    """Give what the samples of these names have grown by, if they have."""
    grown = {key: value - before.get(key, 0) for key, value in after.items() if key[0] in names}
    return {key: value for key, value in grown.items() if value}


@pytest.mark.requirement("FR-147")
class TestRequests:
    async def test_are_counted_and_timed_by_method_and_route(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        before = await samples_of(client)
        for method, path, times in [
            ("GET", tasks_of(user), 2),
            ("HEAD", tasks_of(user), 1),
            ("GET", f"{tasks_of(user)}/{NO_TASK}", 1),
            ("PUT", tasks_of(user), 1),
            ("BREW", tasks_of(user), 1),
            ("GET", f"/nowhere/{user}", 3),
        ]:
            for _ in range(times):
                await client.request(method, path)
        answer = await client.get("/metrics")

        after = samples_in(answer)
        assert growth(before, after, "http_requests_total") == {
            ("http_requests_total", "GET", TASKS, "200"): 2,
            ("http_requests_total", "HEAD", TASKS, "200"): 1,
            ("http_requests_total", "GET", f"{TASKS}/{{task_id}}", "404"): 1,
            ("http_requests_total", "PUT", TASKS, "405"): 1,
            ("http_requests_total", "other", TASKS, "405"): 1,
            ("http_requests_total", "GET", "unmatched", "404"): 3,
            ("http_requests_total", "GET", "/metrics", "200"): 1,
        }
        assert growth(before, after, "http_request_duration_seconds_count") == {
            ("http_request_duration_seconds_count", "GET", TASKS): 2,
            ("http_request_duration_seconds_count", "HEAD", TASKS): 1,
            ("http_request_duration_seconds_count", "GET", f"{TASKS}/{{task_id}}"): 1,
            ("http_request_duration_seconds_count", "PUT", TASKS): 1,
            ("http_request_duration_seconds_count", "other", TASKS): 1,
            ("http_request_duration_seconds_count", "GET", "unmatched"): 3,
            ("http_request_duration_seconds_count", "GET", "/metrics"): 1,
        }
        assert user not in answer.text
        assert NO_TASK not in answer.text

    async def test_for_metrics_are_no_operation_of_the_api(self, client: httpx.AsyncClient) -> None:
        document = (await client.get("/openapi.json")).json()

        assert "/metrics" not in document["paths"]


@pytest.mark.requirement("FR-148")
class TestThePool:
    async def test_is_in_use_is_waited_for_and_sheds(
        self, shared_database_url: str, user: str, other_user: str
    ) -> None:
        names = ("db_pool_in_use", "db_pool_waiting", "db_requests_shed_total")
        async with serving(
            shared_database_url, db_pool_size=1, db_pool_max_waiting=2, db_pool_timeout=30
        ) as (app, client):
            limiter = app.state.database.limiter
            before = await samples_of(client)
            async with app.state.database.session():
                first = asyncio.create_task(client.get(tasks_of(user)))
                await until(lambda: limiter.waiting == 1)
                second = await client.get(tasks_of(user))
                third = asyncio.create_task(client.get(tasks_of(other_user)))
                await until(lambda: limiter.waiting == 2)
                fourth = await client.get(tasks_of(other_user))
                meanwhile = await samples_of(client)
            answers = [await first, second, await third, fourth]
            after = await samples_of(client)

        assert [answer.status_code for answer in answers] == [200, 503, 200, 503]
        assert meanwhile["db_pool_size",] == 1
        shed = {
            ("db_requests_shed_total", "queue of a user full"): 1,
            ("db_requests_shed_total", "queue full"): 1,
        }
        assert growth(before, meanwhile, *names) == shed | {
            ("db_pool_in_use",): 1,
            ("db_pool_waiting",): 2,
        }
        assert growth(before, after, *names, "db_pool_wait_seconds_count") == shed | {
            ("db_pool_wait_seconds_count",): 2,
        }

    async def test_sheds_who_has_waited_too_long(self, shared_database_url: str, user: str) -> None:
        async with serving(shared_database_url, db_pool_size=1, db_pool_timeout=0.01) as (
            app,
            client,
        ):
            before = await samples_of(client)
            async with app.state.database.session():
                answer = await client.get(tasks_of(user))
            after = await samples_of(client)

        assert answer.status_code == 503
        assert growth(before, after, "db_requests_shed_total") == {
            ("db_requests_shed_total", "timeout"): 1
        }

    async def test_counts_what_is_sent_again(self, user: str) -> None:
        url = f"postgresql://alice@127.0.0.1:{free_port()}/tasks"
        async with serving(url) as (_, client):
            before = await samples_of(client)
            await client.get(tasks_of(user))
            after = await samples_of(client)

        assert growth(before, after, "db_retries_total") == {
            ("db_retries_total",): MAX_ATTEMPTS - 1
        }


@pytest.mark.requirement("FR-149")
class TestSeveralWorkers:
    def test_are_counted_together_also_when_one_is_killed(
        self, tmp_path: Path, database_url: str, user: str
    ) -> None:
        settings = {"DATABASE_URL": database_url, "PORT": str(free_port()), "WEB_CONCURRENCY": "2"}
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        listed = ("http_requests_total", "GET", TASKS, "200")

        def ask() -> Samples:
            # A connection of its own: any worker may answer.
            return samples_in(httpx.get(f"{running.url}/metrics"))

        with server(
            tmp_path, program=SERVE, **settings, DB_POOL_SIZE="5", TMPDIR=str(temporary)
        ) as running:
            running.wait_until_it_serves()
            wait_until(lambda: ask()["db_pool_size",] == 10)
            for _ in range(20):
                httpx.get(running.url + tasks_of(user))
            assert {ask()[listed] for _ in range(10)} == {20}

            workers = {file.name.split("_")[-1] for file in temporary.glob("*/gauge_livesum_*.db")}
            killed = next(member for member in running.family if f"{member.pid}.db" in workers)
            killed.kill()
            gone = f"gauge_livesum_{killed.pid}.db"
            wait_until(lambda: not list(temporary.glob(f"*/{gone}")))
            # What a process leaves that is killed before it has written its first value.
            (directory,) = temporary.iterdir()
            (directory / "counter_1.db").touch()
            wait_until(lambda: ask()["db_pool_size",] == 10)

            assert {ask()[listed] for _ in range(10)} == {20}
            assert running.stop() == 0
        assert list(temporary.iterdir()) == []

    def test_lack_what_a_process_has_not_written_or_has_taken_with_it(self, tmp_path: Path) -> None:
        empty, gone = tmp_path / "counter_1.db", tmp_path / "gauge_livesum_2.db"
        empty.touch()

        assert [*metrics.Collector.merge([str(empty), str(gone)])] == []


@pytest.mark.requirement("FR-150")
class TestTheDashboard:
    async def test_asks_only_for_what_there_is(self, client: httpx.AsyncClient) -> None:
        await client.get("/metrics")  # a counter with labels has no sample before its first one
        text = (await client.get("/metrics")).text
        families = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
        known = {
            name + suffix
            for name, kind in families
            for suffix in (("_bucket", "_count", "_sum") if kind == "histogram" else ("",))
        }

        asked = set(re.findall(r"\b(?:http|db|process)_\w+", " ".join(expressions())))

        assert asked <= known
        assert {name for name in known if name.startswith("db_")} - asked == {
            "db_pool_wait_seconds_count",
            "db_pool_wait_seconds_sum",
        }


def expressions() -> list[str]:
    """Give the questions of the dashboard's panels."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
