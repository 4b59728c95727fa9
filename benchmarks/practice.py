"""What people build today, to compare with: a worker beside a redis-server that turns changes into webhooks.

What a careful developer writes in an afternoon: sign, POST by aiohttp, sixteen at a time. Where the changes come
from is the difference:

    notifications   keyspace notifications, then the value is fetched. They are lost while the worker is away or too
                    slow, the value may have changed again, and there is no order, no retry, no restart.
    stream          whoever writes also does XADD (here: only that, which is generous), and the worker reads as a
                    consumer group and acknowledges. Nothing is lost, but no order and no retry either.

    python -m benchmarks.practice notifications|stream REDIS_PORT URL BATCH_SIZE
"""

from __future__ import annotations

import asyncio
import hmac
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import redis.asyncio

CONCURRENCY = 16
READ_AHEAD = 4000  # events that wait for one of them
SECRET = b"whsec_practice"
STREAM, GROUP = b"changes", b"webhooks"

Event = dict[str, Any]
Take = Callable[[], Awaitable[tuple[list[Event], list[bytes]]]]  # gives events, and what to acknowledge


async def deliver(session: aiohttp.ClientSession, url: str, batch: int, take: Take, store: Any) -> None:
    while True:
        events, ids = await take()
        payload: object = {"events": events, "count": len(events)} if batch > 1 else events[0]
        body = json.dumps(payload, separators=(",", ":")).encode()
        signature = "sha256=" + hmac.digest(SECRET, body, "sha256").hex()
        headers = {"Content-Type": "application/json", "X-Signature": signature}
        async with session.post(url, data=body, headers=headers) as response:
            await response.read()
        if ids:
            await store.xack(STREAM, GROUP, *ids)


def event(key: bytes, value: bytes | None) -> Event:
    return {
        "event": "set", "key": key.decode(), "timestamp": time.time(), "data": {"value": (value or b"").decode()},
    }  # fmt: skip


async def some(queue: asyncio.Queue[Any], most: int) -> list[Any]:
    """At least one, and at most `most`, of what is there."""
    found = [await queue.get()]
    while len(found) < most and not queue.empty():
        found.append(queue.get_nowait())
    return found


async def notifications(store: Any, batch: int, group: asyncio.TaskGroup) -> Take:
    await store.config_set("notify-keyspace-events", "E$")
    subscription = store.pubsub()
    await subscription.psubscribe("__keyevent@0__:set")
    changed: asyncio.Queue[bytes] = asyncio.Queue()

    async def collect() -> None:
        async for message in subscription.listen():
            if message["type"] == "pmessage":
                changed.put_nowait(message["data"])
                if changed.qsize() >= READ_AHEAD:
                    await asyncio.sleep(0)  # many come in one read: those who deliver would wait for the last of them

    async def take() -> tuple[list[Event], list[bytes]]:
        keys = await some(changed, batch)
        return [event(key, value) for key, value in zip(keys, await store.mget(keys), strict=True)], []

    group.create_task(collect())
    return take


async def stream(store: Any, batch: int, group: asyncio.TaskGroup) -> Take:
    await store.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    entries: asyncio.Queue[tuple[bytes, dict[bytes, bytes]]] = asyncio.Queue(READ_AHEAD)

    async def collect() -> None:
        while True:
            for _, found in await store.xreadgroup(GROUP, "worker", {STREAM: ">"}, count=1000, block=1000) or []:
                for entry in found:
                    await entries.put(entry)

    async def take() -> tuple[list[Event], list[bytes]]:
        found = await some(entries, batch)
        return [event(fields[b"key"], fields[b"value"]) for _, fields in found], [name for name, _ in found]

    group.create_task(collect())
    return take


async def main(kind: str, port: int, url: str, batch: int) -> None:
    store = redis.asyncio.Redis(port=port)
    source = {"notifications": notifications, "stream": stream}[kind]
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        take = await source(store, batch, group)
        for _ in range(CONCURRENCY):
            group.create_task(deliver(session, url, batch, take, store))
        print("ready")


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
