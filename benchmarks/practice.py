"""Today's practice, to compare with: a worker beside a Redis that turns keyspace notifications into webhooks.

What a careful developer writes in an afternoon: subscribe, fetch the value, sign, POST by aiohttp, sixteen at a
time. What it cannot do is no part of the measurement: notifications are lost while it is away or too slow, the
value may have changed again when it is fetched, there is no order, no retry, no restart.

    python -m benchmarks.practice REDIS_PORT URL BATCH_SIZE
"""

from __future__ import annotations

import asyncio
import hmac
import json
import sys
import time
from typing import Any

import aiohttp
import redis.asyncio

CONCURRENCY = 16
SECRET = b"whsec_practice"


async def collect(subscription: Any, changes: asyncio.Queue[bytes]) -> None:
    async for message in subscription.listen():
        if message["type"] == "pmessage":
            changes.put_nowait(message["data"])


async def deliver(
    store: redis.asyncio.Redis, session: aiohttp.ClientSession, url: str, batch: int, changes: asyncio.Queue[bytes]
) -> None:
    while True:
        keys = [await changes.get()]
        while len(keys) < batch and not changes.empty():
            keys.append(changes.get_nowait())
        values = await store.mget(keys)
        events = [
            {"event": "set", "key": key.decode(), "timestamp": time.time(), "data": {"value": (value or b"").decode()}}
            for key, value in zip(keys, values, strict=True)
        ]
        payload: object = {"events": events, "count": len(events)} if batch > 1 else events[0]
        body = json.dumps(payload, separators=(",", ":")).encode()
        signature = "sha256=" + hmac.digest(SECRET, body, "sha256").hex()
        headers = {"Content-Type": "application/json", "X-Signature": signature}
        async with session.post(url, data=body, headers=headers) as response:
            await response.read()


async def main(port: int, url: str, batch: int) -> None:
    store = redis.asyncio.Redis(port=port)
    await store.config_set("notify-keyspace-events", "E$")
    subscription = store.pubsub()
    await subscription.psubscribe("__keyevent@0__:set")
    changes: asyncio.Queue[bytes] = asyncio.Queue()
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        group.create_task(collect(subscription, changes))
        for _ in range(CONCURRENCY):
            group.create_task(deliver(store, session, url, batch, changes))


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
