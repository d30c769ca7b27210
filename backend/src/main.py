"""The application: assembly only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from src import __version__, logs, process
from src.api import documentation, errors, health
from src.api.middleware import Cors, HeadAsGet, LastResort, RequestContext
from src.api.routing import end_paths
from src.api.v1 import tasks
from src.config import Settings
from src.database import Database

_EXPOSED_HEADERS: Final = (
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "Retry-After",
    "X-Request-ID",
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application for these settings; by default, for those of the environment."""
    settings = settings or Settings()
    logs.configure(settings)
    database = Database(
        settings.required_database_url,
        size=settings.db_pool_size,
        max_waiting=settings.db_pool_max_waiting,
        timeout=settings.db_pool_timeout,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with database:
            process.calm_the_collector()
            process.end_with_parent()
            yield

    app = FastAPIOffline(
        title="Task API",
        version=__version__,
        description=documentation.DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,  # see `documentation`
        swagger_ui_parameters=documentation.SWAGGER_UI,
        redirect_slashes=False,
        exception_handlers=errors.HANDLERS,
        openapi_tags=[{"name": "tasks"}, {"name": "health"}],
    )
    app.state.database = database
    app.state.clock = partial(datetime.now, UTC)
    # Not by `include_router`, which looks for the route twice, once in each router.
    app.router.routes[:0] = [*tasks.router.routes, *health.router.routes]
    documentation.install(app)
    end_paths(app)
    # The last one added is the outermost.
    app.add_middleware(LastResort)
    app.add_middleware(HeadAsGet)
    if settings.cors_origins:
        app.add_middleware(
            Cors,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=_EXPOSED_HEADERS,
        )
    app.add_middleware(RequestContext)
    return app
