"""A real nginx in front of replicas, with the configuration that is delivered, but for its addresses."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.kit.ports import free_port

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SITE = Path(__file__).parents[2] / "deploy/nginx-cluster.conf"
START_SECONDS_MAX = 60
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx:
    """``urls``: of the replicas. ``start``, then ``url``; ``stop``."""

    def __init__(self, folder: Path, urls: Sequence[str], *, port: int = 0) -> None:
        self._folder = folder
        self._servers = [url.removeprefix("http://") for url in urls]
        self._port = port or free_port()
        self._process: asyncio.subprocess.Process | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        if NGINX is None:
            raise RuntimeError("nginx is missing: apt-get install nginx-light")
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "nginx.conf"
        path.write_text(self._config(), encoding="utf-8")
        self._process = await asyncio.create_subprocess_exec(
            NGINX, "-p", self._folder, "-c", path, "-e", self._folder / "error.log"
        )
        async with asyncio.timeout(START_SECONDS_MAX):
            while not await self._answers():
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def _answers(self) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            raise RuntimeError((self._folder / "error.log").read_text())
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    def _config(self) -> str:
        site = SITE.read_text(encoding="utf-8")
        (options,) = set(re.findall(r"server replica\d:5000(.*);", site))
        servers = "".join(f"    server {server}{options};\n" for server in self._servers)
        site = re.sub(r"(    server replica\d:5000.*;\n)+", servers, site)
        site = site.replace("listen 80;", f"listen 127.0.0.1:{self._port};")
        folders = "".join(f"{name}_temp_path {self._folder / name};\n" for name in TEMPORARY)
        # Workers of one user: the folder is the caller's.
        return (
            f"daemon off; pid {self._folder / 'pid'}; error_log {self._folder / 'error.log'};\n"
            f"events {{ worker_connections 4096; }}\nhttp {{\naccess_log off;\n{folders}{site}}}\n"
        )
