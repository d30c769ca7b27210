"""What surrounds every request, without an application inside."""

from typing import Final

import pytest
from starlette.types import Message, Receive, Scope, Send

from src.api.middleware import UnexpectedErrors

pytestmark = pytest.mark.anyio

SCOPE: Final[Scope] = {
    "type": "http",
    "method": "GET",
    "path": "/",
    "raw_path": b"/",
    "headers": [],
}


async def breaks_off(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Fail with half of the answer out."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("half-way")


async def nothing_to_receive() -> Message:
    raise AssertionError("nobody asked for a body")


class TestAnUnexpectedError:
    @pytest.mark.requirement("FR-022")
    async def test_adds_nothing_to_an_answer_that_has_begun(self) -> None:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        with pytest.raises(RuntimeError, match="half-way"):
            await UnexpectedErrors(breaks_off)(SCOPE, nothing_to_receive, send)

        assert [message["type"] for message in sent] == ["http.response.start"]
