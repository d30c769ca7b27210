"""Entity tags, as the headers write them."""

import pytest
from pydantic_core import PydanticCustomError

from src.api.conditional import ANY_VERSION, parse_entity_tags, parse_if_match


class TestEntityTags:
    @pytest.mark.requirement("FR-017", "FR-018")
    @pytest.mark.parametrize(
        ("lines", "versions"),
        [
            (['"7"'], {7}),
            (['W/"7"'], {7}),
            (['"7-gzip"'], {7}),
            (['"7--gzip"'], {7}),
            (['W/"7--gzip"'], {7}),
            (['  "7"\t'], {7}),
            (['"7","8"'], {7, 8}),
            (['"7" ,\t W/"8"'], {7, 8}),
            (['"7", "7-gzip"'], {7}),
            (['"7"', '"8"'], {7, 8}),
            ([f'"{10**18 - 1}"'], {10**18 - 1}),
        ],
        ids=str,
    )
    def test_name_versions(self, lines: list[str], versions: set[int]) -> None:
        assert parse_entity_tags(lines) == frozenset(versions)
        assert parse_if_match(lines) == frozenset(versions)

    @pytest.mark.requirement("FR-017", "FR-018")
    @pytest.mark.parametrize(
        "line",
        [
            '""',
            '"x"',
            '"7x"',
            '"x7"',
            '"-7"',
            '"+7"',
            '"7.0"',
            '"7-br"',
            '"7---gzip"',
            '"7-gzip-gzip"',
            '"7,8"',
            '"W/7"',
            '"*"',
            '"\xe9"',
            '"' + "9" * 5000 + '"',
        ],
        ids=lambda line: ascii(line[:20]),
    )
    def test_of_others_are_valid_and_name_none(self, line: str) -> None:
        assert parse_entity_tags([line]) == frozenset()
        assert parse_entity_tags([f'{line}, "7"']) == frozenset({7})
        assert parse_if_match([line]) == frozenset()

    @pytest.mark.requirement("FR-017", "FR-018")
    @pytest.mark.parametrize("lines", [["*"], [" * "]], ids=str)
    def test_may_be_any(self, lines: list[str]) -> None:
        versions = parse_entity_tags(lines)

        assert versions is ANY_VERSION
        assert all(version in versions for version in (0, 1, 2**63))
        assert parse_if_match(lines) is None

    @pytest.mark.requirement("FR-018", "FR-023")
    @pytest.mark.parametrize(
        "lines",
        [
            [""],
            [" "],
            ["7"],
            ["'7'"],
            ['"7'],
            ['7"'],
            ['"7" "8"'],
            ['"7";"8"'],
            ['w/"7"'],
            ['W"7"'],
            ['W/ "7"'],
            ["W/7"],
            ['"7 8"'],
            ['"7"x'],
            ["**"],
            ['*, "7"'],
            ['"7"', "*"],
            ['"7"', "8"],
            ['"\u0100"'],
            ['"\x7f"'],
        ],
        ids=ascii,
    )
    def test_are_written_as_http_has_them(self, lines: list[str]) -> None:
        with pytest.raises(PydanticCustomError) as refusal:
            parse_entity_tags(lines)

        assert refusal.value.context == {
            "code": "invalid_entity_tag",
            "detail": 'must be *, or entity tags such as "7"',
        }

    @pytest.mark.requirement("FR-018")
    @pytest.mark.parametrize("line", ['"7",', ', "7"', '"7", , "8"', '"7"\t,,"8"'])
    def test_may_have_empty_elements_between_them(self, line: str) -> None:
        """RFC 9110, section 5.6.1.2: a recipient must parse and ignore them."""
        assert 7 in parse_entity_tags([line])
