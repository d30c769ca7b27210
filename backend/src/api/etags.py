"""Entity tags and preconditions (RFC 9110, sections 8.8.3 and 13.1), and the answers with tags.

The tag of a task is its version. The weak tag of a list is the list's version, or a digest of the
answer if that also depends on the present time. Proxies that compress an answer mark its tag
(`"7-gzip"`, `"7-zstd"`), and some make it weak (`W/"7"`): it still names the same version.
"""

import re
from hashlib import blake2b
from typing import Annotated, Any, Final

from fastapi import Header, Response
from pydantic import PlainValidator, WithJsonSchema

from src.models.task import TaskRow
from src.schemas.changes import deleted_to_wire
from src.schemas.fields import broken_rule
from src.schemas.task import TaskSummary, to_json, to_wire
from src.services.changes import Changes
from src.services.listing import Page

_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
# A list may have empty elements (section 5.6.1.2). The pattern is unambiguous: an ambiguous one
# could take exponential time (ReDoS).
_TAGS_PATTERN: Final = rf"^(?:\*|[ \t,]*{_TAG}(?:[ \t]*,(?:[ \t]*{_TAG})?)*[ \t]*)$"
_TAGS: Final = re.compile(_TAGS_PATTERN)
CACHE_CONTROL: Final = "private, no-cache"
# Apache, Caddy, lighttpd and Tomcat write `-`, Jetty writes `--`, and some frameworks `;`.
_MARK: Final = r"(?:--?|;)(?:br|bzip2|compress|deflate|gzip|x-gzip|zstd)"
_OPAQUE: Final = re.compile(rf'"([^"]*?)(?:{_MARK})?"')
# Only the form that the server writes: "07" is a different tag.
_VERSION: Final = re.compile(r"0|[1-9]\d{0,17}", re.ASCII)
_DIGEST_SIZE: Final = 16  # bytes: in hexadecimal digits, too long to be a version


class _AnyTag(frozenset[str]):
    """What `*` names: every tag."""

    def __contains__(self, tag: object) -> bool:
        return True


ANY_TAG: Final = _AnyTag()


def parse_entity_tags(lines: list[str]) -> frozenset[str]:
    """Return the tags in the lines of a header, without weakness and marks of compression.

    A tag that the server never wrote is valid and matches nothing.
    """
    value = ",".join(lines).strip(" \t")
    if not _TAGS.match(value):
        raise broken_rule("invalid_entity_tag", 'must be * or entity tags such as "7"')
    return ANY_TAG if value == "*" else frozenset(_OPAQUE.findall(value))


def versions_in(tags: frozenset[str] | None) -> frozenset[int]:
    """Return the versions that some of the tags name. `*` gives none."""
    return frozenset(int(tag) for tag in tags or () if _VERSION.fullmatch(tag))


def parse_if_match(lines: list[str]) -> frozenset[int] | None:
    """Return the versions that the task must be at, or None for `*`: it only has to exist."""
    tags = parse_entity_tags(lines)
    return None if tags is ANY_TAG else versions_in(tags)


def parse_any(lines: list[str]) -> frozenset[str]:
    """Accept `*` only: other tags make no sense on a write."""
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
        description="The `ETag` of the task as you last saw it. If the task has changed since then,"
        " nothing is written and you get 412 with the task as it is now. Without this header,"
        " the last writer wins.",
    ),
]

IfNoneMatch = Annotated[
    frozenset[str] | None,
    PlainValidator(parse_entity_tags),
    WithJsonSchema(_SCHEMA),
    Header(
        alias="If-None-Match",
        description="The `ETag` of the copy you have from the same URL. If it is still current, you"
        " get 304 without a body.",
    ),
]


IfNoneMatchAny = Annotated[
    frozenset[str] | None,
    PlainValidator(parse_any),
    WithJsonSchema({"type": "string", "enum": ["*"], "examples": ["*"]}),
    Header(
        alias="If-None-Match",
        description="`*`: create the task. If it already exists, nothing is written and you get"
        " 412 with the task as it is now.",
    ),
]


def task_response(
    task: TaskRow,
    *,
    status_code: int = 200,
    seen: frozenset[str] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Answer with one task, or with 304 if the client has `seen` this version."""
    headers = {"ETag": f'"{task.version}"', "Cache-Control": CACHE_CONTROL, **(headers or {})}
    if seen is not None and str(task.version) in seen:
        return Response(status_code=304, headers=headers)
    return Response(to_json(to_wire(task)), status_code, headers, media_type="application/json")


def created_response(task: TaskRow, location: str, *, is_new: bool) -> Response:
    """Answer with the new task, or with the one that an earlier request created."""
    headers = {"Location": location}
    if not is_new:
        headers["Idempotency-Replayed"] = "true"
    return task_response(task, status_code=201 if is_new else 200, headers=headers)


def list_response(page: Page, *, seen: frozenset[str] | None, next_url: str) -> Response:
    """Answer with a page of a list, or with 304 if the client has `seen` it."""
    links = {"Link": f'<{next_url}>; rel="next"'} if page.next_cursor is not None else {}
    body = to_json(
        {
            "items": list(map(to_wire, page.tasks)),
            "next_cursor": page.next_cursor,
            "total": page.total,
        }
    )
    return _weak_response(body, page.version, seen, links)


def changes_response(changes: Changes, *, seen: frozenset[str] | None) -> Response:
    """Answer with the changes, or with 304 if the client's copy is at a version it has `seen`."""
    body = to_json(
        {
            "changed": list(map(to_wire, changes.changed)),
            "deleted": list(map(deleted_to_wire, changes.deleted)),
            "next": changes.next,
            "has_more": changes.has_more,
        }
    )
    return _weak_response(body, changes.version, seen, {})


def summary_response(summary: TaskSummary, *, seen: frozenset[str] | None) -> Response:
    """Answer with the summary, or with 304 if the client has `seen` the same one."""
    return _weak_response(to_json(summary.model_dump()), None, seen, {})


def _weak_response(
    body: bytes, version: object, seen: frozenset[str] | None, headers: dict[str, str]
) -> Response:
    """Use the version as the tag; without one, a digest, since the answer depends on the time."""
    tag = blake2b(body, digest_size=_DIGEST_SIZE).hexdigest() if version is None else str(version)
    conditional = {"ETag": f'W/"{tag}"', "Cache-Control": CACHE_CONTROL}
    if seen is not None and tag in seen:
        return Response(status_code=304, headers=conditional)
    return Response(body, headers=conditional | headers, media_type="application/json")
