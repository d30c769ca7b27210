"""The name that was probably meant, for a field or a query parameter that is unknown."""

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel

from src.api.violations import NAME_MAX_LENGTH
from src.models.limits import PROBLEM_MAX_ERRORS

_SIMILAR: Final = 0.8  # of 1; `status` and `tags` have 0.6, `task` and `tags` 0.75
_ABBREVIATION_MIN_LENGTH: Final = 3

Place = Sequence[str | int]
"""Where an object is in a body, as pydantic says it: names, indexes, and tags of unions."""


def suggest(errors: Sequence[dict[str, Any]], names_at: Callable[[Place], dict[str, str]]) -> None:
    """Add the name that was probably meant to each unknown name that the answer shows.

    `names_at` gives the names that exist at a place, each with the text to suggest.
    """
    for found in errors[:PROBLEM_MAX_ERRORS]:
        place = found["loc"][1:]
        if found["type"] == "extra_forbidden" and place and len(place[-1]) <= NAME_MAX_LENGTH:
            similar = _similar(place[-1].lower(), names_at(place[:-1]))
            found["ctx"] = {"similar": similar} if similar else {}


def fields_at(body: object, place: Place) -> dict[str, str]:
    """Name the fields at a place in a body of this type, and those of the objects in them.

    A task of a batch, for example, has its `title` as `task.title`.
    """
    models = list(_models(body))
    for step in place:
        if isinstance(step, int):  # an item has the type of its list
            continue
        of_field = [found for model in models for found in _models_of(model, step)]
        models = of_field or [model for model in models if _has_tag(model, step)]
    fields = [(name, field) for model in models for name, field in model.model_fields.items()]
    deeper = {
        inner: f"{name}.{inner}"
        for name, field in fields
        if get_origin(field.annotation) is not list
        for model in _models(field.annotation)
        for inner in model.model_fields
    }
    return deeper | {name: name for name, _ in fields}


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _models_of(model: type[BaseModel], name: str) -> Iterator[type[BaseModel]]:
    if name in model.model_fields:
        yield from _models(model.model_fields[name].annotation)


def _has_tag(model: type[BaseModel], tag: str) -> bool:
    return any(tag in get_args(field.annotation) for field in model.model_fields.values())


def _similar(name: str, known: dict[str, str]) -> str | None:
    close = get_close_matches(name, known, n=1, cutoff=_SIMILAR)
    if not close and len(name) >= _ABBREVIATION_MIN_LENGTH:
        close = [longer for longer in known if longer.startswith(name)]
    return known[close[0]] if len(close) == 1 else None
