"""Whether the server is alive, and whether it is ready for requests."""

from typing import Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from src import revisions
from src.api.deps import SessionDep
from src.api.problems import Kind, problems
from src.api.strict import StrictRoute

router: Final = APIRouter(tags=["health"], route_class=StrictRoute)


class Health(BaseModel):
    """The health of the server."""

    status: Literal["ok"] = "ok"


@router.get("/health", response_description="The server is alive.", responses=problems())
async def get_health() -> Health:
    """Check whether the server is alive. This does not use the database."""
    return Health()


@router.get(
    "/health/ready",
    response_description="The server is ready for requests.",
    responses=problems(Kind.DATABASE_UNAVAILABLE),
)
async def get_readiness(session: SessionDep) -> Health:
    """Check whether the database responds and has the tables that this version needs."""
    await revisions.check(session)
    return Health()
