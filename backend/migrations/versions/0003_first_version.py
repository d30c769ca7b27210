"""The version that a list began with, which tells whether a client has seen this list or another.

Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # The default is for servers of the previous revision: they insert rows without this column.
    op.add_column(
        "task_lists",
        sa.Column("first_version", sa.BigInteger, nullable=False, server_default="1"),
    )
    op.create_check_constraint(
        "task_lists_first_version_range", "task_lists", "first_version BETWEEN 1 AND version"
    )


def downgrade() -> None:
    op.drop_column("task_lists", "first_version")
