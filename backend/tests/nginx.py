"""nginx with the configuration in `deploy`, on ports of the test's and with less patience."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

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


@contextmanager
def nginx(directory: Path, api: str, prefix: str = "") -> Iterator[str]:
    """Run nginx in front of the API at this URL; give its own URL.

    It waits a second where the configuration says ten or more. A prefix is removed from the path.
    """
    port = free_port()
    text = _CONFIGURATION.read_text()
    text = text.replace("127.0.0.1:8000", httpx.URL(api).netloc.decode())
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    text = re.sub(r"(_timeout) \d\ds;", r"\1 1s;", text)
    if prefix:
        text = text.replace("location / {", f"location {prefix}/ {{")
        text = text.replace("proxy_pass http://task_api;", "proxy_pass http://task_api/;")
    file = directory / "nginx.conf"
    file.write_text(_AROUND.format(directory=directory, configuration=text))
    options = f"daemon off; master_process off; pid {directory / 'nginx.pid'};"
    log = directory / "nginx.log"
    process = subprocess.Popen([_nginx(), "-c", file, "-e", log, "-g", options])
    url = f"http://127.0.0.1:{port}{prefix}"
    try:
        wait_until(lambda: _serves(url) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _serves(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _nginx() -> str:
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None and "CI" not in os.environ:
        pytest.skip("there is no nginx here")
    assert found, "the proxy's configuration is tested with nginx: install nginx-light"
    return found
