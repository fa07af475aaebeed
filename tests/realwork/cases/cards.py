"""9. Cards as people write them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from tests.realwork.case import Card, Case, Expect
from tests.realwork.stage import CIVITAI_KEY, HF_TOKEN

M = Expect(files={"loras/m.safetensors": "m.safetensors"})
GOOD = 'wget -q -P "$L" @/whole/m.safetensors'


def card(body: str, front: str = "title: A card\n", path: str = "loras/card.md") -> tuple[Card, ...]:
    return (Card(path=path, text=(f"---\n{front}---\n" if front else "") + body),)


def fenced(info: str, heading: str = "# Download") -> str:
    return f"# About\n\nGood for portraits.\n\n{heading}\n\n```{info}\n{GOOD}\n```\n"


def forms() -> Iterable[Case]:
    for info in ("bash", "sh", "shell", "zsh", ""):
        yield Case(id=f"9.fence-{info or 'none'}", cards=card(fenced(info)), expect=M)
    headings = {
        "download": "# Download",
        "picture": "### 📥 Download",
        "plural": "## Downloads",
        "colon": "## Download:",
        "own-level": "###### Download",
        "bold": "## **Download**",
    }
    for name, heading in headings.items():
        own = name in ("colon", "own-level", "bold")
        yield Case(id=f"9.heading-{name}", cards=card(fenced("bash", heading)), expect=M, own=own)
    fronts = {
        "tags-text": "title: A card\ntags: portrait, style\n",
        "tags-numbers": "title: A card\ntags: [2024, x]\n",
        "size-gb": "title: A card\nsize: 6.5GB\n",
        "size-quoted": 'title: A card\nsize: "6900000000"\n',
        "size-words": "title: A card\nsize: about 7 GB\n",
        "type-list": "title: A card\ntype: [lora]\n",
        "basemodel-list": "title: A card\nbasemodel: [SDXL, Pony]\n",
        "dependencies-empty": "title: A card\ndependencies:\n",
        "title-number": "title: 2024\n",
        "image-list": "title: A card\nimage: [a.png, b.mp4]\n",
        "version-date": "title: A card\nversion: 2024-01-05\n",
    }
    for name, front in fronts.items():
        own = name in ("size-words", "title-number", "image-list", "version-date", "dependencies-empty")
        yield Case(id=f"9.front-{name}", cards=card(fenced("bash"), front), expect=M, own=own)


def titled(name: str, text: str, title: str, *, own: bool = False) -> Case:
    wanted = {"type": "resource_started", "title": title}
    expect = Expect(files=M.files, events=(wanted,))
    return Case(id=f"9.title-{name}", cards=(Card(path="loras/my_style.md", text=text),), expect=expect, own=own)


LIBRARY = (
    Card(path="vae/base.md", front="aliases: [Base VAE, sdxl-vae]\nAIR: urn:air:sdxl:vae:civitai:1@2\n",
         script='mkdir -p "$UI_HOME/models/vae"; wget -q -P "$UI_HOME/models/vae" @/whole/vae.safetensors'),
    Card(path="loras/style.md", script=GOOD, front="title: Style\n"),
)  # fmt: skip
BOTH = Expect(files={"loras/m.safetensors": "m.safetensors", "vae/vae.safetensors": "vae.safetensors"})


def depending(dependency: str) -> tuple[Card, ...]:
    text = f"---\ntitle: Style\ndependencies: [{dependency}]\n---\n# Download\n```bash\n{GOOD}\n```\n"
    return (LIBRARY[0], Card(path="loras/style.md", text=text))


def asks_for(what: str) -> str:
    """A script that downloads only if this condition holds."""
    return f'{what} || {{ echo "not so: {shlex.quote(what)[:40]}" >&2; exit 9; }}\n{GOOD}'.replace("'", "")


CASES = (
    *forms(),
    titled("front", f"---\ntitle: My style\n---\n# Download\n```bash\n{GOOD}\n```\n", "My style"),
    titled("heading", f"# My heading\n\nText.\n\n## Download\n```bash\n{GOOD}\n```\n", "My heading"),
    titled("no-front-no-heading", f"# Download\n```bash\n{GOOD}\n```\n", "my_style"),
    titled(
        "front-without-title", f"---\ntype: lora\n---\n# The style\n# Download\n```bash\n{GOOD}\n```\n", "The style"
    ),
    titled("empty", f"---\ntitle:\ntype: lora\n---\n# Download\n```bash\n{GOOD}\n```\n", "my_style", own=True),
    Case(
        id="9.several-blocks",
        cards=card(
            f'# Download\nFirst:\n```bash\n{GOOD}\n```\nThen:\n```bash\nwget -q -P "$L" @/whole/second.pth\n```\n'
        ),
        expect=Expect(files={"loras/m.safetensors": "m.safetensors", "loras/second.pth": "second.pth"}),
    ),
    Case(
        id="9.several-blocks-are-one-script",
        cards=card('# Download\n```bash\nF="$L"\n```\n```bash\nwget -q -P "$F" @/whole/m.safetensors\n```\n'),
        expect=M,
        own=True,
    ),
    Case(
        id="9.block-elsewhere",
        cards=card(f"# Usage\n```bash\nexit 9\n```\n# Download\n```bash\n{GOOD}\n```\n# Notes\n```bash\nexit 8\n```\n"),
        expect=M,
        own=True,
    ),
    Case(
        id="9.tildes",
        cards=card(f"# Download\n~~~bash\n{GOOD}\n~~~\n"),
        expect=M,
        own=True,
    ),
    Case(
        id="9.windows-line-ends",
        cards=card(fenced("bash").replace("\n", "\r\n"), "title: A card\n"),
        expect=M,
        own=True,
    ),
    Case(
        id="9.depends-on-path",
        cards=depending("{cards}/vae/base.md"),
        request={"resources": ["loras/style.md"]},
        expect=BOTH,
    ),
    Case(
        id="9.depends-on-alias",
        cards=(
            Card(path="vae/base.md", front="aliases: [alias-of-nine]\n", script=LIBRARY[0].script),
            *depending("alias-of-nine")[1:],
        ),
        request={"resources": ["loras/style.md"]},
        expect=BOTH,
    ),
    Case(
        id="9.depends-on-air",
        cards=(
            Card(path="vae/base.md", front="AIR: urn:air:sdxl:vae:civitai:919@920\n", script=LIBRARY[0].script),
            *depending('"urn:air:sdxl:vae:civitai:919@920"')[1:],
        ),
        request={"resources": ["loras/style.md"]},
        expect=BOTH,
    ),
    Case(
        id="9.depends-on-alias-that-is-text",
        cards=(
            Card(path="vae/base.md", front="aliases: The nine VAE\n", script=LIBRARY[0].script),
            *depending("The nine VAE")[1:],
        ),
        request={"resources": ["loras/style.md"]},
        expect=BOTH,
        own=True,
    ),
    Case(
        id="9.bundle",
        cards=(
            *LIBRARY,
            Card(
                path="bundles/all.md",
                text="---\ntitle: All\ndependencies: ['{cards}/vae/base.md', '{cards}/loras/style.md']\n---\nBoth.\n",
            ),
        ),
        request={"resources": ["bundles/all.md"]},
        expect=BOTH,
    ),
    Case(
        id="9.custom-node",
        script='cd "$(mktemp -d)" && git init -q up && echo pass >up/__init__.py && git -C up add . &&\n'
        "git -C up -c user.name=a -c user.email=a@example.com commit -qm x\n"
        'mkdir -p "$UI_HOME/custom_nodes"; git clone -q "$PWD/up" "$UI_HOME/custom_nodes/node"',
        expect=Expect(),
    ),
    Case(id="9.installs-nothing", script="echo pip install x", front="installs: nothing\n", expect=Expect()),
    Case(
        id="9.installs-nothing-fails",
        script='echo "E: Unable to locate package x" >&2; exit 100',
        front="installs: nothing\n",
        expect=Expect(state="failed"),
        own=True,
    ),
    Case(id="9.env-workspace", script=asks_for('[ "$WORKSPACE/ComfyUI" -ef "$UI_HOME" ]'), expect=M),
    Case(id="9.env-civitai-token", script=asks_for(f'[ "$CIVITAI_TOKEN" = {CIVITAI_KEY} ]'), expect=M),
    Case(id="9.env-civitai-api-key", script=asks_for(f'[ "$CIVITAI_API_KEY" = {CIVITAI_KEY} ]'), expect=M),
    Case(id="9.env-hf-token", script=asks_for(f'[ "$HF_TOKEN" = {HF_TOKEN} ]'), expect=M),
    Case(
        id="9.env-secrets-are-redacted",
        script=f'echo "with $CIVITAI_TOKEN and $HF_TOKEN"\n{GOOD}',
        expect=Expect(files=M.files, no_events=({"*": CIVITAI_KEY}, {"*": HF_TOKEN})),
    ),
    Case(
        id="9.env-token-in-a-header",
        script=f'wget -q --header="Authorization: Bearer $CIVITAI_TOKEN" -P "$L" @/token={CIVITAI_KEY}/m.safetensors',
        expect=M,
        own=True,
    ),
    Case(
        id="9.env-token-in-an-address",
        script='wget -O "$L/m.safetensors" "@/whole/m.safetensors?token=$CIVITAI_TOKEN"',
        expect=Expect(files=M.files, no_events=({"*": CIVITAI_KEY},)),
        own=True,
    ),
)
