"""3. Nothing installed is not a success, and a file belongs to the run that wrote it."""

from __future__ import annotations

from tests.realwork.case import Card, Case, Expect
from tests.realwork.contents import Body

FAILED = Expect(state="failed", attempts=1)
NC = "wget -qnc --content-disposition --show-progress"
SOME = frozenset(
    {
        "verification_failed",
        "no_success_mark",
        "unknown",
        "auth_required",
        "forbidden",
        "not_found",
        "nothing_installed",
    }
)


def several(*names: str) -> dict[str, str]:
    return {f"loras/{name}": name for name in names}


CASES = (
    Case(
        id="3.true-with-sha256",
        script="true",
        front=f"sha256: {Body(name='m.pth').sha256()}\nsize: 200078\n",
        expect=FAILED,
    ),
    Case(id="3.true", script="true", expect=FAILED, own=True),
    Case(id="3.echo", script='echo "installing…"; mkdir -p "$L/new"', expect=FAILED, own=True),
    Case(
        id="3.installs-nothing",
        script="echo pip install something",
        front="installs: nothing\n",
        expect=Expect(),
        own=True,
    ),
    Case(
        id="3.installs-a-node",
        script='mkdir -p "$UI_HOME/custom_nodes/node" && echo "pass" >"$UI_HOME/custom_nodes/node/__init__.py"',
        expect=Expect(),
        own=True,
    ),
    Case(
        id="3.swallowed-function",
        script='get() { wget -q --tries=1 -P "$L" "$1" || echo "could not get $1"; }\nget @/status=404/a.safetensors',
        expect=Expect(state="failed"),
    ),
    Case(
        id="3.loop-with-or-true",
        script="for n in a b c; do\n  case $n in b) s=404 ;; *) s=200 ;; esac\n"
        '  wget --tries=1 -P "$L" @/status=$s/$n.pth || true\ndone',
        expect=Expect(
            state="failed", files=several("a.pth", "c.pth"), causes=("not_found",), error=("b.pth",), attempts=1
        ),
    ),
    Case(
        id="3.loop-quiet",
        script="for n in a b c; do\n  case $n in b) s=404 ;; *) s=200 ;; esac\n"
        '  curl -sfL -o "$L/$n.pth" @/status=$s/$n.pth || true\ndone',
        expect=Expect(state="failed", files=several("a.pth", "c.pth"), error=("b.pth",)),
        own=True,
    ),
    Case(
        id="3.wait-forgets",
        script='wget -q -P "$L" @/whole/a.pth &\nwget -q --tries=1 -P "$L" @/status=403/b.pth &\nwait',
        expect=Expect(state="failed", files=several("a.pth"), error=("b.pth",)),
        own=True,
    ),
    Case(
        id="3.drop-swallowed",
        script='wget -q --tries=1 -P "$L" @/stops/a.pth || true',
        expect=Expect(state="failed", causes=("network",)),
        own=True,
    ),
    Case(
        id="3.condition",
        script='if wget -q --tries=1 -P "$L" @/drops=1/a.pth; then echo yes; else echo no; fi',
        expect=Expect(files=several("a.pth"), attempts=2),
        own=True,
    ),
    Case(
        id="3.healed-by-another-run",
        script='wget -q -O "$L/a.pth" @/status=404/a.pth || wget -q -O "$L/a.pth" @/whole/a.pth',
        expect=Expect(files=several("a.pth"), attempts=1),
        own=True,
    ),
    Case(
        id="3.mirrors",
        script="for url in @/status=503/a.pth @/stops/a.pth @/whole/a.pth; do\n"
        '  wget -q --tries=1 -P "$L" "$url" && break\ndone',
        expect=Expect(files=several("a.pth"), attempts=1),
        own=True,
    ),
    Case(
        id="3.healed-by-another-tool",
        script='aria2c -q --max-tries=1 -d "$L" -o a.pth @/stops/a.pth || curl -sfL -o "$L/a.pth" @/whole/a.pth',
        expect=Expect(files=several("a.pth"), attempts=1),
        own=True,
    ),
    Case(
        id="3.parallel",
        cards=(
            Card(path="loras/idle.md", script="sleep 0.9; echo done"),
            Card(path="loras/busy.md", script='wget -P "$L" @/rate=300000/b.safetensors'),
        ),
        request={"parallel": 2},
        expect=Expect(state="failed", files=several("b.safetensors"), causes=(SOME, None)),
    ),
    Case(
        id="3.one-login-page-of-three",
        cards=tuple(
            Card(path=f"loras/{n}.md", script=f'{NC} -P "$L" @/{how}/11{n}')
            for n, how in (
                (1, "rate=200000,named=a.safetensors"),
                (2, "body=login"),
                (3, "rate=200000,named=c.safetensors"),
            )
        ),
        request={"parallel": 3},
        expect=Expect(
            state="failed",
            files=several("a.safetensors", "c.safetensors"),
            also=("loras/112*",),
            causes=(None, SOME, None),
        ),
    ),
    Case(
        id="3.one-half-file-of-three",
        cards=tuple(
            Card(path=f"loras/{n}.md", script=f'wget -q --tries=1 -P "$L" @/{how},rate=300000/{n}.pth')
            for n, how in (("a", "whole"), ("b", "stops"), ("c", "whole"))
        ),
        request={"parallel": 3},
        expect=Expect(state="failed", files=several("a.pth", "c.pth"), causes=(None, "network", None)),
        own=True,
    ),
)
