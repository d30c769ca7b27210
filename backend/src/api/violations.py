"""From an error of pydantic or the framework to an entry in a problem's `errors`."""

from collections.abc import Sequence
from typing import Any, Final, get_args

from pydantic_core.core_schema import ErrorType

from src.models.limits import (
    IDEMPOTENCY_KEY_MAX_LENGTH,
    IDEMPOTENCY_KEY_PATTERN,
    POSITION_DECIMALS,
    POSITION_PATTERN,
    POSITION_WHOLE_DIGITS,
    USER_ID_MAX_LENGTH,
    USER_ID_PATTERN,
)
from src.schemas.batch import OperationName
from src.schemas.task import READ_ONLY

NAME_MAX_LENGTH: Final = 100
"""A longer name of a field or parameter can only come from the request, so it is left out."""

RULE_CODE: Final = "{code}"
"""A rule of our own brings its code along."""

VIOLATIONS: Final = {
    "broken_rule": (RULE_CODE, "{detail}"),
    "value_error": ("invalid", "{error}"),
    "assertion_error": ("invalid", "{error}"),
    "missing": ("required", "is required"),
    "missing body": ("required", "must be a JSON object"),
    "json_invalid": ("invalid_json", "must be valid JSON"),
    "extra_forbidden": ("unknown", "unknown field"),
    "misspelt field": ("unknown", "unknown field; did you mean {similar}?"),
    "unknown parameter": ("unknown", "unknown parameter"),
    "misspelt parameter": ("unknown", "unknown parameter; did you mean {similar}?"),
    "unsupported header": ("unknown", "is not supported by this operation; leave it out"),
    "read-only field": ("read_only", "is set by the server; leave it out"),
    "read-only id": (
        "read_only",
        "is set by the server; leave it out, or, to create a task with your own id, use PUT with"
        " If-None-Match: *",
    ),
    "read-only id in a batch": ("read_only", "must be next to `task`, not inside it"),
    "repeated": ("repeated", "must not be repeated"),
    "repeated list": ("repeated", "must not be repeated; separate the values with commas"),
    "unexpected body": ("unknown", "must be empty: this operation takes no body"),
    "not utf-8": ("invalid_encoding", "must be percent-encoded UTF-8"),
    "string_type": ("wrong_type", "must be a string"),
    "string_unicode": ("lone_surrogate", "must not contain an unpaired surrogate"),
    "bool_type": ("wrong_type", "must be true or false"),
    "bool_parsing": ("wrong_type", "must be true or false"),
    "list_type": ("wrong_type", "must be an array"),
    "model_attributes_type": ("wrong_type", "must be an object"),
    "empty": ("too_short", "must not be empty"),
    "string_too_short": ("too_short", "must be at least {min_length} characters long"),
    "string_too_long": ("too_long", "must be at most {max_length} characters long"),
    "union_tag_not_found": ("required", "is required"),
    "union_tag_invalid": ("not_allowed", "must be one of {expected_tags}"),
    "too_long": ("too_long", "must have at most {max_length} items"),
    USER_ID_PATTERN: (
        "invalid_format",
        f"must be 1 to {USER_ID_MAX_LENGTH} characters: ASCII letters, digits, and . ~ @ | : + - _;"
        " must not begin with . @ | : or +",
    ),
    IDEMPOTENCY_KEY_PATTERN: (
        "invalid_format",
        f"must be 1 to {IDEMPOTENCY_KEY_MAX_LENGTH} visible ASCII characters without spaces",
    ),
    POSITION_PATTERN: (
        "invalid_format",
        f"must be {POSITION_WHOLE_DIGITS} digits, optionally followed by a point and 1 to"
        f" {POSITION_DECIMALS} digits, the last of which is not 0",
    ),
    "literal_error": ("not_allowed", "must be one of {expected}"),
    "enum": ("not_allowed", "must be one of {expected}"),
    "int_type": ("wrong_type", "must be an integer"),
    "int_parsing": ("wrong_type", "must be an integer"),
    "float_type": ("wrong_type", "must be a number"),
    "float_parsing": ("wrong_type", "must be a number"),
    "greater_than": ("too_small", "must be greater than {gt}"),
    "greater_than_equal": ("too_small", "must be at least {ge}"),
    "less_than": ("too_large", "must be less than {lt}"),
    "less_than_equal": ("too_large", "must be at most {le}"),
}
"""The code and the detail of each type of error: pydantic's, a pattern, or one of our own."""

UNFORESEEN: Final = ("invalid", "is not valid")
"""The code and the detail of any other type of pydantic's: its message can quote the input."""
_OF_PYDANTIC: Final = frozenset(get_args(ErrorType))
_SOURCES: Final = frozenset({"body", "query", "path", "header", "cookie"})
_OF_BATCH: Final = frozenset(get_args(OperationName))


def violation(found: dict[str, Any]) -> dict[str, str]:
    """Say which rule is broken and where, without the input."""
    found = {**found, "loc": _location(found)}
    source, *path = found["loc"]
    code, detail = _code_and_detail(found)
    return {**_place(source, path), "code": code, "detail": detail}


def _code_and_detail(found: dict[str, Any]) -> tuple[str, str]:
    context = {"error": found.get("msg"), **found.get("ctx", {})}
    if "expected_tags" in context:  # unlike other errors, pydantic's has no `or`
        context["expected_tags"] = " or ".join(context["expected_tags"].rsplit(", ", 1))
    kind = _type_of(found)
    if kind not in VIOLATIONS and found["type"] not in _OF_PYDANTIC and "msg" in found:
        return UNFORESEEN[0], found["msg"]  # from a validator that names its own type
    code, detail = VIOLATIONS.get(kind, UNFORESEEN)
    try:
        return code.format_map(context), detail.format_map(context)
    except KeyError:  # a type of pydantic's, raised by hand without its context
        return UNFORESEEN


def _location(found: dict[str, Any]) -> tuple[str | int, ...]:
    """Return where the error is. In a batch, leave out the `op` that pydantic adds."""
    location: tuple[str | int, ...] = tuple(found["loc"])
    if _SOURCES.isdisjoint(location[:1]):  # raised by hand, with errors of pydantic's
        location = ("body", *location)
    if found["type"] == "json_invalid":  # FastAPI adds the position in the text
        return location[:1]
    if location[:2] != ("body", "operations"):
        return location
    if found["type"].startswith("union_tag"):
        return (*location, "op")
    tag = location[3:4]
    return location[:3] + location[4:] if _OF_BATCH.issuperset(tag) else location


def _type_of(found: dict[str, Any]) -> str:
    """Distinguish errors that have one type in pydantic but need different messages."""
    kind: str = found["type"]
    source, *path = found["loc"]
    if kind == "string_pattern_mismatch":
        pattern: str = found["ctx"]["pattern"]
        return pattern
    if kind == "missing" and source == "body" and not path:
        return "missing body"
    if kind in ("string_too_short", "too_short") and found.get("ctx", {}).get("min_length", 1) == 1:
        return "empty"
    return _type_of_unknown(found) if kind == "extra_forbidden" else kind


def _type_of_unknown(found: dict[str, Any]) -> str:
    source, *path = found["loc"]
    is_misspelt = "similar" in found.get("ctx", {})
    if source == "query":
        return "misspelt parameter" if is_misspelt else "unknown parameter"
    is_of_task = path[:-1] in ([], ["operations", *path[1:2], "task"])
    if is_of_task and path[-1] == "id":
        return "read-only id" if path == ["id"] else "read-only id in a batch"
    if is_of_task and path[-1] in READ_ONLY:
        return "read-only field"
    return "misspelt field" if is_misspelt else "extra_forbidden"


def _place(source: str, path: Sequence[str | int]) -> dict[str, str]:
    names = [str(part) for part in path if len(str(part)) <= NAME_MAX_LENGTH]
    if source == "body":
        escaped = (name.replace("~", "~0").replace("/", "~1") for name in names)
        return {"pointer": "".join(f"/{name}" for name in escaped)}
    return {"header" if source == "header" else "parameter": names[0] if names else ""}
