"""The settings: the only reader of the environment.

Every setting is documented in `.env.example`; a test keeps the two in step.
"""

import os
import re
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from src import env_file

ROOT: Final = Path(__file__).resolve().parents[2]

_ORIGIN: Final = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\sA-Z/?#@*]+")
_ROOT_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_HOST: Final = re.compile(r"\*|(\*\.)?[a-z0-9_.-]+|\[[0-9a-f:.]+\]")
_MAX_PORT: Final = 65535
_PORT: Final = re.compile(r" *\+?([0-9]+) *")
_DRIVER: Final = re.compile(r"postgres(ql)?\+\w+:", re.ASCII)
_UNKNOWN_OPTION: Final = re.compile(
    r'invalid (?:URI query parameter|connection option)[: ]+"(\w+)"'
)
_AT_SIGN_IN_PATH: Final = re.compile(r"postgres(ql)?://[^/]*/[^?]*@", re.ASCII)


class EnvironmentSettings(BaseSettings):
    """Settings from the environment and the file `.env`.

    Raises:
        EnvFileError: the file would be misread.
        ValidationError: a setting is missing, or has a bad value.
    """

    model_config = SettingsConfigDict(
        env_file=ROOT / ".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 — as in the base class
        file = values.get("_env_file", self.model_config["env_file"])
        if file is not None:
            env_file.check(Path(file), [name.upper() for name in type(self).model_fields])
        super().__init__(**values)


class Settings(EnvironmentSettings):
    """What the operator decides. The program ends with a line for each bad or missing value."""

    database_url: SecretStr
    database_url_unpooled: SecretStr | None = None

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=_MAX_PORT)] = 8000
    root_path: str = ""
    web_concurrency: Annotated[int, Field(ge=1, le=64)] = 1
    keep_alive_timeout: Annotated[int, Field(ge=1, le=3600)] = 125
    http_parser: Literal["httptools", "h11", "zttp"] = "httptools"
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    body_timeout: Annotated[float, Field(gt=0, le=3600)] = 60

    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    log_format: Literal["text", "json"] = "text"

    db_pool_size: Annotated[int, Field(ge=1, le=1000)] = 8
    db_pool_max_waiting: Annotated[int, Field(ge=0)] = 512
    db_pool_timeout: Annotated[float, Field(gt=0, le=30)] = 1
    db_user_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    db_connect_timeout: Annotated[int, Field(ge=2, le=60)] = 10
    db_prepare_statements: Literal["auto", "always", "never"] = "auto"

    @field_validator("database_url", "database_url_unpooled")
    @classmethod
    def _require_postgres_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            _check_connection_string(url.get_secret_value())
        return url

    @field_validator(
        "http_parser", "log_level", "log_format", "db_prepare_statements", mode="before"
    )
    @classmethod
    def _lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("http_parser")
    @classmethod
    def _require_installed(cls, parser: str) -> str:
        if find_spec(parser) is None:
            raise ValueError(f"{parser} is not installed; install it with `pip install {parser}`")
        return parser

    @field_validator("root_path")
    @classmethod
    def _require_path(cls, path: str) -> str:
        if not _ROOT_PATH.fullmatch(path):
            raise ValueError("must be a path such as /todo: with a slash in front, none at the end")
        return path

    @field_validator("allowed_hosts", "cors_origins", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _require_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        hosts = tuple(host.lower() for host in hosts)
        if not all(map(_HOST.fullmatch, hosts)):
            raise ValueError(
                "must be host names without a port, such as api.example.com; *.example.com for all"
                " names under a domain, or * for any host"
            )
        return hosts

    @field_validator("cors_origins")
    @classmethod
    def _require_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(_ORIGIN.fullmatch, origins)):
            raise ValueError(
                "must be origins as browsers send them, such as http://localhost:3000: in lower"
                " case, without a path or a slash at the end; or * for all"
            )
        return origins

    @property
    def migration_url(self) -> str:
        """The direct connection if there is one, since a pooler is no place for migrations."""
        return (self.database_url_unpooled or self.database_url).get_secret_value()


def faults_of(error: ValidationError | env_file.EnvFileError) -> list[str]:
    """Say what is wrong with the settings, in a line for each fault. No line quotes a secret."""
    if isinstance(error, env_file.EnvFileError):
        return str(error).splitlines()
    faults = []
    for found in error.errors():
        name = "_".join(str(part) for part in found["loc"][:1]).upper()
        message = found["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        faults.append(
            f"{name} is not set; to run with an embedded database, use `make run`"
            if found["type"] == "missing"
            else f"{name}: {message.partition(', unable')[0]}"
        )
    return faults


def misspelled_variables() -> dict[str, str]:
    """Return each variable that is almost named like a setting, with the name of the setting."""
    names = [name.upper() for name in Settings.model_fields]
    return {
        name: meant
        for name in os.environ
        if (meant := env_file.similar_setting(name.upper(), names)) and meant != name.upper()
    }


def set_for_workers(name: str, value: str) -> None:
    """Set a variable in the environment of the processes that this one will start."""
    os.environ[name] = value


def _check_connection_string(text: str) -> None:
    """Accept what libpq accepts. No error quotes the value: it holds a password."""
    reason = ""
    try:
        parts = conninfo_to_dict(text)
    except (ProgrammingError, UnicodeEncodeError) as error:
        parts, reason = None, str(error)
    # Not inside the block above: a traceback would show libpq's message, too.
    _refuse_misspelled_option(reason)
    if _DRIVER.match(text):
        raise ValueError("must begin with postgresql://, without the name of a driver")
    if parts is None or not text.strip():
        raise ValueError(
            "must be a PostgreSQL connection string, such as"
            " postgresql://USER:PASSWORD@HOST:5432/DATABASE"
        )
    # libpq would look for these mistakes only when it connects, and quote parts of the password.
    if "@" in str(parts.get("host", "")):
        raise ValueError("write an @ in the password as %40")
    if _AT_SIGN_IN_PATH.match(text):
        raise ValueError("write a / in the password as %2F, and an @ after the host as %40")
    hosts = str(parts.get("host") or parts.get("hostaddr", "")).split(",")
    ports = str(parts.get("port", "")).split(",")
    if not all(map(_is_port, ports)):
        raise ValueError(
            f"the port must be from 1 to {_MAX_PORT}; if the password has a /, write it as %2F"
        )
    if len(ports) not in {1, len(hosts)}:
        raise ValueError("must have one port for all hosts, or one for each")


def _refuse_misspelled_option(reason: str) -> None:
    """Name the option that was probably meant. libpq's message may quote a piece of a password."""
    found = _UNKNOWN_OPTION.search(reason)
    known = [option.keyword.decode() for option in Conninfo.get_defaults()]
    meant = get_close_matches(found[1], known, n=1) if found else []
    if meant:
        raise ValueError(f"has an unknown parameter; did you mean {meant[0]}?")


def _is_port(text: str) -> bool:
    """Tell whether libpq takes this as a port. Empty stands for the default."""
    found = _PORT.fullmatch(text)
    return not text or (found is not None and 1 <= int(found[1]) <= _MAX_PORT)
