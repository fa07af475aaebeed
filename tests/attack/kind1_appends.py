"""Kind 1: what cannot be stored, from everywhere a number or a text comes from."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import aiohttp

from tests.attack.arena import Arena
from tests.attack.attack import attack
from tests.kit.service import check_stream, until

# What a fuzzed line or field may hold.
NUMBERS = ["9" * n for n in (1, 14, 15, 16, 18, 19, 20, 40, 400)] + [
    str(2**53), str(2**53 + 1), str(2**63 - 1), str(2**63), str(2**64), "-1", "-0", "0x10", "1e999", "-1e999", "nan",
    "NaN", "inf", "Infinity", "1_000", "٣", "²", "", "+5", " 5", "1.5", "00000000000000000000000001",
]  # fmt: skip
TEXTS = [
    "\x00", "\ufffd", "\x1b[2J", "\x1b]0;x\x07", "\r", "\u2028", "\u202e", "\u200b", "\ufeff", "💥" * 50, "a" * 70_000,
    "'\"<script>alert(1)</script>", "../../etc/passwd", "{{7*7}}", "%s%n%x", "\ud800", "\udfff\ud800", "￿", "\x7f\x9b",
]  # fmt: skip
FILE = "files:\n  - path: a.bin\n"
# The word curl: the card leaves a file.
MODEL = ': curl; head -c 300000 /dev/urandom >"$UI_HOME/a.bin"'
SAME = "the same"
SECONDS_MAX = 60


async def ends(arena: Arena, **lies: Any) -> str:
    """The job on the lying instance ends, whatever was said, and all its numbers can be read by everybody."""
    job, history = await arena.lied_to(**lies)
    check_numbers(history)
    return f"{job['state']} ({job['cause']})" if job["cause"] else str(job["state"])


def check_numbers(history: list[Any]) -> None:
    """All are exact in JavaScript, and the whole is JSON without its extensions."""

    def refused(name: str) -> Any:
        raise AssertionError(f"{name} is stored")

    def look(value: Any) -> None:
        if isinstance(value, int | float):
            assert abs(value) <= 2**53, value
        elif isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                look(each)

    look(json.loads(json.dumps(history), parse_constant=refused))


def words(arena: Arena, *heads: str, count: int, values_max: int = 5) -> str:
    """Lines of these first words, each wrong in another way; as the liar takes them."""
    lines = []
    for _ in range(count):
        values = []
        for _ in range(arena.chance.randrange(values_max + 1)):
            text = arena.chance.choice(TEXTS).encode("utf-8", "surrogatepass")
            plain = [*NUMBERS, base64.b64encode(text).decode(), "html", "size", "sha256", "civitdl", "=", "A", "-", "1"]
            values.append(arena.chance.choice(plain))
        lines.append(" ".join([arena.chance.choice(heads), *values]))
    return "\n".join(lines).encode().decode("latin-1")


# --- what an instance says -------------------------------------------------------------------------------------------


@attack(
    1,
    "an instance begins a file of 9,999,999,999,999,999,999 bytes",
    before="30 jobs of the attacker in 12 s: 6 of 6 unrelated installs failed",
)
async def verify_begin(arena: Arena) -> str:
    said = [(r"^verify begin \d+ \d+", "verify begin 0 9999999999999999999\nverify begin 0 9223372036854775808")]
    return await ends(arena, script=MODEL, front=FILE, out=said)


@attack(1, "an instance is at byte 9,999,999,999,999,999,999 of a file", before=SAME)
async def verify_at(arena: Arena) -> str:
    said = [(r"^verify begin (\d+) \d+", "verify begin 0 300000\nverify at 0 9999999999999999999")]
    return await ends(arena, script=MODEL, front=FILE, out=said)


@attack(1, "300 fuzzed lines in place of each line of a verification")
async def verify_fuzz(arena: Arena) -> str:
    fuzzed = words(
        arena, *(f"verify {w}" for w in ("begin", "at", "good", "bad", "name", "end", "said", "x")), count=300
    )
    return await ends(arena, script=MODEL, front=FILE, out=[(r"^verify .*$", "verify name 0 YQ==\n" + fuzzed)])


@attack(1, "300 fuzzed records of runs in the log of a card")
async def recorder_fuzz(arena: Arena) -> str:
    heads = ("begin", "length", "bytes", "idle", "kept", "file", "part", "end", "room", "warn", "x")
    fuzzed = words(arena, *heads, count=300, values_max=8).replace("\n", "\n@MARK@ ")
    return await ends(arena, script="echo HERE", out=[("^HERE", "@MARK@ " + fuzzed)])


@attack(1, "200 fuzzed records in the ledger, after the nonce")
async def ledger_fuzz(arena: Arena) -> str:
    fuzzed = words(arena, "begin", "length", "kept", "file", "part", "end", "room", "warn", count=200, values_max=8)
    return await ends(
        arena,
        script=MODEL,
        front=FILE,
        err=[(r" ledger$", " ledger\n@NONCE@ ledger " + fuzzed.replace("\n", "\n@NONCE@ ledger "))],
    )


@attack(1, "an attempt ends with status 999, 10^18 bytes free or needed, and with words that do not exist")
async def end_fuzz(arena: Arena) -> str:
    seen = []
    ends_said = ["exit 999 2 -", "exit 0 0 " + "9" * 40, "room " + "9" * 18 + " " + "9" * 18, "refused " + "\x00" * 9]
    ends_said += ["missing " + "\x1b[2J" * 2000, "exit 0", "", "exit -1 0 1", "exit ٣ 0 1".encode().decode("latin-1")]
    for said in ends_said:
        seen.append(await ends(arena, err=[(r" exit \d+ .*$", " " + said)]))
    return f"{len(seen)} ends, each with a cause of its own: {', '.join(sorted(set(seen)))}"


@attack(1, "an instance names folders and half files in base64 that is none")
async def bad_base64(arena: Arena) -> str:
    missing = str(arena.folder / "nowhere")
    seen = []
    for word in ("A", "AAAAA", "=", "=AAA", "A=AA", "//79", "7aCA"):
        arena.liar.lies(out=[(r"^ui_home .*", f"ui_home missing\nelsewhere {word}")])
        job_id = await arena.service.install(arena.liar.sshd, missing, arena.new_card("echo x"))
        job = await arena.service.ended(job_id)
        history = await arena.service.history(job_id)
        check_stream(history)
        assert "the service failed" not in str(job["error"]), job["error"]
        seen.append(job["state"])
    return f"{len(seen)} jobs: {', '.join(sorted(set(seen)))}"


@attack(1, "an instance answers a cancel with half files in base64 that is none, and too many processes")
async def bad_cancel(arena: Arena) -> str:
    arena.liar.lies(out=[(r"^signalled .*", "file A\nfile =\nfile 7aCA\nsignalled 1 999999999")])
    job_id = await arena.service.install(arena.liar.sshd, arena.liar_home, arena.new_card("echo here; sleep 60"))
    await until(lambda: arena.liar.sshd.marked_processes("sleep", job_id=job_id))
    status, _ = await arena.service.post(f"/resources/jobs/{job_id}/cancel", {})
    assert status == 202
    job = await arena.service.ended(job_id)
    assert job["state"] == "cancelled"
    assert "the service failed" not in arena.service.log.rpartition(job_id)[2]
    return "cancelled"


@attack(1, "an instance lists a million jobs, and names that are none")
async def many_jobs(arena: Arena) -> str:
    listed = "\n".join(f"{n:08x}-0000-4000-8000-{n:012x}" for n in range(20_000)) + "\n" + "\n".join(TEXTS[:8])
    said = listed.encode("utf-8", "surrogatepass").decode("latin-1")
    return await ends(arena, out=[(r"^ui_home .*", said * 3 + "\nui_home ready")])


@attack(1, "a card prints bars with endless, negative and impossible numbers, of every tool")
async def bars(arena: Arena) -> str:
    lines = []
    for number in NUMBERS:
        lines += [
            f"\\rModel:  {number}%|####5     | {number}M/{number}M [{number}:00<{number}:00, {number}MiB/s]",
            f"Length: {number} ({number}G) [x/y]",
            f"\\rm.bin {number}%[==> ] {number}  {number}MB/s  eta {number}s",
            f"\\r{number} {number} {number} {number} 0 0 {number} 0 0:00:{number} 0:00:00 0:00:{number} {number}",
            f"[#2089b0 {number}MiB/{number}MiB({number}%) CN:1 DL:{number}MiB ETA:{number}s]",
            f"m: {number}%|##  | {number}/{number} [{number}:{number}<{number}, {number}it/s]",
        ]
    text = "\\n".join(lines)
    script = "cat <<'EOF' | while IFS= read -r l; do printf \"$l\\n\"; done\n" + text.replace("\\n", "\n") + "\nEOF"
    job, history = await arena.lied_to(script=script.replace("%|", "%%|").replace("%[", "%%[").replace("%)", "%%)"))
    check_numbers(history)
    return f"{job['state']}, {len(history)} events"


# --- what a card says ------------------------------------------------------------------------------------------------


@attack(
    1,
    "a card of 9,223,372,036,854,775,808 bytes, installed by 8 clients at once",
    before="4 of 4 orphaned, running for ever, the queue blocked",
)
async def card_size(arena: Arena) -> str:
    card = arena.new_card("echo x", "size: 9223372036854775808\n")
    ids = await asyncio.gather(*(arena.service.install(arena.liar.sshd, arena.liar_home, card) for _ in range(8)))
    states = [(await arena.service.ended(job_id))["state"] for job_id in ids]
    assert states == ["completed"] * 8
    return "8 of 8 completed; the size is left out, with a warning"


@attack(1, "two files of 8 · 10^18 bytes each on a card: their sum is over 2^63", before="the jobs hung")
async def card_sum(arena: Arena) -> str:
    front = "files:\n  - path: a\n    size: 8000000000000000000\n  - path: b\n    size: 8000000000000000000\n"
    card = arena.new_card("true", front)
    status, answer = await install(arena, card)
    assert status == 400, answer
    many = "files:\n" + "".join(f"  - path: f{n}\n    size: 999999999999999\n" for n in range(1000))
    status, answer = await install(arena, arena.new_card(": curl", many))
    assert status in (202, 400), answer
    if status == 202:
        assert (await arena.service.ended(answer["job_id"]))["state"] == "failed"
    return f"400; a thousand of 10^15: {status}"


@attack(1, "cards with every odd number and text in every field")
async def card_fields(arena: Arena) -> str:
    fields = ("title", "size", "version", "tags", "url", "image", "AIR", "type", "dependencies", "aliases", "sha256")
    cards = []
    for field in fields:
        for value in (*NUMBERS, *TEXTS, ".inf", ".nan", "!!float 1e999", "!!binary //8=", '"\\uD800"', '"\\0"', "~"):
            value = value if len(value) < 5_000 else value[:5_000]
            cards.append(arena.raw_card(f"---\ntitle: a\n{field}: {value}\ninstalls: nothing\n---\n{BLOCK}"))
    listed = await arena.service.get("/resources")
    known = {card["path"] for card in listed["resources"]}
    statuses: dict[int, int] = {}
    for card in arena.chance.sample(cards, 60):
        status, _ = await install(arena, card, port=9)
        statuses[status] = statuses.get(status, 0) + 1
    assert set(statuses) <= {202, 400, 404}, statuses
    for path in cards:
        (arena.cards / path).unlink()
    return f"{len(cards)} cards, {len(known & set(cards))} of them can be read; 60 installs: {statuses}"


BLOCK = "# Download\n```bash\ntrue\n```\n"


async def install(arena: Arena, *cards: str, port: int | None = None) -> tuple[int, Any]:
    body = {
        "ssh_host": "127.0.0.1",
        "ssh_port": port or arena.liar.sshd.port,
        "ui_home": str(arena.ui_home),
        "resources": list(cards),
    }
    return await arena.service.post("/resources/install", body)


# --- what a client says ----------------------------------------------------------------------------------------------

VALUES = (
    *NUMBERS, "null", "true", "[]", "{}", '""', '"\\ud800"', '"\\u0000"', '"\\udc00\\ud800"', "-9223372036854775809",
    "1.0", "22.0", "1e400", "[" * 31 + "]" * 31, "[" * 5000 + "]" * 5000, '{"a":' * 40 + "1" + "}" * 40,
    '"' + "a" * 200_000 + '"', '["a.md","a.md"]', '"\\u202e"', '"/\\ud83d\\ude00"', '"/' + "é" * 3000 + '"',
)  # fmt: skip
FIELDS = (
    "ssh_host", "ssh_port", "ssh_user", "ui_home", "resources", "host_key_sha256", "parallel", "bandwidth_limit",
    "max_attempts", "verify", "reinstall", "x",
)  # fmt: skip


@attack(1, "every odd value in every field of an install's body")
async def install_bodies(arena: Arena) -> str:
    # No address of a job that is accepted can be reached.
    known = {"ssh_host": '"127.0.0.1"', "ssh_port": "9", "ui_home": '"/ui"', "resources": '["other/honest.md"]'}
    statuses: dict[int, int] = {}
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as http:
        for field in FIELDS:
            for value in VALUES:
                fields = ",".join(f'"{name}":{text}' for name, text in {**known, field: value}.items())
                body = ("{" + fields + "}").encode("utf-8", "surrogatepass")
                async with http.post(f"{arena.service.url}/resources/install", data=body) as response:
                    answer = await response.json()
                    assert response.status in (202, 400, 404), (field, value[:50], answer)
                    statuses[response.status] = statuses.get(response.status, 0) + 1
                    if response.status == 202:
                        await arena.service.post(f"/resources/jobs/{answer['job_id']}/cancel", {})
    return f"{sum(statuses.values())} bodies: {statuses}"


@attack(1, "odd values in the bodies of the controls, and in the parameters and headers of all questions")
async def controls_and_parameters(arena: Arena) -> str:
    job_id = await arena.service.install(arena.instance, arena.ui_home, "other/honest.md")
    await arena.service.ended(job_id)
    job = f"{arena.service.url}/resources/jobs/{job_id}"
    seen: dict[int, int] = {}
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as http:

        async def ask(method: str, url: str, **more: Any) -> None:
            async with http.request(method, url, **more) as response:
                await response.read()
                assert response.status < 500, (url, more)
                seen[response.status] = seen.get(response.status, 0) + 1

        for value in VALUES:
            for path, name in (("move", "before"), ("retry", "resources"), ("pause", "x"), ("cancel", "x")):
                body = f'{{"{name}":{value}}}'.encode("utf-8", "surrogatepass")
                await ask("POST", f"{job}/{path}", data=body)
            await ask("PATCH", job, data=f'{{"bandwidth_limit":{value}}}'.encode())
        for value in (*NUMBERS, *(text[:2000] for text in TEXTS)):
            text = value.encode("utf-8", "replace").decode()
            for name in ("after", "limit", "type", "replay"):
                await ask("GET", f"{job}/events", params={name: text})
            for name in ("state", "host", "cursor", "limit", "since"):
                await ask("GET", f"{arena.service.url}/resources/jobs", params={name: text})
            header = text.encode("ascii", "replace").decode().translate(dict.fromkeys((*range(32), 127), "?"))
            await ask("GET", f"{job}/events", headers={"Last-Event-ID": header, "Accept": "text/event-stream"})
            await ask("GET", f"{job}/report", headers={"Accept": header, "If-None-Match": header, "Range": header})
    return f"{sum(seen.values())} questions: {seen}"
