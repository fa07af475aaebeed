"""6. Quiet tools: their exit statuses speak, their bytes are the progress."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tests.realwork.case import Case, Expect
from tests.realwork.contents import Body

ANSWERED = frozenset({"not_found", "server_error", "forbidden"})
NO_OUTPUT = ("last lines of the output",)


def causes() -> Iterable[Case]:
    inputs: tuple[tuple[str, str, str | Collection[str], bool | None], ...] = (
        ("wget-4", 'wget -q --tries=1 -P "$L" http://127.0.0.1:9/m.pth', "network", True),
        ("wget-5", 'wget -q --tries=1 -P "$L" @tls/whole/m.pth', "tls", False),
        ("wget-6", 'wget -q --tries=1 -P "$L" @/token=abc/m.pth', "auth_required", False),
        ("wget-8", 'wget -q --tries=1 -P "$L" @/status=404/m.pth', ANSWERED, None),
        ("wget-4-dns", 'wget -q --tries=1 -P "$L" http://no-such-host.invalid/m.pth', {"network", "dns"}, True),
        ("curl-6", 'curl -s -o "$L/m.pth" http://no-such-host.invalid/m.pth', "dns", True),
        ("curl-7", 'curl -s -o "$L/m.pth" http://127.0.0.1:9/m.pth', "network", True),
        ("curl-18", 'curl -s -o "$L/m.pth" @/stops/m.pth', "network", True),
        ("curl-22", 'curl -sf -o "$L/m.pth" @/status=404/m.pth', ANSWERED, None),
        ("curl-28", 'curl -s --max-time 1 -o "$L/m.pth" @/hangs/m.pth', {"network", "timeout"}, True),
        ("curl-35", 'U=@/whole/m.pth; curl -s -o "$L/m.pth" "${U/http:/https:}"', "tls", None),
        ("curl-52", 'curl -s -o "$L/m.pth" @/empty/m.pth', "network", True),
        ("curl-56", 'curl -s -o "$L/m.pth" @/resets,no-length/m.pth', "network", True),
        ("curl-60", 'curl -s -o "$L/m.pth" @tls/whole/m.pth', "tls", False),
        ("aria2c-2", 'aria2c -q --max-tries=1 -t 1 -d "$L" @/hangs/m.pth', {"network", "timeout"}, True),
        ("aria2c-3", 'aria2c -q --max-tries=1 -d "$L" @/status=404/m.pth', "not_found", False),
        ("aria2c-6", 'aria2c -q --max-tries=1 -d "$L" http://127.0.0.1:9/m.pth', "network", True),
        ("aria2c-19", 'aria2c -q --max-tries=1 -d "$L" http://no-such-host.invalid/m.pth', "dns", True),
        ("aria2c-22", 'aria2c -q --max-tries=1 -d "$L" @/status=403/m.pth', ANSWERED, None),
        ("aria2c-24", 'aria2c -q --max-tries=1 -d "$L" @/token=abc/m.pth', {"auth_required"}, False),
        ("aria2c-29", 'aria2c -q --max-tries=1 -d "$L" @/status=503/m.pth', {"server_error", "rate_limited"}, True),
    )
    for name, script, cause, heals in inputs:
        wanted = cause if isinstance(cause, str) else frozenset(cause)
        attempts = None if heals is None else 2 if heals else 1
        yield Case(
            id=f"6.{name}",
            script=script,
            expect=Expect(state="failed", causes=(wanted,), attempts=attempts, not_hint=NO_OUTPUT),
            own=name == "wget-4-dns",
        )


def bars() -> Iterable[Case]:
    size, rate = 2_500_000, 1_000_000
    # huggingface_hub writes 10 MiB at a time: before the first of them its file is empty.
    hf_size, hf_rate = 45_000_000, 12_000_000
    url = f"@/size={size},rate={rate}/m.safetensors"
    python = "#!/usr/bin/env python3\nimport os\nfrom urllib.request import urlretrieve\n"
    inputs = {
        "wget-q": f'wget -q -P "$L" {url}',
        "curl-s": f'curl -sfL -o "$L/m.safetensors" {url}',
        "aria2c-q": f'aria2c -q -d "$L" {url}',
        "python": f"{python}urlretrieve('{url}', os.environ['UI_HOME'] + '/models/loras/m.safetensors')",
        "hf-python": f"export HF_ENDPOINT=@/size={hf_size},rate={hf_rate}\nhf-python - <<'END'\nimport os\n"
        "from huggingface_hub import hf_hub_download\nfrom huggingface_hub.utils import disable_progress_bars\n"
        "disable_progress_bars()\n"
        "hf_hub_download('o/n', 'm.safetensors', local_dir=os.environ['UI_HOME'] + '/models/loras')\nEND",
        "wget-q-in-the-background": f'wget -q -P "$L" {url} &',
        "curl-to-a-pipe": f'curl -sfL {url} | cat >"$L/m.safetensors"',
    }
    for name, script in inputs.items():
        whole, speed = (hf_size, hf_rate) if name == "hf-python" else (size, rate)
        yield Case(
            id=f"6.progress-{name}",
            script=script,
            hf=name == "hf-python",
            expect=Expect(
                files={"loras/m.safetensors": Body(name="m.safetensors", size_bytes=whole)},
                events=(
                    {
                        "type": "progress",
                        "stage": "download",
                        "downloaded_bytes": lambda count, whole=whole: count is not None and 0 < count < whole,
                        "bytes_per_second": lambda rate, speed=speed: rate is not None and 0.2 < rate / speed < 5,
                    },
                ),
            ),
            own=name in ("wget-q-in-the-background", "curl-to-a-pipe"),
            long=name in ("hf-python", "curl-to-a-pipe"),
        )


QUIET_RC = 'wget --tries=1 -P "$L" @/drops=1/m.pth'

CASES = (
    *causes(),
    *bars(),
    Case(
        id="6.wget-q-retried",
        script='wget -q --tries=1 -P "$L" @/drops=1/m.pth',
        expect=Expect(files={"loras/m.pth": "m.pth"}, attempts=2),
    ),
    Case(
        id="6.wgetrc",
        script=QUIET_RC,
        env={"WGETRC": "{home}/quiet_wgetrc"},
        home={"quiet_wgetrc": "quiet = on\n"},
        expect=Expect(files={"loras/m.pth": "m.pth"}, attempts=2),
    ),
    Case(
        id="6.curlrc",
        script='curl -L -o "$L/m.pth" @/stops/m.pth',
        home={".curlrc": "silent\n"},
        expect=Expect(state="failed", causes=("network",), attempts=2),
    ),
    Case(
        id="6.names-with-show-progress",
        script='wget -q --show-progress -P "$L" @/rate=400000/first.pth @/rate=400000/second.pth',
        expect=Expect(
            files={"loras/first.pth": "first.pth", "loras/second.pth": "second.pth"},
            names=("first.pth", "second.pth"),
        ),
    ),
    Case(
        id="6.names-pasted",
        script='for n in first second; do wget -qnc --content-disposition --show-progress -e dotbytes=4M -P "$L" '
        "@/rate=400000,named=$n.safetensors/11?x=$n; done",
        expect=Expect(
            files={f"loras/{n}.safetensors": f"{n}.safetensors" for n in ("first", "second")},
            names=("first.safetensors", "second.safetensors"),
        ),
        own=True,
    ),
    Case(
        id="6.names-curl",
        script='curl -fL -o "$L/first.pth" @/rate=400000/x.pth\ncurl -fL -o "$L/second.pth" @/rate=400000/y.pth',
        expect=Expect(
            files={"loras/first.pth": "x.pth", "loras/second.pth": "y.pth"}, names=("first.pth", "second.pth")
        ),
        own=True,
    ),
    Case(
        id="6.bars-are-not-replaced",
        script='wget -P "$L" @/size=2000000,rate=1000000/m.pth',
        expect=Expect(
            files={"loras/m.pth": Body(name="m.pth", size_bytes=2_000_000)},
            events=({"type": "progress", "stage": "download", "percent": 100},),
            no_events=({"type": "progress", "stage": "download", "percent": None},),
        ),
        own=True,
    ),
)
