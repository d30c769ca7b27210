"""What is tried again, and what is not."""

import time

import psycopg
import psycopg_pool
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError

from src.retry import BUDGET, FIRST_PAUSE, TRIES, Fate, Tries, fate_of

pytestmark = pytest.mark.anyio


class ConnectionException(psycopg.OperationalError):
    """What a pooler says when it has lost the server."""

    sqlstate = "08006"


@pytest.mark.requirement("FR-058", "FR-059")
@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (errors.AdminShutdown(), Fate.NOT_EXECUTED),
        (errors.SerializationFailure(), Fate.NOT_EXECUTED),
        (errors.DeadlockDetected(), Fate.NOT_EXECUTED),
        (errors.FeatureNotSupported(), Fate.NOT_EXECUTED),
        (psycopg.OperationalError("the connection is lost"), Fate.UNKNOWN),
        (ConnectionException(), Fate.UNKNOWN),
        (errors.QueryCanceled(), Fate.FAILED),
        (errors.LockNotAvailable(), Fate.FAILED),
        (errors.UniqueViolation(), Fate.FAILED),
        (errors.DiskFull(), Fate.FAILED),
        (DBAPIError("", {}, psycopg_pool.PoolTimeout()), Fate.FAILED),
        (DBAPIError("", {}, psycopg_pool.TooManyRequests()), Fate.FAILED),
        (psycopg.ProgrammingError("no SQLSTATE: the driver's own"), Fate.FAILED),
        (ValueError(), Fate.FAILED),
    ],
    ids=repr,
)
def test_the_error_tells_what_became_of_the_statement(error: Exception, fate: Fate) -> None:
    assert fate_of(error) is fate


class TestTries:
    @pytest.mark.requirement("FR-058", "FR-059")
    @pytest.mark.parametrize(
        ("error", "is_repeatable", "expected"),
        [
            (errors.AdminShutdown(), False, True),
            (errors.AdminShutdown(), True, True),
            (psycopg.OperationalError(), False, False),
            (psycopg.OperationalError(), True, True),
            (errors.LockNotAvailable(), True, False),
        ],
        ids=repr,
    )
    def test_depend_on_the_failure_and_on_the_statement(
        self, error: Exception, *, is_repeatable: bool, expected: bool
    ) -> None:
        assert Tries(is_repeatable=is_repeatable).allow_another(error) is expected

    @pytest.mark.requirement("FR-061")
    def test_are_few(self) -> None:
        tries = Tries(is_repeatable=False)

        allowed = [tries.allow_another(errors.AdminShutdown()) for _ in range(TRIES)]

        assert allowed == [*[True] * (TRIES - 1), False]

    @pytest.mark.requirement("FR-061")
    def test_end_when_the_client_has_waited_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tries = Tries(is_repeatable=True)
        monkeypatch.setattr("src.retry.monotonic", lambda: time.monotonic() + BUDGET)

        assert not tries.allow_another(errors.AdminShutdown())

    @pytest.mark.requirement("FR-059")
    def test_remember_that_one_may_have_been_executed(self) -> None:
        tries = Tries(is_repeatable=True)
        seen = []

        for error in (errors.AdminShutdown(), psycopg.OperationalError(), errors.AdminShutdown()):
            tries.allow_another(error)
            seen.append(tries.is_uncertain)
        assert seen == [False, True, True]

    @pytest.mark.requirement("FR-061")
    def test_wait_longer_each_time_and_not_all_equally_long(self) -> None:
        def pauses() -> list[float]:
            tries = Tries(is_repeatable=False)
            lengths = []
            for _ in range(2):
                tries.allow_another(errors.AdminShutdown())
                lengths.append(tries.next_pause())
            return lengths

        first, second = zip(*(pauses() for _ in range(100)), strict=True)

        assert FIRST_PAUSE / 2 <= min(first) < max(first) <= FIRST_PAUSE * 3 / 2
        assert FIRST_PAUSE <= min(second) < max(second) <= FIRST_PAUSE * 3
