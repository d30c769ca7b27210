"""What the routes ask for: the session, and the parts of the path."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request
from pydantic import BeforeValidator
from sqlmodel.ext.asyncio.session import AsyncSession

from src.models.limits import USER_ID_PATTERN
from src.schemas.fields import parse_uuid


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """Lend a session to one request, and close it whatever happens.

    It takes a connection at its first statement. It is closed before the answer is sent
    (`scope="function"`): a slow client holds no connection of the database.
    """
    async with request.app.state.database.session() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]

UserId = Annotated[
    str,
    Path(
        pattern=USER_ID_PATTERN,
        description="Whose tasks: opaque, ASCII, case-sensitive. There is no authentication yet:"
        " whoever reaches the server can act for any user.",
        examples=["alice"],
    ),
]
"""The one place where a request gets its user: authentication will change this and no more."""

TaskId = Annotated[
    UUID,
    BeforeValidator(parse_uuid),
    Path(description="The task's id.", examples=["01981f6e-3c00-7a3b-8a00-000000000001"]),
]
