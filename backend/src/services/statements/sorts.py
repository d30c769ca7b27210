"""The sorts of a list: their columns, and what comes after the row that a cursor names.

Nulls come last both ways, and the id breaks ties in the direction of the last key.
"""

import re
from collections.abc import Callable
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Enum, and_, bindparam, cast, false, or_, tuple_
from sqlalchemy.dialects.postgresql import TIMESTAMP

from src.models.limits import PRIORITIES
from src.schemas.fields import parse_instant, parse_uuid, refuse_nul
from src.schemas.parameters import SortKey
from src.services.statements.due import due_day
from src.services.statements.parts import instant, tasks

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class SortColumn(NamedTuple):
    """A column of the ORDER BY, and how its value in a cursor is read."""

    value: ColumnElement[Any]
    is_descending: bool
    parse: Callable[[object], object]
    is_nullable: bool = False
    nulls_first: bool = False

    def order(self) -> ColumnElement[Any]:
        """Give its term of the ORDER BY."""
        ordered = self.value.desc() if self.is_descending else self.value.asc()
        if not self.is_nullable:
            return ordered
        return ordered.nulls_first() if self.nulls_first else ordered.nulls_last()

    def follows(self, key: ColumnElement[Any], *, key_is_null: bool) -> ColumnElement[bool]:
        """Match the rows that this column puts strictly after the key."""
        if key_is_null:
            return self.value.is_not(None) if self.nulls_first else false()
        after = self.value < key if self.is_descending else self.value > key
        ends_with_nulls = self.is_nullable and not self.nulls_first
        return or_(after, self.value.is_(None)) if ends_with_nulls else after

    def equals(self, key: ColumnElement[Any], *, key_is_null: bool) -> ColumnElement[bool]:
        """Match the rows that this column does not tell from the key."""
        return self.value.is_(None) if key_is_null else self.value == key


def sort_columns(sort: tuple[SortKey, ...]) -> list[SortColumn]:
    """Give the columns that a sort stands for."""
    columns: list[SortColumn] = []
    for field, descending in sort:
        if field == "due":
            columns.append(SortColumn(due_day, descending, _parse_day, is_nullable=True))
            # What is due on the whole day begins with it: before what is due in it.
            columns.append(
                SortColumn(
                    tasks.c.due_at,
                    descending,
                    parse_instant,
                    is_nullable=True,
                    nulls_first=not descending,
                )
            )
        elif field == "title":
            # By code point: the same on every server, whatever its locale.
            columns.append(SortColumn(tasks.c.title.collate("C"), descending, _parse_text))
        else:
            parse = _parse_priority if field == "priority" else parse_instant
            columns.append(SortColumn(tasks.c[field], descending, parse))
    return [*columns, SortColumn(tasks.c.id, sort[-1].is_descending, parse_uuid)]


def as_key(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Write a value of a sort column as a cursor keeps it."""
    return instant(value) if isinstance(value.type, TIMESTAMP) else value


def is_after(columns: list[SortColumn], nulls: tuple[bool, ...]) -> ColumnElement[bool]:
    """Match the rows after the one whose sort keys are the parameters `after_0`, `after_1`, ...

    `nulls` says which of the keys are null.
    """
    keys = [_parameter(column, position) for position, column in enumerate(columns)]
    is_plain = not any(column.is_nullable for column in columns)
    if is_plain and len({column.is_descending for column in columns}) == 1:
        # The comparison of rows is the one that an index can start from.
        rows = tuple_(*(column.value for column in columns))
        return rows < tuple_(*keys) if columns[0].is_descending else rows > tuple_(*keys)
    alternatives = []
    equal: list[ColumnElement[bool]] = []
    for column, key, is_null in zip(columns, keys, nulls, strict=True):
        alternatives.append(and_(*equal, column.follows(key, key_is_null=is_null)))
        equal.append(column.equals(key, key_is_null=is_null))
    return or_(*alternatives)


def _parameter(column: SortColumn, position: int) -> ColumnElement[Any]:
    key = bindparam(f"after_{position}", type_=column.value.type)
    # PostgreSQL takes an untyped parameter for text, which an enum cannot be compared with.
    return cast(key, column.value.type) if isinstance(column.value.type, Enum) else key


# A cursor may be anybody's invention, so each key is read as strictly as a field.


def _parse_day(value: object) -> date:
    """Read a day. In its zone, an instant of the first or last year may lie a day outside."""
    if isinstance(value, str) and _DAY.fullmatch(value):
        return date.fromisoformat(value)
    raise ValueError


def _parse_text(value: object) -> str:
    if isinstance(value, str):
        return refuse_nul(value)
    raise ValueError


def _parse_priority(value: object) -> str:
    if isinstance(value, str) and value in PRIORITIES:
        return value
    raise ValueError
