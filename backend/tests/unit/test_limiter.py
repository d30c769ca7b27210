"""Who gets a connection next, and who has to wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from src.exceptions import DatabaseUnavailable
from src.limiter import Limiter
from tests.processes import until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def held(limiter: Limiter) -> AsyncIterator[None]:
    """Hold the one permit of a limiter."""
    async with limiter.permit():
        yield


async def enter(limiter: Limiter, number: int, entered: list[int]) -> None:
    async with limiter.permit():
        entered.append(number)


class TestTheLimiter:
    @pytest.mark.requirement("FR-029")
    async def test_lets_as_many_in_at_a_time_as_it_has_permits(self) -> None:
        limiter, entered, leave = (
            Limiter(3, max_waiting=10, timeout=30),
            list[int](),
            asyncio.Event(),
        )

        async def stay(number: int) -> None:
            async with limiter.permit():
                entered.append(number)
                await leave.wait()

        callers = [asyncio.ensure_future(stay(number)) for number in range(5)]
        await until(lambda: limiter.waiting == 2)

        assert entered == [0, 1, 2]
        leave.set()
        await asyncio.gather(*callers)
        assert entered == [0, 1, 2, 3, 4]

    @pytest.mark.requirement("FR-029")
    async def test_lets_callers_in_by_order_of_arrival(self) -> None:
        limiter, entered = Limiter(1, max_waiting=10, timeout=30), list[int]()
        async with held(limiter):
            waiting = [asyncio.ensure_future(enter(limiter, n, entered)) for n in range(5)]
            await until(lambda: limiter.waiting == 5)
        newcomer = asyncio.ensure_future(enter(limiter, 5, entered))
        await asyncio.gather(*waiting, newcomer)

        assert entered == [0, 1, 2, 3, 4, 5]
        assert limiter.waiting == 0

    @pytest.mark.requirement("FR-029")
    @pytest.mark.parametrize("max_waiting", [0, 2])
    async def test_refuses_at_once_when_its_queue_is_full(self, max_waiting: int) -> None:
        limiter, entered = Limiter(1, max_waiting=max_waiting, timeout=30), list[int]()
        async with held(limiter):
            waiting = [
                asyncio.ensure_future(enter(limiter, n, entered)) for n in range(max_waiting)
            ]
            await until(lambda: limiter.waiting == max_waiting)

            with pytest.raises(DatabaseUnavailable, match="too many requests"):
                await limiter.permit().__aenter__()
        await asyncio.gather(*waiting)

        assert len(entered) == max_waiting

    @pytest.mark.requirement("FR-029")
    async def test_refuses_who_has_waited_too_long_and_keeps_no_place_for_them(self) -> None:
        limiter = Limiter(1, max_waiting=1, timeout=0.01)
        async with held(limiter):
            for _ in range(3):
                with pytest.raises(DatabaseUnavailable, match="all connections are busy"):
                    await limiter.permit().__aenter__()
                assert limiter.waiting == 0

        async with held(limiter):
            pass

    @pytest.mark.requirement("FR-029", "FR-031")
    async def test_loses_no_permit_to_who_leaves_the_queue(self) -> None:
        limiter, entered = Limiter(1, max_waiting=10, timeout=30), list[int]()
        async with held(limiter):
            waiting = [asyncio.ensure_future(enter(limiter, n, entered)) for n in range(5)]
            await until(lambda: limiter.waiting == 5)
            for leaving in waiting[:4]:
                leaving.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

        assert entered == [4]
        async with held(limiter):
            assert limiter.waiting == 0

    @pytest.mark.requirement("FR-029", "FR-031")
    async def test_loses_no_permit_to_who_leaves_at_the_moment_it_is_given(self) -> None:
        limiter, entered = Limiter(1, max_waiting=10, timeout=30), list[int]()
        async with held(limiter):
            waiting = [asyncio.ensure_future(enter(limiter, n, entered)) for n in range(2)]
            await until(lambda: limiter.waiting == 2)
        waiting[0].cancel()  # it has the permit, and does not know yet
        await asyncio.gather(*waiting, return_exceptions=True)

        assert entered == [1]
        async with held(limiter):
            assert limiter.waiting == 0


class TestTheShareOfAUser:
    @staticmethod
    async def stay(
        limiter: Limiter, user: str | None, entered: list[str | None], leave: asyncio.Event
    ) -> None:
        async with limiter.permit(user):
            entered.append(user)
            await leave.wait()

    @pytest.mark.requirement("FR-128")
    @pytest.mark.parametrize(
        ("permits", "share", "of_one_user"), [(8, 0.5, 4), (3, 0.5, 2), (1, 0.1, 1), (4, 1, 4)]
    )
    async def test_is_all_that_one_user_gets(
        self, permits: int, share: float, of_one_user: int
    ) -> None:
        limiter = Limiter(permits, max_waiting=100, timeout=30, user_share=share)
        entered, leave = list[str | None](), asyncio.Event()
        callers = [
            asyncio.ensure_future(self.stay(limiter, user, entered, leave))
            for user in ["alice"] * 10 + ["bob"] * 10
        ]
        await until(lambda: limiter.waiting + len(entered) == 20)

        assert entered.count("alice") == of_one_user
        assert entered.count("bob") == min(of_one_user, permits - of_one_user)
        leave.set()
        await asyncio.gather(*callers)
        assert (len(entered), limiter.waiting) == (20, 0)

    @pytest.mark.requirement("FR-128")
    async def test_counts_for_nobody_else(self) -> None:
        limiter = Limiter(4, max_waiting=100, timeout=30, user_share=0.25)
        entered, leave = list[str | None](), asyncio.Event()
        callers = [
            asyncio.ensure_future(self.stay(limiter, user, entered, leave))
            for user in ("alice", "bob", None, None)
        ]
        await until(lambda: len(entered) == 4)

        leave.set()
        await asyncio.gather(*callers)

    @pytest.mark.requirement("FR-128")
    async def test_bounds_the_places_in_the_queue_as_well(self) -> None:
        limiter = Limiter(4, max_waiting=4, timeout=30, user_share=0.25)
        entered, leave = list[str | None](), asyncio.Event()
        callers = [
            asyncio.ensure_future(self.stay(limiter, "alice", entered, leave)) for _ in range(2)
        ]
        await until(lambda: limiter.waiting == 1)

        with pytest.raises(DatabaseUnavailable, match="too many requests of one user"):
            await limiter.permit("alice").__aenter__()
        leave.set()
        async with limiter.permit("bob"):
            pass
        await asyncio.gather(*callers)

    @pytest.mark.requirement("FR-128", "FR-031")
    async def test_is_whole_again_however_its_callers_leave(self) -> None:
        limiter = Limiter(2, max_waiting=100, timeout=30, user_share=0.5)
        entered, leave = list[str | None](), asyncio.Event()
        for _ in range(3):
            others = [
                asyncio.ensure_future(self.stay(limiter, user, entered, leave))
                for user in ("bob", "carol")
            ]
            waiting = [
                asyncio.ensure_future(self.stay(limiter, user, entered, leave))
                for user in ("alice", "alice", "bob")
            ]
            await until(lambda: limiter.waiting == 3)
            for caller in (*waiting, *others):
                caller.cancel()
            await asyncio.gather(*waiting, *others, return_exceptions=True)
            assert limiter.waiting == 0

        leave.set()
        await self.stay(limiter, "alice", entered, leave)
        assert limiter._shares == {}
