"""The commands of instances: check one, list them, see what lies on one, and remove files there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.terminal.options import DEFAULT_URL, AsJson, Token, Url, Yes, agreed, run
from service.terminal.printing import print_json, say

if TYPE_CHECKING:
    from rich.console import Console

    from service.terminal.client import Client

Instance = Annotated[
    str, typer.Argument(help="user@host:port, or the instance's ssh line in quotes.", metavar="INSTANCE")
]
UiHome = Annotated[str | None, typer.Option(help="ComfyUI's folder; without it, that of the newest job.")]
INSTANCE_HEADS = ("instance", "jobs", "not ended", "last job", "ComfyUI")
FILE_HEADS = ("file", "size", "what", "card")
_STYLES = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}
_KINDS = {
    "half": "half a file",
    "text": "text, no model",
    "empty": "empty",
    "broken_link": "a link to nothing",
    "other": "",
    "model": "model",
}


def check(
    instance: Instance,
    ui_home: Annotated[str, typer.Option(help="ComfyUI's folder on the instance.")] = "/workspace/ComfyUI",
    host_key: Annotated[str | None, typer.Option(help="Accept exactly this host key, SHA256:….")] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Whether an install could begin on an instance. Exit status: 0 it could, 1 it could not.

    resource-installer check "ssh -p 44686 root@109.231.106.68"
    """
    body = {**_target(instance), "ui_home": ui_home} | ({} if host_key is None else {"host_key_sha256": host_key})

    async def work(client: Client, console: Console) -> int:
        from rich.text import Text

        from service.terminal.tables import print_rows

        found = await client.call("POST", "/instances/check", body=body)
        if as_json:
            print_json(found)
            return 0 if found["ok"] else 1
        rows = [
            [line["check"].replace("_", " "), Text(line["state"], _STYLES.get(line["state"], "")), line["text"]]
            for line in found["lines"]
        ]
        print_rows(console, ("", "", ""), rows)
        if found["where"]:
            say(f"give it this public key: {found['public_key'] or 'make one with `resource-installer keys ssh`'}")
            for each in found["where"]:
                say(each)
        return 0 if found["ok"] else 1

    run(url, token, work)


def instances(as_json: AsJson = False, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """List the instances of the jobs."""

    async def work(client: Client, console: Console) -> int:
        from service.terminal.tables import print_rows
        from service.terminal.text import day_and_clock

        found = await client.call("GET", "/instances")
        if as_json:
            print_json(found)
            return 0
        rows = (
            [
                each["instance"],
                str(each["jobs"]),
                str(each["active"]),
                day_and_clock(each["last_job_at"]),
                each["ui_home"],
            ]
            for each in found["instances"]
        )
        print_rows(console, INSTANCE_HEADS, rows)
        return 0

    run(url, token, work)


def models(
    instance: Instance,
    ui_home: UiHome = None,
    remove: Annotated[
        list[str] | None, typer.Option("--rm", help="Remove this file (below models/) after a question; repeatable.")
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """List what lies in the models folder of an instance, or remove files there.

    resource-installer models root@109.231.106.68:44686 --rm loras/old.safetensors
    """
    path = f"/instances/{_quoted(_name(instance))}"

    async def work(client: Client, console: Console) -> int:
        if remove:
            return await _remove(client, path, ui_home, remove, yes)
        found = await client.call("GET", f"{path}/models", query={"ui_home": ui_home})
        if as_json:
            print_json(found)
        else:
            _print_models(console, found)
        return 0

    run(url, token, work)


async def _remove(client: Client, path: str, ui_home: str | None, paths: list[str], yes: bool) -> int:
    at = ui_home or (await client.call("GET", path))["ui_home"]
    if not agreed(yes, f"Remove {', '.join(paths)} below {at}/models?"):
        return 1
    started = await client.call("POST", f"{path}/removals", body={"ui_home": at, "paths": paths})
    say(started["message"])
    print(started["job_id"])
    return 0


def _print_models(console: Console, found: dict[str, Any]) -> None:
    from service.terminal.tables import print_rows
    from service.terminal.text import byte_count

    if found["missing"]:
        say(f"there is no folder models below {found['ui_home']}")
    files = sorted(found["files"], key=lambda file: file["path"])
    rows = ([each["path"], byte_count(each["size"]), _KINDS[each["kind"]], each["card"] or ""] for each in files)
    print_rows(console, FILE_HEADS, rows)
    total = sum(file["size"] for file in files)
    more = " and more" if found["cut"] else ""
    disk = found["disk"]
    free = f"; {byte_count(disk['free'])} of {byte_count(disk['total'])} are free" if disk is not None else ""
    say(f"{len(files)} files{more}, {byte_count(total)}{free}")


def _target(instance: str) -> dict[str, Any]:
    from service.terminal.ssh_line import parse_ssh_line

    found = parse_ssh_line(instance) if " " in instance else None
    if found is not None:
        body: dict[str, Any] = {"ssh_host": found.host, "ssh_port": found.port or 22}
        return body if found.user is None else {**body, "ssh_user": found.user}
    user, at, place = instance.rpartition("@")
    host, colon, port = place.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        raise typer.BadParameter(f'"{instance}" is not an instance: give user@host:port, or its ssh line in quotes')
    return {"ssh_host": host, "ssh_port": int(port)} | ({"ssh_user": user} if at else {})


def _name(instance: str) -> str:
    """As the service names it."""
    target = _target(instance)
    host = target["ssh_host"]
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{target.get('ssh_user', 'root')}@{shown}:{target['ssh_port']}"


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="@:[]")
