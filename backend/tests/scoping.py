"""Finds statements on a user's tables that are not scoped by `user_id`.

It reads the statement as SQLAlchemy holds it, so no way of writing the SQL slips through.
"""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, Delete, FromClause, Insert, Select, Table, Update
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList
from sqlalchemy.sql.expression import ClauseElement, ColumnClause

from src.models.task import metadata

USER_PARAMETER = "the_user"


def unscoped_tables(statement: ClauseElement) -> list[str]:
    """Name the user tables that some part of the statement touches without its user."""
    return [str(table) for part in visitors.iterate(statement) for table in _unscoped(part)]


def _unscoped(part: object) -> Iterator[FromClause]:
    if isinstance(part, Select):
        # A correlated table is the enclosing statement's, and is looked at there.
        outer = part._correlate or ()  # noqa: SLF001 — there is no public way
        for table in part.get_final_froms():
            if (
                table not in outer
                and _is_user_table(table)
                and not _is_scoped(table, part.whereclause)
            ):
                yield table
    elif isinstance(part, Update | Delete):
        if not _is_scoped(part.table, part.whereclause):
            yield part.table
    elif isinstance(part, Insert) and not _inserts_the_user(part):
        yield part.table


def _is_user_table(table: object) -> bool:
    return isinstance(table, Table) and table.name in metadata.tables


def _is_scoped(table: object, condition: ColumnElement[bool] | None) -> bool:
    return any(
        isinstance(term, BinaryExpression)
        and term.operator is operators.eq
        and isinstance(term.left, ColumnClause)
        and term.left.table is table
        and term.left.name == "user_id"
        and _is_the_user(term.right)
        for term in _conjunction(condition)
    )


def _conjunction(condition: ColumnElement[bool] | None) -> Iterator[object]:
    """Give the terms that must all hold: one inside an OR would scope nothing."""
    if isinstance(condition, BooleanClauseList) and condition.operator is operators.and_:
        for term in condition.clauses:
            yield from _conjunction(term)
    elif condition is not None:
        yield condition


def _inserts_the_user(statement: Insert) -> bool:
    names, source = statement._select_names or [], statement.select  # noqa: SLF001 — there is no public way
    if not isinstance(source, Select) or "user_id" not in names:
        return False
    return _is_the_user(list(source.selected_columns)[list(names).index("user_id")])


def _is_the_user(value: object) -> bool:
    return isinstance(value, BindParameter) and value.key == USER_PARAMETER
