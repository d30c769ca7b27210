"""What is added to the OpenAPI document that FastAPI generates."""

from typing import Any, Final

from fastapi import FastAPI

from src.api.problems import VIOLATION_CODES, Kind, operation_failure, problem_document
from src.api.violations import violation
from src.exceptions import TaskNotFound
from src.schemas import examples
from src.schemas.fields import in_words
from src.schemas.problem import PROBLEM_MEDIA_TYPE
from src.schemas.task import Task

DESCRIPTION: Final = """\
A task (todo) API. Every error is a problem document (RFC 9457) with a stable `code`. If the request
is at fault, it names the field, header or parameter.

**There is no authentication yet.** The caller names the user in the path, so anyone who can reach
the server can act for any user. Users are strictly isolated: a task that belongs to someone else,
was deleted or never existed gives the same 404.
"""

SERVERS: Final = [{"url": "/"}]
CONTACT: Final = {"name": "The Task API authors"}
LICENSE: Final = {"name": "MIT License", "identifier": "MIT"}
TAGS: Final = [
    {"name": "tasks", "description": "The tasks of a user."},
    {"name": "health", "description": "For operators."},
]

Responses = dict[int | str, dict[str, Any]]
"""The answers of a route by their status, for `responses=`."""

_STRING: Final = {"schema": {"type": "string"}}
_ETAG: Final = {"ETag": {**_STRING, "description": "The version of the task, for `If-Match`."}}
_LIST_ETAG: Final = {
    "ETag": {
        **_STRING,
        "description": "Weak: the version of the list, or a digest of the response if that also"
        " depends on the present time.",
    }
}
_LINK: Final = {
    "Link": {**_STRING, "description": 'The URL of the next page, `rel="next"`, if there is one.'}
}
_LOCATION: Final = {"Location": {**_STRING, "description": "The path of the task."}}
_REPLAYED: Final = {
    "Idempotency-Replayed": {
        "schema": {"type": "string", "enum": ["true"]},
        "description": "`true`: an earlier request with this key created the task.",
    }
}
_REQUEST_ID: Final = {"X-Request-ID": {**_STRING, "description": "The id you sent, or a new one."}}
_CACHING: Final = {
    "Cache-Control": {
        **_STRING,
        "description": "`private, no-cache`: revalidate before each use.",
    }
}
_CREATED: Final = {
    "model": Task,
    "description": "The new task.",
    "headers": _LOCATION | _ETAG | _CACHING,
}


def _read(description: str, tag: dict[str, Any], **more: dict[str, Any]) -> Responses:
    """Document what is read, or 304 if the client's copy is current."""
    return {
        200: {"description": description, "headers": tag | more | _CACHING},
        304: {"description": "Not modified: your copy is current.", "headers": tag | _CACHING},
    }


TASK_READ: Final = _read("The task.", _ETAG)
TASK_CREATED: Final[Responses] = {
    201: _CREATED,
    200: {
        "model": Task,
        "description": "The task that an earlier request with this `Idempotency-Key` created, as it"
        " is now.",
        "headers": _REPLAYED | _LOCATION | _ETAG | _CACHING,
    },
}
TASK_WRITTEN: Final[Responses] = {
    200: {"description": "The task as it is now.", "headers": _ETAG | _CACHING}
}
TASK_PUT: Final = TASK_WRITTEN | {201: _CREATED}
TASKS_LISTED: Final = _read("A page of the list.", _LIST_ETAG, **_LINK)
_COPY_ETAG: Final = {
    "ETag": {**_STRING, "description": "Weak: the version of your copy after these changes."}
}
CHANGES_LISTED: Final = _read("The next changes.", _COPY_ETAG)
SUMMARY_READ: Final = _read("The counts.", _LIST_ETAG)
BATCH_APPLIED: Final[Responses] = {
    200: {"description": "All operations were carried out.", "headers": _CACHING}
}

BODY: Final = (
    Kind.INVALID_JSON,
    Kind.REQUEST_TIMEOUT,
    Kind.BODY_TOO_LARGE,
    Kind.UNSUPPORTED_MEDIA_TYPE,
)
"""The problems of every route that reads a body."""

_PROBLEM_HEADERS: Final = {
    Kind.DATABASE_UNAVAILABLE: {"Retry-After": {**_STRING, "description": "Seconds."}},
    Kind.VERSION_MISMATCH: _ETAG,
    Kind.TASK_EXISTS: _ETAG,
}
_EXAMPLE_REQUEST_ID: Final = "0c7be7a5-52b4-4a55-9d3c-7a1c0f6a1f2e"
_EXAMPLE_MEMBERS: Final[dict[int, dict[str, Any]]] = {
    Kind.INVALID_REQUEST.status: {
        "errors": [
            violation({"type": "string_too_short", "loc": ("body", "title")}),
            violation(
                {
                    "type": "extra_forbidden",
                    "loc": ("body", "prio"),
                    "ctx": {"similar": "priority"},
                }
            ),
        ]
    },
    Kind.BATCH_FAILED.status: {"errors": [operation_failure(3, TaskNotFound())]},
    Kind.VERSION_MISMATCH.status: {"current": examples.TASK},
}


def merge_patch_also_as_json(schema: str) -> dict[str, Any]:
    """Document that a merge patch may also have the content type of plain JSON."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"requestBody": {"content": content}}


def install(app: FastAPI) -> None:
    """Complete the document of the app."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        described = app.openapi_schema
        document = generate()  # which FastAPI keeps, until routes are added
        if document is not described:
            _describe(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation does it


def _describe(document: dict[str, Any]) -> None:
    """Describe parameters, bodies and answers. The problems stand once for all operations.

    The framework would repeat them, and drop every null from the examples.
    """
    document["security"] = []  # there is no authentication yet
    components = document["components"]
    components["responses"] = shared = {}
    codes = [kind.code for kind in Kind]
    components["schemas"]["Problem"]["properties"]["code"]["enum"] = codes
    components["schemas"]["Violation"]["properties"]["code"]["enum"] = VIOLATION_CODES
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                _describe_parameter(parameter)
            _add_examples(operation.get("requestBody", {}))
            responses = dict(sorted(operation["responses"].items()))
            for status, response in responses.items():
                if codes := response.get("x-problems") or _codes_of_framework(response):
                    name = "_or_".join(codes)
                    shared[name] = _describe_problems([Kind[code.upper()] for code in codes])
                    responses[status] = {"$ref": f"#/components/responses/{name}"}
                else:
                    _add_examples(response)
                    response["headers"] = response.get("headers", {}) | _REQUEST_ID
            operation["responses"] = responses
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)


def _codes_of_framework(response: dict[str, Any]) -> list[str]:
    """Name the problem that is sent in place of the 422 that FastAPI documents by itself."""
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    is_422 = schema.get("$ref") == "#/components/schemas/HTTPValidationError"
    return [Kind.INVALID_REQUEST.code] if is_422 else []


def _add_examples(body: dict[str, Any]) -> None:
    for content in body.get("content", {}).values():
        _, _, name = content.get("schema", {}).get("$ref", "").rpartition("/")
        if name in examples.EXAMPLES:
            content["example"] = examples.EXAMPLES[name]


def _describe_parameter(parameter: dict[str, Any]) -> None:
    """Give a parameter an example where /docs shows it: in its description."""
    if "schema" not in parameter:  # it has a `content` instead
        return
    schema = _never_null(parameter["schema"])
    parameter["schema"] = schema
    if not schema.get("examples"):
        return
    schema.pop("description", None)  # the parameter itself has it
    example = schema["examples"][0]
    if parameter["name"] == "user_id":
        # The only one that /docs can fill in: any other would change what the operation does.
        parameter["example"] = example
    else:
        described = f"{parameter.get('description', '')} Example: {in_words(example)}."
        parameter["description"] = described.strip()


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Say of an optional parameter that it can be left out, but never be null."""
    given, *null = schema.get("anyOf", ({},))
    if null != [{"type": "null"}]:
        return schema
    return {**given, **{key: value for key, value in schema.items() if key != "anyOf"}}


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


def _example(kind: Kind) -> dict[str, Any]:
    members = _EXAMPLE_MEMBERS.get(kind.status, {})
    return problem_document(
        kind.status, kind.code, kind.title, kind.detail, _EXAMPLE_REQUEST_ID, **members
    )
