"""Entity tags and preconditions (RFC 9110, sections 8.8.3 and 13.1).

The tag of one task is its version; the weak tag of a list is the list's version. Proxies
that compress an answer mark its tag (`"7-gzip"`), and some make it weak (`W/"7"`); both
still name the version, so both are taken for it.
"""

import re
from typing import Annotated, Any, Final

from fastapi import Header, Response
from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import to_json

from src.schemas.fields import broken_rule
from src.services.todo_service import TaskDocument, TaskPage

_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
# A list may have empty elements (section 5.6.1.2). Written so that no text can be read in two
# ways: a pattern that could would take for ever to refuse some.
_TAGS_PATTERN: Final = rf"^(?:\*|[ \t,]*{_TAG}(?:[ \t]*,(?:[ \t]*{_TAG})?)*[ \t]*)$"
_TAGS: Final = re.compile(_TAGS_PATTERN)
_CACHE_CONTROL: Final = "private, no-cache"
_VERSION: Final = re.compile(r'"(\d{1,18})(?:--?gzip)?"', re.ASCII)


class _AnyVersion(frozenset[int]):
    """What `*` names: every version there is."""

    def __contains__(self, version: object) -> bool:
        return True


ANY_VERSION: Final = _AnyVersion()


def parse_entity_tags(lines: list[str]) -> frozenset[int]:
    """Give the versions that the lines of a header name.

    A tag that is none of ours is a valid tag that matches nothing.
    """
    value = ",".join(lines).strip(" \t")
    if not _TAGS.match(value):
        raise broken_rule("invalid_entity_tag", 'must be *, or entity tags such as "7"')
    if value == "*":
        return ANY_VERSION
    return frozenset(int(version) for version in _VERSION.findall(value))


def parse_if_match(lines: list[str]) -> frozenset[int] | None:
    """Give the versions that the task must be at, or None for `*`: it only has to exist."""
    versions = parse_entity_tags(lines)
    return None if versions is ANY_VERSION else versions


_SCHEMA: Final[dict[str, Any]] = {"type": "string", "pattern": _TAGS_PATTERN}

IfMatch = Annotated[
    frozenset[int] | None,
    PlainValidator(parse_if_match),
    WithJsonSchema(_SCHEMA),
    Header(
        alias="If-Match",
        description="The `ETag` of the task as you saw it. If it has changed since, nothing is"
        " written and the answer is 412 with the task as it is now. Without it the last writer"
        " wins.",
        examples=['"7"'],
    ),
]

IfNoneMatch = Annotated[
    frozenset[int],
    PlainValidator(parse_entity_tags),
    WithJsonSchema(_SCHEMA),
    Header(
        alias="If-None-Match",
        default_factory=frozenset,
        description="The `ETag` of what you have. If it is still right, the answer is 304"
        " without a body.",
        examples=['"7"'],
    ),
]


def task_response(
    task: TaskDocument,
    *,
    status_code: int = 200,
    seen: frozenset[int] = frozenset(),
    headers: dict[str, str] | None = None,
) -> Response:
    """Answer with one task, or with 304 if the client has `seen` this version of it."""
    headers = {"ETag": f'"{task.version}"', "Cache-Control": _CACHE_CONTROL, **(headers or {})}
    if task.version in seen:
        return Response(status_code=304, headers=headers)
    return Response(task.body, status_code, headers, media_type="application/json")


def list_response(page: TaskPage, *, seen: frozenset[int], next_page: str) -> Response:
    """Answer with a page of a list, or with 304 if the client has `seen` this version of it."""
    headers = {"ETag": f'W/"{page.version}"', "Cache-Control": _CACHE_CONTROL}
    if page.version in seen:
        return Response(status_code=304, headers=headers)
    if page.next_cursor is not None:
        headers["Link"] = f'<{next_page}>; rel="next"'
    body = b'{"items":%b,"next_cursor":%b,"total":%b}' % (
        page.items,
        to_json(page.next_cursor),
        to_json(page.total),
    )
    return Response(body, headers=headers, media_type="application/json")
