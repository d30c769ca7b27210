"""The settings, and what becomes of the URL that Neon's console shows."""

from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretStr, ValidationError

from src import config
from src.cli import banner
from src.config import ROOT, Settings, faults_of
from src.main import create_app

NEON: Final = (
    "postgresql://alice:npg_S3cret@ep-cool-darkness-123456-pooler.eu-central-1.aws.neon.tech"
    "/neondb?sslmode=require&channel_binding=require"
)
UNPOOLED: Final = NEON.replace("-pooler", "")
HERE: Final = [("127.0.0.1", 8000)]


@pytest.fixture(autouse=True)
def no_setting_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        for spelling in (name, name.upper()):
            monkeypatch.delenv(spelling, raising=False)
    monkeypatch.setenv("DATABASE_URL", NEON)  # the one setting that is required


def faults(error: ValidationError) -> list[tuple[str, str]]:
    return [(str(fault["loc"][0]), fault["msg"]) for fault in error.errors()]


class TestTheEnvironment:
    @pytest.mark.requirement("FR-036")
    def test_that_says_nothing_gives_the_defaults(self) -> None:
        assert Settings().model_dump() == {
            "database_url": SecretStr(NEON),
            "database_url_unpooled": None,
            "host": "127.0.0.1",
            "port": 8000,
            "web_concurrency": 1,
            "keep_alive_timeout": 125,
            "http_parser": "httptools",
            "root_path": "",
            "allowed_hosts": (),
            "cors_origins": (),
            "body_timeout": 60,
            "log_level": "info",
            "log_format": "text",
            "db_pool_size": 8,
            "db_pool_max_waiting": 512,
            "db_pool_timeout": 1,
            "db_user_share": 0.5,
            "db_connect_timeout": 10,
            "db_prepare_statements": "auto",
        }

    @pytest.mark.requirement("FR-036")
    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("DATABASE_URL", NEON, SecretStr(NEON)),
            ("DATABASE_URL", "postgres://localhost/db", SecretStr("postgres://localhost/db")),
            ("DATABASE_URL_UNPOOLED", UNPOOLED, SecretStr(UNPOOLED)),
            ("HOST", "0.0.0.0", "0.0.0.0"),  # noqa: S104 — only read
            ("PORT", "9000", 9000),
            ("ROOT_PATH", "/todo/api", "/todo/api"),
            ("WEB_CONCURRENCY", "4", 4),
            ("KEEP_ALIVE_TIMEOUT", "620", 620),
            ("HTTP_PARSER", "H11", "h11"),
            (
                "ALLOWED_HOSTS",
                "Api.example.com, *.example.org",
                ("api.example.com", "*.example.org"),
            ),
            ("ALLOWED_HOSTS", "*", ("*",)),
            ("ALLOWED_HOSTS", "[2001:db8::1]", ("[2001:db8::1]",)),
            ("CORS_ORIGINS", "https://a.example", ("https://a.example",)),
            ("LOG_LEVEL", "DEBUG", "debug"),
            ("LOG_FORMAT", "JSON", "json"),
            ("DB_POOL_SIZE", "20", 20),
            ("DB_POOL_MAX_WAITING", "1", 1),
            ("DB_POOL_MAX_WAITING", "0", 0),
            ("DB_POOL_TIMEOUT", "1.5", 1.5),
            ("DB_CONNECT_TIMEOUT", "30", 30),
            ("DB_PREPARE_STATEMENTS", "Never", "never"),
        ],
    )
    @pytest.mark.parametrize("spell", [str.upper, str.lower])
    def test_decides_each_setting_in_upper_or_lower_case(
        self, monkeypatch: pytest.MonkeyPatch, spell: Any, name: str, text: str, value: object
    ) -> None:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(spell(name), text)

        assert getattr(Settings(), name.lower()) == value

    @pytest.mark.requirement("FR-036")
    def test_that_is_empty_gives_the_defaults_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = Settings()
        for name in Settings.model_fields:
            if name != "database_url":
                monkeypatch.setenv(name.upper(), "")

        assert Settings() == before

    @pytest.mark.requirement("FR-036", "FR-097")
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("PORT", "abc"),
            ("PORT", "-1"),
            ("PORT", "65536"),
            ("PORT", "80.5"),
            ("ROOT_PATH", "todo"),
            ("ROOT_PATH", "/"),
            ("ROOT_PATH", "/todo/"),
            ("ROOT_PATH", "/to do"),
            ("WEB_CONCURRENCY", "0"),
            ("WEB_CONCURRENCY", "65"),
            ("LOG_LEVEL", "loud"),
            ("LOG_FORMAT", "xml"),
            ("DB_POOL_SIZE", "0"),
            ("DB_POOL_MAX_WAITING", "-1"),
            ("DB_POOL_TIMEOUT", "0"),
            ("DB_POOL_TIMEOUT", "31"),
            ("DB_POOL_TIMEOUT", "nan"),
            ("DATABASE_URL", "mysql://alice:S3cret@localhost/db"),
            ("DATABASE_URL", "localhost"),
            ("DATABASE_URL", ""),
            ("DATABASE_URL", "postgresql:alice"),
            ("DATABASE_URL", "postgresql://alice:S3cret@localhost:port/db"),
            ("DATABASE_URL", "postgresql://alice:S3cret@localhost:5432,other:54x32/db"),
            ("DATABASE_URL", "postgresql://alice:S3/cret@localhost/db"),
            ("DATABASE_URL", "postgresql://alice:S3cret@[localhost/db"),
            ("DATABASE_URL", "postgresql://alice:S3cret@100%zz@localhost/db"),
            ("DATABASE_URL", "postgresql://alice:S3cret100%zz@localhost/db"),
            ("DATABASE_URL", "postgresql://alice:a@S3cret@localhost/db"),
            ("DATABASE_URL", "postgresql://alice:S3cret@localhost/db?colour=red"),
            ("DATABASE_URL", "postgresql://alice:S3cret@localhost:0/db"),
            ("DATABASE_URL", "host=localhost password='S3cret"),
            ("DATABASE_URL", "postgresql://alice:12/S3cret@localhost/db"),
            ("DATABASE_URL", "postgresql://alice:a@b/S3cret@localhost/db"),
            ("DATABASE_URL", "postgresql://alice:S3cret@one:1,two:2,three:/db?port=1,2"),
            ("DATABASE_URL", "   "),
            ("DATABASE_URL", "postgresql://alice:S3cret\udcff@localhost/db"),
            ("DATABASE_URL_UNPOOLED", "https://alice:S3cret@localhost/db"),
            ("KEEP_ALIVE_TIMEOUT", "0"),
            ("KEEP_ALIVE_TIMEOUT", "3601"),
            ("HTTP_PARSER", "hyper"),
            ("ALLOWED_HOSTS", "https://api.example.com"),
            ("ALLOWED_HOSTS", "api.example.com:8000"),
            ("ALLOWED_HOSTS", "api.*.com"),
            ("DB_CONNECT_TIMEOUT", "1"),
            ("DB_PREPARE_STATEMENTS", "sometimes"),
            ("CORS_ORIGINS", "localhost:3000"),
            ("CORS_ORIGINS", "http://localhost:3000/"),
            ("CORS_ORIGINS", "http://Localhost:3000"),
            ("CORS_ORIGINS", "http://a.example, http://b example"),
            ("CORS_ORIGINS", "http://*.example"),
        ],
    )
    def test_is_refused_by_name_and_without_its_value(
        self, monkeypatch: pytest.MonkeyPatch, name: str, text: str
    ) -> None:
        monkeypatch.setenv(name, text)

        with pytest.raises(ValidationError) as refused:
            Settings()

        ((place, message),) = faults(refused.value)
        assert place == name.lower()
        assert "codec" not in message
        assert "S3" not in str(refused.value)
        assert "cret" not in str(refused.value)

    @pytest.mark.requirement("FR-036", "FR-097")
    @pytest.mark.parametrize(
        ("name", "text", "fault"),
        [
            ("PORT", "abc", "must be a valid integer"),
            (
                "DATABASE_URL",
                "postgresql+asyncpg://alice:S3cret@localhost/db",
                "must begin with postgresql://, without the name of a driver",
            ),
            (
                "DATABASE_URL",
                "postgresql://alice:S3cret@localhost/db?sslmod=require",
                "has an unknown parameter; did you mean sslmode?",
            ),
            (
                "DATABASE_URL",
                "host=localhost pasword=S3cret",
                "has an unknown parameter; did you mean password?",
            ),
            (
                "DATABASE_URL",
                "postgresql://alice:S3cret@localhost:99999/db",
                "the port must be from 1 to 65535; if the password has a /, write it as %2F",
            ),
        ],
    )
    def test_says_what_to_write_instead(
        self, monkeypatch: pytest.MonkeyPatch, name: str, text: str, fault: str
    ) -> None:
        monkeypatch.setenv(name, text)

        with pytest.raises(ValidationError) as refused:
            Settings()

        assert faults_of(refused.value) == [f"{name}: {fault}"]

    @pytest.mark.requirement("FR-069")
    def test_is_refused_if_it_names_a_parser_that_is_not_installed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PARSER", "zttp")
        monkeypatch.setattr(config, "find_spec", lambda _: None)

        with pytest.raises(ValidationError) as refused:
            Settings()

        assert faults_of(refused.value) == [
            "HTTP_PARSER: zttp is not installed; install it with `pip install zttp`"
        ]

    @pytest.mark.requirement("FR-098")
    def test_has_variables_that_are_misspelled_settings(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("CORS_ORIGIN", "LOG_FROMAT", "PGHOST", "DATABASE_USER", "port"):
            monkeypatch.setenv(name, "")

        assert config.misspelled_variables() == {
            "CORS_ORIGIN": "CORS_ORIGINS",
            "LOG_FROMAT": "LOG_FORMAT",
        }

    @pytest.mark.requirement("FR-036")
    def test_at_fault_ends_the_program_when_another_server_makes_the_app(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("DATABASE_URL")
        monkeypatch.setenv("LOG_FORMAT", "xml")

        with pytest.raises(SystemExit) as ended:
            create_app()

        assert ended.value.code == 2
        assert capsys.readouterr().err.splitlines() == [
            "task-api: DATABASE_URL is not set; to run with an embedded database, use `make run`",
            "task-api: LOG_FORMAT: must be 'text' or 'json'",
        ]

    @pytest.mark.requirement("FR-036")
    def test_shows_all_faults_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", "abc")
        monkeypatch.setenv("LOG_FORMAT", "xml")

        with pytest.raises(ValidationError) as refused:
            Settings()

        assert {place for place, _ in faults(refused.value)} == {"port", "log_format"}


class TestCorsOrigins:
    @pytest.mark.requirement("FR-036", "FR-039")
    @pytest.mark.parametrize(
        ("text", "origins"),
        [
            ("http://localhost:3000", ("http://localhost:3000",)),
            ("http://a.example,http://b.example", ("http://a.example", "http://b.example")),
            (" http://a.example , http://b.example ,", ("http://a.example", "http://b.example")),
            (" , ", ()),
            ("*", ("*",)),
            ("capacitor://localhost", ("capacitor://localhost",)),
        ],
    )
    def test_are_split_at_commas(
        self, monkeypatch: pytest.MonkeyPatch, text: str, origins: tuple[str, ...]
    ) -> None:
        monkeypatch.setenv("CORS_ORIGINS", text)

        assert Settings().cors_origins == origins


class TestTheEnvFile:
    @pytest.fixture
    def env_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        file = tmp_path / ".env"
        monkeypatch.setitem(Settings.model_config, "env_file", file)
        return file

    @pytest.mark.requirement("FR-036")
    def test_gives_settings(self, env_file: Path) -> None:
        env_file.write_text(f"# ours\nDATABASE_URL='{NEON}'\nPORT=9000\nUNKNOWN=1\nHOST=\n")

        settings = Settings()

        assert settings.database_url.get_secret_value() == NEON
        assert settings.port == 9000
        assert settings.host == "127.0.0.1"

    @pytest.mark.requirement("FR-036")
    def test_gives_way_to_the_environment(
        self, env_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        env_file.write_text("PORT=9000\nHOST=localhost\n")
        monkeypatch.setenv("PORT", "9001")

        settings = Settings()

        assert (settings.port, settings.host) == (9001, "localhost")

    @pytest.mark.requirement("FR-036")
    def test_may_be_missing(self, env_file: Path) -> None:
        assert not env_file.exists()
        assert Settings().port == 8000

    @pytest.mark.requirement("FR-036")
    def test_example_gives_the_defaults(self, env_file: Path) -> None:
        before = Settings()
        env_file.write_text((ROOT / ".env.example").read_text())

        assert Settings() == before


class TestTheDatabaseUrl:
    @pytest.mark.requirement("FR-036")
    def test_that_is_missing_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DATABASE_URL")

        with pytest.raises(ValidationError) as refused:
            Settings()

        assert faults(refused.value) == [("database_url", "Field required")]

    @pytest.mark.requirement("FR-036")
    def test_is_shown_by_nothing_that_prints_settings(self) -> None:
        settings = Settings(database_url=SecretStr(NEON), database_url_unpooled=SecretStr(UNPOOLED))

        for text in (
            repr(settings),
            str(settings),
            settings.model_dump_json(),
            banner(settings, "from DATABASE_URL", HERE),
        ):
            assert "S3cret" not in text

    @pytest.mark.requirement("FR-044")
    def test_without_the_pooler_is_for_the_migrations(self) -> None:
        settings = Settings(database_url=SecretStr(NEON), database_url_unpooled=SecretStr(UNPOOLED))

        assert settings.migration_url == UNPOOLED
        assert Settings(database_url=SecretStr(NEON)).migration_url == NEON

    @pytest.mark.requirement("FR-044", "FR-096")
    @pytest.mark.parametrize(
        "text",
        [
            NEON,
            "postgres://localhost/db",
            "postgresql:///db?host=/var/run/postgresql",
            "postgresql://alice:a#b?c@localhost/db",
            "postgresql://alice:#S3cret#@localhost/db",
            "postgresql://",
            "postgresql://localhost/db?user=alice@server&port=%205432",
            "host=one,two port=5432 dbname=a@b",
            "hostaddr=127.0.0.1,127.0.0.2 port=5432,",
            "service=tasks",
            "postgresql://alice:S3cret@one:5432,two:5433/db?target_session_attrs=read-write",
            "postgresql://alice@[::1]:5432/db",
            "host=localhost port=5432 user=alice password='S3 cret' dbname=db",
        ],
    )
    def test_may_be_anything_that_libpq_accepts(self, text: str) -> None:
        assert Settings(database_url=SecretStr(text)).database_url.get_secret_value() == text


class TestTheBanner:
    @pytest.mark.requirement("FR-037")
    @pytest.mark.parametrize(
        ("host", "ip", "is_open"),
        [
            ("127.0.0.1", "127.0.0.1", False),
            ("127.0.0.2", "127.0.0.2", False),
            ("localhost", "127.0.0.1", False),
            ("::1", "::1", False),
            ("0.0.0.0", "0.0.0.0", True),  # noqa: S104 — only shown
            ("::", "::", True),
            ("192.168.1.10", "192.168.1.10", True),
            ("my-laptop", "192.168.1.10", True),
        ],
    )
    def test_warns_if_others_can_reach_the_port(self, host: str, ip: str, *, is_open: bool) -> None:
        shown = banner(Settings(host=host), "from DATABASE_URL", [(ip, 8000)])

        assert ("WARNING" in shown) == is_open
        assert (f"HOST={host}" in shown) == is_open
        assert ("ALLOWED_HOSTS" in shown) == is_open

    @pytest.mark.requirement("FR-037")
    def test_says_where_the_pages_are_behind_a_proxy_with_a_prefix(self) -> None:
        hint = "ROOT_PATH=/todo: open the documentation at the address of the proxy."

        assert hint in banner(Settings(root_path="/todo"), "from DATABASE_URL", HERE)
        assert "ROOT_PATH" not in banner(Settings(), "from DATABASE_URL", HERE)

    @pytest.mark.requirement("FR-037")
    def test_gives_addresses_that_a_browser_understands(self) -> None:
        shown = banner(Settings(host="::1"), "from DATABASE_URL", [("::1", 8000)])

        assert "http://[::1]:8000/docs" in shown

    @pytest.mark.requirement("FR-037")
    @pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 — only shown
    def test_gives_an_address_to_which_one_can_connect(self, host: str) -> None:
        shown = banner(Settings(host=host), "from DATABASE_URL", [(host, 8000)])

        assert "http://localhost:8000/docs" in shown

    @pytest.mark.requirement("FR-037")
    def test_warns_if_others_can_reach_one_of_several_addresses(self) -> None:
        addresses = [*HERE, ("192.168.1.10", 8000)]

        assert "WARNING" in banner(Settings(host="my-laptop"), "from DATABASE_URL", addresses)
