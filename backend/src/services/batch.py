"""A batch of operations: read what it names, work out the result, and write it in one statement.

The result is worked out here, operation by operation, from what one statement has read. Then one
statement writes the final state of all tasks, if nothing has changed in the list since the reading.
So a batch of any size takes two round trips. See ADR 0020.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Column,
    FromClause,
    LargeBinary,
    Row,
    Select,
    TableValuedAlias,
    Text,
    Uuid,
    any_,
    bindparam,
    cast,
    column,
    delete,
    func,
    null,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import BIGINT
from sqlalchemy.dialects.postgresql import insert as upsert
from uuid6 import uuid7

from src.exceptions import (
    BatchFailed,
    TaskDeleted,
    TaskError,
    TaskExists,
    TaskNotFound,
    UnknownNeighbour,
    VersionMismatch,
)
from src.models.task import INSTANT, TaskRow, Tombstone
from src.schemas.batch import (
    CreateOperation,
    DeleteOperation,
    MoveOperation,
    Operation,
    UpdateOperation,
)
from src.schemas.task import Place, TaskCreate, TaskUpdate
from src.services.idempotency import fingerprint_of
from src.services.order import Key, Order, in_order, is_beyond
from src.services.statements import (
    USER,
    columns_like_task,
    put_rows,
    task_lists,
    task_of,
    task_tombstones,
    tasks,
    tombstone_of,
    with_list,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Result(NamedTuple):
    """The result of one operation: the task, or what remains of it."""

    op: Literal["create", "update", "complete", "move", "delete"]
    task: TaskRow | None = None
    deleted: Tombstone | None = None


class Plan:
    """The tasks that a batch names, as its operations change them."""

    def __init__(self, rows: Sequence[Row[Any]]) -> None:
        """Start from what `READ_BATCH` gave."""
        self.seen_version: int = rows[0].list_version
        self._at: datetime = rows[0].at
        clock = (self._at - _EPOCH) // _MICROSECOND
        self.version: int = max(self.seen_version, clock - 1)  # the next one is greater by one
        self._first_version = self.version + 1
        tasks = [row for row in rows if row.title is not None]
        self._tasks = {row.id: task_of(row) for row in tasks}
        self._before = dict(self._tasks)
        self._tombstones = {row.id: tombstone_of(row) for row in rows if row.deleted_at}
        self._fingerprints = {row.id: row.request_hash for row in tasks}
        self._order = Order(Key(row.position, row.id) for row in rows if row.position is not None)
        self._changed: dict[UUID, None] = {}  # in order, each once
        self._deleted_here: set[UUID] = set()  # ids that the batch itself has deleted

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be written."""
        return not self._changed

    def is_found_in(self, rows: Sequence[Row[Any]]) -> bool:
        """Tell whether what `READ_BATCH` gave later shows that this plan was carried out.

        One task or tombstone exactly as planned is enough: no other change has its version.
        """
        found = Plan(rows)
        return any(
            found._tasks.get(id_) == self._tasks[id_]
            if id_ in self._tasks
            else found._tombstones.get(id_) == self._tombstones[id_]
            for id_ in self._changed
        )

    def run(self, user_id: str, operations: Sequence[Operation]) -> list[Result]:
        """Carry out the operations in their order.

        Raises:
            BatchFailed: some of them cannot be carried out.
            NoRoom: there is no position for a task, unless more tasks around it are read.
        """
        last_op = {operation.id: operation.op for operation in operations}
        results = []
        failures: dict[int, TaskError] = {}
        for position, operation in enumerate(operations):
            try:
                results.append(self._run(user_id, operation, last_op[operation.id]))
            except TaskError as error:
                failures[position] = error
        if failures:
            raise BatchFailed(failures)
        return results

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of `WRITE_BATCH`."""
        written = [self._tasks[id_] for id_ in self._changed if id_ in self._tasks]
        deleted = [self._tombstones[id_] for id_ in self._changed if id_ not in self._tasks]
        return {
            "seen_version": self.seen_version,
            "first_version": self._first_version,
            "last_version": self.version,
            "written": _json(
                task._asdict() | {"request_hash": _hex(self._fingerprints.get(task.id))}
                for task in written
            ),
            "deleted": _json(tombstone._asdict() for tombstone in deleted),
        }

    def _run(self, user_id: str, operation: Operation, last_op: str) -> Result:
        id_ = operation.id
        if isinstance(operation, CreateOperation):
            return Result("create", task=self._create(user_id, id_, operation.task, last_op))
        if isinstance(operation, DeleteOperation):
            return Result("delete", deleted=self._delete(id_, operation.if_version))
        if isinstance(operation, MoveOperation):
            return Result("move", task=self._move(id_, operation.place, operation.if_version))
        values = (
            operation.changes.to_values()
            if isinstance(operation, UpdateOperation)
            else {"is_completed": operation.is_completed}
        )
        return Result(operation.op, task=self._update(id_, values, operation.if_version))

    def _create(self, user_id: str, id_: UUID, task: TaskCreate, last_op: str) -> TaskRow:
        fields = task.to_values()
        fingerprint = fingerprint_of(task)
        existing = self._tasks.get(id_)
        if existing is not None:
            is_same = self._fingerprints.get(id_) == fingerprint or all(
                getattr(existing, name) == value for name, value in fields.items()
            )
            if not is_same:
                raise TaskExists(self._before.get(id_, existing))
            return existing
        # Sent again, a batch must not bring back what somebody has deleted. But it may create a
        # task that it deletes again.
        is_free = id_ not in self._tombstones or id_ in self._deleted_here
        if not is_free and last_op != "delete":
            raise TaskDeleted
        self._fingerprints[id_] = fingerprint
        return self._write(
            TaskRow(
                id=id_,
                user_id=user_id,
                **{"position": self._order.last_position(self.version + 1), **fields},
                completed_at=None,
                version=0,
                created_at=self._at,
                updated_at=self._at,
            )
        )

    def _update(self, id_: UUID, values: Mapping[str, Any], if_version: int | None) -> TaskRow:
        task = self._existing(id_, if_version)
        return self._write(task._replace(**values)) if values else task

    def _move(self, id_: UUID, place: Place, if_version: int | None) -> TaskRow:
        task = self._existing(id_, if_version)
        if place.neighbour is not None and place.neighbour not in self._tasks:
            raise UnknownNeighbour(place.side)
        positions = self._order.move(id_, place, self._tasks)
        # The task itself comes last: so its version is the latest.
        for moved in sorted(positions, key=id_.__eq__):
            task = self._write(self._tasks[moved]._replace(position=positions[moved]))
        return task

    def _delete(self, id_: UUID, if_version: int | None) -> Tombstone:
        self._deleted_here.add(id_)
        if id_ not in self._tasks and id_ in self._tombstones:
            return self._tombstones[id_]
        self._existing(id_, if_version)
        del self._tasks[id_]
        self._order.remove(id_)
        self._tombstones[id_] = Tombstone(id_, self._next_version(id_), self._at)
        return self._tombstones[id_]

    def _existing(self, id_: UUID, if_version: int | None) -> TaskRow:
        task = self._tasks.get(id_)
        before = self._before.get(id_)
        if task is None or (before is None and if_version is not None):
            raise TaskNotFound
        if before is not None and if_version not in (None, before.version):
            raise VersionMismatch(before)
        return task

    def _write(self, task: TaskRow) -> TaskRow:
        self._order.put(task.id, task.position)
        completed_at = (task.completed_at or self._at) if task.is_completed else None
        self._tasks[task.id] = task._replace(
            completed_at=completed_at, version=self._next_version(task.id), updated_at=self._at
        )
        return self._tasks[task.id]

    def _next_version(self, id_: UUID) -> int:
        self._changed[id_] = None
        self.version += 1
        return self.version


def with_ids(operations: Iterable[Operation]) -> list[Operation]:
    """Give every new task its id. Chosen once, it makes the batch repeatable."""
    return [
        operation
        if "id" in operation.model_fields_set
        else operation.model_copy(update={"id": UUID(int=uuid7().int)})
        for operation in operations
    ]


def _json(rows: Iterable[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows)).decode()


def _hex(fingerprint: bytes | None) -> str | None:
    return None if fingerprint is None else f"\\x{fingerprint.hex()}"


def read_parameters(
    user_id: str, operations: Iterable[Operation], around: Iterable[UUID] = ()
) -> dict[str, Any]:
    """Return the parameters of `READ_BATCH`: the tasks that are named, and more tasks `around`."""
    named = {operation.id for operation in operations} | set(around)
    moves = [operation for operation in operations if isinstance(operation, MoveOperation)]
    named.update(move.place.neighbour for move in moves if move.place.neighbour is not None)
    # A new task comes after the last one, which the batch itself may delete or put elsewhere.
    comes_last = any(
        isinstance(operation, CreateOperation) and "position" not in operation.task.model_fields_set
        for operation in operations
    )
    needs_keys = bool(moves) or (
        comes_last and any(isinstance(one, DeleteOperation | UpdateOperation) for one in operations)
    )
    given = [
        {"id": operation.id, "position": body.position}
        for operation in operations
        for body in [_fields_of(operation)]
        if body is not None and "position" in body.model_fields_set
    ]
    return {
        "the_user": user_id,
        "ids": list(named),
        "needs_keys": needs_keys,
        "given": _json(given if needs_keys else ()),
    }


def _fields_of(operation: Operation) -> TaskCreate | TaskUpdate | None:
    if isinstance(operation, CreateOperation):
        return operation.task
    return operation.changes if isinstance(operation, UpdateOperation) else None


# Statements

_IDS: Final = bindparam("ids", type_=ARRAY(Uuid))
_NEEDS_KEYS: Final = bindparam("needs_keys", type_=Boolean())


def _read_batch() -> Select[Any]:
    """Read the list's version, the time, and the tasks and tombstones with these ids.

    If the batch needs them, also the keys around these tasks and around the `given` ones.
    """
    found = union_all(
        select(
            *columns_like_task(tasks),
            tasks.c.request_hash,
            cast(null(), INSTANT).label("deleted_at"),
        ).where(tasks.c.user_id == USER, tasks.c.id == any_(_IDS)),
        select(
            *columns_like_task(task_tombstones),
            cast(null(), LargeBinary),
            task_tombstones.c.deleted_at,
        ).where(
            task_tombstones.c.user_id == USER,
            task_tombstones.c.id == any_(_IDS),
        ),
        *(
            select(*columns_like_task(keys), cast(null(), LargeBinary), cast(null(), INSTANT))
            for keys in _keys_around()
        ),
    ).subquery("found")
    return with_list(found, func.clock_timestamp(type_=INSTANT).label("at"))


def _keys_around() -> Iterator[FromClause]:
    """Read the last key; if needed, also the first one, and those before and after each task."""
    given = _rows("given", [tasks.c.id, tasks.c.position])
    named = union_all(
        select(tasks.c.position, tasks.c.id).where(
            tasks.c.user_id == USER, tasks.c.id == any_(_IDS), _NEEDS_KEYS
        ),
        select(given.c.position, given.c.id),
    ).subquery("named")
    for is_after in (True, False):
        one = in_order(is_after=is_after).limit(1)
        is_next = is_beyond(tasks, named, is_after=is_after)
        beyond = one.where(is_next).correlate(named).lateral()
        yield (one.where(_NEEDS_KEYS) if is_after else one).subquery()
        yield select(beyond).select_from(named.join(beyond, true())).subquery()


def _rows(name: str, columns: Iterable[Column[Any]]) -> TableValuedAlias:
    """Read the rows of a parameter: a JSON array of objects. Its size changes no statement."""
    given = cast(bindparam(name, type_=Text()), JSON)
    return (
        func.json_to_recordset(given)
        .table_valued(*(column(each.name, each.type) for each in columns), name=name)
        .render_derived(with_types=True)
    )


def _write_batch() -> Select[Any]:
    """Write the final state of the tasks, if the list is still at the version that was read.

    Returns one row if it was. As in every write, each part waits for the counter.
    """
    change_insertion = upsert(task_lists).from_select(
        ["user_id", "version", "first_version"],
        select(
            USER,
            bindparam("last_version", type_=BIGINT),
            bindparam("first_version", type_=BIGINT),
        ),
    )
    change = (
        change_insertion.on_conflict_do_update(
            index_elements=["user_id"],
            set_={"version": change_insertion.excluded.version},
            where=task_lists.c.version == bindparam("seen_version", type_=BIGINT),
        )
        .returning(task_lists.c.user_id, task_lists.c.version)
        .cte("change")
    )
    written = _rows("written", [each for each in tasks.c if each.name != "user_id"])
    deleted = _rows("deleted", [each for each in task_tombstones.c if each.name != "user_id"])
    parts = [
        put_rows(tasks, written, change.join(written, true())),
        delete(tasks).where(
            tasks.c.user_id == USER, tasks.c.user_id == change.c.user_id, tasks.c.id == deleted.c.id
        ),
        put_rows(task_tombstones, deleted, change.join(deleted, true())),
        delete(task_tombstones).where(
            task_tombstones.c.user_id == USER,
            task_tombstones.c.user_id == change.c.user_id,
            task_tombstones.c.id == written.c.id,
        ),
    ]
    return select(change.c.version).add_cte(*(part.cte() for part in parts))


READ_BATCH: Final = _read_batch()
WRITE_BATCH: Final = _write_batch()
LOCK_LIST: Final = (
    select(task_lists.c.version).where(task_lists.c.user_id == USER).with_for_update()
)
