"""The process that serves: what it must be told about itself, once, when it begins."""

import gc
import multiprocessing
import signal
from asyncio import AbstractEventLoop, get_running_loop


def calm_the_collector() -> None:
    """Keep the garbage collector off what lives as long as the process.

    A request leaves no cycles worth looking for, but its objects trigger a look at all the
    modules and schemas every few requests: a fifth of the CPU, and pauses of tens of
    milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def end_with_parent() -> None:
    """Let a worker stop when the process that started it is gone, even by `kill -9`.

    An orphaned worker would hold the port, and the next start could not have it.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        loop = get_running_loop()
        loop.add_reader(parent.sentinel, _stop, loop, parent.sentinel)


def _stop(loop: AbstractEventLoop, sentinel: int) -> None:
    loop.remove_reader(sentinel)  # it would tell of its end for ever
    signal.raise_signal(signal.SIGTERM)
