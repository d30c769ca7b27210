"""/docs and /redoc, which show the OpenAPI document even without access to the internet."""

import re
from base64 import b64encode
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Final

import fastapi_offline
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.docs import (
    get_redoc_html,
    get_swagger_ui_html,
    get_swagger_ui_oauth2_redirect_html,
)
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

_FILES: Final = Path(fastapi_offline.__file__).parent / "static"
_STATIC: Final = "/static-offline-docs"
_FAVICON: Final = f"{_STATIC}/favicon.png"
_OAUTH2_REDIRECT: Final = "/docs/oauth2-redirect"
_REDOC_SCRIPT: Final = "/redoc/redoc.standalone.js"

# Some patterns are hundreds of characters long: the page would be wider than its window.
_SWAGGER_UI: Final = {"showCommonExtensions": False}

# Swagger UI sorts the answers by their status, shows an example with each of them, has a column for
# links that no answer has, and leaves the texts a third of a narrow screen.
_STYLE: Final = b"""<style>
.response-col_links { display: none }
.responses-table:not(.live-responses-table) > tbody { display: flex; flex-direction: column }
.responses-table:not(.live-responses-table) > * > tr { display: flex }
.responses-table:not(.live-responses-table) > * > tr > :first-child { flex: 0 0 5em }
.responses-table:not(.live-responses-table) > * > tr > .response-col_description {
  flex: 1; min-width: 0
}
.opblock-post tr.response[data-code="201"] { order: -1 }
.opblock-post tr.response[data-code="200"]:has(~ [data-code="201"]) .model-example,
.opblock-put tr.response[data-code="201"] .model-example,
.responses-table:not(.live-responses-table)
  > tbody > :is([data-code^="4"], [data-code^="5"]):not([data-code="412"], [data-code="422"])
  > .response-col_description > :not(.response-col_description__inner) { display: none }
@media (max-width: 640px) {
  table.parameters > * > tr, table.parameters > tbody > tr > td { display: block; width: auto }
  table.parameters > thead { display: none }
  .swagger-ui table tbody tr td.parameters-col_name { padding-bottom: 0 }
}
</style>
</head>"""

_INLINE_SCRIPT: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
# Both pages style their elements one by one, and have pictures in their style sheets. The search of
# /redoc is a worker.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)


def install(app: FastAPI) -> None:
    """Serve the pages, and the files that they need, if there is a document to show."""
    if app.openapi_url is None:
        return
    app.mount(_STATIC, StaticFiles(directory=_FILES))
    app.add_route("/docs", _docs_page, include_in_schema=False)
    app.add_route(_OAUTH2_REDIRECT, _oauth2_redirect_page, include_in_schema=False)
    app.add_route("/redoc", _redoc_page, include_in_schema=False)
    app.add_route(_REDOC_SCRIPT, _redoc_script, include_in_schema=False)


async def _docs_page(request: Request) -> Response:
    app, root_path = request.app, _root_path(request)
    page = get_swagger_ui_html(
        openapi_url=root_path + app.openapi_url,
        title=f"{app.title} - Swagger UI",
        swagger_js_url=f"{root_path}{_STATIC}/swagger-ui-bundle.js",
        swagger_css_url=f"{root_path}{_STATIC}/swagger-ui.css",
        swagger_favicon_url=root_path + _FAVICON,
        swagger_ui_parameters=_SWAGGER_UI | (app.swagger_ui_parameters or {}),
        oauth2_redirect_url=root_path + _OAUTH2_REDIRECT,
        init_oauth=app.swagger_ui_init_oauth,
    )
    return _with_policy(HTMLResponse(bytes(page.body).replace(b"</head>", _STYLE)))


async def _oauth2_redirect_page(request: Request) -> Response:
    """Serve the page to which a login returns, as soon as an operation needs one."""
    if "securitySchemes" not in request.app.openapi()["components"]:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return _with_policy(get_swagger_ui_oauth2_redirect_html())


async def _redoc_page(request: Request) -> Response:
    root_path = _root_path(request)
    return _with_policy(
        get_redoc_html(
            openapi_url=root_path + request.app.openapi_url,
            title=f"{request.app.title} - ReDoc",
            redoc_js_url=root_path + _REDOC_SCRIPT,
            redoc_favicon_url=root_path + _FAVICON,
            with_google_fonts=False,
        )
    )


async def _redoc_script(request: Request) -> Response:
    """Serve the script of /redoc without the one picture that it loads from the internet."""
    script = await run_in_threadpool((_FILES / "redoc.standalone.js").read_bytes)
    favicon = _root_path(request) + _FAVICON
    script = script.replace(b"https://cdn.redoc.ly/redoc/logo-mini.svg", favicon.encode())
    return Response(script, media_type="text/javascript")


def _root_path(request: Request) -> str:
    """Return the prefix that a proxy has removed from the path (the setting ROOT_PATH)."""
    root_path: str = request.scope.get("root_path", "")
    return root_path.rstrip("/")


def _with_policy(page: Response) -> Response:
    """Allow the page its own files, and the scripts in it by their hashes."""
    scripts = _INLINE_SCRIPT.findall(bytes(page.body))
    hashes = (b64encode(sha256(script).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    page.headers["Content-Security-Policy"] = _POLICY.format(hashes=allowed)
    return page
