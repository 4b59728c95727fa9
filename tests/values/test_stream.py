"""Streams against a naive list, and their nodes, trims and counters against a redis-server."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ferrite_hooks.values.stream import (
    MAX_ID,
    U64,
    UNKNOWN,
    Consumer,
    Group,
    Stream,
    format_id,
    parse_id,
    parse_partial_id,
)

WITH_REDIS = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ids = st.integers(0, 300)
STEPS = st.sampled_from(["add", "add", "add", "delete", "maxlen", "minid"])
BORDERS = [0, 1, 127, 128, 4095, 4096, 32768, 1 << 23, 1 << 31, (1 << 63) - 1, 1 << 63, U64, U64 + 1]
NUMBERS = [b"%d" % n for n in BORDERS] + [b"-%d" % n for n in BORDERS] + [b"007"]
ID_PARTS = [b"-", b"*", b"+", b" ", b"\t", b"\0", b"x", b"0", b"1", *(b"%d" % n for n in BORDERS[-4:])]


def filled(*wanted: int) -> Stream:
    stream = Stream()
    for id in wanted:
        stream.append(id, (b"f", b"v"))
    return stream


# Ids


def test_ids_read_and_written():
    assert parse_id(b"5-3") == 5 << 64 | 3
    assert parse_id(b"5") == 5 << 64
    assert parse_id(b"5", U64) == 5 << 64 | U64
    assert parse_partial_id(b"5-*") == (5, None)
    assert format_id(MAX_ID) == b"18446744073709551615-18446744073709551615"
    assert parse_id(format_id(MAX_ID)) == MAX_ID


@pytest.mark.oracle
@WITH_REDIS
@given(st.lists(st.sampled_from(ID_PARTS), max_size=5).map(b"".join))
def test_ids_are_read_as_redis_reads_them(real_redis, raw):
    real_redis.delete("s")
    real_redis.xadd("s", {"f": "v"}, "0-1")
    try:
        real_redis.execute_command("XSETID", "s", raw)
        theirs = real_redis.xinfo_stream("s")["last-generated-id"]
    except Exception as error:
        theirs = None if "Invalid stream ID" in str(error) else b"0-0"  # refused only for being too small
    mine = parse_id(raw) if raw.partition(b"\0")[0] not in (b"-", b"+") else None
    assert theirs == (None if mine is None else format_id(mine))


# Entries


@given(st.lists(st.tuples(STEPS, ids), max_size=60), ids, ids, st.integers(0, 5), st.integers(1, 4))
def test_entries_agree_with_a_list(steps, low, high, count, node_size):
    stream = Stream()
    model: list[tuple[int, tuple[bytes, ...]]] = []
    for step, n in steps:
        if step == "add":
            id = stream.last_id + 1 + n % 3
            fields = (b"f%d" % (n % 2), b"v%d" % n)
            stream.append(id, fields, node_size)
            model.append((id, fields))
        elif step == "delete":
            assert stream.delete(n) == any(id == n for id, _ in model)
            model = [entry for entry in model if entry[0] != n]
        elif step == "maxlen":
            n %= 20
            assert stream.trim_length(n) == max(0, len(model) - n)
            model = model[max(0, len(model) - n) :]
        else:
            n %= 50
            assert stream.trim_id(n) == sum(id < n for id, _ in model)
            model = [entry for entry in model if entry[0] >= n]
    inside = [entry for entry in model if low <= entry[0] <= high]
    assert stream.range(low, high, count) == (inside[:count] if count else inside)
    assert stream.revrange(low, high, count) == (inside[::-1][:count] if count else inside[::-1])
    assert stream.range() == model and len(stream) == len(model)
    assert stream.first_id == (model[0][0] if model else 0)
    assert stream.top_id == (model[-1][0] if model else 0)
    assert stream.get(low) == dict(model).get(low)
    assert all(node.ids for node in stream.nodes)


def awkward_fields(n: int, rng: random.Random) -> tuple[bytes, ...]:
    value = rng.choice([b"", b"v" * rng.randrange(300), rng.choice(NUMBERS), b"%d" % rng.randrange(10**15)])
    fields = [rng.choice([b"f", b"g", b"1"]), value]
    return (*fields, *fields) if n % 7 == 0 else tuple(fields)


@pytest.mark.oracle
@WITH_REDIS
@given(
    st.lists(st.tuples(STEPS, st.integers(0, 1000)), max_size=25),
    st.sampled_from([(100, 4096), (10, 4096), (0, 500), (0, 0)]),
    st.integers(0, 1 << 32),
)
def test_nodes_and_trims_are_those_of_redis(real_redis, steps, limits, seed):
    real_redis.flushall()
    real_redis.config_set("stream-node-max-entries", limits[0])
    real_redis.config_set("stream-node-max-bytes", limits[1])
    rng = random.Random(seed)
    stream = Stream()
    pipe = real_redis.pipeline(transaction=False)
    for step, n in steps:
        if step == "add":
            for i in range(n % 200):
                ms = (stream.last_id >> 64) + rng.choice([0, 0, 1, 5000, 1 << 33])
                id = max(ms << 64 | rng.choice([0, 9]), stream.last_id + 1)
                fields = awkward_fields(i, rng)
                stream.append(id, fields, *limits)
                pipe.execute_command("XADD", "s", format_id(id), *fields)
            pipe.execute()
            continue
        approximate, limit = n % 3 > 0, n % 80 * (n % 2)
        mark = stream.range()[n % len(stream)][0] if len(stream) else n
        how = ["~", "LIMIT", limit] if approximate else ["="]
        if step == "delete":
            assert stream.delete(mark) == real_redis.xdel("s", format_id(mark))
        elif step == "maxlen":
            left = n % (len(stream) + 1)
            theirs = real_redis.execute_command("XTRIM", "s", "MAXLEN", how[0], left, *how[1:])
            assert stream.trim_length(left, approximate, limit * approximate) == theirs
        else:
            theirs = real_redis.execute_command("XTRIM", "s", "MINID", how[0], format_id(mark), *how[1:])
            assert stream.trim_id(mark, approximate, limit * approximate) == theirs
    if real_redis.exists("s"):
        info = real_redis.xinfo_stream("s")
        assert len(stream) == info["length"]
        assert len(stream.nodes) == info["radix-tree-keys"]
        assert stream.radix_tree_nodes() == info["radix-tree-nodes"]
        assert format_id(stream.last_id) == info["last-generated-id"]
        assert format_id(stream.first_id) == info["recorded-first-entry-id"]
        assert format_id(stream.max_deleted_id) == info["max-deleted-entry-id"]
        assert stream.entries_added == info["entries-added"]


def test_next_id_never_goes_back():
    stream = filled(7 << 64 | 2)
    assert stream.next_id(5) == 7 << 64 | 3
    assert stream.next_id(7) == 7 << 64 | 3
    assert stream.next_id(8) == 8 << 64


# Groups


def test_pending_entries_move_between_consumers():
    group = Group(0)
    alice, bob = Consumer(b"alice", 10), Consumer(b"bob", 10)
    group.consumers = {b"alice": alice, b"bob": bob}
    group.assign(5, alice, 100, 1)
    group.assign(3, alice, 100, 1)
    assert list(group.pending) == list(alice.pending) == [3, 5]
    group.assign(5, bob, 200, 2)
    assert (list(alice.pending), list(bob.pending)) == ([3], [5])
    assert (group.pending[5].time, group.pending[5].count) == (200, 2)
    assert group.acknowledge(3) and not group.acknowledge(3)
    assert not alice.pending
    assert group.remove_consumer(b"bob") == 1 and not group.pending
    assert group.remove_consumer(b"bob") is None


def test_lag_knows_when_it_cannot_know():
    stream = filled(1, 2, 3, 4)
    group = Group(0)
    assert stream.lag(group) == 4
    stream.deliver(group, 1)
    assert (group.entries_read, stream.lag(group)) == (1, 3)
    stream.delete(3)  # a gap ahead of the group
    assert stream.lag(group) is None
    stream.deliver(group, 2)
    assert group.entries_read == UNKNOWN
    stream.deliver(group, 4)  # at the end everything is known again
    assert (group.entries_read, stream.lag(group)) == (4, 0)
    assert Stream().lag(Group(9)) == 0


def test_a_copy_shares_nothing():
    stream = filled(1, 2, 3)
    group = stream.groups[b"g"] = Group(2, 2)
    group.consumers[b"c"] = Consumer(b"c", 5, 6)
    group.assign(1, group.consumers[b"c"], 7, 8)
    twin = stream.copy()
    stream.delete(2)
    stream.append(9, (b"f", b"v"))
    group.acknowledge(1)
    assert [id for id, _ in twin.range()] == [1, 2, 3] and twin.last_id == 3
    other = twin.groups[b"g"]
    assert (other.last_id, other.entries_read, list(other.pending)) == (2, 2, [1])
    pending = other.pending[1]
    assert pending.consumer is other.consumers[b"c"] and pending.consumer.active_time == 6
    assert (pending.time, pending.count) == (7, 8)


def test_an_empty_stream_is_still_something():
    assert Stream() and len(Stream()) == 0
    assert Stream().radix_tree_nodes() == 1
