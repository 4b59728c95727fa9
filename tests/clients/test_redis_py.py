"""redis-py against the running server, in both protocols: every data type and every way of using the client."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from process import ServerProcess, free_port
from redis.exceptions import ResponseError, WatchError

BIG = 20 * 1024 * 1024
MANY = 100_000


def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """What `condition` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)
    return result


def pairs(reply: Any) -> dict[Any, Any]:
    """A map as either protocol brings it."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def protocol(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def client(server: ServerProcess, protocol: int) -> Iterator[redis.Redis]:
    with server.client(protocol=protocol, decode_responses=True) as made:
        yield made


# --- data types ---------------------------------------------------------------------------------------------


def test_strings(client: redis.Redis) -> None:
    assert client.set("k", "v", ex=100) is True
    assert client.set("k", "w", nx=True) is None
    assert client.set("k", "w", get=True, keepttl=True) == "v"
    assert 90 < client.ttl("k") <= 100
    assert client.mset({"a": 1, "b": 2.5}) is True
    assert client.mget("a", "b", "none") == ["1", "2.5", None]
    assert client.incrbyfloat("b", 0.1) == 2.6
    assert client.incr("a", 41) == 42
    assert client.append("k", "orld") == 5
    assert client.getrange("k", 1, -1) == "orld"
    assert client.getex("k", persist=True) == "world"
    assert client.ttl("k") == -1
    assert client.getdel("k") == "world"
    assert client.setbit("bits", 7, 1) == 0
    assert client.bitcount("bits") == 1
    assert client.bitfield("bits").set("u8", 0, 255).get("u4", 0).execute() == [1, 15]
    assert client.lcs("a", "b", len=True) == 1  # type: ignore[attr-defined]


def test_lists(client: redis.Redis) -> None:
    assert client.rpush("l", *range(6)) == 6
    assert client.lrange("l", 0, -1) == ["0", "1", "2", "3", "4", "5"]
    assert client.lpop("l", 2) == ["0", "1"]
    assert client.lmove("l", "m", "RIGHT", "LEFT") == "5"
    assert client.lpos("l", "3") == 1
    assert client.linsert("l", "BEFORE", "3", "x") == 4
    assert client.lmpop(2, "none", "l", direction="LEFT", count=2) == ["l", ["2", "x"]]
    assert client.ltrim("l", 0, 0) is True
    assert client.llen("l") == 1


def test_hashes(client: redis.Redis) -> None:
    assert client.hset("h", mapping={"a": 1, "b": "two", "ü": "ñ"}) == 3
    assert client.hgetall("h") == {"a": "1", "b": "two", "ü": "ñ"}
    assert client.hmget("h", "a", "none") == ["1", None]
    assert client.hincrbyfloat("h", "a", 0.5) == 1.5
    assert client.hdel("h", "a", "none") == 1
    assert sorted(client.hkeys("h")) == ["b", "ü"]
    assert client.hrandfield("h", 5, withvalues=True)


def test_sets(client: redis.Redis) -> None:
    assert client.sadd("s", 1, 2, 3) == 3
    assert client.sadd("t", 2, 3, 4) == 3
    assert client.smembers("s") == {"1", "2", "3"}
    assert client.sinter("s", "t") == {"2", "3"}
    assert client.sunionstore("u", "s", "t") == 4
    assert client.smismember("s", "1", "9") == [1, 0]
    assert client.sintercard(2, ["s", "t"]) == 2
    assert client.smove("s", "t", "1") in (True, 1)
    assert len(client.spop("t", 10)) == 4
    assert client.exists("t") == 0


def test_sorted_sets(client: redis.Redis) -> None:
    assert client.zadd("z", {"a": 1, "b": 2.5, "c": float("inf")}) == 3
    ranged = client.zrange("z", 0, -1, withscores=True)
    assert [tuple(pair) for pair in ranged] == [("a", 1.0), ("b", 2.5), ("c", float("inf"))]
    assert client.zadd("z", {"a": 5}, incr=True) == 6.0
    assert client.zscore("z", "a") == 6.0
    assert client.zmscore("z", ["a", "none"]) == [6.0, None]
    assert client.zrank("z", "a") == 1
    assert client.zrangebyscore("z", "(2.5", "+inf") == ["a", "c"]
    assert client.zrangestore("y", "z", 0, 1) == 2
    assert client.zunionstore("x", {"z": 1, "y": 2}) == 3
    assert [tuple(pair) for pair in client.zpopmin("y", 1)] == [("b", 2.5)]
    assert client.zmpop(1, ["z"], min=True)[0] == "z"


def test_geo_and_hyperloglog(client: redis.Redis) -> None:
    assert client.geoadd("g", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")) == 2
    assert client.geodist("g", "Palermo", "Catania", unit="km") == pytest.approx(166.2742)
    near = client.geosearch("g", longitude=15, latitude=37, radius=200, unit="km", withdist=True, withcoord=True)
    assert [entry[0] for entry in near] == ["Palermo", "Catania"] or [entry[0] for entry in near] == [
        "Catania",
        "Palermo",
    ]
    assert client.pfadd("hll", *range(1000)) == 1
    assert client.pfcount("hll") == pytest.approx(1000, rel=0.03)


def test_streams(client: redis.Redis) -> None:
    first = client.xadd("x", {"a": "1"})
    second = client.xadd("x", {"a": "2", "b": "3"})
    assert client.xlen("x") == 2
    assert client.xrange("x") == [(first, {"a": "1"}), (second, {"a": "2", "b": "3"})]
    read = client.xread({"x": first})
    assert pairs_of_streams(read) == {"x": [(second, {"a": "2", "b": "3"})]}
    assert client.xgroup_create("x", "g", id="0") is True
    with pytest.raises(ResponseError, match="BUSYGROUP"):
        client.xgroup_create("x", "g")
    assert len(pairs_of_streams(client.xreadgroup("g", "c", {"x": ">"}))["x"]) == 2
    assert client.xack("x", "g", first) == 1
    assert client.xpending("x", "g")["pending"] == 1
    assert [entry["message_id"] for entry in client.xpending_range("x", "g", "-", "+", 10)] == [second]
    assert client.xautoclaim("x", "g", "d", 0)[1] == [(second, {"a": "2", "b": "3"})]
    assert client.xinfo_stream("x")["length"] == 2
    assert client.xinfo_groups("x")[0]["name"] == "g"
    assert {consumer["name"] for consumer in client.xinfo_consumers("x", "g")} == {"c", "d"}
    assert client.xinfo_stream("x", full=True)["entries"]
    assert client.xtrim("x", maxlen=1, approximate=False) == 1
    assert client.xdel("x", second) == 1


def pairs_of_streams(reply: Any) -> dict[str, list[Any]]:
    """XREAD's reply: RESP2's list of pairs or RESP3's map, whose entries redis-py nests once more."""
    if isinstance(reply, dict):
        return {name: entries[0] for name, entries in reply.items()}
    return dict(reply)


def test_keys(client: redis.Redis) -> None:
    client.set("a", "1")
    assert client.expire("a", 100) in (True, 1)
    assert client.expire("a", 50, gt=True) in (False, 0)
    assert client.expiretime("a") > time.time()
    assert client.copy("a", "b") in (True, 1)
    assert client.rename("b", "c") is True
    assert client.type("c") == "string"
    assert client.object("encoding", "c") == "int"
    assert sorted(client.keys("*")) == ["a", "c"]
    assert client.touch("a", "c", "none") == 2
    assert client.unlink("a", "c") == 2
    assert client.dbsize() == 0
    client.rpush("l", 3, 1, 2)
    assert client.sort("l", desc=True) == ["3", "2", "1"]
    dumped = client.execute_command("DUMP", "l", NEVER_DECODE=True)
    assert client.restore("m", 0, dumped) in ("OK", True)
    assert client.lrange("m", 0, -1) == ["3", "1", "2"]


def test_server_commands(client: redis.Redis, protocol: int) -> None:
    assert client.ping() is True
    assert client.echo("hi") == "hi"
    assert client.client_setname("tester") is True
    assert client.client_getname() == "tester"
    assert client.client_info()["resp"] == str(protocol)
    assert client.info()["redis_mode"] == "standalone"
    assert client.config_get("maxmemory*")["maxmemory"] == "0"
    assert abs(client.time()[0] - time.time()) < 5
    assert client.memory_usage("none") is None
    assert client.slowlog_len() >= 0
    assert isinstance(client.slowlog_get(), list)
    assert client.command_count() > 200
    assert client.command_getkeys("MSET", "a", 1, "b", 2) == ["a", "b"]
    assert "get" in client.command()
    assert "default" in client.acl_users()
    assert client.acl_whoami() == "default"


# --- pipelines, transactions --------------------------------------------------------------------------------


def test_pipeline(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipe:
        for number in range(10_000):
            pipe.set(f"k{number}", number)
        assert pipe.execute() == [True] * 10_000
        pipe.get("k77").incr("k78").lpush("k79", "x").get("k80")
        replies = pipe.execute(raise_on_error=False)
    assert replies[0] == "77"
    assert replies[1] == 79
    assert isinstance(replies[2], ResponseError) and "WRONGTYPE" in str(replies[2])
    assert replies[3] == "80"


def test_transaction(client: redis.Redis) -> None:
    with client.pipeline() as pipe:
        assert pipe.set("a", 1).incr("a").zadd("z", {"m": 1.5}).zscore("z", "m").execute() == [True, 2, 1, 1.5]
        pipe.set("a", 1)
        pipe.execute_command("NOSUCH")
        with pytest.raises(ResponseError, match="unknown command"):
            pipe.execute()
    assert client.get("a") == "2"  # an error while queuing discards everything


def test_watch(client: redis.Redis, server: ServerProcess) -> None:
    client.set("balance", 10)
    with server.client() as other, client.pipeline() as pipe:
        pipe.watch("balance")
        assert pipe.get("balance") == "10"
        other.incr("balance")
        pipe.multi()
        pipe.set("balance", 0)
        with pytest.raises(WatchError):
            pipe.execute()
    assert client.get("balance") == "11"

    def double(pipe: Any) -> None:
        present = int(pipe.get("balance"))
        pipe.multi()
        pipe.set("balance", present * 2)

    assert client.transaction(double, "balance") == [True]
    assert client.get("balance") == "22"


def test_many_incrementing_transactions_lose_nothing(server: ServerProcess) -> None:
    def work() -> None:
        with server.client() as client:
            for _ in range(25):
                client.transaction(lambda pipe: step(pipe), "n")

    def step(pipe: Any) -> None:
        present = int(pipe.get("n") or 0)
        pipe.multi()
        pipe.set("n", present + 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    with server.client() as client:
        assert client.get("n") == b"100"


# --- publish and subscribe ----------------------------------------------------------------------------------


def message(pubsub: Any, kind: str) -> dict[str, Any]:
    """The next message of this kind."""
    found: dict[str, Any] = until(lambda: matching(pubsub.get_message(timeout=1), kind))
    return found


def matching(received: dict[str, Any] | None, kind: str) -> dict[str, Any] | None:
    return received if received is not None and received["type"] == kind else None


def test_publish(client: redis.Redis) -> None:
    with client.pubsub() as pubsub:
        pubsub.subscribe("news")
        pubsub.psubscribe("n?ws")
        message(pubsub, "subscribe")
        assert message(pubsub, "psubscribe")["data"] == 2
        assert client.publish("news", "höllo") == 2
        assert message(pubsub, "message") == {"type": "message", "pattern": None, "channel": "news", "data": "höllo"}
        assert client.publish("news", "again") == 2
        assert message(pubsub, "pmessage")["pattern"] == "n?ws"
        assert client.pubsub_numsub("news") == [("news", 1)]
        pubsub.unsubscribe()
        assert message(pubsub, "unsubscribe")["channel"] == "news"
        pubsub.check_health()
        assert client.publish("news", "by pattern") == 1
        assert message(pubsub, "pmessage")["data"] == "by pattern"


def test_sharded_publish(client: redis.Redis) -> None:
    with client.pubsub() as pubsub:
        pubsub.ssubscribe("shard")
        message(pubsub, "ssubscribe")
        assert client.execute_command("SPUBLISH", "shard", "hello") == 1
        assert message(pubsub, "smessage")["data"] == "hello"
        assert client.execute_command("PUBSUB", "SHARDCHANNELS") == ["shard"]


def test_keyspace_notifications(client: redis.Redis) -> None:
    client.config_set("notify-keyspace-events", "KEA")
    with client.pubsub() as pubsub:
        pubsub.psubscribe("__key*__:*")
        message(pubsub, "psubscribe")
        client.set("k", "v", px=1)
        seen = [message(pubsub, "pmessage") for _ in range(6)]
    assert [(event["channel"], event["data"]) for event in seen] == [
        ("__keyspace@0__:k", "set"),
        ("__keyevent@0__:set", "k"),
        ("__keyspace@0__:k", "expire"),
        ("__keyevent@0__:expire", "k"),
        ("__keyspace@0__:k", "expired"),  # although nobody has asked for the key
        ("__keyevent@0__:expired", "k"),
    ]


def test_subscriber_thread(client: redis.Redis) -> None:
    heard: list[Any] = []
    with client.pubsub() as pubsub:
        pubsub.subscribe(orders=heard.append)
        thread = pubsub.run_in_thread(sleep_time=0.01)
        try:
            until(lambda: dict(client.pubsub_numsub("orders"))["orders"] == 1)
            for number in range(500):
                client.publish("orders", number)
            until(lambda: len(heard) == 500)
        finally:
            thread.stop()
            thread.join(10)
    assert [event["data"] for event in heard] == [str(number) for number in range(500)]


# --- blocking -----------------------------------------------------------------------------------------------


def test_blocking_pops_are_served_in_the_order_they_came(server: ServerProcess, client: redis.Redis) -> None:
    popped: dict[str, Any] = {}

    def wait(name: str) -> None:
        with server.client(decode_responses=True) as waiting:
            popped[name] = waiting.blpop(["none", "queue"], timeout=10)

    threads = []
    for name in ("first", "second", "third"):
        threads.append(threading.Thread(target=wait, args=(name,)))
        threads[-1].start()
        until(lambda: client.info("clients")["blocked_clients"] == len(threads))
    client.rpush("queue", "a", "b", "c")
    for thread in threads:
        thread.join(10)
    assert popped == {"first": ("queue", "a"), "second": ("queue", "b"), "third": ("queue", "c")}
    assert client.exists("queue") == 0


def test_every_blocking_command_wakes(server: ServerProcess, client: redis.Redis) -> None:
    waiting: list[tuple[Callable[[redis.Redis], Any], Callable[[], Any]]] = [
        (lambda c: c.brpop("l", 10), lambda: client.lpush("l", 1)),
        (lambda c: c.blmove("l", "m", 10), lambda: client.lpush("l", 1)),
        (lambda c: c.blmpop(10, 1, "l", direction="LEFT"), lambda: client.lpush("l", 1)),
        (lambda c: c.bzpopmin("z", 10), lambda: client.zadd("z", {"m": 1})),
        (lambda c: c.bzmpop(10, 1, ["z"], max=True), lambda: client.zadd("z", {"m": 1})),
        (lambda c: c.xread({"x": "$"}, block=10_000), lambda: client.xadd("x", {"f": "v"})),
    ]
    for call, wake in waiting:
        got: list[Any] = []
        with server.client() as blocked:
            thread = threading.Thread(target=lambda: got.append(call(blocked)))  # noqa: B023
            thread.start()
            until(lambda: client.info("clients")["blocked_clients"] == 1)
            wake()
            thread.join(10)
        assert got and got[0], call


def test_blocking_timeout(client: redis.Redis) -> None:
    started = time.monotonic()
    assert client.blpop("none", timeout=0.1) is None
    assert 0.09 <= time.monotonic() - started < 5


# --- scripts, locks -----------------------------------------------------------------------------------------


def test_scripts(client: redis.Redis) -> None:
    script = client.register_script("return {KEYS[1], ARGV[1], redis.call('INCRBY', KEYS[1], ARGV[1])}")
    assert script(keys=["n"], args=[5]) == ["n", "5", 5]
    client.script_flush()
    assert script(keys=["n"], args=[5]) == ["n", "5", 10]  # NOSCRIPT, SCRIPT LOAD and again
    with client.pipeline() as pipe:
        script(keys=["n"], args=[1], client=pipe)
        pipe.get("n")
        assert pipe.execute() == [["n", "1", 11], "11"]
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        client.eval("return redis.call('LPUSH', KEYS[1], 'x')", 1, "n")
    assert client.eval("return redis.pcall('LPUSH', KEYS[1], 'x')['err']", 1, "n").startswith("WRONGTYPE")
    assert client.eval("return cjson.encode({a = {1, 2}})", 0) == '{"a":[1,2]}'
    assert client.eval_ro("return redis.call('GET', KEYS[1])", 1, "n") == "11"


def test_locks(server: ServerProcess, client: redis.Redis) -> None:
    held = client.lock("resource", timeout=10)
    assert held.acquire(blocking=False)
    assert not client.lock("resource", timeout=10).acquire(blocking=False)
    assert held.extend(20) is True
    assert 10 < client.ttl("resource") <= 30
    assert held.reacquire() is True
    held.release()
    with pytest.raises(redis.exceptions.LockError):
        held.release()
    lost = client.lock("resource", timeout=10)
    lost.acquire()
    client.set("resource", "somebody else")
    with pytest.raises(redis.exceptions.LockNotOwnedError):
        lost.release()
    client.delete("resource")

    counted = 0

    def work() -> None:
        nonlocal counted
        with server.client() as mine:
            for _ in range(5):
                with mine.lock("turn", timeout=10, sleep=0.002):
                    present = counted
                    mine.ping()
                    counted = present + 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert counted == 15


# --- iterators ----------------------------------------------------------------------------------------------


def test_scans_see_everything_once_while_the_set_changes(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipe:
        for number in range(3000):
            pipe.set(f"key:{number}", number)
            pipe.sadd("set", number)
            pipe.hset("hash", f"f{number}", number)
            pipe.zadd("zset", {f"m{number}": number})
        pipe.execute()
    seen = set()
    for position, key in enumerate(client.scan_iter("key:*", count=100)):
        seen.add(key)
        if position % 100 == 0:
            client.set(f"other:{position}", 1)  # the table grows meanwhile
    assert seen == {f"key:{number}" for number in range(3000)}
    assert set(client.sscan_iter("set")) == {str(number) for number in range(3000)}
    assert dict(client.hscan_iter("hash", match="f1*")) == {
        f"f{n}": str(n) for n in range(3000) if str(n).startswith("1")
    }
    assert dict(client.zscan_iter("zset"))["m2999"] == 2999.0
    assert set(client.scan_iter(_type="zset")) == {"zset"}


# --- large ---------------------------------------------------------------------------------------------------


def test_large_values(server: ServerProcess, protocol: int) -> None:
    value = bytes(range(256)) * (BIG // 256)
    with server.client(protocol=protocol) as client:
        assert client.set("big", value)
        assert client.get("big") == value
        assert client.strlen("big") == BIG
        client.hset("h", "big", value)
        assert client.hgetall("h") == {b"big": value}


@pytest.mark.parametrize("kind", ["list", "set", "hash", "zset", "strings"])
def test_large_replies(client: redis.Redis, kind: str) -> None:
    numbers = [str(number) for number in range(MANY)]
    if kind == "list":
        client.rpush("k", *numbers)
        assert client.lrange("k", 0, -1) == numbers
    elif kind == "set":
        client.sadd("k", *numbers)
        assert client.smembers("k") == set(numbers)
    elif kind == "hash":
        client.hset("k", mapping=dict.fromkeys(numbers, "v"))
        assert client.hgetall("k") == dict.fromkeys(numbers, "v")
    elif kind == "zset":
        client.zadd("k", {number: int(number) for number in numbers})
        assert dict(client.zrange("k", 0, -1, withscores=True)) == {number: int(number) for number in numbers}
    else:
        client.mset(dict.fromkeys(numbers, "v"))
        assert client.mget(numbers) == ["v"] * MANY
        assert set(client.keys()) == set(numbers)


# --- connections ---------------------------------------------------------------------------------------------


def test_bytes_or_text(server: ServerProcess, protocol: int) -> None:
    with server.client(protocol=protocol) as raw, server.client(protocol=protocol, decode_responses=True) as text:
        raw.set(b"\xff\x00key", b"\x80value\r\n")
        assert raw.get(b"\xff\x00key") == b"\x80value\r\n"
        with pytest.raises(UnicodeDecodeError):
            text.get(b"\xff\x00key")
        assert text.ping() is True


def test_select_and_swap(server: ServerProcess, protocol: int) -> None:
    with server.client(db=0, protocol=protocol) as zero, server.client(db=9, protocol=protocol) as nine:
        nine.set("k", 9)
        assert zero.get("k") is None
        zero.swapdb(0, 9)
        assert zero.get("k") == b"9"
    with server.client(db=99) as beyond, pytest.raises(ResponseError, match="DB index is out of range"):
        beyond.ping()


def test_health_checks(server: ServerProcess, protocol: int) -> None:
    with server.client(health_check_interval=1, protocol=protocol) as client:
        client.set("k", "v")
        pool = client.connection_pool
        connection = pool.get_connection()
        connection.next_health_check = 0.0
        pool.release(connection)
        assert client.get("k") == b"v"
        with client.pubsub() as pubsub:
            pubsub.subscribe("c")
            message(pubsub, "subscribe")
            pubsub.check_health()
            client.publish("c", "m")
            assert message(pubsub, "message")["data"] == b"m"


def test_a_killed_connection_is_made_again(client: redis.Redis, server: ServerProcess) -> None:
    client.client_setname("victim")
    with server.client() as other:
        victim = next(entry for entry in other.client_list() if entry["name"] == "victim")
        other.client_kill(victim["addr"])
        until(lambda: all(entry["name"] != "victim" for entry in other.client_list()))
    assert client.set("k", "after") is True


def test_connection_refused(server: ServerProcess) -> None:
    with redis.Redis(port=free_port(), retry=None, socket_timeout=2) as nobody, pytest.raises(redis.ConnectionError):
        nobody.ping()


def test_a_client_outlives_a_restart(tmp_path: Path, protocol: int) -> None:
    server = ServerProcess(tmp_path / "data", "--log-level", "warning")
    with server, server.client(protocol=protocol) as client:
        client.set("k", "v")
        client.xadd("x", {"a": "1"}, id="5-1")
        server.stop()
        with redis.Redis(port=server.port, retry=None) as nobody, pytest.raises(redis.ConnectionError):
            nobody.ping()
        server.start()
        assert client.get("k") == b"v"
        assert client.xrange("x") == [(b"5-1", {b"a": b"1"})]


def test_passwords(server: ServerProcess, protocol: int) -> None:
    name = f"u{uuid.uuid4().hex[:8]}"
    with server.client() as admin:
        admin.acl_setuser(name, enabled=True, passwords=["+secret"], categories=["+@read"], keys=["mine:*"])
        try:
            with server.client(username=name, password="secret", protocol=protocol) as user:
                assert user.get("mine:1") is None
                with pytest.raises(redis.exceptions.NoPermissionError):
                    user.set("mine:1", "v")
                with pytest.raises(redis.exceptions.NoPermissionError):
                    user.get("yours")
            with (
                server.client(username=name, password="wrong", protocol=protocol, retry=None) as wrong,
                pytest.raises(redis.AuthenticationError),
            ):
                wrong.ping()
        finally:
            admin.acl_deluser(name)


# --- client-side caching ------------------------------------------------------------------------------------


def test_tracking_invalidates(server: ServerProcess) -> None:
    with server.client(protocol=3) as other:
        connection = redis.connection.ConnectionPool(port=server.port, protocol=3).make_connection()
        invalidated: list[Any] = []
        connection.connect()
        try:
            connection._parser.set_invalidation_push_handler(invalidated.append)  # as redis-py's own cache does

            def ask(*words: str) -> Any:
                connection.send_command(*words)
                return connection.read_response()

            assert ask("CLIENT", "TRACKING", "ON") == b"OK"
            assert ask("GET", "k") is None
            other.set("k", "v")
            assert ask("GET", "k") == b"v"
            assert invalidated == [[b"invalidate", [b"k"]]]
            other.flushall()
            assert ask("PING") == b"PONG"
            assert invalidated[1:] == [[b"invalidate", None]]
        finally:
            connection.disconnect()


# --- webhooks ------------------------------------------------------------------------------------------------


def test_webhook_commands(client: redis.Redis) -> None:
    created = client.execute_command(
        "WEBHOOK.CREATE", "orders", "https://api.example.com/hook", "PATTERN", "order:*", "EVENTS", "SET", "DEL"
    )
    assert created == "OK"
    (listed,) = client.execute_command("WEBHOOK.LIST")
    assert pairs(listed) == {
        "name": "orders",
        "url": "https://api.example.com/hook",
        "pattern": "order:*",
        "events": ["SET", "DEL"],
        "status": "active",
    }
    rotated = pairs(client.execute_command("WEBHOOK.ROTATE", "orders", "SECRET", "GENERATE"))
    assert rotated["secret"].startswith("whsec_")
    assert pairs(client.execute_command("WEBHOOK.INFO", "orders"))["secret"] == "set"
    with pytest.raises(ResponseError, match="COUNT"):
        client.execute_command("WEBHOOK.DELIVERIES", "orders", "COUNT", "many")
    with client.pipeline(transaction=False) as pipe:
        pipe.execute_command("WEBHOOK.PAUSE", "orders")
        pipe.execute_command("WEBHOOK.RESUME", "orders")
        pipe.execute_command("WEBHOOK.DELETE", "orders")
        assert pipe.execute() == ["OK", "OK", 1]
