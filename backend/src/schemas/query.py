"""The parameters of the lists."""

import re
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from src.models.limits import PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX
from src.schemas.fields import broken_rule

_INTEGER: Final = re.compile(r"-?\d{1,18}", re.ASCII)


def _parse_integer(value: object) -> object:
    """Read plain digits. The lenient parsing of a string would also take `1_0` and `5.0`."""
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise broken_rule("wrong_type", "must be an integer")
    return value


class TaskListQuery(BaseModel):
    """Which page of the list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[
        int,
        Field(
            ge=1,
            le=PAGE_LIMIT_MAX,
            description=f"How many tasks a page has at most: 1 to {PAGE_LIMIT_MAX}.",
            examples=[20],
        ),
        BeforeValidator(_parse_integer),
    ] = PAGE_LIMIT_DEFAULT
    cursor: Annotated[
        str | None,
        Field(
            description="The `next_cursor` of the page before. It belongs to this user's list and"
            " to these parameters; with others it is 422.",
        ),
    ] = None
