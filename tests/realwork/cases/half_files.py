"""1. A half file never counts, a retry heals, and nothing is downloaded twice."""

from __future__ import annotations

from service.demo.civitai import StandInModel, content
from tests.realwork.case import Case, Expect, part
from tests.realwork.contents import Body

SIZE = 2_000_000
# The second try goes on where the first one ended; a look at the last 64 KiB before it is allowed.
CONTINUED = 1.1
# aria2c asks for the whole first, then for the rest: what the site sends until it hangs up counts.
CONTINUED_ARIA2C = 1.2
ONCE = 1.05
NC = "wget -qnc --content-disposition --show-progress -e dotbytes=4M"
HF = "HF_ENDPOINT={} hf download owner/name m.safetensors --local-dir $L"
GUARD = 'F="$L/{name}"; [ -f "$F" ] || {command}'
M = "loras/m.safetensors"
KEPT = {"type": "file_kept"}


def whole(name: str, size: int = SIZE, **more: object) -> Expect:
    return Expect(files={f"loras/{name}": Body(name=name, size_bytes=size)}, **more)  # type: ignore[arg-type]


def file_of(model: StandInModel) -> dict[str, bytes]:
    stem = f"{model.file_name.removesuffix('.safetensors')}-mid_{model.id}-vid_{model.version_id}"
    return {f"loras/{model.name}/{stem}.safetensors": b"".join(content(model))}


CIVITDL_ALSO = ("loras/*/*.csv", "loras/*/*.json", "loras/*/*.png", "loras/*/*.txt")


def guards() -> list[Case]:
    """A script that downloads only what is not there."""
    forms = {
        "1.guard": ("wget --tries=1 -O", "m.safetensors", False),
        "1.guard-curl": ("curl -sfL -o", "m.pth", True),
        "1.guard-aria2c": ('aria2c --max-tries=1 -d "$L" -o m.gguf', "m.gguf", True),
    }
    cases = []
    for name, (command, file, own) in forms.items():
        target = "" if "aria2c" in command else '"$F"'
        script = GUARD.format(name=file, command=f"{command} {target} @/drops=1,size={SIZE},rate=2000000/{file}")
        cases.append(Case(id=name, script=script, expect=whole(file, attempts=2, fetched=1.6), own=own))
    return cases


def retries() -> list[Case]:
    """The service's own second attempt, after a download that was cut off: whole, once, under its own name."""
    url = f"@/drops=1,size={SIZE},rate="
    commands = {
        "wget-P": 'wget --tries=1 -P "$L" {}/m.safetensors',
        "wget-P-pth": 'wget --tries=1 -P "$L" {}/m.pth',
        "wget-P-gguf": 'wget --tries=1 -P "$L" {}/m.gguf',
        "wget-P-ckpt": 'wget --tries=1 -P "$L" {}/m.ckpt',
        "wget-P-bin": 'wget --tries=1 -P "$L" {}/m.bin',
        "wget-nc": 'wget -nc --tries=1 -P "$L" {}/m.pth',
        "wget-O": 'wget --tries=1 -O "$L/m.pth" {}/m.pth',
        "wget-c-P": 'wget -c --tries=1 -P "$L" {}/m.pth',
        "wget-c-nc": 'wget -c -nc --tries=1 -P "$L" {}/m.pth',
        "wget-N": 'wget -N --tries=1 -P "$L" {}/m.pth',
        "wget-in-folder": 'cd "$L" && wget --tries=1 {}/m.pth',
        "wget-pasted": NC + ' --tries=1 -P "$L" {}/m.pth',
        "curl-o": 'curl -fL -o "$L/m.pth" {}/m.pth',
        "curl-O": 'cd "$L" && curl -fLO {}/m.pth',
        "curl-OJ": 'cd "$L" && curl -fLOJ {}/m.pth',
        "curl-C-o": 'curl -fL -C - -o "$L/m.pth" {}/m.pth',
        "curl-C-O": 'cd "$L" && curl -fL -C - -O {}/m.pth',
        "curl-output-dir": 'curl -fL --create-dirs --output-dir "$L" -O {}/m.pth',
        "aria2c": 'aria2c --max-tries=1 -d "$L" {}/m.pth',
        "aria2c-c": 'aria2c -c --max-tries=1 -d "$L" -o m.pth {}/m.pth',
        "aria2c-prealloc": 'aria2c --max-tries=1 --file-allocation=prealloc -d "$L" {}/m.safetensors',
    }
    own = {"wget-N", "wget-in-folder", "wget-pasted", "wget-c-nc", "curl-output-dir", "aria2c-prealloc"}
    cases = []
    for name, command in commands.items():
        file = "m." + command.rpartition(".")[2]
        is_aria2c = name.startswith("aria2c")
        expect = whole(file, attempts=2, fetched=CONTINUED_ARIA2C if is_aria2c else CONTINUED)
        script = command.format(url + ("2000000" if is_aria2c else "8000000"))
        cases.append(Case(id=f"1.retry-{name}", script=script, expect=expect, own=name in own))
    named = f"@/drops=1,size={SIZE},named=m.pth/128713?type=Model"
    for name, command in (
        ("wget-disposition", f'wget --tries=1 --content-disposition -P "$L" "{named}"'),
        ("curl-OJ-named", f'cd "$L" && curl -fLOJ "{named}"'),
    ):
        cases.append(Case(id=f"1.retry-{name}", script=command, expect=whole("m.pth", attempts=2, fetched=CONTINUED)))
    # hf 2.4.0 tries six times by itself, and never goes on where it was.
    hf = HF.format(f"@/drops=6,size={SIZE}")
    cases.append(Case(id="1.retry-hf", script=hf, hf=True, long=True, expect=whole("m.safetensors", attempts=2)))
    model = StandInModel(id=1101, name="Dropped", size_bytes=300_000, drop_after_bytes=150_000, fails=1)
    expect = Expect(files=file_of(model), also=CIVITDL_ALSO, attempts=2)
    cases.append(Case(id="1.retry-civitdl", script='civitdl 1101 "$L"', models=(model,), expect=expect))
    return cases


def anew() -> list[Case]:
    """Where the server knows no ranges, the second try begins anew."""
    url = f"@/drops=1,no-ranges,size={SIZE},rate=2000000/m.pth"
    commands = {
        "wget-P": f'wget --tries=1 -P "$L" {url}',
        "wget-c": f'wget -c --tries=1 -O "$L/m.pth" {url}',
        "curl-C": f'curl -fL -C - -o "$L/m.pth" {url}',
        "curl-OJ": f'cd "$L" && curl -fLOJ {url}',
        "aria2c": f'aria2c --max-tries=1 -d "$L" {url}',
    }
    return [
        Case(id=f"1.anew-{name}", script=script, expect=whole("m.pth", fetched=1.6), own=name != "curl-C")
        for name, script in commands.items()
    ]


def twice() -> list[Case]:
    """The card once more: the whole file of the first job is kept."""
    url = f"@/size={SIZE}/m.safetensors"
    commands = {
        "wget-P": f'wget -P "$L" {url}',
        "aria2c": f'aria2c -d "$L" {url}',
        "wget-O": f'wget -O "$L/m.safetensors" {url}',
        "wget-disposition": f'wget --content-disposition -P "$L" @/size={SIZE},named=m.safetensors/99',
        "curl-o": f'curl -fL -o "$L/m.safetensors" {url}',
        "curl-OJ": f'cd "$L" && curl -fLOJ {url}',
    }
    cases = [
        Case(
            id=f"1.twice-{name}",
            script=script,
            jobs=("post", "post"),
            expect=whole("m.safetensors", fetched=ONCE, events=(KEPT,)),
            own=name not in ("wget-P", "aria2c"),
        )
        for name, script in commands.items()
    ]
    anew = whole("m.safetensors", fetched_min=1.9, no_events=(KEPT,))
    cases.append(Case(id="1.reinstall", script=commands["wget-P"], jobs=("post", "reinstall"), expect=anew))
    script = commands["curl-OJ"]
    cases.append(Case(id="1.reinstall-curl-OJ", script=script, jobs=("post", "reinstall"), expect=anew, own=True))
    return cases


def continued() -> list[Case]:
    """A half that somebody else left at the final name."""
    body = Body(name="m.pth", size_bytes=SIZE)
    url = f"@/size={SIZE},rate=2000000/m.pth"
    commands = {
        "wget-c-P": f'wget -c -P "$L" {url}',
        "wget-c-O": f'wget -c -O "$L/m.pth" {url}',
        "wget-c-disposition": f'wget -c --content-disposition -P "$L" {url}',
        "wget-c-N": f'wget -c -N -P "$L" {url}',
        "curl-C-o": f'curl -fL -C - -o "$L/m.pth" {url}',
        "curl-C-O": f'cd "$L" && curl -fL -C - -O {url}',
        "aria2c-c": f'aria2c -c -d "$L" {url}',
    }
    there = {"models/loras/m.pth": part(body)}
    return [
        Case(id=f"1.continue-{name}", script=script, there=there, expect=whole("m.pth", fetched=0.7))
        for name, script in commands.items()
    ]


CASES = (
    *guards(),
    Case(
        id="1.guard-sha256",
        script=GUARD.format(name="m.pth", command='wget --tries=1 -O "$F" @/drops=1/m.pth'),
        front=f"sha256: {Body(name='m.pth').sha256()}\n",
        expect=Expect(files={"loras/m.pth": "m.pth"}),
    ),
    Case(
        id="1.guard-python",
        script='python3 - "$L/m.pth" @/drops=1/m.pth <<"END"\nimport os, sys, urllib.request\n'
        "if not os.path.exists(sys.argv[1]):\n    urllib.request.urlretrieve(sys.argv[2], sys.argv[1])\nEND\n",
        expect=Expect(files={"loras/m.pth": "m.pth"}),
        own=True,
    ),
    Case(
        id="1.aria2c-control-file",
        script=GUARD.format(
            name="m.safetensors",
            command='aria2c --max-tries=1 --file-allocation=prealloc -d "$L" @/drops=1/m.safetensors',
        ),
        expect=Expect(files={M: "m.safetensors"}, attempts=2),
    ),
    Case(
        id="1.aria2c-swallowed",
        script='aria2c --max-tries=1 --file-allocation=prealloc -d "$L" @/stops/m.safetensors || true',
        expect=Expect(state="failed", causes=("network",)),
        own=True,
    ),
    Case(
        id="1.never-whole",
        script='wget --tries=1 -P "$L" @/stops/m.pth',
        expect=Expect(state="failed", causes=("network",), attempts=2, events=({"*": "loras/m.pth.part"},)),
        own=True,
    ),
    *retries(),
    *anew(),
    *twice(),
    *continued(),
)
