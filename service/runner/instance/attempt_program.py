"""The program that starts an attempt on the instance, or finds it: shell scripts behind quoted assignments.

All of it goes to a shell's standard input, so that no secret and no text of a card stands on a command line.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from uuid import UUID

from service.errors import RemoteProtocolError
from service.runner.instance.shell import script
from service.runner.instance.shims import commands, shim_parts, shim_program

# The parts of the verification and of the supervisor, each in the order in which they make one program.
VERIFICATION = ("places.sh", "verify_search.sh", "verify_files.sh", "verify_contents.sh", "verify_checks.sh")
# With the end of a download it runs within the supervisor, which has the first, and gives up where it had to search.
RIDING = VERIFICATION[2:]
SUPERVISOR = ("places.sh", "left.sh", "ending.sh", "riding.sh", "supervise.sh")
# What the supervisor reads once it needs it.
SUPERVISOR_PARTS = ("watchdog", "recorder")
# What must not come from an owner that the job has no more.
FENCED = ("attach.sh", "signal.sh", "remove.sh")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSpec:
    """One run of an attempt. ``directory``: its name below the job's directory on the instance. ``epoch``: of the job's
    owner; the instance refuses a smaller one than it has seen. ``must_exist``: the log
    holds some of its output already, so nothing is ever started for it again; if its directory is gone, the instance
    was replaced.

    ``bandwidth_bytes_per_second``: None for no limit. ``stall_seconds``: 0 for no watch. ``mark``: makes a line of the
    log a record of the ledger; without one the log has no records. ``is_card``: else it is a program of the service,
    which needs no tools and no keys. ``background``: what the card leaves running stays. ``reinstall``: files that are
    whole already are loaded anew. ``riding``: the program that verifies what the attempt leaves; it runs with its end
    where there is little to verify. ``ahead``: the directories of the attempts that its job is still to begin.
    """

    job_id: str
    directory: str
    script: str
    ui_home: str
    timeout_seconds: int
    remote_path: str = ""
    civitai_api_key: str | None = None
    hf_token: str | None = None
    must_exist: bool = False
    stall_seconds: int = 0
    bandwidth_bytes_per_second: int | None = None
    provision_tools: bool = False
    epoch: int = 0
    mark: str = ""
    is_card: bool = True
    background: bool = False
    riding: str = ""
    reinstall: bool = False
    ahead: Sequence[str] = ()


def attach_program(spec: AttemptSpec, *, nonce: str, offset: int, has_programs: bool = False) -> bytes:
    """Starts the attempt if it never was, finds it if it was, and prints its log from byte ``offset``.
    ``has_programs``: the instance has the programs of this version, which then are not sent again."""
    name, files = programs()
    return program(
        "attach.sh",
        nonce=nonce,
        offset=offset,
        job=str(UUID(spec.job_id)),
        name=spec.directory,
        epoch=spec.epoch,
        card_name=hashlib.sha256(f"{spec.ui_home}\n{spec.script}".encode()).hexdigest()[:32],
        must_exist=int(spec.must_exist),
        timeout_seconds=spec.timeout_seconds,
        stall_seconds=spec.stall_seconds,
        bandwidth=spec.bandwidth_bytes_per_second or "",
        provision=int(spec.provision_tools),
        ui_home=spec.ui_home,
        remote_path=spec.remote_path,
        card=spec.script + "\n",
        programs=name,
        is_card=int(spec.is_card),
        files="" if has_programs else " ".join(files),
        **{} if has_programs else {f"file_{number}": text for number, text in enumerate(files.values(), 1)},
        commands=" ".join(commands()),
        mark=spec.mark,
        background=int(spec.background),
        reinstall=int(spec.reinstall),
        riding=spec.riding,
        ahead=" ".join(spec.ahead),
        civitdl_config=civitdl_config(spec.civitai_api_key or "") if spec.is_card else "",
        civitai_token=(spec.civitai_api_key or "") if spec.is_card else "",
        hf_token=(spec.hf_token or "") if spec.is_card else "",
    )


@cache
def programs() -> tuple[str, dict[str, str]]:
    """The programs that every attempt shares, by their files on the instance, and a name for all that they say."""
    files = {"supervise": combined(SUPERVISOR), "verify": combined(RIDING), "bin/shim": shim_program()}
    parts = shim_parts() | {name: script(f"{name}.sh") for name in SUPERVISOR_PARTS}
    files |= {f"parts/{name}": text for name, text in parts.items()}
    said = "\0".join([*files, *files.values(), *commands()])
    return hashlib.sha256(said.encode()).hexdigest()[:16], files


def combined(parts: Sequence[str]) -> str:
    """One program of several of ``scripts/``."""
    return "\n".join(map(script, parts))


def program(name: str, /, **variables: str | int) -> bytes:
    """Quoted assignments, then the script. Raises RemoteProtocolError for what no shell can hold."""
    lines = [f"{variable}={shlex.quote(str(value))}" for variable, value in variables.items()]
    if any("\0" in line for line in lines):
        raise RemoteProtocolError("a NUL byte cannot be sent to the instance")
    fence = [script("fence.sh")] if name in FENCED else []
    return "\n".join([*lines, *fence, script(name)]).encode()


def civitdl_config(api_key: str, *, retry_count: int = 0, pause_seconds: float = 0.0) -> str:
    """civitdl 2.2.0's config file: its own defaults, read from its source, and the key, which no process list shows
    there. Its own retries and pauses are off; its options cannot do that (a zero there falls back to this file)."""
    return json.dumps(
        {
            "version": "1",
            "default": {
                "sorter": "basic",
                "max_images": 3,
                "nsfw_mode": "2",
                "api_key": api_key,
                "with_prompt": True,
                "without_model": False,
                "limit_rate": "0",
                "retry_count": retry_count,
                "pause_time": pause_seconds,
                "cache_mode": "1",
                "strict_mode": "1",
                "model_overwrite": False,
                "with_color": True,
            },
            "sorters": [["basic", "", "basic"], ["tags", "", "tags"]],
            "aliases": [],
        }
    )
