"""The strict route: what the framework would silently ignore, cap or guess is refused.

It also ends the session that a request was lent.

- A query parameter that the route does not know, that comes twice or is not UTF-8, is 422.
- So is a header that asks for protection, on a write that does not give it: a precondition or an
  idempotency key that was ignored would be a promise that was broken.
- So is a body where none is read: what it asks for would not be done.
- A body is JSON as RFC 8259 has it, in UTF-8, of an announced type and of bounded size;
  otherwise the answer is 400, 415 or 413, before anything in it is looked at.
"""

import copy
import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.routing import Route

from src.api.deps import end_session
from src.api.strict_json import NotStrictJSONError, parse_json
from src.models.limits import BODY_MAX_BYTES

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
_PROTECTIONS: Final = ("If-Match", "If-None-Match", "If-Unmodified-Since", "Idempotency-Key")
_SINGULAR: Final = ("Idempotency-Key",)  # the others are lists: their lines count as one
_CHARSETS: Final = {"charset=utf-8", 'charset="utf-8"'}


class StrictRequest(Request):
    """A request whose body is read strictly."""

    async def body(self) -> bytes:
        """Read the body, and refuse it if it is too large or not announced as JSON."""
        if not hasattr(self, "_body"):
            chunks = bytearray()
            async for chunk in self.stream():
                chunks += chunk
                if len(chunks) > BODY_MAX_BYTES:
                    raise HTTPException(413)
            if chunks and not self._is_json():
                raise HTTPException(415)
            self._body = bytes(chunks)
        return self._body

    async def json(self) -> Any:  # noqa: ANN401 — as the class above has it
        """Parse the body, strictly."""
        try:
            parsed = parse_json(await self.body())
        except NotStrictJSONError as error:
            raise HTTPException(400, str(error)) from None
        # The framework takes null for "no body", which is an order to toggle somewhere. It
        # is a body, and never an object: like this empty array, it breaks the schema.
        return [] if parsed is None else parsed

    def _is_json(self) -> bool:
        announced = self.headers.getlist("content-type")
        if len(announced) != 1 or self.headers.get("content-encoding", "identity") != "identity":
            return False
        media_type, *parameters = announced[0].lower().split(";")
        accepted = {JSON, MERGE_PATCH} if self.method == "PATCH" else {JSON}
        charsets = {item.strip() for item in parameters if item.strip().startswith("charset")}
        return media_type.strip() in accepted and charsets <= _CHARSETS


def end_paths(app: FastAPI) -> None:
    """Let each path end where it ends.

    The framework's own pattern ends in `$`, which also takes a line feed that follows.
    """
    for route in app.router.routes:
        if isinstance(route, Route):
            pattern = route.path_regex.pattern
            route.path_regex = re.compile(pattern.removesuffix("$") + r"\Z")


class StrictRoute(APIRoute):
    """A route that reads its requests strictly, and reports all violations at once."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        validate = self._validator()
        # A route that knows parameters takes them as a model, which forbids any others.
        forbids_all = not self.dependant.query_params
        takes_body = self.body_field is not None
        taken = {parameter.alias for parameter in self.dependant.header_params}
        is_read = self.methods == {"GET"}
        refused = [name for name in _PROTECTIONS if not (is_read or name in taken)]

        async def handle_strictly(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            violations = _header_violations(request, refused)
            if request.scope["query_string"]:
                violations += _query_violations(request, forbids_all=forbids_all)
            if not takes_body and _has_body(request):
                violations.append({"type": "unexpected_body", "loc": ("body",)})
            if violations:
                raise RequestValidationError([*violations, *await validate(request)])
            try:
                return await handle(request)
            finally:
                await end_session(request)

        return handle_strictly

    def _validator(self) -> Callable[[Request], Coroutine[Any, Any, list[Any]]]:
        """Make a function that collects the route's own violations and does nothing else."""
        silent = copy.copy(self)
        silent.dependant = dataclasses.replace(self.dependant, call=_do_nothing)
        check = APIRoute.get_route_handler(silent)

        async def validate(request: Request) -> list[Any]:
            try:
                await check(request)
            except RequestValidationError as error:
                return list(error.errors())
            return []

        return validate


async def _do_nothing(**_: object) -> Response:
    return Response()


def _has_body(request: Request) -> bool:
    headers = request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _header_violations(request: Request, refused: list[str]) -> list[dict[str, Any]]:
    headers = request.headers
    unknown = [name for name in refused if name in headers]
    repeated = [name for name in _SINGULAR if len(headers.getlist(name)) > 1]
    return [
        *({"type": "extra_forbidden", "loc": ("header", name)} for name in unknown),
        *({"type": "repeated", "loc": ("header", name)} for name in repeated),
    ]


def _query_violations(request: Request, *, forbids_all: bool) -> list[dict[str, Any]]:
    counts = Counter(name for name, _ in request.query_params.multi_items())
    undecodable = _undecodable(request)
    return [
        {"type": kind, "loc": ("query", name)}
        for name, count in counts.items()
        for kind, is_violated in (
            ("extra_forbidden", forbids_all),
            ("repeated", count > 1),
            ("not_utf_8", name in undecodable),
        )
        if is_violated
    ]


def _undecodable(request: Request) -> set[str]:
    """Name the parameters whose value is not UTF-8. The framework puts U+FFFD in their place."""
    if not any("\ufffd" in value for _, value in request.query_params.multi_items()):
        return set()
    text = request.scope["query_string"].decode("latin-1")
    pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    return {name for name, value in pairs if any("\udc80" <= mark <= "\udcff" for mark in value)}
