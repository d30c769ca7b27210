"""Problem documents (RFC 9457): every kind, and how each failure becomes one.

A problem says what is at fault and what to do. It quotes no value that was sent, and nothing
internal. To add one, add a row to `Kind`, or to `RULES`.
"""

import logging
from enum import Enum
from http import HTTPStatus
from http.client import responses
from typing import Any, Final, get_args

import orjson
from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.utils import is_body_allowed_for_status_code
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Match

from src.api.violations import RULE_CODE, UNFORESEEN, VIOLATIONS, violation
from src.exceptions import (
    BatchFailed,
    CursorMismatch,
    DatabaseUnavailable,
    IdempotencyKeyReused,
    TaskDeleted,
    TaskError,
    TaskExists,
    TaskNotFound,
    TokenMismatch,
    UnknownNeighbour,
    UnknownTimeZone,
    VersionMismatch,
)
from src.logs import REQUEST_ID
from src.models.limits import BATCH_BODY_MAX_BYTES, BODY_MAX_BYTES, PROBLEM_MAX_ERRORS
from src.schemas.fields import RuleCode
from src.schemas.problem import PROBLEM_MEDIA_TYPE, Problem
from src.schemas.task import to_json, to_wire

RETRY_AFTER: Final = "1"  # s

log = logging.getLogger(__name__)


class Kind(Enum):
    """A kind of problem: its status, title and detail. Its code is its name in lower case.

    A failure of the domain has the kind with the same code.
    """

    INVALID_JSON = (400, "Invalid JSON", "Send one JSON object (RFC 8259) in UTF-8.")
    INVALID_HOST = (
        400,
        "Invalid Host header",
        "Send exactly one Host header, and it must name this server. To accept names other than"
        " localhost, add them to the setting ALLOWED_HOSTS.",
    )
    UPGRADE_NOT_SUPPORTED = (
        400,
        "Upgrade not supported",
        "Requests with a body cannot ask for a protocol upgrade. Use plain HTTP/1.1: for example"
        " HttpClient.Version.HTTP_1_1 in Java, or curl without --http2.",
    )
    ORIGIN_NOT_ALLOWED = (
        400,
        "Origin not allowed",
        "Add the page's origin to the setting CORS_ORIGINS.",
    )
    PREFLIGHT_REFUSED = (
        400,
        "Preflight request refused",
        "Access-Control-Request-Method must be a method of this API, in uppercase. Requests"
        " from a public to a private network are not allowed.",
    )
    ROUTE_NOT_FOUND = (
        404,
        "Route not found",
        "See /docs for the routes of this API. None of them ends with a slash.",
    )
    TASK_NOT_FOUND = (404, "Task not found", "This user has no task with this id.")
    METHOD_NOT_ALLOWED = (
        405,
        "Method not allowed",
        "The Allow header lists the methods that this path supports.",
    )
    REQUEST_TIMEOUT = (
        408,
        "Request timeout",
        "The body did not arrive in time. Nothing was changed: send the request again.",
    )
    BATCH_FAILED = (
        409,
        "Batch failed",
        "Nothing was changed. `errors` lists every operation that failed.",
    )
    TASK_DELETED = (
        410,
        "Task deleted",
        "The task was deleted. To create another one, use a new Idempotency-Key or a new id.",
    )
    LIST_RESTARTED = (
        410,
        "List restarted",
        "The tasks were lost or restored from a backup after this token was made. Discard your copy"
        " and start again without `since`.",
    )
    VERSION_MISMATCH = (
        412,
        "Version mismatch",
        "The task is not at the version that you sent. `current` is the task as it is now: if your"
        " change still applies, send it again with this version.",
    )
    TASK_EXISTS = (
        412,
        "Task already exists",
        "A task with this id already exists: `current` is that task as it is now. To create another"
        " one, use a new id.",
    )
    BODY_TOO_LARGE = (
        413,
        "Body too large",
        f"The body may be at most {BODY_MAX_BYTES} bytes long, and that of a batch"
        f" {BATCH_BODY_MAX_BYTES}.",
    )
    UNSUPPORTED_MEDIA_TYPE = (
        415,
        "Unsupported media type",
        "Send exactly one Content-Type header: application/json (or application/merge-patch+json"
        " for PATCH). If you add a charset, it must be utf-8.",
    )
    INVALID_REQUEST = (422, "Invalid request", "`errors` lists what to correct.")
    INTERNAL_ERROR = (500, "Internal error", "Quote request_id when you report it.")
    DATABASE_UNAVAILABLE = (
        503,
        "Database unavailable",
        "Nothing was changed. Wait for the seconds in Retry-After, then send the request again.",
    )
    OUTCOME_UNKNOWN = (
        503,
        "Outcome unknown",
        "The request was interrupted before its result was known, so the change may have been made."
        " Read the tasks concerned before you send the request again.",
    )

    def __init__(self, status: int, title: str, detail: str) -> None:
        self.code = self.name.lower()
        self.status = status
        self.title = title
        self.detail = detail


RULES: Final[dict[type[TaskError], tuple[dict[str, str], str]]] = {
    IdempotencyKeyReused: (
        {"header": "Idempotency-Key"},
        "was used for a different request; use a new key for a new request",
    ),
    CursorMismatch: (
        {"parameter": "cursor"},
        "does not belong to this list; start again without a cursor",
    ),
    TokenMismatch: (
        {"parameter": "since"},
        "does not belong to the changes of this user; start again without since",
    ),
    UnknownNeighbour: (
        {"pointer": "/{side}"},
        "is not the id of a task of this user; send the id of another task, or null",
    ),
    UnknownTimeZone: (
        {"parameter": "tz"},
        "is not known to the database; send another IANA time zone, such as Europe/Berlin",
    ),
}
"""The failures that break a rule (422): where, and what to send instead.

A name in braces is an attribute of the failure.
"""

VIOLATION_CODES: Final = sorted(
    {
        *get_args(RuleCode),
        *(code for code, _ in (*VIOLATIONS.values(), UNFORESEEN) if code != RULE_CODE),
        *(failure.code for failure in RULES),
        # An operation of a batch can fail with these, too.
        *(failure.code for failure in (TaskNotFound, TaskDeleted, VersionMismatch, TaskExists)),
    }
)
"""Every code that an entry of `errors` can have."""


class RefusedRequest(HTTPException):
    """A request that is refused before its values are validated."""

    def __init__(
        self, kind: Kind, *, detail: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(kind.status, detail or kind.detail, headers)
        self.kind = kind


def problem(
    kind: Kind,
    *,
    detail: str | None = None,
    headers: dict[str, str] | None = None,
    **members: object,
) -> Response:
    """Answer the current request with a problem of this kind."""
    return _response(
        problem_document(
            kind.status, kind.code, kind.title, detail or kind.detail, REQUEST_ID.get(), **members
        ),
        headers,
    )


def problem_document(
    status: int, code: str, title: str, detail: str, request_id: str, **members: object
) -> dict[str, Any]:
    """Describe what went wrong in the request with this id."""
    return {
        "type": f"urn:task-api:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": f"urn:task-api:request:{request_id}",
        "code": code,
        "request_id": request_id,
        **members,
    }


def problems(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """Document the problems of a route, for `responses=`. Those of every route are included."""
    documented: dict[int | str, dict[str, Any]] = {}
    for kind in (*kinds, Kind.INVALID_REQUEST, Kind.INTERNAL_ERROR):
        of_status = documented.setdefault(kind.status, {"model": Problem, "x-problems": []})
        of_status["x-problems"].append(kind.code)
    return documented


def operation_failure(position: int, error: TaskError) -> dict[str, Any]:
    """Say why an operation of a batch failed, as it would have failed on its own."""
    pointer = f"/operations/{position}"
    if type(error) in RULES:
        broken = _broken_rule(error)
        pointer += broken["pointer"]
        return {**broken, "pointer": pointer, "status": Kind.INVALID_REQUEST.status}
    kind = Kind[error.code.upper()]
    current = {"current": to_wire(error.current)} if isinstance(error, VersionMismatch) else {}
    return {
        "pointer": pointer,
        "code": kind.code,
        "detail": kind.detail,
        "status": kind.status,
        **current,
    }


def _broken_rule(error: TaskError) -> dict[str, str]:
    place, detail = RULES[type(error)]
    ((where, name),) = place.items()
    return {where: name.format_map(vars(error)), "code": error.code, "detail": detail}


def _response(document: dict[str, Any], headers: dict[str, str] | None) -> Response:
    # A cache may store a 404 or 410 by itself (RFC 9110, section 15.1), for longer than it is true.
    response = Response(
        to_json(document), document["status"], headers, media_type=PROBLEM_MEDIA_TYPE
    )
    response.headers.setdefault("Cache-Control", "no-store")
    return response


async def _on_invalid_request(_: Request, error: RequestValidationError) -> Response:
    errors = [violation(found) for found in error.errors()[:PROBLEM_MAX_ERRORS]]
    return problem(Kind.INVALID_REQUEST, errors=errors)


async def _on_http_exception(request: Request, error: StarletteHTTPException) -> Response:
    """Answer with a problem that keeps the status and the headers."""
    headers = dict(error.headers or {})
    if isinstance(error, RefusedRequest):
        return problem(error.kind, detail=error.detail, headers=headers)
    if error.status_code == HTTPStatus.NOT_FOUND and "endpoint" not in request.scope:
        return problem(Kind.ROUTE_NOT_FOUND, headers=headers)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = _allowed_methods(request)
        if request.method not in allowed:  # otherwise the route itself has raised it
            method = request.method.upper()
            hint = f"Methods are case-sensitive: send {method} in uppercase."
            return problem(
                Kind.METHOD_NOT_ALLOWED,
                detail=hint if method in allowed else f"This path supports {', '.join(allowed)}.",
                headers={**headers, "Allow": ", ".join(allowed)},
            )
    if not is_body_allowed_for_status_code(error.status_code):
        return Response(status_code=error.status_code, headers=headers)
    title = responses.get(error.status_code, f"Status {error.status_code}")
    detail: Any = error.detail  # FastAPI allows any JSON
    if not isinstance(detail, str):
        detail = orjson.dumps(detail, option=orjson.OPT_NON_STR_KEYS).decode()
    code = title.lower().replace(" ", "_").replace("-", "_").replace("'", "")
    return _response(
        problem_document(error.status_code, code, title, detail, REQUEST_ID.get()), headers
    )


async def _on_task_error(_: Request, error: TaskError) -> Response:
    if type(error) not in RULES:
        return problem(Kind[error.code.upper()])
    return problem(Kind.INVALID_REQUEST, errors=[_broken_rule(error)])


async def _on_version_mismatch(_: Request, error: VersionMismatch) -> Response:
    headers = {"ETag": f'"{error.current.version}"'}
    return problem(Kind[error.code.upper()], headers=headers, current=to_wire(error.current))


async def _on_batch_failed(_: Request, error: BatchFailed) -> Response:
    errors = [operation_failure(*failure) for failure in error.failures.items()]
    return problem(Kind.BATCH_FAILED, errors=errors)


async def _on_database_unavailable(_: Request, error: DatabaseUnavailable) -> Response:
    log.warning("database unavailable: %s", " ".join(str(error).split()))
    return problem(Kind[error.code.upper()], headers={"Retry-After": RETRY_AFTER})


HANDLERS: Final[dict[type[Exception] | int, Any]] = {
    RequestValidationError: _on_invalid_request,
    StarletteHTTPException: _on_http_exception,
    VersionMismatch: _on_version_mismatch,
    BatchFailed: _on_batch_failed,
    TaskError: _on_task_error,
    DatabaseUnavailable: _on_database_unavailable,
}
"""The exception handlers of the app. What none of them handles is for `UnexpectedErrors`."""


def _allowed_methods(request: Request) -> list[str]:
    """List the methods of all routes at this path. The framework lists those of the first."""

    def is_allowed(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    methods = ("DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT")
    allowed = set(filter(is_allowed, methods)) or {"GET"}  # the files of /docs
    return sorted(allowed | {"HEAD"} if "GET" in allowed else allowed)
