"""Positions: numbers in the form of text."""

import re
from typing import Final, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.models.limits import POSITION_DECIMALS, POSITION_PATTERN
from src.schemas.task import Place
from src.services.order import (
    SPREAD_DECIMALS,
    Key,
    NoRoom,
    Order,
    last_position,
    parse_position,
    position_between,
    spread_positions,
)

IDS: Final = [UUID(int=number) for number in range(10)]
LOWEST: Final = "0" * 16
HIGHEST: Final = "9" * 16 + "." + "9" * POSITION_DECIMALS

positions = st.one_of(
    st.from_regex(POSITION_PATTERN, fullmatch=True),
    st.from_regex(r"0{15}[0-3](\.[0-9]{0,3}[1-9])?", fullmatch=True),  # close to one another
    st.sampled_from([LOWEST, HIGHEST]),
)


def is_position(text: str) -> bool:
    return re.fullmatch(POSITION_PATTERN, text) is not None


@pytest.mark.requirement("FR-087")
class TestPositions:
    @given(positions, positions)
    def test_are_in_the_order_of_their_text(self, one: str, other: str) -> None:
        assert (one < other) == (parse_position(one) < parse_position(other))
        assert (one == other) == (parse_position(one) == parse_position(other))

    @given(positions, positions)
    def test_lie_between_two_others(self, one: str, other: str) -> None:
        after, before = sorted([one, other])

        between = position_between(after, before)

        if between is None:
            assert parse_position(before) - parse_position(after) <= 1
        else:
            assert after < between < before
            assert is_position(between)

    @given(positions)
    def test_lie_beyond_an_end(self, end: str) -> None:
        first, last = position_between(None, end), position_between(end, None)

        assert (first is None) == (parse_position(end) <= 1)
        assert (last is None) == (end == HIGHEST)
        assert first is None or (first < end and is_position(first))
        assert last is None or (last > end and is_position(last))

    @pytest.mark.parametrize(
        ("after", "before", "between"),
        [
            ("0000000000000001", "0000000000000009", "0000000000000005"),
            ("0000000000000001", "0000000000000002", "0000000000000001.5"),
            ("0000000000000001", "0000000000000001.1", "0000000000000001.05"),
            ("0000000000000001.9", "0000000000000002.1", "0000000000000002"),
            ("0000000000000001.25", None, "0000000000000002"),
            ("0000000000000007", None, "0000000000000008"),
            ("9999999999999999", None, "9999999999999999.5"),
            (None, "0000000000000007", "0000000000000006"),
            (None, "0000000000000000.1", "0000000000000000.05"),
            (None, "0000000000000000.05", "0000000000000000.02"),
            ("0000000000000001", "0000000000000001", None),
        ],
    )
    def test_are_as_short_as_possible(
        self, after: str | None, before: str | None, between: str | None
    ) -> None:
        assert position_between(after, before) == between

    @pytest.mark.parametrize(
        ("last", "version", "position"),
        [
            (None, 7, "0000000000000007"),
            ("0000000000000003.5", 7, "0000000000000007"),
            ("0000000000000007", 7, "0000000000000008"),
            ("0000000000000009.5", 7, "0000000000000010"),
            ("9999999999999998.5", 7, "9999999999999999"),
            ("9999999999999999", 7, "9999999999999999.5"),
            ("9999999999999999.5", 7, "9999999999999999.55"),
            (HIGHEST, 7, HIGHEST),
        ],
    )
    def test_of_new_tasks_are_the_last(self, last: str | None, version: int, position: str) -> None:
        assert last_position(last, version) == position

    @given(st.integers(1, 50), positions, positions)
    def test_are_spread_evenly(self, count: int, one: str, other: str) -> None:
        after, before = sorted([one, other])

        spread = spread_positions(count, after, before)

        if spread is None:
            width = parse_position(before) - parse_position(after)
            assert width < (count + 1) * 10 ** (POSITION_DECIMALS - SPREAD_DECIMALS)
            return
        assert [after, *spread, before] == sorted({after, *spread, before})
        assert len(spread) == count
        for position in spread:
            assert is_position(position)
            assert len(position) <= 17 + SPREAD_DECIMALS

    def test_are_spread_up_to_an_end(self) -> None:
        five = "0000000000000005"

        assert spread_positions(3, five, None) == [f"000000000000000{n}" for n in (6, 7, 8)]
        assert spread_positions(4, None, five) == [f"000000000000000{n}" for n in (1, 2, 3, 4)]
        assert spread_positions(2, None, None) == [f"000000000000000{n}" for n in (1, 2)]
        assert spread_positions(2, HIGHEST, None) is None


@pytest.mark.requirement("FR-088")
class TestOrder:
    def order(self, *places: str) -> Order:
        return Order(Key(position, IDS[number]) for number, position in enumerate(places))

    def test_breaks_ties_by_the_id(self) -> None:
        order = self.order("0000000000000001", "0000000000000001")

        assert order.move(IDS[1], Place("after", IDS[0]), IDS) == {}
        assert order.move(IDS[0], Place("before", IDS[1]), IDS) == {}

    @pytest.mark.parametrize("side", ["after", "before"])
    def test_leaves_a_task_next_to_itself(self, side: Literal["after", "before"]) -> None:
        order = self.order("0000000000000001")

        assert order.move(IDS[0], Place(side, IDS[0]), IDS) == {}

    def test_makes_room_with_the_tasks_around_that_can_be_moved(self) -> None:
        tight = [f"0000000000000005.{'0' * 39}{number}" for number in (1, 2)]
        order = self.order("0000000000000004", *tight, "0000000000000006", "0000000000000009")

        moved = order.move(IDS[4], Place("after", IDS[1]), IDS[1:5])

        places = {key: moved[IDS[key]] for key in (1, 4, 2, 3)}
        assert len(moved) == 4
        assert ["0000000000000004", *places.values()] == sorted(
            ["0000000000000004", *places.values()]
        )

    def test_needs_more_tasks_where_those_around_have_no_room(self) -> None:
        tight = [f"0000000000000005.{'0' * 39}{number}" for number in (1, 2, 3)]
        order = self.order(*tight, "0000000000000009")

        with pytest.raises(NoRoom) as error:
            order.move(IDS[3], Place("after", IDS[0]), [IDS[3]])

        assert error.value.near == tight[0]

    def test_has_no_room_before_the_lowest_position(self) -> None:
        order = self.order(LOWEST, "0000000000000009")

        with pytest.raises(NoRoom) as error:
            order.move(IDS[1], Place("after", None), [IDS[1]])

        assert error.value.near == LOWEST
