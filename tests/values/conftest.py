"""A client of the real redis-server, to compare values with."""

from collections.abc import Iterator

import pytest
import redis


@pytest.fixture
def real_redis(redis_port: int) -> Iterator[redis.Redis]:
    """redis-server 7.0, emptied. A test that changes its configuration sets what it needs itself."""
    client = redis.Redis(port=redis_port)
    client.flushall()
    yield client
    client.close()
