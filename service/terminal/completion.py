"""What the shell offers at the TAB key: the service's jobs and cards, or nothing if it does not answer at once."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from typing import Any

SECONDS_MAX = 1.0
OFFERED_MAX = 100


def complete_jobs(incomplete: str) -> Iterator[tuple[str, str]]:
    for job in _ask(f"/resources/jobs?limit={OFFERED_MAX}").get("jobs", ()):
        if job["job_id"].startswith(incomplete):
            yield job["job_id"], f"{job['state']} {job['instance']}"


def complete_cards(incomplete: str) -> Iterator[str]:
    for card in _ask("/resources").get("resources", ()):
        if card["path"].startswith(incomplete):
            yield card["path"]


def _ask(path: str) -> dict[str, Any]:
    url = os.environ.get("INSTALLER_URL", "http://127.0.0.1:5000").rstrip("/")
    if not url.startswith(("http://", "https://")):
        return {}
    token = os.environ.get("INSTALLER_TOKEN") or os.environ.get("INSTALLER_API_TOKEN")
    request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=SECONDS_MAX) as response:  # noqa: S310
            found: dict[str, Any] = json.load(response)
            return found
    except (OSError, ValueError):
        # Do not print an error into a half-typed line.
        return {}
