"""The check of the statements: what it must notice, and what it must let pass."""

from collections.abc import Iterator
from itertools import product
from typing import Final

import pytest
from sqlalchemy import (
    BindParameter,
    TextClause,
    bindparam,
    column,
    delete,
    exists,
    insert,
    literal,
    not_,
    or_,
    select,
    table,
    text,
    union_all,
    update,
)
from sqlalchemy.orm import aliased
from sqlalchemy.sql.expression import ClauseElement, SelectBase, UpdateBase

from src.models.task import Task, metadata
from src.schemas.query import SORT_FIELDS, sort_keys
from src.schemas.task import TaskReplace
from src.services import listing, statements
from tests.scoping import USER_PARAMETER, unscoped_tables

tasks: Final = metadata.tables["tasks"]
task_lists: Final = metadata.tables["task_lists"]
task_tombstones: Final = metadata.tables["task_tombstones"]

USER: Final[BindParameter[str]] = bindparam(USER_PARAMETER)
MINE: Final = tasks.c.user_id == USER
MY_LIST: Final = task_lists.c.user_id == USER
ANYONES: Final = select(tasks.c.id).where(tasks.c.version == 1)
OTHER_NAME: Final = tasks.alias("other_name")


class TestUnscopedStatements:
    @pytest.mark.requirement("FR-015")
    @pytest.mark.parametrize(
        "statement",
        [
            pytest.param(select(tasks), id="select without a condition"),
            pytest.param(ANYONES, id="select by something else"),
            pytest.param(select(Task), id="select of the entity"),
            pytest.param(delete(tasks), id="delete without a condition"),
            pytest.param(delete(Task).where(tasks.c.version == 1), id="delete by something else"),
            pytest.param(update(tasks).values(version=1), id="update without a condition"),
            pytest.param(insert(tasks), id="insert of anything"),
            pytest.param(insert(tasks).values(user_id="alice"), id="insert of a literal"),
            pytest.param(
                insert(tasks).from_select(["id"], select(literal(1))), id="insert without a user"
            ),
            pytest.param(
                insert(tasks).from_select(["user_id"], select(bindparam("someone"))),
                id="insert of another parameter",
            ),
            pytest.param(select(tasks).where(tasks.c.user_id == "alice"), id="literal"),
            pytest.param(
                select(tasks).where(tasks.c.user_id == bindparam("someone")),
                id="another parameter",
            ),
            pytest.param(select(tasks).where(tasks.c.title == USER), id="another column"),
            pytest.param(select(tasks).where(tasks.c.user_id != USER), id="another operator"),
            pytest.param(select(tasks).where(tasks.c.user_id >= USER), id="range"),
            pytest.param(select(tasks).where(or_(MINE, tasks.c.version == 1)), id="inside OR"),
            pytest.param(select(tasks).where(not_(MINE)), id="inside NOT"),
            pytest.param(
                select(tasks).where(tasks.c.user_id == task_tombstones.c.user_id, MINE),
                id="another table beside the scoped one",
            ),
            pytest.param(
                select(tasks).where(
                    tasks.c.version == select(task_lists.c.version).scalar_subquery()
                ),
                id="inside a scalar subquery",
            ),
            pytest.param(select(literal(1)).where(exists().where(tasks.c.id == 1)), id="EXISTS"),
            pytest.param(select(ANYONES.subquery()), id="inside a subquery"),
            pytest.param(select(ANYONES.cte()), id="inside a CTE"),
            pytest.param(select(ANYONES.lateral()), id="inside LATERAL"),
            pytest.param(select(literal(1)).add_cte(delete(tasks).cte()), id="delete inside a CTE"),
            pytest.param(
                insert(tasks).from_select(["user_id"], select(USER).select_from(ANYONES.cte())),
                id="source of an insert",
            ),
            pytest.param(union_all(select(tasks).where(MINE), select(tasks)), id="half of a UNION"),
            pytest.param(select(OTHER_NAME), id="alias"),
            pytest.param(select(aliased(Task)), id="alias of the entity"),
            pytest.param(select(OTHER_NAME).where(MINE), id="alias beside the scoped table"),
            pytest.param(
                select(tasks).join(task_lists, MY_LIST).where(MY_LIST), id="left of a JOIN"
            ),
            pytest.param(
                select(tasks).join(task_lists, tasks.c.user_id == task_lists.c.user_id).where(MINE),
                id="right of a JOIN",
            ),
            pytest.param(
                delete(tasks).where(MINE, tasks.c.version == task_lists.c.version), id="USING"
            ),
            pytest.param(
                update(tasks)
                .where(MINE, tasks.c.version == task_lists.c.version)
                .values(version=1),
                id="UPDATE FROM",
            ),
            pytest.param(select(tasks.tablesample(1)), id="sample"),
            pytest.param(select(literal(1)).add_cte(delete(tasks).cte()), id="CTE beside it"),
            pytest.param(select(tasks).correlate(tasks), id="correlated to nothing"),
            pytest.param(select(column("id")).select_from(table("tasks")), id="table by its name"),
            pytest.param(text("SELECT id FROM tasks"), id="text"),
        ],
    )
    def test_are_noticed(self, statement: ClauseElement) -> None:
        assert unscoped_tables(statement) != []

    @pytest.mark.requirement("FR-015")
    def test_are_told_by_their_tables(self) -> None:
        assert unscoped_tables(select(task_lists)) == ["task_lists"]
        assert unscoped_tables(delete(task_tombstones)) == ["task_tombstones"]


class TestScopedStatements:
    @pytest.mark.requirement("FR-015")
    @pytest.mark.parametrize(
        "statement",
        [
            pytest.param(select(tasks).where(MINE), id="select"),
            pytest.param(select(Task).where(MINE), id="select of the entity"),
            pytest.param(select(tasks).where(tasks.c.version == 1, MINE), id="inside AND"),
            pytest.param(delete(tasks).where(MINE), id="delete"),
            pytest.param(delete(Task).where(MINE), id="delete of the entity"),
            pytest.param(update(Task).where(MINE).values(version=1), id="update"),
            pytest.param(insert(tasks).from_select(["user_id"], select(USER)), id="insert"),
            pytest.param(select(OTHER_NAME).where(OTHER_NAME.c.user_id == USER), id="alias"),
            pytest.param(
                select(tasks).join(task_lists, literal(1) == 1).where(MINE, MY_LIST), id="JOIN"
            ),
            pytest.param(select(select(tasks).where(MINE).cte()), id="CTE"),
            pytest.param(
                select(select(tasks.c.title).correlate(tasks).scalar_subquery()).where(MINE),
                id="subquery of a scoped row",
            ),
            pytest.param(select(literal(1)), id="no table"),
            pytest.param(text("SELECT version_num FROM alembic_version"), id="nobody's table"),
        ],
    )
    def test_pass(self, statement: ClauseElement) -> None:
        assert unscoped_tables(statement) == []

    @pytest.mark.requirement("FR-015")
    def test_are_all_that_the_services_have(self) -> None:
        for statement in (*_statements(), *_lists()):
            assert unscoped_tables(statement) == [], str(statement)

    @pytest.mark.requirement("FR-015")
    def test_are_looked_at_in_every_form_that_the_services_have(self) -> None:
        """A statement is a constant of its module, or made by a function that keeps it."""
        found = {
            name
            for module in (statements, listing)
            for name, value in vars(module).items()
            if isinstance(value, SelectBase | UpdateBase | TextClause)
            or hasattr(value, "__wrapped__")
        }

        assert found - {"sort_columns"} == {  # it keeps columns
            "CREATE_TASK",
            "CREATE_TASK_BY_ID",
            "CREATE_TASK_BY_KEY",
            "DELETE_TASK",
            "GET_SUMMARY",
            "GET_TASK",
            "GET_TOMBSTONE",
            "TOGGLE_TASK",
            "update_task",
            "_list_tasks",
        }


def _statements() -> Iterator[ClauseElement]:
    fields = frozenset(TaskReplace.model_fields)
    yield from (
        statements.CREATE_TASK,
        statements.CREATE_TASK_BY_ID,
        statements.CREATE_TASK_BY_KEY,
        statements.DELETE_TASK,
        statements.GET_TASK,
        statements.GET_TOMBSTONE,
        statements.TOGGLE_TASK,
        listing.GET_SUMMARY,
    )
    for some in (fields, *(frozenset([field]) for field in fields)):
        yield statements.update_task(some)


def _lists() -> Iterator[ClauseElement]:
    """Give every filter, alone and with all others, and every sort, on every form of page."""
    every = frozenset(listing._FILTERS)
    for filters in (frozenset[str](), *(frozenset([key]) for key in every), every):
        yield from _pages("-created_at", filters)
    for sort in (*SORT_FIELDS, *(f"-{field}" for field in SORT_FIELDS), "due,-priority"):
        yield from _pages(sort, frozenset())


def _pages(sort: str, filters: frozenset[str]) -> Iterator[ClauseElement]:
    """Give the first page, and those after a row."""
    keys = sort_keys(sort)
    for is_first, include_total, is_conditional in product((True, False), repeat=3):
        yield listing._list_tasks(
            keys,
            filters,
            is_first=is_first,
            include_total=include_total,
            is_conditional=is_conditional,
        )
