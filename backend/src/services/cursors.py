"""The opaque tokens of pages: self-contained, bound to what they were made for.

A token carries the sort keys of the last row that was shown, and a digest of those keys,
the user and the query. The digest is no secret: a user's statements are scoped by the user
whatever a token says. It is there to tell a client that pairs a token with another list,
which would otherwise get a page that is quietly wrong.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Any, Final

from pydantic_core import from_json

from src.exceptions import CursorMismatch

_DIGEST_SIZE: Final = 9  # bytes: a multiple of three, so that base64 needs no padding inside


def encode_cursor(keys: bytes, *, user_id: str, query: str) -> str:
    """Make the token for the page after the row with these sort `keys` (a JSON array)."""
    return _encode(_digest(keys, user_id, query) + keys)


def decode_cursor(token: str, *, user_id: str, query: str) -> list[Any]:
    """Give the sort keys that a token carries. Anybody can make a token: they may be anything.

    Raises:
        CursorMismatch: the token is damaged, or was made for another user or query.
    """
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        raise CursorMismatch from None
    keys = raw[_DIGEST_SIZE:]
    # Decoding is lenient: only the token that is written like this one was made here.
    if _digest(keys, user_id, query) != raw[:_DIGEST_SIZE] or _encode(raw) != token:
        raise CursorMismatch
    try:
        decoded = from_json(keys)
    except ValueError:
        raise CursorMismatch from None
    return decoded if isinstance(decoded, list) else []


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _digest(keys: bytes, user_id: str, query: str) -> bytes:
    # No user id holds a NUL, and neither does a query: no two triples read the same.
    return blake2b(
        b"\0".join((user_id.encode(), query.encode(), keys)), digest_size=_DIGEST_SIZE
    ).digest()
