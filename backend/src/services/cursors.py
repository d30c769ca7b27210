"""The opaque tokens of pages: self-contained, and bound to what they were made for.

A token carries the sort keys of the last row that was shown, and a digest of those keys, the user
and the query. The digest is no secret, and no protection: every statement is scoped by the user,
whatever a token says. It detects a token that is used with another list, where it would silently
return a wrong page.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Any, Final

import orjson

from src.exceptions import CursorMismatch

_DIGEST_SIZE: Final = 9  # bytes: a multiple of three, so that base64 needs no padding inside


def encode_cursor(keys: list[Any], *, user_id: str, query: str) -> str:
    """Make the token for the page after the row with these sort `keys`."""
    payload = orjson.dumps(keys)
    return _encode(_digest(payload, user_id, query) + payload)


def decode_cursor(token: str, *, user_id: str, query: str) -> list[Any]:
    """Give the sort keys in a token. Anybody can make a token, so they may be anything.

    Raises:
        CursorMismatch: the token is damaged, or was made for another user or query.
    """
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        raise CursorMismatch from None
    payload = raw[_DIGEST_SIZE:]
    # Decoding is lenient: accept only the form in which tokens are written here.
    if _digest(payload, user_id, query) != raw[:_DIGEST_SIZE] or _encode(raw) != token:
        raise CursorMismatch
    try:
        keys = orjson.loads(payload)
    except ValueError:
        raise CursorMismatch from None
    return keys if isinstance(keys, list) else []


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _digest(payload: bytes, user_id: str, query: str) -> bytes:
    # No user id and no query holds a NUL, so no two triples read the same.
    return blake2b(
        b"\0".join((user_id.encode(), query.encode(), payload)), digest_size=_DIGEST_SIZE
    ).digest()
