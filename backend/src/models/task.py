"""The tables: what is stored, and every rule that a row must keep.

Every key starts with `user_id`, so the schema also runs hash-partitioned by user or on an
engine that shards by it. The CHECKs repeat the rules of the wire, so that no other writer
can plant a row that the API could not read back.
"""

from datetime import date, datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Enum,
    Index,
    LargeBinary,
    MetaData,
    Text,
    Uuid,
    desc,
    text,
)
from sqlalchemy.dialects.postgresql import BIGINT, TIMESTAMP
from sqlmodel import Field, SQLModel

from src.models import limits

metadata: Final[MetaData] = SQLModel.metadata
metadata.naming_convention = {
    "ix": "ix_%(column_0_label)s",  # SQLAlchemy's default, which this would replace
    "pk": "%(table_name)s_pkey",
}

TASK_PRIORITY: Final = Enum(*limits.PRIORITIES, name="task_priority")
"""A native enum sorts in its declared order and reads as its name, in psql and in JSON."""

INSTANT: Final = TIMESTAMP(timezone=True)
USER_ID: Final = Text(collation="C")
"""Compared byte by byte: exact, and the cheapest key there is."""


def _literal(value: str) -> str:
    """Write `value` as an ASCII-only SQL string literal, whatever it holds."""
    return "U&'" + "".join(f"\\{ord(character):04x}" for character in value) + "'"


def _in_range(column: str, name: str) -> CheckConstraint:
    return CheckConstraint(
        f"{column} >= '{limits.EARLIEST_INSTANT:%Y-%m-%d %H:%M:%S}+00'"
        f" AND {column} < '{limits.END_OF_TIME:%Y-%m-%d %H:%M:%S}+00'",
        name=name,
    )


def _user_id_format(table: str) -> CheckConstraint:
    return CheckConstraint(f"user_id ~ '{limits.USER_ID_PATTERN}'", name=f"{table}_user_id_format")


_JSON_WHITE_SPACE = "".join(f"\\u{ord(character):04x}" for character in limits.WHITE_SPACE)
_TAG_PATTERN = (
    f"^[^{_JSON_WHITE_SPACE}](.{{0,{limits.TAG_MAX_LENGTH - 2}}}[^{_JSON_WHITE_SPACE}])?$"
)


# For servers of the previous release, which do not set this column: a new task comes last.
LAST_POSITION: Final = (
    "lpad(least((extract(epoch from clock_timestamp()) * 1000000)::bigint,"
    f" {10**limits.POSITION_WHOLE_DIGITS - 1})::text, {limits.POSITION_WHOLE_DIGITS}, '0')"
)


class TaskList(SQLModel, table=True):
    """One row per user who ever had a task: the counter of that user's changes.

    A change holds this row's lock until it commits. That is what makes a user's versions
    follow the order of the commits.

    `version` is the number of the latest change. No change is older than `first_version`: a client
    that has seen an older one had another list, before the tasks were lost or restored.
    """

    __tablename__ = "task_lists"
    __table_args__ = (
        _user_id_format("task_lists"),
        CheckConstraint("version >= 1", name="task_lists_version_positive"),
        CheckConstraint(
            "first_version BETWEEN 1 AND version", name="task_lists_first_version_range"
        ),
    )

    user_id: str = Field(sa_column=Column(USER_ID, primary_key=True))
    version: int = Field(sa_column=Column(BIGINT, nullable=False))
    # The default is for servers that run while this column is being added.
    first_version: int = Field(
        default=1, sa_column=Column(BIGINT, nullable=False, server_default="1")
    )


class Task(SQLModel, table=True):
    """A task, as it is now."""

    __tablename__ = "tasks"
    __table_args__ = (
        _user_id_format("tasks"),
        CheckConstraint(
            f"char_length(title) BETWEEN 1 AND {limits.TITLE_MAX_LENGTH}",
            name="tasks_title_length",
        ),
        CheckConstraint(
            f"title = btrim(title, {_literal(limits.WHITE_SPACE)})", name="tasks_title_trimmed"
        ),
        CheckConstraint(
            f"char_length(description) <= {limits.DESCRIPTION_MAX_LENGTH}",
            name="tasks_description_length",
        ),
        CheckConstraint(
            "is_completed = (completed_at IS NOT NULL)", name="tasks_completed_at_agrees"
        ),
        CheckConstraint("num_nonnulls(due_date, due_at) <= 1", name="tasks_one_due"),
        CheckConstraint(
            f"due_date BETWEEN '{limits.EARLIEST_DAY}' AND '{limits.LATEST_DAY}'",
            name="tasks_due_date_range",
        ),
        _in_range("due_at", "tasks_due_at_range"),
        _in_range("completed_at", "tasks_completed_at_range"),
        _in_range("created_at", "tasks_created_at_range"),
        _in_range("updated_at", "tasks_updated_at_range"),
        CheckConstraint(
            f"cardinality(tags) <= {limits.TAGS_MAX_COUNT}"
            " AND COALESCE(array_ndims(tags), 1) = 1 AND array_position(tags, NULL) IS NULL",
            name="tasks_tags_count",
        ),
        CheckConstraint(
            "NOT to_jsonb(tags) @?"
            f' \'$[*] ? (!(@ like_regex "{_TAG_PATTERN}" flag "s"))\'::jsonpath',
            name="tasks_tags_trimmed",
        ),
        CheckConstraint(
            f"octet_length(request_hash) = {limits.REQUEST_HASH_LENGTH}",
            name="tasks_request_hash_length",
        ),
        CheckConstraint(f"position ~ '{limits.POSITION_PATTERN}'", name="tasks_position_format"),
        CheckConstraint("version >= 1", name="tasks_version_positive"),
        Index("tasks_user_id_created_at_id_idx", "user_id", desc("created_at"), desc("id")),
        Index("tasks_user_id_updated_at_id_idx", "user_id", desc("updated_at"), desc("id")),
        Index("tasks_user_id_position_id_idx", "user_id", "position", "id"),
        Index("tasks_user_id_version_idx", "user_id", "version"),
    )

    user_id: str = Field(sa_column=Column(USER_ID, primary_key=True))
    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    title: str = Field(sa_column=Column(Text, nullable=False))
    description: str | None = Field(sa_column=Column(Text))
    is_completed: bool = Field(sa_column=Column(Boolean, nullable=False))
    completed_at: datetime | None = Field(sa_column=Column(INSTANT))
    priority: str = Field(sa_column=Column(TASK_PRIORITY, nullable=False))
    due_date: date | None = Field(sa_column=Column(Date))
    due_at: datetime | None = Field(sa_column=Column(INSTANT))
    tags: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    position: str = Field(
        sa_column=Column(Text(collation="C"), nullable=False, server_default=text(LAST_POSITION))
    )
    version: int = Field(sa_column=Column(BIGINT, nullable=False))
    request_hash: bytes | None = Field(sa_column=Column(LargeBinary))
    created_at: datetime = Field(sa_column=Column(INSTANT, nullable=False))
    updated_at: datetime = Field(sa_column=Column(INSTANT, nullable=False))


class TaskRow(NamedTuple):
    """A task as the statements return it: every column that the API shows, in its order."""

    id: UUID
    user_id: str
    title: str
    description: str | None
    is_completed: bool
    completed_at: datetime | None
    priority: str
    due_date: date | None
    due_at: datetime | None
    tags: list[str]
    position: str
    version: int
    created_at: datetime
    updated_at: datetime


class Tombstone(NamedTuple):
    """A deleted task as the statements return it."""

    id: UUID
    version: int
    deleted_at: datetime


class TaskTombstone(SQLModel, table=True):
    """What remains of a deleted task: its id, the version and the time. Never its content."""

    __tablename__ = "task_tombstones"
    __table_args__ = (
        _user_id_format("task_tombstones"),
        _in_range("deleted_at", "task_tombstones_deleted_at_range"),
        CheckConstraint("version >= 1", name="task_tombstones_version_positive"),
        Index("task_tombstones_user_id_version_idx", "user_id", "version"),
    )

    user_id: str = Field(sa_column=Column(USER_ID, primary_key=True))
    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    version: int = Field(sa_column=Column(BIGINT, nullable=False))
    deleted_at: datetime = Field(sa_column=Column(INSTANT, nullable=False))
