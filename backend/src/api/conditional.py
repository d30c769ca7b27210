"""Entity tags and preconditions (RFC 9110, sections 8.8.3 and 13.1).

The tag of one task is its version; the weak tag of a list is the list's version, or a digest
of the answer if that also depends on the present time. Proxies that compress an answer mark
its tag (`"7-gzip"`), and some make it weak (`W/"7"`); both still name the same.
"""

import re
from hashlib import blake2b
from typing import Annotated, Any, Final

from fastapi import Header, Response
from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import to_json

from src.models.limits import IDEMPOTENCY_KEY_MAX_LENGTH, IDEMPOTENCY_KEY_PATTERN
from src.schemas.fields import broken_rule
from src.services.documents import TaskDocument, TaskPage

_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
# A list may have empty elements (section 5.6.1.2). Written so that no text can be read in two
# ways: a pattern that could would take for ever to refuse some.
_TAGS_PATTERN: Final = rf"^(?:\*|[ \t,]*{_TAG}(?:[ \t]*,(?:[ \t]*{_TAG})?)*[ \t]*)$"
_TAGS: Final = re.compile(_TAGS_PATTERN)
_REPLAYED: Final = {"Idempotency-Replayed": "true"}
_CACHE_CONTROL: Final = "private, no-cache"
_OPAQUE: Final = re.compile(r'"([^"]*?)(?:--?gzip)?"')
# As the server writes it: a tag that only looks like a version is another tag.
_VERSION: Final = re.compile(r"0|[1-9]\d{0,17}", re.ASCII)
_DIGEST_SIZE: Final = 16  # bytes: in hexadecimal digits too long to be taken for a version


class _AnyTag(frozenset[str]):
    """What `*` names: every tag there is."""

    def __contains__(self, tag: object) -> bool:
        return True


ANY_TAG: Final = _AnyTag()


def parse_entity_tags(lines: list[str]) -> frozenset[str]:
    """Give the tags in the lines of a header, without what makes them weak or marks them.

    A tag that is none of ours is a valid tag that matches nothing.
    """
    value = ",".join(lines).strip(" \t")
    if not _TAGS.match(value):
        raise broken_rule("invalid_entity_tag", 'must be *, or entity tags such as "7"')
    return ANY_TAG if value == "*" else frozenset(_OPAQUE.findall(value))


def versions_in(tags: frozenset[str]) -> frozenset[int]:
    """Give the versions that some of the tags name. `*` names none in particular."""
    return frozenset(int(tag) for tag in tags if _VERSION.fullmatch(tag))


def parse_if_match(lines: list[str]) -> frozenset[int] | None:
    """Give the versions that the task must be at, or None for `*`: it only has to exist."""
    tags = parse_entity_tags(lines)
    return None if tags is ANY_TAG else versions_in(tags)


def parse_any(lines: list[str]) -> frozenset[str]:
    """Take `*` and nothing else: no write depends on which version a task is not at."""
    if ",".join(lines).strip(" \t") != "*":
        raise broken_rule("invalid_entity_tag", "must be *")
    return ANY_TAG


_SCHEMA: Final[dict[str, Any]] = {
    "type": "string",
    "pattern": _TAGS_PATTERN,
    "examples": ['"7"'],
}

IfMatch = Annotated[
    frozenset[int] | None,
    PlainValidator(parse_if_match),
    WithJsonSchema(_SCHEMA),
    Header(
        alias="If-Match",
        description="The `ETag` of the task as you saw it. If it has changed since, nothing is"
        " written and the answer is 412 with the task as it is now. Without it the last writer"
        " wins.",
    ),
]

IfNoneMatch = Annotated[
    frozenset[str],
    PlainValidator(parse_entity_tags),
    WithJsonSchema(_SCHEMA),
    Header(
        alias="If-None-Match",
        default_factory=frozenset,
        description="The `ETag` of what you have. If it is still current, the answer is 304"
        " without a body.",
    ),
]


IfNoneMatchAny = Annotated[
    frozenset[int] | None,
    PlainValidator(parse_any),
    WithJsonSchema({"type": "string", "const": "*", "examples": ["*"]}),
    Header(
        alias="If-None-Match",
        description="`*`: only create. If the task exists, nothing is written and the answer is"
        " 412 with the task as it is.",
    ),
]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=IDEMPOTENCY_KEY_PATTERN,
        description="Your name for this one intent, new for each: 1 to"
        f" {IDEMPOTENCY_KEY_MAX_LENGTH} visible ASCII characters, such as a UUID. Sent again,"
        " the request makes no second task. It never expires.",
        examples=["6f1c2f8e-9a57-4a43-8a5e-0c3d1b2a4f60"],
    ),
]


def task_response(
    task: TaskDocument,
    *,
    status_code: int = 200,
    seen: frozenset[str] = frozenset(),
    headers: dict[str, str] | None = None,
) -> Response:
    """Answer with one task, or with 304 if the client has `seen` this version of it."""
    headers = {"ETag": f'"{task.version}"', "Cache-Control": _CACHE_CONTROL, **(headers or {})}
    if str(task.version) in seen:
        return Response(status_code=304, headers=headers)
    return Response(task.body, status_code, headers, media_type="application/json")


def created_response(task: TaskDocument, location: str) -> Response:
    """Answer with the new task, or with the one that this request has made before."""
    headers = {"Location": location} if task.is_new else {"Location": location, **_REPLAYED}
    return task_response(task, status_code=201 if task.is_new else 200, headers=headers)


def list_response(page: TaskPage, *, seen: frozenset[str], next_page: str) -> Response:
    """Answer with a page of a list, or with 304 if the client has `seen` this one."""
    body = b'{"items":%b,"next_cursor":%b,"total":%b}' % (
        page.items,
        to_json(page.next_cursor),
        to_json(page.total),
    )
    tag = _digest(body) if page.version is None else str(page.version)
    links = {"Link": f'<{next_page}>; rel="next"'} if page.next_cursor is not None else {}
    return _weak_response(body, tag, seen, links)


def summary_response(summary: bytes, *, seen: frozenset[str]) -> Response:
    """Answer with the summary, or with 304 if the client has `seen` the same one."""
    return _weak_response(summary, _digest(summary), seen, {})


def _digest(body: bytes) -> str:
    """Make the tag of an answer that also depends on the present time: no version tells that."""
    return blake2b(body, digest_size=_DIGEST_SIZE).hexdigest()


def _weak_response(
    body: bytes, tag: str, seen: frozenset[str], headers: dict[str, str]
) -> Response:
    conditional = {"ETag": f'W/"{tag}"', "Cache-Control": _CACHE_CONTROL}
    if tag in seen:
        return Response(status_code=304, headers=conditional)
    return Response(body, headers=conditional | headers, media_type="application/json")
