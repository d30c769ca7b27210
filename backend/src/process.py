"""What a process sets up once, when it starts; and how it ends if it cannot."""

import gc
import multiprocessing
import signal
import socket
import sys
import threading
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, NoReturn

UNREAD_TIMEOUT: Final = 30_000
"""Milliseconds after which a client that reads nothing of its answer is disconnected."""


def give_up(*lines: str) -> NoReturn:
    """Print each line as an error, and end the program with status 2."""
    for line in lines:
        sys.stderr.write(f"task-api: {' '.join(line.split())}\n")
    sys.exit(2)


def tune_garbage_collector() -> None:
    """Keep the garbage collector away from objects that live as long as the process.

    Requests create objects that trigger a collection over all modules and schemas every few
    requests: a fifth of the CPU, and pauses of tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def stop_with_parent() -> None:
    """Stop a worker when the process that started it is gone, even by `kill -9`.

    An orphaned worker would keep the port, and the next start would fail.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        loop = get_running_loop()
        loop.add_reader(parent.sentinel, _stop, loop, parent.sentinel)


def limit_unread_time(listener: socket.socket) -> None:
    """Let the system end connections to clients that do not read what is sent to them.

    uvicorn would keep the answer for ever. The connections inherit this from the listening socket.
    """
    if sys.platform == "linux":  # pragma: no branch — other systems have no such option
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_TIMEOUT)


@contextmanager
def on_stop_signal(callback: Callable[[], None]) -> Iterator[None]:
    """Call back as soon as a signal tells the process to stop.

    uvicorn tells the application only after the last request has been answered, and a request may
    last until the callback ends it. uvicorn's own handlers stay: they are called after this one.
    """
    loop = get_running_loop()
    is_main = threading.current_thread() is threading.main_thread()  # only it may set handlers
    before = {
        number: handler
        for number in ((signal.SIGINT, signal.SIGTERM) if is_main else ())
        if callable(handler := signal.getsignal(number))
    }

    def handle(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(callback)
        before[signal.Signals(number)](number, frame)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(loop: AbstractEventLoop, sentinel: int) -> None:
    loop.remove_reader(sentinel)  # otherwise the callback would run again and again
    signal.raise_signal(signal.SIGTERM)
