"""The cases of the collection that are run: what is called, and what a person says about its failure.

The labels are a person's, not the program's: they are written down here before anything is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What a status means, and whether waiting helps.
STATUSES = {
    401: ("auth_required", False),
    403: ("forbidden", False),
    404: ("not_found", False),
    410: ("not_found", False),
    429: ("rate_limited", True),
    500: ("server_error", True),
    502: ("server_error", True),
    503: ("server_error", True),
}
TOOLS = {
    "wget": "wget --progress=bar:force:noscroll --tries=1 --no-check-certificate -O {out} {url}",
    "curl": "curl -fLk -o {out} {url}",
    "aria2c": "aria2c --max-tries=1 --check-certificate=false --summary-interval=1 -d {folder} -o x {url}",
}
STRICT = {
    "wget": "wget --tries=1 -O {out} {url}",
    "curl": "curl -fL -o {out} {url}",
    "aria2c": "aria2c --max-tries=1 -d {folder} -o x {url}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``command`` is run by bash in an empty folder. ``cause``: several where the log cannot tell them apart.
    ``heals``: whether another attempt can succeed although nobody changes anything. ``tool``: whose exit status it
    is, as the ledger of runs knows it also of a quiet tool. ``error`` and ``hint``: a text that must be in them."""

    name: str
    command: str
    cause: str | tuple[str, ...]
    heals: bool
    tool: str | None = None
    error: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the cases go: the site without and with TLS, one whose certificate is not valid yet and one whose has
    expired; the authority of all three; a full file system; a folder of tools, with ``busybox-wget`` and ``wget2`` in
    folders of their own under the name ``wget``, and a Python with requests, gdown and huggingface_hub."""

    http: str
    https: str
    early: str
    late: str
    authority: Path
    full: Path
    tools: Path


def cases(places: Places) -> Iterator[Case]:
    yield from first_cases(places.http, places.https, places.full)
    yield from quiet_cases(places)
    yield from tls_cases(places)
    yield from other_wgets(places)
    yield from mixtures(places)
    yield from python_cases(places)
    yield from other_programs(places)


def first_cases(http: str, https: str, full: Path) -> Iterator[Case]:
    for tool, template in TOOLS.items():
        for status, (cause, heals) in STATUSES.items():
            command = template.format(out="x", folder=".", url=f"{http}/{status}")
            yield Case(name=f"{tool}-{status}", command=command, cause=cause, heals=heals)
        for name, url, cause in (
            ("dns", "http://no-such-host.invalid/x", "dns"),
            ("refused", "http://127.0.0.1:9/x", "network"),
            ("drop", f"{http}/drop", "network"),
        ):
            command = template.format(out="x", folder=".", url=url)
            yield Case(name=f"{tool}-{name}", command=command, cause=cause, heals=True)
        tls = STRICT[tool].format(out="x", folder=".", url=f"{https}/ok")
        yield Case(name=f"{tool}-tls", command=tls, cause="tls", heals=False)
        space = template.format(out=full / "x", folder=full, url=f"{http}/big")
        yield Case(name=f"{tool}-disk-full", command=space, cause="disk_full", heals=False)
        nowhere = template.format(out="/proc/nowhere/x", folder="/proc/nowhere", url=f"{http}/ok")
        yield Case(name=f"{tool}-folder", command=nowhere, cause="permission", heals=False)
        killed = template.format(out="x", folder=".", url=f"{http}/slow")
        yield Case(
            name=f"{tool}-killed", command=f"{killed} & sleep 1; kill -9 $!; wait $!", cause="killed", heals=True
        )
        yield Case(
            name=f"{tool}-missing", command=f"PATH=/nowhere; {tool} {http}/ok", cause="tool_missing", heals=False
        )
    for n, status in enumerate((401, 403, 404, 429, 500)):
        cause, heals = STATUSES[status]
        yield Case(name=f"civitdl-{status}", command=f"civitdl {2001 + n} models", cause=cause, heals=heals)
    yield Case(name="civitdl-drop", command="civitdl 2011 models", cause="network", heals=True)
    yield Case(name="civitdl-disk-full", command=f"civitdl 2012 {full}/models", cause="disk_full", heals=False)
    refused = "HTTPS_PROXY=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 civitdl 2012 models"
    yield Case(name="civitdl-no-proxy", command=refused, cause="network", heals=True)
    no_dns = "env -u HTTPS_PROXY -u https_proxy civitdl 2012 models"
    yield Case(name="civitdl-dns", command=no_dns, cause="dns", heals=True)
    no_trust = "REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt civitdl 2012 models"
    yield Case(name="civitdl-tls", command=no_trust, cause="tls", heals=False)
    yield Case(name="civitdl-folder", command="civitdl 2012 /proc/nowhere", cause="permission", heals=False)
    yield Case(name="civitdl-missing", command="PATH=/nowhere; civitdl 1 x", cause="tool_missing", heals=False)
    yield Case(name="git-dns", command="git clone https://no-such-host.invalid/x.git", cause="dns", heals=True)
    yield Case(name="git-refused", command="git clone https://127.0.0.1:9/x.git", cause="network", heals=True)
    yield Case(name="git-404", command=f"git clone {http}/404/x.git", cause="not_found", heals=False)
    yield Case(name="git-tls", command=f"git clone {https}/x.git", cause="tls", heals=False)
    yield Case(name="git-folder", command=f"git clone {http}/ok /proc/x", cause="permission", heals=False)
    yield Case(name="python-module", command="python3 -m no_such_module", cause="tool_missing", heals=False)
    yield Case(name="python-memory", command="python3 -c 'raise MemoryError'", cause="killed", heals=True)
    fetch = "python3 -c \"import urllib.request as u; u.urlopen('{}')\""
    yield Case(name="python-404", command=fetch.format(f"{http}/404"), cause="not_found", heals=False)
    yield Case(name="python-dns", command=fetch.format("http://no-such-host.invalid/"), cause="dns", heals=True)
    yield Case(name="python-refused", command=fetch.format("http://127.0.0.1:9/"), cause="network", heals=True)
    yield Case(name="cp-disk-full", command=f"cp /dev/zero {full}/zero", cause="disk_full", heals=False)
    yield Case(name="mkdir-permission", command="mkdir /proc/x", cause="permission", heals=False)
    yield Case(name="bash-exit", command="echo something went wrong; exit 3", cause="unknown", heals=False)
    yield Case(name="bash-term", command="kill -TERM $$; sleep 1", cause="killed", heals=True)


QUIET = {
    "wget": "wget -q --tries=1 --no-check-certificate -O {out} {url}",
    "curl": "curl -sfLk -o {out} {url}",
    "aria2c": "aria2c -q --max-tries=1 --check-certificate=false -d {folder} -o x {url}",
}
# A quiet tool's exit status says that the site answered with an error, and not with which.
ANSWERED = ("not_found", "forbidden")


def quiet_cases(places: Places) -> Iterator[Case]:
    for tool, template in QUIET.items():
        login = ("auth_required", *ANSWERED) if tool == "curl" else "auth_required"
        gone = "not_found" if tool == "aria2c" else ANSWERED
        for name, path, cause, heals in (
            ("401", "401", login, False),
            ("403", "403", ANSWERED, False),
            ("404", "404", gone, False),
            ("drop", "drop", "network", True),
        ):
            command = template.format(out="x", folder=".", url=f"{places.http}/{path}")
            hint = "-q" if cause == ANSWERED else None
            yield Case(name=f"{tool}-quiet-{name}", command=command, cause=cause, heals=heals, tool=tool, hint=hint)
        refused = template.format(out="x", folder=".", url="http://127.0.0.1:9/x")
        yield Case(name=f"{tool}-quiet-refused", command=refused, cause="network", heals=True, tool=tool)
        unknown = template.format(out="x", folder=".", url="http://no-such-host.invalid/x")
        cause_ = ("dns", "network") if tool == "wget" else "dns"
        yield Case(name=f"{tool}-quiet-dns", command=unknown, cause=cause_, heals=True, tool=tool)
        nowhere = template.format(out="nowhere/x", folder="/proc/nowhere", url=f"{places.http}/ok")
        yield Case(name=f"{tool}-quiet-folder", command=nowhere, cause="permission", heals=False, tool=tool)
    busy = f"aria2c -q --max-tries=1 -o x {places.http}/503"
    yield Case(name="aria2c-quiet-503", command=busy, cause="server_error", heals=True, tool="aria2c")
    strict = f"wget -q --tries=1 -O x {places.https}/ok"
    yield Case(name="wget-quiet-tls", command=strict, cause="tls", heals=False, tool="wget")
    strict = f"curl -sf -o x {places.https}/ok"
    yield Case(name="curl-quiet-tls", command=strict, cause="tls", heals=False, tool="curl")
    plain = f"curl -sfk -o x {places.http.replace('http:', 'https:')}/ok"
    yield Case(name="curl-quiet-no-tls", command=plain, cause="tls", heals=False, tool="curl")
    for name, options, path in (
        ("empty", "-sf", "empty"),
        ("limit", "-sf --max-time 1", "hang"),
        ("reset", "-sf", "reset"),
    ):
        command = f"curl {options} -o x {places.http}/{path}"
        yield Case(name=f"curl-quiet-{name}", command=command, cause="network", heals=True, tool="curl")
    hang = f"aria2c -q --max-tries=1 --timeout=1 -o x {places.http}/hang"
    yield Case(name="aria2c-quiet-limit", command=hang, cause="network", heals=True, tool="aria2c")
    hang = f"wget -q --tries=1 --timeout=1 -O x {places.http}/hang"
    yield Case(name="wget-quiet-limit", command=hang, cause="network", heals=True, tool="wget")
    again = f"head -c 2000000 /dev/zero >x; curl -sf -C - -o x {places.http}/no-ranges"
    yield Case(name="curl-quiet-no-ranges", command=again, cause="verification_failed", heals=False, tool="curl")


def tls_cases(places: Places) -> Iterator[Case]:
    trusting = {
        "curl": "curl -f --cacert {ca} -o x {url}/ok",
        "wget": "wget --tries=1 --ca-certificate={ca} -O x {url}/ok",
        "aria2c": "aria2c --max-tries=1 --ca-certificate={ca} -o x {url}/ok",
        "python": "SSL_CERT_FILE={ca} python3 -c \"import urllib.request as u; u.urlopen('{url}/ok')\"",
    }
    for tool, template in trusting.items():
        for name, url in (("early", places.early), ("late", places.late)):
            hint = "clock" if tool != "aria2c" else None
            command = template.format(ca=places.authority, url=url)
            yield Case(name=f"{tool}-tls-{name}", command=command, cause="tls", heals=False, hint=hint)
    for tool, template in TOOLS.items():
        command = template.format(out="x", folder=".", url=f"{places.https}/eof")
        yield Case(name=f"{tool}-tls-eof", command=command, cause="network", heals=True)
    for tool, template in TOOLS.items():
        command = template.format(out="x", folder=".", url=f"{places.https}/drop")
        yield Case(name=f"{tool}-tls-drop", command=command, cause="network", heals=True)
    for tool, template in TOOLS.items():
        command = template.format(out="x", folder=".", url=f"{places.http.replace('http:', 'https:')}/ok")
        yield Case(name=f"{tool}-no-tls", command=command, cause="tls", heals=False)
    warned = f"wget --tries=1 --no-check-certificate -O x {places.https}/400"
    yield Case(name="wget-warned-400", command=warned, cause=("forbidden", "auth_required"), heals=False, error="400")
    warned = f"wget --tries=1 --no-check-certificate -O x {places.https}/503"
    yield Case(name="wget-warned-503", command=warned, cause="server_error", heals=True, error="503")


def other_wgets(places: Places) -> Iterator[Case]:
    busybox = f"PATH={places.tools}/busybox:$PATH; wget"
    for name, url, cause, heals in (
        ("404", f"{places.http}/404", "not_found", False),
        ("403", f"{places.http}/403", "forbidden", False),
        ("503", f"{places.http}/503", "server_error", True),
        ("refused", "http://127.0.0.1:9/x", "network", True),
        ("dns", "http://no-such-host.invalid/x", "dns", True),
    ):
        yield Case(name=f"busybox-{name}", command=f"{busybox} -O x {url}", cause=cause, heals=heals)
    folder = f"{busybox} -O nowhere/x {places.http}/ok"
    yield Case(name="busybox-folder", command=folder, cause="permission", heals=False, hint="mkdir -p")
    space = f"{busybox} -O {places.full}/x {places.http}/big"
    yield Case(name="busybox-disk-full", command=space, cause="disk_full", heals=False)
    option = f"{busybox} --progress=bar:force:noscroll -O x {places.http}/ok"
    yield Case(name="busybox-option", command=option, cause="unknown", heals=False, error="--progress", hint="option")
    wget2 = f"PATH={places.tools}/wget2:$PATH; wget --tries=1"
    for status, (cause_, heals) in STATUSES.items():
        if status == 404:  # of others wget2 1.99 says so and ends with 0: that no file is there is the failure
            command = f"{wget2} -O x {places.http}/{status}"
            yield Case(name=f"wget2-{status}", command=command, cause=cause_, heals=heals)
    option = f"{wget2} --show-bars -O x {places.http}/ok"
    yield Case(name="wget2-option", command=option, cause="unknown", heals=False, error="show-bars", hint="option")


def mixtures(places: Places) -> Iterator[Case]:
    http = places.http
    for name, command in (
        ("wget", f"wget --tries=3 --waitretry=0 -O x {http}/signed-1/x"),
        ("wget-c", f"wget -c --tries=3 --waitretry=0 {http}/signed-2/x"),
        ("aria2c", f"aria2c -m 3 -o x {http}/signed-4/x"),
        ("curl", f"curl -fL --retry 2 --retry-delay 1 --retry-all-errors -o x {http}/signed-3/x"),
    ):
        yield Case(name=f"{name}-expired", command=command, cause="network", heals=True, hint="expired")
    two = f"wget --tries=1 -O a {http}/drop || true; wget --tries=1 -O b {http}/403"
    yield Case(name="wget-drop-then-other-403", command=two, cause="forbidden", heals=False)
    storage = f"wget --tries=1 --header='Authorization: Bearer abc' -O x {http}/storage/x"
    yield Case(name="wget-storage", command=storage, cause="forbidden", heals=False, hint="Authorization")
    storage = f"curl -fL --location-trusted -H 'Authorization: Bearer abc' -o x {http}/storage/x"
    yield Case(name="curl-storage", command=storage, cause="forbidden", heals=False, hint="Authorization")
    whole = f"head -c 1000 /dev/zero >x; curl -f -C - -o x {http}/416"
    yield Case(name="curl-416", command=whole, cause="verification_failed", heals=False, hint="whole already")
    legal = f"curl -fL -o x {http}/451"
    yield Case(name="curl-451", command=legal, cause="forbidden", heals=False)
    legal = f"wget --tries=1 -O x {http}/451"
    yield Case(name="wget-451", command=legal, cause="forbidden", heals=False, hint="country")
    pay = f"wget --tries=1 -O x {http}/402"
    yield Case(name="wget-402", command=pay, cause=("forbidden", "auth_required"), heals=False, hint="payment")
    name = f"echo 'Downloading Forbidden Forest LoRA'; wget --tries=1 -O 'Forbidden Forest.bin' {http}/503"
    yield Case(name="wget-forbidden-forest", command=name, cause="server_error", heals=True)
    name = f"echo 'No space left for you'; curl -fL -o certificate_error.safetensors {http}/drop"
    yield Case(name="curl-scary-name", command=name, cause="network", heals=True)
    moved = f"curl -fL -o x {http}/404 || true; mv x models/x"
    yield Case(name="curl-404-then-mv", command=moved, cause="not_found", heals=False, error="404")
    moved = f"wget --tries=1 -O x.zip {http}/503 || true; unzip x.zip"
    yield Case(name="wget-503-then-unzip", command=moved, cause="server_error", heals=True)
    banner = "echo 'the licence was not accepted'; printf '#%.0s' {1..60}; echo; exit 3"
    yield Case(name="bash-banner", command=banner, cause="unknown", heals=False, error="the licence was not accepted")
    forest = "printf 'Downloading Forbidden Forest LoRA\\nthe settings do not fit\\n' >&2; exit 1"
    yield Case(name="bash-forest", command=forest, cause="unknown", heals=False, error="the settings do not fit")


def python_cases(places: Places) -> Iterator[Case]:
    python = places.tools / "venv/bin/python"
    get = f"{python} -c \"import requests; r = requests.get('{{url}}', stream=True, verify={{verify}}{{more}}); "
    get += 'r.raise_for_status(); [part for part in r.iter_content(100_000)]"'
    for name, url, cause, heals in (
        ("drop", f"{places.http}/chunked-drop", "network", True),
        ("drop-length", f"{places.http}/drop", "network", True),
        ("401", f"{places.http}/401", "auth_required", False),
        ("429", f"{places.http}/429", "rate_limited", True),
        ("502", f"{places.http}/502", "server_error", True),
        ("dns", "http://no-such-host.invalid/x", "dns", True),
    ):
        command = get.format(url=url, verify="True", more="")
        yield Case(name=f"requests-{name}", command=command, cause=cause, heals=heals)
    insecure = get.format(url=f"{places.https}/chunked-drop", verify="False", more="")
    yield Case(name="requests-insecure-drop", command=insecure, cause="network", heals=True, error="prematurely")
    insecure = get.format(url=f"{places.https}/404", verify="False", more="")
    yield Case(name="requests-insecure-404", command=insecure, cause="not_found", heals=False)
    strict = get.format(url=f"{places.https}/ok", verify="True", more="")
    yield Case(name="requests-tls", command=strict, cause="tls", heals=False)
    slow = get.format(url=f"{places.http}/hang", verify="True", more=", timeout=1")
    yield Case(name="requests-timeout", command=slow, cause="network", heals=True)
    retrieve = "python3 -c \"import urllib.request as u; u.urlretrieve('{}', '{}')\""
    short = retrieve.format(f"{places.http}/drop", "x")
    yield Case(name="urllib-drop", command=short, cause="network", heals=True)
    full = retrieve.format(f"{places.http}/big", places.full / "x")
    yield Case(name="urllib-disk-full", command=full, cause="disk_full", heals=False)
    nowhere = retrieve.format(f"{places.http}/ok", "nowhere/x")
    yield Case(name="urllib-folder", command=nowhere, cause="permission", heals=False, hint="mkdir -p")
    hf = f"{places.tools}/venv/bin/hf download o/n m.safetensors --local-dir ."
    for name, mode, cause_, heals, hint in (
        ("404", "hf-404-EntryNotFound", "not_found", False, None),
        ("no-repository", "hf-401-RepoNotFound", ("not_found", "auth_required"), False, None),
        ("gated", "hf-403-GatedRepo", "auth_required", False, "INSTALLER_HF_TOKEN"),
        ("login", "hf-401-GatedRepo", "auth_required", False, "INSTALLER_HF_TOKEN"),
        ("503", "hf-503-None", "server_error", True, None),
        ("429", "hf-429-None", "rate_limited", True, None),
    ):
        command = f"HF_ENDPOINT={places.http}/{mode} {hf}"
        yield Case(name=f"hf-{name}", command=command, cause=cause_, heals=heals, tool="hf", hint=hint)
    refused = f"HF_ENDPOINT=http://127.0.0.1:9 {hf}"
    yield Case(name="hf-refused", command=refused, cause="network", heals=True, tool="hf")
    unknown = f"HF_ENDPOINT=http://no-such-host.invalid {hf}"
    yield Case(name="hf-dns", command=unknown, cause=("dns", "network"), heals=True, tool="hf")
    pip = f"{python} -m pip install --disable-pip-version-check --retries 1 --timeout 2 no-such-thing"
    for name, index, cause_, heals in (
        ("404", f"{places.http}/404/simple", "not_found", False),
        ("refused", "http://127.0.0.1:9/simple", "network", True),
        ("dns", "https://no-such-host.invalid/simple", "dns", True),
        ("tls", f"{places.https}/simple", "tls", False),
    ):
        command = f"{pip} --index-url {index}"
        yield Case(name=f"pip-{name}", command=command, cause=cause_, heals=heals)


def other_programs(places: Places) -> Iterator[Case]:
    http = places.http
    for name, path, cause, heals in (
        ("503", "503/x.git", "server_error", True),
        ("403", "403/x.git", "forbidden", False),
        ("401", "401/x.git", "auth_required", False),
    ):
        yield Case(name=f"git-{name}", command=f"git clone {http}/{path}", cause=cause, heals=heals)
    yield Case(
        name="git-exists", command=f"mkdir x; touch x/y; git clone {http}/ok/x.git", cause="unknown", heals=False
    )
    yield Case(name="cd-folder", command="cd models/new", cause="permission", heals=False, hint="mkdir -p")
    yield Case(name="redirect-folder", command="echo x >models/new/x", cause="permission", heals=False, hint="mkdir -p")
    yield Case(name="unzip-no-file", command="unzip x.zip", cause=("unknown", "not_found"), heals=False)
    text = "echo 'Entry not found' >x.zip; unzip x.zip"
    yield Case(name="unzip-text", command=text, cause="verification_failed", heals=False)
    text = "echo 'Entry not found' >x.tar.gz; tar xf x.tar.gz"
    yield Case(name="tar-text", command=text, cause="verification_failed", heals=False)
    wrong = "echo x >x; echo 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  x' | sha256sum -c"
    yield Case(name="sha256sum", command=wrong, cause="verification_failed", heals=False)
    unset = "set -u; wget -O x $NO_SUCH_TOKEN"
    yield Case(name="bash-unset", command=unset, cause="unknown", heals=False, error="NO_SUCH_TOKEN")
    yield Case(name="bash-syntax", command="eval 'if true; then'", cause="unknown", heals=False, error="syntax error")
    yield Case(name="bash-no-file", command="bash get.sh", cause="tool_missing", heals=False)
    yield Case(name="bash-not-executable", command="echo x >get.sh; ./get.sh", cause="permission", heals=False)
    yield Case(name="bash-segfault", command="bash -c 'kill -SEGV $$'", cause="killed", heals=True)
    yield Case(name="bash-bus-error", command="bash -c 'kill -BUS $$'", cause="killed", heals=True)
    yield Case(name="dd-disk-full", command=f"dd if=/dev/zero of={places.full}/x", cause="disk_full", heals=False)
    lock = (
        'mkdir -p dpkg/updates dpkg/info; touch dpkg/status; python3 -c "import fcntl, time; '
        "f = open('dpkg/lock-frontend', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(20)\" & sleep 1; "
    )
    apt = "apt-get -o Dir::State::status=$PWD/dpkg/status -o Dir::Cache=$PWD -o Dir::State::lists=$PWD/lists"
    yield Case(name="apt-lock", command=f"{lock} {apt} install -y nosuch", cause="busy", heals=True)
    dpkg = "touch x.deb; dpkg --admindir=$PWD/dpkg -i x.deb"
    yield Case(name="dpkg-lock", command=lock + dpkg, cause="busy", heals=True)
    for name, host, cause, heals in (
        ("dns", "http://no-such-host.invalid", "dns", True),
        ("refused", "http://127.0.0.1:9", "network", True),
        ("404", f"{http}/404", "not_found", False),
    ):
        sources = f"mkdir -p lists/partial dpkg; touch dpkg/status; echo 'deb [trusted=yes] {host} stable main' >list; "
        update = f"{apt} -o Dir::Etc::sourcelist=$PWD/list -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root"
        command = f"{sources} {update} update && {update} install -y --no-download nosuch"
        yield Case(name=f"apt-{name}", command=command, cause=cause, heals=heals)
