"""The body of every answer outside 2xx and 304: a problem document (RFC 9457)."""

from typing import Annotated, Final

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from src.models.limits import BATCH_MAX_OPERATIONS, PROBLEM_MAX_ERRORS
from src.schemas.task import ResponseBody, Task

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"


class Violation(ResponseBody):
    """A broken rule. Exactly one of `pointer`, `parameter` and `header` tells where."""

    # Python has None for what is left out. JSON has nothing, so the schema has no null.
    pointer: str | SkipJsonSchema[None] = Field(
        None, description="The place in the body: a JSON Pointer (RFC 6901).", examples=["/title"]
    )
    parameter: str | SkipJsonSchema[None] = Field(
        None, description="The name of the path or query parameter."
    )
    header: str | SkipJsonSchema[None] = Field(None, description="The name of the header.")
    code: str = Field(description="A stable, machine-readable code.", examples=["too_long"])
    detail: str = Field(description="A human-readable explanation. It may change.")
    status: Annotated[int, Field(ge=400, le=599)] | SkipJsonSchema[None] = Field(
        None,
        description="The status that this operation would have had on its own. Only in a batch.",
        examples=[404],
    )
    current: Task | SkipJsonSchema[None] = Field(
        None, description="The task as it is now, with status 412. Only in a batch."
    )


class Problem(ResponseBody):
    """What went wrong. `code` is stable; `title` and `detail` are for people."""

    type: str = Field(examples=["urn:task-api:problem:invalid_request"])
    title: str = Field(examples=["Invalid request"])
    status: int = Field(ge=400, le=599, examples=[422])
    detail: str
    instance: str = Field(description="Identifies this occurrence.")
    code: str = Field(examples=["invalid_request"])
    request_id: str = Field(
        description="The value of the `X-Request-ID` header, also found in the server's log."
    )
    errors: (
        Annotated[list[Violation], Field(max_length=BATCH_MAX_OPERATIONS)] | SkipJsonSchema[None]
    ) = Field(
        None,
        description=f"The broken rules, at most {PROBLEM_MAX_ERRORS}; or, for a batch, every"
        " operation that failed.",
    )
    current: Task | SkipJsonSchema[None] = Field(
        None, description="The task as it is now, with status 412."
    )
