"""A real browser at the documentation pages, without the internet."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from playwright.sync_api import Page, expect, sync_playwright

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ARGUMENTS: Final = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_LIST: Final = "#operations-tasks-list_tasks"
CREATE: Final = "#operations-tasks-create_task"
_ANSWER: Final = ".live-responses-table tr.response"
_STATUS: Final = f"{_ANSWER} .response-col_status"


@contextmanager
def open_page(url: str, *, width: int = 1280, height: int = 900) -> Iterator[Page]:
    """Open a page that may only reach `url`. What it asks of anyone else, or complains of on
    its console, fails the test at the end.
    """
    faults: list[str] = []
    with launch(width=width, height=height) as page:
        page.on("console", lambda message: _note(faults, message.type, message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: _check_target(faults, request.url, url))
        page.route(lambda target: not target.startswith(url), lambda route: route.abort())
        yield page
    assert not faults, faults


@contextmanager
def launch(*, width: int = 1280, height: int = 900) -> Iterator[Page]:
    """Open an empty page."""
    executable = _browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            chromium_sandbox=False,  # it refuses to work for root, and the page is our own
            args=[*_ARGUMENTS],
        )
        yield browser.new_page(viewport={"width": width, "height": height})
        browser.close()


def create_task(page: Page, title: str) -> None:
    """Create a task for alice through "Try it out", and wait for the answer."""
    page.locator(f"{CREATE} .opblock-summary-control").click()
    page.locator(f"{CREATE} .try-out__btn").click()
    page.locator(f"{CREATE} tr[data-param-name=user_id] input").fill("alice")
    page.locator(f"{CREATE} textarea.body-param__text").fill(
        f'{{\n  "title": "{title}",\n  "priority": "high",\n  "due_date": "2026-12-24"\n}}'
    )
    page.locator(f"{CREATE} button.execute").click()
    expect(page.locator(f"{CREATE} {_STATUS}")).to_contain_text("201")


def list_tasks(page: Page) -> str:
    """List alice's tasks through "Try it out", and give the answer's body."""
    page.locator(f"{_LIST} .opblock-summary-control").click()
    page.locator(f"{_LIST} .try-out__btn").click()
    page.locator(f"{_LIST} tr[data-param-name=user_id] input").fill("alice")
    page.locator(f"{_LIST} button.execute").click()
    expect(page.locator(f"{_LIST} {_STATUS}")).to_contain_text("200")
    return page.locator(f"{_LIST} {_ANSWER} pre.microlight").first.inner_text()


def open_every_operation(page: Page) -> None:
    """Unfold all that /docs has to show of the operations."""
    page.locator(_LIST).wait_for()
    for summary in page.locator(".opblock-summary-control").all():
        summary.click()
    expect(page.locator(".opblock-body .parameters").last).to_be_visible()


def overhang(page: Page) -> int:
    """Say by how many pixels the page is wider than its window."""
    width: int = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return width


def _browser() -> str:
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None and "CI" not in os.environ:
        pytest.skip(f"there is no browser here: none of {', '.join(_NAMES)}")
    assert found, "the pages are tested in a browser: install chromium"
    return found


def _note(faults: list[str], kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        faults.append(text)


def _check_target(faults: list[str], target: str, url: str) -> None:
    if not target.startswith((f"{url}/", "data:", "blob:")):
        faults.append(f"asked for {target}")
