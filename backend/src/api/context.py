"""The request at work, for whoever must name it: problems and the log."""

from contextvars import ContextVar
from typing import Final

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="-")
"""The id of the request at work: every problem and every line of the log carries it."""
