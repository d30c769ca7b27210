"""From an exception to a problem document (RFC 9457): one table, for every failure there is.

A problem names what is at fault and what to do. It never holds the input or an internal.
"""

import logging
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic_core import from_json, to_json
from starlette.exceptions import HTTPException

from src.api.context import REQUEST_ID
from src.api.kinds import (
    BODY_TOO_LARGE,
    DATABASE_UNAVAILABLE,
    INTERNAL_ERROR,
    INVALID_JSON,
    INVALID_REQUEST,
    KEY_SPENT,
    METHOD_NOT_ALLOWED,
    OUTCOME_UNKNOWN,
    ROUTE_NOT_FOUND,
    TASK_EXISTS,
    TASK_NOT_FOUND,
    UNSUPPORTED_MEDIA_TYPE,
    VERSION_MISMATCH,
    Kind,
)
from src.api.violations import violation
from src.exceptions import (
    CursorMismatch,
    DatabaseUnavailable,
    IdempotencyKeyReused,
    OutcomeUnknown,
    TaskDeleted,
    TaskError,
    TaskExists,
    TaskNotFound,
    UnknownTimeZone,
    VersionMismatch,
)
from src.models.limits import PROBLEM_MAX_ERRORS
from src.schemas.problem import PROBLEM_MEDIA_TYPE

RETRY_AFTER: Final = "1"  # s

log = logging.getLogger(__name__)


_OF_THE_FRAMEWORK: Final = {
    kind.status: kind
    for kind in (
        INVALID_JSON,
        ROUTE_NOT_FOUND,
        METHOD_NOT_ALLOWED,
        BODY_TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
    )
}


def problem(
    kind: Kind,
    *,
    detail: str | None = None,
    headers: dict[str, str] | None = None,
    **members: object,
) -> Response:
    """Answer the request at work with a problem of this kind."""
    document = problem_document(kind, REQUEST_ID.get(), detail=detail, **members)
    # A cache may keep a 404 or 410 by itself (RFC 9110, section 15.1), longer than it is true.
    headers = {"Cache-Control": "no-store", **(headers or {})}
    return Response(to_json(document), kind.status, headers, media_type=PROBLEM_MEDIA_TYPE)


def problem_document(
    kind: Kind, request_id: str, *, detail: str | None = None, **members: object
) -> dict[str, object]:
    """Describe what went wrong in the request with this id."""
    return {
        "type": f"urn:task-api:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail or kind.detail,
        "instance": f"urn:task-api:request:{request_id}",
        "code": kind.code,
        "request_id": request_id,
        **members,
    }


async def _on_invalid_request(_: Request, error: RequestValidationError) -> Response:
    violations = [violation(found) for found in error.errors()[:PROBLEM_MAX_ERRORS]]
    return problem(INVALID_REQUEST, errors=violations)


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    kind = _OF_THE_FRAMEWORK.get(error.status_code, INTERNAL_ERROR)
    if kind is METHOD_NOT_ALLOWED:
        return problem(kind, headers={"Allow": _allowed_methods(request)})
    if kind is BODY_TOO_LARGE:  # nobody will read the rest of it
        return problem(kind, headers={"Connection": "close"})
    return problem(kind, detail=error.detail if kind is INVALID_JSON else None)


async def _on_task_error(_: Request, error: TaskError) -> Response:
    if kind := KIND_OF.get(type(error)):
        return problem(kind)
    place, detail = VIOLATION_OF[type(error)]
    return problem(INVALID_REQUEST, errors=[{**place, "code": error.code, "detail": detail}])


async def _on_version_mismatch(_: Request, error: VersionMismatch) -> Response:
    kind = TASK_EXISTS if isinstance(error, TaskExists) else VERSION_MISMATCH
    headers = {"ETag": f'"{error.version}"'}
    return problem(kind, headers=headers, current=from_json(error.current))


async def _on_database_unavailable(_: Request, error: DatabaseUnavailable) -> Response:
    cause = error.__cause__ or error
    log.warning("the database cannot answer: %s", getattr(cause, "orig", cause))
    kind = OUTCOME_UNKNOWN if isinstance(error, OutcomeUnknown) else DATABASE_UNAVAILABLE
    return problem(kind, headers={"Retry-After": RETRY_AFTER})


KIND_OF: Final[dict[type[TaskError], Kind]] = {
    TaskNotFound: TASK_NOT_FOUND,
    TaskDeleted: KEY_SPENT,
}
"""The failures that are a kind of problem of their own."""

VIOLATION_OF: Final[dict[type[TaskError], tuple[dict[str, str], str]]] = {
    IdempotencyKeyReused: (
        {"header": "Idempotency-Key"},
        "belongs to the task of another request: a new intent takes a new key",
    ),
    CursorMismatch: (
        {"parameter": "cursor"},
        "does not belong to this list: start again without it",
    ),
    UnknownTimeZone: ({"parameter": "tz"}, "is not known to the database"),
}
"""The failures that are told as a broken rule: at what place, and in which words."""

HANDLERS: Final[dict[type[Exception] | int, Any]] = {
    RequestValidationError: _on_invalid_request,
    HTTPException: _on_http_exception,
    VersionMismatch: _on_version_mismatch,
    TaskError: _on_task_error,
    DatabaseUnavailable: _on_database_unavailable,
}
"""What answers each failure that can leave a route."""


def _allowed_methods(request: Request) -> str:
    """List the methods of all routes at this path: the framework knows only the first."""
    path = request.scope["path"]
    allowed = {
        method
        for route in iter_route_contexts(request.app.routes)
        if getattr(route, "path_regex", None) and route.path_regex.match(path)
        for method in getattr(route, "methods", None) or ("GET",)
    }
    return ", ".join(sorted(allowed | {"HEAD"} if "GET" in allowed else allowed))
