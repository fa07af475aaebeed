"""Whether an install could begin on an instance: one line for each thing that it needs, with the reason.

Nothing is changed there, and no host key is remembered: the check is no contact that the user has agreed to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from service.errors import AuthenticationFailed, HostKeyChanged, LinkDown, RemoteError
from service.runner.instance.connector import Connector, Contact
from service.runner.instance.inventory import Disk
from service.runner.instance.remote import Equipment, Found, Remote, UiHome
from service.runner.instance.targets import Instance

SECONDS_MAX = 25.0
CHECKS_MAX = 8
DISK_BYTES_MIN = 5_000_000_000
# Without these no attempt runs; of the others a card may use some.
NEEDED = ("bash", "flock", "setsid", "mkfifo", "base64", "sha256sum", "find", "awk", "stat")
USED = ("wget", "curl", "aria2c", "git", "python3")
PROVIDED = ("civitdl", "hf")

CheckName = Literal["name", "port", "host_key", "login", "comfyui", "disk", "tools"]
State = Literal["ok", "warning", "failed", "skipped"]
CHECKS: tuple[CheckName, ...] = ("name", "port", "host_key", "login", "comfyui", "disk", "tools")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that was looked at, and in words what was found."""

    check: CheckName
    state: State
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """``host_key``: the fingerprint that the instance showed. ``is_key_refused``: it lets the service in once it has
    the service's public key. ``ui_homes``: where a ComfyUI was found, if not at the given place."""

    lines: tuple[Line, ...]
    host_key: str | None = None
    is_key_refused: bool = False
    ui_homes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return all(line.state in ("ok", "warning") for line in self.lines)


class InstanceCheck:
    """``remote_path``: folders that are added to the PATH there. ``provides``: whether the service installs the tools
    that it can install. ``redact``: removes secrets from what an instance printed."""

    def __init__(self, connector: Connector, *, remote_path: str, provides: bool, redact: Callable[[str], str]) -> None:
        self._connector = connector
        self._remote_path = remote_path
        self._provides = provides
        self._redact = redact
        self._places = asyncio.Semaphore(CHECKS_MAX)

    async def __call__(self, instance: Instance, ui_home: str) -> Checkup:
        """Never raises RemoteError."""
        lines: list[Line] = []
        contact = Contact()
        found: Found | None = None
        async with self._places:
            try:
                async with asyncio.timeout(SECONDS_MAX):
                    await self._connector.reach(instance, contact)
                    lines += _of_contact(instance, contact)
                    if contact.connection is not None:
                        found = await self._look(contact, ui_home, lines)
            except TimeoutError:
                if not lines:
                    contact.error = LinkDown(f"no answer within {SECONDS_MAX:g} seconds", reason="timeout")
                    lines += _of_contact(instance, contact)
                else:
                    lines.append(_line(_next(lines), "failed", f"no answer within {SECONDS_MAX:g} seconds: try again"))
            except RemoteError as error:
                lines.append(_line(_next(lines), "failed", str(error)))
            finally:
                if contact.connection is not None:
                    contact.connection.abort()
        return Checkup(
            lines=tuple(self._clean(line) for line in _filled(lines)),
            host_key=_shown_key(contact),
            is_key_refused=isinstance(contact.error, AuthenticationFailed),
            ui_homes=found.elsewhere if found is not None else (),
        )

    async def _look(self, contact: Contact, ui_home: str, lines: list[Line]) -> Found:
        assert contact.connection is not None
        remote = Remote(contact.connection)
        found = await remote.look(ui_home)
        lines.append(_line("login", "ok", "the key is accepted, and a login runs commands"))
        lines.append(_of_ui_home(ui_home, found))
        equipment = await remote.equipment(ui_home, (*NEEDED, *USED, *PROVIDED), self._remote_path)
        lines.append(_of_disk(equipment.disk))
        lines.append(_of_tools(equipment, provides=self._provides))
        return found

    def _clean(self, line: Line) -> Line:
        return _line(line.check, line.state, self._redact(line.text)[:1_000])


def _line(check: CheckName, state: State, text: str) -> Line:
    return Line(check=check, state=state, text=text)


def _next(lines: Sequence[Line]) -> CheckName:
    return CHECKS[min(len(lines), len(CHECKS) - 1)]


def _filled(lines: Sequence[Line]) -> Iterator[Line]:
    """Each check once, in order; what came of none was not reached."""
    found = {line.check: line for line in reversed(lines)}
    for check in CHECKS:
        yield found.get(check) or _line(check, "skipped", "not looked at: what comes before it has to be right")


def _of_contact(instance: Instance, contact: Contact) -> Iterator[Line]:
    error = contact.error
    if not contact.addresses:
        yield _line("name", "failed", str(error))
        return
    shown = ", ".join(contact.addresses)
    is_address = contact.addresses == [instance.host]
    yield _line("name", "ok", f"{shown} is an address" if is_address else f"{instance.host} is {shown}")
    if isinstance(error, LinkDown) and contact.host_key is None:
        yield _line("port", "failed", _no_answer(instance, error))
        return
    yield _line("port", "ok", f"an SSH server answers on port {instance.port}")
    if isinstance(error, HostKeyChanged):
        yield _line("host_key", "failed", str(error))
        return
    key = contact.host_key
    if key is not None:
        known = "new: an install will remember it" if key.is_new else "known"
        yield _line("host_key", "ok", f"{key.fingerprint} ({known})")
    if error is not None:
        yield _line("login", "failed", str(error))


def _no_answer(instance: Instance, error: LinkDown) -> str:
    if error.reason == "refused":
        return f"nothing listens on port {instance.port}: check the port; an instance that starts needs a minute"
    if error.reason == "broken":
        return f"no SSH server answers on port {instance.port} ({error}): check the port"
    return f"{error}: check that the instance runs, and its address"


def _shown_key(contact: Contact) -> str | None:
    if isinstance(contact.error, HostKeyChanged):
        return contact.error.fingerprint
    return contact.host_key.fingerprint if contact.host_key is not None else None


def _of_ui_home(ui_home: str, found: Found) -> Line:
    if found.ui_home is UiHome.READY:
        return _line("comfyui", "ok", f"found at {ui_home}")
    others = f"found at {', '.join(found.elsewhere)}" if found.elsewhere else "none was found in the usual places"
    if found.ui_home is UiHome.MISSING:
        return _line("comfyui", "warning", f"there is no folder {ui_home}, an install makes it; a ComfyUI: {others}")
    if found.ui_home is UiHome.OTHER:
        return _line("comfyui", "warning", f"{ui_home} is a folder, but not a ComfyUI; a ComfyUI: {others}")
    return _line("comfyui", "warning", "the instance did not say whether there is one")


def _of_disk(disk: Disk | None) -> Line:
    if disk is None:
        return _line("disk", "warning", "the instance did not say how much is free")
    text = f"{disk.free / 1e9:.1f} GB of {disk.total / 1e9:.1f} GB are free"
    if disk.free < DISK_BYTES_MIN:
        return _line("disk", "warning", f"{text}: hardly room for a model")
    return _line("disk", "ok", text)


def _of_tools(equipment: Equipment, *, provides: bool) -> Line:
    missing = [tool for tool in NEEDED if tool not in equipment.tools]
    if missing:
        text = f"an install needs {', '.join(missing)}: install bash, util-linux, coreutils, findutils and awk there"
        return _line("tools", "failed", text)
    there = [tool for tool in (*USED, *PROVIDED) if tool in equipment.tools]
    absent = [tool for tool in USED if tool not in equipment.tools]
    provided = [tool for tool in PROVIDED if tool not in equipment.tools]
    parts = [f"there: {', '.join(there) or 'none that loads files'}"]
    if provided:
        who = "the service installs when a card needs it" if provides else "missing"
        parts.append(f"{who}: {', '.join(provided)}")
    if absent:
        parts.append(f"missing, for cards that use it: {', '.join(absent)}")
    is_able = any(tool in equipment.tools for tool in ("wget", "curl", "aria2c", "python3"))
    return _line("tools", "ok" if is_able else "warning", "; ".join(parts))
