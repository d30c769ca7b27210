"""The log: one line an event on standard error, as text or as JSON, each with the request's id."""

import logging
from logging.config import dictConfig
from typing import ClassVar

from src.api.context import REQUEST_ID
from src.config import Settings


class RequestIdFilter(logging.Filter):
    """Puts the id of the request at work on every line."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = REQUEST_ID.get()
        return True


class RepetitionFilter(logging.Filter):
    """Lets the same words pass once in a while: an outage is told, but not for each request."""

    PAUSE: ClassVar = 10  # s

    def __init__(self) -> None:
        super().__init__()
        self._words = ""
        self._told_at = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        words = record.getMessage()
        if words == self._words and record.created < self._told_at + self.PAUSE:
            return False
        self._words, self._told_at = words, record.created
        return True


class TextFormatter(logging.Formatter):
    """Indents what continues an event, such as a traceback: each other line is a new event."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", "\n    ")


def configure(settings: Settings) -> None:
    """Set up all logging of the process."""
    dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {
                "request_id": {"()": RequestIdFilter},
                "repetition": {"()": RepetitionFilter},
            },
            "formatters": {
                "text": {
                    "()": TextFormatter,
                    "format": "%(asctime)s %(levelname)s [%(request_id)s] %(name)s: %(message)s",
                },
                "json": {
                    "()": "pythonjsonlogger.json.JsonFormatter",
                    "format": "%(asctime)s %(levelname)s %(request_id)s %(name)s %(message)s",
                },
            },
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "formatter": settings.log_format,
                    "filters": ["request_id"],
                }
            },
            "root": {"level": settings.log_level.upper(), "handlers": ["stderr"]},
            # It also tells of each connection that it gives and takes back: once a request.
            "loggers": {"psycopg.pool": {"level": "WARNING", "filters": ["repetition"]}},
        }
    )
