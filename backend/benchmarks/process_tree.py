"""What a process and its descendants have used, from /proc."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessTree:
    """A process and all its descendants, as they are at the time of asking."""

    root: int

    def _members(self) -> Iterator[Path]:
        todo = [str(self.root)]
        while todo:
            process = Path("/proc", todo.pop())
            yield process
            for children in process.glob("task/*/children"):
                todo += children.read_text().split()

    def cpu_seconds(self) -> float:
        """Give user and system time, that of descendants which have ended included."""
        ticks = 0
        for process in self._members():
            fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime: see proc(5)
        return ticks / _TICKS

    def rss_mib(self) -> float:
        """Give the resident memory. What processes share counts in each of them."""
        kib = 0
        for process in self._members():
            status = (process / "status").read_text()
            kib += int(status.partition("VmRSS:")[2].split(maxsplit=1)[0])
        return kib / 1024
