"""Time limits of statements that run out when a test says so, and not on a slow machine before."""

import asyncio
from collections.abc import Callable

import pytest

from tests.wire import Wire


class TimeLimits:
    """The time limits that `src.database` sets from here on, as long as the defaults are."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._timers: list[tuple[asyncio.TimerHandle, Callable[[], object]]] = []
        patch.setattr("src.database.get_running_loop", lambda: self)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Take the place of the event loop's method."""
        timer = asyncio.get_running_loop().call_later(seconds, callback)
        self._timers.append((timer, callback))
        return timer

    def run_out_on_silence(self, wire: Wire) -> None:
        """Let them run out whenever this wire keeps an answer back."""
        self._patch.setattr(wire, "on_silence", self.run_out)

    def run_out(self) -> None:
        """Let the time of every statement pass that is under way."""
        for timer, callback in self._timers:
            if not timer.cancelled():
                callback()
                timer.cancel()
        self._timers.clear()
