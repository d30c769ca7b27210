"""The raw figures on disk: one JSON file per part, each with what it takes to judge it."""

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from benchmarks.servers import PEERS, PEERS_NODE, PEERS_PYTHON, SERVERS

DIRECTORY: Final = Path(__file__).with_name("results")
