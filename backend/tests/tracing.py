"""A program that serves some requests, and prints the spans and the number of log records.

`python -m tests.tracing` takes the URL of the database from its settings. It runs in a process of
its own, because OpenTelemetry's providers are global and cannot be replaced.
"""

import asyncio
import json
import sys
from typing import Final

import httpx
from opentelemetry import _logs, trace
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from src.main import create_app

TASKS: Final = "/api/v1/alice/tasks"


async def main() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    records = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # it has no types
    logger_provider = LoggerProvider()
    logger_provider.add_log_record_processor(SimpleLogRecordProcessor(records))
    _logs.set_logger_provider(logger_provider)
    PsycopgInstrumentor().instrument()

    app = create_app()
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost"
        ) as client,
    ):
        await client.get(TASKS)  # opens the connection
        task = {"title": "hunter2"}
        for method, path, body in (
            ("POST", TASKS, task),
            ("GET", f"{TASKS}?q=milk", None),
            ("POST", TASKS, task | {"prio": "hunter2"}),
            ("POST", f"{TASKS}/batch", {"operations": [{"op": "create", "task": task}]}),
        ):
            exporter.clear()
            answer = await client.request(method, path, json=body)
            seen = {
                "status": answer.status_code,
                "spans": [json.loads(span.to_json()) for span in exporter.get_finished_spans()],
                "records": len(records.get_finished_logs()),
            }
            sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
