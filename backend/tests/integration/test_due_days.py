"""Days in time zones, above all those on which the clocks change: what is due, and when.

The clocks of these zones change at midnight and away from it, by an hour, half an hour or two,
forward and back; some zones skip a whole day, and some change nothing but are far from UTC.
"""

from datetime import UTC, date, datetime, timedelta
from importlib import resources
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest

from src.schemas.query import time_zones
from src.services.listing import time_parameters
from tests import model
from tests.builders import tasks_of

pytestmark = pytest.mark.anyio

YEARS: Final = {
    "Africa/Cairo": 2023,
    "Africa/Casablanca": 2023,
    "America/Asuncion": 2023,
    "America/Havana": 2023,
    "America/Los_Angeles": 2023,
    "America/New_York": 2023,
    "America/Santiago": 2023,
    "America/Sao_Paulo": 2018,
    "America/Scoresbysund": 2023,
    "America/St_Johns": 2006,
    "Antarctica/Troll": 2023,
    "Asia/Amman": 2021,
    "Asia/Beirut": 2022,
    "Asia/Damascus": 2021,
    "Asia/Kathmandu": 1985,
    "Asia/Tehran": 2021,
    "Atlantic/Azores": 2023,
    "Australia/Lord_Howe": 2023,
    "Europe/Berlin": 2023,
    "Europe/Lisbon": 2023,
    "Pacific/Apia": 2011,
    "Pacific/Auckland": 2023,
    "Pacific/Chatham": 2023,
    "Pacific/Kiritimati": 1994,
}
"""Twenty-four zones, each with a year in which its clocks change."""

TICK: Final = timedelta(microseconds=1)
HOUR: Final = timedelta(hours=1)
STEPS: Final = [
    *(sign * hours * HOUR for sign in (-1, 1) for hours in (0.5, 1, 2, 12, 23, 24, 25, 26)),
    timedelta(0),
    -TICK,
    TICK,
]

PRESENTS: Final = [-24 * HOUR, -HOUR, -TICK, timedelta(0), TICK, HOUR / 2, HOUR, 24 * HOUR]


def changes(zone: str, year: int) -> list[datetime]:
    """Find the instants of a year at which the clocks of a zone change."""
    at, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 2, tzinfo=UTC)
    step, found = timedelta(minutes=15), []
    offset = at.astimezone(ZoneInfo(zone)).utcoffset()
    while at < end:
        at += step
        before, offset = offset, at.astimezone(ZoneInfo(zone)).utcoffset()
        while before != offset and step > timedelta(minutes=1):
            earlier = at - timedelta(minutes=1)
            if earlier.astimezone(ZoneInfo(zone)).utcoffset() != offset:
                break
            at = earlier
        if before != offset:
            found.append(at)
    return found


def tasks_around(change: datetime, zone: str) -> list[model.Row]:
    """Tasks due on the days around a change of the clocks, and at instants around it."""
    day = model.day_in(zone, change)
    dues: list[dict[str, Any]] = [
        *({"due_date": day + timedelta(days=days)} for days in range(-3, 4)),
        *({"due_at": change + step} for step in STEPS),
        {},
    ]
    return [
        model.row(number + 1, id=UUID(int=number), is_completed=number % 9 == 8, **due)
        for number, due in enumerate(dues)
    ]


@pytest.mark.slow
@pytest.mark.requirement("FR-048", "SC-009")
class TestInTwentyFourZones:
    @pytest.mark.parametrize("zone", YEARS)
    async def test_what_is_due_is_right_around_each_change_of_the_clocks(
        self,
        client: httpx.AsyncClient,
        shared_database_url: str,
        user: str,
        now: list[datetime],
        zone: str,
    ) -> None:
        found = changes(zone, YEARS[zone])
        assert found
        for change in found:
            owner = f"{user}-{change:%m%d}"
            tasks = tasks_around(change, zone)
            model.insert(shared_database_url, owner, tasks)
            for step in PRESENTS:
                now[0] = change + step
                today = model.day_in(zone, now[0])
                queries: list[dict[str, Any]] = [
                    *({"due": state} for state in ("overdue", "today", "upcoming")),
                    *(
                        {bound: end}
                        for bound in ("due_before", "due_after")
                        for end in (now[0], today)
                    ),
                ]
                for query in queries:
                    asked = {**query, "tz": zone, "sort": "due"}
                    parameters = model.on_the_wire(asked)
                    answer = await client.get(tasks_of(owner), params=parameters)
                    expected = model.listed(tasks, asked, now[0])
                    assert [task["id"] for task in answer.json()["items"]] == [
                        str(task["id"]) for task in expected
                    ], parameters
                answer = await client.get(f"{tasks_of(owner)}/summary", params={"tz": zone})
                assert answer.json() == model.summary(tasks, zone, now[0])

    async def test_a_midnight_that_comes_twice_begins_its_day_the_first_time(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        """In Havana the clocks went from 1:00 back to 0:00 on 2023-11-05, at 05:00 UTC."""
        assert await begins(client, user, date(2023, 11, 5), "America/Havana") == (
            datetime(2023, 11, 5, 4, tzinfo=UTC)
        )

    async def test_a_day_without_a_midnight_begins_when_the_clocks_go_on(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        """In Beirut the clocks went from 0:00 to 1:00 on 2022-03-27, at 22:00 UTC before it."""
        assert await begins(client, user, date(2022, 3, 27), "Asia/Beirut") == (
            datetime(2022, 3, 26, 22, tzinfo=UTC)
        )

    async def test_a_day_that_never_was_begins_with_the_next(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        """Samoa went from 2011-12-29 to 2011-12-31."""
        expected = datetime(2011, 12, 30, 10, tzinfo=UTC)
        assert await begins(client, user, date(2011, 12, 30), "Pacific/Apia") == expected
        assert await begins(client, f"{user}-", date(2011, 12, 31), "Pacific/Apia") == expected


async def begins(client: httpx.AsyncClient, user: str, day: date, zone: str) -> datetime:
    """Find the first instant, to the half hour, from which on what is due that day is late."""
    await client.post(tasks_of(user), json={"title": "x", "due_date": day.isoformat()})
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) - 26 * HOUR

    async def is_due(parameter: str, bound: datetime) -> bool:
        parameters = {parameter: bound.isoformat(), "tz": zone}
        answer = await client.get(tasks_of(user), params=parameters)
        return bool(answer.json()["items"])

    while not await is_due("due_before", at + TICK):
        assert await is_due("due_after", at + TICK) is True
        at += HOUR / 2
    assert await is_due("due_after", at)
    assert not await is_due("due_before", at)
    assert not await is_due("due_after", at + TICK)
    return at


class TestEveryZone:
    @pytest.mark.requirement("FR-048")
    def test_is_known_to_the_database_and_means_the_same_there(self, postgres_url: str) -> None:
        instants = [datetime(2000, 1, 15, tzinfo=UTC) + timedelta(days=61 * n) for n in range(120)]
        different = []
        time_zones.cache_clear()  # an earlier test may have read them
        with psycopg.connect(postgres_url) as connection:
            for zone in sorted(time_zones()):
                name = time_parameters(instants[0], zone)["the_zone"]
                rows = connection.execute(
                    "SELECT timezone(%s, at) FROM unnest(%s::timestamptz[]) at", [name, instants]
                ).fetchall()
                here = [at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in instants]
                if [at for (at,) in rows] != here:
                    different.append(zone)

        assert len(time_zones()) > 500
        assert different == []

    @pytest.mark.requirement("FR-048")
    @pytest.mark.parametrize("zone", ["CET", "EET", "EST", "HST", "MET", "MST", "WET"])
    def test_that_postgresql_takes_for_an_abbreviation_is_the_zone(
        self, postgres_url: str, zone: str
    ) -> None:
        """Some of them differ from their abbreviation only in a past that is long gone.

        The machine's own zones may be older, and not know that these are links by now.
        """
        instants = [datetime(year, 6, 30, 9, 30, tzinfo=UTC) for year in range(1901, 2040)]
        name = time_parameters(instants[0], zone)["the_zone"]
        with psycopg.connect(postgres_url) as connection:
            rows = connection.execute(
                "SELECT timezone(%s, at) FROM unnest(%s::timestamptz[]) at", [name, instants]
            ).fetchall()

        with resources.files("tzdata.zoneinfo").joinpath(zone).open("rb") as file:
            iana = ZoneInfo.from_file(file)
        here = [at.astimezone(iana).replace(tzinfo=None) for at in instants]
        assert [at for (at,) in rows] == here
