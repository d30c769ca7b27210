"""`/metrics`, for Prometheus. It is no part of the API, and not in the OpenAPI document."""

from typing import Final

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from src import metrics
from src.api.strict import StrictRoute

router: Final = APIRouter(route_class=StrictRoute, include_in_schema=False)


@router.get("/metrics")
async def get_metrics() -> Response:
    """Return the metrics of all server processes. This does not use the database."""
    return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)
