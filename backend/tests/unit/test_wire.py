"""The JSON of a task."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import pytest

from src.models.task import TaskRow
from src.schemas.task import Task, to_json, to_wire

MOMENT: Final = datetime(2026, 3, 1, 9, 30, 0, 1, tzinfo=UTC)
ROW: Final = TaskRow(
    id=UUID("01981f6e-3c00-7a3b-8a00-000000000001"),
    user_id="alice",
    title="Buy milk",
    description=None,
    is_completed=False,
    completed_at=None,
    priority="none",
    due_date=None,
    due_at=None,
    tags=[],
    position="0000000000000001",
    version=1,
    created_at=MOMENT,
    updated_at=MOMENT,
)


@pytest.mark.requirement("FR-008")
@pytest.mark.parametrize(
    ("instant", "written"),
    [
        (MOMENT, "2026-03-01T09:30:00.000001Z"),
        (MOMENT.replace(microsecond=0), "2026-03-01T09:30:00.000000Z"),
    ],
)
def test_writes_every_instant_with_six_digits(instant: datetime, written: str) -> None:
    row = ROW._replace(due_at=instant, completed_at=instant, created_at=instant, updated_at=instant)

    task = to_json(to_wire(row)).decode()

    for name in ("due_at", "completed_at", "created_at", "updated_at"):
        assert f'"{name}":"{written}"' in task


@pytest.mark.requirement("FR-008")
def test_has_every_field_in_the_order_of_its_schema() -> None:
    assert [*to_wire(ROW)] == [*Task.model_fields] == [*TaskRow._fields]
