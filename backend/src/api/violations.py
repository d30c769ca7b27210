"""From what pydantic and the framework find to an entry of a problem's `errors`."""

from collections.abc import Sequence
from typing import Any, Final

_NAME_MAX_LENGTH: Final = 100
"""A longer name of a field or parameter comes from nowhere but the request: not repeated."""

# What pydantic and the framework find, in our words: stable codes, and no input in the
# details. `broken_rule` is how our own rules report, with words of their own.
VIOLATIONS: Final = {
    "broken_rule": ("{code}", "{detail}"),
    "missing": ("required", "is required"),
    "extra_forbidden": ("unknown", "is not known here"),
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
    "string_pattern_mismatch": ("invalid_format", "must match {pattern}"),
    "literal_error": ("not_allowed", "must be one of {expected}"),
    "greater_than_equal": ("too_small", "must be at least {ge}"),
    "less_than_equal": ("too_large", "must be at most {le}"),
}


def violation(found: dict[str, Any]) -> dict[str, str]:
    """Say where it is and which rule it breaks: in our words, and without the input."""
    code, detail = VIOLATIONS.get(found["type"], ("invalid", "is not valid"))
    context = found.get("ctx", {})
    source, *path = found["loc"]
    return {
        **_place(source, path),
        "code": code.format_map(context),
        "detail": detail.format_map(context),
    }


def _place(source: str, path: Sequence[str | int]) -> dict[str, str]:
    names = [str(part) for part in path if len(str(part)) <= _NAME_MAX_LENGTH]
    if source == "body":
        escaped = (name.replace("~", "~0").replace("/", "~1") for name in names)
        return {"pointer": "".join(f"/{name}" for name in escaped)}
    return {"header" if source == "header" else "parameter": names[0] if names else ""}
