from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.cluster.replicas import ClusterWorld
from tests.kit.postgres import shared_server


@pytest.fixture
def cluster_database() -> Iterator[str]:
    """The URL of a new database of PostgreSQL."""
    with shared_server().database() as url:
        yield url


@pytest.fixture
async def cluster(tmp_path_factory: pytest.TempPathFactory, cluster_database: str) -> AsyncIterator[ClusterWorld]:
    """Three replicas on one database, and an instance."""
    built = ClusterWorld(tmp_path_factory.mktemp("cluster"), cluster_database)
    try:
        await built.start()
        await built.start_replicas(3)
        yield built
    finally:
        await built.close()
