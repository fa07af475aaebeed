"""5. A command that works without the service works with it: each tool with its common options, against plain bash."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.demo.civitai import StandInModel
from tests.realwork.case import filled
from tests.realwork.stage import Seen, Stage, slug

pytestmark = pytest.mark.asyncio(loop_scope="session")

URL = "@/whole/m.safetensors"
WGET = (
    f"wget {URL}",
    f"wget -q {URL}",
    f"wget -nv -O x.safetensors {URL}",
    f"wget -c -t 3 -T 10 {URL}",
    f"wget -P below {URL}",
    f"wget --no-check-certificate --user-agent=Mozilla/5.0 {URL}",
    "wget -nc --content-disposition @/named=n.safetensors/12",
    f"wget -qnc --content-disposition --show-progress -e dotbytes=4M -P . {URL}",
    f"wget --progress=dot:giga {URL}",
    f"wget --header='X-A: b' --limit-rate=50m -o log.txt {URL}",
    f"echo {URL} | wget -i -",
    f"wget -O - {URL} >x.safetensors",
    f"wget -x -nH --cut-dirs=2 {URL}",
    f"wget --spider {URL} && wget -q {URL}",
    "wget -q @/status=404/m.safetensors || wget -q @/whole/m.safetensors",
)
BUSYBOX = (
    f"wget {URL}",
    f"wget -q -O x.safetensors {URL}",
    f"wget -c {URL}",
    f"wget -P . {URL}",
    f"wget --header 'X-A: b' -T 10 {URL}",
    f"wget -O - {URL} >x.safetensors",
    f"wget -S -U me {URL}",
)
WGET2 = (
    f"wget {URL}",
    f"wget -q -O x.safetensors {URL}",
    f"wget -c {URL}",
    f"wget -P below {URL}",
    f"wget --progress=bar {URL}",
    f"wget --no-check-certificate -t 3 {URL}",
    "wget --content-disposition @/named=n.safetensors/12",
)
CURL = (
    f"curl -o x.safetensors {URL}",
    f"curl -sSfL -o x.safetensors {URL}",
    f"curl -O {URL}",
    f"curl -# -LO {URL}",
    "curl -OJL @/named=n.safetensors/12",
    f"curl -C - -o x.safetensors {URL}",
    f"curl --create-dirs -o below/x.safetensors {URL}",
    f"curl --output-dir . -O --retry 3 --retry-delay 1 {URL}",
    f"curl {URL} >x.safetensors",
    f"curl -fsSL {URL} | cat >x.safetensors",
    f"curl -q -o x.safetensors {URL}",
    f"curl -H 'X-A: b' -A me -k --max-time 30 -o x.safetensors {URL}",
    f"curl -o a.safetensors {URL} -o b.safetensors {URL}",
    f"curl --parallel --remote-name-all {URL} @/whole/n.safetensors",
    f"curl -sI {URL} >/dev/null && curl -so x.safetensors {URL}",
)
ARIA2C = (
    f"aria2c {URL}",
    f"aria2c -q {URL}",
    f"aria2c -d . -o x.safetensors {URL}",
    f"aria2c -c -x 16 -s 16 -k 1M {URL}",
    f"aria2c --console-log-level=error --summary-interval=0 {URL}",
    f"aria2c --file-allocation=none --allow-overwrite=true {URL}",
    f"aria2c --header='X-A: b' --auto-file-renaming=false {URL}",
    f"echo {URL} | aria2c -i -",
    f"aria2c --stderr=true --disk-cache=64M {URL}",
)
HF = (
    "hf download owner/name m.safetensors --local-dir .",
    "hf download owner/name m.safetensors --local-dir . --quiet",
    "hf download owner/name m.safetensors --revision main --local-dir below",
    "hf download owner/name m.safetensors n.safetensors --local-dir .",
    "hf version >/dev/null; hf download owner/name m.safetensors --local-dir .",
)
CIVITDL = (
    "civitdl 1501 .",
    'civitdl "https://civitai.com/models/1501?modelVersionId=6501" .',
    "civitdl 1501 1502 .",
    "civitdl --no-with-color 1501 .",
    "civitdl -i 1 1502 below",
)
MODELS = (StandInModel(id=1501, name="One"), StandInModel(id=1502, name="Two", size_bytes=300_000))
TABLES = {
    "wget": (WGET, {}),
    "busybox": (BUSYBOX, {"wget": "/usr/bin/busybox"}),
    "wget2": (WGET2, {"wget": "/usr/bin/wget2"}),
    "curl": (CURL, {}),
    "aria2c": (ARIA2C, {}),
    "hf": (HF, {}),
    "civitdl": (CIVITDL, {}),
}


def models(seen: Seen) -> dict[str, int]:
    """The length of each file, without logs."""
    return {path: len(data) for path, data in seen.files().items() if not path.endswith(".txt")}


def plain(script: str, home: Path, env: dict[str, str]) -> int:
    command = ["bash", "-e", "-o", "pipefail", "-c", script]
    environment = {**env, "UI_HOME": str(home), "LANG": "C.UTF-8"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode


def tables() -> list[Any]:
    """hf and civitdl take seconds for each command."""
    long = {"hf", "civitdl"}
    return [
        pytest.param(
            tool, marks=[pytest.mark.realwork(f"5.options-{tool}"), *([pytest.mark.long] if tool in long else [])]
        )
        for tool in TABLES
    ]


@pytest.mark.parametrize("tool", tables())
async def test_what_works_without_the_service_works_with_it(stage: Stage, tmp_path: Path, tool: str) -> None:
    commands, tools = TABLES[tool]
    case = slug(f"5.options-{tool}")
    instance = await stage.instance_for({}, tools, hf=tool == "hf")
    stage.civitai.add(*MODELS)
    seen = Seen(ui_home=stage.new_ui_home(case))
    without = Seen(ui_home=tmp_path / "ComfyUI")
    cards, statuses = [], []
    for n, command in enumerate(commands):
        site = stage.site.url(case)
        export = f"export HF_ENDPOINT={site}/whole\n" if tool == "hf" else ""
        script = f'{export}mkdir -p "$UI_HOME/models/{n:02}"; cd "$UI_HOME/models/{n:02}"\n{command}'
        text = f"---\ntitle: Command {n:02}\n---\n# Download\n```bash\n{script}\n```\n"
        cards.append(stage.write_card(case, f"loras/{n:02}.md", text, case))
        env = {"HOME": str(instance.home), **instance._env}
        statuses.append(await asyncio.to_thread(plain, filled(script, site=site), without.ui_home, env))
    job_id = await stage.service.install(instance, seen.ui_home, *cards, parallel=1 if tool == "civitdl" else 4)
    await stage.until_ended(seen, job_id, 120)
    states = [result["state"] for result in seen.results()]
    wrong = {
        command: (status, state, result["error"])
        for command, status, state, result in zip(commands, statuses, states, seen.results(), strict=True)
        if (state == "installed") != (status == 0)
    }
    assert wrong == {}
    assert 0 in statuses
    assert without.files()
    assert models(seen) == models(without)
