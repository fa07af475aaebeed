"""Three whole provisioning scripts, against plain bash in a folder of their own: the same files, each a named bar."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.realwork.case import filled
from tests.realwork.stage import CIVITAI_KEY, HF_TOKEN, Seen, Stage, slug

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCRIPTS = Path(__file__).parent / "scripts"
MARK = "REALWORK_PLAIN_RUN"
GONE = "taken_down.safetensors"


def plain(script: str, workspace: Path, path: str) -> None:
    """Run it as the pod would, and end the server that it leaves."""
    home = workspace / "home"
    home.mkdir()
    env = {"WORKSPACE": str(workspace), "HOME": str(home), "PATH": path, MARK: str(workspace), "LANG": "C.UTF-8"}
    env |= {"HF_TOKEN": HF_TOKEN, "CIVITAI_TOKEN": CIVITAI_KEY, "UI_HOME": str(workspace / "ComfyUI")}
    file = workspace / "provision.sh"
    file.write_text(script, encoding="utf-8")
    # The server that it leaves would keep a pipe open.
    with open(os.devnull, "r+b") as nothing:
        command = ["bash", str(file)]
        subprocess.run(
            command, env=env, cwd=home, stdin=nothing, stdout=nothing, stderr=nothing, check=False, timeout=60
        )
    mark = f"{MARK}={workspace}".encode()
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue


async def run_both(stage: Stage, tmp_path: Path, name: str) -> tuple[Seen, Seen]:
    """The job, and what plain bash leaves."""
    case = slug(f"script.{name}")
    text = (SCRIPTS / f"{name}.sh").read_text(encoding="utf-8").replace("SITE=@\n", "SITE=@/whole/..\n")
    text = text.replace("OPEN=@\n", "OPEN=@/whole/..\n").replace("@/whole/..", stage.site.url(case))
    card = stage.write_card(case, "loras/card.md", f"---\ntitle: A pod\n---\n# Download\n```bash\n{text}```\n", case)
    seen = Seen(ui_home=stage.new_ui_home(case))
    job_id = await stage.service.install(stage.instance, seen.ui_home, card)
    await stage.until_ended(seen, job_id, 60)
    without = Seen(ui_home=tmp_path / "ComfyUI")
    (without.ui_home / "models/loras").mkdir(parents=True)
    script = filled(text, site=stage.site.url(case))
    await asyncio.to_thread(plain, script, tmp_path, stage.instance._env["PATH"])
    return seen, without


def check_bars(seen: Seen, names: set[str]) -> None:
    """Every file has a stage under its own name, and a bar."""
    stages = seen.of("stage_start", "progress")
    named: set[str] = set()
    current = ""
    for event in stages:
        if event["type"] == "stage_start":
            current = event["name"]
        elif event["stage"] == "download" and current:
            named.add(current)
    assert names <= named, f"no bar for {sorted(names - named)}; there are {sorted(named)}"


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.realwork(f"script.{n}")) for n in ("by_folder", "by_token", "all_at_once")],
)
async def test_a_whole_script(stage: Stage, tmp_path: Path, name: str) -> None:
    seen, without = await run_both(stage, tmp_path, name)
    assert without.files()
    assert seen.files() == without.files()
    check_bars(seen, {Path(path).name for path in seen.files()})
    if name == "by_token":
        assert (seen.job["state"], seen.results()[0]["cause"]) == ("failed", "not_found")
        assert GONE in seen.results()[0]["error"]
    else:
        assert seen.job["state"] == "completed", seen.results()
        assert any("http.server" in str(event) for event in seen.of("resource_warning"))
    for secret in (HF_TOKEN, CIVITAI_KEY):
        assert secret not in str(seen.events)
