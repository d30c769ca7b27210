"""The opaque tokens of pages and changes: self-contained, and bound to what they were made for.

A token carries keys, such as the sort keys of the last row shown, and a digest of them, the user
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
    return _token(orjson.dumps(keys), user_id, query)


def decode_cursor(token: str, *, user_id: str, query: str) -> list[Any]:
    """Return the sort keys in a token. Anybody can make a token, so they may be anything.

    Raises:
        CursorMismatch: the token is damaged, or was made for another user or query.
    """
    try:
        payload = urlsafe_b64decode(token + "=" * (-len(token) % 4))[_DIGEST_SIZE:]
        keys = orjson.loads(payload)
    except ValueError:
        raise CursorMismatch from None
    # Decoding is lenient: accept only the form in which tokens are written here.
    if _token(payload, user_id, query) != token:
        raise CursorMismatch
    return keys if isinstance(keys, list) else []


def _token(payload: bytes, user_id: str, query: str) -> str:
    # No user id and no query holds a NUL, so no two triples read the same.
    bound = b"\0".join((user_id.encode(), query.encode(), payload))
    digest = blake2b(bound, digest_size=_DIGEST_SIZE).digest()
    return urlsafe_b64encode(digest + payload).decode().rstrip("=")
