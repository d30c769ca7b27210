"""The log: one line per event on standard error, as text or as JSON, each with the request's id.

As JSON, a request is an object with its values as fields; as text, it is a line for people.
"""

import logging
import time
from collections.abc import Iterator
from contextvars import ContextVar
from logging.config import dictConfig
from typing import Any, ClassVar, Final

import psycopg
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.orjson import OrjsonFormatter

from src.config import Settings

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="-")
"""The id of the current request: on its log lines, its answer, and in its problem document."""


class RequestIdFilter(logging.Filter):
    """Puts the id of the current request on every line."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = REQUEST_ID.get()
        return True


class RepetitionFilter(logging.Filter):
    """Lets a message pass once in ten seconds: an outage is logged, but not for each request."""

    PAUSE: ClassVar = 10  # s

    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        message, now = record.getMessage(), record.created
        recent = {text: at for text, at in self._logged_at.items() if now < at + self.PAUSE}
        if message in recent:
            return False
        self._logged_at = recent | {message: now}
        return True


class SafeFormatter(logging.Formatter):
    """Writes times in UTC. Leaves out of tracebacks what the database says: its messages quote the
    values of a row.
    """

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802 — as in the base class
        text = super().formatException(ei)
        for error in _database_errors(ei[1]):
            for line in filter(None, str(error).splitlines()):
                text = text.replace(line, f"(SQLSTATE {error.sqlstate})")
        return text


class JSONFormatter(SafeFormatter, OrjsonFormatter):
    """Writes each event as one JSON object."""


class TextFormatter(SafeFormatter):
    """Indents the lines that continue an event, such as a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", "\n    ")


def _database_errors(error: BaseException | None) -> Iterator[psycopg.Error]:
    """Return the driver's errors in an error's chain of causes."""
    while error is not None:
        if isinstance(error, psycopg.Error):
            yield error
        error = error.__cause__ or error.__context__


_TEXT: Final = "%(asctime)s %(levelname)s [%(request_id)s] %(name)s: "


def configure(settings: Settings) -> None:
    """Set up all logging of the process."""
    is_json = settings.log_format == "json"
    handler = {
        "class": "logging.StreamHandler",
        "formatter": "json" if is_json else "text",
        "filters": ["request_id"],
    }
    dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {
                "request_id": {"()": RequestIdFilter},
                "repetition": {"()": RepetitionFilter},
            },
            "formatters": {
                "text": {"()": TextFormatter, "format": f"{_TEXT}%(message)s"},
                "text of a request": {
                    "()": TextFormatter,
                    "format": f"{_TEXT}%(method)s %(path)s %(status)d %(duration_ms).1f ms,"
                    " database %(database_ms).1f ms",
                },
                "json": {
                    "()": JSONFormatter,
                    "format": "%(asctime)s %(levelname)s %(request_id)s %(name)s %(message)s",
                    "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
                    # uvicorn's messages once more, with codes for colours
                    "reserved_attrs": [*RESERVED_ATTRS, "color_message"],
                },
            },
            "handlers": {
                "stderr": handler,
                # Not a filter of the logger: those stay when the log is set up again.
                "outages": handler | {"filters": ["request_id", "repetition"]},
                "requests": handler | {"formatter": "json" if is_json else "text of a request"},
            },
            "root": {"level": settings.log_level.upper(), "handlers": ["stderr"]},
            "loggers": {
                "src.access": {"handlers": ["requests"], "propagate": False},
                "src.api.problems": {"handlers": ["outages"], "propagate": False},
                # Its own handlers would write another format, and values from the database.
                "uvicorn": {"handlers": [], "propagate": True},
                # Every request has its own line already; this one would show the values of queries.
                "uvicorn.access": {"handlers": [], "propagate": False},
            },
        }
    )
