"""2. The script ends before its downloads: the attempt does not."""

from __future__ import annotations

from tests.realwork.case import Case, Expect
from tests.realwork.contents import Body

SLOW = "@/rate=150000"
M = Expect(files={"loras/m.safetensors": "m.safetensors"})
WGET_LOG = Expect(files={"loras/m.safetensors": "m.safetensors"}, also=("loras/wget-log*",))


def three() -> Expect:
    return Expect(files={f"loras/{name}.pth": f"{name}.pth" for name in "abc"})


CASES = (
    Case(id="2.nohup", script=f'nohup wget -q -P "$L" {SLOW}/m.safetensors >/dev/null 2>&1 &', expect=M),
    Case(
        id="2.unquoted-ampersand",
        script=f'wget -O "$L/a.safetensors" {SLOW}/x?type=Model&format=SafeTensor',
        expect=Expect(files={"loras/a.safetensors": Body(name="x")}),
    ),
    Case(
        id="2.unquoted-ampersand-curl",
        script=f'curl -L -o "$L/a.safetensors" {SLOW}/x?type=Model&format=SafeTensor&size=full',
        expect=Expect(files={"loras/a.safetensors": Body(name="x")}),
        own=True,
    ),
    Case(id="2.wget-b", script=f'cd "$L" && wget -b {SLOW}/m.safetensors', expect=WGET_LOG, own=True),
    Case(id="2.wget-background", script=f'wget --background -P "$L" {SLOW}/m.safetensors', expect=M, own=True),
    Case(id="2.aria2c-D", script=f'aria2c -D -d "$L" {SLOW}/m.safetensors', expect=M, own=True),
    Case(id="2.setsid-f", script=f'setsid -f wget -q -P "$L" {SLOW}/m.safetensors', expect=M, own=True),
    Case(
        id="2.xargs",
        script=f'printf "%s\\n" {SLOW}/a.pth {SLOW}/b.pth {SLOW}/c.pth | xargs -P 3 -n 1 wget -q -P "$L" &',
        expect=three(),
        own=True,
    ),
    Case(
        id="2.loop-of-jobs",
        script=f'for n in a b c; do curl -sfL -o "$L/$n.pth" {SLOW}/$n.pth & done',
        expect=three(),
        own=True,
    ),
    Case(
        id="2.subshell",
        script=f'(sleep 0.3; wget -q -P "$L" {SLOW}/m.safetensors) & disown',
        expect=M,
        own=True,
    ),
    Case(
        id="2.python-popen",
        script=f'python3 -c "import subprocess, sys; subprocess.Popen(sys.argv[1:])" wget -q -P "$L" '
        f"{SLOW}/m.safetensors",
        expect=M,
        own=True,
    ),
    Case(
        id="2.background-fails",
        script='nohup wget -q -P "$L" @/status=404,rate=1/m.safetensors >/dev/null 2>&1 & sleep 0.1',
        expect=Expect(state="failed"),
        own=True,
    ),
    Case(
        id="2.background-drops",
        script='wget -q --tries=1 -P "$L" @/drops=1,rate=150000/m.safetensors &',
        expect=Expect(files={"loras/m.safetensors": "m.safetensors"}, attempts=2),
        own=True,
    ),
    Case(
        id="2.server",
        script='wget -q -P "$L" @/whole/m.safetensors\nnohup python3 -m http.server 0 >/dev/null 2>&1 &',
        expect=Expect(
            files={"loras/m.safetensors": "m.safetensors"}, events=({"type": "resource_warning", "*": "python"},)
        ),
    ),
    Case(
        id="2.leftover-sleep",
        script='wget -q -P "$L" @/whole/m.safetensors\nsleep 300 &',
        expect=Expect(files={"loras/m.safetensors": "m.safetensors"}, seconds=20),
        own=True,
    ),
)
