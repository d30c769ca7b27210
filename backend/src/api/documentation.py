"""What OpenAPI says beyond what the types say, and the pages that show it."""

from pathlib import Path
from typing import Any, Final

import fastapi_offline
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.docs import get_redoc_html
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from src.api.responses import describe_responses
from src.schemas.fields import in_words

DESCRIPTION: Final = """\
A task (todo) API to build on. Every answer outside 2xx and 304 is a problem document
(RFC 9457) that names the field, header or parameter at fault, with a stable `code`.

**There is no authentication yet.** The caller names the user in the path, so whoever reaches
the server can act for any user. Users are strictly isolated: a task that is someone else's,
was deleted or never existed gives the same 404.
"""

# Of the patterns some are a thousand characters long: the page would be wider than its window.
SWAGGER_UI: Final = {"showCommonExtensions": False}

SCRIPTS: Final = Path(fastapi_offline.__file__).parent / "static"
_REDOC_SCRIPT: Final = "/redoc/redoc.standalone.js"
_FAVICON: Final = "/static-offline-docs/favicon.png"


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
                        _describe_parameter(parameter)
            describe_responses(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to do it
    app.add_route("/redoc", _redoc_page, include_in_schema=False)
    app.add_route(_REDOC_SCRIPT, _redoc_script, include_in_schema=False)


def _describe_parameter(parameter: dict[str, Any]) -> None:
    """Say of a parameter what it may be, with an example where /docs shows it: in its words."""
    schema = _never_null(parameter["schema"])
    schema.pop("description", None)  # the parameter itself has it
    example = schema["examples"][0]
    parameter["schema"] = schema
    parameter["description"] += f" Example: {in_words(example)}."
    if parameter["name"] == "user_id":
        # The only one that can be filled in: to send another one unseen would be refused.
        parameter["example"] = example


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Say of an optional parameter what it may be: it can be left out, but never be null."""
    given, *null = schema.get("anyOf", ({},))
    if null != [{"type": "null"}]:
        return schema
    return {**given, **{key: value for key, value in schema.items() if key != "anyOf"}}


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
