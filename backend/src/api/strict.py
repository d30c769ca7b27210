"""The strict route: refuses what FastAPI would ignore or guess, before values are validated.

- A query parameter that is unknown, repeated or not UTF-8 gets 422.
- So does a precondition or an idempotency key that a write does not support: to ignore it would
  break a promise. A GET ignores it.
- So does a body where none is read.
- A body is JSON (RFC 8259) in UTF-8, with a JSON content type and of limited size, and no object in
  it has a name twice. Otherwise the answer is 400, 413 or 415.

All violations of this kind are reported together; those of the values come after they are fixed.
For an unknown name, the error suggests the one that was probably meant.
"""

import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Container, Coroutine
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar, Final, Literal, NoReturn, get_args
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import APIKeyQuery
from pydantic import AliasChoices, AliasPath, BaseModel
from pydantic.fields import FieldInfo
from starlette.requests import ClientDisconnect

from src.api.bodies import has_body
from src.api.problems import Kind, RefusedRequest
from src.api.suggestions import fields_at, suggest
from src.api.violations import violation
from src.models.limits import BODY_MAX_BYTES, JSON_MAX_DEPTH
from src.schemas.query import COMMA_SEPARATED

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
_PROTECTIONS: Final = ("If-Match", "If-None-Match", "If-Unmodified-Since", "Idempotency-Key")
_CHARSETS: Final = {"utf-8", "utf8"}
_NULL: Final = object()
"""Instead of null: it fails the validation of every type of body but `Any`."""
_TOO_DEEP: Final = f"The body is nested more than {JSON_MAX_DEPTH} levels deep."
_ENCODED: Final = "Send the body uncompressed, without the header Content-Encoding."


class StrictRoute(APIRoute):
    """A route that refuses what it does not understand."""

    body_max_bytes: ClassVar[int] = BODY_MAX_BYTES

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        parameters = {name: name for name in _names(self.dependant, "query_params")}
        body = self.body_field.field_info.annotation if self.body_field else None
        declared = _names(self.dependant, "header_params")
        headers = {name.lower().replace("_", "-") for name in declared}  # as FastAPI converts them
        is_read = set(self.methods or ()) <= {"GET", "HEAD"}
        unsupported = [name for name in _PROTECTIONS if not is_read and name.lower() not in headers]

        async def handle_strictly(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            request.body_max_bytes = self.body_max_bytes
            request.takes_any = body is Any
            violations = _header_violations(request, unsupported)
            if request.scope["query_string"]:
                violations += _query_violations(request, parameters)
            if body is None and await _sends_body(request):
                violations.append({"type": "unexpected body", "loc": ("body",)})
            if violations:
                suggest(violations, lambda _: parameters)
                # As FastAPI's own, for handlers that read them.
                raise RequestValidationError(
                    [
                        {**found, "msg": violation(found)["detail"], "input": None}
                        for found in violations
                    ]
                )
            try:
                return await handle(request)
            except RequestValidationError as error:
                suggest(error.errors(), partial(fields_at, body))
                _restore_null(error)
                raise

        return handle_strictly


def _restore_null(error: RequestValidationError) -> None:
    """Show handlers what the client sent."""
    if error.body is _NULL:
        error.body = None
        for found in error.errors():
            found["input"] = None


class StrictRequest(Request):
    """A request whose body is read strictly."""

    body_max_bytes = BODY_MAX_BYTES
    takes_any = False
    """Whether every JSON value is a valid body."""

    async def body(self) -> bytes:
        """Read the body. Refuse it if it is too large or has no JSON content type."""
        if not hasattr(self, "_body"):
            if int(self.headers.get("content-length", 0)) > self.body_max_bytes:
                raise RefusedRequest(Kind.BODY_TOO_LARGE)
            chunks = bytearray()
            async for chunk in self.stream():
                chunks += chunk
                if len(chunks) > self.body_max_bytes:
                    raise RefusedRequest(Kind.BODY_TOO_LARGE)
            if chunks:
                self._require_plain_json()
            self._body = bytes(chunks)
        return self._body

    async def json(self) -> Any:  # noqa: ANN401 — as in the base class
        """Parse the body."""
        parsed = parse_json(await self.body())
        # FastAPI takes null for a missing body, which would toggle a task.
        return _NULL if parsed is None and not self.takes_any else parsed

    def _require_plain_json(self) -> None:
        """Refuse a body that the headers announce as something else, and name the header."""
        codings = ",".join(self.headers.getlist("content-encoding")).lower().split(",")
        if any(coding.strip() not in ("", "identity") for coding in codings):
            raise RefusedRequest(
                Kind.UNSUPPORTED_MEDIA_TYPE,
                detail=_ENCODED,
                headers={"Accept-Encoding": "identity"},  # RFC 9110, section 15.5.16
            )
        content_types = self.headers.getlist("content-type")
        if len(content_types) != 1 or not _is_json(content_types[0].lower(), self.method):
            raise RefusedRequest(Kind.UNSUPPORTED_MEDIA_TYPE)


class InvalidJSON(RefusedRequest):
    """The body breaks a rule for JSON. The detail says where or why, and quotes no value."""

    def __init__(self, detail: str) -> None:
        super().__init__(Kind.INVALID_JSON, detail=detail)


def parse_json(text: bytes) -> Any:  # noqa: ANN401 — JSON can be anything
    """Parse JSON. Half of a surrogate pair passes: JSON allows it, and its field will be named.

    Raises:
        InvalidJSON: it is not JSON, has a name twice, is too deep, or has too long a number.
    """
    if text.startswith(BOM_UTF8):
        raise InvalidJSON("The body begins with a byte order mark. Leave it out.")
    try:
        decoded = text.decode()
        parsed = _DECODER.decode(decoded)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise InvalidJSON(f"The body is not valid JSON at {where}.") from None
    except UnicodeDecodeError as error:
        raise InvalidJSON(f"The body is not UTF-8 at byte {error.start + 1}.") from None
    except RecursionError:
        raise InvalidJSON(_TOO_DEEP) from None
    except ValueError:
        raise InvalidJSON("A number in the body has too many digits.") from None
    may_be_deep = decoded.count("[") + decoded.count("{") > JSON_MAX_DEPTH
    if may_be_deep and _is_too_deep(parsed):
        raise InvalidJSON(_TOO_DEEP)
    return parsed


def _is_too_deep(parsed: Any) -> bool:  # noqa: ANN401 — JSON can be anything
    """Tell whether it is nested too deeply. How deep Python itself reads depends on its version."""
    containers: list[Any] = [[parsed]]
    for _ in range(JSON_MAX_DEPTH + 1):
        containers = [
            value
            for container in containers
            for value in (container.values() if isinstance(container, dict) else container)
            if isinstance(value, dict | list)
        ]
    return bool(containers)


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(members)
    if len(parsed) < len(members):
        raise InvalidJSON("An object in the body has the same name twice.")
    return parsed


def _refuse(constant: str) -> NoReturn:
    raise InvalidJSON(f"{constant} is not JSON.")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse)


def _is_json(content_type: str, method: str) -> bool:
    media_type, *parameters = (part.strip() for part in content_type.split(";"))
    named = (parameter.partition("=") for parameter in parameters)
    charsets = {value.strip('"') for name, _, value in named if name == "charset"}
    accepted = {JSON, MERGE_PATCH} if method == "PATCH" else {JSON}
    return media_type in accepted and charsets <= _CHARSETS


async def _sends_body(request: Request) -> bool:
    """Tell whether there is a body. One in chunks may be empty, which only reading it tells."""
    if "transfer-encoding" not in request.headers:
        return has_body(dict(request.headers.raw))
    try:
        async for chunk in request.stream():
            if chunk:
                return True
    except ClientDisconnect:  # nobody is left to read this: FastAPI answers the same
        raise HTTPException(HTTPStatus.BAD_REQUEST) from None
    return False


def _header_violations(request: Request, unsupported: list[str]) -> list[dict[str, Any]]:
    headers = request.headers
    sent = [name for name in unsupported if name in headers]
    # The others are lists: their lines count as one.
    repeated = ["Idempotency-Key"] if len(headers.getlist("Idempotency-Key")) > 1 else []
    return [
        *({"type": "unsupported header", "loc": ("header", name)} for name in sent),
        *({"type": "repeated", "loc": ("header", name)} for name in repeated),
    ]


def _names(dependant: Dependant, kind: Literal["query_params", "header_params"]) -> set[str]:
    """Name the parameters of this kind that a route reads, itself or in its dependencies."""
    names = set().union(*(_names(inner, kind) for inner in dependant.dependencies))
    for parameter in getattr(dependant, kind):
        annotation = parameter.field_info.annotation
        models = [annotation, *get_args(annotation)]  # the latter of `Model | None`
        fields = {
            key
            for model in models
            if isinstance(model, type) and issubclass(model, BaseModel)
            for name, field in model.model_fields.items()
            for key in _keys(field, name)
        }
        names.update(fields or _keys(parameter.field_info, parameter.alias))
    if kind == "query_params" and isinstance(dependant.call, APIKeyQuery):
        names.add(dependant.call.model.name)
    return names


def _keys(field: FieldInfo, name: str) -> set[str]:
    """Return the names under which a field is read."""
    alias = field.validation_alias or field.alias or name
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return {str(choice.path[0]) if isinstance(choice, AliasPath) else choice for choice in choices}


def _query_violations(request: Request, known: Container[str]) -> list[dict[str, Any]]:
    counts = Counter(name for name, _ in request.query_params.multi_items())
    undecodable = _undecodable(request)
    return [
        {"type": kind, "loc": ("query", name)}
        for name, count in counts.items()
        for kind, is_violated in (
            ("extra_forbidden", name not in known),
            ("repeated list" if name in COMMA_SEPARATED else "repeated", count > 1),
            ("not utf-8", name in undecodable),
        )
        if is_violated
    ]


def _undecodable(request: Request) -> set[str]:
    """Name the parameters whose value is not UTF-8. Starlette puts U+FFFD in its place."""
    if not any("\ufffd" in value for _, value in request.query_params.multi_items()):
        return set()
    text = request.scope["query_string"].decode("latin-1")
    pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    return {name for name, value in pairs if any("\udc80" <= mark <= "\udcff" for mark in value)}
