"""A day with the client that openapi-python-client generates: `python_story.py URL`.

`task_api_client` is the generated package.
"""

import datetime as dt
import sys
from uuid import uuid4

from task_api_client import Client
from task_api_client.api.tasks import (
    apply_batch,
    complete_task,
    create_task,
    delete_task,
    get_summary,
    get_task,
    list_changes,
    list_tasks,
    move_task,
    replace_task,
    update_task,
)
from task_api_client.models import (
    CompleteOperation,
    CreateOperation,
    DeleteOperation,
    MoveOperation,
    Priority,
    ReplaceTaskIfNoneMatch,
    TaskBatch,
    TaskCompletion,
    TaskCreate,
    TaskMove,
    TaskReplace,
    TaskUpdate,
    UpdateOperation,
    ViolationCode,
)
from task_api_client.models.problem_code import ProblemCode

USER = f"python-{uuid4()}"
client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)


def titles(**query: object) -> list[str]:
    return [task.title for task in list_tasks.sync(USER, client=client, **query).items]


# Create, and send it again after a lost answer.
milk = TaskCreate(
    title="Buy milk",
    priority=Priority.HIGH,
    due_date=dt.date(2026, 12, 24),
    tags=["shopping"],
)
first, second = (
    create_task.sync_detailed(USER, client=client, body=milk, idempotency_key="key-1")
    for _ in range(2)
)
assert (first.status_code, second.status_code) == (201, 200)
assert second.headers["Idempotency-Replayed"] == "true"
assert first.parsed == second.parsed
task = first.parsed
assert (task.title, task.priority, task.due_date) == (milk.title, milk.priority, milk.due_date)
assert (task.completed_at, task.due_at, task.description) == (None, None, None)
assert task.created_at.tzinfo == dt.UTC
for title in ("Call the dentist", "Água"):
    create_task.sync(USER, client=client, body=TaskCreate(title=title))

# Read page by page, and with filters.
pages, cursor = [], None
while cursor is not None or not pages:
    page = list_tasks.sync(
        USER, client=client, limit=2, include_total=True, **({"cursor": cursor} if cursor else {})
    )
    pages.append([task.title for task in page.items])
    assert page.total == 3
    cursor = page.next_cursor
assert pages == [["Água", "Call the dentist"], ["Buy milk"]]
assert titles(priority="medium,high", due_before="2027-01-01", is_completed=False) == ["Buy milk"]
assert titles(q="água", created_after=task.created_at) == ["Água"]
assert titles(sort="title", tag="shopping") == ["Buy milk"]

# A mistake is a problem that names the field.
wrong = create_task.sync(USER, client=client, body=TaskCreate(title=" "))
assert wrong.code is ProblemCode.INVALID_REQUEST
(violation,) = wrong.errors
assert (violation.pointer, violation.code) == ("/title", ViolationCode.TOO_SHORT)

# Clear a field, and keep the others.
changed = update_task.sync(USER, task.id, client=client, body=TaskUpdate(due_date=None))
assert (changed.due_date, changed.title) == (None, task.title)

# Do not overwrite what was not seen.
mismatch = update_task.sync(
    USER, task.id, client=client, body=TaskUpdate(title="Stale"), if_match=f'"{task.version}"'
)
assert mismatch.code is ProblemCode.VERSION_MISMATCH
assert mismatch.current == changed

# Replace, and create under an own id, once.
whole = {name: getattr(changed, name) for name in ("is_completed", "priority", "due_at", "tags")}
body = TaskReplace(title="Buy oat milk", description="Two", due_date=task.due_date, **whole)
replaced = replace_task.sync(
    USER, task.id, client=client, body=body, if_match=f'"{changed.version}"'
)
assert (replaced.title, replaced.due_date) == ("Buy oat milk", task.due_date)
own = uuid4()
created = [
    replace_task.sync_detailed(
        USER, own, client=client, body=body, if_none_match=ReplaceTaskIfNoneMatch.VALUE_0
    )
    for _ in range(2)
]
assert [answer.status_code for answer in created] == [201, 412]
assert created[1].parsed.current == created[0].parsed

# Complete and move.
done = complete_task.sync(USER, own, client=client, body=TaskCompletion(is_completed=True))
assert done.is_completed
assert done.completed_at == done.updated_at
assert move_task.sync(USER, own, client=client, body=TaskMove(after=None)).id == own
assert titles(sort="position")[0] == body.title
assert move_task.sync(USER, own, client=client, body=TaskMove(after=task.id)).id == own

# What has happened so far.
changes = list_changes.sync(USER, client=client)
assert (len(changes.changed), changes.deleted, changes.has_more) == (4, [], False)

# Several changes at once: all of them, or none.
batched = uuid4()
operations = [
    CreateOperation(op="create", id=batched, task=TaskCreate(title="In a batch")),
    UpdateOperation(op="update", id=batched, changes=TaskUpdate(priority=Priority.LOW)),
    CompleteOperation(op="complete", id=batched, is_completed=True),
    MoveOperation(op="move", id=batched, before=None),
    DeleteOperation(op="delete", id=own),
]
result = apply_batch.sync(USER, client=client, body=TaskBatch(operations=operations))
assert [each.op for each in result.results] == [each.op for each in operations]
assert (result.results[3].task.priority, result.results[4].deleted.id) == (Priority.LOW, own)
unknown = CompleteOperation(op="complete", id=uuid4(), is_completed=True)
failed = apply_batch.sync(USER, client=client, body=TaskBatch(operations=[*operations, unknown]))
assert failed.code is ProblemCode.BATCH_FAILED
assert failed.errors[-1].pointer == "/operations/5"
assert (failed.errors[-1].code, failed.errors[-1].status) == (ViolationCode.TASK_NOT_FOUND, 404)

# Delete, and ask what happened since.
assert delete_task.sync_detailed(USER, task.id, client=client).status_code == 204
assert get_task.sync(USER, task.id, client=client).code is ProblemCode.TASK_NOT_FOUND
changes = list_changes.sync(USER, client=client, since=changes.next_)
assert [each.id for each in changes.changed] == [batched]
assert {each.id for each in changes.deleted} == {own, task.id}
assert get_summary.sync(USER, client=client).total == 3
