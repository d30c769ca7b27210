"""Tells whether concurrent calls on one task can have happened one after the other.

The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993), with the
memory of Lowe ("Testing for linearizability", 2017): put a call in front that no other call ended
before, see whether the model gives its result, and go on with the others; never try the same calls
in the same state twice.

Calls that may have had an effect make the search long, because each of them may also come later or
not at all. Three rules leave out orders that explain no more than others do:

- A call that saw the state as it is, and had no effect, comes at once.
- A call that may have had an effect comes only before one whose result it helps to explain: not
  before one that could have come without it, because that one's result fixes the state after it.
- Of several attempts of one call, the first comes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Self

from src.database import MAX_ATTEMPTS

NEVER: Final = 2**63
"""When a call ends of which nobody knows whether it had an effect."""

_MOST_STEPS: Final = 1_000_000
"""Where the search ends. Where there is an order, it takes some hundreds or thousands of steps."""


class Task(NamedTuple):
    """What the model knows of a task. A version is None until a result tells it."""

    version: int | None
    title: str
    description: str | None


class State(NamedTuple):
    """The task, or None, and the last version that was seen: the next one must be greater."""

    last: int
    task: Task | None

    def seen_as(self, task: Task | None) -> Self | None:
        """Give the state if the task looks like this; None if it does not."""
        if task is None or self.task is None:
            return self if task is self.task else None
        return self.seen_at(task.version or 0) if self.task[1:] == task[1:] else None

    def seen_at(self, version: int) -> Self | None:
        """Give the state if the task is at this version; None if it is not."""
        if self.task is None:
            return None
        if self.task.version is None and version > self.last:
            return self._replace(last=version, task=self.task._replace(version=version))
        return self if self.task.version == version else None


class Result(NamedTuple):
    """A status, and the task if the answer has one: as it is now, or as it was written."""

    status: int
    task: Task | None = None


@dataclass(frozen=True, eq=False)
class Call:
    """A call and its result, from the moment of its beginning to that of its end."""

    kind: str
    """read, change, create or delete."""
    began: int
    ended: int
    result: Result | None
    """None if nobody knows whether the call had an effect. It may have none."""
    title: str | None = None
    """The new title, if it changes; likewise the description."""
    description: str | None = None
    if_match: int | None = None
    is_repeatable: bool = False
    """Whether the server may have carried it out several times before it answered."""
    repeats: "Call | None" = None
    """The call of which this is an earlier attempt, which may have had an effect of its own."""

    @property
    def only_saw(self) -> bool:
        """Whether it certainly had no effect."""
        return (
            self.result is not None
            and not self.is_repeatable
            and (self.kind == "read" or self.result.status in (404, 412))
        )

    def after(self, state: State) -> State | None:
        """Give the state after this call; None if it cannot have had its result."""
        match self.result:
            case Result(404):
                return state if state.task is None and self.kind != "create" else None
            case Result(412, task):
                is_seen = task is None or self.if_match in (None, task.version)
                return None if is_seen and self.kind != "create" else state.seen_as(task)
            case Result(200, task) if self.kind == "read":
                return state.seen_as(task)
            case Result(204) if self.is_repeatable and state.task is None:
                return state  # an earlier attempt, or somebody else, has deleted it
        return self._written(state)

    def _written(self, state: State) -> State | None:
        before = state if self.if_match is None else state.seen_at(self.if_match)
        if before is None or (before.task is None) != (self.kind == "create"):
            return None
        if self.kind == "delete":
            return before._replace(task=None)
        old = before.task or Task(None, "", None)
        new = Task(
            None,
            old.title if self.title is None else self.title,
            old.description if self.description is None else self.description,
        )
        written = before._replace(task=new)
        return written if self.result is None else written.seen_as(self.result.task)


class NotLinearizable(AssertionError):
    """No order of the calls was found that explains their results."""


def linearize(calls: Sequence[Call], start: State) -> State:
    """Find an order of the calls that explains their results; give the state at its end.

    Raises:
        NotLinearizable: there is none, or the search takes too long.
    """
    attempts = [
        replace(call, result=None, repeats=call)
        for call in calls
        if call.is_repeatable
        for _ in range(MAX_ATTEMPTS - 1)
    ]
    calls = sorted([*calls, *attempts], key=lambda call: call.began)
    required = sum(1 << n for n, call in enumerate(calls) if call.result is not None)
    ranks = [(call.result is None, call.ended) for call in calls]
    # The calls that are done, the state after them, and the calls that could have come earlier.
    stack = [(0, start, 0)]
    tried = {*stack}
    furthest = 0
    while stack and len(tried) < _MOST_STEPS:
        done, state, barred = stack.pop()
        if done & required == required:
            return state
        furthest = max(furthest, done, key=int.bit_count)
        afters = {
            n: after
            for n in _next(calls, done)
            if not barred >> n & 1 and (after := calls[n].after(state)) is not None
        }
        possible = sum(1 << n for n in afters) & required
        at_once = [n for n, after in afters.items() if calls[n].only_saw and after == state]
        # The calls that ended first are tried first, and those that may have no effect last.
        for n in at_once[:1] or sorted(afters, key=ranks.__getitem__, reverse=True):
            is_required = required >> n & 1
            step = (done | 1 << n, afters[n], 0 if is_required else barred | possible)
            if step not in tried:
                tried.add(step)
                stack.append(step)
    left = [call for n, call in enumerate(calls) if not furthest >> n & 1][:20]
    what = f"no order in {len(tried):,} steps" if stack else "no order"
    raise NotLinearizable(f"{what} explains these:\n" + "\n".join(map(str, left)))


def _next(calls: Sequence[Call], done: int) -> list[int]:
    """Give the calls that can come next: no call that is left ended before they began."""
    left: list[int] = []
    first_end = NEVER
    for n in range(((done + 1) & ~done).bit_length() - 1, len(calls)):
        if calls[n].began > first_end:
            break
        if not done >> n & 1:
            left.append(n)
            if calls[n].result is not None:
                first_end = min(first_end, calls[n].ended)
    pending = {calls[n] for n in left}
    attempts: set[Call] = set()
    found: list[int] = []
    for n in left:
        repeated = calls[n].repeats
        if calls[n].began > first_end or (repeated and repeated not in pending - attempts):
            continue
        if repeated:
            attempts.add(repeated)
        found.append(n)
    return found
