"""The kinds of problems: each with its status, its stable code, and its words."""

from typing import Final, NamedTuple

from src.exceptions import (
    DatabaseUnavailable,
    OutcomeUnknown,
    TaskDeleted,
    TaskExists,
    TaskNotFound,
    VersionMismatch,
)
from src.models.limits import BODY_MAX_BYTES, HEAD_MAX_BYTES


class Kind(NamedTuple):
    """A kind of problem: its status, stable code, title and standing detail."""

    status: int
    code: str
    title: str
    detail: str


NOT_HTTP: Final = Kind(
    400,
    "not_http",
    "The request is not HTTP",
    "It breaks the syntax of HTTP/1.1 (RFC 9112): in a URL, for example, blanks and characters"
    " beyond ASCII are percent-encoded.",
)
INVALID_JSON: Final = Kind(
    400, "invalid_json", "The body is not JSON", "Send one JSON object (RFC 8259) in UTF-8."
)
ORIGIN_NOT_ALLOWED: Final = Kind(
    400,
    "origin_not_allowed",
    "Browsers of this origin are not let in",
    "The setting CORS_ORIGINS lists the origins that are.",
)
PREFLIGHT_REFUSED: Final = Kind(
    400,
    "preflight_refused",
    "The browser asks for what is not allowed",
    "Access-Control-Request-Method must be a method of the API, in capitals such as PATCH; and"
    " nobody is let in from a public into a private network.",
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
HEAD_TOO_LARGE: Final = Kind(
    431,
    "head_too_large",
    "The URL and the headers are too large",
    f"Together they may have {HEAD_MAX_BYTES} bytes.",
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

OUTCOME_UNKNOWN: Final = Kind(
    503,
    OutcomeUnknown.code,
    "Nobody knows whether the change was made",
    "The connection to the database broke before it answered. Read the task before you send the"
    " change again.",
)

KINDS: Final = (
    NOT_HTTP,
    INVALID_JSON,
    ORIGIN_NOT_ALLOWED,
    PREFLIGHT_REFUSED,
    ROUTE_NOT_FOUND,
    TASK_NOT_FOUND,
    METHOD_NOT_ALLOWED,
    KEY_SPENT,
    VERSION_MISMATCH,
    TASK_EXISTS,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    INVALID_REQUEST,
    HEAD_TOO_LARGE,
    INTERNAL_ERROR,
    DATABASE_UNAVAILABLE,
    OUTCOME_UNKNOWN,
)
