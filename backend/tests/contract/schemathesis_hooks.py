"""What schemathesis cannot know from the OpenAPI document. It loads this file by its path."""

import itertools
import json
import re
from typing import Any, Final

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import RejectedPositiveData

_ENTITY_TAGS: Final = "entity-tags"
_PRECONDITIONS: Final = ("If-Match", "If-None-Match")

# "1" becomes the version that was last seen, so that both outcomes of a precondition are seen.
schemathesis.openapi.format(
    _ENTITY_TAGS,
    st.sampled_from(["*", '"1"', '"2"', 'W/"1"', '"1" , "2","3-gzip"', '""', '"none of ours"']),
)

_SEEN: Final[dict[str, str]] = {}
"""From the path of a task or a list to the tag that it last had."""

# No schema lists the zones: there are six hundred.
schemathesis.openapi.format(
    "iana-time-zone",
    st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Kiritimati", "America/St_Johns", "CET"]),
)

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SHORT_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}")
_NUMBERS: Final = itertools.count()

_MATTERS_OF_STATE: Final = (
    {"version_mismatch"},  # whether If-Match holds depends on the task
    {"task_exists"},  # and so does whether If-None-Match: * does
    {"task_deleted"},  # what became of a key's task depends on what was sent before
    {"invalid_request", "idempotency_key_reused"},  # the same
    {"invalid_request", "cursor_mismatch"},  # only the server makes cursors, for one list each
    {"invalid_request", "token_mismatch"},  # and tokens
    {"list_restarted"},  # the document's example is a token, of a list that is not here
    {"invalid_request", "unknown_neighbour"},  # whether there is one depends on the list
)


@schemathesis.hook
def before_load_schema(context: HookContext, raw_schema: dict[str, Any]) -> None:  # noqa: ARG001 — prescribed
    """Name the format of the preconditions, and add what the document only says in words.

    In its coverage phase schemathesis fills headers with letters and digits only; where a
    pattern asks for a quote it sends a wrong value and still expects it to be accepted. And it
    prefers examples, which cannot know the versions that tasks have here.
    """
    _add_rules(raw_schema)
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                is_precondition = parameter["name"] in _PRECONDITIONS
                if is_precondition and "pattern" in parameter["schema"]:
                    parameter["schema"]["format"] = _ENTITY_TAGS
                    del parameter["schema"]["examples"]


def _add_rules(raw_schema: dict[str, Any]) -> None:
    """Write into the schemas the rules that would make generators of clients stumble."""
    schemas = raw_schema["components"]["schemas"]
    due = {name: {"type": "string"} for name in ("due_date", "due_at")}
    for name in ("TaskCreate", "TaskReplace", "TaskUpdate"):
        schemas[name]["not"] = {"required": [*due], "properties": due}
    schemas["MoveOperation"] |= {
        "if": {"required": ["after"]},
        "then": {"properties": {"before": False}},
        "else": {"required": ["before"]},
    }
    for parameter in raw_schema["paths"]["/api/v1/{user_id}/tasks"]["get"]["parameters"]:
        schema = parameter["schema"]
        if parameter["name"] in ("due_before", "due_after"):
            schema["anyOf"] = [{"format": "date"}, {"format": "date-time"}]
        if parameter["name"] == "sort":
            schema["not"] = {"pattern": r"\b([a-z_]+)\b.*\b\1\b"}


@schemathesis.hook
def before_call(
    context: HookContext,  # noqa: ARG001 — prescribed
    case: Case[Any],
    kwargs: dict[str, Any],  # noqa: ARG001 — prescribed
) -> None:
    """Send versions that are there, as well as others.

    Try the other parameters without an invented cursor or token, which would have all refused.
    Move tasks to the ends, rather than next to invented ones.
    Likewise try PUT with one of its preconditions, and most bodies of POST with their own key:
    the coverage phase has one key for all of them.
    """
    seen = _SEEN.get(_path_of(case))
    for name in _PRECONDITIONS:
        if seen and isinstance(tags := case.headers.get(name), str):
            case.headers[name] = tags.replace('"1"', seen)
    if len(case.query) > 1:
        case.query.pop("cursor", None)
        case.query.pop("since", None)
    key = case.headers.get("Idempotency-Key")
    number = next(_NUMBERS)
    if case.path.endswith("/move") and isinstance(case.body, dict) and number % 4:
        for side, neighbour in case.body.items():
            if isinstance(neighbour, str) and _UUID.fullmatch(neighbour):
                case.body[side] = None
    if case.headers.get("If-None-Match") == "*":
        # Both preconditions together are always refused: the task exists, or it does not.
        case.headers.pop("If-None-Match" if number % 4 else "If-Match", None)
    if isinstance(key, str) and _SHORT_KEY.fullmatch(key) and number % 4:
        case.headers["Idempotency-Key"] = f"{key}{number}"


@schemathesis.hook
def after_call(
    context: HookContext,  # noqa: ARG001 — prescribed
    case: Case[Any],
    response: Response,
) -> None:
    """Remember the tag of a task or a list."""
    for tag in response.headers.get("etag", ()):
        location = response.headers.get("location", [_path_of(case)])
        _SEEN[location[0]] = tag.removeprefix("W/")


def _path_of(case: Case[Any]) -> str:
    """Give the path of the task or the list that a request is about."""
    return case.formatted_path.removesuffix("/complete").removesuffix("/move")


@schemathesis.hook
def filter_failure(
    context: HookContext,  # noqa: ARG001 — prescribed
    failure: Failure,
    case: Case[Any],  # noqa: ARG001 — prescribed
    response: Response,
) -> bool:
    """Accept the few refusals of a well-formed request that no schema can foresee."""
    if not isinstance(failure, RejectedPositiveData):
        return True
    problem = json.loads(response.content)
    codes = {problem["code"], *(violation["code"] for violation in problem.get("errors", ()))}
    # Whether the operations of a batch fail depends on the tasks that they name.
    return codes not in _MATTERS_OF_STATE and problem["code"] != "batch_failed"
