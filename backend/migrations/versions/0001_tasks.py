"""Tasks, their counter per user, and the tombstones of deleted ones.

Revises: nothing
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

USER_ID = "user_id ~ '^[A-Za-z0-9_~-][A-Za-z0-9_.~@|:+-]{0,127}$'"
WHITE_SPACE = (
    r"U&'\0009\000a\000b\000c\000d\0020\0085\00a0\1680\2000\2001\2002\2003\2004\2005\2006"
    r"\2007\2008\2009\200a\2028\2029\202f\205f\3000'"
)
TAG_EDGE = (
    r"[^\u0009\u000a\u000b\u000c\u000d\u0020\u0085\u00a0\u1680\u2000\u2001\u2002\u2003"
    r"\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000]"
)

# The time limits belong to the role, because a pooler refuses them as start-up options.
# A statement of this application takes milliseconds; one that takes seconds is in trouble.
TIME_LIMITS = {
    "statement_timeout": "5s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "10s",
}


def instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), nullable=nullable)


def user_id() -> sa.Column[str]:
    return sa.Column("user_id", sa.Text(collation="C"), nullable=False)


def in_range(column: str) -> str:
    return f"{column} >= '1900-01-01 00:00:00+00' AND {column} < '3000-01-01 00:00:00+00'"


def for_this_role(setting: str) -> None:
    op.execute(
        f"DO $$ BEGIN EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I {setting}',"
        " current_database()); END $$"
    )


def upgrade() -> None:
    op.create_table(
        "task_lists",
        user_id(),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="task_lists_pkey"),
        sa.CheckConstraint(USER_ID, name="task_lists_user_id_format"),
        sa.CheckConstraint("version >= 1", name="task_lists_version_positive"),
    )
    op.create_table(
        "tasks",
        user_id(),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("is_completed", sa.Boolean, nullable=False),
        instant("completed_at", nullable=True),
        sa.Column(
            "priority",
            postgresql.ENUM("none", "low", "medium", "high", name="task_priority"),
            nullable=False,
        ),
        sa.Column("due_date", sa.Date),
        instant("due_at", nullable=True),
        sa.Column("tags", postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("request_hash", sa.LargeBinary),
        instant("created_at"),
        instant("updated_at"),
        sa.PrimaryKeyConstraint("user_id", "id", name="tasks_pkey"),
        sa.CheckConstraint(USER_ID, name="tasks_user_id_format"),
        sa.CheckConstraint("char_length(title) BETWEEN 1 AND 255", name="tasks_title_length"),
        sa.CheckConstraint(f"title = btrim(title, {WHITE_SPACE})", name="tasks_title_trimmed"),
        sa.CheckConstraint("char_length(description) <= 2000", name="tasks_description_length"),
        sa.CheckConstraint(
            "is_completed = (completed_at IS NOT NULL)", name="tasks_completed_at_agrees"
        ),
        sa.CheckConstraint("num_nonnulls(due_date, due_at) <= 1", name="tasks_one_due"),
        sa.CheckConstraint(
            "due_date BETWEEN '1900-01-01' AND '2999-12-31'", name="tasks_due_date_range"
        ),
        sa.CheckConstraint(in_range("due_at"), name="tasks_due_at_range"),
        sa.CheckConstraint(in_range("completed_at"), name="tasks_completed_at_range"),
        sa.CheckConstraint(in_range("created_at"), name="tasks_created_at_range"),
        sa.CheckConstraint(in_range("updated_at"), name="tasks_updated_at_range"),
        sa.CheckConstraint(
            "cardinality(tags) <= 20 AND COALESCE(array_ndims(tags), 1) = 1"
            " AND array_position(tags, NULL) IS NULL",
            name="tasks_tags_count",
        ),
        sa.CheckConstraint(
            "NOT to_jsonb(tags) @? '$[*] ? (!(@ like_regex"
            f' "^{TAG_EDGE}(.{{0,48}}{TAG_EDGE})?$" flag "s"))\'::jsonpath',
            name="tasks_tags_trimmed",
        ),
        sa.CheckConstraint("octet_length(request_hash) = 32", name="tasks_request_hash_length"),
        sa.CheckConstraint("version >= 1", name="tasks_version_positive"),
    )
    op.create_index(
        "tasks_user_id_created_at_id_idx",
        "tasks",
        ["user_id", sa.text("created_at DESC"), sa.text("id DESC")],
    )
    op.create_index("tasks_user_id_version_idx", "tasks", ["user_id", "version"])
    op.create_table(
        "task_tombstones",
        user_id(),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        instant("deleted_at"),
        sa.PrimaryKeyConstraint("user_id", "id", name="task_tombstones_pkey"),
        sa.CheckConstraint(USER_ID, name="task_tombstones_user_id_format"),
        sa.CheckConstraint(in_range("deleted_at"), name="task_tombstones_deleted_at_range"),
        sa.CheckConstraint("version >= 1", name="task_tombstones_version_positive"),
    )
    op.create_index(
        "task_tombstones_user_id_version_idx", "task_tombstones", ["user_id", "version"]
    )
    for name, value in TIME_LIMITS.items():
        for_this_role(f"SET {name} = ''{value}''")


def downgrade() -> None:
    for name in TIME_LIMITS:
        for_this_role(f"RESET {name}")
    op.drop_table("task_tombstones")
    op.drop_table("tasks")
    op.drop_table("task_lists")
    op.execute("DROP TYPE task_priority")
