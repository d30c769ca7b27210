"""What a process and its descendants have used, from /proc."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessTree:
    """A process and all its descendants, as they are at the time of asking."""

    root: int

    def _read(self, name: str) -> Iterator[str]:
        """Give this file of each member; one that ends meanwhile is not there any more."""
        todo = [str(self.root)]
        while todo:
            process = Path("/proc", todo.pop())
            with suppress(FileNotFoundError, ProcessLookupError):
                yield (process / name).read_text()
                for children in process.glob("task/*/children"):
                    todo += children.read_text().split()

    def cpu_seconds(self) -> float:
        """Give user and system time, that of descendants which have ended included."""
        ticks = 0
        for stat in self._read("stat"):
            fields = stat.rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime: see proc(5)
        return ticks / _TICKS

    def rss_mib(self) -> float:
        """Give the resident memory. What processes share counts in each of them."""
        kib = 0
        for status in self._read("status"):
            kib += int(status.partition("VmRSS:")[2].split(maxsplit=1)[0])
        return kib / 1024
