"""JSON as RFC 8259 has it, in UTF-8, and with no name twice in one object (ADR 0013)."""

import json
from typing import Any, NoReturn


class NotStrictJSONError(ValueError):
    """The text is not such JSON; the message says where or why, and holds nothing of it."""


def parse_json(text: bytes) -> Any:  # noqa: ANN401 — JSON can be anything
    """Parse JSON. Half a surrogate pair passes: JSON allows it, and its field will be named.

    Raises:
        NotStrictJSONError: it is not JSON, or too deep or too long to be read.
    """
    try:
        return json.loads(text.decode(), object_pairs_hook=_object, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise NotStrictJSONError(f"It stops being JSON at {where}.") from None
    except UnicodeDecodeError as error:
        raise NotStrictJSONError(f"It stops being UTF-8 at byte {error.start + 1}.") from None
    except RecursionError:
        raise NotStrictJSONError("It is nested too deeply.") from None
    except NotStrictJSONError:
        raise
    except ValueError:
        raise NotStrictJSONError("A number in it has too many digits.") from None


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(members)
    if len(parsed) < len(members):
        raise NotStrictJSONError("A name stands twice in one object.")
    return parsed


def _refuse(constant: str) -> NoReturn:
    raise NotStrictJSONError(f"{constant} is not JSON.")
