"""redis-py's asyncio client against the running server, in both protocols."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from process import ServerProcess
from redis.exceptions import ResponseError, WatchError


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def protocol(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
async def client(server: ServerProcess, protocol: int) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis(port=server.port, protocol=protocol, decode_responses=True) as made:
        yield made


async def test_a_thousand_commands_at_once(client: redis.asyncio.Redis) -> None:
    async def one(number: int) -> None:
        key = f"k{number}"
        await client.set(key, number)
        assert await client.get(key) == str(number)
        await client.hset(key + "h", mapping={"f": "v"})
        assert await client.hgetall(key + "h") == {"f": "v"}

    limit = asyncio.Semaphore(50)

    async def limited(number: int) -> None:
        async with limit:
            await one(number)

    await asyncio.gather(*(limited(number) for number in range(250)))
    assert await client.dbsize() == 500


async def test_pipeline_and_watch(client: redis.asyncio.Redis) -> None:
    async with client.pipeline(transaction=True) as pipe:
        assert await pipe.set("a", 1).incr("a").zadd("z", {"m": 2}).execute() == [True, 2, 1]
        await pipe.watch("a")
        await client.set("a", 5)
        pipe.multi()
        pipe.set("a", 9)
        with pytest.raises(WatchError):
            await pipe.execute()
    assert await client.get("a") == "5"
    async with client.pipeline(transaction=False) as pipe:
        for number in range(5000):
            pipe.rpush("l", number)
        assert await pipe.execute() == list(range(1, 5001))


async def test_publish(client: redis.asyncio.Redis) -> None:
    async with client.pubsub() as pubsub:
        await pubsub.subscribe("news")
        await pubsub.psubscribe("n?ws")
        heard = pubsub.listen()
        assert [(await anext(heard))["type"] for _ in range(2)] == ["subscribe", "psubscribe"]
        assert await client.publish("news", "hello") == 2
        assert {(await anext(heard))["type"] for _ in range(2)} == {"message", "pmessage"}
        await pubsub.unsubscribe()
        assert (await anext(heard))["type"] == "unsubscribe"
        await heard.aclose()


async def test_blocking_pop_and_streams(client: redis.asyncio.Redis) -> None:
    async def blocked() -> bool:
        return bool((await client.info("clients"))["blocked_clients"])

    async with asyncio.timeout(10):
        waiting = asyncio.create_task(client.blpop(["l"], timeout=5))
        while not await blocked():
            await asyncio.sleep(0)
        await client.rpush("l", "x")
        assert tuple(await waiting) == ("l", "x")
        await client.xgroup_create("s", "g", mkstream=True)
        waiting = asyncio.create_task(client.xreadgroup("g", "c", {"s": ">"}, block=5000))
        while not await blocked():
            await asyncio.sleep(0)
        await client.xadd("s", {"f": "v"})
        assert await waiting


async def test_a_cancelled_blocking_call_leaves_nothing_behind(client: redis.asyncio.Redis) -> None:
    async with asyncio.timeout(10):
        waiting = asyncio.create_task(client.blpop(["l"], timeout=60))
        while not (await client.info("clients"))["blocked_clients"]:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        while (await client.info("clients"))["blocked_clients"]:
            await asyncio.sleep(0)
    await client.rpush("l", "kept")
    assert await client.lrange("l", 0, -1) == ["kept"]


async def test_iterators_and_large_values(client: redis.asyncio.Redis) -> None:
    await client.mset({f"k{number}": number for number in range(2000)})
    assert {key async for key in client.scan_iter("k*", count=100)} == {f"k{number}" for number in range(2000)}
    value = "ü" * (10 * 1024 * 1024)
    await client.set("big", value)
    assert await client.get("big") == value


async def test_webhook_commands(client: redis.asyncio.Redis) -> None:
    assert await client.execute_command("WEBHOOK.CREATE", "w", "http://example.com/", "EVENTS", "SET") == "OK"
    assert len(await client.execute_command("WEBHOOK.LIST")) == 1
    with pytest.raises(ResponseError):
        await client.execute_command("WEBHOOK.CREATE", "w", "ftp://example.com/")
