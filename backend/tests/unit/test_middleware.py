"""What surrounds every request, without an application inside."""

import asyncio
import json
import logging
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


async def waits(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Wait for something that never comes."""
    await asyncio.get_running_loop().create_future()


class TestACancelledRequest:
    @pytest.mark.requirement("FR-117")
    @pytest.mark.parametrize(
        ("method", "code"), [("GET", "database_unavailable"), ("POST", "outcome_unknown")]
    )
    async def test_is_answered(
        self, method: str, code: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        # Whatever level another test has set for all loggers.
        caplog.set_level(logging.WARNING, logger="src.api.middleware")
        app = UnexpectedErrors(waits)
        request = asyncio.create_task(app({**SCOPE, "method": method}, nothing_to_receive, send))
        await asyncio.sleep(0)  # let it begin

        request.cancel()
        await request

        head, body = sent
        assert head["status"] == 503
        assert (b"retry-after", b"1") in head["headers"]
        assert json.loads(body["body"])["code"] == code
        assert caplog.messages == ["a request was interrupted by the shutdown"]
