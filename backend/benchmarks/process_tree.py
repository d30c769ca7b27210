"""The CPU time and the memory of a process and its descendants, from /proc."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessTree:
    """A process and the descendants that it has at the time of the call."""

    root: int

    def _read(self, name: str) -> Iterator[str]:
        """Read this file of each process; skip a process that has just ended."""
        todo = [str(self.root)]
        while todo:
            process = Path("/proc", todo.pop())
            with suppress(FileNotFoundError, ProcessLookupError):
                yield (process / name).read_text()
                for children in process.glob("task/*/children"):
                    todo += children.read_text().split()

    def cpu_seconds(self) -> float:
        """Give the user and system time, including that of descendants that have ended."""
        ticks = 0
        for stat in self._read("stat"):
            fields = stat.rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime: see proc(5)
        return ticks / _TICKS

    def rss_mib(self) -> float:
        """Give the resident memory. Memory that processes share counts once for each of them."""
        kib = 0
        for status in self._read("status"):
            kib += int(status.partition("VmRSS:")[2].split(maxsplit=1)[0])
        return kib / 1024
