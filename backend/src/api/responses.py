"""What OpenAPI says of the answers: their headers, and the problems with an example of each."""

from typing import Any, Final

from src.api.errors import problem_document
from src.api.kinds import (
    BODY_TOO_LARGE,
    DATABASE_UNAVAILABLE,
    INTERNAL_ERROR,
    INVALID_JSON,
    INVALID_REQUEST,
    KINDS,
    TASK_EXISTS,
    UNSUPPORTED_MEDIA_TYPE,
    VERSION_MISMATCH,
    Kind,
)
from src.api.violations import violation
from src.schemas.problem import PROBLEM_MEDIA_TYPE, Problem
from src.schemas.task import EXAMPLE_TASK, Task

Responses = dict[int | str, dict[str, Any]]
"""The answers of a route, by their status: as the framework takes them."""

_STRING: Final = {"schema": {"type": "string"}}
_ETAG: Final = {"ETag": {**_STRING, "description": "The version, for `If-Match`."}}
_LIST_ETAG: Final = {
    "ETag": {
        **_STRING,
        "description": "Weak: the version of the list; or a digest of the answer, if that also"
        " depends on the present time.",
    }
}
_LINK: Final = {"Link": {**_STRING, "description": 'The next page, `rel="next"`, if there is one.'}}
_LOCATION: Final = {"Location": {**_STRING, "description": "The task's path."}}
_REPLAYED: Final = {
    "Idempotency-Replayed": {
        "schema": {"type": "string", "const": "true"},
        "description": "`true`: nothing was created this time.",
    }
}
_REQUEST_ID: Final = {
    "X-Request-ID": {**_STRING, "description": "Yours if you sent one, else made."}
}
_CACHING: Final = {
    "Cache-Control": {
        **_STRING,
        "description": "`private, no-cache`: ask each time whether it holds.",
    }
}

_NOT_MODIFIED: Final = {"description": "Not modified: what you have is current."}

TASK_READ: Final[Responses] = {
    200: {"description": "The task.", "headers": _ETAG | _CACHING},
    304: _NOT_MODIFIED | {"headers": _ETAG | _CACHING},
}
_CREATED: Final = {
    "model": Task,
    "description": "The new task.",
    "headers": _LOCATION | _ETAG | _CACHING,
}

TASK_CREATED: Final[Responses] = {
    201: _CREATED,
    200: {
        "model": Task,
        "description": "The task that this `Idempotency-Key` has made before, as it is now.",
        "headers": _REPLAYED | _LOCATION | _ETAG | _CACHING,
    },
}
TASK_WRITTEN: Final[Responses] = {
    200: {"description": "The task as it is now.", "headers": _ETAG | _CACHING}
}
TASK_PUT: Final = TASK_WRITTEN | {201: _CREATED}
TASK_DELETED: Final[Responses] = {204: {"description": "The task was deleted."}}
TASKS_LISTED: Final[Responses] = {
    200: {"description": "A page of the list.", "headers": _LIST_ETAG | _LINK | _CACHING},
    304: _NOT_MODIFIED | {"headers": _LIST_ETAG | _CACHING},
}
HEALTHY: Final[Responses] = {200: {"description": "The process works."}}
READY: Final[Responses] = {200: {"description": "The server can do its work."}}
SUMMARY_READ: Final[Responses] = {
    200: {"description": "The counts.", "headers": _LIST_ETAG | _CACHING},
    304: _NOT_MODIFIED | {"headers": _LIST_ETAG | _CACHING},
}

_PROBLEM_HEADERS: Final = {
    DATABASE_UNAVAILABLE: {"Retry-After": {**_STRING, "description": "Seconds."}},
    VERSION_MISMATCH: _ETAG,
    TASK_EXISTS: _ETAG,
}

_CODES: Final = "x-problems"
_KINDS: Final = {kind.code: kind for kind in KINDS}
_EXAMPLE_REQUEST_ID: Final = "0c7be7a5-52b4-4a55-9d3c-7a1c0f6a1f2e"
_EXAMPLE_MEMBERS: Final[dict[int, dict[str, Any]]] = {
    INVALID_REQUEST.status: {
        "errors": [
            violation({"type": "extra_forbidden", "loc": ("query", "colour")}),
            violation({"type": "string_too_short", "loc": ("body", "title")}),
        ]
    },
    VERSION_MISMATCH.status: {"current": EXAMPLE_TASK},
}

BODY: Final = (INVALID_JSON, BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE)


def problems(*kinds: Kind) -> Responses:
    """Name the problems of a route, those that every route can have included."""
    named: Responses = {}
    for kind in (*kinds, INVALID_REQUEST, INTERNAL_ERROR):
        of_status = named.setdefault(kind.status, {"model": Problem, _CODES: []})
        of_status[_CODES].append(kind.code)
    return named


def describe_responses(document: dict[str, Any]) -> None:
    """Describe every answer: the problems once for all operations, under `components`.

    Not by way of the framework, which would drop every null from the examples.
    """
    components = document["components"]
    components["schemas"]["Problem"]["properties"]["code"]["enum"] = [*_KINDS]
    components["responses"] = shared = {}
    for path in document["paths"].values():
        for operation in path.values():
            responses = dict(sorted(operation["responses"].items()))
            for status, response in responses.items():
                if _CODES in response:
                    name = "_or_".join(response[_CODES])
                    shared[name] = _describe_problems([_KINDS[code] for code in response[_CODES]])
                    responses[status] = {"$ref": f"#/components/responses/{name}"}
                else:
                    response["headers"] = response.get("headers", {}) | _REQUEST_ID
            operation["responses"] = responses


def _describe_problems(kinds: list[Kind]) -> dict[str, Any]:
    return {
        "description": " ".join(f"{kind.title} (`{kind.code}`)." for kind in kinds),
        "headers": _PROBLEM_HEADERS.get(kinds[0], {}) | _REQUEST_ID,
        "content": {
            PROBLEM_MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {
                    kind.code: {"summary": kind.title, "value": _example(kind)} for kind in kinds
                },
            }
        },
    }


def _example(kind: Kind) -> dict[str, object]:
    return problem_document(kind, _EXAMPLE_REQUEST_ID, **_EXAMPLE_MEMBERS.get(kind.status, {}))
