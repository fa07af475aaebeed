"""A stand-in for the API of Vast.ai: the instances of one account, which can be stopped and destroyed."""

from __future__ import annotations

from typing import Any

from aiohttp import web

PAGE = 25


def instance(number: int, **changes: Any) -> dict[str, Any]:
    """An instance with the fields of the real API that anybody looks at, and some that nobody does."""
    return {
        "id": number,
        "label": None,
        "actual_status": "running",
        "intended_status": "running",
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "dph_total": 0.4012,
        "disk_space": 80.0,
        "disk_usage": 21.5,
        "ssh_host": "ssh4.vast.ai",
        "ssh_port": 17_000 + number % 1_000,
        "public_ipaddr": "203.0.113.7 ",
        "ports": {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(40_000 + number % 1_000)}]},  # noqa: S104
        "image_runtype": "ssh ssh_direc ssh_proxy",
        "jupyter_token": "a-token-that-nobody-should-see",
        **changes,
    }


class StandInVast:
    """``start``, then ``url`` is where it answers, then ``stop``. ``instances``: by their numbers. ``requests``:
    method, path and body of each."""

    def __init__(self, key: str) -> None:
        self._key = key
        self.instances: dict[int, Any] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    def add(self, *instances: dict[str, Any]) -> None:
        for each in instances:
            self.instances[each["id"]] = each

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/api/v1/instances/", self._list)
        app.router.add_put("/api/v0/instances/{id}/", self._change)
        app.router.add_delete("/api/v0/instances/{id}/", self._destroy)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _list(self, request: web.Request) -> web.Response:
        await self._note(request)
        begin = int(request.query.get("after_token", "0"))
        found = list(self.instances.values())
        following = str(begin + PAGE) if len(found) > begin + PAGE else None
        page = found[begin : begin + PAGE]
        answer = {"success": True, "instances_found": len(page), "total_instances": len(found), "instances": page}
        return web.json_response({**answer, "next_token": following})

    async def _change(self, request: web.Request) -> web.Response:
        await self._note(request)
        found = self._find(request)
        found["actual_status"] = found["intended_status"] = (await request.json())["state"]
        return web.json_response({"success": True})

    async def _destroy(self, request: web.Request) -> web.Response:
        await self._note(request)
        del self.instances[self._find(request)["id"]]
        return web.json_response({"success": True})

    def _find(self, request: web.Request) -> Any:
        found = self.instances.get(int(request.match_info["id"]))
        if found is None:
            raise web.HTTPNotFound(text='{"success": false, "error": "no_such_instance", "msg": "not found"}')
        return found

    async def _note(self, request: web.Request) -> None:
        self.requests.append((request.method, request.path, await request.text()))
        if request.headers.get("Authorization") != f"Bearer {self._key}":
            raise web.HTTPUnauthorized(text='{"success": false, "msg": "This action requires login."}')
