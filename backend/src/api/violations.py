"""From what pydantic and the framework find to an entry of a problem's `errors`."""

from collections.abc import Sequence
from typing import Any, Final

from src.models.limits import (
    IDEMPOTENCY_KEY_MAX_LENGTH,
    IDEMPOTENCY_KEY_PATTERN,
    USER_ID_MAX_LENGTH,
    USER_ID_PATTERN,
)
from src.schemas.task import READ_ONLY

_NAME_MAX_LENGTH: Final = 100
"""A longer name of a field or parameter comes from nowhere but the request: not repeated."""

# What pydantic and the framework find, in our words: stable codes, and no input in the
# details. `broken_rule` is how our own rules report, with words of their own. Some kinds are
# ours: see `_kind`.
VIOLATIONS: Final = {
    "broken_rule": ("{code}", "{detail}"),
    "missing": ("required", "is required"),
    "missing body": ("required", "a JSON object is required"),
    "extra_forbidden": ("unknown", "is not known here"),
    "read-only field": ("read_only", "is set by the server"),
    "read-only id": (
        "read_only",
        "is set by the server; PUT with If-None-Match: * creates under your own id",
    ),
    "repeated": ("repeated", "must not be given more than once"),
    "unexpected_body": ("unknown", "must be empty: nothing here reads a body"),
    "not_utf_8": ("invalid_encoding", "must be UTF-8, percent-encoded"),
    "string_type": ("wrong_type", "must be a string"),
    "string_unicode": ("lone_surrogate", "must not hold half of a surrogate pair"),
    "bool_type": ("wrong_type", "must be true or false"),
    "bool_parsing": ("wrong_type", "must be true or false"),
    "list_type": ("wrong_type", "must be an array"),
    "model_attributes_type": ("wrong_type", "must be an object"),
    "string_too_short": ("too_short", "must not be empty"),
    "string_too_long": ("too_long", "must have at most {max_length} characters"),
    "too_long": ("too_long", "must have at most {max_length} items"),
    USER_ID_PATTERN: (
        "invalid_format",
        f"must have 1 to {USER_ID_MAX_LENGTH} characters: ASCII letters, digits and"
        " ~ @ | : + - _ ., and not begin with one of . @ | : +",
    ),
    IDEMPOTENCY_KEY_PATTERN: (
        "invalid_format",
        f"must have 1 to {IDEMPOTENCY_KEY_MAX_LENGTH} visible ASCII characters and no spaces",
    ),
    "literal_error": ("not_allowed", "must be one of {expected}"),
    "greater_than_equal": ("too_small", "must be at least {ge}"),
    "less_than_equal": ("too_large", "must be at most {le}"),
}


def violation(found: dict[str, Any]) -> dict[str, str]:
    """Say where it is and which rule it breaks: in our words, and without the input."""
    code, detail = VIOLATIONS.get(_kind(found), ("invalid", "is not valid"))
    context = found.get("ctx", {})
    source, *path = found["loc"]
    return {
        **_place(source, path),
        "code": code.format_map(context),
        "detail": detail.format_map(context),
    }


def _kind(found: dict[str, Any]) -> str:
    """Tell apart what is of one type for the framework, but not for the client."""
    kind: str = found["type"]
    source, *path = found["loc"]
    if kind == "string_pattern_mismatch":
        pattern: str = found["ctx"]["pattern"]
        return pattern
    if kind == "missing" and source == "body" and not path:
        return "missing body"
    if kind == "extra_forbidden" and source == "body" and path[-1] in READ_ONLY:
        return "read-only id" if path[-1] == "id" else "read-only field"
    return kind


def _place(source: str, path: Sequence[str | int]) -> dict[str, str]:
    names = [str(part) for part in path if len(str(part)) <= _NAME_MAX_LENGTH]
    if source == "body":
        escaped = (name.replace("~", "~0").replace("/", "~1") for name in names)
        return {"pointer": "".join(f"/{name}" for name in escaped)}
    return {"header" if source == "header" else "parameter": names[0] if names else ""}
