"""Many commands by redis-server's rate, slowest first: where to look next.

`make bench` has the ten commands that the goals are about. This has most others, each on small data and on
collections of a hundred and a thousand elements, without persistence, both servers standing and taking turns.

    make bench OF=survey ARGS="[--pipeline N] [--only NAME ...]"
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from statistics import median

import redis

from benchmarks.arguments import positive
from benchmarks.load import in_turns
from benchmarks.servers import LOAD, Server, end_on_sigterm, pin_here, warn_if_pure

KEYS = 20_000
SECONDS = 0.15  # of one round
ROUNDS = 3

# As they are typed, but that # is another number each time. What they find is what `filled` makes.
COMMANDS = tuple(
    """
PING|ECHO xxx|TIME|DBSIZE|RANDOMKEY|SCAN 0 COUNT 10|TYPE key:#|EXISTS key:#|TTL key:#|EXPIRE key:# 1000|PERSIST key:#
OBJECT ENCODING z1000|COPY h100 copied REPLACE|DUMP h100|SORT l100 ALPHA LIMIT 0 10|DEL gone:#|PUBLISH channel xxx
STRLEN key:#|GETRANGE key:# 0 1|APPEND appended:# x|SETEX timed:# 1000 xxx|GETEX key:# EX 1000|GETSET key:# xxx
DECR counter:#|INCRBYFLOAT float:# 1.5|SETNX absent:# xxx|MGET key:# key:# key:# key:# key:#
BITCOUNT key:# 0 -1|SETBIT bits:# 7 1|GETBIT bits:# 7|BITFIELD bits:# INCRBY u8 0 1|PFADD distinct e:#|PFCOUNT distinct
HGET h1000 f500|HMGET h1000 f1 f2 f3 f4 f5 f6 f7 f8 f9 f10|HGETALL h100|HKEYS h100|HLEN h1000|HINCRBY counts field:# 1
HSET small:# a 1 b 2 c 3 d 4 e 5|HSCAN h1000 0|HRANDFIELD h1000|HDEL counts field:#
RPUSH pushed xxx|RPOP pushed|LINDEX l1000 500|LLEN l1000|LSET l1000 600 xxx|LPOS l1000 e500|LRANGE l1000 0 9
LRANGE l1000 0 599|LREM l1000 1 nothing|LTRIM l1000 0 999|RPOPLPUSH l1000 l1000
SADD members m:#|SREM members m:#|SISMEMBER s1000 e500|SMISMEMBER s1000 e1 e2 e3|SCARD s1000|SMEMBERS s100
SRANDMEMBER s1000|SRANDMEMBER s1000 10|SSCAN s1000 0|SINTER s100 s1000|SUNION s100 t100|SDIFF s1000 s100
ZINCRBY ranked 1 m:#|ZREM ranked m:#|ZSCORE z1000 e500|ZRANK z1000 e500|ZCARD z1000|ZCOUNT z1000 100 900
ZRANGE z1000 500 509|ZRANGE z1000 0 99 WITHSCORES|ZREVRANGE z1000 0 9|ZRANGEBYSCORE z1000 400 410
ZRANDMEMBER z1000|ZUNIONSTORE united 2 z100 u100
XADD capped MAXLEN ~ 1000 * field xxx|XLEN x1000|XRANGE x1000 - + COUNT 10|XREVRANGE x1000 + - COUNT 10
XREAD COUNT 10 STREAMS x1000 0|GEOADD places 13.36 38.11 m:#|GEODIST g100 e1 e50
GEOSEARCH g100 FROMLONLAT 15 37 BYRADIUS 100 km COUNT 10|CLIENT ID|CONFIG GET maxmemory|INFO
""".replace("\n", "|").strip("|").split("|")
)  # fmt: skip


def filled() -> Iterator[list[object]]:
    """The commands that make what COMMANDS find."""
    for size in (100, 1000):
        elements = [f"e{n}" for n in range(size)]
        yield ["RPUSH", f"l{size}", *elements]
        yield ["SADD", f"s{size}", *elements]
        yield ["HSET", f"h{size}", *(word for n in range(size) for word in (f"f{n}", f"v{n}"))]
        yield ["ZADD", f"z{size}", *(word for n in range(size) for word in (n, f"e{n}"))]
        yield from (["XADD", f"x{size}", f"{n}-1", "field", n] for n in range(1, size + 1))
    yield ["SADD", "t100", *(f"e{n}" for n in range(50, 150))]
    yield ["ZADD", "u100", *(word for n in range(50, 150) for word in (n, f"e{n}"))]
    yield ["GEOADD", "g100", *(word for n in range(100) for word in (13 + n * 0.03, 37 + n * 0.01, f"e{n}"))]
    yield from (["SET", f"key:{n:012d}", "xxx"] for n in range(KEYS))


def fill(server: Server) -> None:
    with redis.Redis(port=server.port) as client, client.pipeline(transaction=False) as pipe:
        for words in filled():
            pipe.execute_command(*words)
        pipe.execute()


def words_of(command: str) -> list[str]:
    return command.replace("#", "__rand_int__").split()


def measured(command: str, pipeline: int, ours: Server, theirs: Server) -> tuple[float, float]:
    """Requests per second of both, medians."""
    found = in_turns((ours, theirs), words_of(command), pipeline, ROUNDS, SECONDS, KEYS)
    mine, other = (median(r.rate for r in runs) for runs in found)
    return mine, other


def rendered(rates: dict[str, tuple[float, float]]) -> Iterator[str]:
    for command, (ours, theirs) in sorted(rates.items(), key=lambda item: item[1][0] / item[1][1]):
        yield f"{ours / theirs:5.2f} {ours / 1e3:8.1f}k {theirs / 1e3:8.1f}k  {command}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pipeline", type=positive, default=16, help="commands in flight of each client (16)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="commands that begin with one of these names")
    args = parser.parse_args(arguments)
    end_on_sigterm()
    warn_if_pure("survey")
    pin_here(LOAD)
    chosen = [c for c in COMMANDS if not args.only or c.split()[0] in map(str.upper, args.only)]
    with Server.redis("off") as theirs, Server.ours("off") as ours:
        for server in (theirs, ours):
            fill(server)
        rates = {command: measured(command, args.pipeline, ours, theirs) for command in chosen}
    print(f"ratio   requests/s, ours and redis-server's, at a pipeline of {args.pipeline}")
    print("\n".join(rendered(rates)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
