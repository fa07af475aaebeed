"""The traps of the ledger of runs, and the decisions about truth, as far as they can be seen from outside."""

from __future__ import annotations

from tests.realwork.case import Card, Case, Expect, part
from tests.realwork.contents import Body

M = Expect(files={"loras/m.pth": "m.pth"})
AB = Expect(files={"loras/a.pth": "a.pth", "loras/b.pth": "b.pth"})
SLOW = "@/rate=60000/a.pth"
# The run that is ended by hand is made good by a later one of the same destination.
HEAL = 'wget -q -O "$L/a.pth" @/whole/a.pth\nwget -q -O "$L/b.pth" @/whole/b.pth'
HALF = {"models/loras/m.pth": part(Body(name="m.pth"))}
OTHER_HALF = {"models/loras/m.pth": part(Body(name="m.pth", version=1))}
HOLES, FAST = "@/size=6000000,rate=1000000", "@/size=6000000"
LONG = "x" * 3_000

LEDGER = (
    Case(
        id="ledger.kill-the-child",
        script=f'wget -q -O "$L/a.pth" {SLOW} & p=$!\nsleep 0.6; kill $p; wait $p || true\n{HEAL}',
        expect=AB,
    ),
    Case(
        id="ledger.kill-the-child-INT",
        script=f'set -m\ncurl -sfL -o "$L/a.pth" {SLOW} & p=$!\nsleep 0.6; kill -INT $p; wait $p || true\n{HEAL}',
        expect=AB,
        own=True,
    ),
    Case(
        id="ledger.timeout-foreground",
        script=f'timeout --foreground 0.6 wget -q -O "$L/a.pth" {SLOW} || true\n{HEAL}',
        expect=AB,
    ),
    Case(
        id="ledger.timeout",
        script=f'timeout 0.6 aria2c -q -d "$L" {SLOW} || true\nrm -f "$L"/a.pth*\n{HEAL}',
        expect=AB,
        own=True,
    ),
    Case(
        id="ledger.kill-9-the-shim",
        script=f'wget -q -O "$L/a.pth" {SLOW} & p=$!\nsleep 0.6; kill -9 $p; wait $p || true\n{HEAL}',
        expect=AB,
    ),
    Case(
        id="ledger.kill-and-leave",
        script=f'wget -q -O "$L/a.pth" {SLOW} & p=$!\nsleep 0.6; kill -9 $p\nwget -q -O "$L/b.pth" @/whole/b.pth',
        expect=Expect(state="failed", files={"loras/b.pth": "b.pth"}),
        own=True,
    ),
    Case(
        id="ledger.stop-and-continue",
        script='wget -q -P "$L" @/rate=300000/m.pth & p=$!\n'
        "sleep 0.2; kill -STOP $p; sleep 0.3; kill -CONT $p; wait $p",
        expect=M,
    ),
    Case(
        id="ledger.env-i",
        script='env -i PATH="$PATH" wget -q -P "$L" @/whole/m.pth',
        expect=M,
    ),
    Case(
        id="ledger.env-i-drops",
        script='env -i PATH="$PATH" wget -q --tries=1 -P "$L" @/drops=1/m.pth || true',
        expect=Expect(files=M.files, attempts=2),
        own=True,
    ),
    Case(
        id="ledger.long-lines",
        script=f'for n in {{1..16}}; do echo "@/whole/$n.pth?{LONG}"; done | xargs -P 8 -I _URL_ sh -c \'f=${{1##*/}}; '
        'f=${f%%\\?*}; wget -q -O "$UI_HOME/models/loras/$f" "$1"\' - _URL_',
        expect=Expect(files={f"loras/{n}.pth": f"{n}.pth" for n in range(1, 17)}),
    ),
    Case(
        id="ledger.other-content-200",
        script='wget -c -P "$L" @/no-ranges/m.pth',
        there=OTHER_HALF,
        expect=M,
    ),
    *(
        Case(id=f"ledger.other-content-{name}", script=script, there=OTHER_HALF, expect=M, own=name != "wget")
        for name, script in {
            "wget": 'wget -c -P "$L" @/whole/m.pth',
            "curl": 'curl -fL -C - -o "$L/m.pth" @/whole/m.pth',
            "aria2c": 'aria2c -c -d "$L" @/whole/m.pth',
        }.items()
    ),
    *(
        Case(
            id=f"ledger.remote-changed-{name}",
            script=script,
            expect=Expect(files={"loras/m.pth": Body(name="m.pth", version=1)}, attempts=2),
            own=name == "wget-P",
        )
        for name, script in {
            "wget": 'wget -c --tries=1 -O "$L/m.pth" @/drops=1,changes/m.pth',
            "wget-P": 'wget --tries=1 -P "$L" @/drops=1,changes/m.pth',
            "curl": 'curl -fL -C - -o "$L/m.pth" @/drops=1,changes/m.pth',
            "aria2c": 'aria2c -c -m 1 -d "$L" @/drops=1,changes/m.pth',
        }.items()
    ),
    Case(
        id="ledger.lone-control-file",
        script='aria2c -d "$L" @/whole/m.pth',
        there={"models/loras/m.pth.aria2": bytes(40)},
        expect=M,
    ),
    *(
        Case(
            id=f"ledger.aria2c-with-holes-{name}",
            script=f'timeout -s KILL 1 aria2c -q -x4 -s4 -k1M -d "$L" {HOLES}/m.pth || true\n'
            f'rm -f "$L/m.pth.aria2"\n{script}',
            expect=Expect(files={"loras/m.pth": Body(name="m.pth", size_bytes=6_000_000)}),
            own=name != "wget",
        )
        for name, script in {
            "wget": f'wget -q -c -P "$L" {FAST}/m.pth',
            "curl": f'curl -sfL -C - -o "$L/m.pth" {FAST}/m.pth',
            "aria2c": f'aria2c -q -c -d "$L" {FAST}/m.pth',
        }.items()
    ),
    Case(
        id="ledger.error-overwrites",
        script='wget -q -O "$L/m.pth" @/gone/m.pth',
        jobs=("post", "post"),
        expect=M,
    ),
    Case(
        id="ledger.error-overwrites-curl",
        script='curl -sL -o "$L/m.pth" @/gone/m.pth',
        jobs=("post", "post"),
        expect=M,
        own=True,
    ),
    *(
        Case(id=f"ledger.several-{name}", script=script, expect=AB, own=name in ("wget-two", "aria2c-Z"))
        for name, script in {
            "wget-i": 'printf "%s\\n" @/whole/a.pth @/whole/b.pth | wget -q -P "$L" -i -',
            "wget-two": 'wget -P "$L" @/whole/a.pth @/whole/b.pth',
            "curl-next": 'curl -sfL -o "$L/a.pth" @/whole/a.pth --next -sfL -o "$L/b.pth" @/whole/b.pth',
            "aria2c-Z": 'aria2c -q -Z -d "$L" @/whole/a.pth @/whole/b.pth',
            "aria2c-i": 'printf "@/whole/%s.pth\\n  out=%s.pth\\n" a a b b | aria2c -q -d "$L" -i -',
        }.items()
    ),
    *(
        Case(id=f"ledger.several-drops-{name}", script=script, expect=AB, own=True)
        for name, script in {
            "wget": 'wget --tries=1 -P "$L" @/drops=1/a.pth @/whole/b.pth',
            "curl": 'cd "$L"; curl -fL -O @/drops=1/a.pth -O @/whole/b.pth',
        }.items()
    ),
    *(
        Case(id=f"ledger.untouched-{name}", script=script, expect=M, own=name in ("redirect-curl", "post-curl"))
        for name, script in {
            "redirect": 'wget --tries=1 -qO- @/drops=1/m.pth >"$L/m.pth"',
            "redirect-curl": 'curl -sfL @/drops=1/m.pth >"$L/m.pth"',
            "pipe": 'curl -sfL @/whole/m.pth | cat >"$L/m.pth"',
            "post": 'wget -q --post-data=a=1 -O "$L/m.pth" @/drops=1/m.pth || wget -q --post-data=a=1 -O "$L/m.pth" '
            "@/drops=1/m.pth",
            "post-curl": 'curl -sfL -d a=1 -o "$L/m.pth" @/whole/m.pth',
        }.items()
    ),
)

GUARD = '[ -f "$L/m.pth" ] || wget -q -O "$L/m.pth" @/whole/m.pth'
SAME = 'wget -q -P "$L" @/rate=400000/m.pth'

TRUTH = (
    *(
        Case(id=f"truth.probe-{name}", script=f'{script}\nwget -q -P "$L" @/whole/m.pth', expect=M, own=own)
        for name, script, own in (
            ("spider", "wget -q --spider @/status=404/x.pth || true", False),
            ("curl-I", "curl -sfI @/status=404/x.pth || true", False),
            ("http-code", "echo $(curl -s -o /dev/null -w '%{http_code}' @/status=401/x.pth)", False),
            ("pipe", "curl -sf @/status=500/x.json | cat || true", False),
            ("dev-null", "wget -q -O /dev/null @/status=503/x.pth || true", True),
            ("standard-output", "wget -qO- @/status=404/x.json || true", True),
            ("version", "wget --version >/dev/null; curl --version >/dev/null; aria2c --version >/dev/null", True),
        )
    ),
    Case(
        id="truth.rpc-server",
        script='aria2c --enable-rpc --rpc-listen-port=0 -q >/dev/null 2>&1 &\nwget -q -P "$L" @/whole/m.pth',
        expect=Expect(files=M.files, seconds=25),
        own=True,
    ),
    Case(id="truth.guard-twice", script=GUARD, jobs=("post", "post"), expect=Expect(files=M.files, fetched=1.05)),
    Case(
        id="truth.guard-twice-curl",
        script='F="$L/m.pth"; if [ ! -s "$F" ]; then curl -sfL -o "$F" @/whole/m.pth; else echo "there: $F"; fi',
        jobs=("post", "post", "post"),
        expect=Expect(files=M.files, fetched=1.05),
        own=True,
    ),
    Case(
        id="truth.guard-on-a-foreign-file",
        script=GUARD,
        there={"models/loras/m.pth": Body(name="m.pth").content()},
        expect=Expect(state="failed", also=("loras/m.pth",), hint=("files",)),
    ),
    Case(
        id="truth.guard-with-files",
        script=GUARD,
        front=f"files:\n  - path: models/loras/m.pth\n    sha256: {Body(name='m.pth').sha256()}\n",
        there={"models/loras/m.pth": Body(name="m.pth").content()},
        expect=M,
    ),
    Case(
        id="truth.one-lock-a-destination",
        cards=tuple(Card(path=f"loras/{n}.md", script=SAME) for n in ("a", "b")),
        request={"parallel": 2},
        expect=Expect(files=M.files, fetched=1.4),
    ),
    Case(
        id="truth.one-lock-in-a-script",
        script='wget -q -O "$L/m.pth" @/rate=400000/m.pth &\nwget -q -O "$L/m.pth" @/rate=400000/m.pth &\nwait',
        expect=M,
        own=True,
    ),
    Case(
        id="truth.foreign-half",
        script='wget -P "$L" @/whole/m.pth',
        there=HALF,
        expect=Expect(files=M.files),
        own=True,
    ),
    Case(
        id="truth.runs-are-events",
        script='wget -q -P "$L" @/whole/m.pth\nwget -q -P "$L" "@/status=404/x.pth?token=abcdef123456" || true',
        expect=Expect(
            state="failed",
            files=M.files,
            events=(
                {"type": "run_started", "*": "m.pth"},
                {"type": "run_ended", "*": "m.pth"},
                {"type": "run_ended", "*": "x.pth"},
            ),
            no_events=({"*": "abcdef123456"},),
        ),
    ),
)

CASES = (*LEDGER, *TRUTH)
