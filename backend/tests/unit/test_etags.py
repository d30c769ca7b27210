"""Entity tags, as the headers write them."""

import pytest
from pydantic_core import PydanticCustomError

from src.api.etags import ANY_TAG, parse_entity_tags, parse_if_match, versions_in


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
        assert parse_entity_tags(lines) == frozenset(map(str, versions))
        assert versions_in(parse_entity_tags(lines)) == frozenset(versions)
        assert parse_if_match(lines) == frozenset(versions)

    @pytest.mark.requirement("FR-108")
    @pytest.mark.parametrize("separator", ["-", "--", ";"])
    @pytest.mark.parametrize(
        "coding", ["br", "bzip2", "compress", "deflate", "gzip", "x-gzip", "zstd"]
    )
    def test_name_the_same_version_however_a_proxy_compresses(
        self, coding: str, separator: str
    ) -> None:
        strong, weak = f'"7{separator}{coding}"', f'W/"7{separator}{coding}"'

        assert parse_if_match([strong]) == parse_if_match([weak]) == frozenset({7})
        assert parse_entity_tags([f'{strong}, "0a1b{separator}{coding}"']) == {"7", "0a1b"}

    @pytest.mark.requirement("FR-017", "FR-018")
    @pytest.mark.parametrize(
        "line",
        [
            '""',
            '"x"',
            '"7x"',
            '"x7"',
            '"07"',
            '"00"',
            '"\xb2"',
            '"-7"',
            '"+7"',
            '"7.0"',
            '"7---gzip"',
            '"7-gzip-gzip"',
            '"7-br;gzip"',
            '"7gzip"',
            '"7:gzip"',
            '"7-GZIP"',
            '"7-"',
            '"7;"',
            '"7-identity"',
            '"-gzip"',
            '"7,8"',
            '"W/7"',
            '"*"',
            '"\xe9"',
            '"' + "9" * 5000 + '"',
        ],
        ids=lambda line: ascii(line[:20]),
    )
    def test_of_others_are_valid_and_name_no_version(self, line: str) -> None:
        assert versions_in(parse_entity_tags([line])) == frozenset()
        assert versions_in(parse_entity_tags([f'{line}, "7"'])) == frozenset({7})
        assert parse_if_match([line]) == frozenset()

    @pytest.mark.requirement("FR-021")
    @pytest.mark.parametrize(
        ("line", "tags"),
        [
            ('W/"0a1b"', {"0a1b"}),
            ('"0a1b-gzip"', {"0a1b"}),
            ('W/"0a1b--gzip", "x"', {"0a1b", "x"}),
            ('"07"', {"07"}),
            ('"a,b"', {"a,b"}),
            ('""', {""}),
        ],
    )
    def test_are_opaque_but_for_what_proxies_add(self, line: str, tags: set[str]) -> None:
        assert parse_entity_tags([line]) == tags

    @pytest.mark.requirement("FR-017", "FR-018")
    @pytest.mark.parametrize("lines", [["*"], [" * "]], ids=str)
    def test_may_be_any(self, lines: list[str]) -> None:
        tags = parse_entity_tags(lines)

        assert tags is ANY_TAG
        assert all(tag in tags for tag in ("0", "1", str(2**63), "x", ""))
        assert versions_in(tags) == frozenset()
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
            "detail": 'must be * or entity tags such as "7"',
        }

    @pytest.mark.requirement("FR-018")
    @pytest.mark.parametrize("line", ['"7",', ', "7"', '"7", , "8"', '"7"\t,,"8"'])
    def test_may_have_empty_elements_between_them(self, line: str) -> None:
        """RFC 9110, section 5.6.1.2: a recipient must parse and ignore them."""
        assert "7" in parse_entity_tags([line])
