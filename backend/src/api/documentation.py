"""What OpenAPI says beyond what the types say: headers, problems and media types."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from src.api.errors import DATABASE_UNAVAILABLE, KINDS, VERSION_MISMATCH
from src.schemas.problem import PROBLEM_MEDIA_TYPE, Problem

DESCRIPTION: Final = """\
A task (todo) API to build on. Every answer outside 2xx and 304 is a problem document
(RFC 9457) that names the field, header or parameter at fault, with a stable `code`.

**There is no authentication yet.** The caller names the user in the path, so whoever reaches
the server can act for any user. Users are strictly isolated: a task that is someone else's,
was deleted or never existed gives the same 404.
"""

_STRING: Final = {"schema": {"type": "string"}}
_ETAG: Final = {"ETag": {**_STRING, "description": "The version, for `If-Match`."}}
_LIST_HEADERS: Final = {
    "ETag": {**_STRING, "description": "Weak: the version of the list."},
    "Link": {**_STRING, "description": 'The next page, `rel="next"`, if there is one.'},
}
_REQUEST_ID: Final = {
    "X-Request-ID": {**_STRING, "description": "Yours if you sent one, else made."}
}
_NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "What you have is still right.", "headers": _ETAG}
}

TASK_READ: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The task.", "headers": _ETAG},
    **_NOT_MODIFIED,
}
TASK_CREATED: Final[dict[int | str, dict[str, Any]]] = {
    201: {
        "description": "The new task.",
        "headers": {"Location": {**_STRING, "description": "The task's path."}, **_ETAG},
    }
}
TASK_WRITTEN: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The task as it is now.", "headers": _ETAG}
}
TASK_DELETED: Final[dict[int | str, dict[str, Any]]] = {204: {"description": "It is gone."}}
TASKS_LISTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "A page of the list.", "headers": _LIST_HEADERS},
    **_NOT_MODIFIED,
}

_PROBLEM_HEADERS: Final = {
    DATABASE_UNAVAILABLE.status: {"Retry-After": {**_STRING, "description": "Seconds."}},
    VERSION_MISMATCH.status: _ETAG,
}

BODY: Final = (400, 413, 415)
TASK: Final = (404,)
PRECONDITION: Final = (412,)
ALWAYS: Final = (422, 500, 503)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document the problems of a route, those that every route can have included."""
    return {
        status: {
            "model": Problem,
            "description": " Or: ".join(
                f"{kind.title} (`{kind.code}`)." for kind in KINDS if kind.status == status
            ),
            "headers": _PROBLEM_HEADERS.get(status, {}),
        }
        for status in sorted({*statuses, *ALWAYS})
    }


def merge_patch_also_as_json(schema: str) -> dict[str, Any]:
    """Document that a merge patch may also be announced as plain JSON."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"requestBody": {"content": content}}


def operation_id(route: APIRoute) -> str:
    """One name everywhere: the route's function, the service's, and the operation's."""
    return route.name


def install(app: FastAPI) -> None:
    """Make the app describe its answers as it gives them."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            for path in document["paths"].values():
                for operation in path.values():
                    for status, response in operation["responses"].items():
                        _describe(int(status), response)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to do it


def _describe(status: int, response: dict[str, Any]) -> None:
    response["headers"] = {**response.get("headers", {}), **_REQUEST_ID}
    if status >= HTTPStatus.BAD_REQUEST:
        response["content"] = {PROBLEM_MEDIA_TYPE: response["content"].pop("application/json")}
