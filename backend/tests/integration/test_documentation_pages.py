"""/docs and /redoc, also without the internet."""

import json
import re
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI
from fastapi.security import OAuth2PasswordBearer
from playwright.sync_api import Page

from src.api import pages
from src.main import create_app
from tests.browser import (
    CREATE,
    create_task,
    list_tasks,
    open_every_operation,
    open_page,
    overhang,
)
from tests.conftest import BASE_URL, make_settings
from tests.listening import listening

_REFERENCE = re.compile(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""")
_TYPES = {
    "js": "text/javascript",
    "css": "text/css",
    "png": "image/png",
    "json": "application/json",
}


@pytest.mark.anyio
@pytest.mark.requirement("FR-035")
@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_a_page_refers_only_to_what_the_server_itself_serves(
    client: httpx.AsyncClient, path: str
) -> None:
    page = await client.get(path)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    references = _REFERENCE.findall(page.text)
    assert len(references) >= 3, "a script, an icon and the document"
    assert "http" not in page.text.replace("http://www.w3.org", "")

    for reference in references:
        assert reference.startswith("/")
        answer = await client.get(reference)
        assert answer.status_code == 200
        assert answer.content
        media_type = answer.headers["content-type"].partition(";")[0]
        assert media_type == _TYPES[reference.rpartition(".")[2]]


@pytest.mark.anyio
@pytest.mark.requirement("FR-035")
async def test_docs_signs_in_as_fastapi_s_settings_say(shared_database_url: str) -> None:
    app = create_app(make_settings(shared_database_url))
    app.swagger_ui_init_oauth = {"clientId": "of-the-docs"}
    app.swagger_ui_parameters = {"persistAuthorization": True}

    @app.get("/me")
    async def get_me(token: Annotated[str, Depends(OAuth2PasswordBearer("token"))]) -> str:
        return token

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        page = (await client.get("/docs")).text
        redirect = await client.get("/docs/oauth2-redirect")

    assert '"of-the-docs"' in page
    assert '"persistAuthorization": true' in page
    assert "/docs/oauth2-redirect" in page
    assert redirect.status_code == 200
    assert "sha256-" in redirect.headers["content-security-policy"]


@pytest.mark.anyio
@pytest.mark.requirement("FR-035")
@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_there_is_no_page_without_a_document(path: str) -> None:
    app = FastAPI(openapi_url=None)
    pages.install(app)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        assert (await client.get(path)).status_code == 404


@pytest.mark.requirement("FR-035", "SC-005")
class TestInABrowser:
    def test_a_task_is_created_and_listed_through_docs(self, database_url: str) -> None:
        with listening(create_app(make_settings(database_url))) as url, open_page(url) as page:
            page.goto(f"{url}/docs")
            create_task(page, "Buy milk")
            body = json.loads(list_tasks(page))

        assert [task["title"] for task in body["items"]] == ["Buy milk"]
        assert body["items"][0]["user_id"] == "alice"

    @pytest.mark.requirement("FR-144")
    def test_docs_shows_all_there_is_in_short_on_wide_and_narrow_screens(
        self, shared_database_url: str
    ) -> None:
        app = create_app(make_settings(shared_database_url))
        with listening(app) as url, open_page(url) as page:
            page.goto(f"{url}/docs")
            open_every_operation(page)

            for path in app.openapi()["paths"].values():
                for operation in path.values():
                    shown = page.locator(f"[id$=-{operation['operationId']}]").inner_text()
                    for parameter in operation.get("parameters", ()):
                        assert parameter["description"].replace("`", "") in shown
                        if "example" in parameter:
                            assert f"Example : {parameter['example']}" in shown
            for width in (1280, 390):
                page.set_viewport_size({"width": width, "height": 900})
                check_layout(page, width)

    def test_docs_fills_in_the_user_only(self, database_url: str) -> None:
        with listening(create_app(make_settings(database_url))) as url, open_page(url) as page:
            page.goto(f"{url}/docs")
            fill_in = page.locator(f"{CREATE} tr[data-param-name=user_id] input")
            page.locator(f"{CREATE} .opblock-summary-control").click()
            page.locator(f"{CREATE} .try-out__btn").click()
            key = page.locator(f"{CREATE} tr[data-param-name=Idempotency-Key] input")

            assert (fill_in.input_value(), key.input_value()) == ("alice", "")

    def test_redoc_shows_every_operation(self, database_url: str) -> None:
        with listening(create_app(make_settings(database_url))) as url, open_page(url) as page:
            page.goto(f"{url}/redoc")
            page.get_by_role("heading", name="Create Task").wait_for()
            document = httpx.get(f"{url}/openapi.json").json()
            shown = page.locator("#redoc, redoc").first.inner_text()

        for path in document["paths"].values():
            for operation in path.values():
                assert operation["summary"] in shown


def check_layout(page: Page, width: int) -> None:
    """Check that /docs fits in the window, and that the operations are short."""
    assert overhang(page) == 0, "the page is wider than its window"
    answers = page.locator(f"{CREATE} .responses-table tr.response")
    places = {answer.get_attribute("data-code"): answer.bounding_box() for answer in answers.all()}
    top = {code: box["y"] for code, box in places.items() if box}
    assert sorted(top, key=lambda code: top[code])[:2] == ["201", "200"]
    examples = page.locator(f"{CREATE} .responses-table .model-example:visible")
    assert examples.count() == 2, "that of the task, and that of a 422"
    text = page.locator(f"{CREATE} .parameters-col_description").nth(1).bounding_box()
    assert text
    assert text["width"] > width * 0.7
