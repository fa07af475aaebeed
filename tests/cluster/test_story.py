"""`make cluster` tells a true story, and what is delivered for a cluster fits together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_make_cluster_ends_well() -> None:
    command = [sys.executable, "-m", "scripts.cluster"]
    environment = {**os.environ, "ONCE": "1"}
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill -9 replica-" in done.stdout
    assert "taken over by replica-" in done.stdout


def test_the_replicas_differ_by_their_names_alone() -> None:
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
    replicas = {name: each for name, each in compose["services"].items() if name.startswith("replica")}
    names = [each["environment"].pop("INSTALLER_REPLICA_NAME") for each in replicas.values()]
    assert names == list(replicas)
    first, *others = replicas.values()
    assert others == [first] * 2
    nginx = (ROOT / "deploy/nginx-cluster.conf").read_text(encoding="utf-8")
    assert all(f"server {name}:5000 " in nginx for name in replicas)
    (network,) = compose["networks"]["default"]["ipam"]["config"]
    assert network["subnet"] == first["environment"]["INSTALLER_TRUSTED_PROXIES"]
