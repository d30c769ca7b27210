"""Which failures of the database are met by trying again, and how (ADR 0012).

It depends on what became of the statement. If it was surely not executed, it may be sent again
whatever it does. If the connection was lost before the answer came, nobody knows: then it may
be sent again only if running it twice has the same effect as running it once. Everything else
is final, and so is it that there is no connection: whoever has queued for one does not queue
again.
"""

import asyncio
import random
from enum import Enum, auto
from time import monotonic
from typing import Final

from psycopg import Error, OperationalError

TRIES: Final = 3
"""How often a statement is sent at most."""

FIRST_PAUSE: Final = 0.02
"""Seconds, on average, before the second try; twice as many before the third."""

BUDGET: Final = 3.0
"""Seconds after which no other try begins: a client waits for the answer."""

_NOT_EXECUTED: Final = frozenset(
    {
        "57P01",  # admin_shutdown: the server takes its leave, and with it the transaction
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "0A000",  # feature_not_supported: a prepared plan that a migration has overtaken
    }
)
_CONNECTION_EXCEPTION: Final = "08"  # the class of errors that poolers give for a lost server


class Fate(Enum):
    """What became of a statement that failed."""

    NOT_EXECUTED = auto()
    UNKNOWN = auto()
    FAILED = auto()


def fate_of(error: Exception) -> Fate:
    """Tell from the driver's error what became of its statement."""
    sqlstate = error.sqlstate if isinstance(error, Error) else None
    if sqlstate in _NOT_EXECUTED:
        return Fate.NOT_EXECUTED
    is_lost = sqlstate is None or sqlstate.startswith(_CONNECTION_EXCEPTION)
    return Fate.UNKNOWN if is_lost and isinstance(error, OperationalError) else Fate.FAILED


class Tries:
    """The tries of one statement."""

    def __init__(self, *, is_repeatable: bool) -> None:
        self.is_uncertain = False
        """Whether one of them may have been executed, though it failed."""
        self._is_repeatable = is_repeatable
        self._count = 1
        self._started = monotonic()

    @property
    def is_first(self) -> bool:
        """Whether the statement has not failed yet."""
        return self._count == 1

    def allow_another(self, error: Exception) -> bool:
        """Tell whether the statement may be sent again after this failure."""
        fate = fate_of(error)
        self.is_uncertain |= fate is Fate.UNKNOWN
        self._count += 1
        may_be_repeated = fate is Fate.NOT_EXECUTED or (
            fate is Fate.UNKNOWN and self._is_repeatable
        )
        return may_be_repeated and self._count <= TRIES and monotonic() - self._started < BUDGET

    async def pause(self) -> None:
        """Wait before the next try."""
        await asyncio.sleep(self.next_pause())

    def next_pause(self) -> float:
        """Give seconds: more each time, and not as many as for all others who wait."""
        average: float = FIRST_PAUSE * 2 ** (self._count - 2)
        return average * random.uniform(0.5, 1.5)  # noqa: S311 — no secret
