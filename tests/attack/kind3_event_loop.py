"""Kind 3: texts that take long to read, from cards, instances and clients; and calls that block."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import time

import aiohttp

from tests.attack.arena import Arena
from tests.attack.attack import attack
from tests.attack.kind1_appends import BLOCK, FILE, MODEL, ends
from tests.attack.raw_http import answered, status_of
from tests.kit.service import NAMESPACE

CARD_BYTES = 60_000


async def read_again_and_again(arena: Arena, *texts: str) -> tuple[int, int]:
    """The library with these cards, read ten times: how many cards there are, and how many of them are broken."""
    paths = [arena.raw_card(text) for text in texts]
    try:
        for _ in range(10):
            listed = await arena.service.get("/resources")
        async with aiohttp.ClientSession() as http:
            for path in paths:
                async with http.get(f"{arena.service.url}/resources/{path}") as response:
                    assert response.status in (200, 400), path
        return len(listed["resources"]), len(listed["broken"])
    finally:
        for path in paths:
            (arena.cards / path).unlink()


@attack(
    3,
    "cards of 60,000 tildes and a backtick, and of 60 other characters that a pattern may go back over",
    before="everything stopped for 13.5 s at each reading",
)
async def tildes(arena: Arena) -> str:
    units = ["~", "`", "#", "=", "-", "*", "_", "[", "](", "![", "<", "<!--", "&", "\\", "|", "> ", "- ", "1. ",
             " ", "\t",
             "\n", "\n\n", "$", "${", "$(", "'", '"', ";", "&&", "\\\n", "```", "~~~", "# ", "#\n", "---\n",
             "...\n", "a",
             "é", "a=", "wget ", "-O ", "https://a/", "@", "\u200b", "🧨", "\x0b", "\x85", "\u2028"]  # fmt: skip
    cards = []
    for unit in units:
        run = unit * (CARD_BYTES // len(unit))
        cards += [f"---\ntitle: a\n---\n{run}`\n{BLOCK}", f"{run}`\n{BLOCK}", f"# Download\n```bash\n{run}`\n```\n"]
        cards += [f"---\ntitle: {run}\n---\n{BLOCK}", f"---\n{run}"]
    read, broken = await read_again_and_again(arena, *arena.chance.sample(cards, 80))
    return f"80 of {len(cards)} cards of 60 KB, ten times: {read} read, {broken} broken"


@attack(
    3,
    "a size of 1:59:59:…, and what else YAML 1.1 makes of words: merges, anchors, tags, octals, dates, binaries",
    before="GET /resources answered 500 until the card was removed",
)
async def yaml_tricks(arena: Arena) -> str:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    merges = "m0: &m0 {x: 1}\n" + "".join(
        f"m{n}: &m{n} {{<<: [{', '.join(['*m' + str(n - 1)] * 9)}]}}\n" for n in range(1, 12)
    )
    fronts = [
        "size: " + ":".join(["1"] + ["59"] * 20_000), "size: " + "9" * 50_000, "size: 0x" + "f" * 50_000,
        "size: 0b" + "1" * 50_000,
        "size: 1e" + "9" * 50_000, "size: 1_" + "0_" * 25_000, "size: 0" + "7" * 50_000, bomb, merges,
        "x: " + "[" * 30_000,
        "x: " + "{a: " * 10_000, "? " * 20_000, "- " * 20_000 + "a", "&a " * 10_000, "x: &x [*x]", "!" * 50_000,
        "!!python/name:os.system x",
        "x: !<tag:" + "a" * 50_000 + "> y", "x: |" + "9" * 40_000, 'x: "' + "\\" * 50_000 + '"',
        'x: "' + "\\x" * 20_000 + '"', "x: '" + "''" * 25_000,
        "%YAML 1.1\n%TAG ! " + "a" * 10_000, "a: b: " * 10_000, "\n".join(f"k{n}: v" for n in range(8_000)),
        "x: 2001-12-14t21:59:43.10-05:00",
        "x: " + "2001-01-01 " * 4_000, "tags: [" + "a, " * 20_000 + "]",
        "dependencies: [" + "a.md, " * 10_000 + "]", "files:\n" + "- path: a\n" * 5_000,
        "x: " + "yes, " * 10_000, "<<: " * 10_000, "x: \u0085" * 5_000, "size: ~", "size: .inf", "size: -.inf",
        "size: .nan", "title: &t !!set {a, b}",
    ]  # fmt: skip
    read, broken = await read_again_and_again(arena, *(f"---\n{front}\n---\n{BLOCK}" for front in fronts))
    return f"{len(fronts)} cards, ten times: {read} read, {broken} broken"


@attack(3, "a thousand cards that depend on each other in circles and chains, and on names that 500 of them share")
async def dependencies(arena: Arena) -> str:
    folder = arena.cards / "web"
    folder.mkdir()
    try:
        for n in range(600):
            wanted = ", ".join(f"web/c{(n * 7 + k) % 600}.md" for k in range(60))
            text = (
                f"---\ntitle: c{n}\naliases: [same, c{n}x]\ndependencies: [{wanted}]\ninstalls: nothing\n---\n{BLOCK}"
            )
            (folder / f"c{n}.md").write_text(text)
        for n in range(400):
            after = f"dependencies: [web/d{n + 1}.md]\n" if n < 399 else ""
            (folder / f"d{n}.md").write_text(f"---\ntitle: d\n{after}installs: nothing\n---\n{BLOCK}")
        body = {"ssh_host": "127.0.0.1", "ssh_port": 9, "ui_home": "/ui"}
        statuses = []
        for named in (["web/c0.md"], ["web/d0.md"], ["same"], ["c5x"], [f"web/d{n}.md" for n in range(100)]):
            status, _ = await arena.service.post("/resources/install", {**body, "resources": named})
            statuses.append(status)
        assert set(statuses) == {400}, statuses
        for _ in range(3):
            await arena.service.get("/resources")
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    return f"refused: {statuses}"


@attack(
    3,
    "an instance sends 200,000 bytes of noise byte by byte, and a megabyte more, before its login runs anything",
    before="/healthz took 32 s",
)
async def noise(arena: Arena) -> str:
    async def one(size: int, *, drip: bool) -> str:
        job, _ = await arena.lied_to(before="x" * size, drip=drip)
        return f"{job['state']} ({job['cause']})" if job["cause"] else str(job["state"])

    return f"dripped: {await one(200_000, drip=True)}; at once: {await one(900_000, drip=False)}"


@attack(3, "lines of a megabyte, of brackets, of carriage returns, of every tool's beginning, from a card")
async def lines(arena: Arena) -> str:
    script = "\n".join(
        f"head -c 1000000 /dev/zero | tr '\\0' '{character}'; echo"
        for character in ("x", "]", "[", "|", "%", "(", " ", "\\r")
    )
    begins = "\n".join(
        f"printf '%s' {begin!r}; head -c 100000 /dev/zero | tr '\\0' '1'; echo"
        for begin in (
            "Model:  45%|",
            "Length: ",
            "[#2089b0 ",
            "100 1",
            "Saving to: ",
            "authorization: ",
            "https://a@",
            "?token=",
        )
    )
    return await ends(arena, script=f"{script}\n{begins}\nexit 3")


@attack(3, "a verification of 2,000 lines that never end where a line should, and of words of 16 KB")
async def verify_lines(arena: Arena) -> str:
    word = base64.b64encode(b"\xff" * 12_000).decode()
    said = "\n".join(
        f"verify {head} {word}" for head in ("name 0", "said", "bad 0 html", "bad 0 text 5", "missing") * 400
    )
    return await ends(arena, script=MODEL, front=FILE, out=[(r"^verify begin.*$", said)])


@attack(
    3,
    "another user of the machine locks the file of the known hosts while instances are seen for the first time",
    before="everything stood still for 19 s",
)
async def known_hosts_lock(arena: Arena) -> str:
    lock = arena.folder / "known_hosts.lock"
    with open(lock, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # An instance that was never seen: its key must be kept.
        known = (arena.folder / "known_hosts").read_bytes()
        (arena.folder / "known_hosts").write_bytes(b"")
        try:
            job_id = await arena.service.install(arena.liar.sshd, arena.liar_home, arena.new_card("true"))
            begin = time.monotonic()
            while time.monotonic() - begin < 2:
                await arena.service.get("/healthz")
            state = (await arena.service.job(job_id))["state"]
        finally:
            (arena.folder / "known_hosts").write_bytes(known)
            fcntl.flock(file, fcntl.LOCK_UN)
    ended = await arena.service.ended(job_id)
    return f"{state} while it was locked, then {ended['state']}"


@attack(3, "questions that take long to read: digits by the thousand, q-values, cookies, paths, hosts and fingerprints")
async def questions(arena: Arena) -> str:
    port = arena.service.port
    job = "/resources/jobs/" + "a-" * 3_500
    asked = 0
    for path in (
        f"/resources/jobs?cursor={'9' * 7_900}", f"/resources/jobs?limit={'9' * 7_900}",
        f"/resources/jobs?host={'a.' * 3_900}",
        f"/resources/failures?since={'9' * 7_900}", "/resources/failures?since=0001-01-01T00:00:00%2B23:59",
        "/resources/failures?since=9999-12-31T23:59:59-23:59", f"/resources/{'a/' * 3_900}x.md",
        f"/resources/{'..%2f' * 1_500}x.md", job,
        f"/resources/jobs?{'&'.join(f'a{n}=' for n in range(1_500))}", f"/resources/jobs?{'&' * 7_900}",
        "/" * 7_900, "/%" * 3_900,
    ):  # fmt: skip
        answer = await answered(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        status = status_of(answer)
        assert status is None or status < 500, (path[:60], answer[:300])
        asked += 1
    for header in (
        "Accept: " + "a/b;q=0.1," * 780, "Accept: " + ";q=" * 2_600, "Cookie: " + "a=b; " * 1_500,
        "Origin: http://" + "a." * 3_900,
        "Authorization: " + "Bearer " * 1_100, "Last-Event-ID: " + "9" * 7_900,
        "Idempotency-Key: " + "a" * 7_900, "Range: bytes=" + "0-1," * 1_900,
        "Sec-WebSocket-Extensions: " + "permessage-deflate, " * 390, "Forwarded: " + "for=1;" * 1_300,
        "X: " + " " * 7_900, "If-None-Match: " + '"a",' * 1_900,
    ):  # fmt: skip
        text = f"GET /resources/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n\r\n"
        answer = await answered(port, text.encode())
        status = status_of(answer)
        assert status is None or status < 500, (header[:60], answer[:300])
        asked += 1
    for field, value in (
        ("ssh_host", '"' + "a-" * 125 + '"'), ("ssh_host", '"' + "a" * 900_000 + '"'), ("ssh_host",
        '"' + "1:" * 400_000 + '"'),
        ("ssh_port", "9" * 900_000), ("ssh_port", "0." + "0" * 900_000), ("ssh_port", "1e" + "9" * 900_000),
        ("ui_home", '"' + "/" * 900_000 + '"'),
        ("ssh_user", '"' + "a" * 900_000 + '"'), ("host_key_sha256", '"SHA256:' + "A" * 900_000 + '"'),
        ("resources", "[" + '"a.md",' * 100_000 + '"b.md"]'),
        ("resources", '["' + "a/" * 400_000 + '.md"]'), ("x", "[" * 450_000 + "]" * 450_000), ("x",
        "{" * 9_999), ("x", '"' + "\\u0000" * 150_000 + '"'),
        ("x", "{" + ",".join(f'"k{n}":1' for n in range(60_000)) + "}"), ("x" * 900_000, "1"),
    ):  # fmt: skip
        body = f'{{"{field}":{value}}}'
        head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        answer = await answered(
            port, f"POST /resources/install HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n{body}".encode()
        )
        assert status_of(answer) in (400, 404, 413), (field[:60], value[:30], answer[:300])
        asked += 1
    return f"{asked} questions"


@attack(3, "frames of Socket.IO: 64 KB of nesting, digits, dashes, commas, brackets and placeholders")
async def frames(arena: Arena) -> str:
    size = 60_000
    bodies = ["[" * size, "{" * size, '{"a":' * 10_000, "1" * size, "-" * size, "," * size, "51-" * 20_000,
              "[" + "[]," * 20_000,
              '["subscribe_install",' + "[" * 30_000 + "]" * 30_000 + "]",
              '["subscribe_install",{"job_id":"' + "a" * size + '"}]',
              '["subscribe_install",{"job_id":"x","after":' + "9" * size + "}]", '["' + "a" * size + '"]',
              "/" * size, "/a," * 20_000,
              '["subscribe_install",1e' + "9" * size + "]", '["subscribe_install","\\ud800"]', "\x00" * size,
              "￿" * 20_000]  # fmt: skip
    sent = 0
    for kind in (
        "40",
        "41",
        "42",
        "43",
        "44",
        "45",
        "46",
        "4",
        "0",
        "2",
        "3",
        "5",
        "6",
        "9",
        f"42{NAMESPACE},",
        f"45{NAMESPACE},",
    ):
        for body in arena.chance.sample(bodies, 6):
            url = arena.service.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
            async with aiohttp.ClientSession() as http, http.ws_connect(url, max_msg_size=0) as ws:
                await ws.send_str(f"40{NAMESPACE},")
                await ws.send_str(kind + body)
                sent += 1
    return f"{sent} frames"


@attack(3, "forty clients read all of the library, the jobs and the descriptions at once, again and again")
async def many_readers(arena: Arena) -> str:
    async def reader() -> int:
        async with aiohttp.ClientSession() as http:
            for path in ("/resources", "/resources/jobs?limit=200", "/openapi.json", "/metrics", "/resources/failures"):
                async with http.get(arena.service.url + path) as response:
                    await response.read()
                    assert response.status == 200
        return 5

    return f"{sum(await asyncio.gather(*(reader() for _ in range(40))))} answers"
