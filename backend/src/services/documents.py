"""What the operations give: tasks as the JSON of the wire, with what a caller must know of them."""

from typing import NamedTuple
from uuid import UUID


class TaskDocument(NamedTuple):
    """A task as the wire has it: `body` is its JSON object in UTF-8."""

    id: UUID
    version: int
    body: bytes
    is_new: bool = False
    """Whether this very request made it."""


class TaskPage(NamedTuple):
    """One page of a list: `items` is a JSON array of tasks in UTF-8.

    `version` is the number of the user's latest change, or None if the page also depends on
    the present time. A page of a version that the caller already has holds no items.
    """

    version: int | None
    items: bytes
    next_cursor: str | None
    total: int | None
