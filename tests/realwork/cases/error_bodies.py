"""4. Error bodies saved as models that are not safetensors, and names that ComfyUI does not list."""

from __future__ import annotations

from service.demo.civitai import StandInModel, content
from tests.realwork.case import Case, Expect
from tests.realwork.contents import Body

REFUSED = frozenset({"not_found", "verification_failed"})
ANY = frozenset({"not_found", "verification_failed", "auth_required", "forbidden"})
MODEL = StandInModel(id=128713, name="Bare number", size_bytes=300_000)
WARNED = {"type": "resource_warning"}
LFS = f"version https://git-lfs.github.com/spec/v1\\noid sha256:{'4d7a2146' * 8}\\nsize 69380\\n"


def saved_by(command: str, file: str, behaviour: str) -> str:
    return command.format(file=f'"$L/{file}"', url=f"@/{behaviour}/{file}")


def not_founds() -> list[Case]:
    """``Entry not found``, 15 bytes, under each suffix and none. What it leaves may stay, but never counts."""
    return [
        Case(
            id=f"4.not-found{suffix or '-bare'}",
            script=saved_by("curl -L -o {file} {url}", f"4x{suffix}", "status=404"),
            expect=Expect(state="failed", causes=(REFUSED,), also=("loras/4x*",), error=("Entry not found",)),
        )
        for suffix in (".pth", ".gguf", ".ckpt", ".bin", ".onnx", ".zip", ".pt", "")
    ]


def other_bodies() -> list[Case]:
    inputs = {
        "json-bare": ("wget -O {file} {url}", "181248", "body=json"),
        "json-ckpt": ("curl -sL -o {file} {url}", "m.ckpt", "status=401"),
        "login-pth": ("wget -q -O {file} {url}", "m.pth", "body=login"),
        "login-gguf": ("wget -O {file} {url}", "m.gguf", "body=login"),
        "login-onnx": ("curl -sL -o {file} {url}", "m.onnx", "body=login"),
        "lfs-bin": ("wget -O {file} {url}", "m.bin", "body=lfs"),
        "lfs-onnx": ("curl -L -o {file} {url}", "m.onnx", "body=lfs"),
        "xml-pt": ("curl -sL -o {file} {url}", "m.pt", "body=expired"),
        "text-safetensors": ("curl -L -o {file} {url}", "m.safetensors", "body=Invalid username or password."),
    }
    return [
        Case(
            id=f"4.{name}",
            script=saved_by(command, file, behaviour).replace("Invalid username or password.", "Invalid%20token."),
            expect=Expect(state="failed", causes=(ANY,), also=(f"loras/{file}*",)),
            own=name != "json-bare",
        )
        for name, (command, file, behaviour) in inputs.items()
    ]


def magics() -> list[Case]:
    """A file of one format under the suffix of another."""
    return [
        Case(
            id=f"4.magic-{under}",
            script=f'wget -O "$L/m.{under}" @/whole/m.{real}',
            expect=Expect(state="failed", causes=("verification_failed",), also=("loras/m.*",)),
            own=True,
        )
        for under, real in (("gguf", "zip"), ("pth", "gguf"), ("pt", "onnx"), ("zip", "png"), ("safetensors", "gguf"))
    ]


FORMATS = ("safetensors", "pth", "pt", "ckpt", "bin", "gguf", "onnx", "zip")
TEXTS = ("json", "txt", "yaml", "py", "md")

CASES = (
    *not_founds(),
    *other_bodies(),
    *magics(),
    Case(
        id="4.guard-after-an-error-body",
        script='F="$L/4x.pth"; [ -f "$F" ] || curl -sL -o "$F" @/busy=1/4x.pth',
        jobs=("post", "post"),
        expect=Expect(files={"loras/4x.pth": "4x.pth"}),
        own=True,
    ),
    Case(
        id="4.whole-formats",
        script=f'for s in {" ".join(FORMATS)}; do wget -q -P "$L" @/whole/m.$s; done',
        expect=Expect(files={f"loras/m.{suffix}": f"m.{suffix}" for suffix in FORMATS}),
        own=True,
    ),
    Case(
        id="4.texts-under-their-own-names",
        script=f'for s in {" ".join(TEXTS)}; do curl -sfL -o "$L/m.$s" @/whole/m.$s; done',
        expect=Expect(files={f"loras/m.{suffix}": f"m.{suffix}" for suffix in TEXTS}),
        own=True,
    ),
    Case(
        id="4.unknown-bytes",
        script='for s in bin onnx ckpt; do wget -q -O "$L/m.$s" @/whole/m.png; done',
        expect=Expect(files={f"loras/m.{suffix}": "m.png" for suffix in ("bin", "onnx", "ckpt")}),
        own=True,
    ),
    Case(
        id="4.lfs-pointer-beside-a-download",
        script=f"cd \"$(mktemp -d)\" && git init -q up && printf '{LFS}' >up/m.safetensors && git -C up add . &&\n"
        "git -C up -c user.name=a -c user.email=a@example.com commit -qm x\n"
        'git clone -q "$PWD/up" "$UI_HOME/models/diffusers"\nwget -q -P "$L" @/whole/a.safetensors',
        expect=Expect(
            state="failed",
            causes=("verification_failed",),
            files={"loras/a.safetensors": "a.safetensors"},
            also=("diffusers/*",),
            error=("pointer",),
        ),
    ),
    Case(
        id="4.bare-number",
        script=f'wget -P "$L" "https://civitai.com/api/download/models/{MODEL.version_id}?type=Model"',
        models=(MODEL,),
        expect=Expect(files={f"loras/{MODEL.file_name}": b"".join(content(MODEL))}),
    ),
    Case(
        id="4.hash-as-name",
        script=f'aria2c -d "$L" @/whole/{"4d7a2146" * 8}',
        expect=Expect(files={f"loras/{'4d7a2146' * 8}": Body(name="4d7a2146" * 8)}, events=(WARNED,)),
    ),
    Case(
        id="4.query-in-the-name",
        script='wget -P "$L" "@/whole/m.safetensors?download=true"',
        expect=Expect(also=("loras/m.safetensors*",), events=(WARNED,)),
        own=True,
    ),
    Case(
        id="4.number-with-a-query",
        script='cd "$L" && wget -q "@/whole/181248?type=Model&format=SafeTensor"',
        expect=Expect(also=("loras/*",), events=(WARNED,)),
        own=True,
    ),
)
