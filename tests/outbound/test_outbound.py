"""What the service fetches and what it never does: a real site on loopback, and resolvers that say what they like."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from service.errors import AddressRefused, OutboundError
from service.outbound import Outbound
from service.outbound.fetcher import REDIRECTS_MAX
from service.outbound.targets import read_address
from tests.kit.ports import free_port

PUBLIC = "93.184.216.34"
TOKEN = "token-of-somebody"


class Site:
    """What was asked for, with the tokens that came along."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.port = 0

    def url(self, path: str = "/", host: str = "site.example") -> str:
        return f"http://{host}:{self.port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((f"{request.host.partition(':')[0]}{request.path}", request.headers.get("Authorization")))
        kind = request.path.strip("/").partition("/")[0]
        if kind == "to":
            raise web.HTTPFound(request.query["url"])
        if kind == "loop":
            raise web.HTTPFound(f"/loop/{len(self.asked)}")
        if kind == "packed":
            packed = gzip.compress(bytes(5_000_000))
            return web.Response(body=packed, headers={"Content-Encoding": "gzip"})
        if kind == "slow":
            await asyncio.sleep(30)
        if kind == "endless":
            response = web.StreamResponse()
            await response.prepare(request)
            while request.transport is not None:
                await response.write(bytes(10_000))
            return response
        return web.Response(text="hello")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.port = int(runner.addresses[0][1])
    yield found
    await runner.cleanup()


async def to_loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


async def to_public(host: str, port: int) -> Sequence[str]:
    return [PUBLIC]


def let_in(site: Site, **more: object) -> Outbound:
    """Lets in the site alone, whatever its name."""
    return Outbound(allowed=[f"127.0.0.1/32:{site.port}", f"127.0.0.1:{site.port}"], resolve=to_loopback, **more)  # type: ignore[arg-type]


async def test_it_fetches_what_is_let_in(site: Site) -> None:
    answer = await let_in(site).fetch(site.url("/a"), bytes_max=100)
    assert (answer.status, answer.body, str(answer.url)) == (200, b"hello", site.url("/a"))
    head = await let_in(site).fetch(site.url("/a"), bytes_max=0, method="HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "5")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::1]",
        "[2001:0:7f00:1::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "metadata.google.internal",
    ],
)
async def test_no_private_address_however_it_is_written(host: str) -> None:
    """Without a resolver of its own: the machine's answers for the numbers that are no addresses to Python."""
    port = free_port()
    with pytest.raises(AddressRefused, match="INSTALLER_OUTBOUND_TARGETS"):
        await Outbound().fetch(f"http://{host}:{port}/", bytes_max=1)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://site.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:70/",
        "//site.example/",
        "site.example",
        "",
        "http://",
        "http://user:password@site.example/",
        "http://site.example:0/",
        "http://site.example:70000/",
        f"http://site.example/{'a' * 2_100}",
    ],
)
async def test_what_is_no_address_of_a_site(url: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        await Outbound(resolve=to_public).fetch(url, bytes_max=1)
    assert "password@" not in str(refused.value)


async def test_metadata_and_link_local_are_refused_even_where_they_are_listed() -> None:
    outbound = Outbound(allowed=["0.0.0.0/0", "169.254.169.254", "::/0"])
    for host in ("169.254.169.254", "[fe80::1]", "224.0.0.1", "168.63.129.16"):
        with pytest.raises(AddressRefused):
            await outbound.fetch(f"http://{host}/", bytes_max=1)


async def test_a_name_may_not_lead_to_a_private_address(site: Site) -> None:
    outbound = Outbound(resolve=to_loopback)
    with pytest.raises(AddressRefused, match=r"site\.example \(127\.0\.0\.1\)"):
        await outbound.fetch(site.url(), bytes_max=1)
    assert site.asked == []


async def test_a_name_that_is_listed_may(site: Site) -> None:
    outbound = Outbound(allowed=[f"site.example:{site.port}"], resolve=to_loopback)
    assert (await outbound.fetch(site.url(), bytes_max=10)).status == 200
    with pytest.raises(AddressRefused):
        await outbound.fetch(site.url(host="other.example"), bytes_max=10)


async def test_an_answer_that_changes_is_checked_each_time(site: Site) -> None:
    """A name that rebinds gives a good address to who checks and a bad one to who connects. Here a connection has one
    look-up, and goes to the very address that was checked."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    asked: list[str] = []

    async def changing(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    outbound = Outbound(allowed=[f"127.0.0.1:{site.port}", "127.0.0.1/32"], resolve=changing)
    assert (await outbound.fetch(site.url(), bytes_max=10)).status == 200
    assert asked == ["site.example"]
    with pytest.raises(AddressRefused, match=r"127\.0\.0\.2"):
        await outbound.fetch(site.url(), bytes_max=10)
    assert len(site.asked) == 1


async def test_each_redirect_is_looked_up_anew(site: Site) -> None:
    """The same name leads somewhere else at the second look-up: the first connection is not used again."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])

    async def changing(host: str, port: int) -> Sequence[str]:
        return next(answers)

    outbound = Outbound(allowed=[f"127.0.0.1/32:{site.port}", "127.0.0.1"], resolve=changing)
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
        await outbound.fetch(site.url("/to?url=/again"), bytes_max=1)
    assert [path for path, _ in site.asked] == ["site.example/to"]


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest", "http://127.0.0.1:1/", "http://[::1]:1/", "file:///x"]
)
async def test_no_redirect_leads_to_a_refused_address(site: Site, target: str) -> None:
    with pytest.raises(AddressRefused):
        await let_in(site).fetch(str(URL(site.url("/to")).with_query(url=target)), bytes_max=1)
    assert len(site.asked) == 1


async def test_redirects_are_followed_and_bounded(site: Site) -> None:
    target = site.url("/b", host="other.example")
    answer = await let_in(site).fetch(str(URL(site.url("/to")).with_query(url=target)), bytes_max=10)
    assert (answer.body, str(answer.url)) == (b"hello", target)
    site.asked.clear()
    with pytest.raises(OutboundError, match="sent the service on more than"):
        await let_in(site).fetch(site.url("/loop/0"), bytes_max=10)
    assert len(site.asked) == REDIRECTS_MAX + 1
    kept = await let_in(site).fetch(site.url("/loop/0"), bytes_max=10, follows=False)
    assert (kept.status, kept.body) == (302, b"")


async def test_a_token_goes_to_its_own_origin_alone(site: Site) -> None:
    outbound = let_in(site, tokens=lambda: {site.url(""): TOKEN})
    same = str(URL(site.url("/to")).with_query(url="/b"))
    other = str(URL(site.url("/to")).with_query(url=site.url("/c", host="other.example")))
    await outbound.fetch(same, bytes_max=10)
    await outbound.fetch(other, bytes_max=10)
    bearer = f"Bearer {TOKEN}"
    assert site.asked == [
        ("site.example/to", bearer),
        ("site.example/b", bearer),
        ("site.example/to", bearer),
        ("other.example/c", None),
    ]
    # The same host at another port is another origin.
    elsewhere = let_in(site, tokens=lambda: {f"http://site.example:{site.port + 1}": TOKEN})
    await elsewhere.fetch(site.url("/d"), bytes_max=10)
    assert site.asked[-1] == ("site.example/d", None)


async def test_an_answer_is_bounded(site: Site) -> None:
    with pytest.raises(OutboundError, match="more than 50000 bytes"):
        await let_in(site).fetch(site.url("/endless"), bytes_max=50_000)
    with pytest.raises(OutboundError, match="compressed"):
        await let_in(site).fetch(site.url("/packed"), bytes_max=1_000_000)


async def test_a_slow_site_is_given_up(site: Site) -> None:
    with pytest.raises(OutboundError, match="did not answer in time"):
        await let_in(site, seconds_max=0.2).fetch(site.url("/slow"), bytes_max=10)


async def test_a_resolver_that_hangs_is_given_up() -> None:
    async def hanging(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(30)
        return []

    with pytest.raises(OutboundError, match="did not answer in time"):
        await Outbound(resolve=hanging, seconds_max=0.1).fetch("http://site.example/", bytes_max=1)


async def test_a_name_without_an_address_is_no_answer() -> None:
    async def nothing(host: str, port: int) -> Sequence[str]:
        return []

    async def failing(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for resolve in (nothing, failing):
        with pytest.raises(OutboundError, match=r"site\.example does not answer: "):
            await Outbound(resolve=resolve).fetch("http://site.example/", bytes_max=1)


async def test_the_next_address_is_tried_if_one_is_refused(site: Site) -> None:
    async def both(host: str, port: int) -> Sequence[str]:
        return ["10.0.0.1", "127.0.0.1"]

    outbound = Outbound(allowed=[f"127.0.0.1:{site.port}", "127.0.0.1/32"], resolve=both)
    assert (await outbound.fetch(site.url(), bytes_max=10)).body == b"hello"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
async def test_no_proxy_of_the_environment_is_asked(site: Site, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would connect for the service, and check nothing."""
    monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert (await let_in(site).fetch(site.url(), bytes_max=10)).status == 200


async def test_a_netrc_is_not_read(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine site.example login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    await let_in(site).fetch(site.url("/a"), bytes_max=10)
    assert site.asked == [("site.example/a", None)]


def test_an_address_loses_its_fragment() -> None:
    assert str(read_address("https://site.example/a#b")) == "https://site.example/a"
