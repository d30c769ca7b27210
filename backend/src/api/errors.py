"""From an exception to a problem document (RFC 9457): one table, for every failure there is.

A problem names what is at fault and what to do. It never holds the input or an internal.
"""

from typing import Any, Final, NamedTuple

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic_core import from_json, to_json
from starlette.exceptions import HTTPException

from src.api.context import REQUEST_ID
from src.api.violations import violation
from src.exceptions import (
    CursorMismatch,
    DatabaseUnavailable,
    IdempotencyKeyReused,
    TaskDeleted,
    TaskExists,
    TaskNotFound,
    UnknownTimeZone,
    VersionMismatch,
)
from src.models.limits import BODY_MAX_BYTES, PROBLEM_MAX_ERRORS
from src.schemas.problem import PROBLEM_MEDIA_TYPE

RETRY_AFTER: Final = "1"  # s


class Kind(NamedTuple):
    """A kind of problem: its status, stable code, title and standing detail."""

    status: int
    code: str
    title: str
    detail: str


INVALID_JSON: Final = Kind(
    400, "invalid_json", "The body is not JSON", "Send one JSON object (RFC 8259) in UTF-8."
)
ORIGIN_NOT_ALLOWED: Final = Kind(
    400,
    "origin_not_allowed",
    "Browsers of this origin are not let in",
    "The setting CORS_ORIGINS lists the origins that are.",
)
ROUTE_NOT_FOUND: Final = Kind(
    404, "route_not_found", "No such route", "Nothing is served at this path. See /docs."
)
TASK_NOT_FOUND: Final = Kind(
    404, TaskNotFound.code, "No such task", "This user has no task with this id."
)
METHOD_NOT_ALLOWED: Final = Kind(
    405, "method_not_allowed", "Method not allowed", "The Allow header lists the methods."
)
KEY_SPENT: Final = Kind(
    410,
    TaskDeleted.code,
    "The task was deleted",
    "The task that this Idempotency-Key made was deleted. Another one takes another key.",
)
VERSION_MISMATCH: Final = Kind(
    412,
    VersionMismatch.code,
    "The task has changed",
    "It is not at the version in If-Match. `current` is the task as it is now.",
)
TASK_EXISTS: Final = Kind(
    412,
    TaskExists.code,
    "The task exists",
    "With If-None-Match: * a task is only created. `current` is the task as it is now.",
)
BODY_TOO_LARGE: Final = Kind(
    413, "body_too_large", "The body is too large", f"It may have {BODY_MAX_BYTES} bytes at most."
)
UNSUPPORTED_MEDIA_TYPE: Final = Kind(
    415,
    "unsupported_media_type",
    "The body is not announced as JSON",
    "Send the header Content-Type: application/json (PATCH also takes"
    " application/merge-patch+json), in UTF-8.",
)
INVALID_REQUEST: Final = Kind(
    422, "invalid_request", "The request breaks a rule", "`errors` names every broken rule."
)
INTERNAL_ERROR: Final = Kind(
    500,
    "internal_error",
    "The server failed",
    "The fault is ours. The request id finds it in the log.",
)
DATABASE_UNAVAILABLE: Final = Kind(
    503,
    DatabaseUnavailable.code,
    "The database cannot answer now",
    "Try again after the seconds in Retry-After.",
)

KINDS: Final = (
    INVALID_JSON,
    ORIGIN_NOT_ALLOWED,
    ROUTE_NOT_FOUND,
    TASK_NOT_FOUND,
    METHOD_NOT_ALLOWED,
    KEY_SPENT,
    VERSION_MISMATCH,
    TASK_EXISTS,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    INVALID_REQUEST,
    INTERNAL_ERROR,
    DATABASE_UNAVAILABLE,
)
_BY_STATUS: Final = {
    kind.status: kind for kind in KINDS if kind not in (ORIGIN_NOT_ALLOWED, TASK_NOT_FOUND)
}


def problem(
    kind: Kind,
    *,
    detail: str | None = None,
    headers: dict[str, str] | None = None,
    **members: object,
) -> Response:
    """Answer the request at work with a problem of this kind."""
    request_id = REQUEST_ID.get()
    document = {
        "type": f"urn:task-api:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail or kind.detail,
        "instance": f"urn:task-api:request:{request_id}",
        "code": kind.code,
        "request_id": request_id,
        **members,
    }
    return Response(to_json(document), kind.status, headers, media_type=PROBLEM_MEDIA_TYPE)


async def _on_invalid_request(_: Request, error: RequestValidationError) -> Response:
    violations = [violation(found) for found in error.errors()[:PROBLEM_MAX_ERRORS]]
    return problem(INVALID_REQUEST, errors=violations)


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    kind = _BY_STATUS.get(error.status_code, INTERNAL_ERROR)
    if kind is METHOD_NOT_ALLOWED:
        return problem(kind, headers={"Allow": _allowed_methods(request)})
    return problem(kind, detail=error.detail if kind is INVALID_JSON else None)


async def _on_task_not_found(_: Request, __: TaskNotFound) -> Response:
    return problem(TASK_NOT_FOUND)


async def _on_task_deleted(_: Request, __: TaskDeleted) -> Response:
    return problem(KEY_SPENT)


async def _on_version_mismatch(_: Request, error: VersionMismatch) -> Response:
    kind = TASK_EXISTS if isinstance(error, TaskExists) else VERSION_MISMATCH
    headers = {"ETag": f'"{error.version}"'}
    return problem(kind, headers=headers, current=from_json(error.current))


async def _on_idempotency_key_reused(_: Request, error: IdempotencyKeyReused) -> Response:
    reused = {
        "header": "Idempotency-Key",
        "code": error.code,
        "detail": "has made a task from another body: a new intent takes a new key",
    }
    return problem(INVALID_REQUEST, errors=[reused])


async def _on_cursor_mismatch(_: Request, error: CursorMismatch) -> Response:
    mismatch = {
        "parameter": "cursor",
        "code": error.code,
        "detail": "does not belong to this list: start again without it",
    }
    return problem(INVALID_REQUEST, errors=[mismatch])


async def _on_unknown_time_zone(_: Request, error: UnknownTimeZone) -> Response:
    violation = {
        "parameter": "tz",
        "code": error.code,
        "detail": "is not known to the database",
    }
    return problem(INVALID_REQUEST, errors=[violation])


async def _on_database_unavailable(_: Request, __: DatabaseUnavailable) -> Response:
    return problem(DATABASE_UNAVAILABLE, headers={"Retry-After": RETRY_AFTER})


HANDLERS: Final[dict[type[Exception] | int, Any]] = {
    RequestValidationError: _on_invalid_request,
    HTTPException: _on_http_exception,
    TaskNotFound: _on_task_not_found,
    TaskDeleted: _on_task_deleted,
    VersionMismatch: _on_version_mismatch,
    IdempotencyKeyReused: _on_idempotency_key_reused,
    CursorMismatch: _on_cursor_mismatch,
    UnknownTimeZone: _on_unknown_time_zone,
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
        for method in route.methods or ()
    }
    return ", ".join(sorted(allowed | {"HEAD"} if "GET" in allowed else allowed))
