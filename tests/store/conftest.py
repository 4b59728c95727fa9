"""A clean redis-server through redis-py, whose replies are easier to compare than raw ones."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis


@pytest.fixture
def server(redis_port: int) -> Iterator[Any]:
    client = redis.Redis(port=redis_port, protocol=2)
    client.flushall()
    yield client
    client.close()
