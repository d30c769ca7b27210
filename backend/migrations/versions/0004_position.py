"""The place of each task in the user's order. Tasks that exist are in the order of their creation.

Revises: 0003

It runs in steps that hold locks only briefly, so the API can be used meanwhile. If it is
interrupted, run it again.
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NAME = "tasks_user_id_position_id_idx"
FORMAT = r"position ~ '^[0-9]{16}(\.[0-9]{0,39}[1-9])?$'"
CREATED = "greatest(created_at, '1970-01-01Z')"
VALID = "tasks_position_format"
PRESENT = "tasks_position_present"


def microseconds(time: str) -> str:
    """Write a time since 1970 as a position. The year 2286 is the last one that has its own."""
    number = f"least((extract(epoch from {time}) * 1000000)::bigint, 9999999999999999)"
    return f"lpad({number}::text, 16, '0')"


# What a writer has locked just now is filled in the next time.
FILL = sa.text(
    f"UPDATE tasks SET position = {microseconds(CREATED)}"  # noqa: S608 — the text is ours
    " WHERE (user_id, id) IN (SELECT user_id, id FROM tasks WHERE position IS NULL LIMIT 20000"
    " FOR UPDATE SKIP LOCKED)"
)
REMAINS = sa.text("SELECT EXISTS (SELECT FROM tasks WHERE position IS NULL)")


def upgrade() -> None:
    op.execute('ALTER TABLE tasks ADD COLUMN IF NOT EXISTS position text COLLATE "C"')
    # Servers of the previous revision insert rows without this column.
    op.execute(
        f"ALTER TABLE tasks ALTER COLUMN position SET DEFAULT {microseconds('clock_timestamp()')}"
    )
    with op.get_context().autocommit_block():
        fill()
        # An attempt that was interrupted left an index that nothing uses.
        op.drop_index(NAME, "tasks", if_exists=True)
        op.create_index(NAME, "tasks", ["user_id", "position", "id"], postgresql_concurrently=True)
    for name, rule in {VALID: FORMAT, PRESENT: "position IS NOT NULL"}.items():
        op.execute(f"ALTER TABLE tasks DROP CONSTRAINT IF EXISTS {name}")
        op.execute(f"ALTER TABLE tasks ADD CONSTRAINT {name} CHECK ({rule}) NOT VALID")
    with op.get_context().autocommit_block():
        for name in (VALID, PRESENT):
            op.execute(f"ALTER TABLE tasks VALIDATE CONSTRAINT {name}")
    # The valid constraint saves the scan of the table.
    op.execute("ALTER TABLE tasks ALTER COLUMN position SET NOT NULL")
    op.execute(f"ALTER TABLE tasks DROP CONSTRAINT {PRESENT}")


def fill() -> None:
    connection = op.get_bind()
    while connection.execute(REMAINS).scalar():
        if not connection.execute(FILL).rowcount:
            time.sleep(0.05)


def downgrade() -> None:
    op.drop_index(NAME, "tasks")
    op.drop_column("tasks", "position")
