"""When a task is due, in the civil days of a time zone: computed by PostgreSQL.

A day stays what it is; only an instant is converted, to the day it falls on in the zone.
"""

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Date,
    Text,
    and_,
    bindparam,
    cast,
    func,
    not_,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import INTERVAL, TIMESTAMP

from src.models.task import INSTANT
from src.services.statements.parts import tasks

NOW: Final = bindparam("the_time", type_=INSTANT)
ZONE: Final = bindparam("the_zone", type_=Text())
_ONE_TICK: Final = bindparam("one_tick", timedelta(microseconds=1), INTERVAL())


def _day_of(at: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(func.timezone(ZONE, at, type_=TIMESTAMP()), Date)


def _once(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Compute what does not depend on the row once, also in a plan that is kept."""
    return select(value).scalar_subquery()


today: Final = _once(_day_of(NOW))
due_day: Final = func.coalesce(tasks.c.due_date, _day_of(tasks.c.due_at))
is_overdue: Final = and_(
    not_(tasks.c.is_completed),
    # A day is over only when it has ended in the zone.
    or_(tasks.c.due_at < NOW, tasks.c.due_date < today),
)
is_undated: Final = and_(tasks.c.due_date.is_(None), tasks.c.due_at.is_(None))


def _has_begun_before(at: ColumnElement[Any]) -> ColumnElement[Any]:
    """Give the last day that began before an instant: the day of the moment before it.

    To convert the midnights of the days instead would have to choose where a midnight comes
    twice or not at all, as it does in some zones when the clocks change.
    """
    return _once(_day_of(at - _ONE_TICK))


_BEFORE: Final = bindparam("due_instant_before", type_=INSTANT)
_AFTER: Final = bindparam("due_instant_after", type_=INSTANT)

DUE_RANGES: Final[dict[str, ColumnElement[bool]]] = {
    "due_day_before": due_day < bindparam("due_day_before", type_=Date()),
    "due_day_after": due_day >= bindparam("due_day_after", type_=Date()),
    "due_instant_before": or_(
        tasks.c.due_at < _BEFORE, tasks.c.due_date <= _has_begun_before(_BEFORE)
    ),
    "due_instant_after": or_(
        tasks.c.due_at >= _AFTER, tasks.c.due_date > _has_begun_before(_AFTER)
    ),
}
"""Half-open, like every range: after is inclusive, before is exclusive."""
