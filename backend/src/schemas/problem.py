"""The body of every answer outside 2xx and 304: a problem document (RFC 9457)."""

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from src.models.limits import PROBLEM_MAX_ERRORS
from src.schemas.task import Task

PROBLEM_MEDIA_TYPE = "application/problem+json"


class Violation(BaseModel):
    """One broken rule. Exactly one of `pointer`, `parameter` and `header` says where."""

    model_config = ConfigDict(extra="forbid")

    # Python has None for what is left out. The wire has nothing, so the schema has no null.
    pointer: str | SkipJsonSchema[None] = Field(
        None, description="Where in the body: a JSON Pointer (RFC 6901).", examples=["/title"]
    )
    parameter: str | SkipJsonSchema[None] = Field(
        None, description="The parameter of the path or the query."
    )
    header: str | SkipJsonSchema[None] = Field(None, description="The header field.")
    code: str = Field(description="Stable: made to be compared.", examples=["too_long"])
    detail: str = Field(description="For people. It may change.")


class Problem(BaseModel):
    """What went wrong. `code` is stable; `title` and `detail` are for people."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(examples=["urn:task-api:problem:invalid_request"])
    title: str = Field(examples=["The request breaks a rule"])
    status: int = Field(ge=400, le=599, examples=[422])
    detail: str
    instance: str = Field(description="This one occurrence.")
    code: str = Field(examples=["invalid_request"])
    request_id: str = Field(description="Also the `X-Request-ID` header, and in the server's log.")
    errors: list[Violation] | SkipJsonSchema[None] = Field(
        None, description="All violations at once.", max_length=PROBLEM_MAX_ERRORS
    )
    current: Task | SkipJsonSchema[None] = Field(
        None, description="With 412: the task as it is now."
    )
