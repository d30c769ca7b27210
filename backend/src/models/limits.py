"""The named limits of tasks and requests.

Each stands here once. The wire schemas, the CHECK constraints of the tables and the documentation
take them from this module, so they cannot disagree.
"""

from datetime import UTC, date, datetime
from typing import Final, Literal, get_args

from typing_extensions import TypeAliasType

USER_ID_MAX_LENGTH: Final = 128
"""Characters."""

USER_ID_PATTERN: Final = f"^[A-Za-z0-9_~-][A-Za-z0-9_.~@|:+-]{{0,{USER_ID_MAX_LENGTH - 1}}}$"
"""Opaque, ASCII and case-sensitive: UUIDs and the ids of the usual identity providers fit.

ASCII only, because an undecodable percent-escape in a path reaches the application as
U+FFFD: two different callers would become one user.
"""

TITLE_MAX_LENGTH: Final = 255
"""Code points, after trimming."""

DESCRIPTION_MAX_LENGTH: Final = 2000
"""Code points."""

TAGS_MAX_COUNT: Final = 20
"""Tags of one task."""

TAG_MAX_LENGTH: Final = 50
"""Code points, after trimming."""

POSITION_WHOLE_DIGITS: Final = 16
"""Digits of a position before the point: as many as a version has."""

POSITION_DECIMALS: Final = 40
"""Digits of a position after the point, at most."""

POSITION_MAX_LENGTH: Final = POSITION_WHOLE_DIGITS + 1 + POSITION_DECIMALS
"""Characters of a position, with the point."""

POSITION_PATTERN: Final = (
    rf"^[0-9]{{{POSITION_WHOLE_DIGITS}}}(\.[0-9]{{0,{POSITION_DECIMALS - 1}}}[1-9])?$"
)
"""A number with 16 whole digits and no zero as its last decimal: as text, it sorts as a number."""

# A type with a name is a component of the document: clients get one enum for all that use it.
Priority = TypeAliasType("Priority", Literal["none", "low", "medium", "high"])
PRIORITIES: Final = get_args(Priority.__value__)
"""In ascending order: the order of the database's enum, and so of every sort."""

EARLIEST_DAY: Final = date(1900, 1, 1)
"""The first day on which a task can be due."""

LATEST_DAY: Final = date(2999, 12, 31)
"""The last day on which a task can be due."""

EARLIEST_INSTANT: Final = datetime(1900, 1, 1, tzinfo=UTC)
"""The first instant that a timestamp can be."""

END_OF_TIME: Final = datetime(3000, 1, 1, tzinfo=UTC)
"""The end of all timestamps, exclusive.

PostgreSQL stores years that Python and RFC 3339 cannot write. Such a value would be accepted
once and then break every read, so both the API and the tables refuse it."""

IDEMPOTENCY_KEY_MAX_LENGTH: Final = 255
"""Characters."""

IDEMPOTENCY_KEY_PATTERN: Final = f"^[!-~]{{1,{IDEMPOTENCY_KEY_MAX_LENGTH}}}$"
"""Visible ASCII: what any client can send and any proxy passes on."""

REQUEST_HASH_LENGTH: Final = 32
"""Bytes of the SHA-256 fingerprint that is kept of an idempotent request."""

WHITE_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""The code points with Unicode's White_Space property: removed by trimming, in the
schemas (pydantic trims by this property) and in the CHECK constraints."""

PAGE_LIMIT_DEFAULT: Final = 50
"""Tasks of a page, if the client sets no limit."""

PAGE_LIMIT_MAX: Final = 1000
"""Tasks of a page, at most."""

SEARCH_MAX_LENGTH: Final = 255
"""Code points of the text that a list is searched for."""

BODY_MAX_BYTES: Final = 256 * 1024
"""Bytes of a request's body."""

JSON_MAX_DEPTH: Final = 100
"""Levels of nesting in a body: objects and arrays inside one another."""

BATCH_MAX_OPERATIONS: Final = 100
"""Operations of a batch."""

BATCH_BODY_MAX_BYTES: Final = 4 * 1024 * 1024
"""Bytes of the body of a batch."""

PROBLEM_MAX_ERRORS: Final = 20
"""Entries in the `errors` of a problem, at most. A failed batch can have more."""
