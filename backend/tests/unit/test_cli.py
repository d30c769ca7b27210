"""Where the command line listens, and what it refuses before it starts anything."""

import errno
import signal
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from src import cli
from src.config import Settings


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Let every name have these addresses, in this order, as far as the machine knows."""
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (*address, 0, 0))
        if ":" in address[0]
        else (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
        for address in addresses
    ]
    monkeypatch.setattr(cli, "getaddrinfo", lambda *_, **__: found)


def settings_for(host: str, port: int = 0) -> Settings:
    return Settings(database_url=SecretStr("postgresql://localhost/db"), host=host, port=port)


@pytest.mark.requirement("FR-104")
@pytest.mark.requirement("FR-037")
def test_ctrl_c_at_the_start_ends_with_the_usual_status_and_no_traceback() -> None:
    with pytest.raises(SystemExit) as ended, cli.errors_in_one_line():
        raise KeyboardInterrupt

    assert ended.value.code == 128 + signal.SIGINT


@pytest.mark.requirement("FR-149")
def test_workers_without_a_temporary_directory_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))

    with pytest.raises(SystemExit) as ended:
        cli.metrics_directory()

    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "task-api: TMPDIR: several workers need a temporary directory: No such file or directory\n"
    )


class TestTheAddresses:
    def test_of_a_name_are_all_served_on_the_same_port(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolve_to(monkeypatch, ("127.0.0.1", 0), ("127.0.0.2", 0), ("127.0.0.1", 0))

        with cli.listeners(settings_for("localhost")) as taken:
            (first, port), (second, same_port) = [one.getsockname() for one in taken]

            assert (first, second) == ("127.0.0.1", "127.0.0.2")
            assert port == same_port != 0
            for address in (first, second):
                socket.create_connection((address, port)).close()
        assert [one.fileno() for one in taken] == [-1, -1]

    def test_of_the_machine_are_those_of_both_families(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[dict[str, Any]] = []

        def create(_: object, **options: Any) -> socket.socket:
            asked.append(options)
            return socket.socket()

        monkeypatch.setattr(cli, "create_server", create)
        monkeypatch.setattr(cli, "has_dualstack_ipv6", lambda: True)
        resolve_to(monkeypatch, ("::", 0), ("::1", 0), ("127.0.0.1", 0))
        with cli.listeners(settings_for("::")):
            pass

        assert [(one["family"], one["dualstack_ipv6"]) for one in asked] == [
            (socket.AF_INET6, True),
            (socket.AF_INET6, False),
            (socket.AF_INET, False),
        ]

    @pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6 here")
    def test_of_the_machine_are_served_over_both_families(self) -> None:
        with cli.listeners(settings_for("::")) as taken:
            ((_, port, *_),) = [one.getsockname() for one in taken]

            socket.create_connection(("127.0.0.1", port)).close()

    def test_of_ipv4_are_not_served_over_ipv6(self) -> None:
        with cli.listeners(settings_for("127.0.0.1")) as taken:
            ((_, port),) = [one.getsockname() for one in taken]

            with pytest.raises(OSError), socket.socket(socket.AF_INET6) as client:  # noqa: PT011 — refused, or no IPv6
                client.connect(("::1", port))

    @pytest.mark.parametrize("missing", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
    def test_that_the_machine_does_not_have_are_left_out_unless_there_is_no_other(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: int
    ) -> None:
        create_server = socket.create_server

        def create(address: Any, **options: Any) -> socket.socket:
            if address[0] == "::1":
                raise OSError(missing, "there is none")
            return create_server(address, **options)

        monkeypatch.setattr(cli, "create_server", create)
        resolve_to(monkeypatch, ("::1", 0), ("127.0.0.1", 0))
        with cli.listeners(settings_for("localhost")) as taken:
            assert [one.getsockname()[0] for one in taken] == ["127.0.0.1"]

        resolve_to(monkeypatch, ("::1", 0))
        with pytest.raises(SystemExit), cli.listeners(settings_for("localhost")):
            pytest.fail("it listened")
        assert "there is none" in capsys.readouterr().err

    def test_of_which_one_is_taken_are_not_served(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with ExitStack() as cleanup:
            other = cleanup.enter_context(socket.create_server(("127.0.0.2", 0)))
            port = other.getsockname()[1]
            resolve_to(monkeypatch, ("127.0.0.1", port), ("127.0.0.2", port))
            with (
                pytest.raises(SystemExit) as ended,
                cli.listeners(settings_for("localhost", port)),
            ):
                pytest.fail("it listened")

        assert ended.value.code == 2
        assert "Address already in use" in capsys.readouterr().err
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
