"""What changed in a user's list since a client last asked.

A token names a version: the client has seen every change up to it. Versions follow the order of the
commits, so a statement that sees one change sees all earlier ones, and nothing is ever skipped.

A token also names the first version of the list. If the list has another one, the tasks were lost
or restored since then.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Row, Select, bindparam, cast, exists, func, null, select, union_all, update
from sqlalchemy.dialects.postgresql import BIGINT

from src.exceptions import CursorMismatch, ListRestarted, TokenMismatch
from src.models.task import INSTANT, TaskRow, Tombstone
from src.services.cursors import decode_cursor, encode_cursor
from src.services.statements import (
    IS_UNSEEN,
    LIMIT,
    USER,
    clock_at,
    columns_like_task,
    task_lists,
    task_of,
    task_tombstones,
    tasks,
    tombstone_of,
    with_list,
)

_MAX_VERSION: Final = 2**63 - 1
_SINCE: Final = bindparam("since", type_=BIGINT)
TOKENS: Final = "changes"
"""Stands in tokens where a cursor has its list, so that neither is valid as the other."""


class Token(NamedTuple):
    """The list's first version, which tells it from other lists, and the client's version."""

    first_version: int
    version: int


START: Final = Token(0, -1)
"""Where a client without a token starts. It has no tasks yet, so it needs no deletions."""

_EMPTY: Final = Token(0, 0)
"""The token of a list without a change. It stays valid, whatever list follows."""


class Changes(NamedTuple):
    """The next changes, in the order of their versions.

    `version` is what the client's copy has after these changes: with the last of them, the version
    of the list.
    """

    version: int
    changed: list[TaskRow]
    deleted: list[Tombstone]
    next: str
    has_more: bool


def read_token(token: str, user_id: str) -> Token:
    """Read a token. Anybody can make one, so it may hold anything.

    Raises:
        TokenMismatch: the token is damaged, or was made for another user.
    """
    try:
        keys = decode_cursor(token, user_id=user_id, query=TOKENS)
    except CursorMismatch:
        raise TokenMismatch from None
    is_token = len(keys) == len(Token._fields) and all(
        type(key) is int and 0 <= key <= _MAX_VERSION for key in keys
    )
    if not is_token:
        raise TokenMismatch
    return Token._make(keys)


def changes_of(rows: Sequence[Row[Any]], user_id: str, *, since: Token, limit: int) -> Changes:
    """Build the response from the rows: at least one, and one more than `limit` if there are more.

    Raises:
        ListRestarted: the client has seen another list, or versions that this one does not have.
    """
    version, first_version = rows[0].list_version, rows[0].first_version
    is_of_list = since.first_version == first_version and since.version <= version
    if since not in (START, _EMPTY) and not is_of_list:
        raise ListRestarted
    shown = rows[:limit] if rows[0].id is not None else []
    has_more = len(rows) > limit
    reached = shown[-1].version if has_more else version
    return Changes(
        reached,
        [task_of(row) for row in shown if row.deleted_at is None],
        [tombstone_of(row) for row in shown if row.deleted_at is not None],
        encode_cursor(list(Token(first_version, reached)), user_id=user_id, query=TOKENS),
        has_more,
    )


def _list_changes() -> Select[Any]:
    """Read the next changes after a version. For a client that has `seen` the list, none is read.

    A task that was deleted and created again can still have its tombstone, if the two overlapped:
    the higher version is the truth.
    """
    changed = (
        select(*columns_like_task(tasks), cast(null(), INSTANT).label("deleted_at"))
        .where(tasks.c.user_id == USER, tasks.c.version > _SINCE, IS_UNSEEN)
        .order_by(tasks.c.version)
        .limit(LIMIT + 1)
    )
    is_back = (
        exists()
        .where(
            tasks.c.user_id == USER,
            tasks.c.id == task_tombstones.c.id,
            tasks.c.version > task_tombstones.c.version,
        )
        .correlate(task_tombstones)
    )
    deleted = (
        select(*columns_like_task(task_tombstones), task_tombstones.c.deleted_at)
        .where(
            task_tombstones.c.user_id == USER,
            task_tombstones.c.version > _SINCE,
            START.version < _SINCE,
            IS_UNSEEN,
            ~is_back,
        )
        .order_by(task_tombstones.c.version)
        .limit(LIMIT + 1)
    )
    union = union_all(changed, deleted).subquery("union")
    page = select(union).order_by(union.c.version).limit(LIMIT + 1).subquery("page")
    first_version = func.coalesce(
        select(task_lists.c.first_version).where(task_lists.c.user_id == USER).scalar_subquery(), 0
    )
    return with_list(page, first_version.label("first_version")).order_by(page.c.version)


LIST_CHANGES: Final = _list_changes()

_restart: Final = func.greatest(task_lists.c.version + 1, clock_at(func.now()))

RESTART_LISTS: Final = update(task_lists).values(version=_restart, first_version=_restart)
"""Let the lists of all users begin with a new version, so that no earlier token is valid."""
