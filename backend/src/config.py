"""The settings: the only reader of the environment.

Every setting is documented in `.env.example`; a test keeps the two in step.
"""

import re
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ROOT: Final = Path(__file__).resolve().parents[2]


_ORIGIN: Final = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\sA-Z/?#@*]+")


class MissingSettingError(Exception):
    """A setting is needed here that was not given."""


class Settings(BaseSettings):
    """What the operator decides. Bad or missing values end the start with one clear line."""

    model_config = SettingsConfigDict(
        env_file=ROOT / ".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: SecretStr | None = None
    database_url_unpooled: SecretStr | None = None
    data_directory: Path = ROOT / ".data"

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    web_concurrency: Annotated[int, Field(ge=1, le=64)] = 1
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()

    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    log_format: Literal["text", "json"] = "text"

    db_pool_size: Annotated[int, Field(ge=1, le=1000)] = 8
    db_pool_max_waiting: Annotated[int, Field(ge=1)] = 512
    db_pool_timeout: Annotated[float, Field(gt=0, le=30)] = 0.5

    @field_validator("database_url", "database_url_unpooled")
    @classmethod
    def _require_postgres_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _is_postgres_url(url.get_secret_value()):
            raise ValueError(
                "must be a postgresql:// URL, as Neon's console shows it, with %40 for an @ in the"
                " password"
            )
        return url

    @field_validator("database_url_unpooled")
    @classmethod
    def _require_pooled_url(cls, url: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        if url is not None and others.data.get("database_url", url) is None:
            raise ValueError("is for migrations only: DATABASE_URL must be set as well")
        return url

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _in_lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(origin.strip() for origin in value.split(",") if origin.strip())
        return value

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
    def required_database_url(self) -> str:
        """The database, as libpq takes it."""
        if self.database_url is None:
            raise MissingSettingError("DATABASE_URL is not set")
        return self.database_url.get_secret_value()

    @property
    def migration_url(self) -> str:
        """The direct connection if there is one: a pooler is no place for migrations."""
        if self.database_url_unpooled is not None:
            return self.database_url_unpooled.get_secret_value()
        return self.required_database_url


def _is_postgres_url(text: str) -> bool:
    if (
        not text.startswith(("postgres://", "postgresql://"))
        or urlsplit(text).netloc.count("@") > 1
    ):
        return False
    try:
        conninfo_to_dict(text)
    except ProgrammingError:  # it quotes a part of the URL, and with it perhaps the password
        return False
    return urlsplit(text).port != 0
