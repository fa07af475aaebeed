"""The user's instances at Vast.ai, over HTTP, from a stand-in of its API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.demo.vast import StandInVast, instance
from service.vast.rented import read_rented
from tests.kit.running import running, write_card

KEY = "a-key-of-vast-0123456789abcdef"


@pytest.fixture
async def vast() -> AsyncIterator[StandInVast]:
    site = StandInVast(KEY)
    await site.start()
    yield site
    await site.stop()


class Api:
    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self._http.request(method, path, json=body) as response:
            return response.status, await response.json()


@asynccontextmanager
async def serving(folder: Path, vast: StandInVast, **settings: Any) -> AsyncIterator[Api]:
    place = vast.url.removeprefix("http://")
    given = {"vast_url": vast.url, "outbound_targets": (place,), "vast_api_key": KEY} | settings
    async with running(folder, **given) as service, aiohttp.ClientSession(base_url=service.url) as http:
        yield Api(http)


async def test_the_list_with_direct_addresses_before_the_proxy(tmp_path: Path, vast: StandInVast) -> None:
    vast.add(
        instance(101, label="wan", ports={"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "41234"}]}),
        instance(102, ports={}, ssh_port=17_102),
        instance(103, ports={}, ssh_port=17_103, image_runtype="jupyter_direc ssh_direc ssh_proxy"),
        instance(104, actual_status=None, ssh_host=None, ssh_port=None, public_ipaddr=None, ports=None),
        instance(105, actual_status="exited", num_gpus=4, gpu_name="H100 SXM", dph_total=8.5),
    )
    async with serving(tmp_path, vast) as api:
        status, found = await api("GET", "/vast/instances")
    assert (status, found["may_stop"]) == (200, False)
    rented = {each["id"]: each for each in found["instances"]}
    assert list(rented) == [105, 104, 103, 102, 101]
    places = {number: (each["ssh_host"], each["ssh_port"], each["way"]) for number, each in rented.items()}
    assert places[101] == ("203.0.113.7", 41_234, "direct")
    assert places[102] == ("ssh4.vast.ai", 17_102, "proxy")
    assert places[103] == ("ssh4.vast.ai", 17_104, "proxy")
    assert places[104] == (None, None, None)
    assert rented[104]["status"] == "provisioning"
    assert (rented[105]["gpu"], rented[105]["gpu_count"], rented[105]["dollars_per_hour"]) == ("H100 SXM", 4, 8.5)
    assert (rented[101]["label"], rented[101]["disk_total"], rented[101]["disk_used"]) == (
        "wan",
        80_000_000_000,
        21_500_000_000,
    )
    assert "a-token-that-nobody-should-see" not in json.dumps(found)


async def test_all_pages_and_the_jobs_of_each(tmp_path: Path, vast: StandInVast) -> None:
    vast.add(*(instance(number) for number in range(1, 61)))
    async with serving(tmp_path, vast) as api:
        card = write_card(tmp_path, "a.md")
        body = {"ssh_host": "203.0.113.7", "ssh_port": 40_005, "ui_home": "/ui", "resources": [card]}
        await api("POST", "/resources/install", body)
        _, found = await api("GET", "/vast/instances")
        assert len(found["instances"]) == 60
        assert {each["id"]: each["active"] for each in found["instances"] if each["active"]} == {5: 1}


async def test_without_a_key_and_with_a_wrong_one(tmp_path: Path, vast: StandInVast) -> None:
    async with serving(tmp_path, vast, vast_api_key=None) as api:
        status, answer = await api("GET", "/vast/instances")
        assert (status, answer["code"]) == (400, "key_needed")
        assert "resource-installer keys set vast" in answer["message"]
        assert vast.requests == []
        await api("PUT", "/keys/vast", {"value": "a-key-that-nobody-knows-0123"})
        status, answer = await api("GET", "/vast/instances")
        assert (status, answer["code"], "refuses" in answer["message"]) == (400, "key_needed", True)
        assert (await api("POST", "/keys/vast/check"))[1]["verdict"] == "refused"
        await api("PUT", "/keys/vast", {"value": KEY})
        assert (await api("GET", "/vast/instances"))[0] == 200
        vast.add(instance(1))
        assert "1 instance" in (await api("POST", "/keys/vast/check"))[1]["message"]


async def test_nothing_is_stopped_unless_the_setting_says_so(tmp_path: Path, vast: StandInVast) -> None:
    vast.add(instance(7), instance(8))
    async with serving(tmp_path, vast) as api:
        for method, path in (("POST", "/vast/instances/7/stop"), ("DELETE", "/vast/instances/7")):
            status, answer = await api(method, path)
            assert (status, "INSTALLER_VAST_ALLOW_STOP" in answer["message"]) == (403, True)
    assert vast.requests == []
    async with serving(tmp_path, vast, vast_allow_stop=True) as api:
        assert (await api("GET", "/vast/instances"))[1]["may_stop"]
        assert (await api("POST", "/vast/instances/7/stop"))[0] == 200
        assert vast.requests[-1] == ("PUT", "/api/v0/instances/7/", '{"state":"stopped"}')
        assert (await api("DELETE", "/vast/instances/8"))[0] == 200
        _, found = await api("GET", "/vast/instances")
        assert [(each["id"], each["status"]) for each in found["instances"]] == [(7, "stopped")]
        assert (await api("DELETE", "/vast/instances/8"))[0] == 404
        for wrong in ("x", "-1", "1/stop/x", "9" * 13):
            assert (await api("DELETE", f"/vast/instances/{wrong}"))[0] == 404


async def test_a_site_that_does_not_answer(tmp_path: Path, vast: StandInVast) -> None:
    await vast.stop()
    async with serving(tmp_path, vast) as api:
        status, answer = await api("GET", "/vast/instances")
        assert (status, answer["code"]) == (502, "site_unavailable")


@pytest.mark.parametrize(
    "changes",
    [
        {"label": "\x1b[31m<img src=x>\n" + "x" * 9_000},
        {"gpu_name": 5, "dph_total": float("nan"), "disk_space": "much", "num_gpus": -1},
        {"dph_total": 1e300, "disk_space": float("inf"), "disk_usage": -5},
        {"ports": {"22/tcp": [{"HostPort": "x"}]}, "ssh_host": "a b; rm -rf", "ssh_port": 22},
        {"ports": [], "ssh_host": {"a": 1}, "ssh_port": None},
        {"ports": {"22/tcp": [None]}, "public_ipaddr": "not an address", "ssh_host": "-x", "ssh_port": True},
        {"ports": {"22/tcp": "x"}, "ssh_host": "h", "ssh_port": 10**30},
    ],
)
def test_what_a_site_says_is_bounded_and_of_its_type(changes: dict[str, Any]) -> None:
    found = read_rented(instance(5, **{"public_ipaddr": None} | changes))
    assert found is not None
    assert len(found.label or "") <= 200
    assert "\x1b" not in (found.label or "")
    assert found.ssh_host in (None, "ssh4.vast.ai")
    json.dumps([found.dollars_per_hour, found.disk_total, found.disk_used], allow_nan=False)


@pytest.mark.parametrize("given", [{}, {"id": None}, {"id": "5"}, {"id": True}, {"id": -1}, {"id": 10**30}])
def test_what_is_no_instance(given: dict[str, Any]) -> None:
    assert read_rented(given) is None
