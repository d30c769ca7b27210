"""`python -m tests.picture`: take the picture of the documentation page that the README shows."""

import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import FloatRect, Locator

from src.config import ROOT
from tests.browser import CREATE, create_task, open_page
from tests.processes import server

PICTURE: Final = ROOT / "specs" / "002-backend-database" / "docs-page.png"
_PORT: Final = "8000"  # as the documents have it
_WIDTH: Final = 1200
_HEIGHT: Final = 2400  # all of it is seen at once, so nothing has to scroll
# As a person would drag its corner: below the text it is empty.
_SHRINK: Final = "area => Object.assign(area.style, {minHeight: 0, height: '110px'})"


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        server(Path(directory) / "server", PORT=_PORT) as running,
    ):
        running.wait_until_it_serves()
        with open_page(running.url, width=_WIDTH, height=_HEIGHT) as page:
            page.goto(f"{running.url}/docs")
            create_task(page, "Buy milk")
            page.locator(f"{CREATE} textarea").evaluate(_SHRINK)
            page.evaluate("scrollTo(0, 0)")
            top = _box(page.locator("#operations-tag-tasks"))["y"]
            answer = _box(page.locator(f"{CREATE} .live-responses-table"))
            bottom = answer["y"] + answer["height"]
            page.mouse.move(0, 0)
            page.screenshot(
                path=PICTURE, clip={"x": 0, "y": top, "width": _WIDTH, "height": bottom - top}
            )


def _box(element: Locator) -> FloatRect:
    box = element.bounding_box()
    assert box
    return box


if __name__ == "__main__":
    main()
