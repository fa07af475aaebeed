"""7. Wrong failures and wrong causes."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from tests.realwork.case import Case, Expect
from tests.realwork.contents import Body

M = Expect(files={"loras/m.safetensors": "m.safetensors"})
PTH = Expect(files={"loras/m.pth": "m.pth"})
WHOLE = {"models/loras/m.pth": Body(name="m.pth").content()}
GOOD = 'wget -q -P "$L" @/whole/m.safetensors'
APT = """E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 512 (unattended-upgr)
E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?"""
RESOLVING = "Err:1 http://deb.example Temporary failure resolving 'deb.example'"
INSECURE = (
    "/usr/lib/python3/urllib3/connectionpool.py:1045: InsecureRequestWarning: Unverified HTTPS request is being made "
    "to host 'files.example'. Adding certificate verification is strongly advised.\n"
    "requests.exceptions.ChunkedEncodingError: ('Connection broken: IncompleteRead(1048576 bytes read, 9437184 more "
    "expected)', IncompleteRead(1048576 bytes read, 9437184 more expected))"
)
WGET_400 = """WARNING: The certificate of 'files.example' is not trusted.
WARNING: The certificate of 'files.example' doesn't have a known issuer.
HTTP request sent, awaiting response... 400 Bad Request
2026-01-05 10:00:00 ERROR 400: Bad Request."""
CAS = "RuntimeError: Data processing error: CAS service error : "
XET = f"""xet_client: Request failed after 5 retries: error sending request for url (https://cas-server.example/v1/x)
{CAS}ReqwestMiddleware Error: Request failed after 5 retries"""
PRESIGNED = f"{CAS}Presigned URL Expiration Error"
GDOWN = """Failed to retrieve file url:
    Too many users have viewed or downloaded this file recently. Please try accessing the file again later."""
LFS_BUDGET = (
    "batch response: This repository exceeded its LFS budget. The account responsible for the budget should increase "
    "it to restore access.\nerror: failed to fetch some objects from 'https://git.example/owner/name.git/info/lfs'"
)
ARIA2_TLS = (
    "[ERROR] CUID#7 - Download aborted. URI=https://files.example/m.safetensors\n"
    "Exception: [SocketCore.cc:1018] errorCode=1 SSL/TLS handshake failure: The TLS connection was non-properly "
    "terminated."
)
EOF_TLS = "curl: (56) OpenSSL SSL_read: error:0A000126:SSL routines::unexpected eof while reading, errno 0"
IO = "cp: error writing '/workspace/m.safetensors': Input/output error\nOSError: [Errno 5] Input/output error"
NOT_YET = "ssl.SSLCertVerificationError: certificate verify failed: certificate is not yet valid (_ssl.c:1006)"


def says(text: str, status: int = 1) -> str:
    """A script that prints this to standard error and ends so."""
    return f"printf '%s\\n' {shlex.quote(text)} >&2; exit {status}"


def sentences() -> Iterable[Case]:
    """name, text, exit status, causes, whether another attempt can end otherwise (None: not asked)."""
    inputs: tuple[tuple[str, str, int, set[str], bool | None, bool], ...] = (
        ("451", "2026-01-05 10:00:00 ERROR 451: Unavailable For Legal Reasons.", 8, {"forbidden"}, False, False),
        ("402", "curl: (22) The requested URL returned error: 402", 22, {"auth_required", "forbidden"}, False, False),
        ("apt-lock", APT, 100, {"server_error", "network", "killed", "rate_limited", "locked", "busy"}, True, False),
        ("apt-resolving", RESOLVING, 100, {"dns"}, True, False),
        ("xet-retries", XET, 1, {"network", "server_error"}, True, False),
        ("xet-expired", PRESIGNED, 1, {"network", "server_error", "forbidden", "expired"}, True, False),
        ("exit-135", "Bus error (core dumped)", 135, {"killed"}, None, False),
        ("exit-139", "Segmentation fault (core dumped)", 139, {"killed"}, None, False),
        ("unexpected-eof", EOF_TLS, 56, {"network"}, True, False),
        ("aria2c-tls", ARIA2_TLS, 1, {"network"}, True, False),
        ("gdown", GDOWN, 1, {"rate_limited"}, None, False),
        ("lfs-budget", LFS_BUDGET, 2, {"rate_limited", "forbidden"}, False, False),
        ("io-error", IO, 1, {"disk_full", "instance_lost", "permission", "disk_error", "io_error"}, None, False),
        ("not-yet-valid", NOT_YET, 1, {"tls"}, False, False),
        ("insecure-then-broken", INSECURE, 1, {"network"}, True, False),
        ("warning-then-400", WGET_400, 8, {"forbidden", "not_found", "server_error", "auth_required"}, None, False),
        ("forest-403", "Fetching Forbidden Forest\nHTTP Error 404: Not Found", 1, {"not_found"}, False, True),
        ("verified-name", "Loading certificate_style.safetensors\nRead timed out.", 1, {"network"}, True, True),
        ("tls-after-retry", "WARNING: certificate expired\nConnection reset by peer", 1, {"network"}, True, True),
        ("disk-in-name", "Downloading 'No space left for you' LoRA\nERROR 503: Service Unavailable.", 8,
         {"server_error"}, True, True),
        ("exit-137", "", 137, {"killed"}, True, True),
        ("quota", "cp: cannot create '/workspace/m': Disk quota exceeded", 1, {"disk_full"}, False, True),
    )  # fmt: skip
    for name, text, status, causes, heals, own in inputs:
        attempts = None if heals is None else 2 if heals else 1
        expect = Expect(state="failed", causes=(frozenset(causes),), attempts=attempts)
        yield Case(id=f"7.says-{name}", script=says(text, status), expect=expect, own=own)


CASES = (
    Case(id="7.size-too-large", script=GOOD, front="size: 57200000000\n", expect=M),
    Case(id="7.size-too-small", script=GOOD, front="size: 1000\n", expect=M),
    Case(id="7.size-of-another-card", script=GOOD, front="size: 6938040682\n", expect=M, own=True),
    Case(id="7.size-past-the-disk", script=GOOD, front="size: 900000000000000\n", expect=M, own=True),
    Case(
        id="7.size-of-a-file",
        script=GOOD,
        front="files:\n  - path: models/loras/m.safetensors\n    size: 200079\n",
        expect=Expect(state="failed", causes=("verification_failed",), also=("loras/m.safetensors*",)),
        own=True,
    ),
    Case(
        id="7.announces-more-than-is-free",
        script='wget -O "$L/m.safetensors" @/claims=9000000000000,rate=1000000/m.safetensors',
        expect=Expect(state="failed", causes=("disk_full",), attempts=1),
        seconds=10,
    ),
    Case(
        id="7.announces-more-than-is-free-curl",
        script='curl -fL -o "$L/m.safetensors" @/claims=9000000000000,rate=1000000/m.safetensors',
        expect=Expect(state="failed", causes=("disk_full",), attempts=1),
        seconds=10,
        own=True,
        long=True,
    ),
    Case(id="7.signed-expires", script='wget --tries=3 --waitretry=0 -P "$L" @/signed/m.pth', expect=PTH),
    Case(
        id="7.signed-expires-curl",
        script='curl -fL --retry 2 --retry-delay 1 --retry-all-errors -C - -o "$L/m.pth" @/signed/m.pth',
        expect=PTH,
        own=True,
        long=True,
    ),
    Case(
        id="7.signed-expires-quiet",
        script='wget -q --tries=3 --waitretry=0 -P "$L" @/signed/m.pth',
        expect=PTH,
        own=True,
    ),
    Case(id="7.signed-expires-aria2c", script='aria2c -m 3 -d "$L" -o m.pth @/signed/m.pth', expect=PTH, own=True),
    Case(id="7.416-curl-f", script='curl -f -L -C - -o "$L/m.pth" @/whole/m.pth', there=WHOLE, expect=PTH),
    Case(id="7.416-curl", script='curl -L -C - -o "$L/m.pth" @/whole/m.pth', there=WHOLE, expect=PTH, own=True),
    Case(id="7.416-curl-O", script='cd "$L"; curl -sfL -C - -O @/whole/m.pth', there=WHOLE, expect=PTH, own=True),
    Case(id="7.416-wget", script='wget -c -P "$L" @/whole/m.pth', there=WHOLE, expect=PTH, own=True),
    Case(
        id="7.storage-refuses-the-header",
        script='wget --header="Authorization: Bearer abc" -P "$L" @/storage/m.safetensors',
        expect=Expect(state="failed", causes=(frozenset({"auth_required", "forbidden"}),), attempts=1),
    ),
    Case(
        id="7.missing-folder",
        script='wget -O "$UI_HOME/models/new/m.pth" @/whole/m.pth',
        expect=Expect(state="failed", hint=("mkdir -p",)),
    ),
    Case(
        id="7.missing-folder-curl",
        script='curl -fL -o "$UI_HOME/models/new/m.pth" @/whole/m.pth',
        expect=Expect(state="failed", hint=("mkdir -p",)),
        own=True,
    ),
    Case(
        id="7.missing-folder-cd",
        script='cd "$UI_HOME/models/new"; wget -q @/whole/m.pth',
        expect=Expect(state="failed", hint=("mkdir -p",)),
        own=True,
    ),
    Case(
        id="7.forbidden-forest",
        script="printf 'Downloading Forbidden Forest LoRA\\nchecksum mismatch\\n' >&2; exit 1",
        expect=Expect(
            state="failed",
            causes=(frozenset({"verification_failed", "unknown"}),),
            error=("checksum mismatch",),
            not_error=("Forest",),
        ),
    ),
    Case(
        id="7.banner",
        script="echo 'could not find the settings'\nprintf '%0.s#' {1..40}; echo; exit 3",
        expect=Expect(state="failed", error=("could not find the settings",), not_error=("####",)),
    ),
    Case(
        id="7.bar-as-error",
        script="echo 'no licence was given'; printf '\\rDownloading:  45%%|####5     | 3.65M/8.12M [00:03<00:04, "
        "60.9MiB/s]'; echo; exit 4",
        expect=Expect(state="failed", error=("no licence was given",), not_error=("45%",)),
        own=True,
    ),
    Case(
        id="7.fifteen-bytes",
        script='curl -L -o "$L/x.safetensors" @/status=404/x.safetensors',
        expect=Expect(state="failed", also=("loras/x.safetensors*",), error=("15 bytes", "Entry not found")),
    ),
    Case(
        id="7.empty-body",
        script='curl -sL -o "$L/x.safetensors" @/status=500,body=/x.safetensors; ls -l "$L"',
        expect=Expect(state="failed", also=("loras/x.safetensors*",), not_error=("header",)),
        own=True,
    ),
    Case(
        id="7.bashrc-exits",
        script=GOOD,
        home={".bashrc": "exit 0\n"},
        expect=Expect(state="failed", hint=(".bashrc",)),
        seconds=15,
    ),
    Case(
        id="7.bashrc-starts-tmux",
        script=GOOD,
        home={".bashrc": "exec tmux new-session -A -s main\n"},
        expect=Expect(state="failed", hint=(".bashrc",)),
        seconds=15,
        own=True,
        long=True,
    ),
    *sentences(),
)
