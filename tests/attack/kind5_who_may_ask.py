"""Kind 5: pages, names and addresses that are not let in. What a browser does is in tests/e2e/test_foreign_pages.py."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.attack.arena import TOKEN, Arena, Stopwatch
from tests.attack.attack import attack
from tests.attack.raw_http import answered, status_of
from tests.kit.service import NAMESPACE, ServiceProcess

SOCKET_PATHS = ("/socket.io/?EIO=4&transport=polling", "/socket.io/?EIO=4&transport=websocket")
PATHS = ("/resources/jobs", "/resources", "/readyz", "/openapi.json", "/metrics", *SOCKET_PATHS)
REFUSED = (400, 401, 403, 404, 405)
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def origins(port: int) -> list[str]:
    """None of them is the service's own at this Host (127.0.0.1 and its port)."""
    own = f"127.0.0.1:{port}"
    return [
        "null", "", "http://localhost:8080", f"http://localhost:{port}", f"https://{own}x",
        f"http://{own}.evil.example",
        f"http://{own}@evil.example", f"http://evil.example#{own}", f"http://evil.example/{own}",
        f"http://evil.example?{own}",
        f"http://[::1]:{port}", f"http://[::ffff:127.0.0.1]:{port}", f"http://127.0.0.1.:{port}",
        f"http://127.1:{port}",
        f"http://2130706433:{port}", f"http://0x7f000001:{port}", f"http://127.0.0.1:{port + 1}", "http://127.0.0.1",
        f"file://{own}", f"ftp://{own}", f"chrome-extension://{own}", f"ws://{own}", f"javascript:{own}",
        f"//{own}", own,
        f"http:///{own}", f"http:\\\\{own}", f"http://user@{own}", f"http://user:pass@{own}", f"http://{own}:80",
        f"http://{own}, http://evil.example", f"http://evil.example http://{own}", f" http://evil.example {own}",
        f"HTTP://EVIL.EXAMPLE:{port}", f"http://127.0.0.1%00.evil.example:{port}", f"http://１２７.0.0.1:{port}",
        f"http://127.0.0.1\t.evil.example:{port}", f"http://[{own}", "http://[", "http://:0", "http://x:99999", "*",
    ]  # fmt: skip


HOSTS = [
    "evil.example", "evil.example:5000", "127.0.0.1.evil.example", "localhost.evil.example", "evil.localhost",
    "evil.example@127.0.0.1", "127.0.0.1@evil.example", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "[::]", "127.0.0.2",
    "[::ffff:127.0.0.1]", "[fe80::1%25lo]", "127.0.0.1:5000:5000", "127.0.0.1 evil.example", "evil.example, localhost",
    "localhost\x00.evil.example", "localhost/evil.example", "localhost#evil", "localhost?evil", "localhost\\evil", "",
    "xn--localhost", "ｌｏｃａｌｈｏｓｔ", "localhost%2eevil.example", "[::1", "::1]", "a" * 5_000, "*",
    "metadata.google.internal",
]  # fmt: skip


async def ask(port: int, path: str, headers: str, *, method: str = "GET", body: str = "") -> tuple[int | None, bytes]:
    more = UPGRADE if "websocket" in path else ""
    length = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
    text = f"{method} {path} HTTP/1.1\r\n{headers}{more}{length}\r\n{body}"
    answer = await answered(port, text.encode("utf-8"))
    return status_of(answer), answer


def order(arena: Arena) -> str:
    ordered = {"ssh_host": "127.0.0.1", "ssh_port": 9, "ui_home": "/ui", "resources": ["other/honest.md"]}
    return json.dumps(ordered)


async def jobs_of(service: ServiceProcess) -> set[str]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(f"{service.url}/resources/jobs?host=9.9.9.9&limit=200") as response,
    ):
        return {job["job_id"] for job in (await response.json())["jobs"]}


@attack(
    5,
    "pages of 40 odd origins read every path, join, install and cancel",
    before="on loopback every page at http://localhost:* was let in without a token, also the rented machine's own",
)
async def foreign_origins(arena: Arena) -> str:
    port, asked = arena.service.port, 0
    job_id = await arena.service.install(arena.instance, arena.ui_home, "other/honest.md")
    posts = (("/resources/install", order(arena)), (f"/resources/jobs/{job_id}/cancel", "{}"))
    for origin in origins(port):
        headers = f"Host: 127.0.0.1:{port}\r\nOrigin: {origin}\r\n"
        for path in PATHS:
            status, answer = await ask(port, path, headers)
            assert status in (*REFUSED, None), (origin, path, answer[:200])
            assert b"access-control-allow-origin" not in answer.lower(), (origin, path)
            asked += 1
        for path, body in posts:
            status, answer = await ask(
                port, path, headers + "Content-Type: application/json\r\n", method="POST", body=body
            )
            assert status in (*REFUSED, None), (origin, path, answer[:200])
            asked += 1
    assert (await arena.service.ended(job_id))["state"] == "completed"
    return f"{asked} questions, all refused"


@attack(5, "names that were rebound to this address: 32 odd Host headers, and X-Forwarded-Host beside a good one")
async def hosts(arena: Arena) -> str:
    port = arena.service.port
    for host in HOSTS:
        for path in ("/resources/jobs", SOCKET_PATHS[0], "/"):
            status, answer = await ask(port, path, f"Host: {host}\r\n")
            assert status in (*REFUSED, None), (host, path, answer[:300])
    # None: HTTP/1.1 without a Host; two of them.
    for headers in (
        "",
        f"Host: 127.0.0.1:{port}\r\nHost: evil.example\r\n",
        f"Host: evil.example\r\nHost: 127.0.0.1:{port}\r\n",
    ):
        status, answer = await ask(port, "/resources/jobs", headers)
        assert status in (*REFUSED, None), (headers, answer[:300])
    good = f"Host: evil.example\r\nX-Forwarded-Host: 127.0.0.1:{port}\r\nForwarded: host=127.0.0.1\r\n"
    status, _ = await ask(port, "/resources/jobs", good)
    assert status in REFUSED
    origin = f"Host: 127.0.0.1:{port}\r\nX-Forwarded-Host: evil.example\r\nOrigin: http://evil.example\r\n"
    status, _ = await ask(port, "/resources/jobs", origin)
    assert status in REFUSED
    # In the line of the request itself, where a proxy's client may put a name.
    line = "GET http://evil.example/resources/jobs HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    assert status_of(await answered(port, line.encode())) in (*REFUSED, None)
    return f"{len(HOSTS) + 6} names, all refused"


@attack(5, "requests of other sites without an Origin: Sec-Fetch-* in every combination")
async def fetch_metadata(arena: Arena) -> str:
    port, refused = arena.service.port, 0
    host = f"Host: 127.0.0.1:{port}\r\n"
    for site in ("cross-site", "same-site", "CROSS-SITE", "Same-Origin", "", "none, cross-site", "x"):
        for mode in ("no-cors", "cors", "navigate", "websocket", "same-origin", ""):
            for destination in ("script", "image", "iframe", "embed", "document", "empty", ""):
                fetched = f"{host}Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}\r\nSec-Fetch-Dest: {destination}\r\n"
                if (mode, destination) == ("navigate", "document"):
                    status, _ = await ask(port, "/resources/install", fetched, method="POST", body="{}")
                else:
                    status, _ = await ask(port, arena.chance.choice(PATHS), fetched)
                assert status in REFUSED, (site, mode, destination)
                refused += 1
    return f"{refused} combinations, all refused"


@attack(5, "a page sends what needs no preflight: text/plain, forms, none, and methods in odd spellings")
async def without_preflight(arena: Arena) -> str:
    port = arena.service.port
    host = f"Host: 127.0.0.1:{port}\r\n"
    kinds = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "",
             "application/jsonx",
             "text/plain; application/json", "application/json\x0bx")  # fmt: skip
    for kind in kinds:
        status, answer = await ask(
            port, "/resources/install", f"{host}Content-Type: {kind}\r\n", method="POST", body=order(arena)
        )
        assert status in (400, 415), (kind, answer[:300])
    methods = ("GET", "HEAD", "PUT", "TRACE", "CONNECT", "post", "PoST", "OPTIONS", "X" * 200)
    for method in methods:
        for override in ("", "X-HTTP-Method-Override: POST\r\n", "X-Method-Override: POST\r\n"):
            text = f"{method} /resources/install HTTP/1.1\r\n{host}{override}Content-Type: application/json\r\n"
            body = order(arena)
            answer = await answered(port, f"{text}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            assert status_of(answer) in (*REFUSED, 204, None), (method, answer[:200])
    return f"{len(kinds)} types, {3 * len(methods)} methods"


@attack(5, "paths that look open, and others that look like Socket.IO's, reach what needs the token")
async def paths(arena: Arena) -> str:
    tried = [
        "/healthz/../resources/jobs", "/healthz/%2e%2e/resources/jobs", "/healthz%2f..%2fresources/jobs",
        "//resources/jobs",
        "/socket.io/../resources/jobs", "/socket.io/%2e%2e/resources/jobs", "/socket.io//resources/jobs",
        "/./resources/jobs",
        "/resources/jobs/", "/resources/jobs?x=/healthz", "/resources/jobs;/healthz", "/resources/jobs#/healthz",
        "/RESOURCES/JOBS", "/resources%2fjobs", "/resources/jobs%00", "/readyz;/resources/jobs",
        "/resources/../resources/jobs",
        "/resources/other/../../resources/jobs", "/socket.io/..%5c../resources/jobs", "/docs/../resources/jobs", "*",
        "/resources/" + "../" * 40 + "etc/passwd.md", "/resources/%2e%2e/%2e%2e/etc/passwd.md",
        "/resources/..%2f..%2fx.md",
        "/assets/../../../../etc/passwd", "/assets/%2e%2e/%2e%2e/config.py", "/assets//etc/passwd", "/metrics",
        "/openapi.json",
    ]  # fmt: skip
    async with guarded(arena) as (service, job_id):
        host = f"Host: 127.0.0.1:{service.port}\r\n"
        for path in tried:
            status, answer = await ask(service.port, path, host)
            assert job_id.encode() not in answer, path
            assert not re.search(rb"root:|class Settings", answer), path
            assert status != 500, path
            assert status != 200 or b"<!doctype html>" in answer.lower() or b'"status"' in answer, (path, answer[:300])
    return f"{len(tried)} paths, none of them shows a job or a file"


@asynccontextmanager
async def guarded(arena: Arena, **settings: str) -> AsyncIterator[tuple[ServiceProcess, str]]:
    """A service with a token, and a job of it that no stranger may see."""
    more = {"INSTALLER_API_TOKEN": TOKEN, "INSTALLER_PRIVATE_TARGETS": "true", **settings}
    async with arena.other_service("guarded", settings=more) as service:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            body = json.loads(order(arena)) | {"ssh_port": arena.instance.port, "ui_home": str(arena.ui_home)}
            async with http.post(f"{service.url}/resources/install", json=body) as response:
                answer = await response.json()
                assert response.status == 202, answer
        yield service, answer["job_id"]


@attack(5, "tokens that are almost the token, in every place that might be asked for one")
async def tokens(arena: Arena) -> str:
    tried = [
        "", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), TOKEN[::-1], f"{TOKEN}\x00", f"'{TOKEN}'", f'"{TOKEN}"',
        f"{TOKEN},{TOKEN}",
        f"{TOKEN} x", "é" * 30, "\udcff", "null", "true", "0", "a" * 7_000,
    ]  # fmt: skip
    asked = 0
    async with guarded(arena) as (service, _job_id):
        host = f"Host: 127.0.0.1:{service.port}\r\n"
        places = ["Authorization: Bearer {}", "Authorization: Bearer  x{}", "Authorization: Token {}",
                  "Authorization: {}",
                  "X-Api-Key: {}", "X-Auth-Token: {}", "Cookie: token={}",
                  "Proxy-Authorization: Bearer {}"]  # fmt: skip
        for token in tried:
            for place in places[:2]:
                raw = f"GET /resources/jobs HTTP/1.1\r\n{host}{place.format(token)}\r\n\r\n"
                answer = await answered(service.port, raw.encode("utf-8", "surrogateescape"))
                assert status_of(answer) in (400, 401, 403, 429, None), (place, token[:50])
                asked += 1
        for place in places[1:]:
            if not place.startswith("Authorization: Bearer"):
                status, _ = await ask(service.port, "/resources/jobs", f"{host}{place.format(TOKEN)}\r\n")
                assert status in (401, 403, 429), place
        for query in (f"token={TOKEN}", f"access_token={TOKEN}", f"api_key={TOKEN}"):
            status, _ = await ask(service.port, f"/resources/jobs?{query}", host)
            assert status in (401, 403, 429), query
        given = (
            '"{}"',
            '["{}"]',
            '{{"token":["{}"]}}',
            '{{"Token":"{}"}}',
            '{{"token":{{"token":"{}"}}}}',
            "null",
            "{{}}",
        )
        guesses = [auth.format(TOKEN) for auth in given]
        assert not any(await asyncio.gather(*(joins(service, guess) for guess in guesses)))
        asked += len(guesses)
    return f"{asked} guesses, none let in"


async def joins(service: ServiceProcess, auth: str) -> bool:
    url = service.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as ws:
        await ws.send_str(f"40{NAMESPACE},{auth}")
        # What the service makes of a wrong one may be silence. It answers in order.
        await ws.send_str("2probe")
        async with asyncio.timeout(60):
            async for message in ws:
                if isinstance(message.data, str) and message.data.startswith(("40", "44", "41", "3")):
                    return message.data.startswith("40")
    return False


@attack(5, "bytes that are not UTF-8, controls and 8,000 characters in every header, and in paths and questions")
async def odd_headers(arena: Arena) -> str:
    names = ("Host", "Origin", "Authorization", "Accept", "Last-Event-ID", "Idempotency-Key", "Content-Type", "Cookie",
             "Sec-Fetch-Site", "X-Forwarded-For", "Referer", "User-Agent", "If-None-Match", "Range", "Accept-Encoding",
             "Content-Encoding", "Expect", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol",
             "Access-Control-Request-Method")  # fmt: skip
    values = (
        b"\xff",
        b"Bearer \xff\xfe",
        b"\xed\xa0\x80",
        b"\x80" * 100,
        b"http://\xff",
        b"a" * 8_000,
        b"\x0b",
        b"\xe2\x80\xae",
        b"\x00",
    )
    seen: dict[int | None, int] = {}
    async with guarded(arena) as (service, job_id):
        for name in names:
            for value in values:
                for path in arena.chance.sample((*PATHS, f"/resources/jobs/{job_id}/events"), 3):
                    given = b"" if name == "Host" else b"Host: 127.0.0.1\r\n"
                    line = f"GET {path} HTTP/1.1\r\n".encode()
                    answer = await answered(service.port, line + given + name.encode() + b": " + value + b"\r\n\r\n")
                    status = status_of(answer)
                    # An Expect that nobody knows is answered by aiohttp itself, before any of our code.
                    assert status is None or status < 500 or name == "Expect", (name, value[:20], path, answer[:300])
                    assert job_id.encode() not in answer
                    seen[status] = seen.get(status, 0) + 1
        for part in (b"\xff", b"%ff", b"%ed%a0%80", b"%00", b"%", b"%zz", b"\xe2\x80\xae", b"a" * 8_000):
            for place in (
                b"/",
                b"/resources/",
                b"/resources/jobs/",
                b"/resources/jobs?host=",
                b"/resources/failures?since=",
            ):
                target = place + part + (b".md" if place == b"/resources/" else b"")
                head = b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                for proof in (b"", f"Authorization: Bearer {TOKEN}\r\n".encode()):
                    status = status_of(await answered(service.port, head + proof + b"\r\n"))
                    assert status is None or status < 500, (target, status)
                    seen[status] = seen.get(status, 0) + 1
        assert "Traceback" not in service.log, service.log[service.log.index("Traceback") - 500 :][:3000]
    return f"{sum(seen.values())} questions: {seen}"


# --- which machines may be named as an instance ---------------------------------------------------------------------

PRIVATE = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "localhost.", "LOCALHOST", "0.0.0.0",
    "::1", "[::1]", "::", "::ffff:127.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:0a00:0001::1", "2001:0:0:0:0:0:80ff:fffe", "fe80::1", "fec0::1",
    "fc00::1", "10.0.0.1",
    "172.16.0.1", "192.168.1.1", "169.254.169.254", "168.63.129.16", "192.0.0.192", "192.88.99.1", "100.64.0.1",
    "100.100.100.200", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "metadata.google.internal",
    "metadata.",
    "fd00:ec2::254", "ff02::1", "100::1", "2001:db8::1", "::ffff:169.254.169.254", "0", "127.0.0.1.", "１２７.0.0.1",
    "fe80::1%lo", "::1%lo", "127.0.0.1%00", "5f00::1", "2001:10::1",
]  # fmt: skip


PROXIED = {"INSTALLER_API_TOKEN": TOKEN, "INSTALLER_MAX_CONCURRENT_JOBS": "200"}


@attack(
    5,
    "behind a proxy with a token, 50 spellings of private, metadata and reserved addresses as an instance",
    before='ssh_host "127.0.0.1" ran a command on the machine of the service',
)
async def private_targets(arena: Arena) -> str:
    # Names of one machine and port are one queue, in which a name that does not exist holds up the next.
    with Listener() as one, Listener() as two, Listener() as three:
        listeners = (one, two, three)
        async with guarded(arena) as (_, _job), arena.other_service("proxied", settings=PROXIED) as service:
            named = [(host, listeners[n % 3].port) for n, host in enumerate(PRIVATE)]
            ids = await asyncio.gather(*(targeted(arena, service, host, port) for host, port in named))
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with aiohttp.ClientSession(headers=headers) as http:
                for host, job_id in zip(PRIVATE, ids, strict=True):
                    if job_id is not None:
                        await refused_in_the_end(http, service, host, job_id)
        assert sum(listener.connections() for listener in listeners) == 0, "the service connected to its own machine"
    return f"{len(PRIVATE)} spellings: {ids.count(None)} refused at once, no connection to any"


class Listener:
    """A port of this machine, on all its addresses, that counts who connects."""

    def __enter__(self) -> Listener:
        self._socket = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self._socket.setblocking(False)
        self.port = int(self._socket.getsockname()[1])
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def connections(self) -> int:
        count = 0
        while True:
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                return count
            connection.close()
            count += 1


async def targeted(arena: Arena, service: ServiceProcess, host: str, port: int) -> str | None:
    """The job's id; None where the request is refused."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    body = json.loads(order(arena)) | {"ssh_host": host, "ssh_port": port}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{service.url}/resources/install", json=body) as response,
    ):
        answer = await response.json()
        assert response.status in (202, 400), (host, answer)
        return answer["job_id"] if response.status == 202 else None


async def refused_in_the_end(http: aiohttp.ClientSession, service: ServiceProcess, host: str, job_id: str) -> None:
    """A name is looked up when the job begins. One that does not exist is tried again; it is nobody's address."""
    watch = Stopwatch()
    while True:
        assert watch.seconds < 60, f"{host}: neither refused nor unknown"
        async with http.get(
            f"{service.url}/resources/jobs/{job_id}/events?type=connecting&type=job_failed"
        ) as response:
            events = (await response.json())["events"]
        if events:
            said = events[-1]
            assert said["type"] == "job_failed" or said["reason"] in ("name_unknown", "no_route"), (host, said)
            return
        await asyncio.sleep(0.1)
