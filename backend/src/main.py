"""The application: assembly only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Final

from fastapi import FastAPI
from pydantic import ValidationError

from src import __version__, logs, process
from src.api import health, metrics, openapi, pages, problems
from src.api.bodies import Bodies, BodyDeadlines
from src.api.middleware import CORS, HTTPRules, RequestContext, UnexpectedErrors
from src.api.v1 import batch, tasks
from src.config import Settings, faults_of
from src.database import Database
from src.env_file import EnvFileError

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_EXPOSED_HEADERS: Final = (
    "Allow",
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "Retry-After",
    "X-Request-ID",
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application for these settings; by default, for those of the environment.

    If those are missing or bad, the program ends with a line for each fault.
    """
    try:
        settings = settings or Settings()
    except (EnvFileError, ValidationError) as error:
        process.give_up(*faults_of(error))
    logs.configure(settings)
    database = Database(settings)
    body_deadlines = BodyDeadlines(settings.body_timeout)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        process.tune_garbage_collector()
        process.stop_with_parent()
        async with database:
            with process.on_stop_signal(body_deadlines.stop_soon):
                yield

    app = FastAPI(
        title="Task API",
        version=__version__,
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # `pages` serves both
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=problems.HANDLERS,
        servers=openapi.SERVERS,
        contact=openapi.CONTACT,
        license_info=openapi.LICENSE,
        openapi_tags=openapi.TAGS,
        # Operations have the names of the routes' functions.
        generate_unique_id_function=attrgetter("name"),
        # One span for each request; the log records of FastAPI would have what the client sent.
        telemetry={"operation_spans": False, "logs": False},
    )
    app.state.database = database
    app.include_router(tasks.router)
    app.include_router(batch.router)
    app.include_router(health.router)
    app.include_router(metrics.router)
    openapi.install(app)
    pages.install(app)
    # The last one added is the outermost.
    app.add_middleware(UnexpectedErrors)
    app.add_middleware(
        CORS,
        allow_origins=settings.cors_origins,
        allow_methods=_METHODS,
        allow_headers=["*"],
        expose_headers=_EXPOSED_HEADERS,
    )
    app.add_middleware(HTTPRules, allowed_hosts=settings.allowed_hosts)
    app.add_middleware(RequestContext)
    app.add_middleware(Bodies, deadlines=body_deadlines)
    return app
