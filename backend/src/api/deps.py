"""What the routes depend on: the session, the present time, the parts of the path, and the key."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path
from fastapi.requests import HTTPConnection
from pydantic import BeforeValidator
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.convertors import StringConvertor, register_url_convertor

from src.models.limits import (
    IDEMPOTENCY_KEY_MAX_LENGTH,
    IDEMPOTENCY_KEY_PATTERN,
    USER_ID_PATTERN,
)
from src.schemas.examples import TASK_ID
from src.schemas.fields import parse_uuid


async def get_session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
    """Yield a session when it is the request's turn, and close it before the response is sent.

    The session is in autocommit mode: each statement is committed on its own, in one round trip.
    For several statements, row locks or savepoints, use `async with transaction(session):` from
    `src.database`. Ask for `SessionDep`: `Depends(get_session)` beside it is a second session,
    which needs a second connection: such requests can exhaust one user's share (503).
    """
    user = connection.path_params.get("user_id")
    async with connection.app.state.database.session(user) as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


async def get_now() -> datetime:
    """Return the present time, for everything that depends on it in this request."""
    return datetime.now(UTC)


Now = Annotated[datetime, Depends(get_now)]

UserId = Annotated[
    str,
    Path(
        pattern=USER_ID_PATTERN,
        description="The user whose tasks these are: any id that your application uses, in ASCII"
        " and case-sensitive. You need not create users: a user without tasks has an empty list."
        " There is no authentication yet: anyone who can reach the server can act for any user.",
        examples=["alice"],
    ),
]
"""Where a route gets its user. Authentication will change only this and `get_session`, which reads
the same part of the path to count a session as that user's."""

TaskId = Annotated[
    UUID,
    BeforeValidator(parse_uuid),
    Path(description="The id of the task.", examples=[TASK_ID]),
]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=IDEMPOTENCY_KEY_PATTERN,
        description="A key that identifies this request, such as a new UUID: 1 to"
        f" {IDEMPOTENCY_KEY_MAX_LENGTH} visible ASCII characters. If you send the request again"
        " with the same key, no second task is created. Keys never expire.",
        examples=["6f1c2f8e-9a57-4a43-8a5e-0c3d1b2a4f60"],
    ),
]


class TaskIdConvertor(StringConvertor):
    """Matches anything but the names of other resources at the same place.

    Otherwise `PUT .../tasks/summary` would get 422 for an invalid id instead of 405.
    """

    regex = r"(?!(?:batch|changes|summary)\Z)[^/]+"


register_url_convertor("task_id", TaskIdConvertor())
