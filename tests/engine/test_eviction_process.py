"""maxmemory in a whole server: real memory, real clients, more data than fits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import redis
from process import ServerProcess

MB = 1 << 20


@pytest.mark.parametrize(("size", "writes"), [(60_000, 700), (200, 90_000)])
def test_memory_stays_at_the_limit_and_data_stays_too(tmp_path: Path, size: int, writes: int) -> None:
    with ServerProcess(tmp_path / "data", "--set", "journal.enabled=false") as server, server.client() as client:
        limit = client.info("memory")["used_memory"] + 16 * MB
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", limit)
        pipe = client.pipeline(transaction=False)
        for n in range(writes):
            pipe.set(f"key:{n}", os.urandom(size))
            if n % 100 == 99:
                pipe.execute()
        memory, stats = client.info("memory"), client.info("stats")
        assert memory["used_memory"] < limit + 6 * MB
        assert memory["used_memory_rss"] < limit + 50 * MB
        assert stats["evicted_keys"] == writes - client.dbsize()
        assert client.dbsize() * size > 3 * MB
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("k", "v")
        assert client.get(f"key:{writes - 1}") is not None
