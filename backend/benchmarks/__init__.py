"""The benchmark: this server and its peers, measured in one run on one machine.

`python -m benchmarks run` measures and `python -m benchmarks report` writes the report. The README
describes what is measured and how to read the figures.
"""

from pathlib import Path
from typing import Final

BACKEND: Final = Path(__file__).resolve().parents[1]
RESULTS: Final = Path(__file__).resolve().parent / "results"
