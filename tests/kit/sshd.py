"""A real OpenSSH server on loopback, with a home directory of its own: the instance of the tests."""

from __future__ import annotations

import asyncio
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import asyncssh

from tests.kit.ports import free_port

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
START_SECONDS_MAX = 60
USER = getpass.getuser()


class Sshd:
    """``start``, ``stop``; ``cut`` kills the sessions' servers, which breaks their links and nothing else.

    ``login_shell``: what runs the command of a session, as a login shell would. ``noise``: what it prints first.
    ``force_command``: what runs instead of any command.
    """

    def __init__(
        self,
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        home: Path | None = None,
        login_shell: str | None = None,
        noise: str = "",
        force_command: str | None = None,
        listen: str = "127.0.0.1",
    ) -> None:
        self.folder = folder
        self.home = home if home is not None else folder / "home"
        self.port = free_port()
        self.key_path = folder / "client_key"
        self._env = dict(env or {})
        self._login_shell = login_shell
        self._noise = noise
        self._force_command = force_command
        self._listen = listen
        self._process: subprocess.Popen[bytes] | None = None
        self.home.mkdir(parents=True, exist_ok=True)
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(self.key_path))
        key.write_public_key(str(folder / "authorized_keys"))
        self.new_host_key()

    def new_host_key(self) -> None:
        path = self.folder / "host_key"
        path.unlink(missing_ok=True)
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(path))
        path.chmod(0o600)

    @property
    def fingerprint(self) -> str:
        return asyncssh.read_private_key(str(self.folder / "host_key")).get_fingerprint()

    async def start(self) -> Sshd:
        config = self.folder / "sshd_config"
        config.write_text(self._config(), encoding="utf-8")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        if SSHD is None:
            raise RuntimeError("sshd is missing: apt-get install openssh-server")
        log = open(self.folder / "sshd.log", "ab")  # noqa: SIM115
        self._process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stderr=log)
        log.close()
        async with asyncio.timeout(START_SECONDS_MAX):
            while not self._answers():
                if self._process.poll() is not None:
                    raise RuntimeError((self.folder / "sshd.log").read_text())
                await asyncio.sleep(0.02)
        return self

    async def stop(self) -> None:
        """Stop listening and cut every link. Detached processes keep running."""
        if self._process is not None:
            sessions = self.sessions()
            self._process.kill()
            self._process.wait()
            _kill(sessions, signal.SIGKILL)
            self._process = None

    async def close(self) -> None:
        """Stop, and end everything that was started in this home."""
        await self.stop()
        home = f"HOME={self.home}".encode()
        _kill([pid for pid in _pids() if home in _environ(pid)], signal.SIGKILL)

    def sessions(self) -> list[int]:
        """The server processes of the sessions, children first."""
        return _descendants(self._process.pid, "sshd") if self._process is not None else []

    def cut(self) -> None:
        _kill(self.sessions(), signal.SIGKILL)

    def freeze(self) -> None:
        _kill(self.sessions(), signal.SIGSTOP)

    def thaw(self) -> None:
        _kill(self.sessions(), signal.SIGCONT)

    def marked_processes(self, containing: str = "", *, job_id: object = "") -> list[int]:
        """The processes of attempts under this home, of this job, whose command line contains the text."""
        mark = f"RESOURCE_INSTALLER_ATTEMPT={self.home}".encode()
        return [
            pid
            for pid in _pids()
            if any(entry.startswith(mark) and str(job_id).encode() in entry for entry in _environ(pid))
            and containing.encode() in _read(pid, "cmdline")
        ]

    def kill_marked(self, containing: str = "", *, job_id: object = "") -> None:
        """Send KILL to all of them; one that has ended meanwhile is fine."""
        _kill(self.marked_processes(containing, job_id=job_id), signal.SIGKILL)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _config(self) -> str:
        env = {
            "HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            **self._env,
        }
        lines = [
            f"Port {self.port}",
            f"ListenAddress {self._listen}",
            f"HostKey {self.folder / 'host_key'}",
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
            "MaxStartups 1000",
            "SetEnv " + " ".join(f'{name}="{value}"' for name, value in env.items()),
        ]
        if self._login_shell is not None:
            lines.append(f"ForceCommand {self._login_shell_script()}")
        if self._force_command is not None:
            lines.append(f"ForceCommand {self._force_command}")
        return "\n".join(lines) + "\n"

    def _login_shell_script(self) -> Path:
        path = self.folder / "login_shell"
        noise = f"printf '%s' {shlex.quote(self._noise)}\n" if self._noise else ""
        path.write_text(f'#!/bin/sh\n{noise}exec {self._login_shell} -c "$SSH_ORIGINAL_COMMAND"\n', encoding="utf-8")
        path.chmod(0o755)
        return path


def _pids() -> Iterable[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _environ(pid: int) -> list[bytes]:
    return _read(pid, "environ").split(b"\0")


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _descendants(root: int, name: str) -> list[int]:
    parents = {pid: int(stat.rsplit(b")", 1)[1].split()[1]) for pid in _pids() if (stat := _read(pid, "stat"))}
    found: list[int] = []
    level = [root]
    while level:
        level = [pid for pid, parent in parents.items() if parent in level]
        found += [pid for pid in level if _read(pid, "comm").startswith(name.encode())]
    return found[::-1]


def _kill(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
