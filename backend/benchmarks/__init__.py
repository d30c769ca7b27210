"""The benchmark: this server and its peers, side by side, in one run, on any machine.

`python -m benchmarks run` measures, `python -m benchmarks report` draws. The README tells
what is measured, and what to make of it.
"""

from pathlib import Path
from typing import Final

BACKEND: Final = Path(__file__).resolve().parents[1]
RESULTS: Final = Path(__file__).resolve().parent / "results"
