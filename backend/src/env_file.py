"""The file `.env`, which is refused where it would be misread.

The file may also hold the settings of other programs. They are left alone, unless a name resembles
one of ours: a misspelled DATABASE_URL would silently mean another database.
"""

import re
from collections.abc import Collection
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Final

from dotenv.parser import Binding, parse_stream

_NAME: Final = re.compile(r"[\w.-]+", re.ASCII)
_SIMILARITY: Final = 0.885  # DATABSE_URL and PORTS are refused, DATABASE_USER and PGHOST are not


class EnvFileError(Exception):
    """The file cannot be used. The message has a line for each fault, and quotes no value."""


def check(file: Path, names: Collection[str]) -> None:
    """Check the file, if there is one; `names` are those of our settings, in upper case.

    Raises:
        EnvFileError: lines cannot be read, or names are misspelled.
    """
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError:
        return
    except OSError as error:
        raise EnvFileError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 is full of them
        raise EnvFileError(f"{file}: is not UTF-8 text: save it as UTF-8")
    faults = [
        f"{file}: line {_line_of(binding)}: {fault}"
        for binding in parse_stream(StringIO(text))
        if (fault := _fault(binding, names)) is not None
    ]
    if faults:
        raise EnvFileError("\n".join(faults))


def similar_setting(name: str, names: Collection[str]) -> str | None:
    """Return the setting that was probably meant by this name, if it resembles one."""
    swapped = [ours for ours in names if sorted(ours) == sorted(name)]
    meant = swapped or get_close_matches(name, names, n=1, cutoff=_SIMILARITY)
    return meant[0] if meant else None


def _line_of(binding: Binding) -> int:
    read = binding.original.string
    blank_lines = read[: len(read) - len(read.lstrip())].count("\n")
    return binding.original.line + blank_lines


def _fault(binding: Binding, names: Collection[str]) -> str | None:
    if binding.error:
        return "must be NAME=value, with a quote at both ends of the value or at none"
    if binding.key is None:  # a comment
        return None
    if binding.value is None or not _NAME.fullmatch(binding.key):
        return "must be NAME=value"
    name = binding.key.upper()
    if name in names:
        return "the value has a line break: is a quote missing?" if "\n" in binding.value else None
    meant = similar_setting(name, names)
    return f"{binding.key} is not a setting: did you mean {meant}?" if meant else None
