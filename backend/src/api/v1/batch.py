"""The route of batches, which has a body limit of its own."""

from typing import Any, Final

from fastapi import APIRouter, Response

from src.api.deps import SessionDep, UserId
from src.api.etags import CACHE_CONTROL
from src.api.openapi import BATCH_APPLIED, BODY
from src.api.problems import Kind, problems
from src.api.strict import StrictRoute
from src.models.limits import BATCH_BODY_MAX_BYTES
from src.schemas.batch import TaskBatch, TaskBatchResult
from src.schemas.changes import deleted_to_wire
from src.schemas.task import to_json, to_wire
from src.services import todo_service
from src.services.batch import Result


class BatchRoute(StrictRoute):
    """A route whose body can be as large as a batch."""

    body_max_bytes = BATCH_BODY_MAX_BYTES


router: Final = APIRouter(
    prefix="/api/v1/{user_id}/tasks/batch",
    tags=["tasks"],
    route_class=BatchRoute,
)


@router.post(
    "",
    response_model=TaskBatchResult,
    responses=BATCH_APPLIED
    | problems(*BODY, Kind.BATCH_FAILED, Kind.DATABASE_UNAVAILABLE, Kind.OUTCOME_UNKNOWN),
)
async def apply_batch(session: SessionDep, user_id: UserId, batch: TaskBatch) -> Response:
    """Carry out the operations in their order: all of them, or none.

    If any operation fails, nothing is changed, and `errors` names every operation that failed, with
    the code and status that it would have had on its own.

    You can safely send a batch again if every `create` has an `id`, and no task is both created and
    deleted. If the first attempt was carried out, each `update`, `complete` or `move` with
    `if_version` then fails with 412, and its `current` shows the result. `Idempotency-Key` is not
    supported.
    """
    results = await todo_service.apply_batch(session, user_id, batch.operations)
    body = to_json({"results": list(map(_to_wire, results))})
    return Response(body, headers={"Cache-Control": CACHE_CONTROL}, media_type="application/json")


def _to_wire(result: Result) -> dict[str, Any]:
    return {
        "op": result.op,
        "task": None if result.task is None else to_wire(result.task),
        "deleted": None if result.deleted is None else deleted_to_wire(result.deleted),
    }
