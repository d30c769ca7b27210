"""The Task API: a task (todo) REST service on FastAPI, SQLModel and PostgreSQL."""

__version__ = "0.1.0"
