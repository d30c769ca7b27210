"""What OpenAPI says beyond what the types say: headers, problems and media types."""

from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import fastapi_offline
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.docs import get_redoc_html
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from src.api.kinds import (
    BODY_TOO_LARGE,
    DATABASE_UNAVAILABLE,
    INTERNAL_ERROR,
    INVALID_JSON,
    INVALID_REQUEST,
    TASK_EXISTS,
    UNSUPPORTED_MEDIA_TYPE,
    VERSION_MISMATCH,
    Kind,
)
from src.schemas.problem import PROBLEM_MEDIA_TYPE, Problem

DESCRIPTION: Final = """\
A task (todo) API to build on. Every answer outside 2xx and 304 is a problem document
(RFC 9457) that names the field, header or parameter at fault, with a stable `code`.

**There is no authentication yet.** The caller names the user in the path, so whoever reaches
the server can act for any user. Users are strictly isolated: a task that is someone else's,
was deleted or never existed gives the same 404.
"""

SCRIPTS: Final = Path(fastapi_offline.__file__).parent / "static"
_REDOC_SCRIPT: Final = "/redoc/redoc.standalone.js"
_FAVICON: Final = "/static-offline-docs/favicon.png"

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

TASK_READ: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The task.", "headers": _ETAG | _CACHING},
    304: {"description": "What you have is still right.", "headers": _ETAG | _CACHING},
}
_CREATED: Final = {"description": "The new task.", "headers": _LOCATION | _ETAG | _CACHING}

TASK_CREATED: Final[dict[int | str, dict[str, Any]]] = {
    201: _CREATED,
    200: {
        "description": "The task that this `Idempotency-Key` has made before, as it is now.",
        "headers": _REPLAYED | _LOCATION | _ETAG | _CACHING,
    },
}
TASK_WRITTEN: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The task as it is now.", "headers": _ETAG | _CACHING}
}
TASK_PUT: Final = TASK_WRITTEN | {201: _CREATED}
TASK_DELETED: Final[dict[int | str, dict[str, Any]]] = {204: {"description": "It is gone."}}
TASKS_LISTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "A page of the list.", "headers": _LIST_ETAG | _LINK | _CACHING},
    304: {"description": "What you have is still right.", "headers": _LIST_ETAG | _CACHING},
}
SUMMARY_READ: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The counts.", "headers": _LIST_ETAG | _CACHING},
    304: {"description": "What you have is still right.", "headers": _LIST_ETAG | _CACHING},
}

_PROBLEM_HEADERS: Final = {
    DATABASE_UNAVAILABLE: {"Retry-After": {**_STRING, "description": "Seconds."}},
    VERSION_MISMATCH: _ETAG,
    TASK_EXISTS: _ETAG,
}

BODY: Final = (INVALID_JSON, BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE)


def problems(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """Document the problems of a route, those that every route can have included."""
    documented: dict[int | str, dict[str, Any]] = {}
    for kind in (*kinds, INVALID_REQUEST, INTERNAL_ERROR):
        of_status = documented.setdefault(
            kind.status,
            {"model": Problem, "description": "", "headers": _PROBLEM_HEADERS.get(kind, {})},
        )
        told = f"{kind.title} (`{kind.code}`)."
        of_status["description"] = f"{of_status['description']} {told}".lstrip()
    return documented


def merge_patch_also_as_json(schema: str) -> dict[str, Any]:
    """Document that a merge patch may also be announced as plain JSON."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"requestBody": {"content": content}}


def operation_id(route: APIRoute) -> str:
    """One name everywhere: the route's function, the service's, and the operation's."""
    return route.name


def install(app: FastAPI) -> None:
    """Make the app describe its answers as it gives them, and serve /redoc by itself."""

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
                    for parameter in operation.get("parameters", ()):
                        parameter["schema"] = _never_null(parameter["schema"])
                    for status, response in operation["responses"].items():
                        _describe(int(status), response)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to do it
    app.add_route("/redoc", _redoc_page, include_in_schema=False)
    app.add_route(_REDOC_SCRIPT, _redoc_script, include_in_schema=False)


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Say of an optional parameter what it may be: it can be left out, but never be null."""
    given, *null = schema.get("anyOf", ({},))
    if null != [{"type": "null"}]:
        return schema
    return {**{key: value for key, value in schema.items() if key != "anyOf"}, **given}


def _describe(status: int, response: dict[str, Any]) -> None:
    response["headers"] = {**response.get("headers", {}), **_REQUEST_ID}
    if status >= HTTPStatus.BAD_REQUEST:
        response["content"] = {PROBLEM_MEDIA_TYPE: response["content"].pop("application/json")}


async def _redoc_page(request: Request) -> Response:
    return get_redoc_html(
        openapi_url=request.app.openapi_url,
        title=f"{request.app.title} - ReDoc",
        redoc_js_url=_REDOC_SCRIPT,
        redoc_favicon_url=_FAVICON,
        with_google_fonts=False,
    )


async def _redoc_script(_: Request) -> Response:
    """Serve the script of /redoc without the one picture that it loads from the internet."""
    script = await run_in_threadpool((SCRIPTS / "redoc.standalone.js").read_bytes)
    script = script.replace(b"https://cdn.redoc.ly/redoc/logo-mini.svg", _FAVICON.encode())
    return Response(script, media_type="text/javascript")
