"""Whether the server is alive, and whether it can do its work."""

from typing import Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from src import revisions
from src.api.deps import SessionDep
from src.api.documentation import operation_id
from src.api.kinds import DATABASE_UNAVAILABLE
from src.api.responses import HEALTHY, READY, problems
from src.api.routing import StrictRoute
from src.exceptions import DatabaseUnavailable

router: Final = APIRouter(
    tags=["health"], route_class=StrictRoute, generate_unique_id_function=operation_id
)


class Health(BaseModel):
    """The process works."""

    status: Literal["ok"] = "ok"


@router.get("/health", responses=HEALTHY | problems())
async def get_health() -> Health:
    """Alive: the process answers. The database is not asked."""
    return Health()


@router.get("/health/ready", responses=READY | problems(DATABASE_UNAVAILABLE))
async def get_readiness(session: SessionDep) -> Health:
    """Ready: the database answers, and its schema is the one that this version needs."""
    if await revisions.current(session) != revisions.newest():
        raise DatabaseUnavailable("its schema is not at the newest migration")
    return Health()
