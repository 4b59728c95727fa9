"""All types under the same few keys: what one family leaves, the next one finds; against redis-server."""

from __future__ import annotations

from histories import play
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Word

KEY = st.sampled_from(["a", "b", "c"])
ITEM = st.sampled_from(["1", "2", "x", "y", "", "long" * 20])
SCORE = st.sampled_from(["1", "2.5", "-inf", "0"])


def line(*parts: st.SearchStrategy[str] | str) -> st.SearchStrategy[tuple[Word, ...]]:
    """A command of fixed text, split at spaces, and of drawn words, which stay whole."""
    drawn = [st.just(part.split()) if isinstance(part, str) else part.map(lambda word: [word]) for part in parts]
    return st.tuples(*drawn).map(lambda found: tuple(word for words in found for word in words))


WRITES = st.one_of(
    line("SET", KEY, ITEM), line("SET", KEY, ITEM, "EXAT 4102444800"), line("APPEND", KEY, ITEM), line("INCR", KEY),
    line("SETRANGE", KEY, "3", ITEM), line("SETBIT", KEY, "9 1"), line("PFADD", KEY, ITEM), line("GETDEL", KEY),
    line("RPUSH", KEY, ITEM, ITEM), line("LPOP", KEY), line("LMOVE", KEY, KEY, "LEFT RIGHT"),
    line("LREM", KEY, "0", ITEM), line("LTRIM", KEY, "1 1"), line("HSET", KEY, ITEM, ITEM),
    line("HDEL", KEY, ITEM), line("HINCRBY", KEY, ITEM, "5"),
    line("SADD", KEY, ITEM), line("SREM", KEY, ITEM), line("SMOVE", KEY, KEY, ITEM), line("SUNIONSTORE", KEY, KEY, KEY),
    line("SDIFFSTORE", KEY, KEY, KEY), line("ZADD", KEY, SCORE, ITEM), line("ZREM", KEY, ITEM), line("ZPOPMIN", KEY),
    line("ZUNIONSTORE", KEY, "2", KEY, KEY), line("ZRANGESTORE", KEY, KEY, "0 1"), line("GEOADD", KEY, "13 38", ITEM),
    line("XADD", KEY, "5-* f v"), line("XTRIM", KEY, "MAXLEN 1"), line("XGROUP CREATE", KEY, "g 0 MKSTREAM"),
    line("SORT", KEY, "ALPHA STORE", KEY), line("BITOP OR", KEY, KEY, KEY), line("PFMERGE", KEY, KEY),
)  # fmt: skip
KEYWISE = st.one_of(
    line("DEL", KEY, KEY), line("UNLINK", KEY), line("RENAME", KEY, KEY), line("RENAMENX", KEY, KEY),
    line("COPY", KEY, KEY), line("COPY", KEY, KEY, "REPLACE"), line("EXPIREAT", KEY, "4102444900"),
    line("EXPIRE", KEY, "-1"),
    line("PERSIST", KEY), line("MOVE", KEY, "1"), line("SWAPDB 0 1"), line("FLUSHDB"), line("TYPE", KEY),
    line("EXISTS", KEY, KEY), line("EXPIRETIME", KEY),
)  # fmt: skip
READS = st.one_of(
    line("GET", KEY), line("STRLEN", KEY), line("LRANGE", KEY, "0 -1"), line("HGET", KEY, ITEM), line("HLEN", KEY),
    line("SISMEMBER", KEY, ITEM), line("SCARD", KEY), line("ZRANGE", KEY, "0 -1 WITHSCORES"), line("ZSCORE", KEY, ITEM),
    line("XRANGE", KEY, "- +"), line("MGET", KEY, KEY), line("BITCOUNT", KEY), line("DUMP none"),
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(
    history=st.lists(st.one_of(WRITES, WRITES, KEYWISE, READS), min_size=10, max_size=50),
    resp=st.sampled_from([2, 3]),
)
def test_random_histories(redis_port: int, history: list[tuple[Word, ...]], resp: int) -> None:
    ends = [(*command, key) for key in "abc" for command in (("TYPE",), ("EXPIRETIME",))]
    play(redis_port, [*history, *ends], resp)
