"""The task id and the fingerprint that an idempotency key and a request give.

Both are stored with the task for as long as it exists. Neither function may ever change: a request
that is sent again after an upgrade must still find its task (ADR 0011).
"""

import json
from hashlib import sha256
from typing import Final
from uuid import UUID, uuid5

from src.schemas.task import TaskCreate

_NAMESPACE: Final = UUID("0f9d4b0e-6a3c-4c8e-9d57-3f2b1c7a8e64")


def task_id_of(user_id: str, key: str) -> UUID:
    """Return the id of the task that this key creates for this user: a UUIDv5 (RFC 9562)."""
    # Neither part holds a NUL, so no two pairs read the same.
    return uuid5(_NAMESPACE, f"{user_id}\0{key}")


def fingerprint_of(task: TaskCreate) -> bytes:
    """Digest what the request means, not how it is written: SHA-256 of one canonical JSON.

    A field at its default is left out. So naming it makes no difference, and a field that is added
    to tasks one day does not change the fingerprints of today.
    """
    meaning = task.model_dump(mode="json", exclude_defaults=True)
    return sha256(json.dumps(meaning, sort_keys=True, separators=(",", ":")).encode()).digest()
