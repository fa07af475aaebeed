"""Failures that cannot be provoked here, in the words of the tools: storages, quotas, disks, old programs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """As `Case`, with the output and the exit status instead of a command."""

    name: str
    text: str
    exit_code: int
    cause: str | tuple[str, ...]
    heals: bool
    tool: str | None = None
    error: str | None = None
    hint: str | None = None


_CAS = "RuntimeError: Data processing error: CAS service error : "

WRITTEN = (
    Written(
        name="xet-retries",
        text="Fetching 1 files:   0%|          | 0/1 [00:00<?, ?it/s]\n"
        "xet_client: Request failed after 5 retries: error sending request for url (https://cas.example/v1/x)\n"
        f"{_CAS}ReqwestMiddleware Error: Request failed after 5 retries\n",
        exit_code=1,
        cause="network",
        heals=True,
        tool="hf",
    ),
    Written(
        name="xet-expired",
        text="Downloading 'm.safetensors' to '/workspace/m.safetensors.incomplete'\n"
        f"{_CAS}Presigned URL Expiration Error\n",
        exit_code=1,
        cause="network",
        heals=True,
        tool="hf",
        hint="expired",
    ),
    Written(
        name="s3-expired",
        text="<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>\n"
        "curl: (22) The requested URL returned error: 403\n",
        exit_code=22,
        cause=("network", "forbidden"),
        heals=True,
    ),
    Written(
        name="gdown-many",
        text="Failed to retrieve file url:\n\n\tToo many users have viewed or downloaded this file recently. Please\n"
        "\ttry accessing the file again later. If the file you are trying to\n\taccess is particularly large, it may "
        "take up to 24 hours.\n\nYou may still be able to access the file from the browser:\n\n\t"
        "https://drive.example/uc?id=1\n",
        exit_code=1,
        cause="rate_limited",
        heals=True,
        hint="tomorrow",
    ),
    Written(
        name="gdown-private",
        text="gdown.exceptions.FileURLRetrievalError: Cannot retrieve the public link of the file. You may need to "
        "change\nthe permission to 'Anyone with the link', or have had many accesses.\n",
        exit_code=1,
        cause="forbidden",
        heals=False,
    ),
    Written(
        name="lfs-budget",
        text="Cloning into 'name'...\nDownloading m.safetensors (2.1 GB)\nError downloading object: m.safetensors "
        "(abc1234): Smudge error\nbatch response: This repository exceeded its LFS budget. The account responsible for "
        "the budget should increase it to restore access.\n"
        "error: external filter 'git-lfs filter-process' failed\nfatal: m.safetensors: smudge filter lfs failed\n"
        "warning: Clone succeeded, but checkout failed.\nYou can inspect what was checked out with 'git status'\n",
        exit_code=128,
        cause="forbidden",
        heals=False,
        hint="another address",
    ),
    Written(
        name="lfs-quota",
        text="batch response: This repository is over its data quota. Account responsible for LFS bandwidth should "
        "purchase more data packs to restore access.\nerror: failed to fetch some objects\n",
        exit_code=2,
        cause="forbidden",
        heals=False,
    ),
    Written(
        name="io-error",
        text="cp: error writing '/workspace/m.safetensors': Input/output error\n",
        exit_code=1,
        cause="disk_error",
        heals=False,
    ),
    Written(
        name="python-io-error",
        text='Traceback (most recent call last):\n  File "/workspace/get.py", line 9, in <module>\n    out.write(p)\n'
        "OSError: [Errno 5] Input/output error\n",
        exit_code=1,
        cause="disk_error",
        heals=False,
    ),
    Written(
        name="aria2c-not-terminated",
        text="11/23 12:35:12 [NOTICE] Downloading 1 item(s)\n\n"
        "11/23 12:35:13 [ERROR] CUID#7 - Download aborted. URI=https://files.example/m.safetensors\n"
        "Exception: [AbstractCommand.cc:351] errorCode=1 URI=https://files.example/m.safetensors\n"
        "  -> [SocketCore.cc:1018] errorCode=1 SSL/TLS handshake failure: The TLS connection was non-properly "
        "terminated.\n",
        exit_code=1,
        cause="network",
        heals=True,
    ),
    Written(
        name="segfault",
        text="bash: line 3:  4242 Segmentation fault      (core dumped) python3 get.py\n",
        exit_code=139,
        cause="killed",
        heals=True,
    ),
    Written(name="bus-error", text="Bus error (core dumped)\n", exit_code=135, cause="killed", heals=True),
    Written(
        name="apt-held",
        text="Reading package lists...\nE: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 512 "
        "(unattended-upgr)\nN: Be aware that removing the lock file is not a solution and may break your system.\n"
        "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?\n",
        exit_code=100,
        cause="busy",
        heals=True,
    ),
    Written(
        name="apt-clock",
        text="Get:1 http://deb.example stable InRelease [151 kB]\nE: Release file for http://deb.example/dists/"
        "stable/InRelease is not valid yet (invalid for another 2h 3min 4s). Updates for this repository will not be "
        "applied.\n",
        exit_code=100,
        cause="tls",
        heals=False,
        hint="clock",
    ),
    Written(
        name="oom",
        text="bash: line 7:   981 Killed                  civitdl 12345 /workspace/ComfyUI/models/loras\n",
        exit_code=137,
        cause="killed",
        heals=True,
    ),
    Written(
        name="civitai-login",
        text="--2026-11-23 12:35:04--  https://civitai.com/api/download/models/128713\n"
        "Resolving civitai.com (civitai.com)... 104.18.22.206\nConnecting to civitai.com (civitai.com)|104.18.22.206|:"
        "443... connected.\nHTTP request sent, awaiting response... 401 Unauthorized\n\n"
        "Username/Password Authentication Failed.\n",
        exit_code=6,
        cause="auth_required",
        heals=False,
        hint="INSTALLER_CIVITAI_API_KEY",
    ),
    Written(
        name="huggingface-gated",
        text="--2026-11-23 12:35:04--  https://huggingface.co/o/n/resolve/main/m.safetensors\n"
        "Connecting to huggingface.co (huggingface.co)|18.1.2.3|:443... connected.\n"
        "HTTP request sent, awaiting response... 403 Forbidden\n2026-11-23 12:35:04 ERROR 403: Forbidden.\n",
        exit_code=8,
        cause="forbidden",
        heals=False,
        hint="INSTALLER_HF_TOKEN",
    ),
    Written(
        name="git-publickey",
        text="Cloning into 'name'...\ngit@git.example: Permission denied (publickey).\r\n"
        "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\n"
        "and the repository exists.\n",
        exit_code=128,
        cause="auth_required",
        heals=False,
    ),
    Written(
        name="git-rpc",
        text="remote: Enumerating objects: 1234, done.\nReceiving objects:  12% (148/1234), 20.01 MiB | 3.10 MiB/s\r"
        "error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly: CANCEL (err 8)\n"
        "error: 4242 bytes of body are still expected\n"
        "fetch-pack: unexpected disconnect while reading sideband packet\n"
        "fatal: early EOF\nfatal: fetch-pack: invalid index-pack output\n",
        exit_code=128,
        cause="network",
        heals=True,
    ),
    Written(
        name="requests-name",
        text="Loading certificate_style.safetensors\nRead timed out.\n",
        exit_code=1,
        cause="network",
        heals=True,
    ),
    Written(
        name="reqwest-dns",
        text="Error: error sending request for url (https://files.example/m): error trying to connect: dns error: "
        "failed to lookup address information: Temporary failure in name resolution\n",
        exit_code=1,
        cause="dns",
        heals=True,
    ),
    Written(
        name="home",
        text="mkdir: cannot create directory '/nonexistent': Permission denied\n",
        exit_code=1,
        cause="permission",
        heals=False,
    ),
    Written(
        name="json-unauthorized",
        text='{"error":"Unauthorized","message":"The creator of this asset requires you to be logged in"}\n',
        exit_code=1,
        cause="auth_required",
        heals=False,
    ),
    Written(
        name="title-only",
        text="Access Denied Style v2 (Forbidden Edition)\nthe answer was not what was expected\n",
        exit_code=4,
        cause="unknown",
        heals=False,
        error="the answer was not",
    ),
)
