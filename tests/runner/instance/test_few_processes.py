"""What an attempt that loads one small file costs: the programs that it starts. At a millisecond or two each, they are
most of what many small files cost beside the same lines in a plain shell."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import service.runner.instance
from service.runner.instance.attempt_program import AttemptSpec
from service.runner.instance.connector import Connector
from service.runner.instance.remote import Remote
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance
from service.runner.instance.verification import expectations
from tests.kit.sshd import USER, Sshd
from tests.runner.file_server import FileServer
from tests.runner.instance.test_remote import directory, run, spec

MARK = "0123456789abcdef" * 2
CHECKS = Path(service.runner.instance.__file__).parent / "scripts/verify_checks.sh"
# Every program that a script of the service may start.
PROGRAMS = """
    awk base64 cat chmod cmp cp cut date df dirname env find flock grep head ls mkdir mkfifo mktemp mv nproc od openssl
    ps readlink rm sed seq setpriv setsid sha256sum sleep sort stat tail tee touch tr uniq wc wget
"""


class Counted:
    """An instance whose programs note that they were started."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "started"
        self.tools = folder / "tools"
        self.tools.mkdir()
        for name in PROGRAMS.split():
            real = shutil.which(name)
            if real is not None:
                (self.tools / name).write_text(f'#!/bin/sh\necho "{name} ${{1-}}" >>{self._log}\nexec {real} "$@"\n')
                (self.tools / name).chmod(0o755)

    def taken(self) -> list[str]:
        """The programs since the last call, each with its first argument."""
        started = self._log.read_text(encoding="utf-8").splitlines()
        self._log.unlink()
        return started


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    server = await FileServer().start()
    yield server
    await server.stop()


def cards(folder: Path, job: AttemptSpec, files: FileServer, names: Sequence[str]) -> list[AttemptSpec]:
    """One small file each, all of one job; each knows those that are still to come."""
    return [
        replace(
            job,
            directory=name,
            script=f"wget -P '{folder}/input' {files.url(1000, f'{name}.cfg')}",
            riding=expectations(files=[], sha256=None),
            ahead=names[number:],
        )
        for number, name in enumerate(names, 1)
    ]


async def test_a_small_file_starts_few_programs(
    tmp_path: Path, make_connector: Callable[..., Connector], files: FileServer
) -> None:
    counted = Counted(tmp_path)
    server = await Sshd(tmp_path, env={"PATH": f"{counted.tools}:/usr/bin:/bin"}).start()
    connection = await make_connector(server).connect(Instance(host="127.0.0.1", port=server.port, user=USER))
    (server.home / "ui/models").mkdir(parents=True)
    job = spec("", ui_home=str(server.home / "ui"), mark=MARK)
    first, *others = cards(server.home / "ui", job, files, ["1-1", "2-1", "3-1"])
    assert (await run(connection, first))[1].ridden is not None
    counted.taken()
    for one in others:
        _, ended = await run(connection, one)
        assert ended.ridden is not None
        assert ended.ridden.ended.exit_code == 0
        # What sees to it that the tool dies with its shim is not everywhere; the room is measured anew after a while.
        started = Counter(
            program.split()[0] for program in counted.taken() if program not in ("stat -f", "setpriv --pdeathsig")
        )
        assert started == Counter(flock=2, setsid=1, tail=1, wget=1, find=1, stat=1, sha256sum=1)
    await Remote(connection).remove({job.job_id: 0})
    assert Counter(program.split()[0] for program in counted.taken()) == Counter(grep=1, rm=1)
    await connection.close()
    await server.close()


async def test_what_the_next_attempts_need_is_made_at_once(
    connection: Connection, sshd: Sshd, files: FileServer
) -> None:
    """And is no sign of an attempt: one that must be there is lost."""
    first, second, _ = cards(sshd.home, spec("", mark=MARK), files, ["1-1", "2-1", "3-1"])
    await run(connection, first)
    for name in ("2-1", "3-1"):
        folder = directory(sshd, replace(first, directory=name))
        assert sorted(path.name for path in folder.iterdir()) == ["card_pipe", "config", "idle", "run_pipe"]
    assert (await run(connection, replace(second, must_exist=True)))[1].instance_lost
    assert (await run(connection, second))[1].exit_code == 0


async def test_the_room_that_another_attempt_has_just_found_counts(connection: Connection, sshd: Sshd) -> None:
    noted = sshd.home / ".local/state/resource-installer/room"

    async def recorded(note: Callable[[int], str], **changes: str) -> bytes:
        """What an attempt takes for the room, less than a second after the note."""
        for _ in range(20):
            begun = _uptime()
            noted.parent.mkdir(parents=True, exist_ok=True)
            noted.write_text(note(int(begun)))
            output, _ = await run(connection, spec("true", mark=MARK, ui_home=str(sshd.home), **changes))
            if _uptime() - begun < 1:
                break
        return output.split(b"\n")[0].rpartition(b" ")[2]

    assert await recorded(lambda now: f"123 {now} {sshd.home}\n") == b"123"
    others = (
        lambda now: f"123 {now - 10} {sshd.home}\n",
        lambda now: f"123 {now + 100} {sshd.home}\n",
        lambda now: f"123 {now} /elsewhere\n",
        lambda now: f"12x {now} {sshd.home}\n",
        lambda _now: "\n",
    )
    for note in others:
        assert int(await recorded(note)) > 123
    assert noted.read_text().split()[0] != "123"


def _uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


@pytest.mark.parametrize(
    ("change", "is_asked"),
    [
        ("", False),
        ("printf x >>$file", True),
        ("cp -p $file $file.new; mv $file.new $file", True),
        ("rm $file", True),
        ("seen_here[$file]='1 2 3'", True),
    ],
    ids=["nothing", "written", "replaced", "removed", "not as noted"],
)
def test_a_file_that_was_hashed_is_asked_again_unless_all_says_that_it_is_the_same(
    tmp_path: Path, change: str, is_asked: bool
) -> None:
    script = f"""
        source <(sed '/^set +e/,$d' {CHECKS})
        attempt={tmp_path} file={tmp_path}/file file_number=0 is_riding=1
        declare -A seen_here
        printf abc >$file; sleep 0.05; printf '' >$attempt/looked; sleep 0.05
        states=('as noted') seen_here[$file]='as noted' hasher=(sha256sum) hashing=() opened=() pids=()
        begin_hash $file 0
        hash $file 3
        {change}
        stat() {{ echo asked >&2; }}
        see_again $file
        close_file
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=20, check=False)
    assert ("asked" in done.stderr) == is_asked, done.stderr
