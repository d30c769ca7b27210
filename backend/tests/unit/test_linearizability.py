"""The checker finds an order where there is one, and notices where there is none."""

from dataclasses import replace
from random import Random
from typing import Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.linearizability import (
    NEVER,
    Call,
    NotLinearizable,
    Result,
    State,
    Task,
    linearize,
)

pytestmark = pytest.mark.requirement("SC-018")

START: Final = State(1, Task(1, "a", None))
GONE: Final = State(1, None)


def read(began: int, ended: int, version: int, title: str) -> Call:
    return Call("read", began, ended, Result(200, Task(version, title, None)))


def change(
    began: int, ended: int, version: int | None, title: str, if_match: int | None = None
) -> Call:
    result = None if version is None else Result(200, Task(version, title, None))
    end = NEVER if version is None else ended
    return Call("change", began, end, result, title=title, if_match=if_match)


def create(began: int, ended: int, version: int, title: str) -> Call:
    return Call("create", began, ended, Result(201, Task(version, title, None)), title=title)


def delete(began: int, ended: int, status: int = 204, *, is_repeatable: bool = False) -> Call:
    return Call("delete", began, ended, Result(status), is_repeatable=is_repeatable)


def missed(began: int, ended: int) -> Call:
    return Call("read", began, ended, Result(404))


def refused(began: int, ended: int, if_match: int, version: int, title: str) -> Call:
    result = Result(412, Task(version, title, None))
    return Call("change", began, ended, result, title="never", if_match=if_match)


class TestAnOrder:
    @pytest.mark.parametrize(
        ("start", "calls"),
        [
            pytest.param(START, [read(1, 2, 1, "a"), change(3, 4, 2, "b")], id="one by one"),
            pytest.param(START, [change(1, 4, 2, "b"), read(2, 3, 1, "a")], id="read before"),
            pytest.param(START, [change(1, 4, 2, "b"), read(2, 3, 2, "b")], id="read after"),
            pytest.param(
                START,
                [change(1, 9, 3, "c"), change(2, 8, 2, "b"), read(3, 4, 2, "b")],
                id="swapped",
            ),
            pytest.param(
                START, [change(1, 4, 2, "b", 1), refused(2, 3, 1, 2, "b")], id="one of two"
            ),
            pytest.param(START, [delete(1, 2), missed(3, 4), create(5, 6, 3, "c")], id="again"),
            pytest.param(START, [change(1, 0, None, "b"), read(2, 3, 1, "a")], id="unknown, not"),
            pytest.param(START, [change(1, 0, None, "b"), read(8, 9, 2, "b")], id="unknown, done"),
            pytest.param(
                START,
                [change(1, 0, None, "b"), read(2, 3, 1, "a"), read(8, 9, 2, "b")],
                id="unknown, done late",
            ),
            pytest.param(
                START,
                [change(1, 0, None, "b"), change(2, 3, 3, "c", 2), read(4, 5, 3, "c")],
                id="unknown, then seen",
            ),
            pytest.param(GONE, [delete(1, 2, is_repeatable=True)], id="deleted in an attempt"),
        ],
    )
    def test_is_found(self, start: State, calls: list[Call]) -> None:
        linearize(calls, start)

    @pytest.mark.parametrize(
        ("start", "calls"),
        [
            pytest.param(START, [change(1, 2, 2, "b"), read(3, 4, 1, "a")], id="stale read"),
            pytest.param(START, [change(1, 2, 2, "b"), missed(3, 4)], id="lost task"),
            pytest.param(START, [read(1, 2, 1, "b")], id="value from nowhere"),
            pytest.param(START, [change(1, 2, 1, "b")], id="same version again"),
            pytest.param(START, [change(1, 2, 3, "c"), change(3, 4, 2, "b")], id="version back"),
            pytest.param(
                START, [change(1, 9, 2, "b", 1), change(2, 8, 3, "c", 1)], id="both have matched"
            ),
            pytest.param(START, [refused(1, 2, 1, 1, "a")], id="refused what was right"),
            pytest.param(
                START,
                [change(1, 9, 2, "b"), read(2, 3, 2, "b"), read(4, 5, 1, "a")],
                id="seen, then unseen",
            ),
            pytest.param(
                START,
                [change(1, 0, None, "b"), read(2, 3, 2, "b"), read(4, 5, 1, "a")],
                id="unknown, seen, then unseen",
            ),
            pytest.param(
                START,
                [
                    change(1, 0, None, "b"),
                    read(2, 3, 2, "b"),
                    change(4, 5, 3, "c"),
                    read(6, 7, 4, "b"),
                ],
                id="unknown, twice",
            ),
            pytest.param(GONE, [delete(1, 2)], id="deleted what was not there"),
            pytest.param(START, [delete(1, 2, 404)], id="did not find it"),
            pytest.param(START, [create(1, 2, 2, "b")], id="created what was there"),
            pytest.param(
                START,
                [delete(1, 9), delete(2, 8), create(3, 4, 2, "c"), read(10, 11, 2, "c")],
                id="deleted twice, created between, and there",
            ),
        ],
    )
    def test_is_missed_where_there_is_none(self, start: State, calls: list[Call]) -> None:
        with pytest.raises(NotLinearizable):
            linearize(calls, start)

    def test_may_have_a_repeatable_call_several_times(self) -> None:
        calls = [
            Call("change", 1, 9, Result(200, Task(4, "b", None)), "b", is_repeatable=True),
            read(2, 3, 2, "b"),
            change(4, 5, 3, "c"),
            read(10, 11, 4, "b"),
        ]

        assert linearize(calls, START) == State(4, Task(4, "b", None))
        with pytest.raises(NotLinearizable):  # but not once it has been answered
            linearize([*calls, change(12, 13, 5, "d"), read(14, 15, 6, "b")], START)

    def test_is_found_among_many_calls_that_may_have_had_an_effect(self) -> None:
        """One order in very many: the deletion deletes twice, and the task was created between."""
        unknown = [change(n, 0, None, f"unknown {n}") for n in range(12)]
        missing = [missed(20 + n, 30 + n) for n in range(0, 60, 2)]
        calls = [
            *unknown,
            delete(15, 85, is_repeatable=True),
            *missing,
            create(40, 50, 2, "b"),
            *(missed(86 + n, 90 + n) for n in range(10)),
            create(100, 101, 3, "c"),
        ]

        assert linearize(calls, START) == State(3, Task(3, "c", None))


stories = st.lists(
    st.tuples(
        st.sampled_from(["read", "change", "create", "delete"]),
        st.integers(0, 6),  # how many effects earlier it begins
        st.integers(0, 6),  # how many effects later it ends
        st.booleans(),  # whether it names the version
        st.booleans(),  # whether its result is lost
    ),
    max_size=40,
)


def happened(story: list[tuple[str, int, int, bool, bool]]) -> list[Call]:
    """Let the calls have their effects one after the other; give what their callers know."""
    calls: list[Call] = []
    task, version = START.task, START.last
    for number, (kind, earlier, later, is_conditional, is_lost) in enumerate(story):
        title = f"title {number}" if kind in ("change", "create") else None
        if_match = task.version if task and is_conditional and kind == "change" else None
        result = Result(404)
        if kind == "create" and task is not None:
            result = Result(412, task)
        elif kind == "create" or (kind == "change" and task is not None):
            version += 1
            task = Task(version, f"title {number}", None)
            result = Result(200, task)
        elif kind == "delete" and task is not None:
            result, task = Result(204), None
        elif kind == "read" and task is not None:
            result = Result(200, task)
        moment = 10 * number
        calls.append(
            Call(
                kind,
                moment - 10 * earlier,
                NEVER if is_lost else moment + 10 * later + 1,
                None if is_lost else result,
                title,
                if_match=if_match,
            )
        )
    return calls


@pytest.mark.slow
class TestAnyStory:
    @given(stories)
    def test_that_happened_has_an_order(
        self, story: list[tuple[str, int, int, bool, bool]]
    ) -> None:
        linearize(happened(story), START)

    @given(stories, st.randoms(use_true_random=False))
    def test_has_none_if_a_result_is_not_what_happened(
        self, story: list[tuple[str, int, int, bool, bool]], random: Random
    ) -> None:
        calls = happened([(*step[:4], False) for step in story])
        told = [n for n, call in enumerate(calls) if call.result and call.result.task]
        assume(told)
        n = random.choice(told)
        result = calls[n].result
        assert result is not None
        assert result.task is not None
        wrong = result._replace(task=result.task._replace(title="from nowhere"))
        calls[n] = replace(calls[n], result=wrong)

        with pytest.raises(NotLinearizable):
            linearize(calls, START)
