"""Finds statements on a user's tables that are not scoped by `user_id`.

It reads the statement as SQLAlchemy holds it, so no way of writing the SQL slips through.
What it cannot read (a table by its bare name, SQL as text) counts as unscoped.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from sqlalchemy import Delete, FromClause, Insert, Join, Select, TableClause, TextClause, Update
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList
from sqlalchemy.sql.expression import ClauseElement, ColumnClause
from sqlalchemy.sql.visitors import ExternallyTraversible

from src.models.task import metadata

USER_PARAMETER: Final = "the_user"
_NAMES: Final = re.compile(rf"\b({'|'.join(metadata.tables)})\b")


def unscoped_tables(statement: ClauseElement) -> list[str]:
    """Name the user tables that some part of the statement touches without its user."""
    if isinstance(statement, TextClause):
        return _NAMES.findall(statement.text)
    return list(_walk(statement, enclosing=()))


def _walk(part: ExternallyTraversible, *, enclosing: tuple[object, ...]) -> Iterator[str]:
    sources: list[FromClause] = []
    if isinstance(part, Select):
        # A correlated table is the enclosing statement's, and is looked at there.
        outer = [source for source in _plain(part._correlate or ()) if source in enclosing]
        sources = [table for table in _tables(part.get_final_froms()) if table not in outer]
        yield from _unscoped(sources, part.whereclause)
    elif isinstance(part, Update | Delete):
        used = [column.table for column in _columns(part.whereclause)]
        sources = list(dict.fromkeys(_tables([part.table, *used])))
        yield from _unscoped(sources, part.whereclause)
    elif isinstance(part, Insert) and not _inserts_the_user(part):
        yield part.table.name
    for child in part.get_children():
        yield from _walk(child, enclosing=(*enclosing, *sources))


def _tables(sources: Iterable[object]) -> Iterator[FromClause]:
    """Give the user tables among the sources, and the aliases of them."""
    for source in _plain(sources):
        if isinstance(source, Join):
            yield from _tables([source.left, source.right])
        elif isinstance(source, FromClause) and _name(source) in metadata.tables:
            yield source


def _name(source: object) -> str | None:
    while not isinstance(source, TableClause):
        source = getattr(source, "element", None)
        if source is None or isinstance(source, Select):
            return None
    return source.name


def _unscoped(tables: Iterable[FromClause], condition: object) -> Iterator[str]:
    for table in tables:
        if not any(_scopes(term, table) for term in _conjunction(condition)):
            yield _name(table) or ""


def _scopes(term: object, table: FromClause) -> bool:
    return (
        isinstance(term, BinaryExpression)
        and term.operator is operators.eq
        and isinstance(term.left, ColumnClause)
        and next(_plain([term.left.table])) is table
        and term.left.name == "user_id"
        and _is_the_user(term.right)
    )


def _conjunction(condition: object) -> Iterator[object]:
    """Give the terms that must all hold: one inside an OR would scope nothing."""
    if isinstance(condition, BooleanClauseList) and condition.operator is operators.and_:
        for term in condition.clauses:
            yield from _conjunction(term)
    elif condition is not None:
        yield condition


def _columns(clause: ExternallyTraversible | None) -> Iterator[ColumnClause[object]]:
    """Give the columns of a condition, but not those of the statements inside it."""
    if isinstance(clause, ColumnClause):
        yield clause
    elif clause is not None and not isinstance(clause, Select):
        for child in clause.get_children():
            yield from _columns(child)


def _inserts_the_user(statement: Insert) -> bool:
    names, source = list(statement._select_names or ()), statement.select
    if not isinstance(source, Select) or "user_id" not in names:
        return False
    return _is_the_user(list(source.selected_columns)[names.index("user_id")])


def _is_the_user(value: object) -> bool:
    return isinstance(value, BindParameter) and value.key == USER_PARAMETER


def _plain(elements: Iterable[object]) -> Iterator[object]:
    """Take off what the ORM annotates: a mapped table is the table."""
    for element in elements:
        yield element._deannotate() if isinstance(element, ClauseElement) else element
