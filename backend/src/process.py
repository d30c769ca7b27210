"""What a serving process sets up once, when it starts."""

import gc
import multiprocessing
import signal
from asyncio import AbstractEventLoop, get_running_loop


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


def _stop(loop: AbstractEventLoop, sentinel: int) -> None:
    loop.remove_reader(sentinel)  # otherwise the callback would run again and again
    signal.raise_signal(signal.SIGTERM)
