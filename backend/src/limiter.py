"""Who gets a connection next: in order of arrival, and no user more than their share.

SQLAlchemy's pool alone lets newcomers overtake (ADR 0014), and one user take everything (ADR 0027).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil

from src import metrics
from src.exceptions import DatabaseUnavailable


class _Share(asyncio.Semaphore):
    """The permits of one user, as long as the user has requests."""

    callers = 0
    waiting = 0


class Limiter:
    """Lets `permits` callers in at a time. Others wait in order of arrival, or are refused.

    One user gets at most the `user_share` of the permits, and of the places in the queue.
    """

    def __init__(
        self, permits: int, *, max_waiting: int, timeout: float, user_share: float = 1
    ) -> None:
        self.waiting = 0
        self._permits = asyncio.Semaphore(permits)
        self._max_waiting = max_waiting
        self._timeout = timeout
        self._permits_of_user = ceil(permits * user_share)
        self._max_waiting_of_user = ceil(max_waiting * user_share)
        self._shares: dict[str, _Share] = {}
        self._without_user = _Share(permits)

    @asynccontextmanager
    async def permit(self, user: str | None = None) -> AsyncIterator[None]:
        """Hold a permit. It counts as the user's, if there is one.

        Raises:
            DatabaseUnavailable: the queue is full, or no permit became free in time.
        """
        if user is None:
            share = self._without_user
        else:
            share = self._shares.get(user) or _Share(self._permits_of_user)
            self._shares[user] = share
        share.callers += 1
        try:
            if share.locked() or self._permits.locked():
                await self._wait(share)
            else:
                await share.acquire()
                await self._permits.acquire()
            try:
                with metrics.POOL_IN_USE.track_inprogress():
                    yield
            finally:
                self._permits.release()
                share.release()
        finally:
            share.callers -= 1
            if not share.callers and user is not None:
                del self._shares[user]

    async def _wait(self, share: _Share) -> None:
        if self.waiting >= self._max_waiting:
            metrics.SHED.labels("queue full").inc()
            raise DatabaseUnavailable("too many requests are waiting for a connection")
        if share is not self._without_user and share.waiting >= self._max_waiting_of_user:
            metrics.SHED.labels("queue of a user full").inc()
            raise DatabaseUnavailable("too many requests of one user are waiting for a connection")
        self.waiting += 1
        share.waiting += 1
        try:
            with metrics.POOL_WAITING.track_inprogress(), metrics.POOL_WAITS.time():
                async with asyncio.timeout(self._timeout):
                    await share.acquire()
                    try:
                        await self._permits.acquire()
                    except BaseException:
                        share.release()
                        raise
        except TimeoutError:
            metrics.SHED.labels("timeout").inc()
            raise DatabaseUnavailable("all connections are busy") from None
        finally:
            self.waiting -= 1
            share.waiting -= 1
