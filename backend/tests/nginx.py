"""nginx with the configuration in `deploy`, on ports of the test's."""

import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import pytest

from src.config import ROOT
from tests.processes import PATIENCE, free_port, wait_until

_CONFIGURATION: Final = ROOT / "deploy" / "nginx.conf"
_AROUND: Final = """
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
    {configuration}
}}
"""


class Certificate(NamedTuple):
    """A certificate of this machine, signed by itself."""

    chain: Path
    key: Path

    def trust(self) -> ssl.SSLContext:
        """Make the context of a client that trusts it, and prefers HTTP/2."""
        context = ssl.create_default_context(cafile=self.chain)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context


def make_certificate(directory: Path) -> Certificate:
    made = Certificate(directory / "certificate.pem", directory / "key.pem")
    names = "subjectAltName=IP:127.0.0.1"
    options = ["-x509", "-nodes", "-newkey", "rsa:2048", "-days", "1", "-subj", "/CN=localhost"]
    files = ["-out", str(made.chain), "-keyout", str(made.key)]
    command = ["openssl", "req", *options, "-addext", names, *files]
    subprocess.run(command, check=True, capture_output=True)
    return made


@contextmanager
def nginx(
    directory: Path,
    api: str,
    *,
    prefix: str = "",
    certificate: Certificate | None = None,
    is_impatient: bool = False,
) -> Iterator[str]:
    """Run nginx in front of the API at this URL; give its own URL.

    A prefix is removed from the path. With a certificate, the lines for TLS replace the one for
    plain HTTP. If it is impatient, it waits for clients a second where the configuration says ten
    or more.
    """
    port = free_port()
    text = _CONFIGURATION.read_text()
    url = f"http://127.0.0.1:{port}"
    if certificate:
        url = f"https://127.0.0.1:{port}"
        text, replaced = re.subn(r"^    listen .+\n", "", text, flags=re.MULTILINE)
        assert replaced == 1
        text = re.sub(r"^    # ((?:listen|ssl_\w+) .+;)$", r"    \1", text, flags=re.MULTILINE)
        text = text.replace("listen 443", f"listen 127.0.0.1:{port}")
        text = re.sub(r"(ssl_certificate +).+;", rf"\1{certificate.chain};", text)
        text = re.sub(r"(ssl_certificate_key +).+;", rf"\1{certificate.key};", text)
    text = text.replace("127.0.0.1:8000", httpx.URL(api).netloc.decode())
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    if is_impatient:
        text, replaced = re.subn(r"((?:client_\w+|keepalive|send)_timeout) \d\ds;", r"\1 1s;", text)
        assert replaced == 5
    if prefix:
        text = text.replace("location / {", f"location {prefix}/ {{")
        text = text.replace("proxy_pass http://task_api;", "proxy_pass http://task_api/;")
    file = directory / "nginx.conf"
    file.write_text(_AROUND.format(directory=directory, configuration=text))
    options = f"daemon off; master_process off; pid {directory / 'nginx.pid'};"
    log = directory / "nginx.log"
    process = subprocess.Popen([_nginx(), "-c", file, "-e", log, "-g", options])
    url += prefix
    try:
        trust = certificate.trust() if certificate else True
        wait_until(lambda: _serves(url, trust) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _serves(url: str, trust: ssl.SSLContext | bool) -> bool:  # noqa: FBT001 — as httpx takes it
    try:
        return httpx.get(f"{url}/health", verify=trust).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _nginx() -> str:
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None and "CI" not in os.environ:
        pytest.skip("there is no nginx here")
    assert found, "the proxy's configuration is tested with nginx: install nginx-light"
    return found
