"""What only the tests with a database share."""

from collections.abc import Callable, Iterator

import pytest

from tests import variants
from tests.pooler import pooler


@pytest.fixture(scope="session", autouse=True)
def variant_pooler(
    pytestconfig: pytest.Config,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """In the variants with a pooler, let the app of each test connect through it."""
    connections = variants.POOLED.get(pytestconfig.getoption("--variant"))
    if connections is None:
        yield
        return
    make_database: Callable[[], str] = request.getfixturevalue("make_empty_database")
    url, directory = make_database(), tmp_path_factory.mktemp("pgbouncer")
    with (
        pooler(url, directory, server_connections=connections) as running,
        variants.through(url, running.url_of),
    ):
        yield
