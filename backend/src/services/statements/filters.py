"""The filters of a list, each by its name. All are ANDed, and a null never matches a range."""

from typing import Final

from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    Text,
    any_,
    bindparam,
    cast,
    func,
    or_,
    select,
)

from src.models.task import INSTANT, TASK_PRIORITY
from src.services.statements.due import DUE_RANGES, due_day, is_overdue, is_undated, today
from src.services.statements.parts import tasks


def _contains(column: ColumnElement[str]) -> ColumnElement[bool]:
    # Not LIKE: in a plain search for a substring, % and _ mean themselves.
    sought = select(func.lower(bindparam("q", type_=Text()))).scalar_subquery()
    return func.strpos(func.lower(column), sought) > 0


FILTERS: Final[dict[str, ColumnElement[bool]]] = {
    "is_completed": tasks.c.is_completed == bindparam("only_completed", type_=Boolean()),
    "priority": tasks.c.priority
    == any_(cast(bindparam("priorities", type_=ARRAY(Text)), ARRAY(TASK_PRIORITY))),
    "tag": tasks.c.tags.op("@>", is_comparison=True)(bindparam("all_tags", type_=ARRAY(Text))),
    "q": or_(_contains(tasks.c.title), _contains(tasks.c.description)),
    "overdue": is_overdue,
    "today": due_day == today,
    "upcoming": due_day > today,
    "none": is_undated,
    **DUE_RANGES,
    "created_before": tasks.c.created_at < bindparam("created_before", type_=INSTANT),
    "created_after": tasks.c.created_at >= bindparam("created_after", type_=INSTANT),
    "updated_after": tasks.c.updated_at >= bindparam("updated_after", type_=INSTANT),
}
