"""The order that the user arranged: positions, and the statement that moves a task.

A position is a decimal number, written so that comparing text is comparing numbers. A new task gets
its version, which is greater than all before. A task that is moved gets the shortest number between
its new neighbours; at an end, the next whole number. If there is no number that is short enough,
the tasks around are spread first. See ADR 0021.
"""

from bisect import bisect_left, insort
from collections.abc import Container, Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    CompoundSelect,
    FromClause,
    Numeric,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    cast,
    exists,
    func,
    not_,
    null,
    or_,
    select,
    true,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.sql.selectable import LateralFromClause

from src.models.limits import POSITION_DECIMALS, POSITION_MAX_LENGTH, POSITION_WHOLE_DIGITS
from src.schemas.task import Place
from src.services.statements import (
    IS_CURRENT,
    IS_TASK,
    LAST_WHOLE,
    LIMIT,
    TASK,
    USER,
    columns_of,
    constant,
    next_version,
    tasks,
)

_END: Final = 10**POSITION_WHOLE_DIGITS
"""Greater than every position. None is less than 0."""

_ONE: Final = 10**POSITION_DECIMALS
"""The whole number 1 in units of the last decimal. Integers make all arithmetic exact."""

SPREAD_DECIMALS: Final = 6
"""Decimals of positions after a spread: enough remain for a whole batch of moves to one place."""

TASKS_AROUND: Final = 64
"""Tasks on each side of a place without room that are moved to make some."""


class Key(NamedTuple):
    """What the order is by."""

    position: str
    id: UUID


class NoRoom(Exception):
    """There is no position that is short enough, and not enough tasks `near` it can be moved."""

    def __init__(self, near: str) -> None:
        super().__init__(near)
        self.near = near


def parse_position(position: str) -> int:
    """Return a position as an integer, in units of the last decimal."""
    whole, _, decimals = position.partition(".")
    return int(whole + decimals.ljust(POSITION_DECIMALS, "0"))


def format_position(number: int, decimals: int) -> str:
    """Write an integer in units of this decimal as a position."""
    digits = str(number).rjust(POSITION_WHOLE_DIGITS + decimals, "0")
    whole, rest = digits[:POSITION_WHOLE_DIGITS], digits[POSITION_WHOLE_DIGITS:].rstrip("0")
    return f"{whole}.{rest}" if rest else whole


def last_position(last: str | None, version: int) -> str:
    """Return the position of a new task: its version, or the next whole number after the last one.

    After the last whole number, it gets one decimal more than the last one. If that has all
    decimals already, it gets the same position.
    """
    if last is not None and last >= LAST_WHOLE:
        return f"{last}{'5' if '.' in last else '.5'}"[:POSITION_MAX_LENGTH]
    after_last = 0 if last is None else parse_position(last) // _ONE + 1
    return format_position(min(max(version, after_last), _END - 1), 0)


def position_between(after: str | None, before: str | None) -> str | None:
    """Return the position between two others, of which one can be None: then it is an end.

    The result is None if there is no number that is short enough.
    """
    if before is None:
        low = parse_position(str(after))
        high = min(low // _ONE + 2, _END) * _ONE
    elif after is None:
        high = parse_position(before)
        low = max(high // _ONE - 2, 0) * _ONE
    else:
        low, high = parse_position(after), parse_position(before)
    for decimals in range(POSITION_DECIMALS + 1):
        unit = 10 ** (POSITION_DECIMALS - decimals)
        first, last = low // unit + 1, -(-high // unit) - 1
        if first <= last:
            return format_position((first + last) // 2, decimals)
    return None


def spread_positions(count: int, after: str | None, before: str | None) -> list[str] | None:
    """Return this many positions, evenly between two others; without one, up to that end.

    The result is None if the positions would need more than `SPREAD_DECIMALS`.
    """
    gaps = count + 1
    low = 0 if after is None else parse_position(after)
    high = min(low + gaps * _ONE, _END * _ONE) if before is None else parse_position(before)
    unit = 10 ** (POSITION_DECIMALS - SPREAD_DECIMALS)
    first, last = low // unit, -(-high // unit)
    if last - first < gaps:
        return None
    return [
        format_position(first + (last - first) * number // gaps, SPREAD_DECIMALS)
        for number in range(1, gaps)
    ]


class Order:
    """A part of a user's order: the keys around the tasks that are to be moved, and both ends."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = sorted(set(keys))
        self._positions = {key.id: key.position for key in self._keys}

    def last_position(self, version: int) -> str:
        """Return the position of a new task with this version."""
        return last_position(self._keys[-1].position if self._keys else None, version)

    def put(self, id_: UUID, position: str) -> None:
        """Put a task into this position."""
        self.remove(id_)
        self._positions[id_] = position
        insort(self._keys, Key(position, id_))

    def remove(self, id_: UUID) -> None:
        """Take a task out, if it is there."""
        if id_ in self._positions:
            del self._keys[self._index(id_)]
            del self._positions[id_]

    def move(self, id_: UUID, place: Place, movable: Container[UUID]) -> dict[UUID, str]:
        """Return the positions that bring the task to the place; none, if it is there.

        If there is no room, the positions of movable tasks around are among them.

        Raises:
            NoRoom: there are not enough movable tasks.
        """
        if place.neighbour == id_:
            return {}
        here = self._index(id_)
        others = self._keys[:here] + self._keys[here + 1 :]
        if place.neighbour is None:
            gap = 0 if place.side == "after" else len(others)
        else:
            neighbour = self._index(place.neighbour)
            gap = neighbour - (neighbour > here) + (place.side == "after")
        if gap == here:
            return {}
        position = position_between(_position_at(others, gap - 1), _position_at(others, gap))
        if position is not None:
            return {id_: position}
        start = stop = gap
        while start > 0 and others[start - 1].id in movable:
            start -= 1
        while stop < len(others) and others[stop].id in movable:
            stop += 1
        moved = [*others[start:gap], self._keys[here], *others[gap:stop]]
        positions = spread_positions(
            len(moved), _position_at(others, start - 1), _position_at(others, stop)
        )
        if positions is None:
            raise NoRoom(others[max(gap - 1, 0)].position)
        return {key.id: position for key, position in zip(moved, positions, strict=True)}

    def _index(self, id_: UUID) -> int:
        return bisect_left(self._keys, Key(self._positions[id_], id_))


def _position_at(keys: Sequence[Key], index: int) -> str | None:
    return keys[index].position if 0 <= index < len(keys) else None


# The statement that moves a task


# As `format_position` writes it: without zeros at the end, and without a point that nothing
# follows.
_FORM: Final = constant(f"FM{'0' * POSITION_WHOLE_DIGITS}.{'9' * POSITION_DECIMALS}")


def between(ends: FromClause) -> ColumnElement[str]:
    """Do what `position_between` does, in SQL. The ends are one row: `after` and `before`."""
    after, before = cast(ends.c.after, Numeric), cast(ends.c.before, Numeric)
    two = constant(2)
    series = (
        func.generate_series(constant(0), constant(POSITION_DECIMALS))
        .table_valued("decimals", name="series")
        .render_derived()
    )
    bounds = (
        select(
            func.coalesce(after, func.greatest(func.trunc(before) - two, constant(0))).label("low"),
            func.coalesce(before, func.least(func.trunc(after) + two, constant(_END))).label(
                "high"
            ),
            series.c.decimals,
        )
        .select_from(ends.join(series, true()))
        .subquery("bounds")
    )
    # Powers of ten that are exact in every version of PostgreSQL: `power` was not always.
    decimals, low, high = cast(bounds.c.decimals, Text), bounds.c.low, bounds.c.high
    scale = cast(constant("1e").concat(decimals), Numeric)
    unit = cast(constant("1e-").concat(decimals), Numeric)
    number = func.div(func.floor(low * scale) + func.ceil(high * scale), two) * unit
    return (
        select(func.rtrim(func.to_char(number, _FORM), constant(".")))
        .where(low < number, number < high)
        .order_by(bounds.c.decimals)
        .limit(constant(1))
        .scalar_subquery()
    )


def in_order(*conditions: ColumnElement[bool], is_after: bool) -> Select[Any]:
    """Read the keys of the user's tasks, forwards or, for those before a place, backwards."""
    order = (tasks.c.position, tasks.c.id)
    return (
        select(*order)
        .where(tasks.c.user_id == USER, *conditions)
        .order_by(*(order if is_after else (column.desc() for column in order)))
    )


def is_beyond(row: FromClause, place: FromClause, *, is_after: bool) -> ColumnElement[bool]:
    """Match a row that comes after another one in the order, or before it."""
    here, there = (tuple_(each.c.position, each.c.id) for each in (row, place))
    return here > there if is_after else here < there


def _next_to(anchor: CTE | None, *, is_after: bool) -> LateralFromClause:
    """Read the task directly after the anchor, or before it, leaving out the one that moves.

    Without an anchor, it is the first task, or the last one.
    """
    others = [tasks.c.id != TASK]
    if anchor is not None:
        others.append(is_beyond(tasks, anchor, is_after=is_after))
    return in_order(*others, is_after=is_after).limit(constant(1)).lateral("beyond")


@cache
def move_task(side: str, *, has_neighbour: bool) -> Select[Any]:
    """Move the task directly after or before the neighbour, or to that end.

    Returns the task as it is now, with four flags. `is_moved`: it has been moved. `is_current`: it
    has one of the versions that the client named. `is_found`: the neighbour exists. `is_there`: it
    was at this place already. If only `is_moved` and `is_there` are false, there was no room at the
    place, or the list has changed in the meantime.
    """
    is_after = side == "after"
    task = select(tasks, IS_CURRENT.label("is_current")).where(*IS_TASK).cte("task")
    neighbour = (
        select(tasks.c.position, tasks.c.id)
        .where(tasks.c.user_id == USER, tasks.c.id == bindparam("the_neighbour", type_=Uuid()))
        .cte("neighbour")
    )
    beyond = _next_to(neighbour if has_neighbour else None, is_after=is_after)
    source = task.outerjoin(neighbour, true()) if has_neighbour else task
    # Without a neighbour, the task goes to an end: nothing is on its other side.
    here = neighbour.c.position if has_neighbour else cast(null(), Text)
    after, before = (here, beyond.c.position) if is_after else (beyond.c.position, here)
    is_there = or_(beyond.c.id.is_(None), is_beyond(task, beyond, is_after=not is_after))
    if has_neighbour:
        is_there = and_(is_beyond(task, neighbour, is_after=is_after), is_there)
    places = (
        select(
            task,
            (neighbour.c.id.is_not(None) if has_neighbour else true()).label("is_found"),
            is_there.label("is_there"),
            after.label("after"),
            before.label("before"),
        )
        .select_from(source.outerjoin(beyond, true()))
        .cte("places")
    )
    situation = select(places, between(places).label("place")).cte("situation")
    moves = exists().where(
        situation.c.is_current,
        situation.c.is_found,
        not_(situation.c.is_there),
        situation.c.place.is_not(None),
    )
    change = next_version(moves, is_list_unchanged=True)
    moved = (
        update(tasks)
        .where(*IS_TASK, tasks.c.user_id == change.c.user_id)
        .values(
            position=select(situation.c.place).scalar_subquery(),
            version=change.c.version,
            updated_at=change.c.at,
        )
        .returning(tasks)
        .cte("moved")
    )
    new = {"position", "version", "updated_at"}
    return select(
        *(
            func.coalesce(moved.c[column.name], column).label(column.name)
            if column.name in new
            else column
            for column in columns_of(situation)
        ),
        moved.c.id.is_not(None).label("is_moved"),
        situation.c.is_current,
        situation.c.is_found,
        situation.c.is_there,
    ).select_from(situation.outerjoin(moved, true()))


def _tasks_near() -> CompoundSelect[Any]:
    """Read the ids of the nearest tasks on each side of a position."""
    near = bindparam("near", type_=Text())
    before = in_order(tasks.c.position <= near, is_after=False).limit(LIMIT).subquery()
    after = in_order(tasks.c.position > near, is_after=True).limit(LIMIT).subquery()
    return union_all(select(before.c.id), select(after.c.id))


TASKS_NEAR: Final = _tasks_near()
