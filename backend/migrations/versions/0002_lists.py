"""The index that the lists by time of change need. ADR 0010 has the figures, and why no others.

Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NAME = "tasks_user_id_updated_at_id_idx"


def upgrade() -> None:
    # It blocks writes while it is built. On a large table, build it by hand before, with
    # CONCURRENTLY, under this name. If that fails it leaves an index that nothing uses.
    half_built = sa.text(
        "SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"
    )
    if op.get_bind().execute(half_built, {"name": _NAME}).scalar():
        op.drop_index(_NAME, "tasks")
    op.create_index(
        _NAME,
        "tasks",
        ["user_id", sa.text("updated_at DESC"), sa.text("id DESC")],
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_index(_NAME, "tasks")
