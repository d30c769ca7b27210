"""What the routes ask for: the session, and the parts of the path."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Path, Request
from pydantic import BeforeValidator
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.convertors import StringConvertor, register_url_convertor

from src.models.limits import USER_ID_PATTERN
from src.schemas.fields import parse_uuid

_SESSION: Final = "task_api.session"


async def get_session(request: Request) -> AsyncSession:
    """Lend a session to one request. It takes a connection at its first statement.

    `StrictRoute` ends it whatever happens, before the answer is sent: a slow client holds no
    connection. (As a `yield` dependency it would cost a tenth of the request's CPU.)
    """
    session: AsyncSession = request.app.state.database.session()
    request.scope[_SESSION] = session
    return session


async def end_session(request: Request) -> None:
    """Close the session that the request was lent, if it was."""
    session: AsyncSession | None = request.scope.pop(_SESSION, None)
    if session is not None:
        await session.close()


SessionDep = Annotated[AsyncSession, Depends(get_session)]


async def get_now(request: Request) -> datetime:
    """Say what time it is, for all that a request asks of the present."""
    now: datetime = request.app.state.clock()
    return now


Now = Annotated[datetime, Depends(get_now)]

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


class TaskIdConvertor(StringConvertor):
    """Lets no task be addressed by a name that stands for something else at this place.

    Otherwise `PUT .../tasks/summary` would be told that its id is wrong, not its method.
    """

    regex = r"(?!summary\Z)[^/]+"


register_url_convertor("task_id", TaskIdConvertor())
