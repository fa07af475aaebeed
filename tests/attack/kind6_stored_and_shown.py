"""Kind 6: secrets and escapes, in every form, through every text that an instance or a card can send."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from tests.attack.arena import SECRET, TOKEN, Arena
from tests.attack.attack import attack
from tests.attack.kind1_appends import BLOCK, FILE, MODEL
from tests.kit.service import ServiceProcess, check_stream, until

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eetadpu\u2066\u200f\x00\x08\x7f"
# Characters that nobody sees: a person who copies the text has the secret.
UNSEEN = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u034f\u061c\u115f\u3164\ufe0f\U000e0041\x01\t"
UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def forms(secret: str) -> Iterator[str]:
    """The secret as tools print it: each as a piece of a longer text."""
    raw = secret.encode()
    yield secret
    yield quote(secret, safe="")
    yield quote(secret, safe="").lower()
    yield raw.hex()
    yield raw.hex().upper()
    for before in (b"", b"u", b"us:"):
        yield base64.b64encode(before + raw + b"tail").decode()
        yield base64.urlsafe_b64encode(before + raw).decode()
    for unseen in UNSEEN:
        yield unseen.join(secret)
        yield secret[:7] + unseen + secret[7:]
    yield f"\x1b[31m{secret[:9]}\x1b[0m{secret[9:]}"
    yield secret[:9] + "\r" + secret[9:]
    yield f"https://u:{secret}@a.example/x"
    yield f"https://a.example/?api_key={quote(secret)}"
    yield f"Set-Cookie: session={secret}; Path=/"
    yield f"Authorization: Bearer {secret}"


def shows(secret: str, text: str) -> bool:
    """Whether a reader of the text gets the secret."""
    raw = secret.encode()
    seen = "".join(c for c in text if c not in UNSEEN and c.isprintable())
    encoded = [raw.hex(), raw.hex().upper(), quote(secret, safe=""), quote(secret, safe="").lower()]
    encoded += [base64.b64encode(bytes(n) + raw).decode()[(0, 2, 3)[n] : -4] for n in range(3)]
    encoded += [base64.urlsafe_b64encode(bytes(n) + raw).decode()[(0, 2, 3)[n] : -4] for n in range(3)]
    return any(form in seen or form in html.unescape(seen) for form in (secret, *encoded))


async def check_all_that_is_shown(arena: Arena, service: ServiceProcess, job_id: str) -> int:
    """The history in its three forms, the job, the report in both forms, the file and the log: characters looked at."""
    job = f"{service.url}/resources/jobs/{job_id}"
    texts = []
    async with aiohttp.ClientSession() as http:
        for url, accept in (
            (f"{job}/events?limit=10000", "application/json"),
            (f"{job}/events", "application/x-ndjson"),
            (f"{job}/events", "text/event-stream"),
            (f"{job}/events?replay=compact", "application/json"),
            (f"{job}/report", "application/json"),
            (f"{job}/report", "text/html"),
            (job, "application/json"),
            (f"{service.url}/resources/jobs", "application/json"),
            (f"{service.url}/resources/failures", "application/json"),
        ):
            async with http.get(url, headers={"Accept": accept}) as response:
                texts.append(await response.text())
    for text in texts[:1]:
        for event in json.loads(text)["events"]:
            for each in strings(event):
                assert UNWANTED.search(each) is None, f"{event['type']}: {each[:200]!r}"
    folder = Path(service.folder)
    for file in [*folder.glob("installer.sqlite3*"), folder / "service.log"]:
        texts.append(file.read_bytes().decode("utf-8", "replace").replace("\\u00", "%"))
    for text in texts:
        for line in text.split("\n"):
            assert not shows(SECRET, line), line[max(0, line.find("S3cret") - 100) :][:400]
    return sum(map(len, texts))


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from strings(each)


def as_sent(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ALL_FORMS = [f"begin {form} end" for form in forms(SECRET)]


@attack(
    6,
    "a card prints the API key in 60 forms: base64, hex, URL-encoded, with unseen characters, in headers and cookies",
    before="base64, hex, URL-encoding and a CR, LF or zero-width space inside it were stored in clear",
)
async def printed(arena: Arena) -> str:
    text = as_sent("\n".join(ALL_FORMS))
    job_id, state = await lied(arena, "echo HERE; exit 3", out=[("^HERE", text)])
    return f"{state}; none in {await check_all_that_is_shown(arena, arena.service, job_id):,} characters"


async def lied(arena: Arena, script: str, front: str = "", **lies: Any) -> tuple[str, str]:
    job, history = await arena.lied_to(script, front, **lies)
    return history[0]["job_id"], job["state"]


def many_forms(pattern: str, template: str) -> list[tuple[str, str]]:
    lines = [template.replace("@", encoded(form)) for form in [*ALL_FORMS, ESCAPES]]
    return [(pattern, "\n".join(lines))]


@attack(
    6,
    "an instance refuses, lacks a tool, breaks the link: each reason holds the key and escapes",
    before="refused, missing and link_lost.reason were stored with escapes and with the key in clear",
)
async def reasons(arena: Arena) -> str:
    seen = 0
    for form in arena.chance.sample([*ALL_FORMS, ESCAPES + SECRET], 8):
        said = as_sent(f" {arena.chance.choice(['refused', 'missing'])} {form} {ESCAPES}")
        job_id, _ = await lied(arena, "echo x", err=[(r" exit \d+ .*$", said)])
        seen += await check_all_that_is_shown(arena, arena.service, job_id)
    return f"8 jobs, none in {seen:,} characters"


@attack(6, "a verification finds files whose names, words and problems hold the key in every form, and escapes")
async def verified(arena: Arena) -> str:
    words = "\n".join(
        f"verify name {n % 900} {encoded(form)}\nverify bad {n % 900} html {encoded(form)}\n"
        f"verify said {encoded(form)}\n"
        f"verify bad {n % 900} text 5 {encoded(form)}\nverify unlisted {n % 900}\nverify good {n % 900} - - -"
        for n, form in enumerate([*ALL_FORMS, ESCAPES])
    )
    job_id, state = await lied(arena, MODEL, FILE, out=[(r"^verify begin.*$", words)])
    return f"{state}; none in {await check_all_that_is_shown(arena, arena.service, job_id):,} characters"


@attack(6, "the records of runs hold the key and escapes: address, destination, name, warning, half and kept files")
async def records(arena: Arena) -> str:
    lines = []
    for n, form in enumerate([*ALL_FORMS, ESCAPES]):
        word = encoded(form)
        lines += [f"begin t{n} wget 1 file {word} {word}", f"length t{n} 5", f"bytes t{n} 5 {word}", f"warn x {word}"]
        lines += [f"kept t{n} {word} 5", f"file t{n} {word} 5", f"part t{n} {word} 5", f"end t{n} 4"]
    out = [("^HERE", "\n".join(f"@MARK@ {line}" for line in lines))]
    err = [(r" ledger$", " ledger\n" + "\n".join(f"@NONCE@ ledger {line}" for line in lines))]
    job_id, state = await lied(arena, "echo HERE", out=out, err=err)
    return f"{state}; none in {await check_all_that_is_shown(arena, arena.service, job_id):,} characters"


@attack(6, "a login's banner, folders that look like a ComfyUI and half files after a cancel hold the key and escapes")
async def other_texts(arena: Arena) -> str:
    seen = 0
    words = [encoded(form) for form in [*ALL_FORMS, ESCAPES] if len(encoded(form)) < 800]
    for chosen in (words[:5], words[-5:]):
        elsewhere = "ui_home missing\n" + "\n".join(f"elsewhere {word}" for word in chosen)
        job_id, _ = await lied(arena, "echo x", out=[(r"^ui_home .*", elsewhere)], before=as_sent(ESCAPES + SECRET))
        seen += await check_all_that_is_shown(arena, arena.service, job_id)
    said = "\n".join(f"file {word}" for word in words[:20]) + "\nsignalled 1 1"
    arena.liar.lies(out=[(r"^signalled .*", said)])
    job_id = await arena.service.install(arena.liar.sshd, arena.liar_home, arena.new_card("echo here; sleep 60"))
    await until(lambda: arena.liar.sshd.marked_processes("sleep", job_id=job_id))
    await arena.service.post(f"/resources/jobs/{job_id}/cancel", {})
    assert (await arena.service.ended(job_id))["state"] == "cancelled"
    seen += await check_all_that_is_shown(arena, arena.service, job_id)
    return f"3 jobs, none in {seen:,} characters"


@attack(6, "a login that never runs a program prints the key and escapes", is_long=True)
async def menu(arena: Arena) -> str:
    from tests.kit.sshd import Sshd

    folder = arena.folder / "menu"
    folder.mkdir()
    script = folder / "menu"
    instance = Sshd(folder, force_command=str(script))
    text = as_sent(f"{ESCAPES} key {SECRET} {base64.b64encode(SECRET.encode()).decode()}\n").encode("latin-1")
    script.write_text(f"#!/bin/sh\nprintf '%s' {base64.b64encode(text).decode()} | base64 -d\nexit 1\n")
    script.chmod(0o755)
    arena._know(instance)
    await instance.start()
    job_id = await arena.service.install(instance, arena.ui_home, arena.new_card("true"))
    job = await arena.service.ended(job_id)
    assert (job["state"], job["cause"]) == ("failed", "no_shell")
    return f"no_shell; none in {await check_all_that_is_shown(arena, arena.service, job_id):,} characters"


@attack(6, "cards whose titles, warnings and errors hold markup, escapes and the key: the library and its refusals")
async def cards(arena: Arena) -> str:
    paths = []
    for text in (
        ESCAPES,
        f"<img src=x onerror=alert(1)>{SECRET}",
        '"\\e[2J\\u202e"',
        "*a",
        "&a [*a]",
        "!!python/object:os.system",
    ):
        paths.append(arena.raw_card(f"---\ntitle: {text}\nsize: {text}\ninstalls: nothing\n---\n{BLOCK}"))
    async with aiohttp.ClientSession() as http:
        for path in ("/resources", *(f"/resources/{path}" for path in paths)):
            async with http.get(arena.service.url + path) as response:
                assert response.status < 500
                assert response.headers["Content-Type"].startswith("application/json")
                # JSON escapes C0; the rest must not come from an error message of YAML.
                assert UNWANTED.search(json.dumps(await response.json(), ensure_ascii=True)) is None
    states = []
    for path in paths:
        status, answer = await arena.service.post(
            "/resources/install",
            {"ssh_host": "127.0.0.1", "ssh_port": arena.instance.port, "ui_home": "/ui", "resources": [path]},
        )
        states.append(status)
        if status == 202:
            job = await arena.service.ended(answer["job_id"])
            await check_all_that_is_shown(arena, arena.service, answer["job_id"])
            check_stream(await arena.service.history(answer["job_id"]))
            assert job["state"] == "completed"
    for path in paths:
        (arena.cards / path).unlink()
    return f"{len(paths)} cards: {states}"


SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


@attack(
    6,
    "every answer, refusal, page and stream: can it be framed, kept, guessed; does it name versions?",
    before="the report could be framed; nosniff and no-store were missing; Server named versions",
)
async def answers(arena: Arena) -> str:
    job_id = await arena.service.install(arena.instance, arena.ui_home, "other/honest.md")
    await arena.service.ended(job_id)
    job = f"/resources/jobs/{job_id}"
    paths = ["/", "/docs", "/healthz", "/readyz", "/metrics", "/openapi.json", "/asyncapi.json", "/resources",
             "/nowhere",
             "/resources/jobs", job, f"{job}/events", f"{job}/report", f"{job}/report?format=html",
             "/resources/failures",
             "/resources/none.md", "/socket.io/?EIO=4&transport=polling", "/socket.io/?EIO=3",
             "/socket.io/"]  # fmt: skip
    looked = 0
    async with aiohttp.ClientSession() as http:
        for path in paths:
            for method in ("GET", "HEAD", "POST", "OPTIONS", "DELETE" if path != job else "PUT"):
                for headers in ({}, {"Origin": "http://evil.example"}, {"Accept": "text/event-stream"}):
                    async with http.request(method, arena.service.url + path, headers=headers) as response:
                        where = f"{method} {path} {headers}: {response.status} {dict(response.headers)}"
                        assert "/" not in response.headers.get("Server", ""), where
                        for name, value in SAFE.items():
                            assert response.headers.get(name) == value, where
                        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"], where
                        if "json" in response.headers.get("Content-Type", ""):
                            assert response.headers["Cache-Control"] == "no-store", where
                        looked += 1
    return f"{looked} answers"


@attack(
    6,
    "what other users of the two machines can read: the database, the known hosts, the files on the instance",
    before="the database was 0644 in a 0755 folder; KEEP_REMOTE_LOGS left the token and the tool's config",
)
async def other_users(arena: Arena) -> str:
    keys = {
        "INSTALLER_CIVITAI_API_KEY": SECRET,
        "INSTALLER_HF_TOKEN": "hf_" + SECRET,
        "INSTALLER_KEEP_REMOTE_LOGS": "true",
    }
    async with arena.other_service("kept", settings=keys) as service:
        job_id = await service.install(arena.instance, arena.ui_home, arena.new_card("echo x; sleep 0.5"))
        state = arena.instance.home / ".local/state/resource-installer" / job_id
        await until(lambda: (state / "1-1/log").exists())
        while_it_runs = [p for p in state.rglob("*") if p.is_file() and stat.S_IMODE(p.stat().st_mode) & 0o077]
        assert while_it_runs == [] or stat.S_IMODE(state.parent.stat().st_mode) == 0o700
        assert (await service.ended(job_id))["state"] == "completed"
        left = [path for path in state.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
        assert left == [], left
        # A supervisor that is killed forgets nothing by itself: whoever finds the attempt does.
        killed = await service.install(arena.instance, arena.ui_home, arena.new_card("echo x; sleep 60"))
        await until(lambda: arena.instance.marked_processes("sleep", job_id=killed))
        arena.instance.kill_marked(job_id=killed)
        assert (await service.ended(killed))["state"] == "failed"
        left = [path for path in state.parent.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
        assert left == [], left
        assert SECRET not in subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True).stdout
        for file in service.folder.glob("installer.sqlite3*"):
            assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
        await asyncio.sleep(0)
    return "0600 here, 0700 there; no key is left, none was in a command line"


@attack(6, "the token, guessed, sent and logged: no answer, event or line of the log shows it")
async def token_in_logs(arena: Arena) -> str:
    async with arena.other_service(
        "token", settings={"INSTALLER_API_TOKEN": TOKEN, "INSTALLER_LOG_LEVEL": "debug"}
    ) as service:
        shown = ""
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
            for path in ("/resources/jobs", f"/resources/jobs/{TOKEN}", f"/{TOKEN}", f"/resources/jobs?host={TOKEN}"):
                async with http.get(service.url + path) as response:
                    if TOKEN not in path:
                        shown += await response.text()
            body = {"ssh_host": "203.0.113.1", "ssh_port": 22, "ui_home": f"/{TOKEN}", "resources": [TOKEN]}
            async with http.post(f"{service.url}/resources/install", json=body) as response:
                await response.read()
        await service.terminate()
        assert TOKEN not in shown + service.log
    return "not shown"
